/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters of a loop and of a server: kept always, read from any thread without a lock. Each figure
 * is exact when nothing is going on, and a moment old while it is; they only grow, but for those
 * that say "now".
 *
 *     struct peal_loop_stats stats;
 *     peal_loop_get_stats(loop, &stats);
 *     printf("%llu turns\n", (unsigned long long)stats.turns);
 */
#ifndef PEAL_STATS_H
#define PEAL_STATS_H

#include <peal/close.h>

PEAL_BEGIN

struct peal_loop;
struct peal_server;

/* X(name, sentence) */
#define PEAL_LOOP_STATS(X)                                                                         \
    X(turns, "turns of the loop")                                                                  \
    X(events, "events that the engine dispatched")                                                 \
    X(wakes, "times that another thread had to wake the loop")                                     \
    X(tasks, "tasks run")                                                                          \
    X(tasks_dropped, "tasks dropped because the loop ended")                                       \
    X(timers, "timers fired")                                                                      \
    X(wait_ns, "nanoseconds spent waiting")                                                        \
    X(work_ns, "nanoseconds spent working")                                                        \
    X(lag_max_ns, "longest turn: the most that an event had to wait for the loop")                 \
    X(opened, "connections opened on the loop")                                                    \
    X(closed, "connections closed on the loop")                                                    \
    X(bytes_received, "bytes read from connections")                                               \
    X(bytes_taken, "bytes that the kernel took from connections")                                  \
    X(recv_again, "reads that found nothing (EAGAIN)")                                             \
    X(short_writes, "writes of which the kernel took only a part, or nothing")

struct peal_loop_stats {
#define PEAL_STATS_FIELD(name, sentence) uint64_t name;
    PEAL_LOOP_STATS(PEAL_STATS_FIELD)
    uint64_t connections_now;
};

#define PEAL_SERVER_STATS(X)                                                                       \
    X(accepted, "sockets taken from the listeners")                                                \
    X(opened, "connections opened (on_open was called)")                                           \
    X(closed, "connections closed (on_close was called)")                                          \
    X(refused, "sockets closed at once because a limit on connections was reached")                \
    X(accept_errors, "sockets that failed while they were being accepted")                         \
    X(accept_pauses, "times that accepting paused for want of fds or memory")                      \
    X(handover_lost,                                                                               \
      "sockets closed because the loop they were meant for was ending, or for want of memory")     \
    X(bytes_received, "bytes read, of connections that have closed")                               \
    X(bytes_accepted, "bytes accepted from the program, of connections that have closed")          \
    X(bytes_taken, "bytes that the kernel took, of connections that have closed")                  \
    X(bytes_unsent, "bytes accepted and never taken by the kernel, of connections that have "      \
                    "closed")

struct peal_server_stats {
    PEAL_SERVER_STATS(PEAL_STATS_FIELD)
#undef PEAL_STATS_FIELD
    uint64_t connections_now;
    uint64_t closed_by_cause[PEAL_CAUSE_COUNT];
};

/* Any thread with a reference. */
PEAL_API void peal_loop_get_stats(const struct peal_loop *loop, struct peal_loop_stats *ret_stats);
PEAL_API void peal_server_get_stats(const struct peal_server *server,
                                    struct peal_server_stats *ret_stats);

PEAL_END
#endif
