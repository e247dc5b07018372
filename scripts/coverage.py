#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Which lines and branches of the library the tests reach, module by module.

    coverage.py            builds build-coverage, runs the tests on both engines, prints the table,
                           and fails when a group of files has fallen below what it had reached
    coverage.py --report   the same from the counts of the last run
    coverage.py --missing  and which lines were not reached

The modules that decide how a connection lives and ends are held to more than the rest. FLOORS is
what each group has reached, in percent of lines and of branches; GOALS is where it is to come.
Branches that the compiler makes and the source does not show are left out, and so are lines that say
why they cannot be reached (gcovr's exclusion marks).
"""
import glob
import json
import os
import subprocess
import sys

import common

FOLDER = "build-coverage"
LIFECYCLE = ("src/net/conn", "src/net/machine", "src/net/close_record", "src/net/handle",
             "src/net/server_stop", "src/net/shard", "src/net/accept")
SIMULATOR = ("src/sys/sim/", "src/sim/")
GOALS = {"lifecycle": (100.0, 100.0), "the rest": (95.0, 90.0), "simulator": (95.0, 90.0)}
FLOORS = {"lifecycle": (97.5, 91.0), "the rest": (97.5, 89.0), "simulator": (53.0, 45.0)}
SUITES = ("unit", "net", "hazards", "soak", "conform", "sim", "fuzz")
CLI = ("test_sim.py", "test_sim_chat.py", "test_servers.py", "test_clients.py")
# Of the lab, whose own tests are too slow in this build. Each run is a process that adds its counts.
LAB = (("run", "--seeds", "6000"),
       ("run", "--seeds", "1000", "--from", "500000", "--engine", "io_uring"),
       ("torture", "--scenario", "anything", "--from", "3"),
       ("torture", "--scenario", "references", "--from", "5"),
       ("exhaust", "--scenario", "tiny-post-and-quit", "--preemptions", "1"))


def run(*command, **environment):
    subprocess.run(command, cwd=common.ROOT, check=False, env={**os.environ, **environment})


def test():
    """Runs what links the library's own objects on epoll, what waits for events on io_uring too.
    Whether all of that is right is not asked here: make test does."""
    built = subprocess.run(("scripts/build.sh", FOLDER, "-Db_coverage=true", "-Dbuildtype=debug"),
                           cwd=common.ROOT, check=False)
    if built.returncode != 0:
        sys.exit(1)
    for old in glob.glob(os.path.join(common.ROOT, FOLDER, "**", "*.gcda"), recursive=True):
        os.unlink(old)
    meson = ("meson", "test", "-C", FOLDER, "--no-rebuild", "-t", "3", "--quiet")
    run(*meson, *(word for suite in SUITES for word in ("--suite", suite)), PEAL_ENGINE="epoll")
    run(*meson, "--suite", "engine", "--no-suite", "cli", PEAL_ENGINE="io_uring")
    run(*meson, "--suite", "cli", *CLI, PEAL_ENGINE="epoll")
    for command in LAB:
        run(f"{FOLDER}/peal-sim", *command, "--keep", f"{FOLDER}/kept", "--jobs", str(os.cpu_count()))


def summary():
    done = common.run("gcovr", "-r", ".", "--object-directory", FOLDER, "--filter", "src/",
                      "--exclude-unreachable-branches", "--exclude-throw-branches",
                      "--json-summary", "-", FOLDER)
    if done.returncode != 0:
        print(f"coverage: gcovr failed: {done.stderr.strip()[-400:]}")
        sys.exit(1)
    return json.loads(done.stdout)["files"]


def group_of(path):
    if path.startswith(SIMULATOR):
        return "simulator"
    return "lifecycle" if path.startswith(LIFECYCLE) else "the rest"


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def row(name, counts):
    print(f"{name:34} {counts[0]:5}/{counts[1]:<5} {percent(*counts[:2]):5.1f}% "
          f"{counts[2]:5}/{counts[3]:<5} {percent(*counts[2:]):5.1f}%")


def report(files):
    sums = {}
    print(f"{'file':34} {'lines':>12} {'branches':>19}")
    for group in GOALS:
        sums[group] = [0, 0, 0, 0]
        for one in sorted(files, key=lambda one: one["filename"]):
            if group_of(one["filename"]) == group:
                counts = (one["line_covered"], one["line_total"],
                          one["branch_covered"], one["branch_total"])
                sums[group] = [a + b for a, b in zip(sums[group], counts)]
                row(one["filename"], counts)
        row(f"= {group}", sums[group])
    good = True
    for group, counts in sums.items():
        got = (percent(*counts[:2]), percent(*counts[2:]))
        for value, floor, goal, what in zip(got, FLOORS[group], GOALS[group],
                                            ("lines", "branches")):
            if value < floor:
                good = False
                print(f"coverage: {group}: {value:.1f}% of {what} are reached; {floor:g}% were, "
                      f"and {goal:g}% is the goal. Test what is new, or say in the source why it "
                      "cannot be reached.")
    return good


def main():
    if "--report" not in sys.argv and "--missing" not in sys.argv:
        test()
    if "--missing" in sys.argv:
        run("gcovr", "-r", ".", "--object-directory", FOLDER, "--filter", "src/")
    sys.exit(0 if report(summary()) else 1)


if __name__ == "__main__":
    main()
