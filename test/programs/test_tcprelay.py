# SPDX-License-Identifier: BSD-2-Clause
"""A byte that a relay loses, an end that it makes into another, or memory that a stopped reader costs."""
import os
import shutil
import signal
import socket
import subprocess
import time
import unittest

import backend
import program
from program import cli

# Each way at once.
BIG_BYTES = int(os.environ.get("BIG", 256 << 20))


class Tcprelay(unittest.TestCase):
    def relay(self, port, *args):
        return cli.Server("tcprelay", "--to", f"127.0.0.1:{port}", *args)

    def pair(self, relay, back):
        front = relay.connect()
        return front, back.accept()

    def test_bytes_go_both_ways(self):
        with backend.Backend(backend.echo) as back, self.relay(back.port, "--threads", "2") as relay:
            for size in (1, 1000, 300000):
                with relay.connect() as front:
                    data = os.urandom(size)
                    front.sendall(data)
                    self.assertTrue(cli.read_exactly(front, size) == data)
                    front.shutdown(socket.SHUT_WR)
                    self.assertEqual(cli.read_all(front), b"")

    def test_much_both_ways_at_once(self):
        with backend.Backend() as back, self.relay(back.port) as relay:
            front, other = self.pair(relay, back)
            sums = backend.both_ways(front, other, BIG_BYTES)
            self.assertEqual(sums["up", "sent"], sums["up", "received"])
            self.assertEqual(sums["down", "sent"], sums["down", "received"])
            front.close()
            other.close()

    def test_each_direction_ends_by_itself(self):
        with backend.Backend() as back, self.relay(back.port) as relay:
            front, other = self.pair(relay, back)
            front.sendall(b"question")
            front.shutdown(socket.SHUT_WR)
            self.assertEqual(cli.read_all(other), b"question")
            time.sleep(0.1)
            other.sendall(b"answer" * 100000)  # long after the other direction has ended
            other.close()
            self.assertEqual(cli.read_all(front), b"answer" * 100000)
            front.close()
            front, other = self.pair(relay, back)
            other.sendall(b"banner")
            other.shutdown(socket.SHUT_WR)
            self.assertEqual(cli.read_all(front), b"banner")
            front.sendall(b"late")
            front.close()
            self.assertEqual(cli.read_all(other), b"late")
            other.close()

    def test_a_reset_is_passed_on_as_one(self):
        with backend.Backend() as back, self.relay(back.port) as relay:
            for side in (0, 1):
                both = self.pair(relay, back)
                both[side].sendall(b"part")
                self.assertEqual(cli.read_exactly(both[1 - side], 4), b"part")
                program.reset(both[side])
                with self.assertRaises(ConnectionResetError):
                    cli.read_all(both[1 - side])
                both[1 - side].close()
            # Also when it comes while the other side has more to send, and when half is closed.
            front, other = self.pair(relay, back)
            front.shutdown(socket.SHUT_WR)
            self.assertEqual(cli.read_all(other), b"")
            program.reset(front)
            other.settimeout(cli.PATIENCE_S)
            with self.assertRaises((ConnectionResetError, BrokenPipeError)):
                while True:
                    other.sendall(b"x" * 10000)
            other.close()

    def test_where_nobody_listens_there_is_a_reset(self):
        with self.relay(backend.refusing_port()) as relay:
            with self.assertRaises(ConnectionResetError):
                with relay.connect() as front:
                    cli.read_all(front)

    def test_a_stopped_reader_stops_the_writer_and_costs_no_memory(self):
        with backend.Backend() as back, self.relay(back.port) as relay:
            front, other = self.pair(relay, back)
            before = relay.rss_bytes()
            other.setblocking(False)
            sent, block = 0, b"x" * 65536
            still = 0
            while still < 20:
                try:
                    sent += other.send(block)
                    still = 0
                except BlockingIOError:
                    still += 1
                    time.sleep(0.02)
            self.assertLess(sent, 64 << 20)
            self.assertLess(relay.rss_bytes() - before, 12 << 20)
            other.setblocking(True)
            other.shutdown(socket.SHUT_WR)
            buffer, seen = bytearray(1 << 20), 0
            while (size := front.recv_into(buffer)) > 0:
                seen += size
            self.assertEqual(seen, sent)
            front.close()
            other.close()

    def test_what_comes_before_the_back_is_there(self):
        with backend.Backend() as back, self.relay(back.port) as relay:
            front = relay.connect()
            front.sendall(b"early")
            front.shutdown(socket.SHUT_WR)
            other = back.accept()
            self.assertEqual(cli.read_all(other), b"early")
            other.close()
            self.assertEqual(cli.read_all(front), b"")
            front.close()
            for _ in range(20):  # who resets at once, before the back is there
                program.reset(relay.connect())
            with relay.connect() as front:
                front.sendall(b"still here")
                front.shutdown(socket.SHUT_WR)
                seen = b""
                while seen != b"still here":
                    with back.accept() as other:
                        seen = program.received_until_end(other)

    def test_sigterm_ends_both_sides(self):
        with backend.Backend() as back:
            with self.relay(back.port, "--threads", "2") as relay:
                pairs = [self.pair(relay, back) for _ in range(6)]
                for front, other in pairs:
                    front.sendall(b"x")
                    cli.read_exactly(other, 1)
                    other.sendall(b"y" * 100000)
                for front, _ in pairs:
                    cli.read_exactly(front, 100000)
                relay.signal(signal.SIGTERM)
                for front, _ in pairs:
                    self.assertEqual(cli.read_all(front), b"")
                    front.close()
                for _, other in pairs:
                    self.assertEqual(cli.read_all(other), b"")
                    other.close()
                output, status = relay.wait()
                self.assertEqual(status, 0)
                self.assertIn("6 clean, 0 otherwise, 0 cut off, 0 bytes unsent", output)

    def test_nc_through_it(self):
        if not shutil.which("nc"):
            self.skipTest("no nc")
        with backend.Backend(backend.echo) as back, self.relay(back.port) as relay:
            data = os.urandom(500000)
            done = subprocess.run(["nc", "-N", "127.0.0.1", str(relay.port)], input=data,
                                  capture_output=True, timeout=cli.PATIENCE_S, check=False)
            self.assertTrue(done.stdout == data)

    def test_its_command_line(self):
        status, _, err = cli.run("tcprelay")
        self.assertEqual(status, 2)
        self.assertIn("--to ADDRESS is missing", err)


if __name__ == "__main__":
    cli.main()
