# SPDX-License-Identifier: BSD-2-Clause
"""Bytes of one client that reach another, an id that names two, or a client that is left without an end."""
import os
import re
import struct
import threading
import time
import unittest

import backend
import program
from program import cli


def frame(number, body):
    return struct.pack("<BH", len(body), number) + body


def news(body):
    found = re.fullmatch(rb"CONN (\d+) FROM (.+) IS (UP|DOWN)\r\n", body)
    assert found, body
    return int(found.group(1)), found.group(2).decode(), found.group(3).decode()


def send_until_stopped(peers):
    """Sends on all until none of them is read any more. Returns what each has sent."""
    sent, still, block = [0] * len(peers), 0, bytes(range(256)) * 64
    for peer in peers:
        peer.setblocking(False)
    while still < 10:
        still += 1
        for i, peer in enumerate(peers):
            try:
                sent[i] += peer.send(block)
                still = 0
            except BlockingIOError:
                pass
        if still:
            time.sleep(0.02)
    for peer in peers:
        peer.setblocking(True)
    return sent


class Upstream:
    """The backend's side of the one connection."""

    def __init__(self, peer):
        self.peer = peer
        self.bodies = {}

    def read(self):
        size, number = struct.unpack("<BH", cli.read_exactly(self.peer, 3))
        return number, cli.read_exactly(self.peer, size)

    def read_told(self):
        number, body = self.read()
        assert number == 0, (number, body)
        return news(body)

    def send(self, number, data):
        self.peer.sendall(b"".join(frame(number, data[at:at + 255]) for at in range(0, len(data), 255)))


