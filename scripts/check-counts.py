#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Counts what Peal's own work costs, exactly, and compares it with test/counts/counts.json.

    check-counts.py BUILD            fails when a figure has grown by more than it may
    check-counts.py BUILD --update   writes the figures of now

Instructions are counted by valgrind's callgrind: those of the program and the library, not libc's
(which chooses its memcpy by the processor), nor the kernel's. System calls and bytes are counted by
the program itself, test/counts/counts.c. Instructions may grow by 5% before the check fails, calls
and bytes by 1%. Exits with 77, and says why, where the figures cannot be compared: without valgrind,
with another compiler than the one that they were written with, or in a build with other flags.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys

import common

FILE = "test/counts/counts.json"
ENGINES = ("epoll", "io_uring")
MAY_GROW = {"instructions": 1.05, "calls": 1.01, "bytes": 1.01}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def option(build, name):
    """The value of a meson option in that build."""
    options = json.loads(common.run("meson", "introspect", "--buildoptions", build).stdout)
    return next((one["value"] for one in options if one["name"] == name), None)


def compiler_of(build):
    """What compiled the program, by the comment that compilers leave in what they make."""
    with open(os.path.join(build, "test", "counts"), "rb") as program:
        made = re.search(rb"clang version [0-9.]+|GCC: \([^)]*\) [0-9.]+", program.read())
    name = re.sub(r"GCC: \([^)]*\)", "gcc", made.group(0).decode()) if made else "unknown"
    return f"{name}, {os.uname().machine}"


def instructions(path):
    """The instructions in a dump of callgrind's that ran in our own object."""
    ours, names, total, skip_next = False, {}, 0, False
    with open(path, encoding="utf-8") as dump:
        for line in dump:
            if line.startswith("ob="):
                number, name = re.match(r"ob=\((\d+)\)\s*(.*)", line).groups()
                names.setdefault(number, name)
                ours = names[number].endswith("/counts")
            elif line.startswith("cob="):  # named here first, used by an ob= later
                number, name = re.match(r"cob=\((\d+)\)\s*(.*)", line).groups()
                names.setdefault(number, name)
            elif line.startswith("calls="):
                skip_next = True  # the next line is what the callee cost, counted at its own place
            elif re.match(r"[0-9+*-]", line):
                if ours and not skip_next:
                    total += int(line.split()[1])
                skip_next = False
    return total


def cases(build, *words, tool=()):
    """What the program prints under the tool, a dictionary a line; None without this engine."""
    program = os.path.join(build, "test", "counts")
    ran = common.run(*tool, program, *words)
    if ran.returncode == 77:
        return None
    if ran.returncode != 0:
        print(f"{program} failed: {ran.stderr.strip()[-500:]}")
        sys.exit(1)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def measure(build, engine):
    """{figure: {unit: value for each operation}}, or None without this engine."""
    plain = cases(build, engine, "calls")
    if plain is None:
        return None
    out = os.path.join(build, f"counts-{engine}.out")
    for old in glob.glob(out + "*"):
        os.unlink(old)
    cases(build, engine, tool=(
        "valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}",
        "--toggle-collect=measured_*", "--zero-before=case_begin", "--dump-after=case_end"))
    found = {}
    for number, case in enumerate(plain, 1):
        figures, count = {}, case["operations"]
        if "calls" in case:
            figures["instructions"] = round(instructions(f"{out}.{number}") / count, 1)
            figures["calls"] = round(case["calls"] / count, 3)
        if "bytes" in case:
            figures["bytes"] = round(case["bytes"] / count, 1)
        found[case["figure"]] = figures
    return found


def compare(engine, now, kept):
    for figure in sorted(set(now) | set(kept)):
        if figure not in now or figure not in kept:
            common.finding(FILE, 1, f"{engine}, {figure}: is not in both, the file and the program; "
                           "write the file anew: scripts/check-counts.py build --update")
            continue
        for unit, value in now[figure].items():
            before = kept[figure].get(unit, 0)
            if value > before * MAY_GROW[unit] + 0.001:
                more = f"{100 * (value / before - 1):.1f}% more" if before else "new"
                common.finding(FILE, 1, f"{engine}, {figure}: {value:g} {unit}, was {before:g} "
                               f"({more}). Find what costs it; if it is worth its price, say so in "
                               "the commit and write the file anew: "
                               "scripts/check-counts.py build --update")


def main():
    update = "--update" in sys.argv
    folders = [word for word in sys.argv[1:] if not word.startswith("-")]
    if len(folders) != 1:
        print(__doc__)
        sys.exit(2)
    build = os.path.join(common.ROOT, folders[0])
    path = os.path.join(common.ROOT, FILE)
    if not shutil.which("valgrind"):
        skip("there is no valgrind")
    if option(build, "b_sanitize") != "none" or option(build, "buildtype") != "debugoptimized":
        skip("only the default build is counted")
    compiler = compiler_of(build)
    kept = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
    if not update and compiler != kept.get("compiler"):
        skip(f"the figures are those of {kept.get('compiler')}, here is {compiler}")
    figures = {engine: measure(build, engine) for engine in ENGINES}
    if update:
        kept = {"compiler": compiler,
                "figures": {engine: found or kept.get("figures", {}).get(engine, {})
                            for engine, found in figures.items()}}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=2)
            file.write("\n")
        return
    for engine, found in figures.items():
        if found is not None:
            compare(engine, found, kept["figures"].get(engine, {}))
    common.finish()


if __name__ == "__main__":
    try:
        main()
    except (subprocess.SubprocessError, OSError) as error:
        print(f"check-counts: {error}")
        sys.exit(1)
