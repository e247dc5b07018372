# SPDX-License-Identifier: BSD-2-Clause
"""What will be run and how long it takes, known before it begins.

The time of a cell is the time to start its servers and open their connections, and then rounds, of
one slice a server each. The constants are generous, so that the plan is an upper limit in practice;
the runner also holds the budget while it runs, and leaves out the cases that no longer fit, by name.
"""
import math
import random

START_S = 0.15          # a server and its load, started and ended
CONNECT_S = 0.00012     # a connection, opened and closed
SLICE_OVERHEAD_S = 0.012  # asking for a slice, letting the server come to rest, reading its time
WARM_UP_ROUNDS = 2

PROFILES = {
    "full": {"rounds": 22, "slice_s": 0.2, "minutes": 19.0, "micro_s": 240.0},
    "quick": {"rounds": 6, "slice_s": 0.06, "minutes": 1.7, "micro_s": 15.0},
}


class Plan:
    """The cells, and how each is measured."""

    def __init__(self, cases, peers, rounds, slice_s, seed=1):
        self.cases, self.peers = list(cases), list(peers)
        self.rounds, self.slice_s, self.seed = rounds, slice_s, seed

    def peers_of(self, case):
        """Those of the peers that the case is for."""
        return [peer for peer in self.peers if peer.only is None or case.name in peer.only]

    def slice_of(self, case):
        return self.slice_s * case.slice_factor

    def case_s(self, case):
        """An upper limit of the seconds that a case takes."""
        one = self.slice_of(case) + SLICE_OVERHEAD_S
        begin = START_S + case.conns * CONNECT_S
        return len(self.peers_of(case)) * (begin + one * (WARM_UP_ROUNDS + self.rounds))

    def total_s(self):
        return sum(self.case_s(case) for case in self.cases)

    def orders(self, case):
        """For each round the order of the peers: shuffled, and the same for the same seed, so that
        no server always runs behind the same other."""
        chance = random.Random(f"{self.seed} {case.name}")
        for _ in range(WARM_UP_ROUNDS + self.rounds):
            order = list(range(len(self.peers_of(case))))
            chance.shuffle(order)
            yield order

    def sentences(self):
        slices = sum(len(self.peers_of(case)) for case in self.cases)
        slices *= WARM_UP_ROUNDS + self.rounds
        servers = max((len(self.peers_of(case)) for case in self.cases), default=0)
        yield (f"{len(self.cases)} cases, up to {servers} servers each; {self.rounds} rounds of "
               f"{self.slice_s:g} s slices (longer in some cases) after {WARM_UP_ROUNDS} of warm-up: "
               f"{slices} slices, at most {duration(self.total_s())}.")


def duration(seconds):
    """For people: 95 s, 14 min."""
    return f"{math.ceil(seconds)} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def make(profile, cases, peers, rounds=None, slice_s=None, seed=1):
    """The plan of a profile, with what was asked for instead. ValueError for what cannot be."""
    preset = PROFILES[profile]
    rounds = preset["rounds"] if rounds is None else rounds
    slice_s = preset["slice_s"] if slice_s is None else slice_s
    if rounds < 1:
        raise ValueError("--rounds must be at least 1")
    if not 0.01 <= slice_s <= 60:
        raise ValueError("--slice must be between 0.01 and 60 seconds")
    if not cases or not peers:
        raise ValueError("nothing is left to measure")
    return Plan(cases, peers, rounds, slice_s, seed)
