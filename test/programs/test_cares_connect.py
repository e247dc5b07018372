# SPDX-License-Identifier: BSD-2-Clause
"""A name that is looked up twice or never, whose answer goes to another client, or a resolver that
hangs where a server is silent, slow, broken or away."""
import random
import signal
import socket
import socketserver
import struct
import subprocess
import threading
import time
import unittest

import adapter
from program import cli

A, AAAA = 1, 28
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3


def question_of(query):
    """Its name and type, and where it ends."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels), struct.unpack_from(">H", query, at + 1)[0], at + 5


def reply_to(query, addresses=(), code=NO_ERROR, truncated=False):
    _, kind, end = question_of(query)
    flags = 0x8180 | code | (0x0200 if truncated else 0)
    records = [socket.inet_pton(socket.AF_INET if kind == A else socket.AF_INET6, address)
               for address in addresses if (":" in address) == (kind == AAAA)]
    if truncated:
        records = []
    head = query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    return head + query[12:end] + b"".join(
        struct.pack(">HHHIH", 0xc00c, kind, 1, 60, len(record)) + record for record in records)


class Dns:
    """A DNS server on one port of 127.0.0.1, by UDP and by TCP. `zone` maps names to what comes of
    them: addresses, or a function of the query (and of "udp" or "tcp") to the packets to send."""

    def __init__(self, zone):
        self.zone = zone
        self.asked = []
        outer = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                query, sock = self.request
                for packet in outer.answer(query, "udp"):
                    sock.sendto(packet, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self):
                size = self.rfile.read(2)
                while len(size) == 2:
                    for packet in outer.answer(self.rfile.read(*struct.unpack(">H", size)), "tcp"):
                        self.wfile.write(struct.pack(">H", len(packet)) + packet)
                    size = self.rfile.read(2)

        class UdpServer(socketserver.ThreadingUDPServer):
            daemon_threads = True

        class TcpServer(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        while True:  # until a port is free for both
            self.servers = [UdpServer(("127.0.0.1", 0), Udp)]
            self.port = self.servers[0].server_address[1]
            try:
                self.servers.append(TcpServer(("127.0.0.1", self.port), Tcp))
                break
            except OSError:
                self.servers[0].server_close()
        self.threads = [threading.Thread(target=server.serve_forever, args=(0.01,))
                        for server in self.servers]

    def answer(self, query, way):
        name, kind, _ = question_of(query)
        self.asked.append((name, kind, way))
        there = self.zone.get(name.lower(), lambda query, way: [reply_to(query, code=NO_SUCH_NAME)])
        return there(query, way) if callable(there) else [reply_to(query, there)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *args):
        for server in self.servers:
            server.shutdown()
        for thread in self.threads:
            thread.join()
        for server in self.servers:
            server.server_close()

    def connect(self, *names, options=(), before=""):
        """The exit code, and a line for each name."""
        status, out, err = adapter.run("cares-connect", "--servers",
                                       f"{before}127.0.0.1:{self.port}", *options, *names)
        assert err == "", err
        lines = {}
        for line in out.splitlines():
            name, _, rest = line.partition(" ")
            assert name.rstrip(":") not in lines, f"{name} ended twice"
            lines[name.rstrip(":")] = rest
        assert set(lines) == set(names), out
        return status, lines


def silent(query, way):
    return []


class CaresConnect(unittest.TestCase):
    def setUp(self):
        adapter.command("cares-connect")  # or skipped
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.here = f"127.0.0.1:{self.port}"

    def tearDown(self):
        if hasattr(self, "listener"):
            self.listener.close()

    def to(self, name):
        return f"{name}:{self.port}"

    def test_a_name(self):
        with Dns({"one.peal.test": ["127.0.0.1"]}) as dns:
            self.assertEqual(dns.connect(self.to("one.peal.test")),
                             (0, {self.to("one.peal.test"): self.here}))
            self.assertEqual(sorted(dns.asked), [("one.peal.test", A, "udp"),
                                                 ("one.peal.test", AAAA, "udp")])

    def test_many_names_at_once_each_with_its_own_answer(self):
        """In any order of the answers."""
        def late(address):
            def answer(query, way):
                time.sleep(random.random() * 0.2)
                return [reply_to(query, [address])]
            return answer
        names = [f"n{i}.peal.test" for i in range(50)]
        with socket.create_server(("0.0.0.0", 0), backlog=128) as listener:
            port = listener.getsockname()[1]
            with Dns({name: late(f"127.0.1.{i + 1}") for i, name in enumerate(names)}) as dns:
                status, lines = dns.connect(*(f"{name}:{port}" for name in names))
        self.assertEqual(status, 0)
        self.assertEqual(lines, {f"{name}:{port}": f"127.0.1.{i + 1}:{port}"
                                 for i, name in enumerate(names)})

    def test_the_address_that_answers_wins(self):
        with Dns({"six.peal.test": ["::1", "127.0.0.1"],
                  "many.peal.test": ["127.9.9.9", "127.0.0.1", "127.8.8.8"]}) as dns:
            names = [self.to("six.peal.test"), self.to("many.peal.test")]
            self.assertEqual(dns.connect(*names), (0, {name: self.here for name in names}))

    def test_an_answer_too_long_for_a_datagram_is_fetched_by_tcp(self):
        addresses = [f"127.7.7.{i}" for i in range(1, 60)] + ["127.0.0.1"]
        with Dns({"long.peal.test": lambda query, way:
                  [reply_to(query, addresses[-4:] if way == "tcp" else (),
                            truncated=way == "udp")]}) as dns:
            self.assertEqual(dns.connect(self.to("long.peal.test")),
                             (0, {self.to("long.peal.test"): self.here}))
            self.assertIn(("long.peal.test", A, "tcp"), dns.asked)

    def test_each_way_to_fail_beside_one_that_succeeds(self):
        def stranger(query, way):
            """An answer to another question, then noise, then nothing."""
            return [bytes([query[0] ^ 1]) + reply_to(query, ["127.0.0.1"])[1:], query[:7], b""]
        zone = {"one.peal.test": ["127.0.0.1"], "empty.peal.test": [],
                "broken.peal.test": lambda query, way: [reply_to(query, code=SERVER_FAILURE)],
                "silent.peal.test": silent, "stranger.peal.test": stranger}
        expected = {"none.peal.test": "could not be resolved", "empty.peal.test": "could not be",
                    "broken.peal.test": "could not be resolved", "silent.peal.test": "in time",
                    "stranger.peal.test": "in time"}
        with Dns(zone) as dns:
            status, lines = dns.connect(self.to("one.peal.test"), *map(self.to, expected),
                                        options=("--timeout", "1.5"))
            self.assertEqual(status, 1)
            self.assertEqual(lines[self.to("one.peal.test")], self.here)
            for name, why in expected.items():
                self.assertIn(why, lines[self.to(name)], name)

    def test_a_server_that_is_away_gives_way_to_the_next(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            away = nobody.getsockname()[1]
        with Dns({"one.peal.test": ["127.0.0.1"]}) as dns:
            self.assertEqual(dns.connect(self.to("one.peal.test"), before=f"127.0.0.1:{away},"),
                             (0, {self.to("one.peal.test"): self.here}))

    def test_what_needs_no_server(self):
        with Dns({}) as dns:
            names = [self.here, self.to("localhost")]
            status, lines = dns.connect(*names)
            self.assertEqual((status, lines), (0, {name: self.here for name in names}))
            self.assertEqual(dns.asked, [])
            self.assertIn("Invalid argument", dns.connect("nonsense")[1]["nonsense"])

    def test_sigterm_while_it_waits(self):
        with Dns({"silent.peal.test": silent}) as dns:
            command = adapter.command("cares-connect", "--servers", f"127.0.0.1:{dns.port}",
                                      self.to("silent.peal.test"))
            with subprocess.Popen(command, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:
                cli.wait_until(lambda: dns.asked, "a question")
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.communicate(timeout=cli.PATIENCE_S), (b"", b""))
                self.assertEqual(process.returncode, 1)

    def test_mistakes(self):
        self.assertEqual(adapter.run("cares-connect")[0], 2)
        status, out, err = adapter.run("cares-connect", "--servers", "nonsense", "one.test:1")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("Invalid argument", err)


if __name__ == "__main__":
    cli.main()
