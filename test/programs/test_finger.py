# SPDX-License-Identifier: BSD-2-Clause
"""Somebody is told of another, or a line that never ends is kept for ever."""
import os
import socket
import tempfile
import unittest

import program
from program import cli

USERS = """# name  words
chen   in the office since nine
ada\tat lunch
  nobody: this line begins with a blank
zoe
"""


class Finger(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.users = os.path.join(self.folder.name, "users")
        with open(self.users, "w", encoding="utf-8") as file:
            file.write(USERS)

    def tearDown(self):
        self.folder.cleanup()

    def ask(self, server, *parts):
        with server.connect() as peer:
            for part in parts:
                peer.sendall(part)
            return program.received_until_end(peer)

    def test_names_and_their_words(self):
        with cli.Server("finger", "--users", self.users, "--threads", "2") as server:
            self.assertEqual(self.ask(server, b"chen\r\n"), b"in the office since nine\r\n")
            self.assertEqual(self.ask(server, b"ada\n"), b"at lunch\r\n")
            self.assertEqual(self.ask(server, b"a", b"da", b"\r", b"\n"), b"at lunch\r\n")
            self.assertEqual(self.ask(server, b"zoe\r\n"), b"\r\n")
            self.assertEqual(self.ask(server, b"nobody:\r\n"), b"No such user\r\n")
            self.assertEqual(self.ask(server, b"Chen\r\n"), b"No such user\r\n")
            self.assertEqual(self.ask(server, b"\r\n"), b"ada\r\nchen\r\nzoe\r\n")

    def test_lines_that_are_too_long_or_never_end(self):
        with cli.Server("finger", "--users", self.users, "--idle", "0.3") as server:
            self.assertEqual(self.ask(server, b"x" * 4000), b"")
            self.assertEqual(self.ask(server, b"x" * 4000 + b"\r\n"), b"")
            self.assertEqual(self.ask(server, b"ada"), b"")  # it is ended for being idle
            self.assertEqual(self.ask(server, b"ada\r\n" + b"y" * 100000), b"at lunch\r\n")

    def test_half_a_name_and_the_end(self):
        with cli.Server("finger", "--users", self.users) as server, server.connect() as peer:
            peer.sendall(b"ad")
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual(cli.read_all(peer), b"")

    def test_resets_harm_nobody(self):
        with cli.Server("finger", "--users", self.users) as server:
            for size in range(5):
                peer = server.connect()
                peer.sendall(b"ada\r\n"[:size])
                program.reset(peer)
            self.assertEqual(self.ask(server, b"ada\r\n"), b"at lunch\r\n")

    def test_a_file_that_is_not_there(self):
        status, _, err = cli.run("finger", "--users", self.users + ".not", "--listen", "127.0.0.1:0")
        self.assertEqual(status, 1)
        self.assertIn("No such file", err)


if __name__ == "__main__":
    cli.main()
