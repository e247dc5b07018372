# SPDX-License-Identifier: BSD-2-Clause
"""A reply that is lost, out of order or another command's, a subscription that goes deaf, or a
connection that ends and nobody is told."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import adapter
import program
from program import cli


class Redis:
    """A real server, on a unix socket in a folder of its own."""

    def __init__(self):
        path = shutil.which("redis-server")
        if not path:
            raise unittest.SkipTest("there is no redis-server")
        adapter.command("redis-command")  # or skipped
        self.folder = tempfile.mkdtemp(prefix="peal-redis-")
        self.socket = os.path.join(self.folder, "socket")
        self.address = "unix:" + self.socket
        self.process = subprocess.Popen(
            [path, "--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no",
             "--dir", self.folder, "--daemonize", "no"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        def answers():
            if self.process.poll() is not None:
                raise AssertionError("redis-server ended at once")
            with socket.socket(socket.AF_UNIX) as peer:
                return peer.connect_ex(self.socket) == 0
        try:
            cli.wait_until(answers, "redis-server")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def ask(self, *args, text=""):
        return adapter.run("redis-command", "--connect", self.address, *args, text=text)

    def __exit__(self, *args):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Subscriber:
    """redis-command in the background, when its subscription is confirmed."""

    def __init__(self, redis, *args):
        self.process = subprocess.Popen(
            adapter.command("redis-command", "--connect", redis.address, *args, "SUBSCRIBE", "news"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.confirmed = [self.process.stdout.readline() for _ in range(4)]

    def wait(self):
        try:
            out, err = self.process.communicate(timeout=cli.PATIENCE_S)
        finally:
            self.process.kill()
        return self.process.returncode, out.decode(), err.decode()


class WithRedis(unittest.TestCase):
    def test_replies_of_each_kind(self):
        with Redis() as redis:
            for words, reply in ((["PING"], "PONG\n"), (["SET", "key", "a b"], "OK\n"),
                                 (["GET", "key"], "a b\n"), (["GET", "none"], "(nil)\n"),
                                 (["APPEND", "key", "c"], "4\n"),
                                 (["MGET", "key", "none"], "(2)\n  a bc\n  (nil)\n")):
                self.assertEqual(redis.ask(*words), (0, reply, ""), words)
            status, out, _ = redis.ask("LPUSH", "key", "1")
            self.assertEqual(status, 1)
            self.assertTrue(out.startswith("WRONGTYPE"), out)

    def test_thousands_of_commands_at_once(self):
        """More than the sockets' buffers take, in both directions."""
        with Redis() as redis:
            values = [str(i) * 300 for i in range(3000)]
            lines = [f"SET {i} {value}\nGET {i}" for i, value in enumerate(values)]
            status, out, err = redis.ask("--file", "-", text="\n".join(lines))
            self.assertEqual((status, err), (0, ""))
            self.assertTrue(out == "".join(f"OK\n{value}\n" for value in values))

    def test_messages_of_a_subscription(self):
        with Redis() as redis:
            subscribers = [Subscriber(redis, "--messages", "3") for _ in range(2)]
            for subscriber in subscribers:
                self.assertEqual(subscriber.confirmed[1:], [b"  subscribe\n", b"  news\n", b"  1\n"])
            for i in range(3):
                self.assertEqual(redis.ask("PUBLISH", "news", f"message {i}"), (0, "2\n", ""))
            for subscriber in subscribers:
                expected = "".join(f"(3)\n  message\n  news\n  message {i}\n" for i in range(3))
                self.assertEqual(subscriber.wait(), (0, expected, ""))

    def test_a_signal_ends_a_subscription(self):
        with Redis() as redis:
            subscriber = Subscriber(redis)
            subscriber.process.send_signal(signal.SIGTERM)
            self.assertEqual(subscriber.wait(), (0, "", ""))

    def test_the_server_dies(self):
        with Redis() as redis:
            subscriber = Subscriber(redis)
            redis.process.kill()
            status, _, err = subscriber.wait()
            self.assertEqual(status, 1)
            self.assertIn("Server closed the connection", err)


class WithoutRedis(unittest.TestCase):
    """A server of our own, for what a real one would not do."""

    def ask(self, serve, *args):
        """Serve is called with the connection in a thread."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def accept():
                peer, _ = listener.accept()
                with peer:
                    serve(peer)
            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            result = adapter.run("redis-command", "--connect",
                                 f"127.0.0.1:{listener.getsockname()[1]}", *args)
            thread.join(cli.PATIENCE_S)
            return result

    def test_a_reply_that_comes_byte_by_byte(self):
        def serve(peer):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.recv(4096)
            for byte in b"*2\r\n$5\r\nhello\r\n:42\r\n":
                peer.send(bytes([byte]))
                time.sleep(0.001)
            peer.recv(1)
        self.assertEqual(self.ask(serve, "ASK"), (0, "(2)\n  hello\n  42\n", ""))

    def test_a_connection_that_ends_in_a_reply(self):
        for end, why in ((lambda peer: None, "closed the connection"),
                         (program.reset, "reset by peer")):
            def serve(peer, end=end):
                peer.recv(4096)
                peer.send(b"$5\r\nhel")
                end(peer)
            status, out, err = self.ask(serve, "ASK")
            self.assertEqual((status, out), (1, ""))
            self.assertIn(why, err)

    def test_what_is_no_reply(self):
        def serve(peer):
            peer.recv(4096)
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.recv(1)
        status, out, err = self.ask(serve, "ASK")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("Protocol error", err)

    def test_nobody_there(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            for address, why in ((f"127.0.0.1:{nobody.getsockname()[1]}", "refused"),
                                 ("unix:/nowhere/socket", "No such file"),
                                 ("nonsense", "Invalid argument")):
                status, out, err = adapter.run("redis-command", "--connect", address, "PING")
                self.assertEqual((status, out), (1, ""))
                self.assertIn(why, err)


if __name__ == "__main__":
    cli.main()
