# SPDX-License-Identifier: BSD-2-Clause
"""Servers and loads as processes: starting, pinning, asking, reading their CPU time, ending.

Only what was started here is ever ended, by its process id. A child is killed by the kernel when
its parent dies, however that happens (PR_SET_PDEATHSIG), and Children ends all of its own when its
block is left. Children have a session of their own, so that Ctrl-C reaches the runner alone, which
then ends them in order.

CPU time is the sum of what the kernel counts for each thread of a process, in nanoseconds
(/proc/PID/task/TID/schedstat; threads that the kernel itself added for io_uring are among them).
Where that file is missing, /proc/PID/stat has it in ticks, which is too coarse for a short slice,
and the runner says so.
"""
import ctypes
import json
import os
import select
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
UNSUPPORTED = 3
START_TIMEOUT_S = 20
LOAD_TIMEOUT_S = 60
END_TIMEOUT_S = 5
LIBC = ctypes.CDLL(None, use_errno=True)


class Unable(Exception):
    """A server or a load cannot do what it was asked for; the text says why, for people."""


def times_ns(pid):
    """The CPU time of all threads of a process so far, and the time they stood in line for a core
    that others had."""
    ran, waited = 0, 0
    folder = f"/proc/{pid}/task"
    for task in os.listdir(folder):
        try:
            with open(f"{folder}/{task}/schedstat", encoding="ascii") as file:
                words = file.read().split()
                ran += int(words[0])
                waited += int(words[1])
        except FileNotFoundError:
            if os.path.exists(f"{folder}/{task}"):
                return cpu_ns_of_stat(pid), 0
    return ran, waited


def cpu_ns(pid):
    return times_ns(pid)[0]


def cpu_ns_of_stat(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def has_schedstat():
    return os.path.exists(f"/proc/self/task/{os.getpid()}/schedstat")


def waits_with(pid):
    """What a process waits with, by its fds: "io_uring", "epoll", or "" where that cannot be told."""
    kinds = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            kinds.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    except OSError:
        return ""
    if "anon_inode:[io_uring]" in kinds:
        return "io_uring"
    return "epoll" if "anon_inode:[eventpoll]" in kinds else ""


class Child:
    """One process; its output comes line by line, with a deadline."""

    def __init__(self, name, command, cpus, env):
        self.name, self.buffer = name, b""

        def prepare():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.sched_setaffinity(0, cpus)

        try:
            # The end of the runner must not leave servers behind, hence preexec_fn; the runner has
            # one thread, so it is safe.
            self.process = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, **env}, preexec_fn=prepare, start_new_session=True)
        except OSError as error:
            raise Unable(f"{name} cannot be started: {error.strerror}") from error
        self.pid = self.process.pid
        # The error output may be long where nobody reads it; it must not stop the child.
        os.set_blocking(self.process.stderr.fileno(), False)
        self.said = b""

    def listen_to_errors(self):
        try:
            self.said = (self.said + (self.process.stderr.read() or b""))[-4000:]
        except (OSError, ValueError):
            pass
        return self.said.decode(errors="replace").strip()

    def line(self, timeout_s):
        """The next line of output. Unable if there is none in time or the process has ended."""
        end = time.monotonic() + timeout_s
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0:
                raise Unable(f"{self.name} said nothing for {timeout_s:.0f} s")
            if select.select([self.process.stdout], [], [], min(left, 1.0))[0]:
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    raise Unable(self.why_ended())
                self.buffer += piece
            self.listen_to_errors()
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode(errors="replace").strip()

    def say(self, text):
        try:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Unable(self.why_ended()) from error

    def why_ended(self):
        try:
            status = self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"{self.name} closed its output and goes on"
        said = self.listen_to_errors().splitlines()
        sentence = said[-1] if said else "it did not say why"
        if status == UNSUPPORTED:
            return f"not supported: {sentence}"
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"{self.name} ended ({how}): {sentence}"

    def ended_well(self):
        """Whether it has ended by itself, and with status 0."""
        return self.process.poll() == 0

    def alive(self):
        return self.process.poll() is None

    def ask_to_end(self):
        if self.alive():
            self.process.terminate()

    def end(self, timeout_s=END_TIMEOUT_S):
        """Waits for the end, and makes sure of it."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                pipe.close()
            except OSError:
                pass


class Children:
    """Everything started within a block, ended when it is left."""

    def __init__(self):
        self.all = []

    def start(self, name, command, cpus, env=None):
        child = Child(name, command, cpus, env or {})
        self.all.append(child)
        return child

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for child in reversed(self.all):
            child.ask_to_end()
        end = time.monotonic() + END_TIMEOUT_S
        for child in reversed(self.all):
            child.end(max(end - time.monotonic(), 0.01))
        self.all.clear()


def ready_port(server):
    """The port of a server that has begun."""
    words = server.line(START_TIMEOUT_S).split()
    if len(words) != 2 or words[0] != "ready" or not words[1].isdigit():
        raise Unable(f"{server.name} said \"{' '.join(words)}\" instead of \"ready PORT\"")
    return int(words[1])


def answer(load, seconds):
    """What a load says of the run that it was asked for."""
    end = time.monotonic() + LOAD_TIMEOUT_S + 4 * seconds
    while True:
        line = load.line(max(end - time.monotonic(), 0.01))
        if line.startswith("{"):
            break
    try:
        found = json.loads(line)
        return {"messages": int(found["messages"]), "bytes": int(found["bytes"]),
                "seconds": float(found["seconds"]), "cpu_ns": 1000 * int(found.get("cpu_us", 0)),
                "p50_us": float(found.get("p50_us") or 0), "p99_us": float(found.get("p99_us") or 0),
                "p999_us": float(found.get("p999_us") or 0), "errors": found.get("errors", 0),
                "error": str(found.get("error") or "")}
    except (ValueError, KeyError, TypeError) as error:
        raise Unable(f"{load.name} answered what is no figure: {line[:200]}") from error
