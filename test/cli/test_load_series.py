# SPDX-License-Identifier: BSD-2-Clause
"""Seconds of a load that do not add up to it, or a live line where nobody can take it back."""
import csv
import fcntl
import json
import os
import pty
import re
import socket
import struct
import subprocess
import tempfile
import termios
import unittest

import cli

HEADER = ["time_s", "connections", "messages", "messages_per_s", "p50_us", "p99_us", "p99_9_us",
          "max_us", "errors"]


class Csv(unittest.TestCase):
    def load(self, mode, port, *args, status=0):
        """The rows, the JSON report, and the file as it is."""
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/rows, \"1\".csv"
            code, out, err = cli.run("load", mode, "--connect", f"127.0.0.1:{port}", "--csv", path,
                                     "--json", *args)
            self.assertEqual((code, err), (status, ""))
            with open(path, encoding="ascii", newline="") as file:
                text = file.read()
        lines = text.split("\r\n")
        self.assertEqual(lines.pop(), "")
        self.assertNotIn("\n", "".join(lines))
        rows = list(csv.reader(lines, strict=True))
        self.assertEqual(rows[0], HEADER)
        self.assertEqual({len(row) for row in rows}, {len(HEADER)})
        rows = [dict(zip(HEADER, row)) for row in rows[1:]]
        times_s = [float(row["time_s"]) for row in rows]
        self.assertEqual(times_s, sorted(set(times_s)))
        return rows, json.loads(out)

    def check_sums(self, rows, report):
        """Message by message: what a second has, no other has."""
        self.assertEqual(sum(int(row["messages"]) for row in rows), report["messages"])
        self.assertEqual(sum(int(row["errors"]) for row in rows),
                         report["wrong"] + sum(report["errors"].values()))
        self.assertAlmostEqual(float(rows[-1]["time_s"]), report["seconds"], delta=0.002)
        self.assertEqual(int(rows[-1]["connections"]), report["still_open"])
        before_s = 0
        for row in rows:
            seconds = float(row["time_s"]) - before_s
            before_s += seconds
            self.assertAlmostEqual(float(row["messages_per_s"]) * seconds, int(row["messages"]),
                                   delta=int(row["messages"]) / 50 + 1)
            times = [row[name] for name in HEADER[4:8]]
            if row["messages"] == "0":
                self.assertEqual(times, [""] * 4)
            else:
                times = [float(text) for text in times]
                self.assertEqual(times, sorted(times))
                self.assertGreater(times[0], 0)
        longest = [float(row["max_us"]) for row in rows if row["max_us"] != ""]
        self.assertEqual(round(max(longest, default=0) * 1000), report["latency_ns"]["max"])

    def test_rows_add_up_to_the_report(self):
        with cli.Server("echo") as server:
            for args in (("pingpong", "--threads", "3"), ("churn", "--conns", "5"),
                         ("pingpong", "--rate", "300")):
                rows, report = self.load(args[0], server.port, "--seconds", "2.3", *args[1:])
                self.check_sums(rows, report)
                self.assertGreaterEqual(len(rows), 2)
                self.assertLessEqual(len(rows), 3)

    def test_a_ramp_shows_in_the_connections(self):
        with cli.Server("echo") as server:
            rows, report = self.load("idle", server.port, "--conns", "30", "--ramp", "2",
                                     "--seconds", "2.5")
        self.check_sums(rows, report)
        counts = [int(row["connections"]) for row in rows]
        self.assertEqual((counts, counts[-1]), (sorted(counts), 30))
        # no connection begins before its time, so the first second has no more than its half
        self.assertLess(counts[0], 30)

    def test_errors_and_empty_seconds(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        rows, report = self.load("churn", port, "--conns", "3", "--seconds", "1.5", status=1)
        self.check_sums(rows, report)
        self.assertGreater(int(rows[0]["errors"]), 0)

    def test_shorter_than_a_second(self):
        with cli.Server("echo") as server:
            rows, report = self.load("pingpong", server.port, "--seconds", "0.3")
        self.check_sums(rows, report)
        self.assertEqual(len(rows), 1)

    def test_a_file_that_cannot_be(self):
        status, out, err = cli.run("load", "idle", "--connect", "127.0.0.1:1", "--csv",
                                   "/nowhere/at/all.csv")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("--csv /nowhere/at/all.csv: No such file", err)

    def test_a_file_that_cannot_be_written(self):
        with cli.Server("echo") as server:
            status, out, err = cli.run("load", "pingpong", "--csv", "/dev/full", "--seconds",
                                       "0.2", "--connect", f"127.0.0.1:{server.port}")
        self.assertEqual(status, 1)
        self.assertIn("messages", out)
        self.assertIn("--csv /dev/full: it could not be written whole", err)


class Live(unittest.TestCase):
    def on_terminal(self, *args, term="xterm", columns=100):
        """What a load writes to a terminal, standard output being a pipe."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
        with cli.Server("echo") as server:
            process = subprocess.Popen(
                [cli.PEAL, "load", *args, "--connect", f"127.0.0.1:{server.port}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
                env={**os.environ, "TERM": term})
            os.close(theirs)
            shown = b""
            while True:
                try:
                    part = os.read(ours, 4096)
                except OSError: # the other end is gone
                    break
                if not part:
                    break
                shown += part
            out, _ = process.communicate(timeout=cli.PATIENCE_S)
        os.close(ours)
        self.assertEqual(process.returncode, 0)
        return shown.decode(), out.decode()

    def test_one_line_that_is_taken_back(self):
        shown, out = self.on_terminal("pingpong", "--rate", "500", "--seconds", "2.5")
        self.assertNotIn("\n", shown)
        lines = shown.split("\r\x1b[K")
        self.assertEqual((lines[0], lines[-1]), ("", ""))
        self.assertGreaterEqual(len(lines), 3)
        for line in lines[1:-1]:
            self.assertRegex(line, r"^\d/2\.5 s  \d+ open  \d+/s  ")
            self.assertIn("errors 0", line)
        self.assertNotIn("\x1b", out)
        self.assertTrue(out.startswith("pingpong against "), out)

    def test_it_is_cut_at_the_width(self):
        shown, _ = self.on_terminal("pingpong", "--seconds", "1.3", columns=20)
        lines = re.split("\r\x1b\\[K", shown)
        self.assertEqual({len(line) for line in lines[1:-1]}, {19})

    def test_idle_has_no_rate(self):
        shown, _ = self.on_terminal("idle", "--conns", "3", "--seconds", "1.3")
        self.assertIn("1/1.3 s  3 open  errors 0", shown)

    def test_a_terminal_that_cannot_take_back_gets_nothing(self):
        shown, out = self.on_terminal("pingpong", "--seconds", "1.3", term="dumb")
        self.assertEqual(shown, "")
        self.assertIn("messages", out)

    def test_no_terminal_gets_nothing(self):
        with cli.Server("echo") as server:
            status, out, err = cli.run("load", "pingpong", "--seconds", "1.3", "--connect",
                                       f"127.0.0.1:{server.port}",
                                       env={**os.environ, "TERM": "xterm"})
        self.assertEqual((status, err), (0, ""))
        self.assertNotIn("\x1b", out)


if __name__ == "__main__":
    cli.main()
