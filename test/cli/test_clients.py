# SPDX-License-Identifier: BSD-2-Clause
"""If this broke, programs that Peal was not written with could not talk to it: curl, and haproxy in
front of a server, with its half-closed streams and its health checks."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import cli

PAYLOAD = os.urandom(1 << 20)


def needs(program):
    return unittest.skipUnless(shutil.which(program), f"{program} is not here")


class Curl(unittest.TestCase):
    @needs("curl")
    def test_reads_the_day_and_the_end(self):
        with cli.Server("daytime") as server:
            done = subprocess.run(["curl", "-s", f"telnet://127.0.0.1:{server.port}"], stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=cli.PATIENCE_S, check=False)
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stdout.decode(), r"\d{4}.*\r?\n")

    @needs("curl")
    def test_http_to_an_echo_gets_its_request_back(self):
        with cli.Server("echo") as server:
            done = subprocess.run(["curl", "-s", "--http0.9", "--max-time", "2",
                                   f"http://127.0.0.1:{server.port}/path"],
                                  capture_output=True, timeout=cli.PATIENCE_S, check=False)
            self.assertIn(b"GET /path HTTP/1.1\r\n", done.stdout)


CONFIG = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout client-fin 30s
    timeout server-fin 30s
frontend front
    bind 127.0.0.1:{port}
    default_backend back
    option tcp-check
    tcp-check send peal
    tcp-check expect string peal
backend back
    option tcp-check
    tcp-check send peal
    tcp-check expect string peal
    server one 127.0.0.1:{one} check inter 50
    server two 127.0.0.1:{two} check inter 50
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Haproxy:
    """haproxy in front of two servers, each checked twenty times a second."""

    def __init__(self, one, two):
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="peal-haproxy-")
        config = os.path.join(self.folder, "config")
        with open(config, "w", encoding="ascii") as file:
            file.write(CONFIG.format(port=self.port, one=one.port, two=two.port))
        self.process = subprocess.Popen(["haproxy", "-db", "-f", config], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        cli.wait_until(self.answers, "haproxy")
        return self

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        except OSError:
            return False

    def __exit__(self, kind, value, trace):
        self.process.terminate()
        self.process.wait(cli.PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)


class BehindHaproxy(unittest.TestCase):
    @needs("haproxy")
    def test_all_of_an_echo_comes_back_after_a_half_close(self):
        with cli.Server("echo") as one, cli.Server("echo") as two, Haproxy(one, two) as proxy:
            for _ in range(8):
                with socket.create_connection(("127.0.0.1", proxy.port), timeout=cli.PATIENCE_S) as peer:
                    peer.sendall(PAYLOAD[:200_000])
                    peer.shutdown(socket.SHUT_WR)
                    self.assertEqual(cli.read_all(peer), PAYLOAD[:200_000])

    @needs("haproxy")
    def test_health_checks_are_served_and_leave_nothing(self):
        with cli.Server("echo") as one, cli.Server("echo") as two, Haproxy(one, two) as proxy:
            def checks():
                one.signal(signal.SIGUSR1)
                opened = re.findall(r"^opened +(\d+)", one.read_log(), re.MULTILINE)
                return opened and int(opened[-1]) >= 5

            cli.wait_until(checks, "five health checks")
            self.assertTrue(proxy.answers())
        self.assertIn("0 still referenced", one.output)


if __name__ == "__main__":
    cli.main()
