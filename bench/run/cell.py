# SPDX-License-Identifier: BSD-2-Clause
"""One cell: all servers of a case alive at once, each with its load connected, and then slice for
slice in a new order every round.

Around a slice the CPU time of server and load is read while both are at rest: the load answers when
the last answer of its slice has come, and the server is given a moment until its time stands still.
What a server used while others had their slices is kept apart: a server that is busy when nobody
asks it anything disturbs the others, and that is said in a note.

A server that cannot do the case, or that fails on the way, is left out with its reason; the others
go on.
"""
import os
import time

import cores as cores_module
import processes
import stats
from plan import WARM_UP_ROUNDS

REST_STEP_S = 0.001
REST_NS = 30_000
REST_TIMEOUT_S = 0.1


class Programs:
    """Where the programs are: in FOLDER itself or anywhere below it."""

    def __init__(self, folder):
        self.found = {}
        for path, _, names in sorted(os.walk(folder)):
            for name in names:
                whole = os.path.join(path, name)
                if os.access(whole, os.X_OK) and os.path.isfile(whole):
                    self.found.setdefault(name, whole)

    def path(self, name):
        for candidate in (name, name.replace("-", "_")):
            if candidate in self.found:
                return self.found[candidate]
        raise processes.Unable(f"the program {name} was not built")


class Participant:
    """A server with its loads, and what was measured of it."""

    def __init__(self, peer, case):
        self.peer, self.case = peer, case
        self.server, self.loads = None, []
        self.rounds, self.absent, self.engine, self.said = [], None, "", []
        self.rested_ns, self.idle_ns, self.rested_at, self.idle_s = None, 0, None, 0.0

    def start(self, children, programs, cores):
        case = self.case
        sets = cores.sets(case.cores)
        if sets is None:
            raise processes.Unable("this machine has one core only")
        command = [programs.path(self.peer.program), case.mode, "0"]
        if case.loops > 1:
            command.append(str(case.loops))
        self.server = children.start(self.peer.title, command, sets[0], self.peer.env)
        port = processes.ready_port(self.server)
        self.engine = processes.waits_with(self.server.pid)
        wanted = self.peer.env.get("PEAL_ENGINE")
        if wanted and self.engine and self.engine != wanted:
            raise processes.Unable(f"{wanted} was asked for, and it runs on {self.engine}: the "
                                   f"kernel or a sandbox does not allow {wanted}")
        for number in range(case.loads):
            conns = case.conns // case.loads + (number < case.conns % case.loads)
            command = [programs.path("bench-load"), case.load, "127.0.0.1", str(port), "--conns",
                       str(conns), "--size", str(case.size)]
            if case.pipeline > 1:
                command += ["--pipeline", str(case.pipeline)]
            self.loads.append(children.start(f"the load of {self.peer.title}",
                                             command + ["--control"], sets[1]))
        # A first tiny slice: it is answered when all connections are open.
        for load in self.loads:
            load.say("run 0.01")
        for load in self.loads:
            self.listen(processes.answer(load, 0.01))

    def listen(self, answer):
        """Keeps what a load says of errors, in slices of warm-up too, as it says it: each thing
        once."""
        if answer["error"] and answer["error"] not in self.said:
            self.said.append(answer["error"])
        return answer

    def stood_in_line_ns(self):
        """How long server and loads waited for cores that somebody else had."""
        return sum(processes.times_ns(child.pid)[1] for child in [self.server, *self.loads])

    def rest(self):
        """The server's CPU time once it stands still."""
        end = time.monotonic() + REST_TIMEOUT_S
        before = processes.cpu_ns(self.server.pid)
        while True:
            time.sleep(REST_STEP_S)
            now = processes.cpu_ns(self.server.pid)
            if now - before < REST_NS or time.monotonic() > end:
                return now
            before = now

    def slice(self, seconds):
        """One slice; the figures of it."""
        begin_ns = self.rest()
        begin = time.monotonic()
        if self.rested_ns is not None:
            self.idle_ns += begin_ns - self.rested_ns
            self.idle_s += begin - self.rested_at
        waited_ns = self.stood_in_line_ns()
        load_ns = sum(processes.cpu_ns(load.pid) for load in self.loads)
        for load in self.loads:
            load.say(f"run {seconds:g}")
        answers = [self.listen(processes.answer(load, seconds)) for load in self.loads]
        load_ns = sum(processes.cpu_ns(load.pid) for load in self.loads) - load_ns
        waited_ns = self.stood_in_line_ns() - waited_ns
        self.rested_ns, self.rested_at = self.rest(), time.monotonic()
        return {**merge(answers, self.rested_ns - begin_ns, load_ns), "waited_ns": waited_ns}

    def idle_share(self):
        return self.idle_ns / 1e9 / self.idle_s if self.idle_s > 0 else 0.0


