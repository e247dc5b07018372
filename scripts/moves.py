#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Keeps the guide's tables and the code together: moves.py [--check]

A table that the code says wholly is made from it, and stands in a document between two lines,

    <!-- moves.py: NAME -->
    <!-- moves.py: end -->

The diagram and the table of moves come from src/net/moves.def, the causes from peal/close.h, the
counters from peal/stats.h. With --check nothing is written, and a document that is not as it would be
written is a finding.

From src/net/moves.def comes also the whole of models/moves.pml, the transitions of the Promela model.

The tables of defaults in docs/guide/limits.md are written by hand, each after a line

    <!-- moves.py: options STRUCTURE -->

and checked: a row for each option of the structure and no other, and each default that is a number is
the constant that src/net fills in, and is what the header's comment says.
"""
import os
import re
import sys

from common import ROOT, files, finding, finish, text_of, without_comments

BEGIN = re.compile(r"<!-- moves\.py: (?!end )(\w+) -->\n")
END = "<!-- moves.py: end -->\n"
MOVES = "src/net/moves.def"
PROMELA = "models/moves.pml"

OPTIONS = re.compile(r"<!-- moves\.py: options (\w+) -->\n\n((?:\|.*\n)+)")
# Where each structure of options is, and the constants that fill in what a program leaves zero.
STRUCTURES = {
    "peal_conn_limits": ("include/peal/conn.h", {
        "flush_ms": "FLUSH_MS", "half_close_ms": "HALF_CLOSE_MS", "linger_ms": "LINGER_MS",
        "linger_bytes_max": "LINGER_BYTES", "output_high_bytes": "OUTPUT_HIGH_BYTES",
        "output_bytes_max": "OUTPUT_CAP_BYTES", "input_bytes_max": "INPUT_CAP_BYTES"}),
    "peal_server_options": ("include/peal/server.h", {
        "drain_ms": "DRAIN_MS", "accept_retry_ms": "RETRY_MS"}),
    "peal_client_options": ("include/peal/client.h", {
        "connect_ms": "CONNECT_MS_DEFAULT", "stagger_ms": "STAGGER_MS_DEFAULT",
        "retry_min_ms": "RETRY_MIN_MS_DEFAULT", "retry_max_ms": "RETRY_MAX_MS_DEFAULT"}),
}
# Members that are no options with a default: what must be set, what is called, what nests.
NO_OPTIONS = {"ops", "user", "limits", "to", "addrs", "addr_count", "resolver"}


# ---- reading the code

def moves():
    found = re.findall(r'^PL_MOVE\((\w+), (\w+), (\w+),\s*"([^"]*)"\)', text_of(MOVES), re.M)
    if not found:
        finding(MOVES, 1, "no moves were found here; has the form of the lines changed?")
    return found


def listed(path, name):
    """The entries of an X macro whose arguments are a name and strings: (name, string...)."""
    text = text_of(path).replace("\\\n", " ")
    body = re.search(rf"#define {name}\(X\)(.*)", text)
    entries = []
    for entry in re.finditer(r'X\((\w+),((?:\s*"(?:[^"\\]|\\.)*"\s*,?)+)\)', body.group(1) if body else ""):
        strings = re.sub(r'"\s+"', "", entry.group(2))
        entries.append((entry.group(1), *re.findall(r'"((?:[^"\\]|\\.)*)"', strings)))
    if not entries:
        finding(path, 1, f"no entries of {name} were found here; has its form changed?")
    return entries


def options_of(path, structure):
    """The names of a structure's options."""
    body = re.search(rf"struct {structure} \{{\n(.*?)\n\}};", without_comments(text_of(path)), re.S)
    names = re.findall(r"(\w+)\s*;", re.sub(r"void \(\*\w+\)\([^;]*;", "", body.group(1)) if body else "")
    if not names:
        finding(path, 1, f"no options of {structure} were found here; has its form changed?")
    return [name for name in names if name not in NO_OPTIONS]


def number(text):
    """The value of a constant of the code, or of a number as a sentence has it; None if it is none."""
    size = re.match(r"([\d,]+)(?: ([KMG])iB)?(?![\w*])", text)
    if size and " * " not in text:
        return int(size.group(1).replace(",", "")) * 1024 ** (" KMG".index(size.group(2) or " "))
    if re.fullmatch(r"\d+(?: \* \d+)*", text):
        value = 1
        for factor in text.split(" * "):
            value *= int(factor)
        return value
    return None


def constant(name):
    """The value of an enumerator somewhere in src/net, or None."""
    for path in files(".c", folders=("src/net",)):
        match = re.search(rf"\b{name} = (\d+(?: \* \d+)*)", text_of(path))
        if match:
            return number(match.group(1))
    return None


def default_in_header(path, option):
    """What the comment of an option says its default is."""
    match = re.search(rf"\b{option};((?:(?!;\n).)*?\*/)", text_of(path), re.S)
    said = re.search(r"(?:default:?|up to \*/.*?default) ([\d,]+(?: [KMG]iB)?)", match.group(1), re.I | re.S) if match else None
    return number(said.group(1)) if said else None


# ---- checking the tables of defaults

