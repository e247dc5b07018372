# SPDX-License-Identifier: BSD-2-Clause
"""A mistake on the command line that is taken for a default, or answered without a sentence."""
import glob
import os
import re
import unittest

import cli

SERVICES = ("echo", "discard", "chargen", "daytime", "time")
MISTAKES = (
    # command line, what the sentence says
    (["nonsense"], 'no command "nonsense"'),
    (["echo", "--nonsense"], "no option --nonsense"),
    (["echo", "--thread", "2"], "is --threads meant?"),
    (["echo", "-x"], "no option -x"),
    (["echo", "--"  , "word"], '"word" is one argument too many'),
    (["echo", "word"], '"word" is one argument too many'),
    (["echo", "--threads"], "--threads needs a value"),
    (["echo", "--threads", "0"], "not a whole number from 1 to 1024"),
    (["echo", "--threads=1025"], "not a whole number from 1 to 1024"),
    (["echo", "--threads", "2x"], "not a whole number"),
    (["echo", "--threads", "-1"], "not a whole number"),
    (["echo", "--threads", " 1"], "not a whole number"),
    (["echo", "--threads", ""], "not a whole number"),
    (["echo", "--max-conns", "99999999999999999999999"], "not a whole number of 1 or more"),
    (["echo", "--verbose=yes"], "--verbose takes no value"),
    (["echo", "--idle", "0"], "not a time"),
    (["echo", "--idle", "1."], "not a time"),
    (["echo", "--idle", "0.0001"], "not a time"),
    (["echo", "--idle", "5s"], "not a time"),
    (["echo", "--idle", "99999999"], "not a time"),
    (["echo", "--engine", "kqueue"], "none of: epoll"),
    (["echo", "--balance", "best"], "none of: round-robin least reuseport"),
    (["echo", "--port-file", ""], "must not be empty"),
    (["echo", "--listen", "127.0.0.1"], "--listen 127.0.0.1: "),
    (["echo", "--listen", "127.0.0.1:70000"], "--listen 127.0.0.1:70000: "),
    (["echo", "--listen", "127.0.0.01:80"], "--listen 127.0.0.01:80: "),
    (["echo", "--listen", ""], "--listen : "),
    (["load"], "one mode is needed"),
    (["load", "pingpong"], "--connect ADDRESS is needed"),
    (["load", "hurry", "--connect", "127.0.0.1:1"], '"hurry" is no mode'),
    (["load", "pingpong", "churn", "--connect", "127.0.0.1:1"], "one mode is needed"),
    (["load", "pingpong", "--connect", "nowhere"], "--connect nowhere: "),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--size", "0"], "not a size"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--size", "1Q"], "not a size"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--size", "99999999999999999G"],
     "not a size"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--depth", "2"], "goes with pipeline only"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--end", "fin"], "goes with churn only"),
    (["load", "churn", "--connect", "127.0.0.1:1", "--end", "bang"], "none of: fin rst"),
    (["load", "pipeline", "--connect", "127.0.0.1:1", "--depth", "60000", "--size", "1M"],
     "over 128 MiB"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--rate", "0"], "not a whole number from 1"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--rate", "10/s"], "not a whole number"),
    (["load", "idle", "--connect", "127.0.0.1:1", "--rate", "10"], "idle sends nothing"),
    (["load", "idle", "--connect", "127.0.0.1:1", "--ramp", "5"], "not shorter than --seconds 5"),
    (["load", "idle", "--connect", "127.0.0.1:1", "--ramp", "0"], "not a time"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--plot=x.jpg"], "does not end in .png"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--plot=.png"], "does not end in .png"),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--plot", "x.jpg"],
     '"x.jpg" is one argument too many'),
    (["load", "pingpong", "--connect", "127.0.0.1:1", "--plot", "--json"], "--json allows nothing"),
    (["load", "idle", "--connect", "127.0.0.1:1", "--plot"], "idle sends nothing"),
    (["load", "idle", "--connect", "127.0.0.1:1", "--csv"], "--csv needs a value"),
    (["load", "idle", "--connect", "127.0.0.1:1", "--csv", ""], "must not be empty"),
    (["demo", "--only", "nonsense"], 'no scenario "nonsense"'),
    (["demo", "--scale", "0"], "not a number from 0.01 to 100"),
    (["demo", "--scale", "1x"], "not a number"),
    (["demo", "--scale", "nan"], "not a number"),
)


class Mistakes(unittest.TestCase):
    """One case for each is added below."""


def add_mistake(number, argv, says):
    def case(self):
        status, out, err = cli.run(*argv)
        self.assertEqual(status, 2, err)
        self.assertIn(says, err)
        self.assertEqual(out, "")
    setattr(Mistakes, f"test_{number:02} " + " ".join(argv), case)


for index, mistake in enumerate(MISTAKES):
    add_mistake(index, *mistake)


class Help(unittest.TestCase):
    def test_help_of_the_program(self):
        for argv in (["help"], ["--help"], ["-h"]):
            status, out, err = cli.run(*argv)
            self.assertEqual((status, err), (0, ""))
            for name in SERVICES + ("demo", "load"):
                self.assertIn(f"  {name} ", out)

    def test_help_of_the_program_lists_what_examples_has(self):
        built = {side: {os.path.basename(os.path.dirname(path)) for path in
                        glob.glob(os.path.join(cli.ROOT, "examples", "*", f"{side}.c"))}
                 for side in ("server", "client")}
        told = re.findall(r"^  (\w+) +(\+?) ", cli.run("help")[1].split("muduo has them")[1], re.M)
        self.assertEqual({name for name, _ in told}, built["server"])
        self.assertEqual({name for name, plus in told if plus}, built["client"])

    def test_no_command_prints_usage_as_a_mistake(self):
        status, out, err = cli.run()
        self.assertEqual((status, out), (2, ""))
        self.assertIn("usage: peal", err)

    def test_help_of_each_command(self):
        programs = re.findall(r"^  (\w+) +(\+?) ", cli.run("help")[1], re.M)
        clients = [name + "-client" for name, plus in programs if plus]
        commands = {name for name, _ in programs} - {"help", "version"}
        self.assertGreater(len(clients), 5)
        for name in sorted(commands) + clients:
            for word in ("--help", "-h"):
                status, out, err = cli.run(name, word)
                self.assertEqual((status, err), (0, ""))
                self.assertTrue(out.startswith(f"usage: peal {name} "), out)

    def test_help_of_servers_names_the_default_address(self):
        for name, port in zip(SERVICES, (2007, 2009, 2019, 2013, 2037)):
            self.assertIn(f"(127.0.0.1:{port})", cli.run(name, "--help")[1])

    def test_version(self):
        for word in ("version", "--version"):
            status, out, err = cli.run(word)
            self.assertEqual((status, err), (0, ""))
            self.assertRegex(out, r"^peal \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    cli.main()
