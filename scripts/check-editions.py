#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The Chinese edition says what the English one says, as far as a program can tell.

A document and its edition must have, in the same order:
  - the same code, but for what its comments say;
  - headings of the same levels;
  - tables of the same shape, whose rows have the same code, the same words in capitals (states,
    causes) and the same numbers.
Each names the other in a link below its title, and in no edition a link leads elsewhere than in the
other, but for a chapter that has an edition of its own.
"""
import os
import re

from common import ROOT, finding, finish, text_of, without_comments

EDITIONS = {"README.md": "README.zh-CN.md"}
CHAPTERS = ("life-of-a-connection.md", "coming-from-muduo.md")
for chapter in CHAPTERS:
    EDITIONS[f"docs/guide/{chapter}"] = f"docs/guide/zh-CN/{chapter}"


class Document:
    """The parts of a Markdown file that can be compared: (line, what)."""

    def __init__(self, path):
        self.path = path
        self.code, self.headings, self.tables, self.links = [], [], [], []
        fence, block = None, []
        table = None
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if line.startswith("```"):
                if fence is None:
                    fence, block = number, [line]
                else:
                    self.code.append((fence, bare("\n".join(block))))
                    fence = None
                continue
            if fence is not None:
                block.append(line)
                continue
            if line.startswith("|"):
                if table is None:
                    table = []
                    self.tables.append((number, table))
                table.append((number, row_of(line)))
            else:
                table = None
            if line.startswith("#"):
                self.headings.append((number, len(line.split()[0])))
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                self.links.append((number, self.resolved(target)))

    def resolved(self, target):
        """A link as seen from the root, an edition's as that of its original, without the section."""
        target = target.split("#")[0]
        path = os.path.normpath(os.path.join(os.path.dirname(self.path), target)) if target else self.path
        return next((original for original, edition in EDITIONS.items() if edition == path), path)


def bare(code):
    return "\n".join(line.rstrip() for line in without_comments(code).splitlines())


def row_of(line):
    """The number of cells, and what no translation changes."""
    cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    facts = []
    for cell in cells:
        prose = re.sub(r"`[^`]+`", " ", cell)
        facts.append([sorted(found) for found in (re.findall(r"`[^`]+`", cell),
                                                  re.findall(r"\b[A-Z]{4,}\b", prose),
                                                  re.findall(r"\b\d+(?:\.\d+)?", prose))])
    return len(cells), facts


def compare(english, chinese):
    for what, ours, theirs in (("blocks of code", english.code, chinese.code),
                               ("headings", english.headings, chinese.headings),
                               ("tables", english.tables, chinese.tables)):
        if len(ours) != len(theirs):
            finding(chinese.path, 1, f"it has {len(theirs)} {what}, {english.path} has {len(ours)}; "
                    "bring them together.")
            return
    for (line, ours), (their_line, theirs) in zip(english.code, chinese.code):
        if ours != theirs:
            finding(chinese.path, their_line, f"this code is not that of {english.path}:{line}; copy it.")
    for (line, ours), (their_line, theirs) in zip(english.headings, chinese.headings):
        if ours != theirs:
            finding(chinese.path, their_line, f"this heading is not of the level of {english.path}:{line}.")
    for (line, ours), (their_line, theirs) in zip(english.tables, chinese.tables):
        if len(ours) != len(theirs):
            finding(chinese.path, their_line, f"this table has {len(theirs)} rows, {english.path}:{line} has "
                    f"{len(ours)}; bring them together.")
            continue
        for (row_line, row), (their_row_line, their_row) in zip(ours, theirs):
            if row != their_row:
                finding(chinese.path, their_row_line, "this row's code, names or numbers are not those of "
                        f"{english.path}:{row_line}; bring them together.")


def compare_links(english, chinese):
    ours = {target for _, target in english.links}
    theirs = {target for _, target in chinese.links}
    for line, target in english.links:
        if target not in theirs and target != english.path:
            finding(english.path, line, f"{chinese.path} has no link to {target}; add it there.")
    for line, target in chinese.links:
        if target not in ours and target != english.path:
            finding(chinese.path, line, f"{english.path} has no link to {target}; add it there.")


def check_titles(path, other):
    target = os.path.relpath(other, os.path.dirname(path) or ".")
    head = text_of(path).splitlines()[:4]
    if not any(f"]({target})" in line for line in head):
        finding(path, 1, f"below the title a link to {target} is missing; add it.")


def main():
    for original, edition in EDITIONS.items():
        if not os.path.exists(os.path.join(ROOT, edition)):
            finding(original, 1, f"its edition {edition} is not there.")
            continue
        english, chinese = Document(original), Document(edition)
        compare(english, chinese)
        compare_links(english, chinese)
        check_titles(original, edition)
        check_titles(edition, original)


main()
finish()
