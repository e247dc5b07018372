# SPDX-License-Identifier: BSD-2-Clause
"""A plot that is not what was measured, or a PNG that fails without a sentence."""
import json
import os
import shutil
import socket
import struct
import tempfile
import unittest

import cli


class Plot(unittest.TestCase):
    def load(self, *args, status=0, path=None):
        env = dict(os.environ)
        if path is not None:
            env["PATH"] = path
        with cli.Server("echo") as server:
            code, out, err = cli.run("load", *args, "--connect", f"127.0.0.1:{server.port}",
                                     "--seconds", "0.4", "--conns", "4", env=env)
        self.assertEqual(code, status, err)
        return out, err

    def test_as_text_below_the_report(self):
        for args in (("pingpong", "--plot"), ("--plot", "churn")):
            out, err = self.load(*args)
            self.assertEqual(err, "")
            report, plot = out.split("\n\n")
            self.assertIn("latency  ", report)
            lines = plot.splitlines()
            self.assertLessEqual({len(line) for line in lines[:-1]}, set(range(11, 81)))
            self.assertRegex(lines[-1], r"^ +min +(50% +)?90% .* max$")
            self.assertIn("█", plot)

    def test_nothing_came_back(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            for where, status in (([], 0), (["nothing.png"], 1)):
                with tempfile.TemporaryDirectory() as folder:
                    where = ["--plot", *(folder + "/" + name for name in where)]
                    code, out, err = cli.run("load", "pingpong", "--seconds", "0.2", *where,
                                             "--connect", f"127.0.0.1:{port}",
                                             env=self.with_gnuplot(folder, "exit 0"))
                    self.assertEqual(code, status)
                    self.assertIn("none: no message came back", out)
                    self.assertEqual("nothing to draw" in err, status == 1)
                    self.assertNotIn("nothing.png", os.listdir(folder))

    @staticmethod
    def with_gnuplot(folder, script):
        """An environment in which gnuplot is a script."""
        os.makedirs(folder + "/bin", exist_ok=True)
        with open(folder + "/bin/gnuplot", "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n" + script + "\n")
        os.chmod(folder + "/bin/gnuplot", 0o755)
        return {**os.environ, "PATH": folder + "/bin:" + os.environ["PATH"]}

    def test_what_gnuplot_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            self.with_gnuplot(folder, f"cat >'{folder}/script'")
            path = folder + "/it's.png"
            out, err = self.load("pingpong", "--json", "--plot", path,
                                 path=folder + "/bin:" + os.environ["PATH"])
            self.assertEqual(err, "")
            with open(folder + "/script", encoding="utf-8") as file:
                script = file.read()
        self.assertIn("set output '" + path.replace("'", "''") + "'\n", script)
        lines = script.splitlines()
        data = lines[next(i for i, line in enumerate(lines) if line.startswith("plot ")) + 1:]
        self.assertEqual(data.pop(), "e")
        points = [tuple(map(float, line.split())) for line in data]
        self.assertEqual(points, sorted(points))
        self.assertEqual([y for _, y in points], sorted(y for _, y in points))
        latency_ns = json.loads(out)["latency_ns"]
        self.assertAlmostEqual(points[-1][1] * 1e9, latency_ns["max"],
                               delta=latency_ns["max"] / 1e6)
        for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99")):
            below = [y for x, y in points if x <= 1 / (1 - share)]
            above = [y for x, y in points if x >= 1 / (1 - share)]
            self.assertLessEqual(below[-1] * 1e9, latency_ns[name] * 1.01)
            self.assertGreaterEqual(above[0] * 1e9, latency_ns[name] * 0.99)

    @unittest.skipUnless(shutil.which("gnuplot"), "gnuplot is not installed")
    def test_png(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/a picture, 'quoted' %s.png"
            out, err = self.load("pipeline", "--plot=" + path)
            with open(path, "rb") as file:
                data = file.read()
        self.assertEqual(err, "")
        self.assertNotIn("█", out)
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(struct.unpack(">II", data[16:24]), (1000, 600))

    def test_without_gnuplot(self):
        with tempfile.TemporaryDirectory() as folder:
            _, err = self.load("pingpong", "--plot", folder + "/x.png", path=folder, status=2)
            self.assertIn("needs gnuplot, which is not installed", err)
            self.assertEqual(os.listdir(folder), [])

    def test_a_gnuplot_that_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            self.with_gnuplot(folder, "exit 3")
            out, err = self.load("pingpong", "--plot", folder + "/x.png", status=1,
                                 path=folder + "/bin:" + os.environ["PATH"])
        self.assertIn("messages ", out)
        self.assertIn("gnuplot could not draw it", err)

    def test_a_file_that_cannot_be(self):
        with tempfile.TemporaryDirectory() as folder:
            self.with_gnuplot(folder, "exit 0")
            path = folder + "/bin:" + os.environ["PATH"]
            for name in ("/nowhere/x.png", folder + "/line\nbreak.png", folder + "/bin/.png/x.png"):
                _, err = self.load("pingpong", "--plot", name, path=path, status=2)
                self.assertIn("cannot be written: ", err)


if __name__ == "__main__":
    cli.main()
