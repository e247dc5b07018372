#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Plants bugs in the library and lets the lab look for them.

    scripts/plants.py [--build FOLDER] [--only NAME,...] [--seeds-max N] [--write-docs]

Each lab/plants/NAME.plant is one bug: a sentence, a source, and an old text of it with the new one.
The old text must be in the source exactly once, so that a plant whose place has changed is noticed.
The changed source alone is compiled, and linked before the archive, whose own is then not taken. The
lab runs until a run fails; `program` names another than peal-sim, and `exhaust` a scenario of which
every order with so many preemptions is tried instead of seeds. A plant that is not found is a failure:
the lab would not find such a bug if it were real.

--write-docs puts the table into docs/internals/lab.md."""
import argparse
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCS = os.path.join(ROOT, "docs/internals/lab.md")
# What a program is made of: the archive that holds the library, all that is linked, options.
WRAPPED = ["-Wl,--wrap=pl_conn_move"]
PROGRAMS = {
    "peal-sim": ("libpeal_core.a.p", ["libpeal-sim.a"], WRAPPED),
    "peal-sim-atomics": ("libpeal_core_atomics.a.p",
                         ["libpeal_core_atomics.a", "libpeal_sim_seam.a"], WRAPPED),
    "test/ring_echo": ("libpeal_core.a.p", ["libpeal-sim.a"], []),
}
BEGIN, END = "<!-- plants: begin -->", "<!-- plants: end -->"


class Plant:
    def __init__(self, path):
        text = open(path).read()
        head, _, rest = text.partition("--- old\n")
        old, _, new = rest.partition("--- new\n")
        fields = dict(line.split(": ", 1) for line in head.splitlines())
        self.name = os.path.basename(path).removesuffix(".plant")
        self.about, self.file = fields["about"], fields["file"]
        self.program = fields.get("program", "peal-sim")
        self.exhaust = fields.get("exhaust", "").split()
        self.old, self.new = old.removesuffix("\n"), new.removesuffix("\n")

    def source(self):
        with open(os.path.join(ROOT, self.file)) as file:
            text = file.read()
        count = text.count(self.old)
        if count != 1:
            sys.exit(f"lab/plants/{self.name}.plant: its old text is {count} times in {self.file}, "
                     "and must be there once: bring it up to date.")
        return text.replace(self.old, self.new)


def compile_command(build, plant):
    """The command that compiles the plant's source for its program, as a list."""
    archive = PROGRAMS[plant.program][0]
    with open(os.path.join(build, "compile_commands.json")) as file:
        for entry in json.load(file):
            path = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
            if path == os.path.join(ROOT, plant.file) and archive in entry["output"]:
                return shlex.split(entry["command"])
    sys.exit(f"{plant.file} is not compiled for {plant.program} in {build}: build that first.")


def build_program(build, plant, scratch):
    source = os.path.join(scratch, os.path.basename(plant.file))
    with open(source, "w") as file:
        file.write(plant.source())
    planted = os.path.join(scratch, "planted.o")
    command = compile_command(build, plant)
    for option in ("-o", "-MF", "-MQ"):
        command[command.index(option) + 1] = planted + (".d" if option == "-MF" else "")
    command[command.index("-c") + 1] = source
    folder = os.path.dirname(os.path.join(ROOT, plant.file))
    subprocess.run(command + ["-w", "-Wno-error", "-I", folder], cwd=build, check=True)
    program = os.path.join(scratch, "program")
    objects = glob.glob(os.path.join(build, plant.program + ".p", "*.o"))
    _, archives, link_options = PROGRAMS[plant.program]
    subprocess.run(["cc", "-o", program, planted] + objects + archives + ["-pthread"] + link_options,
                   cwd=build, check=True)
    return program


def look_for(build, plant, seeds_max, scratch):
    """(seeds it took, scenario, sentence) or None."""
    program = build_program(build, plant, scratch)
    search = ["run", "--seeds", str(seeds_max)]
    if plant.exhaust:
        search = ["exhaust", "--scenario", plant.exhaust[0], "--preemptions", plant.exhaust[1]]
    said = subprocess.run([program] + search + ["--keep", os.path.join(scratch, "kept")],
                          stdout=subprocess.PIPE, text=True).stdout
    match = re.search(r"^FAILED (\S+), seed (\d+).*\n  (.*)$", said, re.M)
    return (int(match[2]), match[1], match[3]) if match else None


def table(rows):
    lines = ["| planted | what is wrong | seeds | found in | what the lab says |", "|---|---|---|---|---|"]
    for plant, found in rows:
        seeds, scenario, sentence = found or ("not found", "", "")
        elsewhere = {"peal-sim": "", "peal-sim-atomics": ", atomics"}.get(
            plant.program, f", {os.path.basename(plant.program)}")
        sentence = sentence.replace("|", "\\|")[:110]
        seeds = f"{seeds} orders" if plant.exhaust else seeds
        lines.append(f"| {plant.name} | {plant.about} | {seeds} | {scenario}{elsewhere} | {sentence} |")
    return "\n".join(lines)


def write_docs(text):
    with open(DOCS) as file:
        page = file.read()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(DOCS, "w") as file:
        file.write(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds-max", type=int, default=20000)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    plants = [Plant(path) for path in sorted(glob.glob(os.path.join(ROOT, "lab/plants/*.plant")))]
    for plant in plants:
        plant.source()  # also those that are not asked for: each must still have its place
    plants = [plant for plant in plants if not only or plant.name in only]
    if only - {plant.name for plant in plants}:
        sys.exit(f"There is no plant {', '.join(sorted(only - {plant.name for plant in plants}))}.")
    rows = []
    for plant in plants:
        with tempfile.TemporaryDirectory() as scratch:
            found = look_for(os.path.abspath(options.build), plant, options.seeds_max, scratch)
        rows.append((plant, found))
        words = f"seed {found[0]}, {found[1]}: {found[2]}" if found else "NOT FOUND"
        print(f"{plant.name:28} {words}", flush=True)
    missed = sum(found is None for _, found in rows)
    print(f"{len(rows)} planted, {len(rows) - missed} found")
    if options.write_docs:
        write_docs(table(rows))
    return 1 if missed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
