# SPDX-License-Identifier: BSD-2-Clause
"""A benchmark that computes wrongly, hides a loss, runs too long, or leaves processes behind.

The arithmetic and the tables are tested with made-up rounds; the runner as a whole with fake servers
and a fake load that keep the contract of bench/servers and bench/load, so that no figure depends on
this machine.
"""
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

import cli

RUN = os.path.join(cli.ROOT, "bench", "run")
sys.path.insert(0, RUN)

import cell  # noqa: E402
import cores  # noqa: E402
import docs  # noqa: E402
import field  # noqa: E402
import plan  # noqa: E402
import plots  # noqa: E402
import processes  # noqa: E402
import report  # noqa: E402
import stats  # noqa: E402
import verdict  # noqa: E402

FAKE_SERVER = """#!/usr/bin/env python3
import os, signal, socket, sys
name = os.path.basename(sys.argv[0])
if sys.argv[1:] == ["--version"]:
    print(name, "9.9")
    sys.exit()
if name == "libev" and sys.argv[1] == "echo":
    print("libev has no echo today", file=sys.stderr)
    sys.exit(3)
if os.environ.get("PEAL_ENGINE") == "io_uring":
    print("this kernel has no io_uring", file=sys.stderr)
    sys.exit(1)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
print("ready", listener.getsockname()[1], flush=True)
while True:
    peer = listener.accept()[0]
    with peer:
        peer.recv(1)
        sum(range(30000 if name == "raw_epoll" else 60000))
        peer.send(b"x")
"""

FAKE_LOAD = """#!/usr/bin/env python3
import json, os, socket, sys
case, host, port = sys.argv[1:4]
conns = int(sys.argv[sys.argv.index("--conns") + 1])
assert sys.argv[-1] == "--control"
runs = 0
for line in sys.stdin:
    words = line.split()
    if words == ["quit"]:
        break
    assert words[0] == "run", words
    runs += 1
    if os.environ.get("FAKE_LOAD_DIES") and runs == 4:
        print("the load lost its connections", file=sys.stderr)
        sys.exit(1)
    with socket.create_connection((host, int(port))) as peer:
        peer.send(b"x")
        peer.recv(1)
    print(json.dumps({"messages": 10 * conns, "bytes": 640 * conns, "seconds": float(words[1]),
                      "p50_us": 10.5, "p99_us": 20.5, "p999_us": 30.5, "cpu_us": 5,
                      "errors": 0}), flush=True)
"""


def one_round(cpu_ns, rate=1000.0, p99=100.0, busy=1.0, errors=0):
    """A slice of one second."""
    return {"messages": rate, "bytes": 64 * rate, "seconds": 1.0, "server_ns": cpu_ns * rate,
            "load_ns": busy * 1e9, "waited_ns": 0, "errors": errors, "p50_us": 50.0, "p99_us": p99,
            "p999_us": 200.0}


def cell_of(case, rounds, absent=None):
    return {"case": case, "slice_s": 1.0, "seconds": 10.0, "stolen_share": 0.0, "rounds": rounds,
            "absent": absent or {}, "engines": {}, "idle_share": {}}


def results_of(*cells, micro=(), machine_cores=2):
    return {"version": 1, "cells": list(cells), "micro": list(micro), "notes": [],
            "plan": {"profile": "full", "sentences": ["A plan."]},
            "machine": {"date": "2000-01-01 00:00 UTC", "cpu": "A processor", "cores": machine_cores,
                        "server_cpu": 1, "load_cpu": 0, "memory_gib": 1.0, "kernel": "Linux_1",
                        "distribution": "Debian", "compiler": "cc 1", "virtual": False,
                        "governor": "", "load_average_before": 0.0, "commit": "abc",
                        "versions": {"libev": "libev 4"}}}


