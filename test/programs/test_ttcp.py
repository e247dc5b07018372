# SPDX-License-Identifier: BSD-2-Clause
"""A record that is acknowledged before it is whole, or one that was never announced."""
import os
import socket
import struct
import threading
import unittest

import program
from program import cli


def session(number, length):
    body = os.urandom(length)
    return struct.pack(">ii", number, length) + (struct.pack(">i", length) + body) * number


class Ttcp(program.AnyPeer, unittest.TestCase):
    NAME = "ttcp"
    REQUEST = session(3, 1000)
    REPLY_BYTES = 12

    def check_reply(self, reply):
        self.assertEqual(reply, struct.pack(">i", 1000) * 3)

    # A session is one request a connection, so these two are written anew.
    def test_a_slow_reader_gets_all(self):
        with self.server() as server, server.connect(receive_buffer=4096) as peer:
            number = 200000
            reader = threading.Thread(target=peer.sendall, args=(
                struct.pack(">ii", number, 1) + (struct.pack(">i", 1) + b"x") * number,))
            reader.start()
            acks = program.received_until_end(peer)
            reader.join()
            self.assertTrue(acks == struct.pack(">i", 1) * number)

    def test_sigterm_while_busy_loses_nothing(self):
        with self.server("--threads", "2") as server, server.connect() as peer:
            peer.sendall(self.REQUEST[:2016])  # two records, and not the third
            self.assertEqual(cli.read_exactly(peer, 8), struct.pack(">i", 1000) * 2)
            server.signal(15)
            self.assertEqual(program.received_until_end(peer), b"")
        self.assertIn("0 cut off, 0 bytes unsent", server.output)

    def test_a_peer_that_resets_in_the_middle_harms_nobody(self):
        with self.server("--threads", "2") as server:
            for size in (0, 3, 8, 11, 500, 1500):
                peer = server.connect()
                peer.sendall(self.REQUEST[:size])
                program.reset(peer)
            with server.connect() as peer:
                self.ask(peer)

    def test_acknowledged_when_it_is_whole_and_not_before(self):
        with self.server() as server, server.connect() as peer:
            peer.sendall(self.REQUEST[:8 + 4 + 999])
            peer.settimeout(0.3)
            with self.assertRaises(socket.timeout):
                peer.recv(1)
            peer.settimeout(cli.PATIENCE_S)
            peer.sendall(self.REQUEST[8 + 4 + 999:])
            self.check_reply(program.received_until_end(peer))

    def test_what_makes_no_sense_ends_it(self):
        for data in (struct.pack(">ii", -1, 5), struct.pack(">ii", 5, -1),
                     struct.pack(">iii", 2, 5, 6), struct.pack(">iii", 2, 5, -1)):
            with self.server() as server, server.connect() as peer:
                peer.sendall(data)
                with self.assertRaises(ConnectionResetError):
                    cli.read_all(peer)

    def test_nothing_at_all(self):
        with self.server() as server:
            for data, reply in ((struct.pack(">ii", 0, 5), b""), (session(2, 0), bytes(8))):
                with server.connect() as peer:
                    peer.sendall(data)
                    self.assertEqual(program.received_until_end(peer), reply)

    def test_the_client_with_our_server(self):
        with self.server("--threads", "2") as server:
            where = ("--connect", f"127.0.0.1:{server.port}")
            for args in (("--number", "100", "--length", "64K"), ("--number", "3", "--length", "8M"),
                         ("--number", "0")):
                status, out, err = cli.run("ttcp-client", *where, *args)
                self.assertEqual((status, err), (0, ""))
                self.assertIn(f"{args[1]} of {args[1]} records", out)
        self.assertIn("25165824 bytes in", server.output)

    def test_the_client_with_another_server(self):
        listener = socket.create_server(("127.0.0.1", 0))
        seen = []

        def serve():
            peer, _ = listener.accept()
            with peer:
                number, length = struct.unpack(">ii", cli.read_exactly(peer, 8))
                for _ in range(number):
                    size, = struct.unpack(">i", cli.read_exactly(peer, 4))
                    seen.append((size, cli.read_exactly(peer, size)))
                    peer.sendall(struct.pack(">i", length))
                seen.append(cli.read_all(peer))
        thread = threading.Thread(target=serve)
        thread.start()
        status, _, err = cli.run("ttcp-client", "--connect", f"127.0.0.1:{listener.getsockname()[1]}",
                                 "--number", "3", "--length", "20")
        thread.join()
        listener.close()
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(seen, [(20, b"0123456789ABCDEF0123")] * 3 + [b""])


if __name__ == "__main__":
    cli.main()
