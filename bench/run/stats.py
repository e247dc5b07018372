# SPDX-License-Identifier: BSD-2-Clause
"""The arithmetic of the figures: medians, spreads, ratios round by round, ties and verdicts.

A cell is measured in rounds. In each round every server has one slice, a few of a second apart at
most, so what the machine did in that time (another guest, a change of clock) hit all of them. That
is why a ratio is taken within a round, and the median is taken of the ratios: a ratio of two medians
would compare slices that are minutes apart.

Said of each list of figures: its median; the quartiles, which is the spread that is printed; and an
interval that holds the true median with 95% confidence whatever the distribution is, which is two
of the ordered figures (by the binomial law). A difference is "unsure" where that interval does not
leave it out.
"""
import math

TIE = 0.02


def quantile(values, share):
    """The figure below which this share of them lies, between neighbours by proportion."""
    if not values:
        raise ValueError("no figures")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median_interval(values, confidence=0.95):
    """Two figures between which the true median lies with this confidence at least; the whole range
    where there are too few figures to promise that."""
    ordered = sorted(values)
    count = len(ordered)
    outside, below = 0, 0.0
    while outside < count // 2:
        below += math.comb(count, outside) / 2 ** count
        if 2 * below > 1 - confidence:
            break
        outside += 1
    return ordered[max(outside - 1, 0)], ordered[min(count - outside, count - 1)]


def summary(values):
    """What is kept of a list of figures, or None of an empty one."""
    if not values:
        return None
    sure_low, sure_high = median_interval(values)
    return {"median": quantile(values, 0.5), "q25": quantile(values, 0.25),
            "q75": quantile(values, 0.75), "sure_low": sure_low, "sure_high": sure_high,
            "count": len(values)}


def ratios(figures, base):
    """The ratios of two sequences of rounds; a round that either lacks (None, or 0 below) is none."""
    return [mine / theirs for mine, theirs in zip(figures, base)
            if mine is not None and theirs]


def judge(ratio, limit):
    """What a summary of ratios is against an upper limit: a word for the table, and whether it
    counts as met. A tie counts: it is less than what such a machine can tell apart."""
    if ratio is None:
        return {"word": "not measured", "met": None, "over": None}
    over = ratio["median"] / limit - 1
    if over <= 0:
        return {"word": "met", "met": True, "over": over}
    if over < TIE:
        return {"word": f"tie ({over:+.1%})", "met": True, "over": over}
    unsure = ", unsure" if ratio["sure_low"] <= limit else ""
    return {"word": f"missed by {over:.0%}{unsure}", "met": False, "over": over}


def behind(ratio):
    """How far the first is behind the second, whose ratio (larger is worse) this is: 0 at a tie or
    ahead. And whether the rounds leave no doubt."""
    if ratio is None or ratio["median"] < 1 + TIE:
        return 0.0, False
    return ratio["median"] - 1, ratio["sure_low"] > 1


def bottleneck(server_busy, load_busy, shared=False, waited=0.0):
    """Who kept the others waiting: a core that is busy 95% of the time has no more to give. If none
    was, and server and load waited for cores that other programs had (waited, a share of the time),
    it was those programs."""
    idle = "other programs" if waited >= 0.05 else "wake-ups"
    if shared:
        return "the shared core" if server_busy + load_busy >= 0.95 else "wake-ups"
    full = [name for name, busy in (("server", server_busy), ("load", load_busy)) if busy >= 0.95]
    return " and ".join(full) if full else idle
