# SPDX-License-Identifier: BSD-2-Clause
"""The field: who is measured, in which cases, against which targets.

A case names what the server does (mode), what the load does (load), with how many connections of
which message size, and where both run:

  split   the server alone on one core, the load on another
  shared  both on one core: the cost of a message with nothing to overlap
  free    wherever the kernel puts them; for servers of several loops

A target is an upper limit of the server's CPU time a message, as a ratio to the case's base (the
hand-written epoll loop unless another is named). A case without targets still counts in the list of
cells in which a peer is ahead.
"""


class Peer:
    """One column of the tables: a server program and what must be in its environment, and the only
    cases it is for, if it is not for all."""

    def __init__(self, name, title, program, kind, **more):
        self.name, self.title, self.program, self.kind = name, title, program, kind
        self.env = more.get("env", {})
        self.packages = more.get("packages", ())
        self.only = more.get("only")


PEERS = (
    Peer("raw-epoll", "raw epoll", "raw-epoll", "yardstick"),
    Peer("raw-gather", "raw epoll, gathering", "raw-epoll-gather", "yardstick", only=("frames",)),
    Peer("raw-uring", "raw io_uring", "raw-uring", "yardstick", packages=("liburing2",)),
    Peer("libev", "libev", "libev", "peer", packages=("libev4",)),
    Peer("libuv-try", "libuv try_write", "libuv-try", "peer", packages=("libuv1",)),
    Peer("libuv-write", "libuv write", "libuv", "peer", packages=("libuv1",)),
    Peer("libevent", "libevent", "libevent", "peer",
         packages=("libevent-2.1-7", "libevent-core-2.1-7")),
    Peer("asio", "Asio", "asio", "peer", packages=("libasio-dev",)),
    Peer("peal-epoll", "Peal epoll", "peal", "peal", env={"PEAL_ENGINE": "epoll"}),
    Peer("peal-uring", "Peal io_uring", "peal", "peal", env={"PEAL_ENGINE": "io_uring"}),
    Peer("peal-epoll-spin", "Peal epoll, spinning", "peal", "option", only=("echo-1",),
         env={"PEAL_ENGINE": "epoll", "BENCH_BUSY_POLL_US": "50"}),
    Peer("peal-uring-spin", "Peal io_uring, spinning", "peal", "option", only=("echo-1",),
         env={"PEAL_ENGINE": "io_uring", "BENCH_BUSY_POLL_US": "50"}),
)
BASE = "raw-epoll"


class Case:
    """One row of the tables."""

    def __init__(self, name, title, load, mode, conns, size, **more):
        self.name, self.title = name, title
        self.load, self.mode, self.conns, self.size = load, mode, conns, size
        self.cores = more.get("cores", "split")
        self.pipeline = more.get("pipeline", 1)
        self.loops = more.get("loops", 1)
        self.loads = more.get("loads", 1)
        self.targets = more.get("targets", {})
        self.base = more.get("base", BASE)
        self.unit = more.get("unit", "message")
        self.slice_factor = more.get("slice_factor", 1)
        self.quick = more.get("quick", True)
        self.meaning = more["meaning"]


def limits(epoll, uring):
    return {"peal-epoll": epoll, "peal-uring": uring}


CASES = (
    Case("echo-1-shared", "64 B x 1, one core", "echo", "echo", 1, 64, cores="shared",
         targets=limits(1.02, 1.02),
         meaning="One connection, one message under way, server and load on the same core: every "
                 "instruction of the way of a message shows, and nothing overlaps."),
    Case("echo-1", "64 B x 1, two cores", "echo", "echo", 1, 64,
         meaning="The same across two cores: mostly the price of waking a sleeping core. Here Peal is "
                 "measured once more with its option to spin for 50 µs before it sleeps, which "
                 "buys latency with CPU time. It takes no part in the lists of who is ahead."),
    Case("echo-100", "64 B x 100", "echo", "echo", 100, 64, targets=limits(1.01, 0.95),
         meaning="A hundred connections, each with one message under way: the everyday case."),
    Case("echo-1000", "64 B x 1000", "echo", "echo", 1000, 64, targets=limits(0.99, 0.92),
         meaning="A thousand: large batches a wake-up, and caches begin to matter."),
    Case("echo-10000", "64 B x 10,000", "echo", "echo", 10000, 64, targets=limits(1.01, 0.95),
         slice_factor=2, quick=False,
         meaning="Ten thousand: what a connection costs in cache and memory. The targets are those "
                 "of a hundred connections: the cost must stay flat against raw epoll."),
    Case("echo-4k", "4 KiB x 100", "echo", "echo", 100, 4096, targets=limits(1.01, 0.98),
         meaning="Messages of a page."),
    Case("echo-16k", "16 KiB x 100", "echo", "echo", 100, 16384, targets=limits(1.01, 1.00),
         meaning="Messages larger than many libraries' read buffers."),
    Case("churn", "connect, 1 byte, FIN", "churn", "echo", 50, 1, unit="connection",
         targets=limits(1.03, 0.95),
         meaning="Fifty at a time: connect, send one byte, have it back, end, be closed. A "
                 "\"message\" is one whole connection."),
    Case("frames", "50 x 32 frames of 64 B", "frames", "frames", 50, 64, pipeline=32, unit="frame",
         targets=limits(0.50, 0.50), base="libuv-try",
         meaning="Fifty connections, 32 length-prefixed frames of 64 bytes under way on each; the "
                 "server answers each frame with a send of its own (raw epoll with a system call each, "
                 "and, for comparison, gathering all answers of a read by hand). The target was half of muduo's "
                 "cost. Muduo is no Debian package, so the base is libuv's try_write, which like "
                 "muduo gives each frame to the kernel by itself."),
    Case("broadcast", "broadcast 1 KiB to 1000", "broadcast", "broadcast", 1000, 1024,
         unit="delivery",
         meaning="One connection says a byte, and the server sends one block of 1 KiB to all "
                 "thousand. A \"message\" is one delivery."),
    Case("sink", "bulk in, 256 KiB", "sink", "sink", 4, 262144, unit="256 KiB", slice_factor=2,
         meaning="Four connections that send as fast as they can, 256 KiB a write; the server "
                 "throws it away. A \"message\" is 256 KiB."),
    Case("source", "bulk out, 256 KiB", "source", "source", 4, 262144, unit="256 KiB",
         slice_factor=2,
         meaning="The other way: the server sends as fast as four readers take it, 256 KiB a "
                 "send. A \"message\" is 256 KiB."),
    Case("loops-1", "64 B x 100, one loop, not pinned", "echo", "echo", 100, 64, cores="free",
         loads=2, quick=False,
         meaning="What two loops are compared with: one loop, two load processes, nobody pinned."),
    Case("loops-2", "64 B x 100, two loops, not pinned", "echo", "echo", 100, 64, cores="free",
         loops=2, loads=2, quick=False,
         meaning="Two loops and two load processes, nobody pinned. Twice the rate of one loop can "
                 "only show on four cores or more; on fewer, look at the cost of a message."),
)


def find(things, names, what):
    """Those of the things that are named, in the field's order; ValueError names what there is."""
    known = {thing.name: thing for thing in things}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no {what} '{unknown[0]}'; there are {', '.join(known)}")
    return [thing for thing in things if thing.name in set(names)]
