# SPDX-License-Identifier: BSD-2-Clause
"""A load that measures wrongly, hides an error, or does not end."""
import json
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import cli

FIELDS = {"mode", "connect", "conns", "size", "depth", "threads", "seconds", "ramp_seconds",
          "messages", "messages_per_s", "mib_per_s", "latency_ns", "opened", "closed",
          "still_open", "causes", "schedule", "wrong", "errors"}


def load(address, *args, status=0):
    """The JSON that a load prints."""
    code, out, err = cli.run("load", *args, "--connect", address, "--json")
    if code != status:
        raise AssertionError(f"exit code {code} instead of {status}: {out}{err}")
    return json.loads(out)


class Crooked(threading.Thread):
    """An echo server that gets a byte wrong now and then."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        peer, _ = self.listener.accept()
        with peer:
            count = 0
            while data := bytearray(peer.recv(65536)):
                count += 1
                if count % 3 == 0:
                    data[0] ^= 1
                peer.sendall(data)


class Load(unittest.TestCase):
    def check(self, result, mode, conns):
        self.assertEqual(set(result), FIELDS)
        self.assertEqual((result["mode"], result["conns"]), (mode, conns))
        self.assertEqual(result["opened"], result["closed"])
        self.assertEqual(sum(result["causes"].values()), result["closed"])
        self.assertEqual((result["wrong"], result["errors"]), (0, {}))

    def check_messages(self, result):
        self.assertGreater(result["messages"], 0)
        self.assertAlmostEqual(result["messages"] / result["seconds"], result["messages_per_s"],
                               delta=result["messages_per_s"] / 100 + 1)
        self.assertAlmostEqual(result["messages_per_s"] * result["size"] / 2**20,
                               result["mib_per_s"], delta=result["mib_per_s"] / 100 + 1)
        times = [result["latency_ns"][name] for name in ("p50", "p90", "p99", "p99_9", "max")]
        self.assertEqual(times, sorted(times))
        self.assertGreater(times[0], 0)

    def test_pingpong(self):
        with cli.Server("echo") as server:
            result = load(f"127.0.0.1:{server.port}", "pingpong", "--conns", "20", "--size", "100",
                          "--seconds", "0.5", "--threads", "2")
        self.check(result, "pingpong", 20)
        self.check_messages(result)
        self.assertEqual((result["opened"], result["depth"], result["still_open"]), (20, 1, 20))
        self.assertEqual(result["causes"], {"local close": 20})

    def test_pipeline_of_large_messages(self):
        with cli.Server("echo", "--threads", "2") as server:
            result = load(f"127.0.0.1:{server.port}", "pipeline", "--conns", "5", "--size", "100K",
                          "--depth", "8", "--seconds", "0.5")
        self.check(result, "pipeline", 5)
        self.check_messages(result)
        self.assertEqual((result["size"], result["depth"]), (102400, 8))

    def test_churn_by_fin_and_by_reset(self):
        for how, cause in (("fin", "local close"), ("rst", "local abort")):
            with cli.Server("echo") as server:
                result = load(f"127.0.0.1:{server.port}", "churn", "--conns", "10", "--seconds",
                              "0.5", "--end", how)
            self.check(result, "churn", 10)
            self.check_messages(result)
            self.assertGreater(result["opened"], 20)
            self.assertGreaterEqual(result["opened"], result["messages"])
            self.assertGreater(result["causes"][cause], 0)

    def test_idle(self):
        with cli.Server("echo") as server:
            result = load(f"127.0.0.1:{server.port}", "idle", "--conns", "300", "--seconds", "1",
                          "--threads", "2")
        self.check(result, "idle", 300)
        self.assertEqual((result["opened"], result["still_open"], result["messages"]),
                         (300, 300, 0))

    def test_idle_tells_who_was_cut(self):
        with cli.Server("echo", "--idle", "0.2") as server:
            result = load(f"127.0.0.1:{server.port}", "idle", "--conns", "10", "--seconds", "2")
        self.assertEqual((result["opened"], result["closed"], result["still_open"]), (10, 10, 0))
        self.assertEqual(result["causes"], {"peer closed": 10})

    def test_names_and_other_addresses(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/socket"
            with cli.Server("echo", listen=("127.0.0.1:0", "unix:" + path)) as server:
                for address in (f"localhost:{server.port}", "unix:" + path):
                    result = load(address, "pingpong", "--conns", "3", "--seconds", "0.3")
                    self.check(result, "pingpong", 3)
                    self.check_messages(result)

    def test_refused_is_counted_by_kind(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        for mode in ("pingpong", "churn"):
            result = load(f"127.0.0.1:{port}", mode, "--conns", "7", "--seconds", "0.3", status=1)
            self.assertEqual((result["opened"], result["messages"]), (0, 0))
            self.assertEqual(list(result["errors"]), ["ECONNREFUSED"])
            self.assertGreaterEqual(result["errors"]["ECONNREFUSED"], 7)

    def test_wrong_bytes_are_seen(self):
        crooked = Crooked()
        result = load(f"127.0.0.1:{crooked.port}", "pingpong", "--conns", "1", "--seconds", "0.3",
                      status=1)
        self.assertGreater(result["wrong"], 0)
        self.assertGreater(result["messages"], result["wrong"])

    def test_a_server_that_says_nothing_cannot_hold_it(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            result = load(f"127.0.0.1:{port}", "pingpong", "--conns", "4", "--seconds", "0.2")
        self.assertEqual((result["opened"], result["closed"], result["messages"]), (4, 4, 0))

    def test_sigint_ends_it_early_with_a_report(self):
        with cli.Server("echo") as server:
            process = subprocess.Popen(
                [cli.PEAL, "load", "idle", "--conns", "2", "--seconds", "3600", "--json",
                 "--connect", f"127.0.0.1:{server.port}"], stdout=subprocess.PIPE)

            def connected():
                server.signal(signal.SIGUSR1)
                return "opened                      2" in server.read_log()
            cli.wait_until(connected, "the connections of the load")
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=cli.PATIENCE_S)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(json.loads(out)["still_open"], 2)

    def test_report_for_people(self):
        with cli.Server("echo") as server:
            status, out, err = cli.run("load", "pingpong", "--connect",
                                       f"127.0.0.1:{server.port}", "--seconds", "0.2")
        self.assertEqual((status, err), (0, ""))
        for line in (r"(?m)^pingpong against 127\.0\.0\.1:\d+: connections 100, threads 1, ",
                     r"(?m)^messages +\d+  \d+/s  \d+\.\d\d MiB/s$",
                     r"(?m)^latency +p50 .* p90 .* p99 .* p99\.9 .* max ",
                     r"(?m)^connections +opened 100, closed 100, local close 100$",
                     r"(?m)^errors +none$"):
            self.assertRegex(out, line)


if __name__ == "__main__":
    cli.main()
