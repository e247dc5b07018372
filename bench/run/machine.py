# SPDX-License-Identifier: BSD-2-Clause
"""Where and with what a run was made: a figure without this is a rumour."""
import datetime
import os
import platform
import subprocess

import processes


def output(*command):
    """The first line that a command prints, or ""."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else ""


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def cpu_model():
    for line in read("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Model", "Hardware")):
            return line.partition(":")[2].strip()
    return platform.machine()


def distribution():
    for line in read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return ""


def memory_gib():
    for line in read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20, 1)
    return 0.0


def version_of(peer, programs):
    """What the server itself says of its library, else what the packages say."""
    try:
        said = output(programs.path(peer.program), "--version")
    except processes.Unable:
        said = ""
    if said:
        return said
    for package in peer.packages:
        found = output("dpkg-query", "-W", "-f", "${Version}\n", package)
        if found:
            return f"{package} {found}"
    return ""


def describe(peers, programs, cores, root):
    """What goes into the JSON and above every table."""
    dirty = "" if not output("git", "-C", root, "status", "--porcelain", "-uno") else ", changed"
    commit = output("git", "-C", root, "rev-parse", "--short=12", "HEAD")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(), "cores": len(cores.all), "server_cpu": cores.server,
        "load_cpu": cores.load, "memory_gib": memory_gib(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "distribution": distribution(), "compiler": output("cc", "--version"),
        "virtual": "hypervisor" in read("/proc/cpuinfo"),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average_before": round(os.getloadavg()[0], 2),
        "commit": commit + dirty,
        "versions": {peer.name: version_of(peer, programs) for peer in peers},
    }


def sentences(found):
    """The description for people."""
    kind = ", a virtual machine" if found["virtual"] else ""
    governor = f", governor {found['governor']}" if found["governor"] else ""
    yield (f"{found['date']}, Peal at {found['commit'] or 'an unknown commit'}; {found['cpu']}, "
           f"{found['cores']} cores{kind}{governor}, {found['memory_gib']} GiB; {found['kernel']}, "
           f"{found['distribution']}; {found['compiler']}.")
    versions = [version for version in dict.fromkeys(found["versions"].values()) if version]
    yield "Libraries: " + ", ".join(versions) + "."
    if found["load_average_before"] > 0.5:
        yield (f"The machine was not quiet when the run began: its load average was "
               f"{found['load_average_before']}.")
