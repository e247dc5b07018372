# SPDX-License-Identifier: BSD-2-Clause
"""A place that never has its turn, or one that is down and has."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import backend
import program
from program import cli


def named(name):
    def serve(peer):
        peer.sendall(name)
        backend.echo(peer)
    return serve


class Balancer(unittest.TestCase):
    def balancer(self, *ports, args=()):
        places = [word for port in ports for word in ("--to", f"127.0.0.1:{port}")]
        return cli.Server("balancer", *places, *args)

    def who(self, balancer):
        with balancer.connect() as peer:
            return cli.read_exactly(peer, 1)

    def test_each_has_its_turn(self):
        with backend.Backend(named(b"a")) as a, backend.Backend(named(b"b")) as b, \
                backend.Backend(named(b"c")) as c, \
                self.balancer(a.port, b.port, c.port, args=("--threads", "2")) as balancer:
            heard = [self.who(balancer) for _ in range(30)]
            for name in (b"a", b"b", b"c"):
                self.assertEqual(heard.count(name), 10)
            balancer.signal(signal.SIGUSR1)
            balancer.wait_for_output("10 connections, 0 failures")

    def test_who_is_down_is_passed_over_until_it_is_back(self):
        down = backend.refusing_port()
        with backend.Backend(named(b"a")) as up:
            with self.balancer(up.port, down, args=("--retry", "0.3")) as balancer:
                for _ in range(6):
                    self.assertEqual(self.who(balancer), b"a")
                balancer.wait_for_output(f"127.0.0.1:{down} is passed over")
                listener = socket.create_server(("127.0.0.1", down))
                listener.settimeout(0.05)

                def is_back():
                    with balancer.connect() as peer:
                        try:
                            other, _ = listener.accept()
                        except socket.timeout:
                            return False
                        other.sendall(b"b")
                        other.close()
                        return cli.read_exactly(peer, 1) == b"b"
                cli.wait_until(is_back, "the place that was down to have its turn")
                listener.close()

    def test_when_all_are_down_there_is_a_reset(self):
        with self.balancer(backend.refusing_port(), backend.refusing_port()) as balancer:
            for _ in range(3):  # also when all are being passed over
                with self.assertRaises(ConnectionResetError):
                    with balancer.connect() as peer:
                        cli.read_all(peer)

    def test_what_it_lacks_itself_is_no_fault_of_a_place(self):
        with backend.Backend(backend.echo) as back, self.balancer(back.port) as balancer:
            balancer.limit_fds(1)
            with self.assertRaises(ConnectionResetError), balancer.connect() as peer:
                cli.read_all(peer)
            balancer.limit_fds(100)
            with balancer.connect() as peer:
                peer.sendall(b"hello")
                self.assertEqual(cli.read_exactly(peer, 5), b"hello")
            balancer.signal(signal.SIGUSR1)
            balancer.wait_for_output("1 connections, 0 failures")
            output, _ = balancer.stop()
            self.assertIn("a connection was ended: could not connect", output)
            self.assertNotIn("passed over", output)
            self.assertIn("1 connections ended, as the balancer lacked", output)

    def test_much_both_ways_and_the_ends(self):
        with backend.Backend() as back, self.balancer(back.port) as balancer:
            front = balancer.connect()
            other = back.accept()
            sums = backend.both_ways(front, other, 16 << 20)
            self.assertEqual(sums["up", "sent"], sums["up", "received"])
            self.assertEqual(sums["down", "sent"], sums["down", "received"])
            front.close()
            other.close()
            front = balancer.connect()
            other = back.accept()
            program.reset(other)
            with self.assertRaises(ConnectionResetError):
                cli.read_all(front)
            front.close()

    def test_haproxy_behind_it(self):
        if not shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"):
            self.skipTest("no haproxy")
        with tempfile.TemporaryDirectory() as folder, backend.Backend(backend.echo) as last:
            ports = [backend.refusing_port() for _ in range(2)]
            config = os.path.join(folder, "haproxy.cfg")
            with open(config, "w", encoding="utf-8") as file:
                file.write("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n"
                           "  timeout server 30s\n")
                for port in ports:
                    file.write(f"listen at{port}\n  bind 127.0.0.1:{port}\n"
                               f"  server last 127.0.0.1:{last.port}\n")
            with subprocess.Popen(["haproxy", "-f", config, "-db"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL,
                                  env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}) as proxy:
                try:
                    def listens(port):
                        with socket.socket() as probe:
                            return probe.connect_ex(("127.0.0.1", port)) == 0
                    for port in ports:
                        cli.wait_until(lambda port=port: listens(port), "haproxy")
                    with self.balancer(*ports) as balancer:
                        data = os.urandom(200000)
                        for _ in range(6):
                            with balancer.connect() as peer:
                                peer.sendall(data)
                                peer.shutdown(socket.SHUT_WR)
                                self.assertTrue(program.received_until_end(peer) == data)
                finally:
                    proxy.kill()

    def test_its_command_line(self):
        status, _, err = cli.run("balancer")
        self.assertEqual(status, 2)
        self.assertIn("--to ADDRESS is missing", err)


if __name__ == "__main__":
    cli.main()
