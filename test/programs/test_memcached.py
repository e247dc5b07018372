# SPDX-License-Identifier: BSD-2-Clause
"""A client gets another value than was stored last, another answer than memcached's, or one that
belongs to another command; or values and slow readers take more memory than there is for them."""
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import program
from program import cli

MIB = 1 << 20
BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
NOT_A_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
LONG_KEY = b"k" * 250
TOO_LONG_KEY = b"k" * 251

# What is sent, what comes back; each on a connection and an empty server of its own.
TEXT = {
    "set and get": (b"set a 7 0 3\r\nabc\r\nget a\r\n", b"STORED\r\nVALUE a 7 3\r\nabc\r\nEND\r\n"),
    "a value is bytes": (b"set a 0 0 6\r\n\r\n\0\xff\r\n\r\nget a\r\n",
                         b"STORED\r\nVALUE a 0 6\r\n\r\n\0\xff\r\n\r\nEND\r\n"),
    "an empty value": (b"set a 0 0 0\r\n\r\nget a\r\n", b"STORED\r\nVALUE a 0 0\r\n\r\nEND\r\n"),
    "lines may end with LF": (b"set a 0 0 1\nx\r\nget a\n", b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"),
    "blanks": (b"  set  a 0  0 1 \r\nx\r\n get  a  \r\n",
               b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"),
    "many keys": (b"set a 0 0 1\r\nx\r\nset b 0 0 1\r\ny\r\nget a none b a\r\n",
                  b"STORED\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nVALUE a 0 1\r\nx\r\n"
                  b"END\r\n"),
    "the longest key": (b"set " + LONG_KEY + b" 0 0 1\r\nx\r\nget " + LONG_KEY + b"\r\n",
                        b"STORED\r\nVALUE " + LONG_KEY + b" 0 1\r\nx\r\nEND\r\n"),
    "a key too long": (b"set " + TOO_LONG_KEY + b" 0 0 1\r\nget " + TOO_LONG_KEY + b" a\r\nincr " +
                       TOO_LONG_KEY + b" 1\r\ndelete " + TOO_LONG_KEY + b"\r\ntouch " +
                       TOO_LONG_KEY + b" 1\r\nget a\r\n", BAD_LINE * 5 + b"END\r\n"),
    "cas": (b"cas a 0 0 1 1\r\nx\r\nset a 0 0 1\r\nx\r\ngets a\r\ncas a 0 0 1 99\r\ny\r\n"
            b"cas a 0 0 1 1\r\nz\r\ncas a 0 0 1 1\r\nw\r\ngets a\r\n",
            b"NOT_FOUND\r\nSTORED\r\nVALUE a 0 1 1\r\nx\r\nEND\r\nEXISTS\r\nSTORED\r\nEXISTS\r\n"
            b"VALUE a 0 1 2\r\nz\r\nEND\r\n"),
    "add, replace": (b"replace a 0 0 1\r\nx\r\nadd a 1 0 1\r\nx\r\nadd a 0 0 1\r\ny\r\n"
                     b"replace a 2 0 1\r\nz\r\nget a\r\n",
                     b"NOT_STORED\r\nSTORED\r\nNOT_STORED\r\nSTORED\r\nVALUE a 2 1\r\nz\r\nEND\r\n"),
    "append, prepend": (b"append a 0 0 1\r\nx\r\nset a 5 0 1\r\nx\r\nappend a 9 0 2\r\nyz\r\n"
                        b"prepend a 9 0 1\r\nw\r\nget a\r\n",
                        b"NOT_STORED\r\n" + b"STORED\r\n" * 3 + b"VALUE a 5 4\r\nwxyz\r\nEND\r\n"),
    "incr, decr": (b"incr a 1\r\nset a 3 0 2\r\n99\r\nincr a 2\r\ndecr a 1\r\nget a\r\ndecr a 999\r\n",
                   b"NOT_FOUND\r\nSTORED\r\n101\r\n100\r\nVALUE a 3 3\r\n100\r\nEND\r\n0\r\n"),
    "2^64": (b"set a 0 0 20\r\n18446744073709551615\r\nincr a 2\r\nset a 0 0 20\r\n"
             b"18446744073709551616\r\nincr a 1\r\n", b"STORED\r\n1\r\nSTORED\r\n" + NOT_A_NUMBER),
    "no number": (b"set a 0 0 1\r\nx\r\nincr a 1\r\nset a 0 0 0\r\n\r\ndecr a 1\r\nincr a x\r\n"
                  b"incr a -1\r\n",
                  b"STORED\r\n" + NOT_A_NUMBER + b"STORED\r\n" + NOT_A_NUMBER +
                  b"CLIENT_ERROR invalid numeric delta argument\r\n" * 2),
    "delete": (b"delete a\r\nset a 0 0 1\r\nx\r\ndelete a 0\r\nget a\r\ndelete a 5\r\n",
               b"NOT_FOUND\r\nSTORED\r\nDELETED\r\nEND\r\nCLIENT_ERROR bad command line format.  "
               b"Usage: delete <key> [noreply]\r\n"),
    "touch": (b"touch a 0\r\nset a 0 0 1\r\nx\r\ntouch a 100\r\nget a\r\ntouch a -1\r\nget a\r\n"
              b"touch a x\r\n",
              b"NOT_FOUND\r\nSTORED\r\nTOUCHED\r\nVALUE a 0 1\r\nx\r\nEND\r\nTOUCHED\r\nEND\r\n"
              b"CLIENT_ERROR invalid exptime argument\r\n"),
    "gat": (b"set a 0 0 1\r\nx\r\ngat 100 a b\r\ngats -1 a\r\nget a\r\ngat x a\r\n",
            b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nVALUE a 0 1 1\r\nx\r\nEND\r\nEND\r\n"
            b"CLIENT_ERROR invalid exptime argument\r\n"),
    "flush_all": (b"set a 0 0 1\r\nx\r\nflush_all\r\nset b 0 0 1\r\ny\r\nget a b\r\nflush_all x\r\n"
                  b"flush_all 0 noreply\r\nget a b\r\n",
                  b"STORED\r\nOK\r\nSTORED\r\nVALUE b 0 1\r\ny\r\nEND\r\nCLIENT_ERROR invalid exptime "
                  b"argument\r\nEND\r\n"),
    "noreply": (b"set a 0 0 1 noreply\r\n1\r\nadd a 0 0 1 noreply\r\n2\r\nincr a 4 noreply\r\n"
                b"append a 0 0 1 noreply\r\n0\r\ntouch a 0 noreply\r\nverbosity 1 noreply\r\n"
                b"get a\r\ndelete a noreply\r\ndelete a 0 noreply\r\nset a x 0 1 noreply\r\nget a\r\n",
                b"VALUE a 0 2\r\n50\r\nEND\r\nEND\r\n"),
    "no commands": (b"\r\n\n  \r\nfoo\r\nGET a\r\nget\r\ngats\r\nset a 0 0\r\nincr a\r\n"
                    b"set a 0 0 1 2 3\r\nversion x\r\nquit x\r\nstats x\r\nverbosity\r\n"
                    b"a b c d e f g h i j k l\r\n", b"ERROR\r\n" * 15),
    "bad numbers": (b"set a x 0 1\r\nset a -1 0 1\r\nset a 4294967296 0 1\r\nset a 0 x 1\r\n"
                    b"set a 0 0 -1\r\nset a 0 0 x\r\nset a 0 0 99999999999999999999\r\n"
                    b"set a 0 0 2147483647\r\ncas a 0 0 1 x\r\n", BAD_LINE * 9),
    "the largest flags": (b"set a 4294967295 0 1\r\nx\r\nget a\r\n",
                          b"STORED\r\nVALUE a 4294967295 1\r\nx\r\nEND\r\n"),
    "a bad data chunk": (b"set a 0 0 3\r\nabcd\r\nget a\r\n",
                         b"CLIENT_ERROR bad data chunk\r\nERROR\r\nEND\r\n"),
    "a bad data chunk harms not what is there": (
        b"set a 0 0 1\r\nx\r\nset a 0 0 1\r\ny\n\rget a\r\n",
        b"STORED\r\nCLIENT_ERROR bad data chunk\r\nVALUE a 0 1\r\nx\r\nEND\r\n"),
    "over long ago": (b"set a 0 -1 1\r\nx\r\nset b 0 %d 1\r\ny\r\nset c 0 %d 1\r\nz\r\nget a b c\r\n" %
                      (time.time() - 10, time.time() + 1000),
                      b"STORED\r\n" * 3 + b"VALUE c 0 1\r\nz\r\nEND\r\n"),
    "verbosity": (b"verbosity 1\r\nverbosity x\r\n", b"OK\r\n" + BAD_LINE),
}


def request(opcode, key=b"", value=b"", extras=b"", cas=0, opaque=0):
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0,
                       len(extras) + len(key) + len(value), opaque, cas) + extras + key + value


def response(opcode, status=0, key=b"", value=b"", extras=b"", cas=0, opaque=0):
    return struct.pack(">BBHBBHIIQ", 0x81, opcode, len(key), len(extras), 0, status,
                       len(extras) + len(key) + len(value), opaque, cas) + extras + key + value


GET, SET, ADD, REPLACE, DELETE, INCR, DECR, QUIT, FLUSH, GETQ, NOOP, VERSION, GETK, GETKQ, APPEND, \
    PREPEND, STAT, SETQ, ADDQ, REPLACEQ, DELETEQ, INCRQ, DECRQ, QUITQ, FLUSHQ, APPENDQ, PREPENDQ, \
    VERBOSITY, TOUCH, GAT, GATQ = range(31)
GATK, GATKQ = 0x23, 0x24
NOT_FOUND = {"status": 1, "value": b"Not found"}
EXISTS = {"status": 2, "value": b"Data exists for key."}
INVALID = {"status": 4, "value": b"Invalid arguments"}
FLAGS7 = struct.pack(">I", 7)


def storing(expires=0):
    return struct.pack(">II", 7, expires)


def counting(by, initial=0, expires=0):
    return struct.pack(">QQI", by, initial, expires)


BINARY = {
    "set and get": (request(SET, b"a", b"abc", storing(), opaque=0x01020304) + request(GET, b"a"),
                    response(SET, cas=1, opaque=0x01020304) +
                    response(GET, value=b"abc", extras=FLAGS7, cas=1)),
    "an empty value": (request(SET, b"a", b"", storing()) + request(GETK, b"a"),
                       response(SET, cas=1) + response(GETK, key=b"a", extras=FLAGS7, cas=1)),
    "quiet gets say nothing of what is not there": (
        request(GETQ, b"a") + request(GETKQ, b"a") + request(SETQ, b"a", b"x", storing()) +
        request(GETQ, b"a") + request(GETKQ, b"a", opaque=5) + request(NOOP, opaque=6),
        response(GETQ, value=b"x", extras=FLAGS7, cas=1) +
        response(GETKQ, key=b"a", value=b"x", extras=FLAGS7, cas=1, opaque=5) +
        response(NOOP, opaque=6)),
    "what is not there": (
        request(GET, b"a") + request(GETK, b"a") + request(DELETE, b"a") + request(DELETEQ, b"a") +
        request(REPLACE, b"a", b"x", storing()) + request(REPLACEQ, b"a", b"x", storing()) +
        request(TOUCH, b"a", extras=bytes(4)) + request(GAT, b"a", extras=bytes(4)) +
        request(APPEND, b"a", b"x") + request(PREPENDQ, b"a", b"x") +
        request(SET, b"a", b"x", storing(), cas=9),
        response(GET, **NOT_FOUND) + response(GETK, status=1, key=b"a") +
        response(DELETE, **NOT_FOUND) + response(DELETEQ, **NOT_FOUND) +
        response(REPLACE, **NOT_FOUND) + response(REPLACEQ, **NOT_FOUND) +
        response(TOUCH, **NOT_FOUND) + response(GAT, **NOT_FOUND) +
        response(APPEND, status=5, value=b"Not stored.") +
        response(PREPENDQ, status=5, value=b"Not stored.") + response(SET, **NOT_FOUND)),
    "quiet commands that are done": (
        request(SETQ, b"a", b"1", storing()) + request(REPLACEQ, b"a", b"2", storing()) +
        request(APPENDQ, b"a", b"3") + request(PREPENDQ, b"a", b"1") +
        request(INCRQ, b"a", extras=counting(4)) + request(DECRQ, b"a", extras=counting(1)) +
        request(GET, b"a") + request(DELETEQ, b"a") + request(ADDQ, b"a", b"x", storing()) +
        request(GATQ, b"b", extras=bytes(4)) + request(GATKQ, b"b", extras=bytes(4)) +
        request(FLUSHQ) + request(GET, b"a"),
        response(GET, value=b"126", extras=FLAGS7, cas=6) + response(GET, **NOT_FOUND)),
    "cas": (
        request(SET, b"a", b"x", storing()) + request(ADD, b"a", b"y", storing()) +
        request(SET, b"a", b"y", storing(), cas=2) + request(SETQ, b"a", b"y", storing(), cas=2) +
        request(DELETE, b"a", cas=2) + request(SET, b"a", b"y", storing(), cas=1) +
        request(INCR, b"a", extras=counting(1), cas=1) + request(DELETE, b"a", cas=2),
        response(SET, cas=1) + response(ADD, **EXISTS) + response(SET, **EXISTS) +
        response(SETQ, **EXISTS) + response(DELETE, **EXISTS) + response(SET, cas=2) +
        response(INCR, **EXISTS) + response(DELETE)),
    "counting": (
        request(INCR, b"a", extras=counting(1, 10, 0xffffffff)) +
        request(INCR, b"a", extras=counting(1, 10)) + request(INCR, b"a", extras=counting(5)) +
        request(DECR, b"a", extras=counting(100)) + request(SETQ, b"a", b"x", storing()) +
        request(INCR, b"a", extras=counting(1)),
        response(INCR, **NOT_FOUND) + response(INCR, value=struct.pack(">Q", 10), cas=1) +
        response(INCR, value=struct.pack(">Q", 15), cas=2) +
        response(DECR, value=bytes(8), cas=3) +
        response(INCR, status=6, value=b"Non-numeric server-side value for incr or decr")),
    "touching": (
        request(SETQ, b"a", b"x", storing()) + request(TOUCH, b"a", extras=b"\0\0\0\x64") +
        request(GAT, b"a", extras=bytes(4)) + request(GATK, b"a", extras=b"\0\x98\x96\x80"),
        response(TOUCH, extras=FLAGS7, cas=1) + response(GAT, value=b"x", extras=FLAGS7, cas=1) +
        response(GATK, key=b"a", value=b"x", extras=FLAGS7, cas=1)),
    "an absolute time, over long ago": (
        request(SETQ, b"a", b"x", storing(1_000_000_000)) + request(GET, b"a"),
        response(GET, **NOT_FOUND)),
    "what says nothing": (request(VERBOSITY, extras=bytes(4)) + request(FLUSH) +
                          request(FLUSH, extras=bytes(4)) + request(NOOP),
                          response(VERBOSITY) + response(FLUSH) * 2 + response(NOOP)),
    "not known": (request(0x20) + request(0x77, b"key", b"value", b"extras", opaque=3) +
                  request(NOOP),
                  response(0x20, status=0x81, value=b"Unknown command") +
                  response(0x77, status=0x81, value=b"Unknown command", opaque=3) +
                  response(NOOP)),
    "parts that do not fit": (
        request(GET) + request(GET, b"a", b"value") + request(GET, b"a", extras=b"e") +
        request(GET, TOO_LONG_KEY) + request(SET, b"a", b"x") + request(SET, TOO_LONG_KEY, b"x" * 99,
                                                                        storing()) +
        request(INCR, b"a", extras=bytes(19)) + request(NOOP, b"a") + request(FLUSH, extras=b"x") +
        request(APPEND, b"a", b"x", bytes(8)) + request(NOOP),
        b"".join(response(opcode, **INVALID) for opcode in
                 (GET, GET, GET, GET, SET, SET, INCR, NOOP, FLUSH, APPEND)) + response(NOOP)),
    "quit": (request(QUIT, opaque=1) + request(NOOP), response(QUIT, opaque=1)),
    "quiet quit": (request(QUITQ) + request(NOOP), b""),
    "another magic": (request(NOOP) + b"x" + request(NOOP), response(NOOP)),
    "parts larger than the whole": (
        struct.pack(">BBHBBHIIQ", 0x80, GET, 9, 0, 0, 0, 8, 0, 0) + bytes(99),
        response(GET, **INVALID)),
}


def say(case, peer, data, reply):
    peer.sendall(data)
    case.assertEqual(cli.read_exactly(peer, len(reply)), reply)


def read_line(peer):
    line = b""
    while not line.endswith(b"\r\n"):
        line += cli.read_exactly(peer, 1)
    return line


def stats(peer, group=b""):
    peer.sendall(b"stats " + group + b"\r\n")
    figures = {}
    while (line := read_line(peer)) != b"END\r\n":
        _, name, value = line.decode().split(" ", 2)
        figures[name] = value.strip()
    return figures


class Protocols(unittest.TestCase):
    """Each exchange of the tables, at once and byte by byte."""

    def check_table(self, table):
        for name, (data, reply) in table.items():
            for size in (len(data), 1):
                with self.subTest(name, size=size):
                    with cli.Server("memcached") as server, server.connect() as peer:
                        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        for at in range(0, len(data), size):
                            peer.sendall(data[at:at + size])
                        peer.shutdown(socket.SHUT_WR)
                        self.assertEqual(program.received_until_end(peer), reply)

    def test_text(self):
        self.check_table(TEXT)

    def test_binary(self):
        self.check_table(BINARY)

    def test_values_too_large_are_skipped_and_what_was_there_goes(self):
        value = b"x" * 2000
        with cli.Server("memcached", "--value-max", "1K") as server, server.connect() as peer:
            say(self, peer, b"set a 0 0 1\r\nx\r\nset b 0 0 1024\r\n" + b"y" * 1024 + b"\r\n",
                b"STORED\r\n" * 2)
            say(self, peer, b"set a 0 0 2000\r\n" + value + b"\r\nget a\r\nappend b 0 0 1\r\nx\r\n"
                b"get b\r\nset b 0 0 1025 noreply\r\n" + b"z" * 1025 + b"\r\nget b\r\n",
                b"SERVER_ERROR object too large for cache\r\nEND\r\n"
                b"SERVER_ERROR object too large for cache\r\nVALUE b 0 1024\r\n" + b"y" * 1024 +
                b"\r\nEND\r\nEND\r\n")
            with server.connect() as other:
                say(self, other, request(SET, b"a", value, storing()) + request(NOOP),
                    response(SET, status=3, value=b"Too large.") + response(NOOP))
                other.sendall(struct.pack(">BBHBBHIIQ", 0x80, SET, 1, 8, 0, 0, 1 << 31, 0, 0) + bytes(9))
                too_large = response(SET, status=3, value=b"Too large.")
                self.assertEqual(cli.read_exactly(other, len(too_large)), too_large)

    def test_lines_too_long(self):
        for data in (b"x" * 3000, b"set " + b"x" * 3000 + b"\r\n"):
            with cli.Server("memcached") as server, server.connect() as peer:
                peer.sendall(b"version\r\n" + data)
                self.assertTrue(read_line(peer).startswith(b"VERSION "))
                self.assertEqual(cli.read_all(peer), b"CLIENT_ERROR line too long\r\n")

    def test_a_get_of_any_number_of_keys(self):
        keys = [b"key%d" % i for i in range(20000)]
        with cli.Server("memcached") as server, server.connect() as peer:
            peer.sendall(b"".join(b"set %b 0 0 1 noreply\r\nx\r\n" % key for key in keys[::100]))
            say(self, peer, b"get " + b" ".join(keys) + b"\r\n",
                b"".join(b"VALUE %b 0 1\r\nx\r\n" % key for key in keys[::100]) + b"END\r\n")

    def test_statistics(self):
        with cli.Server("memcached", "--threads", "2") as server, server.connect() as peer:
            say(self, peer, b"set a 0 0 1\r\n1\r\nget a b\r\nincr a 1\r\nflush_all\r\n",
                b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n2\r\nOK\r\n")
            figures = stats(peer)
            for name, value in {"cmd_get": 2, "cmd_set": 1, "get_hits": 1, "get_misses": 1,
                                "incr_hits": 1, "cmd_flush": 1, "curr_items": 0, "bytes": 0,
                                "curr_connections": 1, "threads": 2, "total_items": 2,
                                "limit_maxbytes": 64 * MIB}.items():
                self.assertEqual(figures[name], str(value), name)
            say(self, peer, b"stats reset\r\n", b"RESET\r\n")
            self.assertEqual(stats(peer)["cmd_get"], "0")
            self.assertEqual(stats(peer, b"settings")["item_size_max"], str(MIB))
            with server.connect() as other:
                other.sendall(request(STAT, b"settings") + request(STAT, b"none"))
                first = response(STAT, key=b"maxbytes", value=str(64 * MIB).encode())
                self.assertEqual(cli.read_exactly(other, len(first)), first)
                other.sendall(request(STAT) + request(VERSION) + request(QUIT))
                rest = cli.read_all(other)
                self.assertIn(response(STAT) + response(STAT, **NOT_FOUND), rest)
                self.assertIn(response(STAT, key=b"cmd_get", value=b"0"), rest)
                self.assertTrue(rest.endswith(response(QUIT)))

    def test_options(self):
        status, _, err = cli.run("memcached", "--memory", "1M", "--value-max", "1M")
        self.assertEqual(status, 2)
        self.assertIn("--memory must be at least twice --value-max", err)


class Memory(unittest.TestCase):
    """What the store keeps, for how long, and what it takes."""

    def test_what_was_not_used_for_longest_goes_first(self):
        value = b"x" * 10000
        with cli.Server("memcached", "--memory", "1M", "--value-max", "64K") as server, \
                server.connect() as peer:
            for i in range(300):
                say(self, peer, b"set k%d 0 0 10000 noreply\r\n" % i + value + b"\r\nget k0\r\n",
                    b"VALUE k0 0 10000\r\n" + value + b"\r\nEND\r\n")
            there = []
            for i in range(300):
                peer.sendall(b"touch k%d 0\r\n" % i)
                if read_line(peer) == b"TOUCHED\r\n":
                    there.append(i)
            figures = stats(peer)
            self.assertEqual(there, [0] + list(range(301 - len(there), 300)))
            self.assertEqual(int(figures["evictions"]), 300 - len(there))
            self.assertEqual(int(figures["curr_items"]), len(there))
            self.assertLessEqual(int(figures["bytes"]), MIB)
            self.assertGreater(int(figures["bytes"]), MIB - 100000)

    def test_memory_is_bounded_whatever_the_sizes(self):
        with cli.Server("memcached", "--memory", "8M", "--value-max", "1M", "--threads", "2") as \
                server, server.connect() as peer:
            for size in (10, 100000, 1000, MIB, 50):
                value = b"v" * size
                before = server.rss_bytes()
                for i in range(16 * MIB // (size + 150)):
                    peer.sendall(b"set %d-%d 0 0 %d noreply\r\n%b\r\n" % (size, i, size, value))
                self.assertLessEqual(int(stats(peer)["bytes"]), 8 * MIB)
                self.assertLess(server.rss_bytes() - before, 24 * MIB)

    def test_the_limit_changes_while_it_runs(self):
        value = b"v" * 100000
        for threads in "1", "2":
            with cli.Server("memcached", "--memory", "32M", "--threads", threads) as server, \
                    server.connect() as peer:
                for i in range(280):
                    say(self, peer, b"set %d 0 0 100000\r\n" % i + value + b"\r\n", b"STORED\r\n")
                before = stats(peer)
                self.assertGreater(int(before["bytes"]), 20 * MIB)
                say(self, peer, b"cache_memlimit 8\r\n", b"OK\r\n")
                figures = stats(peer)
                self.assertEqual(figures["limit_maxbytes"], str(8 * MIB))
                self.assertLessEqual(int(figures["bytes"]), 8 * MIB)
                self.assertGreater(int(figures["bytes"]), 4 * MIB)
                self.assertEqual(int(figures["evictions"]) + int(figures["curr_items"]), 280)
                peer.sendall(b"get 279\r\n")
                self.assertEqual(read_line(peer), b"VALUE 279 0 100000\r\n")
                cli.read_exactly(peer, len(value + b"\r\nEND\r\n"))
                say(self, peer, b"cache_memlimit 64 noreply\r\n", b"")
                for i in range(280):
                    say(self, peer, b"set %d 0 0 100000\r\n" % i + value + b"\r\n", b"STORED\r\n")
                self.assertEqual(stats(peer)["curr_items"], "280")

    def test_a_limit_that_cannot_be(self):
        small = b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than %dm\r\n"
        for options, least in ((), 8), (("--value-max", "10M"), 20):
            with cli.Server("memcached", *options) as server, server.connect() as peer:
                say(self, peer, b"cache_memlimit %d\r\n" % (least - 1), small % least)
                say(self, peer, b"cache_memlimit 99999999999999\r\ncache_memlimit x\r\n"
                    b"cache_memlimit\r\n", b"ERROR\r\n" * 3)
                self.assertEqual(stats(peer)["limit_maxbytes"], str(64 * MIB))
                say(self, peer, b"cache_memlimit %d\r\n" % least, b"OK\r\n")

    def test_what_has_expired_is_gone(self):
        with cli.Server("memcached") as server, server.connect() as peer:
            now = int(time.time())
            for key, seconds in {"soon": 1, "then": now + 2, "late": 1000, "later": now + 1000,
                                 "never": 0, "touched": 0}.items():
                say(self, peer, b"set %b 0 %d 1\r\nx\r\n" % (key.encode(), seconds), b"STORED\r\n")
            say(self, peer, b"touch touched 1\r\n", b"TOUCHED\r\n")
            left = b"VALUE late 0 1\r\nx\r\nVALUE later 0 1\r\nx\r\nVALUE never 0 1\r\nx\r\nEND\r\n"

            def is_over():
                peer.sendall(b"get soon touched then late later never\r\n")
                lines = []
                while not lines or lines[-1] != b"END\r\n":
                    lines.append(read_line(peer))
                return b"".join(lines) == left
            cli.wait_until(is_over, "items to expire")
            say(self, peer, b"flush_all 1\r\nset new 0 0 1\r\nx\r\n", b"OK\r\nSTORED\r\n")

            def is_flushed():
                peer.sendall(b"get never\r\n")
                line = read_line(peer)
                return line == b"END\r\n" or cli.read_exactly(peer, 8) != b"x\r\nEND\r\n"
            cli.wait_until(is_flushed, "the flush")
            say(self, peer, b"set more 0 0 1\r\nx\r\nget late new more\r\n",
                b"STORED\r\nVALUE more 0 1\r\nx\r\nEND\r\n")


class Memcached(program.AnyPeer, unittest.TestCase):
    NAME = "memcached"
    VALUE = os.urandom(20000)
    REQUEST = b"set key 0 0 %d\r\n" % len(VALUE) + VALUE + b"\r\nget key\r\n"
    REPLY = b"STORED\r\nVALUE key 0 %d\r\n" % len(VALUE) + VALUE + b"\r\nEND\r\n"
    REPLY_BYTES = len(REPLY)
    SLOW_REQUESTS = 500

    def check_reply(self, reply):
        self.assertTrue(reply == self.REPLY)

    def test_of_two_that_cas_one_wins(self):
        rounds = 300

        def count(server):
            with server.connect() as peer:
                done = 0
                while done < rounds:
                    peer.sendall(b"gets n\r\n")
                    cas = read_line(peer).split()[4]
                    number = int(read_line(peer))
                    read_line(peer)
                    text = b"%d" % (number + 1)
                    peer.sendall(b"cas n 0 0 %d %b\r\n%b\r\n" % (len(text), cas, text))
                    done += read_line(peer) == b"STORED\r\n"
                peer.sendall(b"incr sum 1 noreply\r\n" * rounds)
                say(self, peer, b"get none\r\n", b"END\r\n")

        with self.server("--threads", "2") as server, server.connect() as peer:
            say(self, peer, b"set n 0 0 1\r\n0\r\nset sum 0 0 1\r\n0\r\n", b"STORED\r\n" * 2)
            counters = [threading.Thread(target=count, args=(server,)) for _ in range(3)]
            for counter in counters:
                counter.start()
            for counter in counters:
                counter.join()
            number = b"%d" % (3 * rounds)
            say(self, peer, b"get n sum\r\n", b"VALUE n 0 %d\r\n%b\r\nVALUE sum 0 %d\r\n%b\r\nEND\r\n" %
                (len(number), number, len(number), number))

    def test_a_value_that_is_replaced_while_it_is_sent_arrives_whole(self):
        old, new = os.urandom(MIB), os.urandom(MIB)
        command = b"set big 0 0 %d\r\n" % MIB
        with self.server("--threads", "2", "--memory", "3M") as server, \
                server.connect(receive_buffer=4096) as slow, server.connect() as peer:
            say(self, peer, command + old + b"\r\n", b"STORED\r\n")
            slow.sendall(b"get big\r\n" * 20)
            head = b"VALUE big 0 %d\r\n" % MIB
            got = [cli.read_exactly(slow, len(head))]
            say(self, peer, command + new + b"\r\n", b"STORED\r\n")
            for i in range(8):  # and now there is no room for it
                say(self, peer, b"set other%d 0 0 %d\r\n" % (i, MIB) + old + b"\r\n", b"STORED\r\n")
            say(self, peer, b"touch big 0\r\n" + command + new + b"\r\n", b"NOT_FOUND\r\nSTORED\r\n")
            slow.shutdown(socket.SHUT_WR)
            replies = (got[0] + cli.read_all(slow)).split(b"END\r\n")
            self.assertTrue(replies.pop() == b"")
            self.assertEqual(len(replies), 20)
            for reply in replies:
                self.assertTrue(reply in (head + old + b"\r\n", head + new + b"\r\n"))
            self.assertTrue(replies[0] == head + old + b"\r\n")
            self.assertTrue(replies[-1] == head + new + b"\r\n")

    def test_who_asks_for_gigabytes_and_does_not_read_costs_nothing(self):
        with self.server() as server, server.connect() as peer:
            say(self, peer, b"set big 0 0 %d\r\n" % MIB + bytes(MIB) + b"\r\n", b"STORED\r\n")
            before = server.rss_bytes()
            greedy = [server.connect(receive_buffer=4096) for _ in range(8)]
            for other in greedy[:4]:
                other.sendall(b"get big\r\n" * 2000)
            for other in greedy[4:]:
                other.sendall(b"get" + b" big" * 2000 + b"\r\n")
            say(self, peer, b"get big\r\n", b"VALUE big 0 %d\r\n" % MIB + bytes(MIB) + b"\r\nEND\r\n")
            self.assertLess(server.rss_bytes() - before, 16 * MIB)
            for other in greedy[::3]:
                cli.read_exactly(other, 3 * MIB)
            self.ask(peer)
            for other in greedy:
                program.reset(other)
            self.ask(peer)

    def test_binary_pipelines_of_a_slow_reader(self):
        value = os.urandom(100000)
        with self.server() as server, server.connect(receive_buffer=4096) as peer:
            say(self, peer, request(SET, b"a", value, storing()), response(SET, cas=1))
            peer.sendall(b"".join(request(GETKQ, b"a", opaque=i) for i in range(100)) +
                         request(NOOP) + request(GET, b"b")[:20])
            peer.shutdown(socket.SHUT_WR)
            for i in range(100):
                reply = response(GETKQ, key=b"a", value=value, extras=FLAGS7, cas=1, opaque=i)
                self.assertTrue(cli.read_exactly(peer, len(reply)) == reply)
            self.assertEqual(cli.read_all(peer), response(NOOP))


PYTHON_CLIENTS = {
    "pymemcache": """
import sys
from pymemcache.client.base import Client
client = Client(("127.0.0.1", int(sys.argv[1])))
assert client.set("a", "1", noreply=False) and client.get("a") == b"1"
assert client.incr("a", 41) == 42 and client.decr("a", 2) == 40
assert not client.add("a", "x", noreply=False) and client.append("a", "0", noreply=False)
assert client.get_many(["a", "b"]) == {"a": b"400"}
value, cas = client.gets("a")
assert client.cas("a", "new", cas) is True and client.cas("a", "old", cas) is False
assert client.touch("a", 100, noreply=False) and client.delete("a", noreply=False)
big = bytes(range(256)) * 4000
assert client.set("big", big, noreply=False) and client.get("big") == big
assert int(client.stats()[b"curr_items"]) == 1 and client.flush_all(noreply=False)
assert client.get("big") is None
""",
    "pylibmc": """
import sys, pylibmc
client = pylibmc.Client(["127.0.0.1:" + sys.argv[1]], binary=True, behaviors={"cas": True})
assert client.set("a", "one") and client.get("a") == "one"
assert client.set_multi({"b%d" % i: i for i in range(500)}) == []
assert client.get_multi(["b%d" % i for i in range(600)]) == {"b%d" % i: i for i in range(500)}
assert client.incr("b7", 5) == 12 and client.decr("b7", 2) == 10
value, cas = client.gets("a")
assert client.cas("a", "two", cas) and not client.cas("a", "three", cas)
assert client.delete("a") and client.get("a") is None
assert client.set("big", b"x" * 900000) and client.get("big") == b"x" * 900000
assert client.flush_all() and client.get("big") is None
""",
}


class Tools(unittest.TestCase):
    """Those of libmemcached."""

    def run_tool(self, name, server, *args):
        if shutil.which(name) is None:
            self.skipTest(f"{name} is not installed")
        place = ["-h", "127.0.0.1", "-p", str(server.port)] if name == "memccapable" else \
            [f"--servers=127.0.0.1:{server.port}"]
        done = subprocess.run([name, *place, *args], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=cli.PATIENCE_S, check=False)
        return done.returncode, done.stdout

    def test_memccapable(self):
        for protocol in ("-a", "-b"):
            with self.subTest(protocol), cli.Server("memcached", "--threads", "2") as server:
                status, out = self.run_tool("memccapable", server, protocol)
                self.assertEqual(status, 0, out)
                self.assertIn(b"All tests passed", out)

    def test_memcslap(self):
        with cli.Server("memcached", "--threads", "2") as server:
            for args in (("--test=set",), ("--test=get",), ("--test=mget",), ("--test=set", "--binary"),
                         ("--test=get", "--binary")):
                status, out = self.run_tool("memcslap", server, "--concurrency=4",
                                            "--execute-number=500", *args)
                self.assertEqual(status, 0, out)
                self.assertIn(b" keys by    4 threads", out)
            with server.connect() as peer:
                self.assertEqual(stats(peer)["curr_connections"], "1")

    def test_memcaslap_finds_what_it_has_set(self):
        for protocol in ((), ("-B",)):
            with cli.Server("memcached", "--threads", "2") as server:
                status, out = self.run_tool("memcaslap", server, "-T", "2", "-c", "8", "-x", "20000",
                                            "-v", "0.2", *protocol)
                self.assertEqual(status, 0, out)
                for count in (b"get_misses", b"verify_misses", b"verify_failed"):
                    self.assertIn(count + b": 0\n", out)

    def test_clients_of_python(self):
        python = "/usr/bin/python3"  # which sees what Debian's packages bring
        for module, script in PYTHON_CLIENTS.items():
            if subprocess.run([python, "-c", f"import {module}"], capture_output=True,
                              check=False).returncode != 0:
                self.skipTest(f"{module} is not installed")
            with self.subTest(module), cli.Server("memcached", "--threads", "2") as server:
                done = subprocess.run([python, "-c", script, str(server.port)], capture_output=True,
                                      timeout=cli.PATIENCE_S, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_a_file_there_and_back(self):
        for options in ((), ("--binary",)):
            with cli.Server("memcached") as server, tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "file")
                data = os.urandom(300000).replace(b"\n", b" ")
                with open(path, "wb") as file:
                    file.write(data)
                self.assertEqual(self.run_tool("memccp", server, *options, path)[0], 0)
                status, out = self.run_tool("memccat", server, *options, "file")
                self.assertEqual(status, 0)
                self.assertTrue(out.rstrip(b"\n") == data.rstrip(b"\n"))
                self.assertEqual(self.run_tool("memcrm", server, *options, "file")[0], 0)
                self.assertNotEqual(self.run_tool("memccat", server, *options, "file")[0], 0)


if __name__ == "__main__":
    cli.main()
