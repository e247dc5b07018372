# SPDX-License-Identifier: BSD-2-Clause
"""A server of the program that does not say what its protocol says, or does not end as it should."""
import calendar
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import cli

PAYLOAD = random.Random(1).randbytes(3 * 1024 * 1024)


def ask(command, data=b""):
    """What a client program prints that is given data."""
    done = subprocess.run(command, input=data, capture_output=True, timeout=cli.PATIENCE_S,
                          check=False)
    return done.stdout


def needs(program):
    return unittest.skipUnless(shutil.which(program), f"there is no {program} here")


def is_reset_or_end(peer):
    """True at the end of the stream, however it comes."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


class Echo(unittest.TestCase):
    def exchange(self, peer, data):
        """Sends data, then FIN, and returns what comes back until FIN."""
        def send():
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        back = cli.read_all(peer)
        sender.join()
        return back

    def test_half_close_gets_everything_back(self):
        with cli.Server("echo") as server, server.connect() as peer:
            self.assertEqual(self.exchange(peer, PAYLOAD), PAYLOAD)

    def test_half_close_with_a_reader_that_starts_late(self):
        with cli.Server("echo") as server, server.connect(receive_buffer=4096) as peer:
            peer.setblocking(False)
            sent = 0
            try:
                while sent < len(PAYLOAD):
                    sent += peer.send(PAYLOAD[sent:sent + 65536])
            except BlockingIOError:
                pass
            peer.settimeout(cli.PATIENCE_S)
            self.assertEqual(self.exchange(peer, PAYLOAD[sent:]), PAYLOAD)

    def test_many_at_once_on_several_threads(self):
        with cli.Server("echo", "--threads", "3") as server:
            peers = [server.connect() for _ in range(100)]
            for number, peer in enumerate(peers):
                peer.sendall(b"%d" % number)
            for number, peer in enumerate(peers):
                text = b"%d" % number
                self.assertEqual(cli.read_exactly(peer, len(text)), text)
                peer.close()

    def test_balance(self):
        for how in ("round-robin", "least", "reuseport"):
            with cli.Server("echo", "--threads", "2", "--balance", how) as server:
                for _ in range(20):
                    with server.connect() as peer:
                        self.assertEqual(self.exchange(peer, b"word"), b"word")

    @needs("nc")
    def test_nc(self):
        with cli.Server("echo") as server:
            self.assertEqual(ask(["nc", "-N", "127.0.0.1", str(server.port)], b"x"), b"x")
            self.assertEqual(ask(["nc", "-N", "127.0.0.1", str(server.port)], PAYLOAD), PAYLOAD)

    @needs("socat")
    def test_socat(self):
        with cli.Server("echo") as server:
            self.assertEqual(
                ask(["socat", "-t10", "-", f"TCP:127.0.0.1:{server.port}"], PAYLOAD), PAYLOAD)

    @needs("busybox")
    def test_busybox_nc(self):
        with cli.Server("echo") as server:
            process = subprocess.Popen(["busybox", "nc", "127.0.0.1", str(server.port)],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            process.stdin.write(b"line\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b"line\n")
            process.kill()
            process.communicate()


class Discard(unittest.TestCase):
    def test_takes_everything_and_says_nothing(self):
        with cli.Server("discard") as server, server.connect() as peer:
            for _ in range(4):
                peer.sendall(PAYLOAD)
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual(cli.read_all(peer), b"")


class Chargen(unittest.TestCase):
    LINES = [bytes(32 + (line + column) % 95 for column in range(72)) + b"\r\n"
             for line in range(95)]

    def test_lines_rotate(self):
        with cli.Server("chargen") as server, server.connect() as peer:
            cycle = b"".join(self.LINES)
            wanted = (cycle * 400)[:2 * 1024 * 1024 + 12345]
            self.assertEqual(cli.read_exactly(peer, len(wanted)), wanted)

    def test_a_stopped_reader_costs_no_memory(self):
        with cli.Server("chargen", "--threads", "2") as server:
            stopped = [server.connect(receive_buffer=8192) for _ in range(20)]
            for peer in stopped:
                cli.read_exactly(peer, 1000)
            with server.connect() as reader:
                cli.read_exactly(reader, 8 * 1024 * 1024)
                before = server.rss_bytes()
                cli.read_exactly(reader, 200 * 1024 * 1024)
                after = server.rss_bytes()
            self.assertLess(after - before, 16 * 1024 * 1024)
            for peer in stopped:
                peer.close()

    def test_a_stopped_reader_goes_on_where_it_stopped(self):
        with cli.Server("chargen") as server, server.connect(receive_buffer=8192) as peer:
            cycle = b"".join(self.LINES)
            first = cli.read_exactly(peer, 5000)
            time.sleep(0.3)
            rest = cli.read_exactly(peer, 3 * 1024 * 1024)
            self.assertEqual(first + rest, (cycle * 500)[:len(first) + len(rest)])

    def test_input_is_thrown_away(self):
        with cli.Server("chargen") as server, server.connect() as peer:
            peer.sendall(PAYLOAD[:100000])
            self.assertEqual(cli.read_exactly(peer, 74), self.LINES[0])


class Times(unittest.TestCase):
    def test_daytime_is_one_line_and_now(self):
        before = int(time.time())
        with cli.Server("daytime") as server, server.connect() as peer:
            text = cli.read_all(peer)
        after = int(time.time())
        self.assertRegex(text, rb"^[A-Z][a-z]+day, [A-Z][a-z]+ \d\d, \d{4} \d\d:\d\d:\d\d-UTC\r\n$")
        parsed = time.strptime(text.decode().strip(), "%A, %B %d, %Y %H:%M:%S-UTC")
        self.assertTrue(before <= calendar.timegm(parsed) <= after)

    def test_time_is_four_bytes_and_now(self):
        before = int(time.time())
        with cli.Server("time") as server, server.connect() as peer:
            data = cli.read_all(peer)
        self.assertEqual(len(data), 4)
        self.assertTrue(before <= int.from_bytes(data, "big", signed=True) <= time.time())

    def test_daytime_arrives_although_the_client_talks(self):
        with cli.Server("daytime") as server:
            for _ in range(20):
                with server.connect() as peer:
                    peer.sendall(PAYLOAD[:50000])
                    self.assertTrue(cli.read_all(peer).endswith(b"-UTC\r\n"))

    @needs("nc")
    def test_daytime_with_nc(self):
        with cli.Server("daytime") as server:
            self.assertIn(b"-UTC", ask(["nc", "-N", "127.0.0.1", str(server.port)]))


class Addresses(unittest.TestCase):
    def test_several_in_the_port_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with cli.Server("echo", listen=("127.0.0.1:0", "unix:" + path, "127.0.0.1:0")) \
                    as server:
                self.assertEqual(len(server.places), 3)
                self.assertEqual(server.places[1], "unix:" + path)
                for place in (server.places[0], server.places[2]):
                    with socket.create_connection(("127.0.0.1", int(place))) as peer:
                        peer.sendall(b"abc")
                        self.assertEqual(cli.read_exactly(peer, 3), b"abc")
                self.assertEqual(sorted(os.listdir(server.folder)), ["log", "ports"])

    def test_ipv6(self):
        if not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("there is no IPv6 here")
        with cli.Server("echo", listen=("[::1]:0",)) as server:
            with socket.create_connection(("::1", server.port)) as peer:
                peer.sendall(b"six")
                self.assertEqual(cli.read_exactly(peer, 3), b"six")

    def test_dual_stack(self):
        if not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("there is no IPv6 here")
        with cli.Server("echo", listen=(":0",)) as server:
            for host in ("::1", "127.0.0.1"):
                with socket.create_connection((host, server.port)) as peer:
                    peer.sendall(b"both")
                    self.assertEqual(cli.read_exactly(peer, 4), b"both")

    def talk_unix(self, address):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(cli.PATIENCE_S)
            peer.connect(address)
            peer.sendall(PAYLOAD[:100000])
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual(cli.read_all(peer), PAYLOAD[:100000])

    def test_unix_path_also_where_a_stale_one_lies(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(path)
            with cli.Server("echo", listen=("unix:" + path,)):
                self.talk_unix(path)
                status, _, err = cli.run("echo", "--listen", "unix:" + path)
                self.assertEqual(status, 1)
                self.assertIn("cannot listen on unix:" + path, err)
                self.talk_unix(path)

    def test_abstract(self):
        name = f"peal-cli-{os.getpid()}"
        with cli.Server("echo", listen=("unix:@" + name,)):
            self.talk_unix("\0" + name)

    @needs("socat")
    def test_unix_with_socat(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with cli.Server("echo", listen=("unix:" + path,)):
                self.assertEqual(ask(["socat", "-t10", "-", "UNIX-CONNECT:" + path], PAYLOAD),
                                 PAYLOAD)

    def test_port_in_use_is_a_sentence(self):
        with cli.Server("echo") as server:
            status, out, err = cli.run("echo", "--listen", f"127.0.0.1:{server.port}")
            self.assertEqual((status, out), (1, ""))
            self.assertRegex(err, rf"^echo: cannot listen on 127\.0\.0\.1:{server.port}: .+\n$")

    def test_port_file_that_cannot_be_written(self):
        status, _, err = cli.run("echo", "--listen", "127.0.0.1:0", "--port-file",
                                 "/nowhere/at/all")
        self.assertEqual(status, 1)
        self.assertIn("No such file or directory", err)


class Limits(unittest.TestCase):
    def test_max_conns(self):
        with cli.Server("echo", "--max-conns", "2") as server:
            kept = [server.connect() for _ in range(2)]
            for peer in kept:
                peer.sendall(b"a")
                self.assertEqual(cli.read_exactly(peer, 1), b"a")
            with server.connect() as extra:
                self.assertTrue(is_reset_or_end(extra))
            for peer in kept:
                peer.sendall(b"b")
                self.assertEqual(cli.read_exactly(peer, 1), b"b")
                peer.close()

    def test_max_per_addr(self):
        with cli.Server("echo", "--max-per-addr", "1") as server, server.connect() as kept:
            kept.sendall(b"a")
            self.assertEqual(cli.read_exactly(kept, 1), b"a")
            with server.connect() as extra:
                self.assertTrue(is_reset_or_end(extra))
            with socket.socket() as other:
                other.bind(("127.0.0.2", 0))
                other.connect(("127.0.0.1", server.port))
                other.sendall(b"c")
                self.assertEqual(cli.read_exactly(other, 1), b"c")

    def test_idle(self):
        with cli.Server("echo", "--idle", "0.3", "--verbose") as server, server.connect() as peer:
            peer.sendall(b"a")
            self.assertEqual(cli.read_exactly(peer, 1), b"a")
            self.assertTrue(is_reset_or_end(peer))
            peer.close()
            server.wait_for_output("idle timeout")


class Ends(unittest.TestCase):
    def test_sigterm_and_sigint_drain_and_report(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with cli.Server("echo", "--threads", "2") as server:
                peers = [server.connect() for _ in range(5)]
                for peer in peers:
                    peer.sendall(b"a")
                    cli.read_exactly(peer, 1)
                server.signal(number)
                for peer in peers:
                    self.assertEqual(cli.read_all(peer), b"")
                    peer.close()
                output, status = server.wait()
                self.assertEqual(status, 0)
                self.assertIn("echo: draining 5 connections", output)
                self.assertRegex(output, r"echo: stopped: .*\b5\b.*\n$")

    def test_pending_output_arrives_although_the_server_stops(self):
        with cli.Server("echo") as server, server.connect(receive_buffer=4096) as peer:
            data = PAYLOAD[:200000]
            peer.sendall(data)
            first = cli.read_exactly(peer, 1)
            server.wait_for_output("listening")
            rest = cli.read_exactly(peer, 100000)
            server.signal(signal.SIGTERM)
            rest += cli.read_all(peer)
            self.assertEqual(data[:len(first + rest)], first + rest)

    def test_drain_ends_at_its_deadline(self):
        with cli.Server("chargen", "--drain", "0.3") as server:
            with server.connect(receive_buffer=4096) as stuck:
                cli.read_exactly(stuck, 100)
                output, status = server.stop()
                self.assertEqual(status, 0)
                self.assertIn("stopped: ", output)
                with self.assertRaises(ConnectionResetError):
                    cli.read_all(stuck)

    def test_second_signal_cuts_short(self):
        with cli.Server("chargen", "--drain", "3600") as server:
            with server.connect(receive_buffer=4096) as stuck:
                cli.read_exactly(stuck, 100)
                server.signal(signal.SIGTERM)
                server.wait_for_output("draining")
                server.signal(signal.SIGTERM)
                output, status = server.wait()
                self.assertEqual(status, 0)
                self.assertIn("the drain is cut short", output)
                self.assertIn("stopped: ", output)

    def test_no_connections_no_wait(self):
        with cli.Server("echo", "--drain", "3600") as server:
            output, status = server.stop()
            self.assertEqual(status, 0)
            self.assertIn("stopped: ", output)

    def test_sigusr1_prints_counters(self):
        with cli.Server("echo", "--threads", "2") as server:
            for _ in range(3):
                with server.connect() as peer:
                    peer.sendall(b"abc")
                    peer.shutdown(socket.SHUT_WR)
                    self.assertEqual(cli.read_all(peer), b"abc")

            def counted():
                server.signal(signal.SIGUSR1)
                time.sleep(0.05)
                return re.search(r"^closed +3 ", server.read_log(), re.M)
            cli.wait_until(counted, "three closed connections in the counters")
            output = server.read_log()
            self.assertRegex(output, r"(?m)^accepted +3 ")
            self.assertRegex(output, r"(?m)^peer closed +3 ")
            self.assertRegex(output, r"(?m)^bytes_received +9 ")
            for name in ("home", "peal-0", "peal-1"):
                self.assertRegex(output, rf"(?m)^loop {name} \((epoll|io_uring)\): .*\bturns \d+")

    def test_verbose_tells_beginning_and_end(self):
        with cli.Server("echo", "--verbose") as server:
            with server.connect() as peer:
                mine = peer.getsockname()[1]
                peer.sendall(b"a")
                cli.read_exactly(peer, 1)
            server.wait_for_output("closed: ")
            output = server.read_log()
            number = re.search(rf"(?m)^([0-9a-f]{{16}}) opened by 127\.0\.0\.1:{mine} on ", output)
            self.assertIsNotNone(number, output)
            self.assertRegex(output, rf"(?m)^{number.group(1)} closed: peer closed")

    def test_track_refs_serves(self):
        with cli.Server("echo", "--track-refs") as server, server.connect() as peer:
            peer.sendall(b"a")
            self.assertEqual(cli.read_exactly(peer, 1), b"a")


if __name__ == "__main__":
    cli.main()