def merge(answers, server_ns, load_ns):
    """The answers of the loads of one slice as one. Percentiles cannot be merged; the worst load's
    are kept."""
    result = {"messages": sum(one["messages"] for one in answers),
              "bytes": sum(one["bytes"] for one in answers),
              "seconds": max(one["seconds"] for one in answers),
              "server_ns": server_ns, "load_ns": load_ns,
              "errors": sum(count_errors(one["errors"]) for one in answers)}
    for name in ("p50_us", "p99_us", "p999_us"):
        result[name] = max(one[name] for one in answers)
    return result


def count_errors(errors):
    """A number, or an object of numbers by kind."""
    if isinstance(errors, dict):
        return sum(int(count) for count in errors.values())
    return int(errors or 0)


FIGURES = {
    "cpu_ns": lambda one: one["server_ns"] / one["messages"],
    "rate": lambda one: one["messages"] / one["seconds"],
    "p50_us": lambda one: one["p50_us"],
    "p99_us": lambda one: one["p99_us"],
    "p999_us": lambda one: one["p999_us"],
    "server_busy": lambda one: one["server_ns"] / 1e9 / one["seconds"],
    "load_busy": lambda one: one["load_ns"] / 1e9 / one["seconds"],
    "waited": lambda one: one.get("waited_ns", 0) / 1e9 / one["seconds"],
}


def figure(one, name):
    """A figure of one slice; None of one that failed or moved nothing."""
    if one is None or not one["messages"] or one["seconds"] <= 0:
        return None
    return FIGURES[name](one)


def condense(rounds_of, base):
    """The summaries of a cell, from the rounds of each of its servers (peer name to list)."""
    cpu = {name: [figure(one, "cpu_ns") for one in rounds] for name, rounds in rounds_of.items()}
    found = {}
    for name, rounds in rounds_of.items():
        kept = [one for one in rounds if figure(one, "cpu_ns") is not None]
        if not kept:
            continue
        found[name] = {key: stats.summary([figure(one, key) for one in kept]) for key in FIGURES}
        found[name]["ratio"] = stats.summary(stats.ratios(cpu[name], cpu.get(base, [])))
        found[name]["errors"] = sum(one["errors"] for one in rounds if one is not None)
    return found


def measure(case, plan, programs, cores, progress):
    """Runs one cell. A dictionary that goes into the JSON as it is: for each peer its rounds, or why
    there are none."""
    participants = [Participant(peer, case) for peer in plan.peers_of(case)]
    stolen, began = cores_module.stolen_ticks(), time.monotonic()
    with processes.Children() as children:
        for one in participants:
            attempt(one, lambda one=one: one.start(children, programs, cores))
        for number, order in enumerate(plan.orders(case)):
            progress(case, number)
            for index in order:
                one = participants[index]
                if one.absent is None:
                    slice_into(one, plan.slice_of(case), number)
    seconds = time.monotonic() - began
    stolen_s = (cores_module.stolen_ticks() - stolen) / os.sysconf("SC_CLK_TCK")
    return {
        "case": case.name, "slice_s": plan.slice_of(case), "seconds": round(seconds, 3),
        "stolen_share": stolen_s / seconds / len(cores.all),
        "rounds": {one.peer.name: one.rounds for one in participants if any(one.rounds)},
        "said": {one.peer.name: one.said for one in participants if one.said},
        "absent": {one.peer.name: one.absent for one in participants if one.absent},
        "engines": {one.peer.name: one.engine for one in participants if one.engine},
        "idle_share": {one.peer.name: one.idle_share() for one in participants if any(one.rounds)},
    }


def attempt(participant, action):
    """Does it, or notes why it could not be done."""
    try:
        return action()
    except (processes.Unable, FileNotFoundError, ProcessLookupError) as error:
        participant.absent = str(error)
        return None


def slice_into(one, seconds, number):
    """A slice that is kept unless its round is one of warm-up."""
    figures = attempt(one, lambda: one.slice(seconds))
    if number >= WARM_UP_ROUNDS:
        one.rounds.append(figures)
