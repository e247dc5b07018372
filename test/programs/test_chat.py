# SPDX-License-Identifier: BSD-2-Clause
"""A message that some do not hear, or hear twice, or for which all wait because one does not read."""
import os
import socket
import struct
import subprocess
import threading
import unittest

import program
from program import cli


def message(body):
    return struct.pack(">I", len(body)) + body


def hear(peer):
    size, = struct.unpack(">I", cli.read_exactly(peer, 4))
    return cli.read_exactly(peer, size)


class Chat(program.AnyPeer, unittest.TestCase):
    NAME = "chat"
    REQUEST = message(b"hello, all of you")
    REPLY_BYTES = len(REQUEST)
    SLOW_REQUESTS = 20000

    def check_reply(self, reply):
        self.assertEqual(reply, self.REQUEST)

    # The others' words come too, so these two are written anew.
    def test_a_peer_that_resets_in_the_middle_harms_nobody(self):
        with self.server("--threads", "2") as server, server.connect() as other:
            for size in (0, 3, 4, 10):
                peer = server.connect()
                peer.sendall(self.REQUEST[:size])
                program.reset(peer)
            self.ask(other)

    def test_sigterm_while_busy_loses_nothing(self):
        with self.server("--threads", "2") as server:
            peers = self.company(server, 8)
            peers[0].sendall(self.REQUEST)
            for peer in peers:
                self.check_reply(self.read_reply(peer))
            server.signal(15)
            for peer in peers:
                self.assertEqual(cli.read_all(peer), b"")
                peer.close()
            output, _ = server.wait()
            self.assertIn("8 clean, 0 otherwise, 0 cut off, 0 bytes unsent", output)

    def company(self, server, count, **options):
        """So many that are all in the room, and have nothing left to hear."""
        peers = [server.connect(**options) for _ in range(count)]
        for number, peer in enumerate(peers):
            peer.sendall(message(b"me %d" % number))
            while hear(peer) != b"me %d" % number:
                pass
        peers[0].sendall(message(b"all here"))
        for peer in peers:
            while hear(peer) != b"all here":
                pass
        return peers

    def test_all_hear_all_in_each_speakers_order(self):
        with self.server("--threads", "3") as server:
            peers = self.company(server, 12)
            for turn in range(50):
                for number in (0, 5, 11):
                    peers[number].sendall(message(b"%d %d" % (number, turn)))
            for peer in peers:
                heard = {b"0": [], b"5": [], b"11": []}
                for _ in range(150):
                    number, turn = hear(peer).split()
                    heard[number].append(int(turn))
                for turns in heard.values():
                    self.assertEqual(turns, list(range(50)))
                peer.close()

    def test_a_thousand_hear_one(self):
        with self.server("--threads", "2") as server:
            body = os.urandom(60000)
            peers = [server.connect() for _ in range(1000)]
            cli.wait_until(lambda: self.open_now(server) == 1000, "all to be open")
            peers[0].sendall(message(body))
            for peer in peers:
                self.assertTrue(hear(peer) == body)
                peer.close()

    def open_now(self, server):
        server.signal(10)  # SIGUSR1: it prints its counters
        counted = [line.split()[1] for line in server.read_log().splitlines()
                   if line.startswith("connections_now ")]
        return int(counted[-1]) if counted else 0

    def test_one_who_does_not_read_is_cut_off_and_nobody_waits(self):
        with self.server("--threads", "2", "--output-cap", "256K", "--verbose") as server:
            deaf = server.connect(receive_buffer=4096)
            peers = self.company(server, 4)
            body = os.urandom(50000)
            for _ in range(200):  # 10 MB
                peers[0].sendall(message(body))
                for peer in peers:
                    self.assertTrue(hear(peer) == body)
            server.wait_for_output("output cap")
            with self.assertRaises(ConnectionResetError):
                cli.read_all(deaf)
            for peer in peers:
                peer.close()
        self.assertEqual(server.output.count("output cap"), 1)

    def test_a_flood_of_small_ones_waits_and_all_of_it_comes(self):
        number = 100000
        with self.server("--threads", "3", "--output-cap", "64M") as server:
            peers = self.company(server, 3)
            flood = threading.Thread(target=peers[0].sendall, args=(
                b"".join(message(b"%d" % i) for i in range(number)),))
            flood.start()
            expected = b"".join(message(b"%d" % i) for i in range(number))
            for peer in peers:
                self.assertTrue(cli.read_exactly(peer, len(expected)) == expected)
            flood.join()
            peers[2].sendall(message(b"and I"))
            for peer in peers:
                self.assertEqual(hear(peer), b"and I")
                peer.close()

    def test_a_message_that_is_too_large(self):
        with self.server("--verbose") as server:
            largest = message(os.urandom(65536))
            with server.connect() as peer:
                peer.sendall(largest)
                self.assertTrue(cli.read_exactly(peer, len(largest)) == largest)
                peer.sendall(struct.pack(">I", 65537))
                with self.assertRaises(ConnectionResetError):
                    cli.read_all(peer)
            server.wait_for_output("protocol error")

    def client(self, port, *args, **options):
        return subprocess.Popen([cli.PEAL, "chat-client", "--connect", f"127.0.0.1:{port}", *args],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def test_the_client_talks(self):
        with self.server() as server:
            with self.client(server.port, stdin=subprocess.PIPE) as talker:
                talker.stdin.write(b"one\n\nthree")
                talker.stdin.close()
                self.assertEqual(talker.stdout.read(), b"one\n\nthree\n")
                self.assertEqual((talker.stderr.read(), talker.wait(cli.PATIENCE_S)), (b"", 0))

    def test_the_client_reads_a_file(self):
        path = os.path.join(cli.ROOT, "README.md")
        with open(path, "rb") as file, self.server() as server:
            text = file.read()
            file.seek(0)
            with self.client(server.port, stdin=file) as talker:
                self.assertEqual(talker.stdout.read(), text)
                self.assertEqual(talker.wait(cli.PATIENCE_S), 0)

    def test_the_client_with_another_server(self):
        listener = socket.create_server(("127.0.0.1", 0))
        seen = []

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.sendall(message(b"welcome"))
                seen.append(cli.read_all(peer))
        thread = threading.Thread(target=serve)
        thread.start()
        with self.client(listener.getsockname()[1], stdin=subprocess.PIPE) as talker:
            self.assertEqual(talker.stdout.readline(), b"welcome\n")
            talker.stdin.write(b"thanks\n")
            talker.stdin.close()
            self.assertEqual(talker.wait(cli.PATIENCE_S), 0)
        thread.join()
        listener.close()
        self.assertEqual(seen, [message(b"thanks")])

    def test_the_client_measures(self):
        with self.server("--threads", "2") as server:
            status, out, err = cli.run("chat-client", "--connect", f"127.0.0.1:{server.port}",
                                       "--conns", "50", "--threads", "2", "--messages", "100")
            self.assertEqual((status, err), (0, ""))
            self.assertIn("100 messages of 100 bytes to 50 connections", out)


if __name__ == "__main__":
    cli.main()
