# SPDX-License-Identifier: BSD-2-Clause
"""Runs the small programs of bench/micro and bench/calls and takes in what they print: JSON lines with a figure's
name, whose it is, its value and its unit, and of Peal's perhaps its target. All are costs: less is
better. A line that begins with anything but a brace is for people, and skipped.

They run one after the other when no server lives, on all cores, because some of them post from one
thread to another.
"""
import json
import os
import time

import processes

FOLDERS = ("micro", "calls")
COUNTS = "test/counts/counts.json"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


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
    paths = []
    for place in FOLDERS:
        place = os.path.join(folder, place)
        if os.path.isdir(place):
            paths += [os.path.join(place, name) for name in sorted(os.listdir(place))]
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


def exact_counts():
    """The library's own counts, which make check keeps true (scripts/check-counts.py)."""
    try:
        with open(os.path.join(ROOT, COUNTS), encoding="utf-8") as file:
            engines = json.load(file)["figures"]
    except (OSError, ValueError, KeyError):
        return []
    return [{"figure": figure, "of": f"Peal {engine}", "value": value, "unit": unit}
            for engine, figures in engines.items() for figure, units in figures.items()
            for unit, value in units.items() if unit == "instructions"]


def measure(programs, quick, end, cores):
    """Runs all of them as long as there is time. Figures and notes."""
    found, notes = exact_counts(), []
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
