#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""All C code in the documentation compiles: check-docs.py BUILD

What is code: each block ```c of a Markdown file, and the indented example in the opening comment of
a public header. What is not meant to compile is not marked as C. Links to files must lead somewhere.

  A block with a main function is a program: compiled as it stands with -Wall -Wextra -Werror, and
  linked with libpeal.so.
  Any other block is a fragment. Its functions, types, static objects and directives go to file
  level, its statements into one function, in their order. The headers of Peal and the usual ones of
  C are there already, and so are the names in WORDS below, each unless the fragment defines it.
  The dots of a left out part ("..." alone on a line, or as all of a function's body) vanish.

The compiler is told where each piece came from, so that it names the document and the line.
"""
import os
import re
import subprocess
import sys
import tempfile

from common import ROOT, files, finding, findings, finish, text_of

BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build"))
COMPILER = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-I", os.path.join(ROOT, "include"), "-Wall", "-Wextra",
            "-Werror", "-Wno-missing-field-initializers"]
PROLOGUE = """#include <peal.h>
#include <peal/sim.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
"""

# What a fragment may take as given. STYLE.md tells writers of this list.
WORDS = {
    "loop": "struct peal_loop *loop;",
    "pool": "struct peal_pool *pool;",
    "conn": "struct peal_conn *conn;",
    "server": "struct peal_server *server;",
    "client": "struct peal_client *client;",
    "blob": "struct peal_blob *blob;",
    "watch": "struct peal_watch *watch;",
    "input": "struct peal_buf *input;",
    "in": "struct peal_buf *in;",
    "record": "const struct peal_close_record *record;",
    "ops": "const struct peal_conn_ops ops;",
    "id": "uint64_t id;",
    "fd": "int fd;",
    "data": "const void *data;",
    "text": "const char *text;",
    "size": "size_t size;",
    "user": "void *user;",
    "argc": "int argc;",
    "argv": "char **argv;",
    "work": "void work(void *user);",
    "handle": "void handle(const void *message, size_t size);",
    "send_all": "void send_all(const void *data, size_t size);",
    "print_line": "void print_line(const char *line, void *user);",
    "echo": "void echo(struct peal_conn *conn, struct peal_buf *input, void *user);",
}


class Block:
    """A piece of code, where it begins, and what kind it is."""

    def __init__(self, path, line, text):
        self.path, self.line, self.text = path, line, text


def blocks_of_markdown(path):
    begin, found = None, []
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if begin is None and re.match(r"\s*```c\s*$", line):
            begin, indent, found = number + 1, len(line) - len(line.lstrip()), []
        elif begin is not None and re.match(r"\s*```\s*$", line):
            yield Block(path, begin, "\n".join(found))
            begin = None
        elif begin is not None:
            found.append(line[indent:] if not line[:indent].strip() else line)
    if begin is not None:
        finding(path, begin, "this block of C has no end; close it with ```.")


def blocks_of_header(path):
    """The example of the opening comment: its indented lines, if they look like C (one of them ends
    like a statement), as one fragment that keeps its line numbers."""
    comments = list(re.finditer(r"/\*.*?\*/", text_of(path), re.S))
    if len(comments) < 2:
        return
    opening = comments[1]
    first = text_of(path).count("\n", 0, opening.start()) + 1
    kept, code, pending = [], [], []
    for line in opening.group(0).splitlines() + [" * end"]:
        match = re.match(r" \* {5}(.*)$", line)
        if match or (pending and line.rstrip() == " *"):
            pending.append(match.group(1) if match else "")
            continue
        if pending:
            is_code = any(re.search(r"[;{}]\s*(//.*|/\*.*)?$", piece) for piece in pending)
            kept += pending if is_code else [""] * len(pending)
            code += [True] if is_code else []
            pending = []
        kept.append("")
    if code:
        yield Block(path, first, "\n".join(kept))


def without_dots(text):
    text = re.sub(r"^[ \t]*(?:\.\.\.|…)[ \t]*(?:;[ \t]*)?(?=//|/\*|$)", "", text, flags=re.M)
    return re.sub(r"\{ (?:\.\.\.|…) \}", "{ }", text)


TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*|^[ \t]*#(?:\\\n|[^\n])*|.',
                   re.S | re.M)


def opens_body(head):
    """Whether a brace after this text opens the body of a function or of a control statement, so that
    the brace that closes it ends an item."""
    head = head.rstrip()
    return head.endswith(")") or re.search(r"\b(else|do)$", head) is not None


