#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Lengths and openings: functions of at most 70 lines, files of at most 800, lines of at most 100
columns; every file opens with the licence and then a comment; nothing is left to do in a comment.

The formatter puts the brace that opens a function, and only that one, alone into the first column,
so a function is what lies between a line "{" and the next line "}"; its signature counts.
"""
import re

from common import files, finding, finish, lines_of

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
COLUMNS_MAX = 100
LICENCE = "/* SPDX-License-Identifier: BSD-2-Clause */"


def signature_line(lines, brace):
    """The line on which the function whose brace is at this index begins."""
    start = brace
    while start > 0 and lines[start - 1].strip() and not re.search(r"[;}]$|\*/$|^#", lines[start - 1]):
        start -= 1
    return start


def check_functions(path, lines):
    begin = None
    for index, line in enumerate(lines):
        if line == "{":
            begin = signature_line(lines, index)
        elif line == "}" and begin is not None:
            length = index - begin + 1
            if length > FUNCTION_LINES_MAX:
                finding(path, begin + 1, f"this function has {length} lines; split it, the house "
                        f"allows {FUNCTION_LINES_MAX}.")
            begin = None


def check_file(path):
    lines = lines_of(path)
    if len(lines) > FILE_LINES_MAX:
        finding(path, len(lines), f"the file has {len(lines)} lines; split it, the house allows "
                f"{FILE_LINES_MAX}.")
    if not lines or lines[0] != LICENCE:
        finding(path, 1, f"the first line must be {LICENCE}")
    elif path.endswith(".c") and (len(lines) < 2 or not lines[1].startswith("/*")):
        finding(path, 2, "the licence must be followed by a comment that says what this file is "
                "(of a test: what would break).")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            finding(path, number, f"the line has {len(line)} columns; break it at {COLUMNS_MAX}.")
        if re.search(r'(?<!")\b(TODO|FIXME|XXX)\b', line):
            finding(path, number, "do it, or open an issue and say here why it is as it is.")
    check_functions(path, lines)


for name in files(".c", ".h", ".cpp"):
    check_file(name)
finish()
