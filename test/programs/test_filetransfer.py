# SPDX-License-Identifier: BSD-2-Clause
"""A reader gets another file than was sent, or a slow one costs the server memory."""
import os
import signal
import socket
import tempfile
import threading
import unittest

import program
from program import cli

GIB = 1 << 30


class Filetransfer(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "file")
        self.data = os.urandom(3 << 20)
        with open(self.path, "wb") as file:
            file.write(self.data)

    def tearDown(self):
        self.folder.cleanup()

    def server(self, *args):
        return cli.Server("filetransfer", "--file", self.path, *args)

    def test_the_whole_file_and_the_end(self):
        with self.server("--threads", "2") as server:
            for _ in range(5):
                with server.connect() as peer:
                    self.assertTrue(cli.read_all(peer) == self.data)

    def test_what_the_peer_says_is_of_no_interest(self):
        with self.server() as server, server.connect() as peer:
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
            peer.shutdown(1)
            self.assertTrue(cli.read_all(peer) == self.data)

    def test_a_gibibyte_to_slow_readers_costs_no_memory(self):
        with open(self.path, "r+b") as file:  # with holes, and marks in it
            file.truncate(GIB)
            for at in range(0, GIB, 1 << 26):
                file.seek(at + 12345)
                file.write(at.to_bytes(8, "big"))
        with self.server() as server:
            with server.connect() as first:
                cli.read_exactly(first, 1 << 20)
            before = server.rss_bytes()
            slow = [server.connect(receive_buffer=4096) for _ in range(20)]
            for peer in slow:
                cli.read_exactly(peer, 10000)
            with server.connect() as peer:
                at, size = 0, 0
                buffer = bytearray(1 << 20)
                marks = {mark + 12345: mark for mark in range(0, GIB, 1 << 26)}
                while (size := peer.recv_into(buffer)) > 0:
                    for mark, value in list(marks.items()):
                        if at <= mark and mark + 8 <= at + size:
                            self.assertEqual(buffer[mark - at:mark - at + 8], value.to_bytes(8, "big"))
                            del marks[mark]
                    at += size
                self.assertEqual(at, GIB)
                self.assertLess(len(marks), 4)  # those that fell between two reads
            self.assertLess(server.rss_bytes() - before, 8 << 20)
            for peer in slow:
                program.reset(peer)

    def test_sigterm_lets_a_slow_reader_finish(self):
        with self.server() as server, server.connect(receive_buffer=4096) as peer:
            part = cli.read_exactly(peer, 1000)
            server.signal(signal.SIGTERM)
            server.wait_for_output("draining 1 connections")
            self.assertTrue(part + cli.read_all(peer) == self.data)
            peer.close()
            output, status = server.wait()
            self.assertEqual(status, 0)
            self.assertIn("1 clean, 0 otherwise, 0 cut off, 0 bytes unsent", output)

    def test_a_file_that_is_cut_short_is_not_taken_for_a_whole_one(self):
        with open(self.path, "r+b") as file:
            file.truncate(200 << 20)
        with self.server("--verbose") as server, server.connect(receive_buffer=4096) as peer:
            cli.read_exactly(peer, 1000)
            os.truncate(self.path, 1 << 20)
            with self.assertRaises(ConnectionResetError):
                cli.read_all(peer)
            server.wait_for_output("i/o error")

    def test_an_empty_file(self):
        os.truncate(self.path, 0)
        with self.server() as server, server.connect() as peer:
            self.assertEqual(cli.read_all(peer), b"")

    def test_files_that_cannot_be_sent(self):
        for path, words in ((self.path + ".not", "No such file"), (self.folder.name, "not a regular file")):
            status, _, err = cli.run("filetransfer", "--file", path, "--listen", "127.0.0.1:0")
            self.assertEqual(status, 1)
            self.assertIn(words, err)
        status, _, err = cli.run("filetransfer")
        self.assertEqual(status, 2)
        self.assertIn("--file FILE is missing", err)

    def test_the_client(self):
        output = os.path.join(self.folder.name, "copy")
        with self.server() as server:
            where = ("--connect", f"127.0.0.1:{server.port}")
            status, _, err = cli.run("filetransfer-client", *where, "--output", output)
            self.assertEqual(status, 0, err)
            with open(output, "rb") as file:
                self.assertTrue(file.read() == self.data)
            status, _, err = cli.run("filetransfer-client", *where, "--output", self.folder.name)
            self.assertEqual(status, 1)
            self.assertIn("Is a directory", err)
            status, _, err = cli.run("filetransfer-client", *where, "--output", "/dev/full")
            self.assertEqual(status, 1)
            self.assertIn("No space left", err)

    def test_the_client_tells_a_part_from_the_whole(self):
        listener = socket.create_server(("127.0.0.1", 0))
        part = os.path.join(self.folder.name, "part")

        def cut():
            peer, _ = listener.accept()
            peer.sendall(b"part" * 100000)
            cli.wait_until(lambda: os.path.exists(part) and os.path.getsize(part), "the client to begin")
            program.reset(peer)
        thread = threading.Thread(target=cut)
        thread.start()
        status, _, err = cli.run("filetransfer-client", "--connect",
                                 f"127.0.0.1:{listener.getsockname()[1]}",
                                 "--output", part)
        thread.join()
        listener.close()
        self.assertEqual(status, 1)
        self.assertIn("the connection broke: peer reset", err)


if __name__ == "__main__":
    cli.main()
