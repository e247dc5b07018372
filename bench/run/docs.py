# SPDX-License-Identifier: BSD-2-Clause
"""Puts the results into docs/performance.md, between two marks, and the plots beside it. All else
in that file is written by people and stays."""
import os
import shutil

import processes
import report

PATH = os.path.join("docs", "performance.md")
PLOTS = os.path.join("docs", "performance")
BEGIN = "<!-- bench/run --write-docs: results begin -->"
END = "<!-- bench/run --write-docs: results end -->"


def replaced(text, block):
    """The document with the block between its marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise processes.Unable(f"{PATH} must have the lines '{BEGIN}' and '{END}' once each")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{block.strip()}\n\n{END}{after}"


def write(results, plots, root):
    """A sentence that says what was written."""
    path = os.path.join(root, PATH)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise processes.Unable(f"{path} cannot be read: {error.strerror}") from error
    links = [(f"performance/{os.path.basename(plot)}", what) for plot, what in plots]
    text = replaced(text, report.markdown(results, links))
    os.makedirs(os.path.join(root, PLOTS), exist_ok=True)
    for plot, _ in plots:
        shutil.copy(plot, os.path.join(root, PLOTS))
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return f"Written: {PATH}" + (f", {len(plots)} plots in {PLOTS}" if plots else "")