class Statistics(unittest.TestCase):
    def test_quantiles_lie_between_neighbours(self):
        self.assertEqual(stats.quantile([4, 1, 3, 2], 0.5), 2.5)
        self.assertEqual(stats.quantile([1, 2, 3, 4, 5], 0.25), 2)
        self.assertEqual(stats.quantile([7], 0.99), 7)
        self.assertRaises(ValueError, stats.quantile, [], 0.5)

    def test_interval_of_the_median_is_that_of_the_binomial_law(self):
        # The classic table: of 20 ordered values the 6th and the 15th, of 10 the 2nd and the 9th.
        self.assertEqual(stats.median_interval(range(1, 21)), (6, 15))
        self.assertEqual(stats.median_interval(range(1, 11)), (2, 9))
        self.assertEqual(stats.median_interval([3, 1, 2]), (1, 3))
        self.assertEqual(stats.median_interval([5]), (5, 5))

    def test_interval_holds_the_median_as_often_as_it_says(self):
        chance = random.Random(7)
        held = 0
        for _ in range(2000):
            low, high = stats.median_interval([chance.expovariate(1) for _ in range(22)])
            held += low <= 0.6931 <= high
        self.assertGreaterEqual(held, 1880)

    def test_ratios_are_taken_round_by_round(self):
        # The machine gets three times as slow; the ratio does not.
        self.assertEqual(stats.ratios([2, 4, 6], [1, 2, 3]), [2, 2, 2])
        self.assertEqual(stats.ratios([2, None, 6, 8], [1, 2, 0, None]), [2])

    def test_no_figures_have_no_summary(self):
        self.assertIsNone(stats.summary([]))
        self.assertEqual(stats.summary([2, 4])["median"], 3)

    def test_verdicts(self):
        def judged(median, sure_low, limit):
            return stats.judge({"median": median, "sure_low": sure_low}, limit)

        self.assertEqual(judged(0.99, 0.98, 1.0)["word"], "met")
        self.assertEqual(judged(1.0, 0.98, 1.0)["word"], "met")
        self.assertEqual(judged(1.01, 1.0, 1.0)["word"], "tie (+1.0%)")
        self.assertEqual(judged(1.10, 1.05, 1.0)["word"], "missed by 10%")
        self.assertEqual(judged(1.10, 0.95, 1.0)["word"], "missed by 10%, unsure")
        self.assertEqual(judged(0.55, 0.54, 0.5)["word"], "missed by 10%")
        self.assertEqual(stats.judge(None, 1.0)["word"], "not measured")
        self.assertEqual([judged(m, m, 1.0)["met"] for m in (0.9, 1.019, 1.021)],
                         [True, True, False])

    def test_bottleneck(self):
        self.assertEqual(stats.bottleneck(0.99, 0.60), "server")
        self.assertEqual(stats.bottleneck(0.40, 1.00), "load")
        self.assertEqual(stats.bottleneck(0.97, 0.97), "server and load")
        self.assertEqual(stats.bottleneck(0.40, 0.40), "wake-ups")
        self.assertEqual(stats.bottleneck(0.40, 0.40, waited=0.3), "other programs")
        self.assertEqual(stats.bottleneck(0.96, 0.40, waited=0.3), "server")
        self.assertEqual(stats.bottleneck(0.50, 0.49, shared=True), "the shared core")


