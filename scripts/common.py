# SPDX-License-Identifier: BSD-2-Clause
"""What the checks written in Python share: the tree's files, and how a finding is told.

A finding is one sentence that begins with file:line and says what to do. A check prints its
findings and exits with 1; without a finding it prints nothing and exits with 0.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("include", "src", "tools", "examples", "test", "bench")
findings = []


def files(*suffixes, folders=FOLDERS):
    """Files below the folders with one of the suffixes, as paths from the root, sorted."""
    found = []
    for folder in folders:
        for path, _, names in os.walk(os.path.join(ROOT, folder)):
            found += [os.path.join(path, name) for name in names if name.endswith(suffixes)]
    return sorted(os.path.relpath(path, ROOT) for path in found)


def lines_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read().splitlines()


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def finding(path, line, sentence):
    findings.append(f"{path}:{line}: {sentence}")


def without_comments(text):
    """The text with comments blanked out, line numbers kept."""
    pattern = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*'

    def blank(match):
        found = match.group(0)
        return re.sub(r"[^\n]", " ", found) if found.startswith("/") else found

    return re.sub(pattern, blank, text, flags=re.S)


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def finish():
    for line in findings:
        print(line)
    sys.exit(1 if findings else 0)
