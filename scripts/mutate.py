#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Would the tests notice? Mutation testing of the modules that decide how a connection ends.

    mutate.py [--sample N] [--seed S] [--jobs J] [--file PART] [--minutes M]
                       changes one place of the source at a time, and runs the tests until one fails
    mutate.py --again  only those that survived the last run, with the tests as they are now
    mutate.py --list   all the changes there are, without trying them

A change is one of OPERATORS. Each is built in a copy of the tree (build-mutate/), incrementally: one
file is compiled, and only the test that is run next is linked. Tests that name the file's noun come
first, then whatever has found most so far, then what is quick (the worlds of the lab among them);
what takes longer than SLOW_S runs only for the files that it is about, and with --again. Each is
stopped when it takes much longer than it does without a change. A change that the compiler turns
into the same code changes nothing and is not counted; neither is one that does not compile.

A change that survives wants a test, or, when it changes nothing that anybody could see, a line in
scripts/mutants-argued.txt: file, change and the reason. Assertions and log lines are left alone.
Exits with 1 below KILLED_PERCENT.
"""
import argparse
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

import common

FOLDER = os.path.join(common.ROOT, "build-mutate")
RESULTS = os.path.join(FOLDER, "results.json")
ARGUED = "scripts/mutants-argued.txt"
MODULES = ("accept", "close_record", "conn", "conn_info", "conn_input", "conn_limits",
           "conn_output", "conn_refs", "conn_remote", "handle", "machine", "server", "server_each",
           "server_stop", "shard")
KILLED_PERCENT = 90.0
SEEDS = 800
SLOW_S = 4.0
# What tests a file first, besides the tests whose names have a word of its name.
NEAR = {"conn": ("test_conn", "test_matrix", "test_stop"), "machine": ("test_machine",),
        "accept": ("test_server", "test_limits"), "shard": ("test_server", "test_stop"),
        "server_each": ("test_each",), "close_record": ("test_conn",),
        "conn_info": ("test_conn", "test_refs")}
LEFT_ALONE = re.compile(r"pl_assert|pl_log\b|static_assert|_Static_assert|__attribute__|__builtin_")


class Mutant:
    """One change: text[begin:end] becomes new."""

    def __init__(self, path, text, begin, end, new, operator):
        self.path, self.begin, self.end, self.new, self.operator = path, begin, end, new, operator
        self.text = text  # of the whole file; the tree may change while this runs
        self.line = text.count("\n", 0, begin) + 1
        self.old = text[begin:end]
        self.outcome, self.by = None, ""
        start = text.rfind("\n", 0, begin) + 1
        stop = text.find("\n", end)
        self.before = squeeze(text[start:stop])
        self.after = squeeze(text[start:begin] + new + text[end:stop])

    def applied(self):
        # Lines stay where they are: __LINE__ must not tell the difference.
        return self.text[:self.begin] + self.new + "\n" * (
            self.old.count("\n") - self.new.count("\n")) + self.text[self.end:]

    def key(self):
        return f"{self.path} | {self.before} | {self.after}"


def squeeze(text):
    return " ".join(text.split())


# ---- operators: each yields (begin, end, new) in code, which has no comments

def closing(code, at):
    """The place of the parenthesis that closes the one at."""
    depth = 0
    for i in range(at, len(code)):
        depth += {"(": 1, ")": -1}.get(code[i], 0)
        if depth == 0:
            return i
    return -1


def negate(code):
    for match in re.finditer(r"\b(?:if|while) \(", code):
        begin = match.end() - 1
        end = closing(code, begin)
        yield begin, end + 1, f"(!{code[begin:end + 1]})"


def replacer(pattern, table):
    def operator(code):
        for match in re.finditer(pattern, code):
            yield match.start(1), match.end(1), table[match.group(1)]
    return operator


def constant(code):
    for match in re.finditer(r"(?<![\w.\"'\]])(\d+)(?![\w.\"'])", code):
        value = int(match.group(1))
        yield match.start(1), match.end(1), str(value + 1)
        if value > 1:
            yield match.start(1), match.end(1), str(value - 1)


STATEMENT = re.compile(r"^(?P<indent>[ ]{4,})(?P<body>(?:\(void\)|\*|\+\+|--)?[A-Za-z_][\w.>\[\]-]*"
                       r"(?:\(| [-+|&^*/]?= |\+\+;|--;)[^;{}]*;?)$", re.M)


def statements(code):
    for match in STATEMENT.finditer(code):
        begin = match.start("body")
        end = code.find(";", begin) + 1
        text = code[begin:end]
        if "{" in text or "}" in text or text.startswith(("return", "if", "while", "for", "switch")):
            continue
        yield begin, end, match.group("indent")


def drop(code):
    for begin, end, _ in statements(code):
        if not re.match(r"\(void\)\w+;", code[begin:end]):
            yield begin, end, ";"


def swap(code):
    """Of two calls that are about the same thing; the order of most other statements is nobody's
    business."""
    call = re.compile(r"\w+\(&?(\w+)")
    found = list(statements(code))
    for (begin, middle, indent), (after, end, other) in zip(found, found[1:]):
        first, second = call.match(code, begin), call.match(code, after)
        if (code[middle:after] == "\n" + indent and indent == other and first and second
                and first.group(1) == second.group(1)):
            yield begin, end, code[after:end] + "\n" + indent + code[begin:middle]


def result(code):
    for match in re.finditer(r"\breturn (true|false|-E\w+|PEAL_ERR_\w+);", code):
        yield match.start(1), match.end(1), {"true": "false", "false": "true"}.get(
            match.group(1), "0")


def positive(code):
    for match in re.finditer(r"(?<=[ (])!(?=[\w(])", code):
        yield match.start(), match.end(), ""


OPERATORS = {
    "negate a condition": negate,
    "and for or": replacer(r" (&&|\|\|) ?", {"&&": "||", "||": "&&"}),
    "another comparison": replacer(r" (<|>|<=|>=|==|!=) ", {
        "<": "<=", ">": ">=", "<=": "<", ">=": ">", "==": "!=", "!=": "=="}),
    "another sum": replacer(r" ([-+]=?) |(?!)", {"+": "-", "-": "+", "+=": "-=", "-=": "+="}),
    "another bit operation": replacer(r" (\|=|&=) ", {"|=": "&=", "&=": "|="}),
    "a constant off by one": constant,
    "drop a statement": drop,
    "swap two statements": swap,
    "another result": result,
    "drop a not": positive,
}


def mutants_of(path):
    text = common.text_of(path)
    code = common.without_comments(text)
    # The code is the same text with comments blanked, so places in one are places in the other.
    start = re.search(r"^#include", code, re.M).start()
    for name, operator in OPERATORS.items():
        for begin, end, new in operator(code):
            line = code[code.rfind("\n", 0, begin) + 1:code.find("\n", end)]
            if begin < start or line.lstrip().startswith("#") or LEFT_ALONE.search(line):
                continue
            yield Mutant(path, text, begin, end, new, name)


# ---- the tests

def says_nothing_bad(fd, limit_s):
    """Reads what a test writes as errors until its end, a failed case, or the limit."""
    end = time.monotonic() + limit_s
    said = b""
    while (left := end - time.monotonic()) > 0:
        if select.select([fd], [], [], left)[0]:
            piece = os.read(fd, 65536)
            if not piece:
                return True
            said = said[-100:] + piece
            if b"[  FAILED  ]" in said or b"[  ERROR   ]" in said:
                return False
    return False


class Bench:
    """A copy of the tree with its build, for one worker."""

    def __init__(self, number):
        self.tree = os.path.join(FOLDER, f"tree-{number}")
        self.build = os.path.join(FOLDER, f"build-{number}")
        self.usual_s = {}

    def prepare(self):
        files = common.run("git", "ls-files", "-co", "--exclude-standard").stdout.split()
        for name in files:
            source, copy = os.path.join(common.ROOT, name), os.path.join(self.tree, name)
            if not os.path.exists(source):
                continue
            if not os.path.exists(copy) or open(source, "rb").read() != open(copy, "rb").read():
                os.makedirs(os.path.dirname(copy), exist_ok=True)
                shutil.copy(source, copy)
        # Without debugging information, so that equal code is an equal object.
        command = ["meson", "setup", self.build, self.tree, "-Ddebug=false", "-Doptimization=1"]
        if os.path.exists(os.path.join(self.build, "build.ninja")):
            command.append("--reconfigure")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if not self.ninja("test/soak", "peal-sim", *self.programs()):
            sys.exit("mutate: the tree does not build")

    def programs(self):
        names = []
        for folder, suite in (("net", "net_"), ("hazards", "hazards_")):
            path = os.path.join(self.tree, "test", folder)
            names += [f"test/{suite}{name[:-2]}" for name in sorted(os.listdir(path))
                      if name.startswith(("test_", "hazard_")) and name.endswith(".c")
                      and os.path.exists(os.path.join(common.ROOT, "test", folder, name))]
        return names

    def ninja(self, *targets):
        done = subprocess.run(["ninja", "-C", self.build, "-j2", *targets], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode == 0

    def command(self, test):
        if test == "test/soak":
            return [test, "2000"]
        if test == "peal-sim":
            return [test, "run", "--scenario", "anything", "--seeds", str(SEEDS), "--jobs", "1",
                    "--failures", "1", "--keep", "kept"]
        return [test]

    def passes(self, test, engine="epoll", limit_s=None):
        """Runs it. One that does not end in time has failed, and so has one that writes that a case
        of it has: there is no need to wait for the others."""
        if limit_s is None:
            busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
            limit_s = (4 + 8 * self.usual_s[test]) * busy

        def bounds():
            os.setsid()
            os.nice(10)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        run = subprocess.Popen(self.command("./" + test if "/" in test else test),
                               executable=os.path.join(self.build, test), cwd=self.build,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, preexec_fn=bounds,
                               env={**os.environ, "PEAL_ENGINE": engine})
        try:
            return says_nothing_bad(run.stderr.fileno(), limit_s) and run.wait(limit_s) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            try:
                os.killpg(run.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            run.stderr.close()
            run.wait()

    def measure(self):
        """How long each test takes. What was measured by an earlier run is good enough."""
        times = os.path.join(FOLDER, "times.json")
        if os.path.exists(times):
            with open(times, encoding="utf-8") as file:
                self.usual_s = json.load(file)
        if set(self.usual_s) >= set(self.programs()):
            return
        for test in ("peal-sim", "test/soak", *self.programs()):
            start = time.monotonic()
            if self.passes(test, limit_s=300):
                self.usual_s[test] = time.monotonic() - start
            else:
                print(f"mutate: {test} fails without any change, and is left out")
                shutil.rmtree(os.path.join(self.build, "kept"), ignore_errors=True)
        print(f"{len(self.usual_s)} tests, {sum(self.usual_s.values()):.0f} s for all of them:",
              ", ".join(f"{test.split('/')[-1]} {spent:.1f}" for test, spent in
                        sorted(self.usual_s.items(), key=lambda one: -one[1])[:16]), flush=True)
        with open(times, "w", encoding="utf-8") as file:
            json.dump(self.usual_s, file, indent=0)

    def object_of(self, path):
        name = os.path.relpath(path).replace("/", "_")
        return os.path.join(self.build, "libpeal_core.a.p", name + ".o")


class Run:
    """All that the workers share."""

    def __init__(self, mutants, minutes, patient):
        self.patient = patient
        self.left = list(reversed(mutants))
        self.done = []
        self.found = {}
        self.lock = threading.Lock()
        self.end = time.monotonic() + 60 * minutes

    def next(self):
        with self.lock:
            return self.left.pop() if self.left and time.monotonic() < self.end else None

    def order(self, path, tests):
        stem = os.path.basename(path)[:-2]
        words = stem.split("_")[1:] or [stem]
        near = NEAR.get(stem, ()) + tuple(f"test_{word}" for word in words)

        def rank(test):
            name = test.split("/")[-1].split("_", 1)[-1]
            return name not in near, -self.found.get(test, 0), tests[test]

        return [test for test in sorted(tests, key=rank)
                if not rank(test)[0] or tests[test] < SLOW_S or self.patient]

    def tell(self, mutant):
        with self.lock:
            self.done.append(mutant)
            if mutant.by:
                self.found[mutant.by] = self.found.get(mutant.by, 0) + 1
            print(f"{len(self.done):5} {mutant.outcome:8} {mutant.path}:{mutant.line}: "
                  f"{mutant.operator}: {mutant.after[:90]}"
                  + (f"   [{mutant.by}]" if mutant.by else ""), flush=True)


def judge(bench, run, mutant, code):
    """Tries one mutant whose text stands in the tree: sets its outcome."""
    target = os.path.relpath(bench.object_of(mutant.path), bench.build)
    mutant.outcome, mutant.by = "survived", ""
    if not bench.ninja(target):
        mutant.outcome = "invalid"
    elif open(bench.object_of(mutant.path), "rb").read() == code:
        mutant.outcome = "same"
    else:
        tests = run.order(mutant.path, bench.usual_s)
        for test in tests + [f"{test}@" for test in tests[:3] if test != "peal-sim"]:
            plain = test.rstrip("@")
            if not bench.ninja(plain):
                mutant.outcome = "invalid"
                break
            if not bench.passes(plain, "io_uring" if test.endswith("@") else "epoll"):
                mutant.outcome, mutant.by = "killed", plain
                break


def work(bench, run):
    codes = {}
    while mutant := run.next():
        copy = os.path.join(bench.tree, mutant.path)
        if mutant.path not in codes:
            bench.ninja(os.path.relpath(bench.object_of(mutant.path), bench.build))
            codes[mutant.path] = open(bench.object_of(mutant.path), "rb").read()
        with open(copy, "w", encoding="utf-8") as file:
            file.write(mutant.applied())
        try:
            judge(bench, run, mutant, codes[mutant.path])
        finally:
            with open(copy, "w", encoding="utf-8") as file:
                file.write(mutant.text)
            # ninja goes by time: the next build must see that the text is another one again.
            os.utime(copy)
        run.tell(mutant)


# ---- the table

def argued():
    """The keys of mutants of which a line of the kept file says why nobody can see them."""
    keys = set()
    if os.path.exists(os.path.join(common.ROOT, ARGUED)):
        for line in common.lines_of(ARGUED):
            parts = [squeeze(part) for part in line.split(" | ")]
            if not line.startswith("#") and len(parts) == 4:
                keys.add(" | ".join(parts[:3]))
    return keys


def table(mutants):
    known = argued()
    total = [0, 0, 0, 0]
    print(f"\n{'file':28} {'mutants':>8} {'killed':>7} {'argued':>7} {'survived':>9}")
    for path in sorted({mutant.path for mutant in mutants}):
        mine = [mutant for mutant in mutants if mutant.path == path
                and mutant.outcome in ("killed", "survived")]
        killed = sum(mutant.outcome == "killed" for mutant in mine)
        reasoned = sum(mutant.outcome == "survived" and mutant.key() in known for mutant in mine)
        row = (len(mine), killed, reasoned, len(mine) - killed - reasoned)
        total = [a + b for a, b in zip(total, row)]
        print(f"{path:28} {row[0]:8} {row[1]:7} {row[2]:7} {row[3]:9}")
    print(f"{'all':28} {total[0]:8} {total[1]:7} {total[2]:7} {total[3]:9}")
    for mutant in mutants:
        if mutant.outcome == "survived" and mutant.key() not in known:
            print(f"{mutant.path}:{mutant.line}: survived: {mutant.operator}\n"
                  f"    {mutant.before}\n    {mutant.after}")
    counted = total[0] - total[2]
    share = 100.0 * total[1] / counted if counted else 100.0
    print(f"{share:.1f}% killed of those that are not argued (wanted: {KILLED_PERCENT:g}%)")
    return share >= KILLED_PERCENT


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--file", default="")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    paths = [path for path in (f"src/net/{name}.c" for name in MODULES) if asked.file in path]
    mutants = [mutant for path in paths for mutant in mutants_of(path)]
    if asked.list:
        for mutant in mutants:
            print(f"{mutant.path}:{mutant.line}: {mutant.operator}: {mutant.after}")
        print(f"{len(mutants)} mutants")
        return 0
    if asked.again:
        with open(RESULTS, encoding="utf-8") as file:
            old = {key for key, outcome in json.load(file).items() if outcome == "survived"}
        mutants = [mutant for mutant in mutants if mutant.key() in old]
    else:
        random.Random(asked.seed).shuffle(mutants)
        mutants = mutants[:asked.sample]
    benches = [Bench(number) for number in range(asked.jobs)]
    for bench in benches:
        bench.prepare()
    benches[0].measure()
    run = Run(mutants, asked.minutes, asked.again)
    workers = []
    for bench in benches:
        bench.usual_s = benches[0].usual_s
        workers.append(threading.Thread(target=work, args=(bench, run)))
        workers[-1].start()
    for worker in workers:
        worker.join()
    outcomes = {}
    if asked.again:
        with open(RESULTS, encoding="utf-8") as file:
            outcomes = json.load(file)
    outcomes.update({mutant.key(): mutant.outcome for mutant in run.done})
    with open(RESULTS, "w", encoding="utf-8") as file:
        json.dump(outcomes, file, indent=0)
    return 0 if table(run.done) else 1


if __name__ == "__main__":
    sys.exit(main())
