#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What libpeal.so shows is what the headers declare, no more and no less: check-exports.py BUILD

The headers are read after the preprocessor, because some declare whole families by macro.
"""
import re
import sys

from common import findings, finding, finish, run

library = sys.argv[1] + "/libpeal.so"


def preprocessed_lines():
    """(file, line, text) of each line of our own headers."""
    output = run("gcc", "-E", "-std=gnu11", "-D_GNU_SOURCE", "-Iinclude", "include/peal.h")
    if output.returncode != 0:
        print("include/peal.h:1: gcc cannot read it; " + output.stderr.strip())
        sys.exit(1)
    path, number = "", 0
    for line in output.stdout.splitlines():
        marker = re.match(r'# (\d+) "([^"]+)"', line)
        if marker:
            number, path = int(marker.group(1)), marker.group(2)
            continue
        if path.startswith("include/"):
            yield path, number, line
        number += 1


def declared_functions():
    """name: (file, line) of each function declared for programs."""
    declared, piece, begin = {}, "", None
    for path, number, line in preprocessed_lines():
        for part in re.split(r"([;{}])", line):
            if part.strip() and not piece.strip():
                begin = (path, number)
            if part not in (";", "{", "}"):
                piece += part + " "
                continue
            shown = 'visibility("default")' in piece
            plain = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)", " ", piece)
            match = re.match(r"\s*(?:extern )?(?!static\b|typedef\b|return\b)[A-Za-z_][\w\s*]*?\b(peal_\w+)\s*\(", plain)
            if match and shown:
                declared[match.group(1)] = begin
            elif match:
                finding(*begin, f"{match.group(1)} is declared without PEAL_API; programs cannot "
                        "link it.")
            piece = ""
    return declared


declared = declared_functions()
listing = run("nm", "-D", "--defined-only", library)
if listing.returncode != 0:
    print(f"{library}:1: nm cannot read it; build first. {listing.stderr.strip()}")
    sys.exit(1)
shown = {line.split()[-1].split("@")[0] for line in listing.stdout.splitlines()} - {"PEAL_0"}
for name, (path, number) in sorted(declared.items()):
    if name not in shown:
        finding(path, number, f"{name} is declared but not in libpeal.so; define it or take the "
                "declaration out.")
for name in sorted(shown - set(declared)):
    findings.append(f"src/peal.map:1: libpeal.so shows {name}, which no public header declares with "
                    "PEAL_API; declare it, make it static, or rename it to pl_.")
finish()
