# SPDX-License-Identifier: BSD-2-Clause
"""The results in words and tables, from the JSON alone: on a terminal as aligned text, in the docs
as Markdown. Both say the same, losses included.
"""
import cell
import field
import machine
import stats
import verdict

LIMITS_NOTED = {"idle_share": 0.01, "stolen_share": 0.01, "waited": 0.02}


class Row:
    """What is said of one case."""

    def __init__(self, measured):
        self.case = next(case for case in field.CASES if case.name == measured["case"])
        self.measured = measured
        self.condensed = cell.condense(measured["rounds"], field.BASE)
        self.targets = verdict.targets(self.case, measured)
        self.ahead = verdict.ahead(self.case, measured, self.condensed)

    def bottlenecks(self):
        """Peer name to who kept the others waiting."""
        return {name: stats.bottleneck(found["server_busy"]["median"], found["load_busy"]["median"],
                                       self.case.cores == "shared", self.waited(found))
                for name, found in self.condensed.items()}

    def waited(self, found):
        """The share of the time for which others had the cores; only where they were pinned apart
        is it known that it was not server and load who kept each other waiting."""
        return found["waited"]["median"] if self.case.cores == "split" else 0.0

    def busy_with_others(self):
        """That share, of the server that had it worst."""
        return max((self.waited(found) for found in self.condensed.values()), default=0.0)


class View:
    """The results, digested."""

    def __init__(self, results):
        self.results = results
        order = {case.name: place for place, case in enumerate(field.CASES)}
        known = [measured for measured in results["cells"] if measured["case"] in order]
        self.rows = [Row(measured)
                     for measured in sorted(known, key=lambda one: order[one["case"]])]
        names = set()
        for measured in known:
            names |= set(measured["rounds"]) | set(measured["absent"])
        self.peers = [peer for peer in field.PEERS if peer.name in names]
        costs = results.get("micro") or []
        self.cost_targets = verdict.cost_targets(costs)
        self.costs_ahead = verdict.costs_ahead(costs)

    def row(self, name):
        return next((row for row in self.rows if row.case.name == name), None)

    def ahead(self, kind):
        return [one for row in self.rows for one in row.ahead if one["kind"] == kind]


def title_of(name):
    return next(peer.title for peer in field.PEERS if peer.name == name)


def case_title(name):
    return next(case.title for case in field.CASES if case.name == name)


