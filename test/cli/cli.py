# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the program share: starting it, talking to it, and TAP.

    with cli.Server("echo", "--threads", "2") as server:
        with server.connect() as peer:
            ...
    # left with SIGTERM; server.output is what it printed, server.status its exit code

Every wait has a deadline that only guards against hanging. Run a test file by itself with
PEAL=build/peal python3 test/cli/test_servers.py [CASE...].
"""
import functools
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PEAL = os.environ.get("PEAL", os.path.join(ROOT, "build", "peal"))
PATIENCE_S = 60


def run(*args, **options):
    """The program's end: status, stdout, stderr as text."""
    done = subprocess.run([PEAL, *args], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=PATIENCE_S * 2, check=False, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@functools.cache
def sanitizer():
    """That the program was built with: "address", "thread" or ""."""
    libraries = subprocess.run(["ldd", PEAL], capture_output=True, text=True, check=False).stdout
    return "address" if "libasan" in libraries else "thread" if "libtsan" in libraries else ""


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.01)


def read_all(peer):
    """All until the end of the stream."""
    parts = []
    while True:
        part = peer.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_exactly(peer, size):
    data = bytearray()
    while len(data) < size:
        part = peer.recv(min(65536, size - len(data)))
        if not part:
            raise AssertionError(f"the stream ended after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


class Server:
    """A server of the program, on ports of the kernel's choice unless listen says otherwise. fds
    is how many it may have open; without it as many as we may."""

    def __init__(self, service, *args, listen=("127.0.0.1:0",), fds=None):
        self.folder = tempfile.mkdtemp(prefix="peal-cli-")
        self.port_file = os.path.join(self.folder, "ports")
        self.log = open(os.path.join(self.folder, "log"), "w+b")
        command = [PEAL, service, "--port-file", self.port_file, *args]
        for address in listen:
            command += ["--listen", address]
        self.output = ""
        self.status = None
        self.expected_status = 0

        def limit_fds():
            if fds is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (fds, fds))
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT, preexec_fn=limit_fds)
        try:
            wait_until(lambda: os.path.exists(self.port_file) or self.process.poll() is not None,
                       "the port file")
        except AssertionError:
            self.process.kill()
            raise
        if self.process.poll() is not None:
            raise AssertionError(f"{service} ended at once: {self.read_log()}")
        with open(self.port_file, encoding="utf-8") as file:
            self.places = file.read().splitlines()

    def read_log(self):
        self.log.flush()
        with open(self.log.name, "rb") as file:
            return file.read().decode()

    @property
    def port(self):
        return int(self.places[0])

    def connect(self, receive_buffer=None):
        peer = socket.socket()
        peer.settimeout(PATIENCE_S)
        if receive_buffer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.connect(("127.0.0.1", self.port))
        return peer

    def signal(self, number):
        self.process.send_signal(number)

    def wait_for_output(self, text):
        wait_until(lambda: text in self.read_log(), f'"{text}" in the output')

    def rss_bytes(self):
        """What it holds; 0 with the thread sanitizer, which holds several times as much itself."""
        if sanitizer() == "thread":
            return 0
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def limit_fds(self, free):
        """Lets it open so many more than it has open now. A ring that accepts already keeps the
        limit that was there."""
        in_use = {int(name) for name in os.listdir(f"/proc/{self.process.pid}/fd")}
        limit, left = 0, free
        while left > 0 or limit <= max(in_use):
            left -= limit not in in_use
            limit += 1
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (limit, hard))

    def wait(self):
        """Waits for its end; the output and the exit code."""
        if self.status is None:
            self.status = self.process.wait(PATIENCE_S)
            self.output = self.read_log()
        return self.output, self.status

    def stop(self):
        if self.status is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.log.close()
            shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None and self.status != self.expected_status:
            raise AssertionError(f"the server ended with {self.status}: {self.output}")


class TapResult(unittest.TestResult):
    """A line for each case."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def tell(self, test, good, after="", details=""):
        self.number += 1
        print(f"{'ok' if good else 'not ok'} {self.number} - {test.id().split('.', 1)[1]}{after}")
        for line in details.splitlines():
            print(f"# {line}")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.tell(test, True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.tell(test, True, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(test, False, details=self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.tell(test, False, details=self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            known = self.failures if issubclass(err[0], test.failureException) else self.errors
            self.tell(subtest, False, details=known[-1][1])


def main():
    """In place of unittest.main: TAP, and names of cases as arguments."""
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    cases = loader.loadTestsFromNames(sys.argv[1:], module) if len(sys.argv) > 1 else \
        loader.loadTestsFromModule(module)
    print(f"1..{cases.countTestCases()}")
    result = TapResult()
    cases.run(result)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
