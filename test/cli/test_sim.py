# SPDX-License-Identifier: BSD-2-Clause
"""The command line of simulated programs: a failure that is not told, kept or repeated as it was, or a
mistake on the line that passes for a success."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import cli

TOLD = os.path.join(os.path.dirname(os.path.abspath(cli.PEAL)), "test", "sim_told")
COMMANDS = ("run", "torture", "exhaust", "replay", "shrink", "list")
OPTIONS = ("--seeds", "--from", "--scenario", "--jobs", "--engine", "--keep", "--failures",
           "--no-faults", "--steps", "--seed", "--quiet", "--output", "--runs", "--preemptions")
# How each scenario of test/sim/told.c fails.
FAILURES = {
    "draws": r"\d+ is too much",
    "elsewhere": r"\S*told\.c:\d+: not so: user == NULL",
    "crashes": r"the program crashed: Aborted",
    "leaves": r"the program ended its process",
    "leaks": r"\d fds were not closed.*",
    "hangs": r"every thread waits for ever: .*sleeper.*",
    "circles": r"no end within 20 s: the program goes round in circles",
    "crowds": r"more than 64 threads at once",
    "misdials": r'a peer\'s address "nowhere:x": .*',
    "listens-twice": r'a peer cannot listen on "127\.0\.0\.1:7": -98',
    "exhausts-fds": r"a peer has no socket: -24",
}


class InAFolder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="peal-sim-")
        self.addCleanup(shutil.rmtree, self.folder)

    def sim(self, *args):
        done = subprocess.run([TOLD, *args], cwd=self.folder, capture_output=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=cli.PATIENCE_S * 4)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def keep(self, scenario):
        """A run of it that failed: the file."""
        status, out, err = self.sim("run", "--scenario", scenario, "--seeds", "50")
        self.assertEqual((status, err), (1, ""), out)
        return re.search(r"^  kept as (\S+)$", out, re.M).group(1)

    def write(self, text):
        with open(os.path.join(self.folder, "file"), "w", encoding="ascii") as file:
            file.write(text)
        return "file"


class Misuse(InAFolder):
    def refused(self, sentence, *args):
        status, out, err = self.sim(*args)
        self.assertEqual((status, out), (2, ""), args)
        self.assertIn(sentence, err)
        self.assertEqual(err.count("\n"), 1, err)

    def test_of_the_line(self):
        self.refused("there is no command frobnicate", "frobnicate")
        self.refused("not an option of this command, or one without its value: --seed;",
                     "run", "--seed", "5")
        for args in (("run", "--bogus"), ("run", "--seeds"), ("list", "--jobs", "2"),
                     ("shrink", "--seeds=4", "x"), ("torture", "--no-faults")):
            self.refused(f"or one without its value: {args[1]};", *args)
        self.refused("not a number: x", "run", "--seeds", "x")
        self.refused("not a number: -1", "run", "--seeds", "-1")
        self.refused("not a number: 7x", "run", "--seeds", "7x")
        for option, value in (("--jobs", "0"), ("--jobs", "65"), ("--failures", "0")):
            self.refused("--jobs is 1 to 64, --failures at least 1", "run", option, value)
        self.refused("no such engine: kqueue", "run", "--engine", "kqueue")
        self.refused("too much on the line: x", "run", "x")
        self.refused("replay wants a FILE", "replay")
        self.refused("replay wants a FILE", "replay", "--seed", "4")
        self.refused("one file at a time", "replay", "x", "y")
        for args in (("--seed", "4"), ("--scenario", "draws"), ("--engine", "epoll"), ("--no-faults",)):
            self.refused("give it, or a seed", "replay", "x", *args)
        self.refused("shrink wants a FILE", "shrink")
        self.refused("exhaust wants a --scenario", "exhaust")

    def test_scenarios_that_are_not(self):
        for args in (("run",), ("torture",), ("exhaust",), ("replay", "--seed", "1")):
            self.refused('There is no scenario "nothing"', *args, "--scenario", "nothing")
        file = self.write("peal-sim stream 1\nscenario nothing\nengine drawn\nwhy so\nbytes 0\n")
        for command in "replay", "shrink":
            self.refused('There is no scenario "nothing"', command, file)

    def test_files_that_are_not(self):
        for command in "replay", "shrink":
            self.refused("nowhere cannot be read: No such file or directory.", command, "nowhere")
            for text in ("", "hello\n", "peal-sim stream 2\n"):
                self.refused("file is no kept stream of this program.", command, self.write(text))
            head = "peal-sim stream 1\nscenario passes\n"
            self.refused("it stops making sense at: colour red", command,
                         self.write(head + "colour red\nbytes 0\n"))
            for rest in ("bytes 2\n00\n", "bytes 1\nxx\n", "bytes -1\n", "bytes 99999999999\n"):
                self.refused("it stops making sense at: bytes", command, self.write(head + rest))

    def test_a_place_that_cannot_be_written(self):
        status, out, err = self.sim("run", "--scenario", "leaks", "--keep", "/proc/nowhere")
        self.assertEqual(status, 1)
        self.assertIn("FAILED leaks, seed 1", out)
        self.assertIn("cannot be written", err)
        file = self.keep("draws")
        self.assertEqual(self.sim("shrink", file, "--output", "/proc/nowhere/file")[0], 2)


class Help(InAFolder):
    def test_of_each_command(self):
        for name in COMMANDS:
            status, out, err = self.sim(name, "--help")
            self.assertEqual((status, err), (0, ""))
            self.assertTrue(out.startswith(f"usage: sim_told {name} "), out)
            # What it names is taken, and nothing else is.
            for option in OPTIONS:
                self.assertEqual(self.sim(name, option, "1", "--help")[0],
                                 0 if f"  {option} " in out else 2, (name, option))

    def test_of_all(self):
        status, out, err = self.sim("--help")
        self.assertEqual((status, err), (0, ""))
        for name in COMMANDS:
            self.assertRegex(out, rf"(?m)^{name} ")
        self.assertEqual(self.sim("help"), (0, out, ""))
        self.assertEqual(self.sim(), (2, "", out))


class Runs(InAFolder):
    def test_list(self):
        status, out, err = self.sim("list")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"(?m)^passes +nothing happens$")
        for name in FAILURES:
            self.assertRegex(out, rf"(?m)^{name} ")

    def test_what_passes(self):
        status, out, err = self.sim("run", "--scenario", "passes", "--seeds", "30", "--jobs", "3")
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("30 runs, 0 failed; "), out)
        self.assertEqual(os.listdir(self.folder), [])
        status, out, err = self.sim("replay", "--scenario", "passes", "--seed", "3")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"^passes: passed after \d+ steps, at \d+\.\d{3} ms\n$")

    def test_what_fails_is_told_kept_and_repeated(self):
        for name, why in FAILURES.items():
            if name == "circles" and cli.sanitizer() == "thread":
                continue  # it keeps signals back from code that calls nothing
            status, out, err = self.sim("run", "--scenario", name, "--seeds", "50")
            self.assertEqual((status, err), (1, ""), name)
            told = re.match(rf"FAILED {name}, seed (\d+), step (\d+), at ([\d.]+) ms\n  ({why})\n"
                            r"  kept as (\S+)\n\d+ runs, 1 failed; ", out)
            self.assertTrue(told, out)
            seed, step, at, sentence, file = told.groups()
            again = f"{name}: FAILED after {step} steps, at {at} ms:\n  {sentence}\n"
            status, out, err = self.sim("replay", file)
            self.assertEqual((status, out), (1, again))
            self.assertIn("FAILED: " + sentence, err)
            self.assertEqual(self.sim("replay", "--quiet", file), (1, again, ""))
            self.assertEqual(self.sim("replay", "--scenario", name, "--seed", seed, "--quiet"),
                             (1, again, ""))

    def test_a_run_that_is_killed_names_its_seed(self):
        status, out, err = self.sim("run", "--scenario", "vanishes")
        self.assertEqual((status, err), (1, ""))
        self.assertIn("killed: Killed", out)
        self.assertIn("replay --scenario vanishes --seed 1 repeats it", out)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_run_that_slips_away_is_told_with_its_status(self):
        status, out, err = self.sim("run", "--scenario", "slips")
        self.assertEqual((status, err), (1, ""))
        self.assertIn("the program ended its process, with status 4", out)

    def test_peers_whose_time_is_over(self):
        status, out, err = self.sim("run", "--scenario", "peers", "--seeds", "40")
        self.assertEqual((status, err), (0, ""), out)

    def kept_and_repeated(self, line, *args):
        """A run that fails is kept with this line, and fails in the same way when it is repeated."""
        status, out, err = self.sim(*args)
        self.assertEqual((status, err), (1, ""), out)
        told = re.search(r"FAILED \S+, seed \d+.*, step (\d+), at .*\n  (.*)\n  kept as (\S+)\n", out)
        self.assertTrue(told, out)
        step, sentence, file = told.groups()
        with open(os.path.join(self.folder, file), encoding="ascii") as kept:
            self.assertIn(f"\n{line}\n", kept.read())
        status, out, err = self.sim("replay", "--quiet", file)
        self.assertEqual((status, err), (1, ""))
        self.assertIn(f": FAILED after {step} steps", out)
        self.assertIn(sentence, out)
        return file

    def test_the_conditions_of_a_run_are_kept(self):
        sentence = "fault-call a 1 once"
        file = self.kept_and_repeated(sentence, "torture", "--scenario", "needs")
        self.assertTrue(file.endswith("needs-1-torture1.sim"), file)
        self.kept_and_repeated("faults none", "run", "--scenario", "leaks", "--no-faults")
        for engine in "epoll", "io_uring":
            self.kept_and_repeated(f"engine {engine}", "run", "--scenario", "leaks", "--engine", engine)
        self.kept_and_repeated("explores 3", "exhaust", "--scenario", "hangs", "--preemptions", "3")

    def test_torture_goes_on_after_failures(self):
        out = self.sim("torture", "--scenario", "needs", "--failures", "100", "--quiet")[1]
        for what in ("allocation 1", "allocation 1 and all after it", "system call 1",
                     "system call 1 and all after it"):
            self.assertRegex(out, rf"FAILED needs, seed 1, {what}, step")
        self.assertNotRegex(out, r"(?m)^needs ")

    def test_exhaust_says_whether_that_was_all(self):
        status, out, err = self.sim("exhaust", "--scenario", "passes")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("that is every order there is", out)
        out = self.sim("exhaust", "--scenario", "passes", "--runs", "0", "--preemptions", "200")[1]
        self.assertIn("with at most 100 preemptions: there are more orders", out)

    def test_a_run_of_too_many_steps(self):
        status, out, err = self.sim("run", "--scenario", "hangs", "--steps", "1")
        self.assertEqual((status, err), (1, ""))
        self.assertIn("no end after 1 steps", out)
        status, out, err = self.sim("replay", "--scenario", "hangs", "--seed", "1", "--steps", "1",
                                    "--quiet")
        self.assertIn("no end after 1 steps", out)

    def test_the_recorder_of_another_thread_is_told(self):
        err = self.sim("replay", self.keep("elsewhere"))[2]
        self.assertIn("flight recorder of bell, on thread first:", err)
        self.assertRegex(err, r"connection moved: CONNECTING, opened -> OPEN")

    def test_notes_are_told_in_a_replay(self):
        self.assertIn("## a note", self.sim("replay", self.keep("draws"))[2])

    def test_failures_says_after_how_many_it_ends(self):
        out = self.sim("run", "--scenario", "draws", "--failures", "3", "--seeds", "200")[1]
        self.assertEqual(out.count("FAILED"), 3)
        self.assertEqual(len(os.listdir(os.path.join(self.folder, "sim-failures"))), 3)

    def test_torture_tells_which_call(self):
        status, out, err = self.sim("torture", "--scenario", "passes")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"(?m)^passes +4 runs$")

    def test_torture_leaves_out_what_is_too_large(self):
        status, out, err = self.sim("torture", "--scenario", "busy", "--up-to", "1")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"(?m)^busy +left out: \d+ calls$")
        self.assertRegex(out, r"(?m)^0 runs, 0 failed")
        out = self.sim("torture", "--scenario", "passes", "--up-to", "1")[1]
        self.assertRegex(out, r"(?m)^passes +4 runs$")


class Shrinking(InAFolder):
    def test_to_the_least_number(self):
        file = self.keep("draws")
        status, out, err = self.sim("shrink", file, "--output", "small")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"^\d+ bytes were \d+: \d+ runs\. Now it says:\n"
                              r"  120 is too much\n  kept as small\n$")
        self.assertIn("120 is too much", self.sim("replay", "small")[1])
        self.assertNotEqual(self.sim("shrink", "small")[1], "")

    def test_takes_out_faults_with_all_of_their_questions(self):
        file = self.keep("busy")
        out = self.sim("shrink", file, "--output", "small")[1]
        self.assertIn("120 is too much", out)
        self.assertLess(int(out.split()[0]), 20, out)  # the scenario draws one byte
        self.assertNotIn("-- fault", self.sim("replay", "small")[2])

    def test_with_as_many_runs_as_are_granted(self):
        file = self.keep("draws")
        self.assertRegex(self.sim("shrink", file, "--runs", "2", "--output", "small")[1],
                         r"^\d+ bytes were \d+: 2 runs\.")
        self.assertRegex(self.sim("shrink", file, "--runs", "0", "--output", "small")[1],
                         r"^(\d+) bytes were \1: 0 runs\.")

    def test_what_fails_otherwise_is_no_simpler_form(self):
        """A shorter stream of this one fails too, for another reason: that is not what was asked for."""
        file = self.keep("elsewhere")
        out = self.sim("shrink", file, "--runs", "60", "--output", "small")[1]
        self.assertRegex(out, r"Now it says:\n  \S*told\.c:\d+: not so: user == NULL\n")
        self.assertIn("not so: user == NULL", self.sim("replay", "--quiet", "small")[1])

    def test_what_passes_stays(self):
        file = self.write("peal-sim stream 1\nscenario passes\nengine drawn\nwhy so\nbytes 0\n")
        status, out, err = self.sim("shrink", file)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("It passes", out)


if __name__ == "__main__":
    cli.main()
