#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Which lines and branches of the library the tests reach.

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
GOALS = {"lifecycle": (100.0, 100.0), "the rest": (95.0, 90.0)}
FLOORS = {"lifecycle": (97.0, 88.0), "the rest": (95.0, 86.0)}
SUITES = ("unit", "net", "hazards")


def run(*command, **environment):
    subprocess.run(command, cwd=common.ROOT, check=False, env={**os.environ, **environment})


def test():
    """Runs what links the library's own objects, on epoll, and what waits for events on io_uring."""
    built = subprocess.run(("scripts/build.sh", FOLDER, "-Db_coverage=true", "-Dbuildtype=debug"),
                           cwd=common.ROOT, check=False)
    if built.returncode != 0:
        sys.exit(1)
    for old in glob.glob(os.path.join(common.ROOT, FOLDER, "**", "*.gcda"), recursive=True):
        os.unlink(old)
    meson = ("meson", "test", "-C", FOLDER, "--no-rebuild", "-t", "3", "--quiet")
    run(*meson, *(word for suite in SUITES for word in ("--suite", suite)), PEAL_ENGINE="epoll")
    run(*meson, "--suite", "engine", PEAL_ENGINE="io_uring")


def summary():
    done = common.run("gcovr", "-r", ".", "--object-directory", FOLDER, "--filter", "src/",
                      "--exclude-unreachable-branches", "--exclude-throw-branches",
                      "--json-summary", "-", FOLDER)
    if done.returncode != 0:
        print(f"coverage: gcovr failed: {done.stderr.strip()[-400:]}")
        sys.exit(1)
    return json.loads(done.stdout)["files"]


def group_of(path):
    return "lifecycle" if path.startswith(LIFECYCLE) else "the rest"


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def report(files):
    print(f"{'file':34} {'lines':>12} {'branches':>14}")
    sums = {group: [0, 0, 0, 0] for group in GOALS}
    for one in sorted(files, key=lambda one: (group_of(one["filename"]), one["filename"])):
        counts = (one["line_covered"], one["line_total"],
                  one["branch_covered"], one["branch_total"])
        sums[group_of(one["filename"])] = [
            a + b for a, b in zip(sums[group_of(one["filename"])], counts)]
        print(f"{one['filename']:34} {counts[0]:5}/{counts[1]:<5} {percent(*counts[:2]):5.1f}% "
              f"{counts[2]:5}/{counts[3]:<5} {percent(*counts[2:]):5.1f}%")
    good = True
    for group, counts in sums.items():
        got = (percent(*counts[:2]), percent(*counts[2:]))
        print(f"{group}: {got[0]:.1f}% of lines (goal {GOALS[group][0]:g}%), "
              f"{got[1]:.1f}% of branches (goal {GOALS[group][1]:g}%)")
        for value, floor, what in zip(got, FLOORS[group], ("lines", "branches")):
            if value < floor:
                good = False
                print(f"coverage: {group}: {value:.1f}% of {what} are reached, they were {floor:g}%. "
                      "Test what is new, or say in the source why it cannot be reached.")
    return good


def main():
    if "--report" not in sys.argv and "--missing" not in sys.argv:
        test()
    if "--missing" in sys.argv:
        run("gcovr", "-r", ".", "--object-directory", FOLDER, "--filter", "src/")
    sys.exit(0 if report(summary()) else 1)


if __name__ == "__main__":
    main()
