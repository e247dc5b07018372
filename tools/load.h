/* SPDX-License-Identifier: BSD-2-Clause */
/* peal load: what its parts share. load_options.c reads the command line, load.c keeps time,
 * load_worker.c drives the connections of one loop, load_schedule.c says when a message is due if
 * there is a rate to keep, load_report.c prints what came of it. */
#ifndef PEAL_TOOLS_LOAD_H
#define PEAL_TOOLS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <peal/client.h>
#include <peal/loop.h>
#include <peal/timer.h>
#include <peal/watch.h>

#include "args.h"
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
    uint32_t ramp_ms; /* connections open over so long; 0: as fast as they can */
    uint64_t rate; /* messages a second (churn: connections) in all; 0: on the echo of the last */
    const char *csv_path;
    struct arg_maybe plot; /* with a text: to that PNG file, not to the terminal */
    bool json;
    bool reset; /* churn ends connections with a reset */
};

enum { LOAD_ERRORS_MAX = 16, LOAD_BEHIND_TOLD_NS = 100000000 };

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
    /* With a rate: due = messages + not_sent + unanswered. */
    uint64_t due;
    uint64_t not_sent, unanswered; /* when time was up, or the connection was gone */
    uint64_t behind_ns; /* how long ago the oldest of these on a live connection was due */
    uint64_t late_ns;   /* the most that the load itself was late */
    struct histogram latency_ns;
};

/* A worker's part of a second (load_series.c). The counts are since the beginning. */
struct load_sample {
    uint64_t messages, errors;
    unsigned open;
    uint64_t behind_ns;
    struct histogram latency_ns; /* since the sample before */
};

struct load_worker;

struct load_conn {
    struct load_worker *worker;
    struct peal_client *client;
    struct peal_conn *conn; /* while it is open */
    struct peal_timer retry;
    uint64_t
        *sent_ns;  /* a ring of options->depth: when each message was sent, or should have been */
    uint64_t sent; /* messages; of churn, cycles */
    uint64_t echoed;
    size_t message_bytes; /* that came back, of the message under way */
    bool message_wrong;
    bool cycling; /* churn: from connect until the connection has closed */

    /* With a rate (load_schedule.c). */
    enum { LOAD_NOT_YET, LOAD_ON_SCHEDULE, LOAD_GONE } place;
    uint64_t first_round; /* its message number n is due in round first_round + n */
    uint64_t due;         /* messages that have come due */
};

/* The connections of one loop. Its fields are that loop's thread's until it has called done. */
struct load_worker {
    const struct load_options *options;
    struct peal_loop *loop;
    const unsigned char *payload; /* a message */
    uint64_t began_ns;            /* the same for all workers */
    unsigned number, step;        /* its connections are those of number, number + step, … */
    unsigned conn_count;
    struct load_conn *conns;
    unsigned started;    /* conns that have begun */
    unsigned connecting; /* of those: neither open nor failed yet */
    unsigned open;
    bool stopping;
    bool over;
    struct peal_timer patience;
    struct peal_timer ramp;
    struct {
        int fd; /* a timerfd */
        struct peal_watch *watch;
        uint64_t round; /* the next to come due is that of conns[place] in this round */
        unsigned place;
    } schedule;
    struct load_counts counts;
    struct load_sample *gathering; /* NULL if nothing is told each second */
    struct load_sample *handed;    /* the home loop's, from sampled until it asks for the next */
    void (*sampled)(void *user);
    void *sampled_user;
    void (*done)(void *user); /* called once, after stop, when nothing is open any more */
    void *user;
};

/* To be posted to the worker's loop. */
void load_worker_start(void *worker);
void load_worker_stop(void *worker);
void load_worker_sample(void *worker); /* hands the sample over and calls sampled */

void load_worker_fill(struct load_worker *worker); /* its sample's counts */

/* After the loop has ended. */
void load_worker_deinit(struct load_worker *worker);

/* Sends what is due and what depth allows, or begins churn's next cycle. */
void load_go(struct load_conn *load);

/* load_schedule.c. All do nothing without a rate. */
int load_schedule_open(struct load_worker *worker);
void load_schedule_join(struct load_conn *load);
void load_schedule_leave(struct load_conn *load);
uint64_t load_schedule_due_ns(const struct load_conn *load, uint64_t message);
uint64_t load_schedule_behind_ns(const struct load_worker *worker, uint64_t now_ns);
void load_schedule_close(struct load_worker *worker); /* and takes account */

void load_count_error(struct load_counts *counts, int error, uint64_t times);
void load_merge(struct load_counts *into, const struct load_counts *from);
uint64_t load_now_ns(void);

/* Returns -1 to go on, or the code to exit with. */
int load_options_read(int argc, char **argv, struct load_options *options);

void load_time_text(char text[32], uint64_t time_ns); /* "55.5 us" */
void load_report(const struct load_options *options, const struct load_counts *counts,
                 double seconds);

#endif
