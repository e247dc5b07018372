# SPDX-License-Identifier: BSD-2-Clause
"""Blocks that come back changed or not at all, or a throughput that is not what went to and fro."""
import os
import re
import socket
import threading
import unittest

import program
from program import cli


class Pingpong(program.AnyPeer, unittest.TestCase):
    NAME = "pingpong"
    REQUEST = os.urandom(16384)
    REPLY_BYTES = 16384
    SLOW_REQUESTS = 500

    def check_reply(self, reply):
        self.assertEqual(reply, self.REQUEST)

    def client(self, port, *args):
        return cli.run("pingpong-client", "--connect", f"127.0.0.1:{port}", "--seconds", "0.3", *args)

    def test_the_client_with_our_server(self):
        with self.server("--threads", "2") as server:
            for args in ((), ("--conns", "50"), ("--conns", "20", "--threads", "2", "--block", "100000")):
                status, out, err = self.client(server.port, *args)
                self.assertEqual((status, err), (0, ""))
                self.assertRegex(out, r"[1-9][0-9.]* MiB/s throughput")

    def test_the_client_counts_what_another_server_saw(self):
        listener = socket.create_server(("127.0.0.1", 0))
        seen = bytearray()

        def echo():
            peer, _ = listener.accept()
            with peer:
                while data := peer.recv(65536):
                    seen.extend(data)
                    peer.sendall(data)
        thread = threading.Thread(target=echo)
        thread.start()
        status, out, err = self.client(listener.getsockname()[1], "--block", "1000")
        thread.join()
        listener.close()
        self.assertEqual((status, err), (0, ""))
        block = bytes(i % 128 for i in range(1000))
        self.assertEqual(len(seen) % 1000, 0)
        self.assertTrue(seen == block * (len(seen) // 1000))
        messages = int(re.search(r"(\d+) messages,", out).group(1))
        self.assertGreater(messages, 0)
        self.assertLessEqual(messages, len(seen) // 1000 * 2)

    def test_nobody_there(self):
        status, out, err = self.client(1, "--conns", "3")
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err.count("cannot connect"), 3)


if __name__ == "__main__":
    cli.main()
