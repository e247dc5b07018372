/* SPDX-License-Identifier: BSD-2-Clause */
/* peal load: what its parts share. load.c reads options and keeps time, load_worker.c drives the
 * connections of one loop, load_report.c prints what came of it. */
#ifndef PEAL_TOOLS_LOAD_H
#define PEAL_TOOLS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <peal/client.h>
#include <peal/loop.h>
#include <peal/timer.h>

#include "histogram.h"

enum load_mode {
    LOAD_PINGPONG, /* one message under way on each connection */
    LOAD_PIPELINE, /* depth of them */
    LOAD_CHURN,    /* connect, one message, end; again */
    LOAD_IDLE      /* connect, and do nothing */
};

struct load_options {
    enum load_mode mode;
    const char *mode_name;
    const char *connect;
    uint64_t conns;
    uint64_t size;
    uint64_t depth;
    uint64_t threads;
    uint32_t time_ms;
    bool json;
    bool reset; /* churn ends connections with a reset */
};

enum { LOAD_ERRORS_MAX = 16 };

struct load_counts {
    uint64_t messages; /* echoed whole, before the end */
    uint64_t opened, closed;
    uint64_t still_open; /* when time was up */
    uint64_t causes[PEAL_CAUSE_COUNT];
    uint64_t wrong; /* messages that came back with other bytes */
    struct {
        int error; /* of failures to connect */
        uint64_t count;
    } errors[LOAD_ERRORS_MAX];
    struct histogram latency_ns;
};

struct load_conn;

/* The connections of one loop. Its fields are that loop's thread's until it has called done. */
struct load_worker {
    const struct load_options *options;
    struct peal_loop *loop;
    const unsigned char *payload; /* a message */
    unsigned conn_count;
    struct load_conn *conns;
    unsigned started;    /* conns that have begun */
    unsigned connecting; /* of those: neither open nor failed yet */
    unsigned open;
    bool stopping;
    bool over;
    struct peal_timer patience;
    struct load_counts counts;
    void (*done)(void *user); /* called once, after stop, when nothing is open any more */
    void *user;
};

/* To be posted to the worker's loop. */
void load_worker_start(void *worker);
void load_worker_stop(void *worker);

/* After the loop has ended. */
void load_worker_deinit(struct load_worker *worker);

void load_count_error(struct load_counts *counts, int error, uint64_t times);
void load_merge(struct load_counts *into, const struct load_counts *from);
uint64_t load_now_ns(void);

void load_report(const struct load_options *options, const struct load_counts *counts,
                 double seconds);

#endif
