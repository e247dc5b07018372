# SPDX-License-Identifier: BSD-2-Clause
"""Peal beside its peers: python3 bench/run [OPTIONS]. `--help` says what there is."""
import argparse
import json
import os
import resource
import signal
import sys
import time

import cell
import cores as cores_module
import docs
import field
import machine
import micro
import plan as plan_module
import plots
import processes
import report

PART = "bench.part.json"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def arguments(words):
    """The options; argparse ends the program with a sentence when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="bench", description="Measures Peal beside its peers, each server on a core of its "
        "own, in many short slices that take turns.",
        epilog="Cases: " + ", ".join(case.name for case in field.CASES) + ". Peers: "
        + ", ".join(peer.name for peer in field.PEERS) + ".")
    parser.add_argument("--quick", action="store_true",
                        help="two minutes instead of twenty; fewer cases, rougher figures")
    parser.add_argument("--only", metavar="CASE[,CASE...]", help="measure only these cases")
    parser.add_argument("--peers", metavar="NAME[,NAME...]",
                        help="measure only these servers (raw-epoll is always among them)")
    parser.add_argument("--rounds", type=int, metavar="N", help="slices of each server in a case")
    parser.add_argument("--slice", type=float, metavar="SECONDS", help="length of a slice")
    parser.add_argument("--minutes", type=float, metavar="N",
                        help="begin no case that would end later than this")
    parser.add_argument("--seed", type=int, default=1, metavar="N",
                        help="another order of the servers in the rounds")
    parser.add_argument("--no-micro", action="store_true",
                        help="leave out timers, posts, memory and counts")
    parser.add_argument("--programs", metavar="FOLDER",
                        default=os.path.join(ROOT, "build", "bench-build", "bench"),
                        help="where the servers and the load are (default %(default)s)")
    parser.add_argument("--out", metavar="FOLDER", default=os.path.join(ROOT, "build", "bench"),
                        help="where the results go (default %(default)s)")
    parser.add_argument("--plan", action="store_true",
                        help="only say what would be measured, and how long it takes")
    parser.add_argument("--report", metavar="JSON",
                        help="measure nothing: print the tables and plots of an earlier run")
    parser.add_argument("--write-docs", action="store_true",
                        help="put the results (of --report, or of this run) into "
                        "docs/performance.md")
    found = parser.parse_args(words)
    try:
        found.cases = field.CASES
        if found.only:
            found.cases = field.find(field.CASES, found.only.split(","), "case")
        elif found.quick:
            found.cases = [case for case in field.CASES if case.quick]
        found.chosen = field.PEERS
        if found.peers:
            names = [field.BASE, *found.peers.split(",")]
            found.chosen = field.find(field.PEERS, names, "peer")
        found.profile = "quick" if found.quick else "full"
        found.made = plan_module.make(found.profile, found.cases, found.chosen, found.rounds,
                                      found.slice, found.seed)
    except ValueError as error:
        parser.error(str(error))
    return found


def more_files():
    """Ten thousand connections need as many fds: takes what the system gives. The limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def progress_of(plan):
    """Says on the terminal how far the run is; a line a case where there is none."""
    total = plan_module.WARM_UP_ROUNDS + plan.rounds
    live = sys.stderr.isatty()

    def progress(case, number):
        if live:
            print(f"\r\033[K{case.title}: round {number + 1} of {total}", end="", file=sys.stderr)
        elif number == 0:
            print(f"measuring {case.title}", file=sys.stderr)
        sys.stderr.flush()

    return progress


def affordable(plan, end):
    """The cases, one after the other, as long as they fit; then the names of those that do not."""
    left_out = []
    for case in plan.cases:
        if time.monotonic() + plan.case_s(case) > end:
            left_out.append(case.title)
        else:
            yield case, left_out
    yield None, left_out


def measure(options, programs, cores):
    """The whole run. The results, as they go into the JSON."""
    plan = options.made
    preset = plan_module.PROFILES[options.profile]
    minutes = options.minutes
    if minutes is None:
        minutes = max(preset["minutes"], plan.total_s() / 60 * 1.1 + preset["micro_s"] / 60)
    end = time.monotonic() + minutes * 60
    results = {"version": 1, "machine": machine.describe(plan.peers, programs, cores, ROOT),
               "plan": {"profile": options.profile, "rounds": plan.rounds, "slice_s": plan.slice_s,
                        "warm_up_rounds": plan_module.WARM_UP_ROUNDS, "seed": plan.seed,
                        "sentences": [*plan.sentences(), cores.sentence()]},
               "cells": [], "micro": [], "notes": []}
    if not processes.has_schedstat():
        results["notes"].append("this kernel counts CPU time in ticks only; short slices are rough")
    files = more_files()
    progress = progress_of(plan)
    for case, left_out in affordable(plan, end - (0 if options.no_micro else preset["micro_s"])):
        if case is None:
            results["notes"] += [f"{title} was left out: the time was up" for title in left_out]
        elif case.conns // case.loads + 100 > files:
            results["notes"].append(f"{case.title} was left out: only {files} open files are "
                                    "allowed here (ulimit -Hn)")
        else:
            results["cells"].append(cell.measure(case, plan, programs, cores, progress))
            # What has been measured survives an interruption.
            save(results, options.out, PART)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if not options.no_micro:
        found, notes = micro.measure(options.programs, options.quick, end, cores)
        results["micro"] += found
        results["notes"] += notes
    return results


def save(results, folder, name="bench.json"):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)
    return path


def load_results(path):
    """The results of an earlier run."""
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
        if results["version"] != 1:
            raise ValueError("another version of the runner wrote it")
        return results
    except OSError as error:
        raise processes.Unable(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise processes.Unable(f"{path} holds no results of this runner: {error}") from error


def run(words):
    options = arguments(words)
    if options.report:
        results = load_results(options.report)
    else:
        programs = cell.Programs(options.programs)
        cores = cores_module.Cores()
        print(*options.made.sentences(), cores.sentence(), sep="\n", flush=True)
        if options.plan:
            for case in options.made.cases:
                print(f"  {case.name:14} {case.title:36} {options.made.case_s(case):5.0f} s")
            return 0
        programs.path("bench-load")
        if cores.load is not None:
            os.sched_setaffinity(0, {cores.load})
        results = measure(options, programs, cores)
        print(f"Results: {save(results, options.out)}")
        if results["cells"]:
            os.remove(os.path.join(options.out, PART))
    text = report.text(results)
    print(text, end="")
    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(options.out, "bench.txt"), "w", encoding="utf-8") as file:
        file.write(text)
    drawn = plots.draw(results, options.out)
    print(*drawn.sentences, sep="\n")
    if options.write_docs:
        print(docs.write(results, drawn.files, ROOT))
    return 0 if results["cells"] else 1


def main():
    def interrupt(number, _):
        raise KeyboardInterrupt(number)

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    try:
        sys.exit(run(sys.argv[1:]))
    except processes.Unable as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nbench: interrupted; everything that was started has ended.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
