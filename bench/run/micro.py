# SPDX-License-Identifier: BSD-2-Clause
"""Runs the small programs of bench/micro and takes in what they print: JSON lines with a figure's
name, whose it is, its value and its unit, and of Peal's perhaps its target. All are costs: less is
better. A line that begins with anything but a brace is for people, and skipped.

They run one after the other when no server lives, on all cores, because some of them post from one
thread to another.
"""
import json
import os
import time

import processes

FOLDER = "micro"


def parse(lines, where):
    """The figures of a program's output, and notes about lines that are none."""
    found, notes = [], []
    for line in lines:
        if not line.startswith("{"):
            continue
        try:
            one = json.loads(line)
            kept = {"figure": str(one["figure"]), "of": str(one["of"]),
                    "value": float(one["value"]), "unit": str(one.get("unit", ""))}
            if one.get("target") is not None:
                kept["target"] = float(one["target"])
            found.append(kept)
        except (ValueError, KeyError, TypeError):
            notes.append(f"{where} printed what is no figure: {line[:100]}")
    return found, notes


def programs_of(folder):
    """The programs that the build put there, sorted."""
    folder = os.path.join(folder, FOLDER)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names]
    return [path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)
            and not path.endswith((".so", ".a"))]


def run(path, words, end, cores):
    """The lines that a program prints, and why it failed or ""."""
    name, lines = os.path.basename(path), []
    with processes.Children() as children:
        child = children.start(name, [path, *words], set(cores.all))
        child.process.stdin.close()
        try:
            while True:
                lines.append(child.line(max(end - time.monotonic(), 0.01)))
        except processes.Unable as unable:
            if child.ended_well():
                return lines, ""
            late = time.monotonic() >= end
            return lines, f"{name} was stopped: the time was up" if late else str(unable)


def measure(programs, quick, end, cores):
    """Runs all of them as long as there is time. Figures and notes."""
    found, notes = [], []
    for path in programs_of(programs):
        name = os.path.basename(path)
        if time.monotonic() >= end:
            notes.append(f"{name} was left out: the time was up")
            continue
        lines, why = run(path, ["--quick"] if quick else [], end, cores)
        figures, wrong = parse(lines, name)
        found += figures
        notes += wrong + ([why] if why else [])
    return found, notes