def number(value):
    """Three digits that count, with thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def time_ns(value):
    """A time with its unit."""
    if value < 1000:
        return f"{value:.0f} ns"
    return f"{number(value / 1e3)} µs" if value < 1e6 else f"{number(value / 1e6)} ms"


def text_table(head, rows):
    """Aligned text; the first column to the left, the others to the right but the last."""
    everything = [head, *rows]
    widths = [max(len(line[column]) for line in everything) for column in range(len(head))]
    for line in everything:
        parts = [line[0].ljust(widths[0])]
        parts += [part.rjust(width) for part, width in zip(line[1:], widths[1:])]
        yield "  ".join(parts).rstrip()


def markdown_table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    for line in rows:
        yield "| " + " | ".join(line) + " |"


def ratio_rows(view):
    """The matrix of ratios: a line a case, a column a server. Servers that are there for one case
    only are told with that case."""
    peers = [peer for peer in view.peers if peer.only is None]
    head = ["CPU a message, ratio to raw epoll"] + [peer.title for peer in peers]
    rows = []
    for row in view.rows:
        line = [row.case.title]
        for peer in peers:
            found = row.condensed.get(peer.name)
            if found is None:
                line.append("–")
            elif found["ratio"] is None:
                line.append(time_ns(found["cpu_ns"]["median"]))
            else:
                line.append(f"{found['ratio']['median']:.2f}")
        rows.append(line)
    return head, rows


def case_rows(row, peers):
    """One case in full: a line a server."""
    head = ["server", f"CPU a {row.case.unit}", "ratio", "middle half", "rate a s", "p50", "p99",
            "p99.9", "server core", "load core", "waited for", "target"]
    rows = []
    waits = row.bottlenecks()
    for peer in peers:
        found = row.condensed.get(peer.name)
        if found is None:
            continue
        ratio = found["ratio"]
        times = [time_ns(found[key]["median"] * 1000) if found[key]["median"] else "–"
                 for key in ("p50_us", "p99_us", "p999_us")]
        aim = row.targets.get(peer.name)
        rows.append([
            peer.title, time_ns(found["cpu_ns"]["median"]),
            f"{ratio['median']:.3f}" if ratio else "–",
            f"{ratio['q25']:.3f}–{ratio['q75']:.3f}" if ratio else "–",
            number(found["rate"]["median"]), *times,
            f"{found['server_busy']['median']:.0%}", f"{found['load_busy']['median']:.0%}",
            waits[peer.name], f"≤ {aim['limit']:.2f}: {aim['word']}" if aim else ""])
    return head, rows


def place_sentence(case):
    """Where server and load of a case ran."""
    return {"shared": "server and load on one core",
            "split": "server on one core, load on another",
            "free": f"{case.loops} loop{'s' if case.loops > 1 else ''}, nobody pinned"}[case.cores]


def everywhere_absent(view):
    """Those who are missing from all cases for the same reason, which is then said once."""
    reasons = {}
    for row in view.rows:
        for name, why in row.measured["absent"].items():
            reasons.setdefault(name, []).append(why)
    return {name: whys[0] for name, whys in reasons.items()
            if len(set(whys)) == 1 and len(whys) == len(view.rows) > 1}


def absent_sentences(absent):
    for name, why in absent.items():
        yield f"{title_of(name)} is missing: {why.rstrip('.')}."


def row_notes(row, said=()):
    """What must be known of one case: who was left out and why, if that is not said already, and
    what went wrong."""
    yield from absent_sentences({name: why for name, why in row.measured["absent"].items()
                                 if name not in said})
    for name, found in row.condensed.items():
        if found["errors"]:
            yield f"{title_of(name)}: the load counted {found['errors']} errors."
    for name, share in row.measured.get("idle_share", {}).items():
        if share > LIMITS_NOTED["idle_share"]:
            yield f"{title_of(name)} used {share:.1%} of a core while nobody asked it anything."
    for name, rounds in row.measured["rounds"].items():
        still = sum(cell.figure(one, "cpu_ns") is None for one in rounds)
        if still:
            yield (f"{title_of(name)} moved nothing in {still} of {len(rounds)} slices, which do not "
                   "count.")
    for name, said in row.measured.get("said", {}).items():
        yield f"The load of {title_of(name)} said: {'; '.join(said[:3])}."
    if row.busy_with_others() > LIMITS_NOTED["waited"]:
        yield (f"Other programs had the cores for up to {row.busy_with_others():.0%} of the time: "
               "the machine was not quiet.")
    if row.measured.get("stolen_share", 0) > LIMITS_NOTED["stolen_share"]:
        yield (f"Other guests of the host took {row.measured['stolen_share']:.1%} of the machine's "
               "time meanwhile.")


def count_sentence(view):
    """How many targets came out how."""
    words = [found["word"].split()[0] for row in view.rows for found in row.targets.values()]
    words += [found["word"].split()[0] for _, found in view.cost_targets]
    counted = [(words.count(word), title) for word, title in
               (("met", "met"), ("tie", "within 2%"), ("missed", "missed"), ("not", "not measured"))]
    return "Of the targets " + ", ".join(f"{count} {title}" for count, title in counted if count) + "."


def target_sentences(view):
    """Every target with its verdict; how many of them came out how at the end."""
    for row in view.rows:
        for name, found in row.targets.items():
            ratio = f"{found['ratio']['median']:.3f}" if found["ratio"] else "–"
            base = "" if row.case.base == field.BASE else f" of {title_of(row.case.base)}"
            yield (f"{row.case.title}, {title_of(name)}: {ratio}{base}, "
                   f"target ≤ {found['limit']:.2f}: {found['word']}")
    for one, found in view.cost_targets:
        yield (f"{one['figure']}, {one['of']}: {plain(one['value'])} {one['unit']}, "
               f"target ≤ {plain(one['target'])}: {found['word']}")
    if view.cost_targets or any(row.targets for row in view.rows):
        yield count_sentence(view)


def ahead_sentences(view, kind):
    """Who of this kind is ahead of Peal's better engine, in which case and by which figures; first
    those that leave no doubt."""
    grouped = {}
    for one in view.ahead(kind):
        grouped.setdefault((one["case"], one["peer"], one["peal"]), []).append(one)
    for (case, peer, peal), found in sorted(grouped.items(), key=lambda item: not any(
            one["sure"] for one in item[1])):
        figures = [f"{one['figure']} by {one['behind']:.0%}" + ("" if one["sure"] else " (unsure)")
                   for one in found]
        paced = view.row(case).bottlenecks()[peer] == "load"
        paced = paced and any(one["figure"] != "CPU" for one in found)
        held = "; the load set the pace" if paced else ""
        yield (f"{case_title(case)}: {title_of(peer)} ahead of {title_of(peal)} in "
               f"{', '.join(figures)}{held}")


def cost_ahead_sentences(view):
    """The same of the other costs, hand-written code and libraries alike."""
    for one, best in view.costs_ahead:
        yield (f"{one['figure']}: {one['of']} {plain(one['value'])} {one['unit']}, "
               f"{best['of']} {plain(best['value'])}")


def growth_sentences(view):
    """Two figures that compare cases: 10,000 connections with 100, two loops with one."""
    condensed_of = {row.case.name: row.condensed for row in view.rows}
    grown = verdict.growth(condensed_of)
    if grown:
        yield ("CPU a message with 10,000 connections, as a multiple of that with 100: "
               + ", ".join(f"{title_of(name)} {ratio:.2f}" for name, ratio in grown.items()) + ".")
    scaled = verdict.scaling({row.case.name: row.measured for row in view.rows})
    if scaled:
        yield ("Rate of two loops, as a multiple of that of one: "
               + ", ".join(f"{title_of(name)} {ratio:.2f}" for name, ratio in scaled.items()) + ".")
        if view.results["machine"]["cores"] < 4:
            yield ("Two loops and two loads need four cores; on "
                   f"{view.results['machine']['cores']} the target of 1.8 cannot show.")


def none_or(sentences, none):
    found = list(sentences)
    return found or [none]


def micro_rows(results):
    """What the small programs measured: a line a figure, a column a library."""
    micro = results.get("micro") or []
    if not micro:
        return None
    of, figures, values = [], [], {}
    for one in micro:
        key = f"{one['figure']}, {one.get('unit', '')}".rstrip(", ")
        if one["of"] not in of:
            of.append(one["of"])
        if key not in figures:
            figures.append(key)
        values[key, one["of"]] = one["value"]
    rows = [[key] + [plain(values.get((key, name))) for name in of] for key in figures]
    return ["figure", *of], rows


def plain(value):
    """A figure of unknown kind."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value) if value != int(value) else f"{int(value):,}"
    return "–" if value is None else str(value)


