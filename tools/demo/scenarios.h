/* SPDX-License-Identifier: BSD-2-Clause */
/* The demo's scenarios, in the order in which they are shown: X(function, "name", what happens). */
#ifndef PEAL_DEMO_SCENARIOS_H
#define PEAL_DEMO_SCENARIOS_H

#include "scenario.h"

#define SCENARIOS(X)                                                                               \
    /* ends_peer.c */                                                                              \
    X(peer_fin, "peer FIN", "the peer ends its side after the reply")                              \
    X(peer_fin_pending, "peer FIN, 8 MiB pending",                                                 \
      "the peer ends its side while 8 MiB of reply are pending; all of them arrive")               \
    X(peer_reset, "peer reset", "the peer sends, and resets at once; what it sent is shown")       \
    X(peer_reset_pending, "peer reset, output pending",                                            \
      "the peer resets while output is pending; what is lost is counted")                          \
    X(half_open, "half-open peer reads on",                                                        \
      "the peer ends its side first and reads on; the program goes on sending, then closes")       \
    /* ends_local.c */                                                                             \
    X(close_unread, "close, 8 MiB, input unread",                                                  \
      "close right after an 8 MiB reply, input unread: all arrive, no reset is seen")              \
    X(local_abort, "local abort", "abort after a reply: the peer sees a reset")                    \
    X(shutdown_read, "shutdown, read the rest",                                                    \
      "our side ends first, and what the peer sends after that is still shown")                    \
    /* limits.c */                                                                                 \
    X(flush_timeout, "slow reader, flush timeout",                                                 \
      "the peer reads nothing: output makes no progress, and the connection is cut")               \
    X(slow_steady, "slow but steady reader",                                                       \
      "the peer reads little at a time, for longer than the flush timeout: it is never cut")       \
    X(idle_timeout, "idle timeout", "silent peers are cut; those that say something are not")      \
    X(output_cap, "output cap",                                                                    \
      "more is sent than may be pending: refused, and, unless that is wanted, cut")                \
    /* threads.c */                                                                                \
    X(close_elsewhere, "close from another thread",                                                \
      "another thread closes while data flows: all that was accepted arrives")                     \
    X(random_calls, "16 threads at random",                                                        \
      "16 threads call send, shutdown, close and abort on any connection at random")               \
    /* references.c */                                                                             \
    X(references, "references held",                                                               \
      "references outlive connections: fds go at once, memory at unref, and the report tells who") \
    /* connect.c */                                                                                \
    X(connect_refused, "connect refused", "nobody listens: each client is told once")              \
    X(connect_timeout, "connect timeout", "nothing answers: each client is told in time")          \
    X(connect_cancelled, "connect cancelled",                                                      \
      "clients are cancelled or released while they connect: nothing is called, nothing is left")  \
    /* servers.c */                                                                                \
    X(unix_sockets, "unix sockets", "the same over a unix socket, whose file was left stale")      \
    X(fd_storm, "EMFILE storm",                                                                    \
      "fds run out: accepting pauses without a spin, and goes on when there are some again")       \
    X(stop_thousand, "server stop, 1000 live",                                                     \
      "idle, slow and stuck connections when the server stops: it ends in time")                   \
    X(release_inside, "server released inside",                                                    \
      "the last reference to the server goes in a callback of one of its connections")

#define SCENARIO_DECLARE(function, name, text) void scenario_##function(struct scenario *scenario);
SCENARIOS(SCENARIO_DECLARE)
#undef SCENARIO_DECLARE

#endif
