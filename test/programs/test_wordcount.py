# SPDX-License-Identifier: BSD-2-Clause
"""A word that is counted twice or not at all, above all where a sender breaks off and comes again."""
import collections
import os
import random
import signal
import socket
import subprocess
import tempfile
import unittest

import program
from program import cli


class Wordcount(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name, data=None):
        path = os.path.join(self.folder.name, name)
        if data is not None:
            with open(path, "wb") as file:
                file.write(data)
        return path

    def server(self, senders, *args):
        return cli.Server("wordcount", "--senders", str(senders), "--output", self.path("result"), *args)

    def result(self):
        with open(self.path("result"), "rb") as file:
            return [tuple(line.split(b"\t")) for line in file.read().splitlines()]

    def send(self, server, data):
        """A whole sender; returns after the server's own end, which says that it has counted."""
        with server.connect() as peer:
            peer.sendall(data)
            peer.shutdown(1)
            self.assertEqual(cli.read_all(peer), b"")

    def client(self, server, *args):
        return cli.run("wordcount-client", "--connect", f"127.0.0.1:{server.port}", *args)

    def piped_client(self, port, *args):
        return subprocess.Popen([cli.PEAL, "wordcount-client", "--connect",
                                 f"127.0.0.1:{port}", *args],
                                stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def finished(self, server, code=0):
        server.expected_status = code
        output, status = server.wait()
        self.assertEqual(status, code, output)
        return output

    def test_sums_the_most_frequent_first(self):
        with self.server(2, "--threads", "2") as server:
            self.send(server, b"b\t2\r\na\t2\r\na\t3\r\n\xff\xfe\t4\r\n")
            self.send(server, b"b\t3\r\nc\t18446744073709551615\r\nc\t1\r\n")
            self.finished(server)
        self.assertEqual(self.result(), [(b"c", b"18446744073709551615"), (b"a", b"5"), (b"b", b"5"),
                                         (b"\xff\xfe", b"4")])

    def test_a_byte_at_a_time(self):
        with self.server(1) as server, server.connect() as peer:
            peer.setsockopt(6, 1, 1)
            for byte in b"some\t10\r\nsome\t1\r\n":
                peer.sendall(bytes([byte]))
            peer.shutdown(1)
            self.assertEqual(cli.read_all(peer), b"")
            self.finished(server)
        self.assertEqual(self.result(), [(b"some", b"11")])

    def test_a_sender_that_breaks_off_counts_for_nothing_and_may_come_again(self):
        with self.server(2) as server:
            for data in (b"", b"a\t1\r\n", b"a\t1\r\nb"):
                peer = server.connect()
                peer.sendall(data)
                program.reset(peer)
            with server.connect() as other:  # and one that is there all the time
                other.sendall(b"b\t1\r\n")
                self.send(server, b"a\t1\r\n")
                other.shutdown(1)
                self.assertEqual(cli.read_all(other), b"")
            self.finished(server)
        self.assertEqual(self.result(), [(b"a", b"1"), (b"b", b"1")])

    def test_what_is_no_line_is_refused_whole(self):
        lines = (b"\r\n", b"a\r\n", b"\t1\r\n", b"a\t\r\n", b"a\tb\r\n", b"a\t-1\r\n", b"a\t+1\r\n",
                 b"a\t 1\r\n", b"a\t1 \r\n", b"a\t18446744073709551616\r\n", b"a\t1\t1\r\n",
                 b"a" * 4097 + b"\t1\r\n", b"a" * 5000)
        with self.server(1) as server:
            for line in lines:
                with server.connect() as peer:
                    peer.sendall(b"x\t1\r\n" + line)
                    with self.assertRaises(ConnectionResetError, msg=line):
                        cli.read_all(peer)
            with server.connect() as peer:
                peer.sendall(b"x\t1\r\nhalf")
                peer.shutdown(1)
                with self.assertRaises(ConnectionResetError):
                    cli.read_all(peer)
            self.send(server, b"a" * 4096 + b"\t1\r\n")
            output = self.finished(server)
        self.assertEqual(output.count("none of its words count"), len(lines) + 1)
        self.assertIn("ended in the middle of a line", output)
        self.assertEqual(self.result(), [(b"a" * 4096, b"1")])

    def test_a_server_that_is_ended_first_says_so(self):
        with self.server(3) as server, server.connect() as peer:
            peer.sendall(b"half\t1\r\n")
            self.send(server, b"whole\t1\r\n")
            server.signal(signal.SIGTERM)
            self.assertEqual(cli.read_all(peer), b"")
            self.assertIn("1 of 3 senders have finished", self.finished(server, 1))
        self.assertEqual(self.result(), [(b"whole", b"1")])

    def test_a_result_that_cannot_be_written(self):
        with cli.Server("wordcount", "--output", self.path("no/such")) as server:
            self.send(server, b"a\t1\r\n")
            self.assertIn("no/such: No such file", self.finished(server, 1))

    def test_the_clients_with_two_servers(self):
        rng = random.Random(4)
        vocabulary = [bytes(rng.choices(range(33, 256), k=rng.randint(1, 12))) for _ in range(20000)]
        # of which some are white space to the eye only: words are bytes
        vocabulary = [word for word in vocabulary if word.split() == [word]]
        files, counts = [], collections.Counter()
        for i in range(4):
            words = rng.choices(vocabulary, k=50000)
            counts.update(words)
            text = b"".join(word + rng.choice((b" ", b"\n", b"\t", b"\r\n", b"  ")) for word in words)
            files.append(self.path(f"text{i}", text if i != 1 else text.rstrip()))
        with self.server(2, "--threads", "2") as first:
            with cli.Server("wordcount", "--senders", "2", "--output", self.path("second")) as second:
                for args in ((files[0], files[1]), ("--memory", "20K", files[2], files[3])):
                    status, _, err = self.client(first, "--connect", f"127.0.0.1:{second.port}", *args)
                    self.assertEqual((status, err), (0, "100000 words counted\n"))
                self.finished(first)
                self.finished(second)
        result = self.result()
        shares = [len(result)]
        with open(self.path("second"), "rb") as file:
            result += [tuple(line.split(b"\t")) for line in file.read().splitlines()]
        shares.append(len(result) - shares[0])
        self.assertEqual({word: int(count) for word, count in result}, counts)
        self.assertEqual(len(result), len(counts))
        self.assertGreater(min(shares), len(result) // 3)

    def test_the_client_reads_its_standard_input(self):
        with self.server(1) as server:
            client = self.piped_client(server.port)
            _, err = client.communicate(b"one two\ntwo " + b"x" * 5000, cli.PATIENCE_S)
            self.assertEqual((client.returncode, err), (0, b"5 words counted\n"))
            self.finished(server)
        self.assertEqual(self.result(), [(b"two", b"2"), (b"one", b"1"), (b"x" * 904, b"1"),
                                         (b"x" * 4096, b"1")])

    def test_a_client_that_cannot_read_all_counts_for_nothing(self):
        good = self.path("good", b"word " * 1000)
        with self.server(1) as server:
            for bad in (self.path("missing"), self.folder.name):
                status, _, err = self.client(server, good, bad)
                self.assertEqual(status, 1)
                self.assertIn(f"{bad}: ", err)
                self.assertIn("none of the words count", err)
            self.send(server, b"")
            self.finished(server)
        self.assertEqual(self.result(), [])

    def test_a_client_that_misses_one_of_its_servers_tells_the_other_nothing(self):
        good = self.path("good", b"word " * 1000)
        with self.server(1) as server:
            status, _, err = cli.run("wordcount-client", "--connect", f"127.0.0.1:{server.port}",
                                     "--connect", f"unix:{self.path('nobody')}", good)
            self.assertEqual(status, 1)
            self.assertIn("cannot connect to unix:", err)
            self.send(server, b"")
            self.finished(server)
        self.assertEqual(self.result(), [])

    def test_a_client_that_is_ended_resets(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = self.piped_client(listener.getsockname()[1], "--memory", "1")
            client.stdin.write(b"a b a ")
            client.stdin.flush()
            peer, _ = listener.accept()
            with peer:
                self.assertEqual(cli.read_exactly(peer, 10), b"a\t2\r\nb\t1\r\n")
                client.send_signal(signal.SIGTERM)
                with self.assertRaises(ConnectionResetError):
                    cli.read_all(peer)
            self.assertEqual(client.wait(cli.PATIENCE_S), 1)
            client.communicate()

    def test_a_server_that_ends_early_or_is_slow(self):
        text = self.path("text", b" ".join(b"%d" % i for i in range(500000)))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for is_slow in (False, True):
                client = self.piped_client(listener.getsockname()[1], "--memory", "50K", text)
                peer, _ = listener.accept()
                with peer:
                    cli.read_exactly(peer, 10)
                    if is_slow:
                        self.assertEqual(cli.read_all(peer).count(b"\n"), 500000 - 2)
                    else:
                        peer.shutdown(socket.SHUT_WR)
                        with self.assertRaises(ConnectionResetError):
                            cli.read_all(peer)
                _, err = client.communicate(timeout=cli.PATIENCE_S)
                self.assertEqual(client.returncode, 0 if is_slow else 1, err)
                self.assertIn(b"500000 words" if is_slow else b"ended before all was sent", err)


if __name__ == "__main__":
    cli.main()
