# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of examples/adapters share: running a program that is built only where its library
is there."""
import os
import subprocess
import unittest

from program import cli

FOLDER = os.path.join(os.path.dirname(os.path.abspath(cli.PEAL)), "examples", "adapters")


def command(name, *args):
    path = os.path.join(FOLDER, name)
    if not os.access(path, os.X_OK):
        raise unittest.SkipTest(f"{name} was not built: its library was missing")
    return [path, *args]


def run(name, *args, text=""):
    """Its end: status, stdout, stderr as text."""
    done = subprocess.run(command(name, *args), input=text.encode(), capture_output=True,
                          timeout=cli.PATIENCE_S * 2, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()
