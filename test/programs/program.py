# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the programs in examples/ share, beside test/cli/cli.py.

Whoever serves must stand what any peer may do. A test case inherits that:

    class Roundtrip(program.AnyPeer, unittest.TestCase):
        NAME = "roundtrip"
        REQUEST = bytes(16)

        def check_reply(self, reply): ...

and adds what only this program does.
"""
import os
import signal
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import cli  # pylint: disable=wrong-import-position


def reset(peer):
    """Ends a connection by RST, so that the other side reads ECONNRESET."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def received_until_end(peer):
    """All until the stream ends, or is reset."""
    data = bytearray()
    try:
        while part := peer.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return bytes(data)


class AnyPeer:
    """Peers that reset, half-close, read late, or are there when SIGTERM comes.

    NAME      of the program
    ARGS      its options
    REQUEST   one request
    check_reply(reply)   raises when that is not the whole answer to one REQUEST
    REPLY_BYTES          if an answer's size is always that; else None, and read_reply must be there
    """
    NAME = ""
    ARGS = ()
    REQUEST = b""
    REPLY_BYTES = None
    UNLIMITED = ()  # what lifts a limit of its own on connections
    SLOW_REQUESTS = 2000  # more than the kernel's buffers take, if replies are not tiny

    def server(self, *args, **kinds):
        return cli.Server(self.NAME, *self.ARGS, *args, **kinds)

    def check_reply(self, reply):
        raise NotImplementedError

    def read_reply(self, peer):
        return cli.read_exactly(peer, self.REPLY_BYTES)

    def ask(self, peer):
        peer.sendall(self.REQUEST)
        self.check_reply(self.read_reply(peer))

    def test_a_peer_that_half_closes_gets_its_answer_and_the_end(self):
        with self.server() as server, server.connect() as peer:
            peer.sendall(self.REQUEST)
            peer.shutdown(socket.SHUT_WR)
            self.check_reply(self.read_reply(peer))
            self.assertEqual(cli.read_all(peer), b"")

    def test_a_peer_that_resets_in_the_middle_harms_nobody(self):
        with self.server("--threads", "2") as server:
            with server.connect() as other:
                for size in (0, 1, len(self.REQUEST) // 2, len(self.REQUEST)):
                    peer = server.connect()
                    peer.sendall(self.REQUEST[:size])
                    reset(peer)
                    self.ask(other)

    def test_a_slow_reader_gets_all(self):
        with self.server() as server, server.connect(receive_buffer=4096) as peer:
            peer.settimeout(cli.PATIENCE_S)
            pid = os.fork()
            if pid == 0:
                for _ in range(self.SLOW_REQUESTS):
                    peer.sendall(self.REQUEST)
                os._exit(0)
            for _ in range(self.SLOW_REQUESTS):
                self.check_reply(self.read_reply(peer))
            self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_without_descriptors_peers_wait_and_none_is_lost(self):
        with self.server(*self.UNLIMITED, fds=40) as server:
            peers = [server.connect() for _ in range(60)]
            server.wait_for_output("Too many open files")
            for peer in peers:
                self.ask(peer)
                peer.close()

    def test_sigterm_while_busy_loses_nothing(self):
        with self.server("--threads", "2") as server:
            peers = [server.connect() for _ in range(8)]
            for peer in peers:
                self.ask(peer)
            for peer in peers:
                peer.sendall(self.REQUEST)
            for peer in peers:
                self.check_reply(self.read_reply(peer))
            server.signal(signal.SIGTERM)
            for peer in peers:
                self.assertEqual(cli.read_all(peer), b"")
                peer.close()
            output, status = server.wait()
            self.assertEqual(status, 0)
            self.assertIn("8 clean, 0 otherwise, 0 cut off, 0 bytes unsent", output)
