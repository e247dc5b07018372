# SPDX-License-Identifier: BSD-2-Clause
"""Three pictures, drawn by gnuplot:

  cost.png         every case: the CPU time of a message, beside raw epoll, with its spread
  connections.png  the CPU time of a message as connections grow
  latency.png      p50, p99 and p99.9 where server and load are on a core each

Colours are from a palette that colour-blind people can tell apart; yardsticks are grey, and Peal's
marks are filled, so that the pictures can be read in print as well.
"""
import os
import subprocess

import field
import report

# colour, point type
MARKS = {
    "raw-gather": ("#777777", 3),
    "raw-epoll": ("#555555", 2), "raw-uring": ("#999999", 1), "libev": ("#0072B2", 8),
    "libuv-try": ("#CC79A7", 4), "libuv-write": ("#882255", 6), "libevent": ("#E69F00", 10),
    "asio": ("#56B4E9", 12), "peal-epoll": ("#009E73", 7), "peal-uring": ("#D55E00", 5),
    "peal-epoll-spin": ("#66C2A5", 9), "peal-uring-spin": ("#F0A070", 11),
}
GROWTH = ("echo-100", "echo-1000", "echo-10000")
LATENCY = ("echo-1", "echo-100", "echo-1000", "frames")


class Drawn:
    """What came of it: the files as (path, what it shows), and sentences for the terminal."""

    def __init__(self):
        self.files, self.sentences = [], []


def style(name):
    colour, mark = MARKS[name]
    size = 1.5 if name.startswith("peal") else 1.25
    return f'lc rgb "{colour}" pt {mark} ps {size} lw 2'


def quoted(text):
    """A string of gnuplot's, in which underscores are no subscripts."""
    return '"' + text.replace('"', "'").replace("_", "\\\\_") + '"'


def header(path, width, height):
    return [f'set terminal pngcairo size {width},{height} font "DejaVu Sans,11" background "#ffffff"',
            f"set output '{path}'", "set encoding utf8",
            'set border 3 lc rgb "#888888"', 'set tics nomirror textcolor rgb "#222222"',
            'set grid lc rgb "#dddddd" lt 1 lw 1']


def block(name, lines):
    return [f"${name} << EOD", *lines, "EOD"]


def subtitle(results):
    found = results["machine"]
    return f"{found['cpu']}, {found['cores']} cores, {found['kernel']}, {found['date']}"


def name_of(peer):
    return "p_" + peer.name.replace("-", "_")


def cost_script(view, path):
    """A panel a case: a bar a server from zero, its middle half as a line, its ratio beside it. Each
    panel has a scale of its own, because one for all would hide the small differences."""
    rows = [row for row in view.rows if row.condensed]
    if not rows:
        return None
    across = min(len(rows), 3)
    down = (len(rows) + across - 1) // across
    lines = header(path, 520 * across, 90 + 262 * down)
    lines.append(f"set multiplot layout {down},{across} title " + quoted(
        "CPU time of the server a message (less is better); the number is the ratio to raw epoll"
        "\\n{/*0.8 " + subtitle(view.results) + "}"))
    lines += ["unset key", "unset grid", 'set grid x lc rgb "#dddddd" lt 1', "set errorbars 0",
              "set style fill solid 0.85 noborder"]
    for index, row in enumerate(rows):
        lines += cost_panel(row, [peer for peer in view.peers if peer.name in row.condensed], index)
    return lines + ["unset multiplot"]


def cost_panel(row, there, index):
    """One case."""
    largest = max(found["cpu_ns"]["q75"] for found in row.condensed.values())
    factor, unit = (1, "ns") if largest < 2000 else (1000, "µs")
    lines, names, parts, labels = [], [], [], []
    for place, peer in enumerate(there):
        found, height = row.condensed[peer.name], len(there) - place
        names.append(f"{quoted(peer.title)} {height}")
        median, low, high = (found["cpu_ns"][key] / factor for key in ("median", "q25", "q75"))
        name = f"{name_of(peer)}_{index}"
        lines += block(name, [f"{median} {height} {low} {high}"])
        parts += [f"${name} using (0):2:(0):1:($2-0.36):($2+0.36) with boxxyerror "
                  f'lc rgb "{MARKS[peer.name][0]}"',
                  f'${name} using 1:2:3:4 with xerrorbars lc rgb "#222222" lw 1.5 pt 0 ps 0']
        if found["ratio"]:
            labels.append(f"set label {quoted(ratio_word(found['ratio']['median']))} at "
                          f"{high + largest / factor * 0.03},{height} left font ',10'")
    return lines + ["unset label", *labels, f"set title {quoted(row.case.title)}",
                    f"set xlabel {quoted(unit + ' per ' + row.case.unit)} offset 0,0.4",
                    "set ytics (" + ", ".join(names) + ")",
                    f"set yrange [0.4:{len(there) + 0.6}]",
                    f"set xrange [0:{largest / factor * 1.2}]", "plot " + ", \\\n  ".join(parts)]


