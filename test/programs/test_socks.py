# SPDX-License-Identifier: BSD-2-Clause
"""A client that is connected elsewhere than it said, or is not told why it is not connected."""
import http.server
import os
import shutil
import socket
import struct
import subprocess
import threading
import unittest

import backend
import program
from program import cli

V4_HOME = socket.inet_aton("127.0.0.1")


def v4_request(port, host=V4_HOME, user=b"me", name=None, command=1):
    return struct.pack(">BBH", 4, command, port) + host + user + b"\0" + \
        (name + b"\0" if name is not None else b"")


def v5_request(port, kind=1, host=V4_HOME, command=1):
    return bytes([5, command, 0, kind]) + host + struct.pack(">H", port)


class Socks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = b"the page " * 10000
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        class V6(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6
        cls.http = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page), V6(("::1", 0), Page)]
        for server in cls.http:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @classmethod
    def tearDownClass(cls):
        for server in cls.http:
            server.shutdown()
            server.server_close()

    def greeted(self, server):
        peer = server.connect()
        peer.sendall(b"\5\1\0")
        self.assertEqual(cli.read_exactly(peer, 2), b"\5\0")
        return peer

    def test_curl(self):
        if not shutil.which("curl"):
            self.skipTest("no curl")
        v4, v6 = (server.server_port for server in self.http)
        with cli.Server("socks", "--threads", "2") as socks:
            for option, url in (("--socks5", f"http://127.0.0.1:{v4}/"),
                                ("--socks5", f"http://[::1]:{v6}/"),
                                ("--socks5-hostname", f"http://localhost:{v4}/"),
                                ("--socks4", f"http://127.0.0.1:{v4}/"),
                                ("--socks4a", f"http://localhost:{v4}/")):
                done = subprocess.run(["curl", "-sS", "--noproxy", "", option, f"127.0.0.1:{socks.port}", url],
                                      capture_output=True, timeout=cli.PATIENCE_S, check=False)
                self.assertEqual(done.stderr, b"", option)
                self.assertTrue(done.stdout == b"the page " * 10000, option)

    def test_v5_and_what_comes_at_once(self):
        with backend.Backend() as back, cli.Server("socks") as socks, socks.connect() as peer:
            peer.sendall(b"\5\2\0\2" + v5_request(back.port) + b"hello")  # and waits for nothing
            other = back.accept()
            self.assertEqual(cli.read_exactly(other, 5), b"hello")
            reply = cli.read_exactly(peer, 12)
            self.assertEqual(reply[:6], b"\5\0\5\0\0\1")
            self.assertEqual(reply[6:10], V4_HOME)
            self.assertEqual(struct.unpack(">H", reply[10:])[0], other.getpeername()[1])
            other.sendall(b"answer")
            other.shutdown(socket.SHUT_WR)
            self.assertEqual(cli.read_all(peer), b"answer")
            peer.sendall(b"more")
            peer.close()
            self.assertEqual(cli.read_all(other), b"more")
            other.close()

    def test_v5_byte_by_byte_with_a_name(self):
        with backend.Backend(backend.echo) as back, cli.Server("socks") as socks, socks.connect() as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"\5\1\0" + v5_request(back.port, 3, b"\x09127.0.0.1"):
                peer.sendall(bytes([byte]))
            self.assertEqual(cli.read_exactly(peer, 12)[:4], b"\5\0\5\0")
            peer.sendall(b"echo")
            self.assertEqual(cli.read_exactly(peer, 4), b"echo")

    def test_v4_and_4a(self):
        with backend.Backend(backend.echo) as back, cli.Server("socks") as socks:
            for request in (v4_request(back.port), v4_request(back.port, user=b""),
                            v4_request(back.port, host=b"\0\0\0\1", name=b"localhost")):
                with socks.connect() as peer:
                    peer.sendall(request + b"early")
                    self.assertEqual(cli.read_exactly(peer, 8)[:2], b"\0\x5a")
                    self.assertEqual(cli.read_exactly(peer, 5), b"early")

    def expect(self, server, data, reply):
        """The answer, then the end of the stream."""
        with server.connect() as peer:
            peer.sendall(data)
            self.assertEqual(cli.read_all(peer)[:len(reply)], reply, data)

    def test_each_failure_has_its_answer(self):
        refused = backend.refusing_port()
        with cli.Server("socks", "--connect", "2") as socks:
            self.expect(socks, b"\5\1\2", b"\5\xff")  # only with a password
            greeting = b"\5\1\0"
            self.expect(socks, greeting + v5_request(refused), b"\5\0\5\5")
            self.expect(socks, greeting + v5_request(80, command=2), b"\5\0\5\7")
            self.expect(socks, greeting + v5_request(80, kind=2), b"\5\0\5\x08")
            self.expect(socks, greeting + v5_request(80, 3, b"\x0cnot.invalid."), b"\5\0\5\4")
            self.expect(socks, greeting + v5_request(80, 3, b"\0"), b"\5\0\5\4")
            self.expect(socks, greeting + v5_request(80, 3, b"\3a:b"), b"\5\0\5\4")
            self.expect(socks, greeting + b"\4" + v5_request(80)[1:], b"\5\0\5\1")
            self.expect(socks, v4_request(refused), b"\0\x5b")
            self.expect(socks, v4_request(80, command=2), b"\0\x5b")
            self.expect(socks, v4_request(80, host=b"\0\0\0\1", name=b"not.invalid."), b"\0\x5b")
            for name in b"two\nlines", b"\x1b[2J", b"\xbb\xff", b"a:b", b"[":
                self.expect(socks, v4_request(80, host=b"\0\0\0\1", name=name), b"\0\x5b")

    def test_what_is_no_request(self):
        with cli.Server("socks", "--handshake", "0.4") as socks:
            for data in (b"GET / HTTP/1.0\r\n\r\n", b"\6", v4_request(80, user=b"x" * 2000)[:1500]):
                with socks.connect() as peer:
                    peer.sendall(data)
                    self.assertEqual(program.received_until_end(peer), b"")
            for data in (b"", b"\5", b"\5\1\0", b"\5\1\0\5\1", b"\4\1\0"):  # who says no more is ended
                with socks.connect() as peer:
                    peer.sendall(data)
                    self.assertIn(program.received_until_end(peer), (b"", b"\5\0"))
            for data in (b"", b"\5\1", b"\5\1\0"):  # and who ends its side
                with socks.connect() as peer:
                    peer.sendall(data)
                    peer.shutdown(socket.SHUT_WR)
                    self.assertIn(program.received_until_end(peer), (b"", b"\5\0"))

    def test_resets_pass_and_harm_nobody(self):
        with backend.Backend() as back, cli.Server("socks", "--threads", "2") as socks:
            request = b"\5\1\0" + v5_request(back.port)
            for size in range(0, len(request), 3):
                peer = socks.connect()
                peer.sendall(request[:size])
                program.reset(peer)
            peer = self.greeted(socks)
            peer.sendall(v5_request(back.port))
            other = back.accept()
            cli.read_exactly(peer, 10)
            program.reset(other)
            with self.assertRaises(ConnectionResetError):
                cli.read_all(peer)
            peer.close()

    def test_much_both_ways_at_once(self):
        with backend.Backend() as back, cli.Server("socks") as socks:
            front = self.greeted(socks)
            front.sendall(v5_request(back.port))
            other = back.accept()
            cli.read_exactly(front, 10)
            sums = backend.both_ways(front, other, int(os.environ.get("BIG", 16 << 20)))
            self.assertEqual(sums["up", "sent"], sums["up", "received"])
            self.assertEqual(sums["down", "sent"], sums["down", "received"])
            front.close()
            other.close()

    def test_sigterm_in_the_midst(self):
        with backend.Backend(backend.echo) as back, cli.Server("socks", "--threads", "2") as socks:
            peers = [self.greeted(socks) for _ in range(4)]
            for peer in peers[:2]:
                peer.sendall(v5_request(back.port) + b"x" * 50000)
                cli.read_exactly(peer, 10 + 50000)
            socks.signal(15)
            for peer in peers:
                self.assertEqual(cli.read_all(peer), b"")
                peer.close()
            output, status = socks.wait()
            self.assertEqual(status, 0)
            self.assertIn("4 clean, 0 otherwise, 0 cut off, 0 bytes unsent", output)


if __name__ == "__main__":
    cli.main()
