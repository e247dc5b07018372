/* SPDX-License-Identifier: BSD-2-Clause */
/* A probe: an io attached to a loop's engine whose handler writes down what it is told. For the
 * tests of engines, which have no connection or listener around. */
#ifndef TEST_IO_PROBE_H
#define TEST_IO_PROBE_H

#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct probe {
    struct pl_io io;   /* the first member */
    char history[512]; /* r data, f FIN, e error, s sent, a accepted, x not accepted, c connected, y
                        * not connected */
    size_t recv_last, recv_all; /* bytes */
    bool recv_wrong;            /* not the bytes of the pattern (support/raw.h), if asked for */
    bool recv_pattern;
    int error;         /* the last that was told */
    bool detached;     /* on_detached was called */
    uint64_t sent_all; /* bytes, as on_sent has told */
    int accepted[256]; /* fds, for the test to close */
    unsigned accepted_count;
    void (*also)(struct probe *probe, char what); /* what to do besides, in the handler */
    void *tag;
};

/* Makes the fd non-blocking, and attaches it with these flags. */
void probe_attach(struct probe *probe, struct peal_loop *loop, int fd, uint8_t flags);

/* Ready for connect; not attached. */
void probe_init(struct probe *probe, struct peal_loop *loop, int fd);

void probe_detach(struct probe *probe); /* the fd stays the test's */

/* For engines with operations in flight: detaches, and turns until the io is given back. */
void probe_end(struct probe *probe);
void probe_recv_start(struct probe *probe);
void probe_recv_stop(struct probe *probe);
ssize_t probe_send(struct probe *probe, const void *data, size_t size);

/* Turns, each waiting at most 10 ms, until the history is at least so long; then one more, which
 * shows what comes too much. */
void probe_until(struct probe *probe, size_t length);

/* Engine events of that many turns of at most 2 ms each: none that spins has few. */
uint64_t probe_events_of_turns(struct peal_loop *loop, unsigned turns);

#endif
