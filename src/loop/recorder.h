/* SPDX-License-Identifier: BSD-2-Clause */
/* The flight recorder: the last lifecycle events of a loop in a ring, written without a branch,
 * printed on demand and in the message of a broken invariant. */
#ifndef PL_RECORDER_H
#define PL_RECORDER_H

#include <stddef.h>
#include <stdint.h>

struct peal_loop;

enum { PL_RECORDER_EVENTS = 4096 };

/* X(NAME, "text"): what can be recorded. subject is a connection's id, or 0; detail depends on the
 * event. */
#define PL_RECORDER_KINDS(X)                                                                       \
    X(LOOP_START, "loop started")                                                                  \
    X(LOOP_END, "loop ended")                                                                      \
    X(MOVE, "connection moved") /* detail: from << 16 | event << 8 | to */                         \
    X(CLOSE_CALLED, "close called")                                                                \
    X(SHUTDOWN_CALLED, "shutdown called")                                                          \
    X(ABORT_CALLED, "abort called")                                                                \
    X(FD_CLOSED, "fd closed") /* detail: fd */                                                     \
    X(FREED, "memory freed")                                                                       \
    X(ACCEPTED, "accepted")           /* detail: fd */                                             \
    X(ACCEPT_PAUSED, "accept paused") /* detail: errno */                                          \
    X(ACCEPT_RESUMED, "accept resumed")                                                            \
    X(REFUSED, "refused")                                                                          \
    X(HANDED_OVER, "handed over to another loop")                                                  \
    X(CONNECT_STARTED, "connect started")                                                          \
    X(CONNECT_FAILED, "connect failed") /* detail: errno */                                        \
    X(SERVER_STOP, "server stop")                                                                  \
    X(SERVER_STOPPED, "server stopped")

enum pl_recorder_kind {
#define PL_RECORDER_ENUM(name, text) PL_RECORD_##name,
    PL_RECORDER_KINDS(PL_RECORDER_ENUM)
#undef PL_RECORDER_ENUM
};

struct pl_record_entry {
    uint64_t at_ns;
    uint64_t subject;
    uint32_t detail;
    uint32_t kind;
};

struct pl_recorder {
    uint64_t count; /* events ever; the ring holds the last PL_RECORDER_EVENTS */
    struct pl_record_entry *ring;
};

int pl_recorder_init(struct pl_recorder *recorder); /* -ENOMEM */
void pl_recorder_deinit(struct pl_recorder *recorder);

void pl_record(struct peal_loop *loop, enum pl_recorder_kind kind, uint64_t subject,
               uint32_t detail);

/* Hands the last events_max events (of one subject if it is not 0), oldest first, to line as text.
 * describe, if not NULL, puts the MOVE detail into words (the states' names belong to src/net). The
 * loop's thread. */
void pl_recorder_print(const struct peal_loop *loop, uint64_t subject, size_t events_max,
                       void (*line)(const char *text, void *user), void *user);
extern void (*pl_recorder_describe_move)(uint32_t detail, char *text, size_t size);

#endif
