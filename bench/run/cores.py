# SPDX-License-Identifier: BSD-2-Clause
"""Which core is whose.

The server gets the last core that the runner may use, the load the first that is not a sibling of
the server's (two threads of one core would measure each other). The runner itself stays with the
load: it sleeps while a slice runs.
"""
import os


def siblings(cpu):
    """The hardware threads that share a core with this one, itself included."""
    path = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    found = {cpu}
    try:
        with open(path, encoding="ascii") as file:
            for part in file.read().strip().split(","):
                low, _, high = part.partition("-")
                found |= set(range(int(low), int(high or low) + 1))
    except (OSError, ValueError):
        pass
    return found


class Cores:
    """The cores of the server, of the load, and all."""

    def __init__(self, usable=None, siblings_of=siblings):
        self.all = sorted(os.sched_getaffinity(0) if usable is None else usable)
        self.server = self.all[-1]
        others = [cpu for cpu in self.all if cpu not in siblings_of(self.server)]
        self.load = others[0] if others else None

    def sets(self, where):
        """The sets of cores for server and load of a case; None where this machine has too few."""
        if where == "free":
            return set(self.all), set(self.all)
        if where == "shared":
            return {self.server}, {self.server}
        if self.load is None:
            return None
        return {self.server}, {self.load}

    def sentence(self):
        if self.load is None:
            return f"One core only (cpu {self.server}): cases that need two are left out."
        return (f"{len(self.all)} cores; servers run on cpu {self.server}, "
                f"the load on cpu {self.load}.")


def stolen_ticks():
    """What other guests took from this machine so far, in ticks of all cores."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = file.readline().split()
    return int(fields[8]) if len(fields) > 8 else 0
