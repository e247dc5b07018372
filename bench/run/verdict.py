# SPDX-License-Identifier: BSD-2-Clause
"""What the figures say: each target met or missed, and every cell in which a peer is ahead.

Peal's better engine in a cell is the one with the smaller median of its ratio to raw epoll. A peer
is ahead if its figure is better by 2% or more, again round by round. That is asked of the server's
CPU time a message, of the rate, and of the latency at p50 and p99. The yardsticks, which are no
libraries, have a list of their own.
"""
import cell
import field
import stats

# name, what it is called, whether more is better
ASKED = (("cpu_ns", "CPU", False), ("rate", "rate", True), ("p50_us", "p50", False),
         ("p99_us", "p99", False))


def better_engine(condensed):
    """The name of Peal's better engine in a cell, or None. Without raw epoll there are no ratios,
    and the plain medians must do."""
    there = [name for name in condensed if kind_of(name) == "peal"]
    key = "ratio" if all(condensed[name]["ratio"] for name in there) else "cpu_ns"
    return min(there, key=lambda name: condensed[name][key]["median"], default=None)


def kind_of(name):
    return next((peer.kind for peer in field.PEERS if peer.name == name), "")


def paired(measured, mine, theirs, name, more_is_better):
    """The summary of the ratios of two servers in one figure, larger being worse for mine."""
    first = [cell.figure(one, name) for one in measured["rounds"][mine]]
    second = [cell.figure(one, name) for one in measured["rounds"][theirs]]
    return stats.summary(stats.ratios(second, first) if more_is_better
                         else stats.ratios(first, second))


def targets(case, measured):
    """The verdicts of a case: peer name to what stats.judge says."""
    found = {}
    for name, limit in case.targets.items():
        ratio = None
        if name in measured["rounds"] and case.base in measured["rounds"]:
            ratio = paired(measured, name, case.base, "cpu_ns", False)
        found[name] = {**stats.judge(ratio, limit), "limit": limit, "ratio": ratio}
    return found


def ahead(case, measured, condensed):
    """All who are ahead of Peal's better engine in a case."""
    mine = better_engine(condensed)
    if mine is None:
        return []
    found = []
    for name in condensed:
        kind = kind_of(name)
        if kind not in ("peer", "yardstick"):
            continue
        for key, word, more_is_better in ASKED:
            behind, sure = stats.behind(paired(measured, mine, name, key, more_is_better))
            if behind > 0:
                found.append({"case": case.name, "peer": name, "kind": kind, "figure": word,
                              "peal": mine, "behind": behind, "sure": sure})
    return found


def scaling(measured_of):
    """How the rate of two loops compares with that of one: peer name to ratio, of the servers that
    were measured in both cases."""
    one, two = measured_of.get("loops-1"), measured_of.get("loops-2")
    found = {}
    for name in (one or {}).get("rounds", {}):
        if name in (two or {}).get("rounds", {}):
            rates = [[cell.figure(part, "rate") for part in measured["rounds"][name]]
                     for measured in (one, two)]
            rates = [[rate for rate in part if rate] for part in rates]
            if all(rates):
                found[name] = stats.quantile(rates[1], 0.5) / stats.quantile(rates[0], 0.5)
    return found


def growth(condensed_of):
    """How a message's CPU time grows from 100 to 10,000 connections: peer name to ratio."""
    small, large = condensed_of.get("echo-100", {}), condensed_of.get("echo-10000", {})
    return {name: large[name]["cpu_ns"]["median"] / small[name]["cpu_ns"]["median"]
            for name in small if name in large}


def cost_targets(costs):
    """The small programs' figures that have a target: (figure, what stats.judge says). They are
    single figures, so nothing is known of their spread."""
    found = []
    for one in costs:
        if "target" in one:
            value = one["value"]
            judged = stats.judge({"median": value, "sure_low": value}, one["target"])
            found.append((one, judged))
    return found


def costs_ahead(costs):
    """Where somebody's cost is less than Peal's best by 2% or more: (figure, who, how much less, of
    whom)."""
    found = []
    for name in dict.fromkeys((one["figure"], one["unit"]) for one in costs):
        same = [one for one in costs if (one["figure"], one["unit"]) == name]
        best = min((one for one in same if one["of"].startswith("Peal")),
                   key=lambda one: one["value"], default=None)
        if best is None:
            continue
        for one in same:
            less = best["value"] - one["value"]
            if not one["of"].startswith("Peal") and less > stats.TIE * best["value"]:
                found.append((one, best))
    return found
