#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Counts the cases of one or more runs and says how many passed.

    count.py [meson:NAME=testlog.json | tap:NAME=file | case:NAME=exit-status]...

A cmocka program prints a line of TAP for each of its cases, and each is counted; a script that
prints none is one case (a Python unittest says how many it ran). A program that dies, hangs, or ends
before its last case is at least one failure. Failures are printed with what their program said.
The last line is `N passed, N failed`, the one before it says how many were skipped, if any were.
Exits with 1 if a case failed
or if there was none: a run that tests nothing has not passed.
"""
import json
import os
import re
import sys

LOG_LINES_MAX = 200


class Counts:
    """The cases of a program, or of all of them."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def count_tap(text):
    """The counts of TAP output, and how many cases the plans promised; None if it is not TAP."""
    counts, planned, seen = Counts(), 0, 0
    for line in text.splitlines():
        plan = re.match(r"1\.\.(\d+)\b", line)
        case = re.match(r"(not )?ok\b(.*)", line)
        if plan:
            planned += int(plan.group(1))
        elif case:
            seen += 1
            if re.search(r"#\s*skip", case.group(2), re.I):
                counts.skipped += 1
            elif case.group(1):
                counts.failed += 1
            else:
                counts.passed += 1
    return (counts, planned - seen) if planned or seen else None


def count_unittest(text):
    """The counts of Python's unittest, or None."""
    ran = re.search(r"^Ran (\d+) tests? in", text, re.M)
    if not ran:
        return None
    counts = Counts()
    ends = re.search(r"^(?:OK|FAILED)(?: \((.*)\))?$", text, re.M)
    for what, number in re.findall(r"(\w+)=(\d+)", ends.group(1) or "" if ends else ""):
        if what in ("failures", "errors"):
            counts.failed += int(number)
        elif what == "skipped":
            counts.skipped += int(number)
    counts.passed = max(0, int(ran.group(1)) - counts.failed - counts.skipped)
    return counts


def count_program(test):
    """The counts of one program of meson's log, and what is wrong with it, if anything."""
    out, err, result = test.get("stdout") or "", test.get("stderr") or "", test["result"]
    good = result in ("OK", "SKIP")
    tap = count_tap(out)
    counts, missing = tap if tap else (count_unittest(out + "\n" + err), 0)
    if counts is None:
        counts = Counts()
        if result == "SKIP":
            counts.skipped = 1
        elif good:
            counts.passed = 1
    wrong = None
    if missing > 0 and counts.failed == 0:
        counts.failed += 1
        wrong = f"ended before its last {missing} case(s)"
    elif not good and counts.failed == 0:
        counts.failed += 1
        wrong = f"ended with {result} (status {test.get('returncode')})"
    elif counts.failed:
        wrong = f"{counts.failed} case(s) failed"
    return counts, wrong


def show(title, text):
    lines = text.rstrip().splitlines()
    print(f"---- {title}")
    if len(lines) > LOG_LINES_MAX:
        print(f"[{len(lines) - LOG_LINES_MAX} lines before these]")
    for line in lines[-LOG_LINES_MAX:]:
        # Indented, so that no line of a log is taken for the summary.
        print("    " + line)


def count_meson(name, path):
    total = Counts()
    if not os.path.exists(path):
        return total
    with open(path, encoding="utf-8", errors="replace") as file:
        tests = [json.loads(line) for line in file if line.strip()]
    for test in tests:
        counts, wrong = count_program(test)
        total.add(counts)
        title = f"{name}: {test['name']}"
        if wrong:
            show(f"{title}: {wrong}",
                 (test.get("stdout") or "") + "\n" + (test.get("stderr") or ""))
        elif counts.skipped:
            said = "\n".join(re.findall(r"^.*\bskip.*$", (test.get("stdout") or "") + "\n" +
                                        (test.get("stderr") or ""), re.M | re.I))
            show(f"{title}: {counts.skipped} skipped", said)
    return total


def count_file(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        tap = count_tap(file.read())
    if not tap:
        return Counts()
    counts, missing = tap
    counts.failed += max(0, missing)
    return counts


def main():
    total = Counts()
    for argument in sys.argv[1:]:
        kind, rest = argument.split(":", 1)
        name, value = rest.split("=", 1)
        if kind == "meson":
            counts = count_meson(name, value)
        elif kind == "tap":
            counts = count_file(value)
        else:
            counts = Counts()
            counts.passed, counts.failed = (1, 0) if value == "0" else (0, 1)
        if counts.passed + counts.failed + counts.skipped == 0:
            print(f"---- {name}: no case was run")
            counts.failed = 1
        total.add(counts)
    if total.skipped:
        print(f"{total.skipped} skipped, each says why above")
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed or total.passed == 0 else 0


sys.exit(main())