def text(results):
    """All of it for a terminal."""
    view = View(results)
    lines = ["", "Peal beside its peers", ""]
    lines += list(machine.sentences(results["machine"])) + list(results["plan"]["sentences"])
    missing = everywhere_absent(view)
    lines += list(absent_sentences(missing))
    for row in view.rows:
        lines += ["", f"== {row.case.title} ({place_sentence(row.case)})"]
        lines += list(text_table(*case_rows(row, view.peers)))
        lines += [f"   {note}" for note in row_notes(row, missing)]
    lines += ["", "== All cases"] + list(text_table(*ratio_rows(view)))
    micro = micro_rows(results)
    if micro:
        lines += ["", "== Other costs"] + list(text_table(*micro))
    lines += ["", "== Comparisons of cases"]
    lines += none_or(growth_sentences(view), "The cases that would be compared were not measured.")
    lines += ["", "== Targets"]
    lines += none_or(target_sentences(view), "No case with a target was measured.")
    lines += ["", "== Peers ahead of Peal's better engine, by 2% or more"]
    lines += none_or(ahead_sentences(view, "peer"), "None.")
    lines += ["", "== Hand-written loops ahead of Peal's better engine, by 2% or more"]
    lines += none_or(ahead_sentences(view, "yardstick"), "None.")
    if micro:
        lines += ["", "== Other costs in which somebody is below Peal, by 2% or more"]
        lines += none_or(cost_ahead_sentences(view), "None.")
    lines += [f"Note: {note}" for note in results.get("notes", [])]
    return "\n".join(lines) + "\n"


def bullets(sentences):
    return [f"- {sentence}" for sentence in sentences]


def markdown(results, plots=()):
    """All of it for docs/performance.md."""
    view = View(results)
    lines = list(machine.sentences(results["machine"])) + list(results["plan"]["sentences"])
    missing = everywhere_absent(view)
    lines += list(absent_sentences(missing))
    lines += ["", "### All cases", "", *markdown_table(*ratio_rows(view)), ""]
    for path, what in plots:
        lines += [f"![{what}]({path})", ""]
    lines += ["### Targets", ""]
    lines += bullets(none_or(target_sentences(view), "No case with a target was measured."))
    lines += ["", "### Where a peer is ahead of Peal's better engine, by 2% or more", ""]
    lines += bullets(none_or(ahead_sentences(view, "peer"), "Nowhere."))
    lines += ["", "### Where a hand-written loop is ahead of it", ""]
    lines += bullets(none_or(ahead_sentences(view, "yardstick"), "Nowhere."))
    lines += ["", "### From case to case", ""]
    lines += bullets(none_or(growth_sentences(view), "The cases were not measured."))
    micro = micro_rows(results)
    if micro:
        lines += ["", "### Other costs", "", *markdown_table(*micro), "",
                  "Where somebody is below Peal in these, by 2% or more:", ""]
        lines += bullets(none_or(cost_ahead_sentences(view), "Nowhere."))
    lines += ["", "### Each case in full"]
    for row in view.rows:
        lines += ["", f"**{row.case.title}** ({place_sentence(row.case)})", ""]
        lines += list(markdown_table(*case_rows(row, view.peers)))
        notes = bullets(row_notes(row, missing))
        lines += [""] * bool(notes) + notes
    notes = bullets(results.get("notes", []))
    lines += ["", "### Notes", "", *notes] if notes else []
    return "\n".join(lines) + "\n"
