# SPDX-License-Identifier: BSD-2-Clause
"""A rate that is not kept, a stall that the latencies hide, or work left undone that is not told."""
import json
import selectors
import signal
import socket
import subprocess
import threading
import time
import unittest

import cli


def start(mode, port, *args):
    return subprocess.Popen([cli.PEAL, "load", mode, "--connect", f"127.0.0.1:{port}", *args],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def finish(process, status=0):
    out, err = process.communicate(timeout=cli.PATIENCE_S * 2)
    if process.returncode != status:
        raise AssertionError(f"exit code {process.returncode}: {out.decode()}{err.decode()}")
    return out.decode()


def load(mode, port, *args, status=0):
    return json.loads(finish(start(mode, port, *args, "--json"), status))


class Raw(threading.Thread):
    """A server of a few lines: knows what came on each connection, and answers or not. answer gets
    the connection, its number, and what came."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.accepted_s = []
        self.bytes = []
        self.over = False
        self.start()

    def run(self):
        with selectors.DefaultSelector() as waiting, self.listener:
            waiting.register(self.listener, selectors.EVENT_READ)
            while not self.over:
                for key, _ in waiting.select(0.05):
                    if key.fileobj is self.listener:
                        peer, _ = self.listener.accept()
                        waiting.register(peer, selectors.EVENT_READ, len(self.bytes))
                        self.bytes.append(0)
                        self.accepted_s.append(time.monotonic())
                    else:
                        self.turn(waiting, key.fileobj, key.data)
            for key in list(waiting.get_map().values()):
                key.fileobj.close()

    def turn(self, waiting, peer, number):
        try:
            data = peer.recv(65536)
            self.bytes[number] += len(data)
            if data and self.answer(peer, number, data):
                return
        except OSError:
            pass
        waiting.unregister(peer)
        peer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over = True
        self.join(cli.PATIENCE_S)


def echo(peer, _, data):
    peer.sendall(data)
    return True


class Rate(unittest.TestCase):
    def check(self, result, rate):
        """What is due is accounted for, and is not much more than the clock says: workers hear a
        little later than the clock that time is up."""
        schedule = result["schedule"]
        self.assertEqual(schedule["asked_per_s"], rate)
        self.assertEqual(schedule["due"], result["messages"] + schedule["not_sent"] +
                         schedule["unanswered"])
        self.assertLessEqual(schedule["due"], rate * (result["seconds"] + 0.5))
        return schedule

    def test_the_rate_is_kept(self):
        with cli.Server("echo") as server:
            for mode, *args in (("pingpong",), ("pingpong", "--threads", "3", "--conns", "10"),
                                ("pipeline", "--conns", "3"), ("churn", "--conns", "10"),
                                ("churn", "--end", "rst")):
                result = load(mode, server.port, "--rate", "400", "--seconds", "1", *args)
                schedule = self.check(result, 400)
                # less than all only by what was due before the connections had opened
                self.assertGreater(schedule["due"], 200)
                self.assertGreater(result["messages"], 100)
                self.assertEqual(result["errors"], {})
                if mode == "churn":
                    self.assertLessEqual(result["opened"], schedule["due"])

    def test_it_is_spread_evenly(self):
        with Raw(echo) as server:
            load("pingpong", server.port, "--rate", "500", "--seconds", "1", "--conns", "7",
                 "--threads", "2", "--size", "10")
            counts = [size // 10 for size in server.bytes]
        self.assertEqual(len(counts), 7)
        self.assertGreater(min(counts), 20)
        # one for the turn that may be under way, the rest for opening one after the other
        self.assertLess(max(counts) - min(counts), 15)

    def test_without_a_rate_there_is_no_schedule(self):
        with cli.Server("echo") as server:
            result = load("pingpong", server.port, "--seconds", "0.2")
        self.assertIsNone(result["schedule"])

    def stall(self, *args):
        """Stops the server for half a second of three."""
        with cli.Server("echo") as server:
            process = start("pingpong", server.port, "--conns", "2", "--seconds", "3", "--json",
                            *args)

            def connected():
                server.signal(signal.SIGUSR1)
                return "opened                      2" in server.read_log()
            cli.wait_until(connected, "the connections of the load")
            server.signal(signal.SIGSTOP)
            time.sleep(0.5)
            server.signal(signal.SIGCONT)
            return json.loads(finish(process))

    def test_a_stall_counts_for_all_that_it_delayed(self):
        # Open loop: 500 of 3,000 messages were due during the stall, and the 30 that make the
        # highest percent waited for nearly the whole of it.
        result = self.stall("--rate", "1000")
        self.check(result, 1000)
        open_ns = result["latency_ns"]
        self.assertGreater(open_ns["max"], 450e6)
        self.assertGreater(open_ns["p99"], 300e6)

        # Closed loop: the stall is seen by two messages of thousands. Two connections have six
        # seconds between them, so a hundredth of 3,000 messages cannot have waited 0.2 s each.
        result = self.stall()
        self.assertGreater(result["messages"], 3000)
        closed_ns = result["latency_ns"]
        self.assertGreater(closed_ns["max"], 450e6)
        self.assertLess(closed_ns["p99"], 201e6)

    def test_what_a_stalled_server_leaves_is_sent_and_measured(self):
        result = self.stall("--rate", "200")
        schedule = self.check(result, 200)
        # The stall is long over when time is up, so nearly all of it has been made up for.
        self.assertLess(schedule["not_sent"] + schedule["unanswered"], schedule["due"] / 4)

    def test_a_server_that_never_answers(self):
        with Raw(lambda *_: True) as server:
            result = load("pingpong", server.port, "--rate", "300", "--conns", "3", "--seconds",
                          "1")
            schedule = self.check(result, 300)
            self.assertEqual((result["messages"], schedule["unanswered"]), (0, 3))
            self.assertGreater(schedule["not_sent"], 100)
            self.assertGreater(schedule["behind_ns"], 400e6)
            result = load("pipeline", server.port, "--rate", "300", "--conns", "3", "--seconds",
                          "1", "--depth", "5")
            self.assertEqual(self.check(result, 300)["unanswered"], 15)

    def test_it_is_told_in_a_sentence(self):
        with Raw(lambda *_: True) as server:
            out = finish(start("pingpong", server.port, "--rate", "300", "--seconds", "0.6"))
        self.assertRegex(out, r"(?m)^schedule +asked for 300/s, reached 0/s: "
                              r"the schedule is 0\.\d+ s behind$")
        self.assertRegex(out, r"(?m)^ +due and not sent \d+, sent and not answered \d+; "
                              r"the latencies leave these out$")
        self.assertRegex(out, r"(?m)^latency +none: no message came back$")

    def test_connections_that_went_away(self):
        """What would have been theirs is not quietly given to others, or forgotten."""
        with Raw(lambda peer, number, data: number > 0 and echo(peer, number, data)) as server:
            result = load("pingpong", server.port, "--rate", "400", "--conns", "2", "--seconds",
                          "1")
        schedule = self.check(result, 400)
        self.assertEqual((result["closed"], result["still_open"]), (2, 1))
        self.assertGreater(schedule["not_sent"], 50)
        self.assertGreater(result["messages"], 20)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        for mode in ("pingpong", "churn"):
            result = load(mode, port, "--rate", "200", "--conns", "5", "--seconds", "0.5",
                          status=1)
            schedule = self.check(result, 200)
            self.assertEqual(result["messages"], 0)
            self.assertGreater(schedule["due"], 0)


class Ramp(unittest.TestCase):
    def test_connections_open_one_after_the_other(self):
        for threads in ("1", "3"):
            with Raw(echo) as server:
                result = load("idle", server.port, "--conns", "20", "--ramp", "1", "--seconds",
                              "1.5", "--threads", threads)
                times_s = list(server.accepted_s)
            self.assertEqual((result["opened"], result["still_open"]), (20, 20))
            self.assertEqual(result["ramp_seconds"], 1)
            # the last begins 0.95 s after the first was to begin
            self.assertGreater(times_s[-1] - times_s[0], 0.5)

    def test_with_a_rate_what_is_due_grows_with_the_connections(self):
        with cli.Server("echo") as server:
            result = load("pingpong", server.port, "--conns", "10", "--rate", "400", "--ramp",
                          "1.9", "--seconds", "2")
        # in the middle of the ramp half of the connections are there: half of 800 in all
        self.assertLess(result["schedule"]["due"], 600)
        self.assertGreater(result["schedule"]["due"], 100)
        self.assertEqual(result["opened"], 10)


if __name__ == "__main__":
    cli.main()
