/* SPDX-License-Identifier: BSD-2-Clause */
/* The server, as its own files see it: server.c makes it, accept.c takes connections in and spreads
 * them, server_stop.c ends it, server_each.c reaches every connection, shard.c keeps those of one
 * loop. */
#ifndef PL_SERVER_H
#define PL_SERVER_H

#include <peal/server.h>
#include <peal/stats.h>

#include "net/addr_count.h"
#include "net/conn.h"
#include "net/listener.h"

struct pl_server_counters {
#define PL_COUNTER_FIELD(name, sentence) struct pl_counter name;
    PEAL_SERVER_STATS(PL_COUNTER_FIELD)
#undef PL_COUNTER_FIELD
    struct pl_counter closed_by_cause[PEAL_CAUSE_COUNT];
};

/* What one loop serves of a server. Its loop's thread, but for the fields marked. */
struct pl_shard {
    struct pl_conn_owner owner;
    struct peal_server *server;
    struct peal_loop *loop; /* with a reference */
    struct pl_resident resident;
    uint64_t conns; /* opened and not closed; the owner has the list */
    struct pl_list listeners;
    struct pl_limits *limits;
    struct peal_timer deadline;
    struct pl_task control_task;
    struct peal_drain_report report; /* this shard's part */
    bool loop_gone;
    bool stopping;
    bool finished;
    bool
        held; /* its listeners are held back, as the server's accept_held was when last looked at */
    struct pl_task settle_task; /* the first task to its loop, and the last */

    _Atomic bool control_posted; /* any thread: control_task is on its way */
    _Atomic uint32_t incoming; /* any thread: sockets meant for this shard that have not arrived */
    struct pl_server_counters counters; /* written by the loop's thread, read by any */
};

enum pl_server_state { PL_SERVER_RUNNING, PL_SERVER_STOPPING, PL_SERVER_STOPPED };

struct peal_server {
    struct peal_server_options options; /* defaults filled in; pool is not followed after new */
    char name[16];
    uint32_t number;        /* names it in the list of held connections */
    struct peal_loop *home; /* == shards[0]->loop */
    struct pl_shard *
        *shards; /* [0]: home, with the listeners; connections too if there is no pool */
    unsigned shard_count;
    unsigned serving_from; /* shards from this index on serve connections */
    struct pl_addr_count addr_counts;

    struct peal_addr *addresses; /* as bound, in the order of listen calls; home's thread */
    size_t address_count;
    unsigned accept_pauses; /* home's thread */

    /* any thread */
    _Atomic bool accept_held;    /* peal_server_pause_accept; written by home's thread */
    _Atomic uint32_t users;      /* references of the program */
    _Atomic uint32_t references; /* one for all users, one while it runs, one for each task and
                                    closing listener */
    _Atomic uint8_t state;       /* enum pl_server_state */
    _Atomic uint32_t next_shard;
    _Atomic uint32_t shards_left;   /* not finished */
    _Atomic uint64_t conns_now;     /* open, or on their way to their loop */
    _Atomic uint64_t deadline_ns;   /* of the stop; UINT64_MAX: none */
    _Atomic uint64_t stop_began_ns; /* 0: not yet */
    struct pl_task stopped_task;
    _Atomic uint64_t adopted; /* counted as accepted; no shard's thread counts it */
};

void pl_server_hold(struct peal_server *server);
void pl_server_release(struct peal_server *server);
static inline enum pl_server_state pl_server_state(const struct peal_server *server)
{
    return (enum pl_server_state)atomic_load(&server->state);
}

/* ---- shard.c */
struct pl_shard *pl_shard_new(struct peal_server *server, struct peal_loop *loop);
void pl_shard_free(struct pl_shard *shard); /* one that was never settled, or has finished */
void pl_shard_settle(
    struct pl_shard *shard); /* on its loop's thread: it hears of the loop's end from now on */
void pl_shard_add(struct pl_shard *shard,
                  struct peal_conn *conn);        /* opens it; takes the socket over */
void pl_shard_loop_ended(struct pl_shard *shard); /* in the end of its loop, which it finishes in */
void pl_shard_had_no_loop(
    struct pl_shard *shard); /* it had ended before; the shards' server is being made */
void pl_shard_hold_back(struct pl_shard *shard, bool hold);
void pl_shard_stop(struct pl_shard *shard); /* begins, or takes notice of a new deadline */
void pl_shard_check_finished(struct pl_shard *shard);

/* ---- accept.c */
extern const struct pl_listener_handler pl_server_listener_handler; /* user: the shard */
struct pl_shard *pl_server_choose_shard(struct peal_server *server);
void pl_server_take_socket(struct pl_shard *at, struct pl_shard *to, int fd,
                           const struct sockaddr *peer, socklen_t peer_size);
/* Counts a connection in; false: a limit is reached. */
bool pl_server_admit(struct peal_server *server, const struct sockaddr *peer, socklen_t peer_size);
void pl_server_discount(struct peal_server *server, const struct sockaddr *peer,
                        socklen_t peer_size);

/* ---- server_stop.c */
void pl_shard_call(
    struct pl_shard *shard); /* any thread: has it look at the stop and at accept_held */
void pl_server_shard_finished(struct peal_server *server);

#endif