class Multiplexer(unittest.TestCase):
    def server(self, back, *args):
        return cli.Server("multiplexer", "--to", f"127.0.0.1:{back.port}", *args)

    def client(self, server, upstream):
        peer = server.connect()
        number, address, what = upstream.read_told()
        self.assertEqual((address, what), ("127.0.0.1:%d" % peer.getsockname()[1], "UP"))
        return peer, number

    def test_up_bytes_down(self):
        with backend.Backend() as back, self.server(back) as server, back.accept() as accepted:
            upstream = Upstream(accepted)
            one, first = self.client(server, upstream)
            two, second = self.client(server, upstream)
            self.assertNotEqual(first, second)
            one.sendall(b"hello")
            self.assertEqual(upstream.read(), (first, b"hello"))
            two.sendall(b"x" * 600)
            seen = b""
            while len(seen) < 600:
                number, body = upstream.read()
                self.assertEqual(number, second)
                self.assertGreater(len(body), 0)
                seen += body
            upstream.send(second, b"to two")
            upstream.send(first, b"to one")
            upstream.send(0, b"a command")
            upstream.send(999, b"to nobody")
            upstream.send(first, b"")
            upstream.send(first, b"!")
            self.assertEqual(cli.read_exactly(two, 6), b"to two")
            self.assertEqual(cli.read_exactly(one, 7), b"to one!")
            one.close()
            self.assertEqual(upstream.read_told()[::2], (first, "DOWN"))
            program.reset(two)
            self.assertEqual(upstream.read_told()[::2], (second, "DOWN"))

    def test_many_at_once_on_several_loops(self):
        with backend.Backend() as back, self.server(back, "--threads", "3") as server, \
                back.accept() as accepted:
            upstream = Upstream(accepted)
            clients = [self.client(server, upstream) for _ in range(30)]
            sent = {number: os.urandom(40000) for _, number in clients}
            self.assertEqual(len(sent), 30)
            seen = {number: b"" for number in sent}

            def talk(peer, number):
                peer.sendall(sent[number])
            threads = [threading.Thread(target=talk, args=client) for client in clients]
            for thread in threads:
                thread.start()
            while any(len(seen[number]) < 40000 for number in seen):
                number, body = upstream.read()
                seen[number] += body
            for thread in threads:
                thread.join()
            self.assertTrue(seen == sent)
            for _, number in clients:
                upstream.send(number, sent[number])
            for peer, number in clients:
                self.assertTrue(cli.read_exactly(peer, 40000) == sent[number])
                peer.close()
            self.assertEqual({upstream.read_told()[0] for _ in clients}, set(sent))

    def test_as_many_as_there_are_ids(self):
        with backend.Backend() as back, self.server(back, "--clients", "2") as server, \
                back.accept() as accepted:
            upstream = Upstream(accepted)
            one, first = self.client(server, upstream)
            two, _ = self.client(server, upstream)
            with server.connect() as refused:
                self.assertEqual(program.received_until_end(refused), b"")
            one.close()
            self.assertEqual(upstream.read_told()[::2], (first, "DOWN"))
            three, again = self.client(server, upstream)
            self.assertEqual(again, first)  # after its DOWN, and not before
            upstream.send(again, b"new")
            self.assertEqual(cli.read_exactly(three, 3), b"new")
            two.close()
            three.close()

    def test_when_the_backend_goes_its_clients_do_and_it_comes_back(self):
        with backend.Backend() as back, self.server(back) as server:
            for end in (lambda peer: peer.close(), program.reset):
                accepted = back.accept()
                upstream = Upstream(accepted)
                cli.wait_until(lambda: self.is_served(server, upstream), "the backend to be there")
                peer, _ = self.client(server, upstream)
                end(accepted)
                self.assertEqual(program.received_until_end(peer), b"")
                peer.close()
            server.wait_for_output("the backend has gone")
            accepted = back.accept()
            accepted.close()
        with self.server(type("Nobody", (), {"port": backend.refusing_port()})) as server:
            with server.connect() as peer:
                self.assertEqual(program.received_until_end(peer), b"")
            server.wait_for_output("Connection refused")

    def is_served(self, server, upstream):
        """A client that came before the backend's connection was known is closed, without a word."""
        with server.connect() as peer:
            peer.settimeout(0.2)
            try:
                if peer.recv(1) == b"":
                    return False
            except TimeoutError:
                pass
        self.assertEqual(upstream.read_told()[2], "UP")
        self.assertEqual(upstream.read_told()[2], "DOWN")
        return True

    def test_a_backend_that_does_not_read_stops_the_clients(self):
        with backend.Backend() as back, self.server(back, "--backlog", "1M", "--threads", "2") as server, \
                back.accept() as accepted:
            upstream = Upstream(accepted)
            clients = [self.client(server, upstream) for _ in range(4)]
            before = server.rss_bytes()
            sent = dict(zip((number for _, number in clients),
                            send_until_stopped([peer for peer, _ in clients])))
            self.assertLess(server.rss_bytes() - before, 32 << 20)
            seen = dict.fromkeys(sent, 0)
            while seen != sent:
                number, body = upstream.read()
                seen[number] += len(body)
            for peer, number in clients:  # and all goes on
                peer.sendall(b"more")
                self.assertEqual(upstream.read(), (number, b"more"))
            for peer, _ in clients:
                peer.close()

    def test_clients_may_come_and_go_while_the_backend_does_not_read(self):
        with backend.Backend() as back, \
                self.server(back, "--backlog", "1M", "--threads", "2", "--clients", "4000") as server, \
                back.accept() as accepted:
            upstream = Upstream(accepted)
            talker, number = self.client(server, upstream)
            [sent] = send_until_stopped([talker])
            for _ in range(3000):
                server.connect().close()
            last = server.connect()
            last.sendall(b"end")
            here, ups, seen = set(), 0, 0
            while sent - seen or ups < 3001 or len(here) > 1:
                told, body = upstream.read()
                if told == number:
                    seen += len(body)
                elif told:
                    self.assertEqual(body, b"end")
                    self.assertIn(told, here)
                else:
                    told, _, what = news(body)
                    if what == "UP":
                        self.assertNotIn(told, here)
                        here.add(told)
                        ups += 1
                    else:
                        here.remove(told)
            self.assertEqual(ups, 3001)
            last.close()
            talker.close()

    def test_a_client_that_does_not_read_is_cut_off(self):
        with backend.Backend() as back, self.server(back, "--output-cap", "256K", "--verbose") as server, \
                back.accept() as accepted:
            upstream = Upstream(accepted)
            deaf, number = self.client(server, upstream)
            other, second = self.client(server, upstream)
            for _ in range(200):
                upstream.send(number, b"x" * 65536)
                upstream.send(second, b"y")
                self.assertEqual(cli.read_exactly(other, 1), b"y")
            self.assertEqual(upstream.read_told()[::2], (number, "DOWN"))
            server.wait_for_output("output cap")
            deaf.close()
            other.close()

    def test_sigterm(self):
        with backend.Backend() as back, self.server(back, "--threads", "2") as server, \
                back.accept() as accepted:
            upstream = Upstream(accepted)
            clients = [self.client(server, upstream) for _ in range(4)]
            for _, number in clients:
                upstream.send(number, b"bye")
            for peer, _ in clients:
                cli.read_exactly(peer, 3)
            server.signal(15)
            for peer, _ in clients:
                self.assertEqual(cli.read_all(peer), b"")
                peer.close()
            output, status = server.wait()
            self.assertEqual(status, 0)
            self.assertIn("4 clean, 0 otherwise, 0 cut off, 0 bytes unsent", output)


if __name__ == "__main__":
    cli.main()
