# SPDX-License-Identifier: BSD-2-Clause
"""A time that is not the server's, an answer that belongs to another question, or none."""
import struct
import time
import unittest

import program
from program import cli

SENT = 1234567890123456


class Roundtrip(program.AnyPeer, unittest.TestCase):
    NAME = "roundtrip"
    REQUEST = struct.pack("=qq", SENT, 0)
    REPLY_BYTES = 16

    def check_reply(self, reply):
        sent, theirs = struct.unpack("=qq", reply)
        self.assertEqual(sent, SENT)
        self.assertLess(abs(theirs - time.time() * 1e6), 60e6)

    def test_half_a_question_has_no_answer(self):
        with self.server() as server, server.connect() as peer:
            peer.sendall(self.REQUEST + self.REQUEST[:9])
            peer.shutdown(1)
            self.check_reply(self.read_reply(peer))
            self.assertEqual(cli.read_all(peer), b"")

    def test_the_client(self):
        with self.server() as server:
            status, out, err = cli.run("roundtrip-client", "--count", "3", "--interval", "0.001",
                                       "--connect", f"127.0.0.1:{server.port}")
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(out.count("round trip"), 3)
        status, out, err = cli.run("roundtrip-client", "--connect", f"127.0.0.1:{server.port}")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("Connection refused", err)


if __name__ == "__main__":
    cli.main()
