# SPDX-License-Identifier: BSD-2-Clause
"""A subscriber that misses a publication, hears one twice or out of order, or hears another topic's."""
import re
import socket
import subprocess
import threading
import unittest

import program
from program import cli


def pub(topic, body):
    return b"pub " + topic + b"\r\n" + body + b"\r\n"


class Listener:
    """A connection that reads publications."""

    def __init__(self, server, **options):
        self.peer = server.connect(**options)
        self.file = self.peer.makefile("rb")

    def send(self, data):
        self.peer.sendall(data)

    def hear(self):
        head, body = self.file.readline(), self.file.readline()
        if not head:
            return None
        assert head.startswith(b"pub ") and head.endswith(b"\r\n") and body.endswith(b"\r\n"), (head, body)
        return head[4:-2], body[:-2]

    def settle(self, topic):
        """All that was sent here has been done when its own publication comes back."""
        self.send(b"sub " + topic + b"\r\n" + pub(topic, b"settled"))
        while self.hear() != (topic, b"settled"):
            pass

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.file.close()
        self.peer.close()


class Hub(program.AnyPeer, unittest.TestCase):
    NAME = "hub"
    REQUEST = b"sub own\r\nunsub own\r\n" + b"sub a\r\n" + pub(b"a", b"value")
    REPLY_BYTES = len(pub(b"a", b"value"))

    def check_reply(self, reply):
        self.assertEqual(reply, pub(b"a", b"value"))

    # All hear all, and the last value comes first, so these are written anew.
    def test_a_peer_that_half_closes_gets_its_answer_and_the_end(self):
        with self.server() as server, server.connect() as peer:
            peer.sendall(self.REQUEST)
            self.check_reply(self.read_reply(peer))
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual(cli.read_all(peer), b"")

    def test_a_peer_that_resets_in_the_middle_harms_nobody(self):
        with self.server("--threads", "2") as server, Listener(server) as other:
            for size in (0, 5, 30, len(self.REQUEST)):
                peer = server.connect()
                peer.sendall(self.REQUEST[:size])
                program.reset(peer)
            other.settle(b"other")

    def test_a_slow_reader_gets_all(self):
        with self.server() as server:
            with Listener(server, receive_buffer=4096) as slow, Listener(server) as source:
                slow.settle(b"begin")
                slow.send(b"sub t\r\n")
                slow.settle(b"subscribed")
                for number in range(5000):
                    source.send(pub(b"t", b"%d" % number))
                for number in range(5000):
                    self.assertEqual(slow.hear(), (b"t", b"%d" % number))

    def test_sigterm_while_busy_loses_nothing(self):
        with self.server("--threads", "2") as server:
            listeners = [Listener(server) for _ in range(6)]
            for listener in listeners:
                listener.send(b"sub t\r\n")
                listener.settle(b"begin")
            listeners[0].send(pub(b"t", b"x" * 50000))
            for listener in listeners:
                while listener.hear() != (b"t", b"x" * 50000):
                    pass
            server.signal(15)
            for listener in listeners:
                while listener.hear() is not None:
                    pass
                listener.__exit__(None, None, None)
            output, _ = server.wait()
            self.assertIn("6 clean, 0 otherwise, 0 cut off, 0 bytes unsent", output)

    def test_topics_do_not_mix_and_unsub_ends_it(self):
        with self.server("--threads", "2") as server, Listener(server) as one, Listener(server) as two:
            one.send(b"sub a\r\nsub b\r\nsub a\r\n")
            one.settle(b"x")
            two.send(b"sub b\r\n")
            two.settle(b"y")
            two.send(pub(b"a", b"1") + pub(b"b", b"2") + pub(b"c", b"3") + pub(b"a", b""))
            self.assertEqual([one.hear() for _ in range(3)], [(b"a", b"1"), (b"b", b"2"), (b"a", b"")])
            self.assertEqual(two.hear(), (b"b", b"2"))
            one.send(b"unsub a\r\nunsub never\r\n")
            one.settle(b"z")
            two.send(pub(b"a", b"4") + pub(b"b", b"5"))
            self.assertEqual(one.hear(), (b"b", b"5"))

    def test_the_last_value_comes_first(self):
        with self.server("--threads", "2") as server:
            with Listener(server) as source:
                source.send(pub(b"t", b"old") + pub(b"t", b"new"))
                source.settle(b"done")
            with Listener(server) as late:
                late.send(b"sub nothing\r\nsub t\r\n")
                self.assertEqual(late.hear(), (b"t", b"new"))

    def test_who_subscribes_in_the_midst_misses_nothing_and_hears_nothing_twice(self):
        with self.server("--threads", "3") as server:
            source = server.connect()
            enough = threading.Event()
            count = [0]

            def publish():
                while not enough.is_set():
                    source.sendall(b"".join(pub(b"t", b"%d" % (count[0] + i)) for i in range(20)))
                    count[0] += 20
            thread = threading.Thread(target=publish)
            thread.start()
            try:
                for _ in range(30):
                    with Listener(server) as listener:
                        listener.send(b"sub t\r\n")
                        topic, first = listener.hear()
                        self.assertEqual(topic, b"t")
                        for step in range(1, 100):
                            self.assertEqual(listener.hear(), (b"t", b"%d" % (int(first) + step)))
            finally:
                enough.set()
                thread.join()
                source.close()

    def test_all_hear_two_publishers_in_one_order(self):
        with self.server("--threads", "3") as server:
            listeners = [Listener(server) for _ in range(6)]
            for listener in listeners:
                listener.send(b"sub t\r\n")
                listener.settle(b"begin")
            sources = [Listener(server) for _ in range(3)]

            def publish(source, name):
                source.send(b"".join(pub(b"t", b"%s%d" % (name, i)) for i in range(300)))
            threads = [threading.Thread(target=publish, args=(source, name))
                       for source, name in zip(sources, (b"a", b"b", b"c"))]
            for thread in threads:
                thread.start()
            heard = []
            for listener in listeners:
                own = []
                while len(own) < 900:
                    topic, body = listener.hear()
                    if topic == b"t":
                        own.append(body)
                heard.append(own)
            for thread in threads:
                thread.join()
            for own in heard[1:]:
                self.assertEqual(own, heard[0])
            for one in listeners + sources:
                one.__exit__(None, None, None)

    def test_one_who_does_not_read_is_cut_off(self):
        with self.server("--threads", "2", "--output-cap", "256K", "--verbose") as server:
            with Listener(server, receive_buffer=4096) as deaf, Listener(server) as other:
                for listener in (deaf, other):
                    listener.send(b"sub t\r\n")
                    listener.settle(b"begin")
                    listener.send(b"unsub begin\r\n")
                for number in range(200):
                    other.send(pub(b"t", b"%05d" % number * 10000))
                    while True:
                        topic, body = other.hear()
                        if topic == b"t":
                            break
                    self.assertTrue(body == b"%05d" % number * 10000)
                server.wait_for_output("output cap")

    def test_what_is_no_command_ends_it(self):
        for data in (b"hello\r\n", b"sub \r\n", b"sub\r\n", b"sub a b\r\n", b"sub " + b"x" * 256 + b"\r\n",
                     b"x" * 1000, b"pub a\r\n" + b"x" * 70000, b"pub \r\nbody\r\n", b"sub a\0b\r\n"):
            with self.server() as server, server.connect() as peer:
                peer.sendall(data)
                with self.assertRaises(ConnectionResetError, msg=data[:40]):
                    cli.read_all(peer)

    def test_limits(self):
        with self.server() as server, Listener(server) as listener:
            listener.send(b"sub " + b"x" * 255 + b"\r\n" + pub(b"x" * 255, b"y" * 65536))
            self.assertTrue(listener.hear() == (b"x" * 255, b"y" * 65536))
            listener.send(b"".join(b"sub s%d\r\n" % i for i in range(1100)))
            self.assertEqual(program.received_until_end(listener.peer), b"")
        with self.server("--topics", "2") as server, Listener(server) as listener:
            listener.send(b"sub utc_time\r\n")
            listener.hear()
            listener.settle(b"a")
            listener.send(b"sub b\r\n")
            program.received_until_end(listener.peer)

    def test_the_time_is_published(self):
        with self.server() as server, Listener(server) as listener:
            listener.send(b"sub utc_time\r\n")
            for _ in range(2):
                topic, body = listener.hear()
                self.assertEqual(topic, b"utc_time")
                self.assertTrue(re.fullmatch(rb"\d{8} \d\d:\d\d:\d\d\.\d{6}", body), body)

    def test_the_clients(self):
        with self.server("--threads", "2") as server:
            where = ("--connect", f"127.0.0.1:{server.port}")
            with subprocess.Popen([cli.PEAL, "hub-client", *where, "sub", "news", "end"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as subscriber:
                self.assertEqual(cli.run("hub-client", *where, "pub", "news", "it rains"), (0, "", ""))
                self.assertEqual(subscriber.stdout.readline(), b"news: it rains\n")
                done = subprocess.run([cli.PEAL, "hub-client", *where, "pub", "news", "-"],
                                      input=b"one\n\ntwo", check=False, timeout=cli.PATIENCE_S)
                self.assertEqual(done.returncode, 0)
                lines = [subscriber.stdout.readline() for _ in range(3)]
                self.assertEqual(lines, [b"news: one\n", b"news: \n", b"news: two\n"])
                subscriber.send_signal(15)
                self.assertEqual(subscriber.wait(cli.PATIENCE_S), 0)
        for words in ((), ("sub",), ("pub", "a"), ("tell", "a"), ("sub", "a b")):
            self.assertEqual(cli.run("hub-client", *words)[0], 2)


if __name__ == "__main__":
    cli.main()
