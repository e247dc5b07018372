# SPDX-License-Identifier: BSD-2-Clause
"""A wrong solution, an answer for somebody else or out of its turn, or a queue that grows."""
import os
import re
import signal
import socket
import unittest

import program
from program import cli

EASY = b"530070000600195000098000060800060003400803001700020006060000280000419005000080079"
EASY_SOLVED = b"534678912672195348198342567859761423426853791713924856961537284287419635345286179"
# 17 digits, and two that were made to be hard.
HARD = [b"000000010400000000020000000000050407008000300001090000300400200050100000000806000",
        b"800000000003600000070090200050007000000045700000100030001000068008500010090000400",
        b"100007090030020008009600500005300900010080002600004000300000010040000007007000300"]
TWICE = b"55" + EASY[2:]
# No digit fits into the last cell of the first row; and one that is found only by trying.
NONE = [b"123456780000000009" + b"0" * 63,
        b"516849732307605000809700065135060907472591006968370050253186074684207500791050608"]


def is_solution(puzzle, answer):
    if not re.fullmatch(rb"[1-9]{81}", answer):
        return False
    rows = [answer[i * 9:i * 9 + 9] for i in range(9)]
    columns = [answer[i::9] for i in range(9)]
    boxes = [b"".join(rows[y + i][x:x + 3] for i in range(3)) for y in (0, 3, 6) for x in (0, 3, 6)]
    return all(len(set(part)) == 9 for part in rows + columns + boxes) and \
        all(a in (ord("0"), b) for a, b in zip(puzzle, answer))


