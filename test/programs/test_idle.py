# SPDX-License-Identifier: BSD-2-Clause
"""A connection on which nothing moves stays for ever, or one on which something moves is ended."""
import os
import time
import unittest

import program
from program import cli


class Idle(program.AnyPeer, unittest.TestCase):
    NAME = "idle"
    REQUEST = os.urandom(3000)
    REPLY_BYTES = 3000

    def check_reply(self, reply):
        self.assertEqual(reply, self.REQUEST)

    def test_the_idle_are_ended_and_the_busy_are_not(self):
        with self.server("--idle", "0.6", "--verbose") as server:
            with server.connect() as quiet, server.connect() as busy:
                end = time.monotonic() + 1.5
                while time.monotonic() < end:
                    self.ask(busy)
                    time.sleep(0.05)
                self.assertEqual(cli.read_all(quiet), b"")  # an end of stream, not a reset
                self.ask(busy)
            server.wait_for_output("idle timeout")
        self.assertEqual(server.output.count("idle timeout"), 1)

    def test_help_tells_the_default(self):
        status, out, _ = cli.run("idle", "--help")
        self.assertEqual(status, 0)
        self.assertIn("after 8 s", out)


if __name__ == "__main__":
    cli.main()