class Planning(unittest.TestCase):
    def full(self, profile):
        cases = [case for case in field.CASES if profile == "full" or case.quick]
        return plan.make(profile, cases, field.PEERS)

    def test_presets_keep_the_promised_time(self):
        for profile, minutes in (("full", 20), ("quick", 2)):
            preset = plan.PROFILES[profile]
            total_s = self.full(profile).total_s() + preset["micro_s"]
            self.assertLessEqual(total_s, minutes * 60 - 10, profile)
            self.assertLessEqual(preset["minutes"], minutes)
            self.assertLessEqual(total_s, preset["minutes"] * 60, profile)

    def test_every_round_has_every_server_once_in_changing_order(self):
        case = field.CASES[0]
        made = plan.make("full", [case], field.PEERS, rounds=20)
        orders = list(made.orders(case))
        count = len(made.peers_of(case))
        self.assertEqual(len(orders), 20 + plan.WARM_UP_ROUNDS)
        for order in orders:
            self.assertEqual(sorted(order), list(range(count)))
        self.assertGreater(len({tuple(order) for order in orders}), 15)
        self.assertEqual(orders, list(made.orders(case)))
        other = plan.make("full", [case], field.PEERS, rounds=20, seed=2)
        self.assertNotEqual(orders, list(other.orders(case)))

    def test_some_servers_are_for_some_cases_only(self):
        made = self.full("full")
        special = [peer for peer in field.PEERS if peer.only]
        self.assertTrue(special)
        for peer in special:
            there = [case.name for case in field.CASES if peer in made.peers_of(case)]
            self.assertEqual(there, list(peer.only))

    def test_wrong_plans_are_refused(self):
        for wrong in ({"rounds": 0}, {"slice_s": 0}, {"slice_s": 1000.0}, {"slice_s": float("nan")}):
            with self.assertRaises(ValueError):
                plan.make("full", field.CASES, field.PEERS, **wrong)
        with self.assertRaises(ValueError):
            plan.make("full", [], field.PEERS)

    def test_names_are_found_or_told(self):
        found = field.find(field.CASES, ["churn", "echo-1"], "case")
        self.assertEqual([case.name for case in found], ["echo-1", "churn"])
        with self.assertRaisesRegex(ValueError, "no case 'ekho'; there are echo-1-shared, "):
            field.find(field.CASES, ["ekho"], "case")

    def test_targets_name_servers_of_the_field(self):
        names = {peer.name for peer in field.PEERS}
        self.assertEqual(len(names), len(field.PEERS))
        for case in field.CASES:
            self.assertLessEqual(set(case.targets), names)
            self.assertIn(case.base, names)
            self.assertTrue(case.meaning)

    def test_server_and_load_never_share_a_core_unless_told(self):
        two = cores.Cores({0, 1}, lambda cpu: {cpu})
        self.assertEqual(two.sets("split"), ({1}, {0}))
        self.assertEqual(two.sets("shared"), ({1}, {1}))
        self.assertEqual(two.sets("free"), ({0, 1}, {0, 1}))
        threads = cores.Cores({0, 1, 2, 3}, lambda cpu: {cpu, cpu ^ 2})
        self.assertEqual((threads.server, threads.load), (3, 0))
        self.assertIsNone(cores.Cores({0, 1}, lambda cpu: {0, 1}).sets("split"))
        self.assertIsNone(cores.Cores({5}, lambda cpu: {cpu}).sets("split"))