def items_of(text):
    """The top-level items of C code: (line offset, text, text without comments)."""
    items, piece, bare, depth, body, begin = [], "", "", 0, False, 0
    line = 0

    def end():
        nonlocal piece, bare, body
        if bare.strip():
            items.append((begin, piece, bare.strip()))
        piece, bare, body = "", "", False

    for match in TOKEN.finditer(text):
        token = match.group(0)
        if not piece.strip() and token.strip():
            begin, piece = line, ""
        line += token.count("\n")
        if token.lstrip().startswith("#") and depth == 0 and not bare.strip():
            piece, bare = token, token
            end()
            continue
        piece += token
        if token.startswith(("//", "/*")):
            continue
        if token == "{" and depth == 0:
            body = opens_body(bare)
        bare += token
        if token in "({[":
            depth += 1
        elif token in ")}]":
            depth -= 1
        if depth == 0 and (token == ";" or (token == "}" and body)):
            end()
    end()
    return items


CONTROL = {"if", "for", "while", "switch", "do", "else", "return", "goto", "case"}


def file_level_name(bare):
    """None for a statement; else the name that an item of file level defines ("" if it has none)."""
    first = re.match(r"#|\w*", bare).group(0)
    if first == "#":
        return ""
    if first in CONTROL:
        return None
    function = re.match(r"[A-Za-z_][\w\s*]*[\s*](\w+)\s*\([^;{]*\)\s*\{", bare, re.S)
    if function:
        return function.group(1)
    if re.match(r"(?:typedef|extern)\b", bare) or re.match(r"(?:struct|union|enum)\s*\w*\s*\{", bare):
        return ""
    if first == "static":
        named = re.match(r"static\s[\w\s*]*?(\w+)\s*(?:\[[^\]]*\]\s*)?(?:=|;)", bare)
        return named.group(1) if named else ""
    return None


def source_of_fragment(block):
    items = [(offset, piece, file_level_name(bare)) for offset, piece, bare in
             items_of(without_dots(block.text))]
    defined = {name for _, _, name in items if name}
    mentioned = set(re.findall(r"\b\w+\b", " ".join(piece for _, piece, _ in items)))
    source = [PROLOGUE]
    source += [f"extern {declaration}" for word, declaration in WORDS.items()
               if word in mentioned and word not in defined]
    top = [item for item in items if item[2] is not None]
    inner = [item for item in items if item[2] is None]

    def placed(offset, piece):
        return f'#line {block.line + offset} "{block.path}"\n{piece.strip()}'

    source += [placed(offset, piece) for offset, piece, _ in top]
    source.append("int fragment(void);\nint fragment(void)\n{")
    source += [placed(offset, piece) for offset, piece, _ in inner]
    source.append("return 0;\n}\n")
    return "\n".join(source)


def compile_block(block, scratch):
    whole = re.search(r"\bint main\s*\(", block.text) is not None
    # A main in a header's example lacks the headers that a program would include.
    complete = whole and "#include" in block.text
    if complete:
        source = f'#line {block.line} "{block.path}"\n{block.text}\n'
        library = "-lpeal-sim" if "<peal/sim.h>" in block.text else "-lpeal"
        extra = ["-o", os.path.join(scratch, "program"), "-L", BUILD, library, "-Wl,-rpath," + BUILD]
    else:
        source = source_of_fragment(block)
        extra = ["-c", "-o", os.path.join(scratch, "fragment.o"), "-Wno-unused", "-Wno-unused-result"]
    path = os.path.join(scratch, "code.c")
    with open(path, "w", encoding="utf-8") as file:
        file.write(source)
    done = subprocess.run(COMPILER + [path] + extra, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    errors = [line for line in done.stderr.splitlines()
              if re.match(r"[^ ]+:\d+:.*(error|warning)|.*undefined reference", line)]
    named = re.match(re.escape(block.path) + r":(\d+)(?::\d+)?: (.*)", errors[0]) if errors else None
    line = int(named.group(1)) if named else block.line
    said = named.group(2) if named else (errors or [done.stderr.strip()])[0].replace(scratch, "")
    finding(block.path, line, f"this code does not compile ({said}); mend it, or do not call it C.")


def check_links(path):
    folder = os.path.dirname(os.path.join(ROOT, path))
    inside = False
    for number, line in enumerate(text_of(path).splitlines(), 1):
        inside ^= line.lstrip().startswith("```")
        for target in [] if inside else re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", line):
            if not re.match(r"\w+:", target) and not os.path.exists(os.path.join(folder, target)):
                finding(path, number, f"the link to {target} leads nowhere; mend it.")


def main():
    documents = sorted(name for name in os.listdir(ROOT) if name.endswith(".md"))
    documents += files(".md", folders=("docs", "examples", "test", "tools"))
    blocks = []
    for path in documents:
        blocks += blocks_of_markdown(path)
        check_links(path)
    for path in files(".h", folders=("include",)):
        blocks += blocks_of_header(path)
    with tempfile.TemporaryDirectory() as scratch:
        for block in blocks:
            compile_block(block, scratch)
    if not blocks:
        findings.append("README.md:1: no code was found in any document; is the check looking at the right place?")


main()
finish()