class Sudoku(program.AnyPeer, unittest.TestCase):
    NAME = "sudoku"
    REQUEST = EASY + b"\r\n"
    REPLY_BYTES = 83
    ARGS = ("--queue", "100000")
    SLOW_REQUESTS = 3000

    def check_reply(self, reply):
        self.assertEqual(reply, EASY_SOLVED + b"\r\n")

    def answers(self, data, *args):
        """To all of it, before the end."""
        with self.server(*args) as server, server.connect() as peer:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            return cli.read_all(peer).split(b"\r\n")[:-1]

    def test_puzzles(self):
        puzzles = [EASY, *HARD, b"0" * 81]
        found = self.answers(b"".join(puzzle + b"\r\n" for puzzle in puzzles))
        self.assertEqual(len(found), len(puzzles))
        for puzzle, answer in zip(puzzles, found):
            self.assertTrue(is_solution(puzzle, answer), (puzzle, answer))
        found = self.answers(b"".join(puzzle + b"\r\n" for puzzle in (TWICE, *NONE)))
        self.assertEqual(found, [b"NoSolution"] * 3)

    def test_with_ids_in_any_order_without_in_theirs(self):
        data = b"".join(b"id%d:%s\r\n" % (i, (HARD[0] if i % 3 else EASY)) for i in range(60))
        found = self.answers(data, "--workers", "4", "--threads", "2")
        self.assertEqual({line.split(b":")[0] for line in found}, {b"id%d" % i for i in range(60)})
        for line in found:
            number, answer = line.split(b":")
            self.assertTrue(is_solution(HARD[0] if int(number[2:]) % 3 else EASY, answer))
        puzzles = [HARD[i % 3] if i % 2 else EASY for i in range(60)]
        found = self.answers(b"".join(puzzle + b"\r\n" for puzzle in puzzles), "--workers", "4")
        for puzzle, answer in zip(puzzles, found):
            self.assertTrue(is_solution(puzzle, answer))

    def test_what_is_no_puzzle_ends_it(self):
        for data in (b"\r\n", b"hello\r\n", EASY[:-1] + b"\r\n", EASY + b"1\r\n", b"x" * 300,
                     EASY[:-1] + b"x\r\n", b"i" * 65 + b":" + EASY + b"\r\n", b"a:b:" + EASY + b"\r\n"):
            with self.server() as server, server.connect() as peer:
                peer.sendall(data)
                self.assertEqual(cli.read_all(peer), b"Bad Request!\r\n")

    def test_what_was_asked_before_it_is_answered(self):
        with self.server("--workers", "1") as server, server.connect() as peer:
            peer.sendall((HARD[0] + b"\r\n") * 20 + b"hello\r\n" + EASY + b"\r\n")
            found = cli.read_all(peer).split(b"\r\n")
            found.remove(b"Bad Request!")
            self.assertEqual(found.pop(), b"")
            self.assertEqual(len(found), 20)
            for answer in found:
                self.assertTrue(is_solution(HARD[0], answer))

    def test_a_full_queue_says_so(self):
        data = b"".join(b"%d:%s\r\n" % (i, HARD[0]) for i in range(500))
        found = self.answers(data, "--queue", "2", "--workers", "1")
        self.assertEqual(sorted(int(line.split(b":")[0]) for line in found), list(range(500)))
        busy = [line for line in found if line.endswith(b":ServerTooBusy")]
        self.assertGreater(len(busy), 0)
        self.assertLess(len(busy), 500)
        # In their turn, too.
        found = self.answers((HARD[0] + b"\r\n") * 300, "--queue", "2", "--workers", "1")
        self.assertEqual(len(found), 300)
        self.assertTrue(is_solution(HARD[0], found[0]))
        self.assertIn(b"ServerTooBusy", found)

    def test_who_goes_before_the_answer(self):
        with self.server("--threads", "2") as server:
            for _ in range(20):
                peer = server.connect()
                peer.sendall((HARD[0] + b"\r\n") * 20)
                program.reset(peer)
            with server.connect() as peer:
                self.ask(peer)
            server.signal(signal.SIGUSR1)
            server.wait_for_output("sudoku: solved")

    def test_sigterm_answers_what_was_asked(self):
        with self.server("--workers", "1") as server, server.connect() as peer:
            peer.sendall(b"".join(b"%d:%s\r\n" % (i, HARD[0]) for i in range(200)))
            first = cli.read_exactly(peer, 10)
            server.signal(signal.SIGTERM)
            found = (first + cli.read_all(peer)).split(b"\r\n")[:-1]
            peer.close()
            output, status = server.wait()
            self.assertEqual((status, len(found)), (0, 200), output)
            for line in found:
                number, answer = line.split(b":")
                self.assertTrue(answer == b"ServerTooBusy" or is_solution(HARD[0], answer))

    def test_the_client(self):
        with self.server("--threads", "2") as server:
            where = ("--connect", f"127.0.0.1:{server.port}", "--seconds", "0.5")
            for args in (("--rate", "200"), ("--rate", "400", "--conns", "7", "--threads", "2")):
                status, out, err = cli.run("sudoku-client", *where, *args)
                self.assertEqual((status, err), (0, ""), out)
                asked, answered = re.match(r"(\d+) asked, (\d+) answered, of which 0 too busy, 0 wrong",
                                           out).groups()
                self.assertEqual(asked, answered)
                self.assertGreater(int(asked), 90)

    def test_the_client_notices_a_wrong_answer(self):
        listener = socket.create_server(("127.0.0.1", 0))
        if (pid := os.fork()) == 0:
            peer, _ = listener.accept()
            while data := peer.recv(65536):
                for line in data.split(b"\r\n")[:-1]:
                    peer.sendall(line.split(b":")[0] + b":" + EASY_SOLVED[::-1] + b"\r\n")
            os._exit(0)
        status, out, _ = cli.run("sudoku-client", "--connect", f"127.0.0.1:{listener.getsockname()[1]}",
                                 "--seconds", "0.1", "--rate", "100")
        os.waitpid(pid, 0)
        listener.close()
        self.assertEqual(status, 1)
        self.assertNotIn(" 0 wrong", out)


if __name__ == "__main__":
    cli.main()