class Verdicts(unittest.TestCase):
    def measured(self, case="echo-100", **costs):
        names = {name.replace("_", "-"): cost for name, cost in costs.items()}
        drift = [1.0, 1.1, 0.9, 1.3, 1.0, 1.2, 1.0, 1.1]
        return cell_of(case, {name: [one_round(cost * slow) for slow in drift]
                              for name, cost in names.items()})

    def row(self, **costs):
        return report.Row(self.measured(**costs))

    def test_ratio_is_free_of_drift(self):
        row = self.row(raw_epoll=100, libev=110)
        ratio = row.condensed["libev"]["ratio"]
        for key in ("median", "q25", "q75"):
            self.assertAlmostEqual(ratio[key], 1.1)

    def test_targets_met_and_missed(self):
        row = self.row(raw_epoll=100, peal_epoll=101, peal_uring=105)
        self.assertEqual(row.targets["peal-epoll"]["word"], "met")
        self.assertEqual(row.targets["peal-uring"]["word"], "missed by 11%")

    def test_a_target_may_have_another_base(self):
        row = self.row(case="frames", raw_epoll=1, libuv_try=100, peal_epoll=40)
        self.assertAlmostEqual(row.targets["peal-epoll"]["ratio"]["median"], 0.4)
        self.assertEqual(row.targets["peal-uring"]["word"], "not measured")

    def test_a_peer_ahead_of_the_better_engine_is_named(self):
        row = self.row(raw_epoll=100, libev=95, asio=99, peal_epoll=120, peal_uring=100)
        self.assertEqual([(one["peer"], one["peal"], one["figure"]) for one in row.ahead],
                         [("libev", "peal-uring", "CPU")])
        self.assertAlmostEqual(row.ahead[0]["behind"], 100 / 95 - 1)
        self.assertTrue(row.ahead[0]["sure"])

    def test_the_better_engine_is_so_round_by_round(self):
        # The second half is slow for all. Epoll lacks two of its slow rounds, so its plain median is
        # smaller, though it is slower in every round that it has.
        rounds = {"raw-epoll": [10, 10, 10, 20, 20, 20], "peal-uring": [9, 9, 9, 18, 18, 18],
                  "peal-epoll": [9.5, 9.5, 9.5, 19]}
        measured = cell_of("echo-100", {name: [one_round(cost) for cost in costs]
                                        for name, costs in rounds.items()})
        condensed = report.Row(measured).condensed
        self.assertLess(condensed["peal-epoll"]["cpu_ns"]["median"],
                        condensed["peal-uring"]["cpu_ns"]["median"])
        self.assertEqual(verdict.better_engine(condensed), "peal-uring")
        del measured["rounds"]["raw-epoll"]
        self.assertEqual(verdict.better_engine(report.Row(measured).condensed), "peal-epoll")

    def test_rate_and_latency_count_too(self):
        measured = cell_of("echo-100", {
            "raw-epoll": [one_round(100)] * 8,
            "asio": [one_round(100, rate=1100.0, p99=80.0)] * 8,
            "peal-epoll": [one_round(100)] * 8})
        row = report.Row(measured)
        self.assertEqual([(one["peer"], one["figure"], round(one["behind"], 3))
                          for one in row.ahead],
                         [("asio", "rate", 0.1), ("asio", "p99", 0.25)])

    def test_what_is_sure_is_told_first(self):
        unsure = [one_round(100, p99=cost) for cost in (50, 110, 60, 110, 70, 80)]
        first = cell_of("echo-1", {"peal-epoll": [one_round(100)] * 6, "asio": unsure})
        second = self.measured(case="echo-100", peal_epoll=100, libev=90)
        told = list(report.ahead_sentences(report.View(results_of(first, second)), "peer"))
        self.assertEqual(told, [
            "64 B x 100: libev ahead of Peal epoll in CPU by 11%",
            "64 B x 1, two cores: Asio ahead of Peal epoll in p99 by 34% (unsure); "
            "the load set the pace"])

    def test_without_peal_nobody_is_ahead(self):
        self.assertEqual(self.row(raw_epoll=100, libev=50).ahead, [])

    def test_failed_slices_do_not_count(self):
        rounds = [one_round(100), None, {**one_round(100), "messages": 0}, one_round(300)]
        row = report.Row(cell_of("echo-100", {"raw-epoll": [one_round(100)] * 4, "libev": rounds}))
        self.assertEqual(row.condensed["libev"]["ratio"]["count"], 2)
        self.assertAlmostEqual(row.condensed["libev"]["ratio"]["median"], 2.0)

    def test_scale(self):
        one = self.measured(case="echo-100", peal_epoll=100)
        many = self.measured(case="echo-10000", peal_epoll=150)
        rows = report.View(results_of(one, many)).rows
        grown = verdict.growth({row.case.name: row.condensed for row in rows})
        self.assertAlmostEqual(grown["peal-epoll"], 1.5)
        loops = {name: cell_of(name, {"peal-epoll": [one_round(1, rate=rate)] * 3})
                 for name, rate in (("loops-1", 100.0), ("loops-2", 190.0))}
        self.assertAlmostEqual(verdict.scaling(loops)["peal-epoll"], 1.9)