def check_options(path, line, structure, rows):
    if structure not in STRUCTURES:
        finding(path, line, f"no such structure; the names are {', '.join(STRUCTURES)}.")
        return
    header, constants = STRUCTURES[structure]
    shown = {}
    for row in rows.splitlines()[2:]:
        cells = [cell.strip() for cell in row.strip("|\n").split("|")]
        shown[cells[0].strip("`")] = cells[1]
    options = options_of(header, structure)
    for name in sorted(set(options) ^ set(shown)):
        what = "has no row here; add one" if name in options else "is no option any more; take its row out"
        finding(path, line, f"{name} of {structure} {what}.")
    for name, where in constants.items():
        value = constant(where)
        if value is None:
            finding(header, 1, f"{where}, the default of {name}, is not in src/net any more; tell scripts/moves.py.")
            continue
        if number(shown.get(name, "")) != value:
            finding(path, line, f"the default of {name} is {value:,} in the code; say so here.")
        if default_in_header(header, name) != value:
            finding(header, 1, f"the default of {name} is {value:,} in the code; say so here.")


# ---- telling it

def table(head, rows):
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def words(event):
    return event.lower().replace("_", " ").replace("fin", "FIN")


def make_diagram():
    arrows = {}
    for origin, event, to, _ in moves():
        arrows.setdefault((origin, to), []).append(words(event))
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> CONNECTING"]
    lines += [f"    {origin} --> {to}: {', '.join(events)}" for (origin, to), events in arrows.items()]
    return "\n".join(lines + ["    CLOSED --> [*]", "```", ""])


def make_moves():
    return table(("from", "event", "to", "what it means"),
                 [(a, words(event), b, what) for a, event, b, what in moves()])


def make_causes():
    return table(("`PEAL_CAUSE_`", "in words", "it means"),
                 [(f"`{name}`", text, sentence) for name, text, sentence in
                  listed("include/peal/close.h", "PEAL_CAUSES")])


def make_loop_stats():
    return table(("counter", "what it counts"),
                 [(f"`{name}`", text) for name, text in listed("include/peal/stats.h", "PEAL_LOOP_STATS")])


def make_server_stats():
    return table(("counter", "what it counts"),
                 [(f"`{name}`", text) for name, text in listed("include/peal/stats.h", "PEAL_SERVER_STATS")])


def make_promela():
    names = {"S": [], "E": []}
    for origin, event, to, _ in moves():
        for kind, name in (("S", origin), ("S", to), ("E", event)):
            if name not in names[kind]:
                names[kind].append(name)
    lines = ["/* SPDX-License-Identifier: BSD-2-Clause */",
             f"/* The moves of {MOVES}, made from it by scripts/moves.py: not written by hand. Which of them a",
             " * search takes is asked with REACH, the number of a move that must then fail. */"]
    for kind, found in names.items():
        lines += [f"#define {kind}_{name} {number_}" for number_, name in enumerate(found)]
    lines += [f"#define MOVES {len(moves())}", "#ifndef REACH", "#define REACH 0", "#endif", "", "/* pl_conn_move (src/net/machine.c) */",
              "inline move(event)", "{", "    if"]
    for number_, (origin, event, to, meaning) in enumerate(moves(), 1):
        lines += [f"    :: state == S_{origin} && event == E_{event} -> /* {meaning} */",
                  f"        assert(REACH != {number_});"]
        lines += [f"        ended_in = S_{origin};"] if to == "CLOSED" else []
        lines += [f"        state = S_{to}"]
    lines += ["    :: else -> assert(false) /* a move that the table does not have: pl_misuse */", "    fi", "}", ""]
    return "\n".join(lines)


MAKERS = {"diagram": make_diagram, "moves": make_moves, "causes": make_causes,
          "loop_stats": make_loop_stats, "server_stats": make_server_stats}


def renewed(path, text, seen):
    """The text with each part between two marks made anew."""
    parts, at = [], 0
    for match in BEGIN.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        end = text.find(END, match.end())
        if match.group(1) not in MAKERS or end < 0:
            finding(path, line, f"this mark names no table, or has no end; the names are {', '.join(MAKERS)}.")
            continue
        seen.add(match.group(1))
        parts += [text[at:match.end()], "\n", MAKERS[match.group(1)](), "\n"]
        at = end
    return "".join(parts) + text[at:]


def put(path, old, new, check):
    """Writes the new text of a file, or with check says where it differs."""
    if new == old:
        return
    if check:
        different = next((i for i, (a, b) in enumerate(zip(old.splitlines(), new.splitlines()), 1) if a != b), 1)
        finding(path, different, "this table is not what the code says; run scripts/moves.py.")
    else:
        with open(f"{ROOT}/{path}", "w", encoding="utf-8") as file:
            file.write(new)


def main():
    check = "--check" in sys.argv[1:]
    seen = set()
    for path in ["README.md", "ARCHITECTURE.md"] + files(".md", folders=("docs",)):
        old = text_of(path)
        new = renewed(path, old, seen)
        for match in OPTIONS.finditer(old):
            seen.add(match.group(1))
            check_options(path, old.count("\n", 0, match.start()) + 1, match.group(1), match.group(2))
        put(path, old, new, check)
    put(PROMELA, text_of(PROMELA) if os.path.exists(f"{ROOT}/{PROMELA}") else "", make_promela(), check)
    for name in sorted((set(MAKERS) | set(STRUCTURES)) - seen):
        finding("docs/guide/limits.md", 1, f"the table {name} stands in no document; put its mark into one.")


main()
finish()
