#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks the models of models/ with Spin: check-models.py [--long] [--trail] [WORD...]

Each run is a model, a choice of its parts (#define), and what must come of it: a model as it stands
must hold, and one with a planted bug must fail, in the way that is written here. One line of TAP for
each, and at the end a table of what was searched. With --long the larger runs too, and every bug;
with WORDs only the runs whose name has all of them; with --trail a run that should have held shows
the way to the fault that was found.

Exits with 1 if a run did not end as it must, with 77 if Spin is not there. The table of moves that
the close model includes is made from the code's by scripts/moves.py.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

from common import ROOT

FOLDER = os.path.join(ROOT, "models")
MEMORY_MIB = 8192
TIMEOUT_S = 900
WORKERS_MAX = 2  # of the largest searches two fit into 4 GiB

# What a search can find.
HOLDS, ASSERTION, STUCK, CYCLE = "holds", "assertion violated", "invalid end state", "acceptance cycle"


class Run:
    """One search, exhaustive. live: cycles are looked for, under weak fairness."""

    def __init__(self, model, what, defines="", expect=HOLDS, live=False, long=False):
        self.model, self.what, self.defines, self.expect = model, what, defines.split(), expect
        self.live, self.long = live, long
        self.figures, self.fault, self.trail = None, None, ""

    def name(self):
        return f"{self.model}: {self.what}"


SMALL = "HOLDER=1 BY_ID=0 LOCAL=1"
RUNS = [
    Run("wakeup", "as it is"),
    Run("wakeup", "as it is, liveness", "NO_QUIT", live=True),
    Run("wakeup", "looks before it says that it sleeps", "BUG_LOOK_FIRST", STUCK),
    Run("wakeup", "the same, liveness", "NO_QUIT BUG_LOOK_FIRST", CYCLE, live=True, long=True),
    Run("wakeup", "asleep in a relaxed store", "BUG_RELAXED_SLEEP", STUCK),
    Run("wakeup", "all who see it asleep write", "BUG_ALL_WRITE", ASSERTION, long=True),
    Run("wakeup", "the end leaves no mark", "BUG_NO_MARK", ASSERTION, long=True),
    Run("wakeup", "the end does not wait for wakers", "BUG_NO_WAKING", ASSERTION),
    Run("wakeup", "a batch is not turned around", "BUG_NO_TURN", ASSERTION, long=True),
    Run("wakeup", "a quit is not looked for before sleep", "BUG_QUIT_UNSEEN", STUCK, long=True),
    Run("wakeup", "as it is, 2 and 2 tasks", "POSTS=2", long=True),
    Run("close", "a holder, callbacks", f"{SMALL}"),
    Run("close", "a holder, by id", "HOLDER=1 BY_ID=1 LOCAL=0 DATA=0", long=True),
    Run("close", "a holder, the loop is quit", "HOLDER=1 BY_ID=0 LOCAL=0 QUIT"),
    Run("close", "the FIN does not wait for other threads", f"{SMALL} BUG_FIN_EARLY", ASSERTION, long=True),
    Run("close", "a task takes its reference too late", f"{SMALL} BUG_HOLD_LATE", ASSERTION, long=True),
    Run("close", "HELD is set too late", f"{SMALL} BUG_HELD_LATE", ASSERTION),
    Run("close", "requests are cleared after serving", "HOLDER=2 BY_ID=0 LOCAL=0 DATA=0 BUG_SERVE_LATE", ASSERTION,
        long=True),
    Run("close", "sends that do not look at the end bit", f"{SMALL} BUG_ADD_BLINDLY", ASSERTION, long=True),
    Run("close", "a break of what has closed", f"{SMALL} BUG_TWO_ENDS", ASSERTION, long=True),
    Run("close", "no time-out after the FIN", f"{SMALL} BUG_NO_LINGER", ASSERTION),
    Run("close", "a paused reader is not shown the rest", f"{SMALL} BUG_NO_REST", ASSERTION, long=True),
    Run("close", "an id is found without a reference", "HOLDER=1 BY_ID=1 LOCAL=0 BUG_FIND_BARE", ASSERTION, long=True),
    Run("close", "a holder, by id, data", "HOLDER=1 BY_ID=1 LOCAL=0", long=True),
    Run("close", "two calls of the holder, callbacks", "HOLDER=2 BY_ID=0 LOCAL=1", long=True),
]

STOP, LEFT = "STOPS=1 ADOPTS=0", "STOPS=0 ACCEPTS=0 QUIT_POOL"
RUNS += [
    Run("server", "a stop, a hand-over", STOP),
    Run("server", "a stop, a hand-over, liveness", f"{STOP} LIVENESS", live=True),
    Run("server", "released, adopting, a hand-over", "STOPS=0"),
    Run("server", "released, adopting, the pool's loop is quit", LEFT),
    Run("server", "released, adopting, both loops are quit", f"{LEFT} QUIT_HOME", long=True),
    Run("server", "forgets hand-overs", f"{STOP} BUG_FORGETS", ASSERTION),
    Run("server", "the last shard posts without a reference to home", f"{STOP} BUG_NO_HOME_REF", ASSERTION),
    Run("server", "a refused sender finishes the shard", f"{LEFT} QUIT_HOME BUG_FINISHES_AFAR", ASSERTION),
    Run("server", "at the loop's end, before the queue is empty", f"{LEFT} BUG_LAST_TOO_EARLY", ASSERTION, long=True),
    Run("server", "at the loop's end it waits for senders", f"{LEFT} BUG_LAST_WAITS", ASSERTION, long=True),
    Run("server", "a loop that had ended is to finish it", f"{LEFT} BUG_LATE_UNSETTLED", ASSERTION, long=True),
    Run("server", "nobody looks whether it has finished", "STOPS=1 BUG_TWICE", ASSERTION, long=True),
    Run("server", "no timer for the deadline", f"{STOP} BUG_NO_DEADLINE", ASSERTION),
    Run("server", "no timer for the deadline, liveness", f"{STOP} LIVENESS BUG_NO_DEADLINE", CYCLE, live=True,
        long=True),
    Run("server", "control clears its mark after it has looked", "STOPS=2 ADOPTS=0 BUG_CONTROL_LATE", ASSERTION,
        long=True),
    Run("server", "a hand-over has no reference", f"{STOP} BUG_NO_HOLD", ASSERTION, long=True),
    Run("server", "what arrives too late is opened", f"{STOP} BUG_OPENS", ASSERTION, long=True),
    Run("server", "what is dropped with its loop is not closed", f"{LEFT} BUG_DROPS", ASSERTION, long=True),
    Run("server", "two stops, the second shorter", "STOPS=2 ADOPTS=0", long=True),
    Run("server", "a stop, home serves too", f"{STOP} HOME_SERVES", long=True),
    Run("server", "a stop, both loops are quit", f"{STOP} QUIT_POOL QUIT_HOME", long=True),
    Run("server", "a stop, adopting, the pool's loop is quit", "STOPS=1 ACCEPTS=0 QUIT_POOL", long=True),
    Run("server", "a stop, adopting, a hand-over", "STOPS=1", long=True),
]

SEND, ALONE = "LOCAL=2", "LOCAL=3 REMOTE=0 CAP=4"
RUNS += [
    Run("flush", "two calls of callbacks, another thread", SEND),
    Run("flush", "three calls of callbacks, alone", ALONE),
    Run("flush", "what is queued counts as taken", f"{SEND} BUG_QUEUED_TAKEN", ASSERTION),
    Run("flush", "sends again what is under way", f"{SEND} BUG_SENDS_BLOCKED", ASSERTION, long=True),
    Run("flush", "an on_sent after the end is not counted", f"{SEND} BUG_SENT_UNHEARD", ASSERTION),
    Run("flush", "the FIN does not wait for what is blocked", f"{SEND} BUG_FIN_EARLY", ASSERTION, long=True),
    Run("flush", "nobody looks whether on_drain is due", f"{SEND} BUG_NO_DRAIN", ASSERTION),
    Run("flush", "on_drain comes again", f"{SEND} BUG_DRAIN_AGAIN", ASSERTION, long=True),
    Run("flush", "reading stays paused", f"{SEND} BUG_STAYS_HIGH", ASSERTION, long=True),
    Run("flush", "nothing says that bytes are moving", "LOCAL=1 REMOTE=2 BUG_NO_MOVING", ASSERTION),
    Run("flush", "what was gathered is lost with the end", f"{SEND} BUG_GATHER_LOST", ASSERTION, long=True),
    Run("flush", "the rest without memory is counted nowhere", f"{SEND} BUG_REST_LOST", ASSERTION, long=True),
    Run("flush", "what went before a failure is not noted", f"{ALONE} BUG_NO_LEVEL", ASSERTION),
    Run("flush", "nobody watches a blocked output", f"{SEND} BUG_NO_WATCH", ASSERTION, long=True),
    Run("flush", "two sends of another thread", "LOCAL=1 REMOTE=2", long=True),
    Run("flush", "a low mark above nothing", "LOCAL=2 LOW_MARK=1 HIGH_MARK=2 CAP=3", long=True),
    Run("flush", "two calls of on_data", "LOCAL=2 DATA=2", long=True),
    Run("flush", "three calls of callbacks, another thread", "LOCAL=3", long=True),
]

# That the close model takes each move of the table: it fails where it would take it.
with open(os.path.join(FOLDER, "moves.pml"), encoding="utf-8") as moves_file:
    MOVES = int(re.search(r"#define MOVES (\d+)", moves_file.read()).group(1))
RUNS += [Run("close", f"takes move {number_}", f"{SMALL} REACH={number_}", ASSERTION, long=True)
         for number_ in range(1, MOVES + 1)]


def command(folder, *words, timeout=TIMEOUT_S):
    """Runs quietly, at low priority. Returns status, output and seconds of CPU."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(("nice", "-n", "10", *words), cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        limit = threading.Timer(timeout, process.kill)
        limit.start()
        _, status, used = os.wait4(process.pid, 0)
        limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return process.returncode, text, used.ru_utime + used.ru_stime


def compile_options(run):
    options = ["-DSAFETY", "-DCOLLAPSE"] if not run.live else ["-DNFAIR=6", "-DNOREDUCE"]
    return options + [f"-DMEMLIM={MEMORY_MIB}", "-O2" if run.expect == HOLDS else "-O0", "-w"]


def number(pattern, text):
    match = re.search(pattern, text)
    return float(match.group(1)) if match else 0.0


def fault_in(text):
    """What the search says is wrong, or None."""
    match = re.search(r"^pan:\d+: (.*) \(at depth \d+\)", text, re.M)
    return match.group(1).replace("  ", " ") if match else None


def search(run, folder, with_trail):
    """Fills in what came of the run. Returns why it could not be searched, or None."""
    source = os.path.join(FOLDER, f"{run.model}.pml")
    defines = [f"-D{name}" for name in run.defines]
    status, text, _ = command(folder, "spin", *defines, "-a", source)
    if status != 0 or not os.path.exists(f"{folder}/pan.c"):
        return text
    status, text, _ = command(folder, "gcc", *compile_options(run), "-o", "pan", "pan.c")
    if status != 0:
        return text
    options = ["-m2000000", "-w24"] + (["-a", "-f", "-E"] if run.live else [])
    status, text, seconds = command(folder, "./pan", *options)
    run.figures = {"states": int(number(r"([\d.e+]+) states, stored", text)),
                   "depth": int(number(r"depth reached (\d+)", text)),
                   "seconds": seconds, "mib": number(r"([\d.]+)\s+total actual memory usage", text)}
    if "errors:" not in text:
        return text or f"ended with status {status}, perhaps as it took more than {TIMEOUT_S} s"
    for limit in ("max search depth too small", "Search not completed", "hash array"):
        if limit in text and run.expect == HOLDS and fault_in(text) is None:
            return text
    run.fault = fault_in(text)
    if run.fault and with_trail:
        trail = f"{run.model}.pml.trail"
        run.trail = command(folder, "spin", *defines, "-k", trail, "-p", "-g", source)[1]
    return None


def search_apart(run, with_trail):
    with tempfile.TemporaryDirectory(prefix="peal-models-") as folder:
        return search(run, folder, with_trail)


def is_as_expected(run):
    return run.fault is None if run.expect == HOLDS else run.fault is not None and run.expect in run.fault


def verdict(run, number_, why):
    """The line of TAP, after what there is to say about a run that did not end as it must."""
    good = why is None and is_as_expected(run)
    if not good:
        said = why or (f"{run.fault or 'no fault'} was found; it must come to: {run.expect}")
        for line in (said + ("\n" + run.trail if run.trail else "")).strip().splitlines()[-4000:]:
            print(f"# {line}")
    print(f"{'ok' if good else 'not ok'} {number_} - {run.name()}"
          f"{'' if run.expect == HOLDS else ' (planted; must fail)'}", flush=True)
    return good


def print_table(runs):
    print(f"# {'model and run':58} {'came of it':30} {'states':>12} {'depth':>8} {'CPU s':>7} {'MiB':>7}")
    for run in runs:
        if run.figures:
            how = run.fault[:30] if run.fault else "holds"
            print(f"# {run.name()[:58]:58} {how:30} {run.figures['states']:12,} {run.figures['depth']:8,}"
                  f" {run.figures['seconds']:7.1f} {run.figures['mib']:7,.0f}")


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if not shutil.which("spin"):
        print("skipped: spin is not there (Debian's package spin; scripts/setup.sh test installs it)")
        return 77
    if not shutil.which("gcc"):
        print("skipped: gcc is not there, which compiles what Spin writes")
        return 77
    runs = [run for run in RUNS if ("--long" in sys.argv or not run.long or words)
            and all(word in run.name() + " ".join(run.defines) for word in words)]
    print(f"1..{len(runs)}", flush=True)
    failed = 0
    with ThreadPoolExecutor(min(WORKERS_MAX, os.cpu_count() or 1)) as workers:
        found = workers.map(lambda run: search_apart(run, "--trail" in sys.argv), runs)
        for index, (run, why) in enumerate(zip(runs, found), 1):
            failed += not verdict(run, index, why)
    print_table(runs)
    return 1 if failed else 0


sys.exit(main())