class Tables(unittest.TestCase):
    def setUp(self):
        rounds = {"raw-epoll": [one_round(2000)] * 6, "libev": [one_round(1800)] * 6,
                  "peal-epoll": [one_round(2000, errors=2)] * 6}
        measured = cell_of("echo-100", rounds, {"asio": "the program asio was not built"})
        measured["stolen_share"] = 0.05
        measured["rounds"]["raw-epoll"] = [{**one_round(2000), "waited_ns": 4e8}] * 6
        measured["rounds"]["raw-uring"] = [{**one_round(1), "messages": 0}] * 6
        measured["said"] = {"raw-uring": ["connection refused"]}
        measured["idle_share"] = {"libev": 0.2, "peal-epoll": 0.0}
        self.results = results_of(measured, micro=[
            {"figure": "timer fired", "of": "Peal", "value": 41.25, "unit": "ns", "target": 100.0},
            {"figure": "timer fired", "of": "libev", "value": 897.0, "unit": "ns"},
            {"figure": "idle", "of": "Peal", "value": 300.0, "unit": "bytes", "target": 256.0},
            {"figure": "idle", "of": "libev", "value": 100.0, "unit": "bytes"}])

    def test_text_hides_nothing(self):
        text = report.text(self.results)
        for part in (
                "64 B x 100, Peal epoll: 1.000, target ≤ 1.01: met",
                "64 B x 100, Peal io_uring: –, target ≤ 0.95: not measured",
                "Of the targets 2 met, 1 missed, 1 not measured.",
                "timer fired, Peal: 41.2 ns, target ≤ 100: met",
                "idle, Peal: 300 bytes, target ≤ 256: missed by 17%",
                "idle: libev 100 bytes, Peal 300",
                "64 B x 100: libev ahead of Peal epoll in CPU by 11%",
                "Asio is missing: the program asio was not built.",
                "Peal epoll: the load counted 12 errors.",
                "libev used 20.0% of a core while nobody asked it anything.",
                "Other guests of the host took 5.0%",
                "Other programs had the cores for up to 40% of the time",
                "raw io_uring moved nothing in 6 of 6 slices, which do not count.",
                "The load of raw io_uring said: connection refused.",
                "2.00 µs", "0.900–0.900", "timer fired, ns", "41.2", "897"):
            self.assertIn(part, text)
        self.assertNotIn("Peal epoll used", text)
        self.assertNotIn("timer fired: libev", text)

    def test_columns_are_aligned(self):
        lines = list(report.text_table(["server", "a", "b"], [["x", "10", "2"], ["longer", "1", ""]]))
        self.assertEqual(lines, ["server   a  b", "x       10  2", "longer   1"])

    def test_figures_are_for_people(self):
        self.assertEqual([report.number(value) for value in (1234567.8, 123.4, 12.34, 1.234)],
                         ["1,234,568", "123", "12.3", "1.23"])
        self.assertEqual([report.time_ns(value) for value in (999, 1500, 15e6)],
                         ["999 ns", "1.50 µs", "15.0 ms"])

    def test_missing_everywhere_is_said_once(self):
        absent = {"asio": "not built"}
        rounds = {"raw-epoll": [one_round(1)]}
        text = report.text(results_of(cell_of("echo-1", rounds, absent),
                                      cell_of("echo-100", rounds, absent)))
        self.assertEqual(text.count("Asio is missing"), 1)

    def test_nothing_measured_is_said(self):
        text = report.text(results_of())
        self.assertIn("No case with a target was measured.", text)

    def test_markdown_goes_between_its_marks(self):
        page = f"before\n{docs.BEGIN}\nold\n{docs.END}\nafter\n"
        new = docs.replaced(page, report.markdown(self.results, [("p/a.png", "A plot")]))
        self.assertTrue(new.startswith("before\n") and new.endswith("\nafter\n"))
        self.assertNotIn("old", new)
        self.assertIn("| 64 B x 100 | 1.00 | – | 0.90 |", new)
        self.assertIn("![A plot](p/a.png)", new)
        self.assertIn("- 64 B x 100: libev ahead of Peal epoll in CPU by 11%", new)
        self.assertEqual(docs.replaced(new, report.markdown(self.results, [("p/a.png", "A plot")])),
                         new)
        self.assertRaises(processes.Unable, docs.replaced, "no marks", "x")

    def test_the_document_has_its_marks(self):
        with open(os.path.join(cli.ROOT, docs.PATH), encoding="utf-8") as file:
            text = file.read()
        self.assertIn("new text", docs.replaced(text, "new text"))
        for case in field.CASES:
            self.assertIn(case.title, text.partition(docs.BEGIN)[0])

    @unittest.skipUnless(shutil.which("gnuplot"), "gnuplot is not installed")
    def test_plots_are_pictures(self):
        others = [cell_of(name, {"raw-epoll": [one_round(2000)] * 3,
                                 "peal-uring": [one_round(1000)] * 3})
                  for name in ("echo-1000", "frames")]
        self.results["cells"] += others
        with tempfile.TemporaryDirectory() as folder:
            drawn = plots.draw(self.results, folder)
            names = sorted(os.path.basename(path) for path, _ in drawn.files)
            self.assertEqual(names, ["connections.png", "cost.png", "latency.png"],
                             drawn.sentences)
            for path, _ in drawn.files:
                with open(path, "rb") as file:
                    self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")

    def test_every_server_has_a_mark_of_its_own(self):
        self.assertEqual(set(plots.MARKS), {peer.name for peer in field.PEERS})
        self.assertEqual(len(set(plots.MARKS.values())), len(plots.MARKS))

    def test_ticks_are_round_and_few(self):
        self.assertEqual(plots.ticks(250, 40000), [300, 1000, 3000, 10000, 30000])
        self.assertEqual(plots.ticks(9, 1200), [10, 100, 1000])
        self.assertEqual(plots.ticks(430, 1300), [500, 700, 1000])
        self.assertEqual(plots.ticks(10000, 40000), [10000, 15000, 20000, 30000, 40000])

    def test_loads_are_merged(self):
        answers = [{"messages": 10, "bytes": 640, "seconds": 1.0, "p50_us": 1.0, "p99_us": 9.0,
                    "p999_us": 9.5, "errors": {"reset": 2}},
                   {"messages": 20, "bytes": 1280, "seconds": 1.1, "p50_us": 2.0, "p99_us": 8.0,
                    "p999_us": 9.0, "errors": 1}]
        merged = cell.merge(answers, 300, 400)
        self.assertEqual((merged["messages"], merged["bytes"], merged["seconds"], merged["errors"]),
                         (30, 1920, 1.1, 3))
        self.assertEqual((merged["p50_us"], merged["p99_us"], merged["p999_us"]), (2.0, 9.0, 9.5))


