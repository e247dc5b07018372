# SPDX-License-Identifier: BSD-2-Clause
"""The demo: a scenario that goes wrong, a report that says other than what happened, or a bad run
that exits with 0."""
import json
import os
import resource
import unittest

import cli

FIELDS = ["name", "connections", "opened", "closed", "causes", "bytes_accepted", "bytes_taken",
          "bytes_arrived", "fds_left", "memory_left", "verdict"]
ONE = "peer FIN"


def names():
    status, out, _ = cli.run("demo", "--list")
    assert status == 0
    return [line[:30].strip() for line in out.splitlines()]


class Scenarios(unittest.TestCase):
    """One case for each scenario is added below, from one run of all."""

    results = None

    @classmethod
    def setUpClass(cls):
        cls.status, out, cls.err = cli.run("demo", "--json", "--scale", "0.25")
        cls.results = json.loads(out)

    def one(self, name):
        found = [one for one in self.results["scenarios"] if one["name"] == name]
        self.assertEqual(len(found), 1)
        return found[0]

    def check(self, name):
        one = self.one(name)
        self.assertEqual(list(one), FIELDS)
        self.assertEqual(one["verdict"], "ok")
        self.assertEqual(one["opened"], one["closed"])
        self.assertGreater(one["connections"], 0)
        self.assertEqual(sum(one["causes"].values()), one["connections"])
        self.assertLessEqual(one["bytes_arrived"], one["bytes_taken"])
        self.assertLessEqual(one["bytes_taken"], one["bytes_accepted"])
        self.assertEqual(one["fds_left"], 0)
        if "connect" not in name:
            self.assertEqual(one["opened"], one["connections"])

    def test_of_the_run(self):
        self.assertEqual(self.status, 0, self.err)
        self.assertEqual(list(self.results), ["scenarios"])
        self.assertEqual([one["name"] for one in self.results["scenarios"]], names())

    def test_pending_replies_arrived_whole(self):
        for name in ("peer FIN, 8 MiB pending", "close, 8 MiB, input unread"):
            one = self.one(name)
            self.assertEqual(one["bytes_arrived"], one["connections"] * 8 * 2**20)
            self.assertEqual(one["bytes_accepted"], one["bytes_arrived"])


def add_scenario(scenario):
    setattr(Scenarios, "test_scenario: " + scenario, lambda self: self.check(scenario))


for scenario_name in names():
    add_scenario(scenario_name)


class Reports(unittest.TestCase):
    def test_table(self):
        status, out, _ = cli.run("demo", "--only", ONE, "--scale", "0.1")
        self.assertEqual(status, 0)
        lines = out.splitlines()
        self.assertRegex(lines[0], r"^scenario +conns +opened +closed +ended by +accepted +taken "
                                   r"+arrived +fds +memory +verdict$")
        self.assertRegex(lines[1], rf"^{ONE} +100 +100 +100  100 peer closed .* 0 +(-|\d+)  ok$")
        self.assertRegex(lines[-1], r"^1 scenarios, 100 connections, .* accounted for to the byte")
        self.assertNotIn("\033", out)

    def test_scale(self):
        result = json.loads(cli.run("demo", "--only", ONE, "--scale", "0.02", "--json")[1])
        self.assertEqual(result["scenarios"][0]["connections"], 20)

    def test_names_in_any_case_and_several(self):
        status, out, _ = cli.run("demo", "--only", ONE.upper(), "--only", "local abort", "--json",
                                 "--scale", "0.1")
        self.assertEqual(status, 0)
        self.assertEqual([one["name"] for one in json.loads(out)["scenarios"]],
                         [ONE, "local abort"])

    def test_without_a_process_for_each(self):
        status, out, _ = cli.run("demo", "--no-fork", "--only", ONE, "--only", "local abort",
                                 "--json", "--scale", "0.1")
        self.assertEqual(status, 0)
        self.assertEqual([one["verdict"] for one in json.loads(out)["scenarios"]], ["ok", "ok"])

    def test_what_goes_wrong_is_told(self):
        """With too few fds for the loops the scenario cannot work, and must say so."""
        def few_fds():
            resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
        status, out, _ = cli.run("demo", "--only", ONE, "--json", preexec_fn=few_fds)
        self.assertEqual(status, 1)
        self.assertNotEqual(json.loads(out)["scenarios"][0]["verdict"], "ok")
        status, out, _ = cli.run("demo", "--only", ONE, preexec_fn=few_fds)
        self.assertEqual(status, 1)
        self.assertTrue(out.endswith(" 1 went wrong.\n"), out)

    def test_few_fds_mean_fewer_connections(self):
        def few_fds():
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        status, out, err = cli.run("demo", "--only", "server stop, 1000 live", "--json",
                                   preexec_fn=few_fds)
        self.assertEqual(status, 0, out)
        self.assertEqual(json.loads(out)["scenarios"][0]["connections"], 250)
        self.assertIn("only 1024 fds are allowed", err)

    def test_colour_is_for_terminals(self):
        for environment, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
            master, slave = os.openpty()
            pid = os.fork()
            if pid == 0:
                os.dup2(slave, 1)
                variables = {name: value for name, value in os.environ.items()
                             if name != "NO_COLOR"}
                os.execve(cli.PEAL, [cli.PEAL, "demo", "--only", ONE, "--scale", "0.1"],
                          {**variables, **environment})
            os.close(slave)
            data = b""
            try:
                while part := os.read(master, 65536):
                    data += part
            except OSError:
                pass # the other end is closed
            os.close(master)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
            self.assertEqual(b"\033[" in data, colours)


if __name__ == "__main__":
    cli.main()
