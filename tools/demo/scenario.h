/* SPDX-License-Identifier: BSD-2-Clause */
/* A scenario: one way for connections to end, tried on a few hundred of them, and judged.
 *
 * It is a function that says what it wants in a plan, has it played, and then says what it expects:
 *
 *     static void reply(struct subject *subject)
 *     {
 *         subject_send(subject, subject->wanted);
 *     }
 *
 *     void scenario_peer_fin(struct scenario *s)
 *     {
 *         static const struct peer_step steps[] = {
 *             {PEER_CONNECT}, {PEER_REQUEST, 4096}, {PEER_READ, 4096}, {PEER_SHUTDOWN},
 *             {PEER_READ_ALL}, {PEER_CLOSE}, {PEER_DONE}};
 *         scenario_play(s, &(struct plan){.connections = 300, .steps = steps,
 *                                         .hooks = {.on_request = reply}});
 *         scenario_expect(s, &(struct expected){.cause = PEAL_CAUSE_PEER_CLOSED, .clean = YES,
 *                                               .all_arrive = YES, .peer_end = PEER_EOF});
 *     }
 *
 * Whatever the plan, these are checked of every connection: on_open and on_close once each, on the
 * loop's thread, nothing before or after, no callback inside another or inside a call; the close
 * record's books balance and agree with what send said; what arrived is a prefix of what was sent;
 * no fd and no byte of memory is left over.
 */
#ifndef PEAL_DEMO_SCENARIO_H
#define PEAL_DEMO_SCENARIO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <peal/client.h>
#include <peal/loop.h>
#include <peal/pool.h>
#include <peal/server.h>

#include "peer.h"
#include "subject.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

enum { VERDICT_SIZE = 320, OTHER_CAUSES_MAX = 4, OTHER_CAUSE_SIZE = 32 };

/* What a scenario came to. It lies in memory that the process that tries the scenario shares with
 * the one that reports on it, so that a crash or a hang still leaves a verdict. */
struct scenario_result {
    uint64_t connections; /* tried */
    uint64_t opened, closed;
    uint64_t causes[PEAL_CAUSE_COUNT];
    struct {
        char text[OTHER_CAUSE_SIZE]; /* what came of attempts that never opened */
        uint64_t count;
    } other_causes[OTHER_CAUSES_MAX];
    uint64_t bytes_accepted, bytes_taken, bytes_arrived;
    int64_t fds_left;
    int64_t memory_left;
    bool memory_measured;
    bool complete; /* the scenario got to its end */
    uint64_t took_ms;
    unsigned faults;            /* things that were wrong */
    char verdict[VERDICT_SIZE]; /* the first of them; empty: none */
    char waits_for[64];         /* what it is waiting for now; empty: nothing */
};

/* What is to be played. Zero means the default. */
struct plan {
    unsigned connections; /* before --scale */
    unsigned at_once_max; /* so many at a time; default: all */
    const struct peer_step *steps;
    const struct peer_step *(*steps_for)(uint32_t key); /* or: each peer its own */
    struct subject_hooks hooks;
    struct peal_conn_limits limits;
    const char *address; /* default "127.0.0.1:0" */
    int send_buffer;     /* SO_SNDBUF of the server's sockets; default: the system's */
    int receive_buffer;  /* SO_RCVBUF of the peers' sockets; default: the system's */
    bool sockets_first;  /* the peers make all sockets before they start */
    uint32_t accept_retry_ms;
    uint32_t drain_ms;
    void (*on_accept_pause)(struct peal_server *server, int error, void *user);
};

/* A fact that may be expected, ruled out, or left open. */
enum fact { ANY, YES, NO };

/* What is expected of every connection, or, with only set, of those for which it says so. */
struct expected {
    bool (*only)(const struct subject *subject);
    enum peal_cause cause; /* PEAL_CAUSE_NONE: any */
    enum fact clean;
    enum fact all_arrive;   /* what was accepted, at the peer; NO: something was left unsent */
    enum fact all_received; /* what the peer sent, by on_data */
    enum peer_end peer_end; /* PEER_OPEN: any */
};

struct scenario {
    uint32_t magic; /* not a subject's: callbacks get the one or the other */
    const char *name;
    double scale;
    uint32_t patience_ms; /* for any one wait */
    struct scenario_result *result;

    struct plan plan;
    struct peal_loop *home; /* turned by the main thread while it waits */
    struct peal_pool *pool;
    struct peal_server *server;
    struct peal_server *server_kept; /* so that its counters can be read at the end */
    struct peal_conn_ops ops;
    struct peer_group peers;

    struct subject *subjects;
    unsigned subjects_max;
    _Atomic unsigned subjects_used;
    struct subject *_Atomic *by_key; /* of plan.connections; NULL: no request came */
    _Atomic uint64_t opened, closed, requests;

    unsigned stops; /* calls of on_stopped */
    struct peal_drain_report drain;

    int64_t fds_before, memory_before;
};

typedef void (*scenario_fn)(struct scenario *scenario);

/* Notes that something is wrong. The first text becomes the verdict. Any thread. */
void scenario_fault(struct scenario *scenario, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- whole */

/* Starts server and peers, waits until every peer has done its script and every connection has
 * closed, and stops the server. */
void scenario_play(struct scenario *scenario, const struct plan *plan);

/* ---- in steps, for scenarios that do something in between. Each says false, and has noted a
 * fault, if it did not work out; the steps after it may be called all the same. */
bool scenario_open(struct scenario *scenario, const struct plan *plan);       /* loops and server */
bool scenario_open_loops(struct scenario *scenario, const struct plan *plan); /* no server */
bool scenario_start_peers(struct scenario *scenario);
bool scenario_wait_peers(struct scenario *scenario);                 /* all scripts done */
bool scenario_wait_closed(struct scenario *scenario);                /* all that opened */
bool scenario_stop(struct scenario *scenario, uint32_t deadline_ms); /* and waits for on_stopped */

/* Turns the home loop until done says true. */
bool scenario_wait(struct scenario *scenario, bool (*done)(struct scenario *scenario),
                   const char *what);

/* Open fds of this process. */
int64_t scenario_count_fds(void);

/* Turns it for so long. Returns the number of turns that it took. */
unsigned scenario_turn_for(struct scenario *scenario, uint32_t time_ms);

/* plan.connections after --scale: what there are of subjects' keys. */
unsigned scenario_connections(const struct scenario *scenario);

/* ---- judging. After the connections have closed. */
void scenario_expect(struct scenario *scenario, const struct expected *expected);

/* Checks connections that had no raw peer, or peers without a connection: counts only. */
void scenario_expect_count(struct scenario *scenario, const char *what, uint64_t is,
                           uint64_t expected);

/* Adds to what the causes column shows beside close causes. */
void scenario_add_cause(struct scenario *scenario, const char *text, uint64_t count);

/* ---- for demo.c: around every scenario. */
void scenario_begin(struct scenario *scenario, const char *name, double scale,
                    struct scenario_result *result);
void scenario_end(struct scenario *scenario); /* tears down what is left and checks the books */

#endif