class Runner(unittest.TestCase):
    """The whole program with fakes."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="peal-bench-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.programs = os.path.join(self.folder, "programs", "servers")
        self.out = os.path.join(self.folder, "out")
        os.makedirs(self.programs)
        for name in ("raw_epoll", "libev", "libuv", "peal"):
            self.install(name, FAKE_SERVER)
        self.install("bench-load", FAKE_LOAD)

    def install(self, name, text):
        path = os.path.join(self.programs, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("/usr/bin/env python3", sys.executable))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)

    def command(self, *words):
        return [sys.executable, RUN, "--programs", os.path.join(self.folder, "programs"), "--out",
                self.out, *words]

    def bench(self, *words, status=0, env=None):
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False,
                              timeout=cli.PATIENCE_S * 2, stdin=subprocess.DEVNULL,
                              env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def left_over(self):
        """Processes that still run one of the fakes."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if len(words) > 1 and words[1].startswith(self.programs):
                found.append(pid)
        return found

    def test_a_run(self):
        out, _ = self.bench("--only", "echo-1-shared,churn", "--rounds", "3", "--slice", "0.01")
        with open(os.path.join(self.out, "bench.json"), encoding="utf-8") as file:
            results = json.load(file)
        self.assertEqual([one["case"] for one in results["cells"]], ["echo-1-shared", "churn"])
        first = results["cells"][0]
        self.assertEqual(set(first["rounds"]), {"raw-epoll", "libuv-write", "peal-epoll"})
        for rounds in first["rounds"].values():
            self.assertEqual([one["messages"] for one in rounds], [10, 10, 10])
            self.assertTrue(all(one["server_ns"] > 0 for one in rounds))
        self.assertEqual(first["absent"]["libev"], "not supported: libev has no echo today")
        self.assertEqual(first["absent"]["asio"], "the program asio was not built")
        self.assertIn("this kernel has no io_uring", first["absent"]["peal-uring"])
        self.assertEqual(results["machine"]["versions"]["libev"], "libev 9.9")
        for part in ("2 cases", "raw_epoll 9.9", "== Targets", "== Peers ahead", "10.5 µs"):
            self.assertIn(part, out)
        self.assertFalse(os.path.exists(os.path.join(self.out, "bench.part.json")))
        self.assertEqual(self.left_over(), [])
        again, _ = self.bench("--report", os.path.join(self.out, "bench.json"))
        self.assertIn(again.partition("Plots:")[0].strip(), out)

    def test_small_programs_are_taken_in(self):
        self.programs = os.path.join(self.folder, "programs", "micro")
        os.makedirs(self.programs)
        self.install("timers", """#!/usr/bin/env python3
import sys
assert sys.argv[1:] == ["--quick"], sys.argv
print("for people")
print('{"figure": "timer fired", "of": "Peal", "value": 41.5, "unit": "ns"}')
print('{"figure": 1')
""")
        self.install("posts", "#!/usr/bin/env python3\nimport sys\n"
                     "sys.exit('no second core')\n")
        out, _ = self.bench("--quick", "--only", "echo-1-shared", "--rounds", "1", "--slice", "0.01")
        self.assertRegex(out, r"timer fired, ns +.*41\.5")
        for part in ("timers printed what is no figure: {\"figure\": 1",
                     "posts ended (status 1): no second core"):
            self.assertIn(f"Note: {part}", out)

    def test_a_load_that_dies_leaves_the_others_alone(self):
        out, _ = self.bench("--only", "echo-1-shared", "--peers", "libuv-write", "--rounds", "3",
                            "--slice", "0.01", env={"FAKE_LOAD_DIES": "1"}, status=0)
        self.assertIn("the load lost its connections", out)
        self.assertEqual(self.left_over(), [])

    def test_time_is_bounded(self):
        out, _ = self.bench("--only", "echo-1-shared,churn", "--peers", "libuv-write", "--rounds",
                            "2", "--slice", "0.01", "--minutes", "0.0001", status=1)
        self.assertIn("64 B x 1, one core was left out: the time was up", out)

    def test_interrupted_it_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            process = subprocess.Popen(
                self.command("--only", "echo-1-shared", "--rounds", "100000"), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
            try:
                cli.wait_until(lambda: len(self.left_over()) >= 4, "servers and loads")
                process.send_signal(number)
                _, said = process.communicate(timeout=cli.PATIENCE_S)
            finally:
                process.kill()
                process.wait()
            cli.wait_until(lambda: not self.left_over(), "the end of all children")
            if number != signal.SIGKILL:
                self.assertEqual(process.returncode, 130)
                self.assertIn("interrupted; everything that was started has ended", said)

    def test_the_plan_is_told_without_running(self):
        out, _ = self.bench("--plan", "--only", "churn")
        self.assertIn("connect, 1 byte, FIN", out)
        self.assertFalse(os.path.exists(self.out))

    def test_the_script_tells_the_plan_without_building(self):
        done = subprocess.run([os.path.join(cli.ROOT, "scripts", "bench.sh"), "--plan", "--quick"],
                              capture_output=True, text=True, check=True,
                              timeout=cli.PATIENCE_S, stdin=subprocess.DEVNULL)
        self.assertRegex(done.stdout, r"^\d+ cases, .* at most \d+ (s|min)\.\n")

    def test_wrong_words_are_told(self):
        for words, sentence in (
                (("--only", "ekho"), "there is no case 'ekho'; there are echo-1-shared"),
                (("--peers", "libuv"), "there is no peer 'libuv'; there are raw-epoll"),
                (("--rounds", "0"), "--rounds must be at least 1"),
                (("--slice", "nan"), "--slice must be between"),
                (("--frobnicate",), "unrecognized arguments")):
            _, said = self.bench(*words, status=2)
            self.assertIn(sentence, said)
        _, said = self.bench("--report", "/nowhere.json", status=1)
        self.assertIn("/nowhere.json cannot be read: No such file", said)
        os.remove(os.path.join(self.programs, "bench-load"))
        _, said = self.bench("--only", "churn", status=1)
        self.assertIn("the program bench-load was not built", said)


if __name__ == "__main__":
    cli.main()
