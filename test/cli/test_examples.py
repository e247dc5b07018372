# SPDX-License-Identifier: BSD-2-Clause
"""An example that builds, but does not do what its opening comment says."""
import os
import signal
import socket
import subprocess
import tempfile
import unittest

import cli

FOLDER = os.path.join(os.path.dirname(os.path.abspath(cli.PEAL)), "examples")


class Example:
    """An example that serves on an abstract unix socket (no port to clash over)."""

    def __init__(self, name, stdin=subprocess.DEVNULL):
        self.name = f"peal-test-{os.getpid()}-{name}"
        self.process = subprocess.Popen([os.path.join(FOLDER, name), "unix:@" + self.name],
                                        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.out = self.err = ""

    def connect(self):
        """As soon as it listens."""
        peers = []

        def try_it():
            peer = socket.socket(socket.AF_UNIX)
            peer.settimeout(cli.PATIENCE_S)
            try:
                peer.connect("\0" + self.name)
            except ConnectionRefusedError:
                peer.close()
                return self.process.poll() is not None
            peers.append(peer)
            return True
        cli.wait_until(try_it, "the example to listen")
        return peers[0]

    def wait(self):
        out, err = self.process.communicate(timeout=cli.PATIENCE_S)
        self.out, self.err = out.decode(), err.decode()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None and self.process.stdout and not self.process.stdout.closed:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.wait()
            finally:
                self.process.kill()
        if kind is None and self.process.returncode != 0:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.err}")


def ask(example, data):
    """Sends, ends its side, and returns all that comes."""
    with example.connect() as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        return cli.read_all(peer)


class Examples(unittest.TestCase):
    def test_echo(self):
        with Example("echo") as example:
            self.assertEqual(ask(example, b"x" * 300_000), b"x" * 300_000)

    def test_lines_answers_at_the_end_of_the_peer(self):
        with Example("lines") as example:
            self.assertEqual(ask(example, b"one\ntwo\nthree"),
                             b"3 lines, the longest has 5 bytes\n")
            self.assertEqual(ask(example, b""), b"0 lines, the longest has 0 bytes\n")

    def test_worker_replies_before_the_end(self):
        with Example("worker") as example:
            self.assertEqual(ask(example, b"91\n1000003\n64\n"), b"91: 7\n1000003: 1000003\n64: 2\n")

    def test_drain_reports_what_is_held(self):
        with Example("drain") as example, example.connect() as peer:
            self.assertEqual(cli.read_exactly(peer, 6), b"hello\n")
            example.process.send_signal(signal.SIGINT)
            self.assertEqual(cli.read_all(peer), b"")
            peer.close()
            example.wait()
            self.assertIn("drained 1 connections", example.out)
            self.assertIn("1 still referenced", example.out)
            self.assertIn("server stop: 1", example.out)
            self.assertIn("drain.c:", example.out)

    def test_watch_passes_on_what_is_typed(self):
        with Example("watch", stdin=subprocess.PIPE) as example, example.connect() as peer:
            # The connection may not be open yet when the first lines are passed on.
            peer.setblocking(False)
            heard = bytearray()

            def hear():
                example.process.stdin.write(b"it rains\n")
                example.process.stdin.flush()
                try:
                    heard.extend(peer.recv(4096))
                except BlockingIOError:
                    pass
                return b"it rains\n" in heard
            cli.wait_until(hear, "the line")
            peer.close()
            example.process.stdin.close()
            example.process.stdin = None
            example.wait()

    def test_reconnect_comes_back_and_gives_up(self):
        place = os.path.join(tempfile.mkdtemp(prefix="peal-examples-"), "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(cli.PATIENCE_S)
        listener.bind(place)
        listener.listen()
        client = subprocess.Popen([os.path.join(FOLDER, "reconnect"), "unix:" + place, "2"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for _ in range(2):
            peer, _ = listener.accept()
            peer.settimeout(cli.PATIENCE_S)
            self.assertEqual(cli.read_exactly(peer, 6), b"hello\n")
            peer.sendall(b"well\n")
            peer.close()
        # One that waits in the backlog would count as a success.
        listener.close()
        out = client.communicate(timeout=cli.PATIENCE_S)[0].decode()
        os.unlink(place)
        os.rmdir(os.path.dirname(place))
        self.assertEqual(client.returncode, 0)
        self.assertGreaterEqual(out.count("heard well"), 2)
        self.assertIn("attempt 2 failed", out)

    def test_timers_ring_in_their_order(self):
        done = subprocess.run([os.path.join(FOLDER, "timers")], capture_output=True, check=True,
                              timeout=cli.PATIENCE_S)
        lines = done.stdout.decode().split("\n")
        self.assertEqual(lines.count("alarm"), 1)
        self.assertGreater(lines.index("alarm"), lines.index("quarter 2"))
        self.assertTrue(lines[-2].startswith("hour after"))


if __name__ == "__main__":
    cli.main()
