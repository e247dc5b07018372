# SPDX-License-Identifier: BSD-2-Clause
"""The example of the guide to simulation: its mistake is not found, or found where there is none."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

import cli

FOLDER = os.path.join(os.path.dirname(os.path.abspath(cli.PEAL)), "examples", "sim-chat")
SEEDS = 200  # about one in fifteen finds it
# With a sanitizer a run can take a second: the same is done, but less of it.
IS_SLOW = "SIM_IS_SLOW" in os.environ


def sim(name, *args, folder):
    done = subprocess.run([os.path.join(FOLDER, name), *args], cwd=folder, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=cli.PATIENCE_S * 4, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def size_of(path):
    with open(path, encoding="ascii") as file:
        return int(re.search(r"^bytes (\d+)$", file.read(), re.M).group(1))


class InTheSimulation(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="peal-sim-chat-")
        self.addCleanup(shutil.rmtree, self.folder)

    def test_the_mistake_is_found_shrunk_and_replayed(self):
        status, out, err = sim("chat-sim-bug", "run", "--seeds", str(SEEDS), folder=self.folder)
        self.assertEqual((status, err), (1, ""))
        why = re.search(r"^  (everybody has left, and \d are still members)$", out, re.M)
        self.assertTrue(why, out)
        kept = os.path.join(self.folder, re.search(r"kept as (\S+)", out).group(1))
        before = size_of(kept)

        status, out, err = sim("chat-sim-bug", "shrink", kept, "--runs", "20" if IS_SLOW else "3000",
                               folder=self.folder)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("everybody has left, and ", out)
        self.assertLess(size_of(kept), before)

        status, out, err = sim("chat-sim-bug", "replay", kept, folder=self.folder)
        self.assertEqual(status, 1)
        self.assertIn("everybody has left, and ", out)

        status, out, err = sim("chat-sim", "replay", kept, folder=self.folder)
        self.assertEqual(status, 0, out + err)
        self.assertIn("passed", out)

    def test_without_it_nothing_is_found(self):
        seeds = "10" if IS_SLOW else "1000"
        for engine in "epoll", "io_uring":
            status, out, err = sim("chat-sim", "run", "--seeds", seeds, "--engine", engine,
                                   folder=self.folder)
            self.assertEqual((status, err), (0, ""), out)
            self.assertIn(f"{seeds} runs, 0 failed", out)
        self.assertEqual(os.listdir(self.folder), [])

    @unittest.skipIf(IS_SLOW, "hundreds of runs take minutes with a sanitizer")
    def test_no_failing_call_breaks_it(self):
        status, out, err = sim("chat-sim", "torture", folder=self.folder)
        self.assertEqual((status, err), (0, ""), out)


class OnTheRealSystem(unittest.TestCase):
    def test_a_room_of_two(self):
        name = f"\0peal-test-{os.getpid()}-room"
        with subprocess.Popen([os.path.join(FOLDER, "chat"), "unix:@" + name[1:]],
                              stdin=subprocess.DEVNULL) as room:
            self.addCleanup(room.kill)
            peers = []

            def connect():
                peer = socket.socket(socket.AF_UNIX)
                peer.settimeout(cli.PATIENCE_S)
                try:
                    peer.connect(name)
                except ConnectionRefusedError:
                    peer.close()
                    return room.poll() is not None
                peers.append(peer)
                return True

            def hears(peer, text):
                self.assertEqual(cli.read_exactly(peer, len(text)), text)

            cli.wait_until(connect, "the room to open")
            connect()
            ann, bob = peers
            hears(ann, b"* say your name\n")
            hears(bob, b"* say your name\n")
            ann.sendall(b"ann\n")
            hears(ann, b"* ann has come: 1 here\n")
            bob.sendall(b"bob\n")
            for peer in peers:
                hears(peer, b"* bob has come: 2 here\n")
            ann.sendall(b"hello\n")
            for peer in peers:
                hears(peer, b"ann: hello\n")
            ann.close()
            hears(bob, b"* ann has left: 1 here\n")
            room.terminate()
            self.assertEqual(cli.read_all(bob), b"")
            bob.close()
            self.assertEqual(room.wait(cli.PATIENCE_S), 0)


if __name__ == "__main__":
    cli.main()
