# SPDX-License-Identifier: BSD-2-Clause
"""One connection more than allowed is served, or a place that became free is not given again."""
import unittest

import program
from program import cli


class Maxconn(program.AnyPeer, unittest.TestCase):
    NAME = "maxconn"
    REQUEST = b"hello" * 100
    REPLY_BYTES = 500
    UNLIMITED = ("--max-conns", "1000")

    def check_reply(self, reply):
        self.assertEqual(reply, self.REQUEST)

    def test_the_one_too_many_is_refused(self):
        for args, most in ((), 10), (("--max-conns", "3"), 3):
            with self.server(*args) as server:
                peers = [server.connect() for _ in range(most)]
                for peer in peers:
                    self.ask(peer)
                with server.connect() as refused:
                    self.assertEqual(program.received_until_end(refused), b"")
                peers.pop().close()

                def is_served():
                    with server.connect() as peer:
                        try:
                            self.ask(peer)
                            return True
                        except (AssertionError, OSError):
                            return False
                cli.wait_until(is_served, "the place to be given again")
                for peer in peers:
                    self.ask(peer)
                    peer.close()


if __name__ == "__main__":
    cli.main()