def ratio_word(ratio):
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def connections_script(view, path):
    """Connections to the right, time of a message upwards, both logarithmic."""
    rows = [row for row in (view.row(name) for name in GROWTH) if row]
    if len(rows) < 2:
        return None
    lines, parts = header(path, 1000, 620), []
    for peer in view.peers:
        data = [f"{row.case.conns} {row.condensed[peer.name]['cpu_ns']['median'] / 1000}"
                for row in rows if peer.name in row.condensed]
        if data:
            lines += block(name_of(peer), data)
            parts.append(f"${name_of(peer)} using 1:2 with linespoints title {quoted(peer.title)} "
                         f"{style(peer.name)}")
    if not parts:
        return None
    tics = ", ".join(f'"{row.case.conns:,}" {row.case.conns}' for row in rows)
    return lines + [
        "set title " + quoted("CPU time of the server for a message of 64 bytes (less is better)"
                              "\\n{/*0.8 " + subtitle(view.results) + "}"),
        "set logscale x", f"set xtics ({tics})",
        f"set xrange [{rows[0].case.conns * 0.8}:{rows[-1].case.conns * 1.25}]", 'set xlabel "connections, logarithmic"',
        'set ylabel "µs per message"', "set yrange [0:*]",
        "set key outside right top Left reverse samplen 2 spacing 1.3",
        "plot " + ", \\\n  ".join(parts)]


def latency_script(view, path):
    """A panel a case: servers downwards, time to the right; p50, p99, p99.9 on one line."""
    rows = [row for row in (view.row(name) for name in LATENCY)
            if row and any(found["p50_us"]["median"] for found in row.condensed.values())]
    if not rows:
        return None
    across = min(len(rows), 2)
    down = (len(rows) + 1) // 2
    lines = header(path, 620 * across, 110 + 330 * down)
    lines.append(f"set multiplot layout {down},{across} title " + quoted(
        "Latency: p50, p99 and p99.9 of each server, medians of the slices (less is better)\\n{/*0.8 "
        + subtitle(view.results) + "}"))
    lines += ["set logscale x", 'set xlabel "µs, logarithmic"', "unset key",
              "unset grid", 'set grid x lc rgb "#dddddd" lt 1']
    for index, row in enumerate(rows):
        there = [peer for peer in view.peers if peer.name in row.condensed]
        names, parts = [], []
        for place, peer in enumerate(there):
            found = row.condensed[peer.name]
            height = len(there) - place
            names.append(f"{quoted(peer.title)} {height}")
            times = [max(found[key]["median"], 0.1) for key in ("p50_us", "p99_us", "p999_us")]
            name = f"{name_of(peer)}_{index}"
            lines += block(name, [f"{time} {height}" for time in times])
            parts.append(f"${name} using 1:2 with linespoints {style(peer.name)}")
        low, high = spread_of(row)
        lines += [f"set title {quoted(row.case.title)}", "set ytics (" + ", ".join(names) + ")",
                  f"set yrange [0.4:{len(there) + 0.6}]", f"set xrange [{low}:{high}]",
                  "set xtics (" + ", ".join(f'"{tic:,}" {tic}' for tic in ticks(low, high)) + ")",
                  "plot " + ", \\\n  ".join(parts)]
    return lines + ["unset multiplot"]


def spread_of(row):
    """The range of a case's latencies, with a margin."""
    times = [max(found[key]["median"], 0.1) for found in row.condensed.values()
             for key in ("p50_us", "p99_us", "p999_us")]
    return min(times) * 0.8, max(times) * 1.25


def ticks(low, high):
    """Round numbers between two others, three to five of them where that can be."""
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.2, 1.4, 1.7, 2, 2.4, 3)):
        found = [factor * 10 ** power for power in range(7) for factor in factors]
        found = [int(tic) if tic == int(tic) else tic for tic in found if low <= tic <= high]
        if len(found) >= 3:
            break
    return found


PICTURES = (
    ("cost.png", "CPU time a message in every case, beside raw epoll", cost_script),
    ("connections.png", "CPU time a message as connections grow", connections_script),
    ("latency.png", "Latency of each server", latency_script),
)


def draw(results, folder):
    """Draws what there are figures for."""
    drawn = Drawn()
    view = report.View(results)
    for name, what, script_of in PICTURES:
        path = os.path.join(folder, name)
        script = script_of(view, path)
        if script is None:
            continue
        try:
            done = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True,
                                  capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            drawn.sentences.append(f"No plots: gnuplot cannot be run ({error}).")
            return drawn
        if done.returncode != 0:
            drawn.sentences.append(f"No {name}: gnuplot says {done.stderr.strip()[-300:]}")
            continue
        drawn.files.append((path, what))
    if drawn.files:
        drawn.sentences.append("Plots: " + ", ".join(path for path, _ in drawn.files))
    return drawn
