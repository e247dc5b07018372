#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The direction of every include: a folder includes only from itself and from those below it.

The table is the one in STYLE.md. Public headers have a layer too, that of the code behind them.
"""
import os
import re

from common import ROOT, files, finding, finish, text_of, without_comments

# From the bottom up.
LAYERS = ["sys", "base", "loop", "net", "sim"]
PUBLIC = {
    "base": "addr base blob buf codec error log version",
    "loop": "close loop pool signal stats timer watch",
    "net": "client conn refs resolver serve server",
    "sim": "sim",
}
HEADER_LAYER = {header: layer for layer, headers in PUBLIC.items() for header in headers.split()}


def layer_of_include(path, number, target, quoted):
    """The layer that an include reaches, or None if it reaches none of ours."""
    match = re.fullmatch(r"peal/(\w+)\.h", target)
    if match:
        layer = HEADER_LAYER.get(match.group(1))
        if layer is None:
            finding(path, number, f"<{target}> is in no layer; add it to PUBLIC in "
                    "scripts/check-layers.py.")
        return layer
    if target == "peal.h":
        return LAYERS[-1]
    if quoted:
        folder = target.split("/")[0]
        if "/" not in target or folder not in LAYERS:
            finding(path, number, f'"{target}" must be written from src/, as "layer/file.h".')
            return None
        return folder
    return None


def check_inside(path, layer, includes):
    for number, target, quoted in includes:
        reached = layer_of_include(path, number, target, quoted)
        if reached and LAYERS.index(reached) > LAYERS.index(layer):
            finding(path, number, f"{layer} lies below {reached} and must not include {target}; "
                    "move the code up, or hand it a callback.")


def check_listed(path):
    """A file that its folder's meson.build does not list is compiled by nobody."""
    folder = os.path.dirname(path)
    build = text_of(f"{folder}/meson.build")
    if path.endswith(".c") and f"'{os.path.basename(path)}'" not in build and "'*.c'" not in build:
        finding(path, 1, f"{folder}/meson.build does not list the file; add it.")


def check_user(path, includes):
    for number, target, quoted in includes:
        inside = target.split("/")[0] in LAYERS and not target.startswith("sys/")
        own = [os.path.dirname(path), path.split(os.sep)[0], "tools/frame"]
        if quoted and any(os.path.exists(os.path.join(ROOT, folder, target)) for folder in own):
            continue
        if inside or (quoted and not target.startswith("peal")):
            finding(path, number, f"programs use the public headers only; {target} is inside.")


for name in files(".c", ".h", folders=("include", "src", "tools", "examples")):
    found = []
    for index, text in enumerate(without_comments(text_of(name)).splitlines(), 1):
        hit = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', text)
        if hit:
            found.append((index, hit.group(2), hit.group(1) == '"'))
    parts = name.split(os.sep)
    if parts[0] == "src":
        if parts[1] in LAYERS:
            check_inside(name, parts[1], found)
            check_listed(name)
        else:
            finding(name, 1, "the folder is in no layer; add it to LAYERS in scripts/check-layers.py.")
    elif parts[0] == "include" and parts[-1] != "peal.h":
        own = HEADER_LAYER.get(parts[-1][:-2])
        if own is None:
            finding(name, 1, "the header is in no layer; add it to PUBLIC in scripts/check-layers.py.")
        else:
            check_inside(name, own, found)
    elif parts[0] != "include":
        check_user(name, found)
finish()
