# SPDX-License-Identifier: BSD-2-Clause
"""A message that comes back changed, cut or joined to another, or a size that takes memory."""
import os
import socket
import struct
import threading
import unittest

import program
from program import cli


def message(body):
    return struct.pack(">I", len(body)) + body


class Latency(program.AnyPeer, unittest.TestCase):
    NAME = "latency"
    REQUEST = message(b"") + message(b"x") + message(os.urandom(20000))
    REPLY_BYTES = len(REQUEST)
    SLOW_REQUESTS = 300

    def check_reply(self, reply):
        self.assertEqual(reply, self.REQUEST)

    def test_the_largest_and_one_too_large(self):
        with self.server() as server:
            with server.connect() as peer:
                largest = message(os.urandom(65536))
                peer.sendall(largest)
                self.assertEqual(cli.read_exactly(peer, len(largest)), largest)
            for size in (65537, 0x7fffffff, 0xffffffff):
                with server.connect() as peer:
                    peer.sendall(struct.pack(">I", size))
                    with self.assertRaises(ConnectionResetError):
                        cli.read_all(peer)

    def test_byte_by_byte(self):
        with self.server() as server, server.connect() as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in message(b"slowly"):
                peer.sendall(bytes([byte]))
            self.assertEqual(cli.read_exactly(peer, 10), message(b"slowly"))

    def test_the_client(self):
        with self.server("--threads", "2") as server:
            where = ("--connect", f"127.0.0.1:{server.port}")
            for args, count in ((("--count", "100"), 100),
                                (("--count", "50", "--conns", "4", "--threads", "2", "--size", "64K"), 200),
                                (("--count", "3", "--size", "1"), 3)):
                status, out, err = cli.run("latency-client", *where, *args)
                self.assertEqual((status, err), (0, ""))
                self.assertIn(f"{count} messages of", out)
                self.assertRegex(out, r"p50 [0-9.]+, p90 [0-9.]+, p99 [0-9.]+, p99.9 [0-9.]+, max [0-9.]+")

    def test_the_client_notices_a_wrong_answer(self):
        listener = socket.create_server(("127.0.0.1", 0))

        def lie():
            peer, _ = listener.accept()
            with peer:
                cli.read_exactly(peer, 4 + 64)
                peer.sendall(message(bytes(64)))
                program.received_until_end(peer)
        thread = threading.Thread(target=lie)
        thread.start()
        status, _, err = cli.run("latency-client", "--connect", f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
        listener.close()
        self.assertEqual(status, 1)
        self.assertIn("not what had been sent", err)


if __name__ == "__main__":
    cli.main()
