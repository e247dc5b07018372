#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Which lines and branches of the library the tests reach, module by module.

    coverage.py            builds build-coverage, runs the tests on both engines, prints the table,
                           and fails when a group of files has fallen below what it had reached
    coverage.py --report   the same from the counts of the last run
    coverage.py --missing  and which lines were not reached, or not in every direction

The modules that decide how a connection lives and ends are held to more than the rest. FLOORS is
what each group has reached, in percent of lines and of branches; GOALS is where it is to come.
Branches that the compiler makes and the source does not show are left out, and so are the lines of
scripts/coverage-argued.txt, each of which cannot be reached, or not by a test, for the reason there.
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
FLOORS = {"lifecycle": (100.0, 100.0), "the rest": (98.7, 93.2), "simulator": (99.0, 94.0)}
SUITES = ("unit", "net", "hazards", "soak", "conform", "sim", "fuzz")
CLI = ("test_sim.py", "test_sim_chat.py", "test_servers.py", "test_clients.py")
# Of the lab, whose own tests are too slow in this build. Each run is a process that adds its counts.
LAB = (("run", "--seeds", "6000"),
       ("run", "--seeds", "4000", "--from", "500000", "--engine", "io_uring"),
       ("torture", "--scenario", "anything", "--from", "3"),
       ("torture", "--scenario", "half-close", "--from", "3", "--engine", "io_uring"),
       ("torture", "--scenario", "references", "--from", "5"),
       ("exhaust", "--scenario", "tiny-post-and-quit", "--preemptions", "1"),
       ("coverage", "--scenario", "noise", "--seeds", "150"))
# Each call of these is told, which goes nowhere: (scenario, seed).
REPLAYS = (("anything", 2), ("anything", 7), ("noise", 4), ("noise", 11), ("connect-cancelled", 3),
           ("files", 5), ("no-fds-left", 1), ("resolver-pending", 2), ("signals", 1), ("both-ends", 3),
           ("used-again", 6), ("stop-while-accepting", 8))


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
        jobs = ("--jobs", str(os.cpu_count())) if command[0] == "run" else ()
        run(f"{FOLDER}/peal-sim", *command, "--keep", f"{FOLDER}/kept", *jobs)
    for scenario, seed in REPLAYS:
        for engine in ("epoll", "io_uring"):
            subprocess.run((f"{FOLDER}/peal-sim", "replay", "--scenario", scenario, "--engine", engine,
                            "--seed", str(seed)), cwd=common.ROOT, check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def argued():
    """{(file, text of a line)}: what cannot be reached, each with its reason in coverage-argued.txt."""
    found = set()
    for number, line in enumerate(common.lines_of("scripts/coverage-argued.txt"), 1):
        if line.startswith("#") or not line.strip():
            continue
        file, _, rest = line.partition(" | ")
        parts = [file, *rest.rsplit(" | ", 1)]
        if len(parts) != 3 or parts[1] not in (one.strip() for one in common.lines_of(parts[0])):
            sys.exit(f"scripts/coverage-argued.txt:{number}: not FILE | LINE | REASON of a line that is there.")
        found.add((parts[0], parts[1]))
    return found


# What an assertion does when it fails ends the test, and whether a line is logged is tested once.
NO_BRANCHES = r".*\bpl_(assert|log)\("


def counts_of(file, excuses):
    """Lines and branches: (reached, all, reached, all), and what was not: (line, text)."""
    source = common.lines_of(file["file"])
    lines = branches = lines_reached = branches_reached = 0
    missing = []
    block = None  # how deep the last excused line is indented, while its block lasts
    for line in file["lines"]:
        whole = source[line["line_number"] - 1]
        text, depth = whole.strip(), len(whole) - len(whole.lstrip())
        if block is not None and (depth <= block or line["count"] > 0):
            block = None
        if (file["file"], text) in excuses:
            block = depth
            continue
        if line.get("gcovr/noncode") or block is not None:
            continue
        taken = [branch["count"] > 0 for branch in line["branches"]]
        lines += 1
        lines_reached += line["count"] > 0
        branches += len(taken)
        branches_reached += sum(taken)
        if line["count"] == 0 or not all(taken):
            missing.append((line["line_number"], text))
    return (lines_reached, lines, branches_reached, branches), missing


def summary():
    done = common.run("gcovr", "-r", ".", "--object-directory", FOLDER, "--filter", "src/.*[.][ch]$",
                      "--exclude-unreachable-branches", "--exclude-throw-branches",
                      "--exclude-branches-by-pattern", NO_BRANCHES, "--json", "-", FOLDER)
    if done.returncode != 0:
        print(f"coverage: gcovr failed: {done.stderr.strip()[-400:]}")
        sys.exit(1)
    excuses = argued()
    return {file["file"]: counts_of(file, excuses) for file in json.loads(done.stdout)["files"]}


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
        for path, (counts, _) in sorted(files.items()):
            if group_of(path) == group:
                sums[group] = [a + b for a, b in zip(sums[group], counts)]
                row(path, counts)
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
    files = summary()
    if "--missing" in sys.argv:
        for path, (_, missing) in sorted(files.items()):
            for number, text in missing:
                print(f"{path}:{number}: {text}")
    sys.exit(0 if report(files) else 1)


if __name__ == "__main__":
    main()
