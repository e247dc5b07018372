#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""If this broke, a system call that fails in a running server would crash it, make it spin, or leak a descriptor.

`peal echo` runs under strace, which makes system calls fail: every third call of one kind, with one error. Meanwhile raw clients send
and read; some of them may lose their connection, none may wait for ever. Afterwards the server must be alive, have as many descriptors
as before the clients came, be quiet while nothing happens, and end on SIGTERM with exit code 0. Prints TAP.
"""
import os
import signal
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import cli

PEAL = os.environ["PEAL"]
CLIENTS = 24
SIZE = 100_000

# (system call, errors, which calls fail). Calls as strace names them.
RUNNING = [
    ("epoll_pwait2", ["EINTR"], "2+3"),
    ("epoll_wait", ["EINTR"], "2+3"),
    ("recvfrom", ["EINTR", "EAGAIN", "ENOMEM", "ECONNRESET"], "2+3"),
    ("sendto", ["EINTR", "EAGAIN", "ENOMEM", "ENOBUFS", "EPIPE"], "2+3"),
    ("sendmsg", ["EINTR", "EAGAIN", "ENOMEM"], "1+2"),
    ("accept4", ["EINTR", "EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ENOBUFS", "ECONNABORTED", "EPROTO", "EPERM"], "2+3"),
    ("accept4", ["EMFILE", "ENOMEM", "ECONNABORTED"], "1+"),
    ("epoll_ctl", ["ENOMEM", "ENOSPC"], "8+3"),
    ("shutdown", ["ENOTCONN"], "1+2"),
    ("ioctl", ["EINTR", "ENOMEM"], "1+2"),
    ("setsockopt", ["ENOMEM"], "8+2"),
    ("read", ["EINTR", "EAGAIN"], "40+3"),
    ("mmap", ["ENOMEM"], "60+1"),
    ("brk", ["ENOMEM"], "6+1"),
]
# Calls of the start: the server says what is wrong and exits.
STARTING = [
    ("socket", ["EMFILE", "ENOMEM"], "1+"),
    ("bind", ["EACCES", "ENOMEM"], "1+"),
    ("listen", ["EADDRINUSE"], "1+"),
    ("epoll_create1", ["EMFILE", "ENOMEM"], "1+"),
    ("eventfd2", ["EMFILE"], "1+"),
    ("signalfd4", ["EMFILE"], "1+"),
    ("epoll_ctl", ["ENOMEM"], "1+"),
]


# The leak sanitizer does not work in a traced process; the tests that are not traced look for leaks.
ENVIRONMENT = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")


class Server:
    def __init__(self, folder, inject):
        self.log = os.path.join(folder, "strace")
        self.port_file = os.path.join(folder, "port")
        self.process = subprocess.Popen(
            ["strace", "-D", "-f", "-q", "-o", self.log, "-e", "inject=" + inject,
             PEAL, "echo", "--listen", "127.0.0.1:0", "--port-file", self.port_file],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=ENVIRONMENT)

    def wait_for_port(self):
        limit = time.monotonic() + 20
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                with open(self.port_file, encoding="ascii") as file:
                    return int(file.read().split()[0].rsplit(":", 1)[-1])
            except (OSError, ValueError, IndexError):
                time.sleep(0.02)
        raise AssertionError("no port: " + (self.process.stdout.read() if self.process.poll() is not None else "timeout"))

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def calls(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return sum(1 for _ in file)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            output, _ = self.process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
            raise AssertionError("did not end on SIGTERM: " + output) from None
        return self.process.returncode, output


def client(port, results):
    """Sends, reads the echo, ends. What counts is that it ends, and that what it reads is right."""
    data = os.urandom(SIZE)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=8) as peer:
            sender = threading.Thread(target=send_all, args=(peer, data))
            sender.start()
            got = b""
            while piece := peer.recv(65536):
                got += piece
            sender.join()
            results.append("whole" if got == data else "part" if data.startswith(got) else "WRONG")
    except ConnectionError:
        results.append("lost")
    except (socket.timeout, TimeoutError):
        results.append("timeout")


def send_all(peer, data):
    try:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def check_running(call, error, when):
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder, f"{call}:error={error}:when={when}")
        try:
            port = server.wait_for_port()
            before = server.fds()
            results = []
            threads = [threading.Thread(target=client, args=(port, results)) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if "WRONG" in results:
                raise AssertionError("a client read what it had not sent")
            starved = when == "1+" and call == "accept4"
            if "timeout" in results and not starved:
                raise AssertionError(f"a client waited in vain: {results}")
            limit = time.monotonic() + 15
            while server.fds() > before and time.monotonic() < limit:
                time.sleep(0.1)
            if server.process.poll() is not None:
                raise AssertionError(f"the server died: {server.stop()}")
            if server.fds() != before:
                raise AssertionError(f"{server.fds()} fds, {before} before the clients came")
            calls = server.calls()
            time.sleep(1)
            if server.calls() - calls > 1000:  # ten retries a second, 64 tries each, is the most
                raise AssertionError(f"{server.calls() - calls} system calls in an idle second")
        finally:
            code, output = server.stop()
        if code != 0:
            raise AssertionError(f"exit code {code}: {output}")


def check_starting(call, error, when):
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder, f"{call}:error={error}:when={when}")
        try:
            output, _ = server.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            server.stop()
            raise AssertionError("it started although the call fails") from None
        if server.process.returncode <= 0 or not output.strip():
            raise AssertionError(f"exit code {server.process.returncode}, said {output!r}")


def main():
    usable = shutil.which("strace") and subprocess.run(
        ["strace", "-q", "-o", "/dev/null", "-e", "inject=getpid:error=EINTR", "true"],
        stderr=subprocess.DEVNULL, check=False).returncode == 0
    if not usable:
        print("1..0 # SKIP strace is not here or may not trace")
        return 0
    sanitized = cli.sanitizer() != ""  # its run-time maps as it likes, and ends where it cannot
    cases = [(check_running, call, error, when) for call, errors, when in RUNNING for error in errors
             if not (sanitized and call in ("mmap", "brk"))]
    cases += [(check_starting, call, error, when) for call, errors, when in STARTING for error in errors]
    failures = 0
    print(f"1..{len(cases)}", flush=True)
    for number, (check, call, error, when) in enumerate(cases, 1):
        what = f"{check.__name__[6:]}: {call} fails with {error} ({when})"
        try:
            check(call, error, when)
            print(f"ok {number} - {what}", flush=True)
        except AssertionError as problem:
            failures += 1
            text = str(problem)[-1500:]
            print(f"not ok {number} - {what}\n# " + text.replace("\n", "\n# "), flush=True)
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
