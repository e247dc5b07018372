/* SPDX-License-Identifier: BSD-2-Clause */
/* A shard: the connections that one loop serves for one server, and that loop's part in stopping
 * it.
 *
 * Because a connection's registry is on its own loop, opening and removing one takes no hop between
 * threads: muduo's "FIXME: unsafe" and its two queued functions have no counterpart here.
 *
 * A shard finishes once, on its loop's thread: when it is stopping, its connections have closed and
 * no socket is on its way to it, or when its loop has ended. When the last of a server's shards has
 * finished, the server has stopped (server_stop.c).
 *
 * Invariants:
 *  1. conns counts a connection from on_open until its owner is told that it closed; the shard
 *     outlives it. The list of them (pl_conn_first) is without one whose on_close is running.
 *  2. incoming is raised before a socket is posted here and lowered when it has arrived, was
 *     dropped, or could not be posted. While the loop turns every post arrives, so the one that
 *     lowers it to nothing is on the loop's thread and looks whether the shard has finished by
 *     that. When the loop ends, the last look comes after its queue was closed and emptied: whoever
 *     raised incoming and has not posted by then will be refused, and keeps the socket. Rejected:
 *     to have that sender finish the shard, on its own thread, which can be the program's inside
 *     peal_server_adopt, where on_stopped has no place (G2).
 *  3. Once stopping, nothing is opened here: sockets that still arrive are closed and counted as
 *     lost. */
#include "net/server.h"

#include "base/assert.h"

static void conn_closed(struct pl_conn_owner *owner, struct peal_conn *conn,
                        const struct peal_close_record *record)
{
    struct pl_shard *shard = pl_container(owner, struct pl_shard, owner);
    struct pl_server_counters *counters = &shard->counters;
    pl_assert(shard->conns > 0);
    shard->conns--;
    union pl_sockaddr peer;
    socklen_t peer_size = pl_conn_peer(conn, &peer);
    pl_server_discount(shard->server, &peer.any, peer_size);
    pl_count(&counters->closed, 1);
    pl_count(&counters->closed_by_cause[record->cause], 1);
    pl_count(&counters->bytes_received, record->bytes_received);
    pl_count(&counters->bytes_accepted, record->bytes_accepted);
    pl_count(&counters->bytes_taken, record->bytes_taken);
    pl_count(&counters->bytes_unsent, record->bytes_unsent);
    if (shard->stopping) {
        bool stopped =
            record->cause == PEAL_CAUSE_SERVER_STOP || record->cause == PEAL_CAUSE_LOOP_ENDED;
        bool cut = stopped && !record->clean && pl_conn_has(conn, PL_CONN_RESET);
        shard->report.cut_off += cut;
        shard->report.closed_clean += record->clean;
        shard->report.closed_otherwise += !cut && !record->clean;
        shard->report.bytes_unsent += record->bytes_unsent;
        pl_shard_check_finished(shard);
    }
}

static void close_listeners(struct pl_shard *shard)
{
    pl_list_each_safe (node, &shard->listeners) {
        pl_list_remove(node);
        pl_listener_close(pl_container(node, struct pl_listener, link));
    }
}

void pl_shard_hold_back(struct pl_shard *shard, bool hold)
{
    if (shard->held == hold) {
        return;
    }
    shard->held = hold;
    pl_list_each (node, &shard->listeners) {
        struct pl_listener *listener = pl_container(node, struct pl_listener, link);
        if (hold) {
            pl_listener_hold_back(listener);
        } else {
            pl_listener_go_on(listener);
        }
    }
}

static void break_all(struct pl_shard *shard, enum peal_cause cause)
{
    for (struct peal_conn *conn = pl_conn_first(shard->loop, &shard->owner); conn;
         conn = pl_conn_next(conn)) {
        pl_conn_break(conn, cause, 0);
    }
}

static void begin_stopping(struct pl_shard *shard)
{
    shard->report.connections += shard->conns;
    close_listeners(shard);
    shard->stopping = true;
}

static void finish(struct pl_shard *shard)
{
    if (shard->finished) {
        return;
    }
    shard->finished = true;
    peal_timer_deinit(&shard->deadline);
    pl_loop_leave(&shard->resident);
    pl_server_shard_finished(shard->server); /* may free the shard: last */
}

void pl_shard_check_finished(struct pl_shard *shard)
{
    if (shard->stopping && !shard->loop_gone && shard->conns == 0 &&
        atomic_load(&shard->incoming) == 0) {
        finish(shard);
    }
}

/* The loop's queue is closed and empty, and all of its connections are reaped. */
static void last_look(struct pl_task *task, bool dropped)
{
    struct pl_shard *shard = pl_container(task, struct pl_shard, settle_task);
    struct peal_server *server = shard->server;
    (void)dropped;
    pl_assert(shard->conns == 0);
    finish(shard);
    pl_server_release(server);
}

/* Dropped, as it was posted at the loop's end: the queue is closed, and what is behind this in it
 * is dropped next. What is deferred now comes after that. */
static void queue_closed(struct pl_task *task, bool dropped)
{
    struct pl_shard *shard = pl_container(task, struct pl_shard, settle_task);
    pl_assert(dropped);
    task->fn = last_look;
    pl_loop_defer_task(shard->loop, task);
}

void pl_shard_loop_ended(struct pl_shard *shard)
{
    shard->loop_gone = true;
    peal_timer_deinit(&shard->deadline);
    if (!shard->stopping) {
        begin_stopping(shard);
    }
    break_all(shard, PEAL_CAUSE_LOOP_ENDED);
    pl_server_hold(shard->server); /* for the last look */
    shard->settle_task.fn = queue_closed;
    if (!pl_loop_post_task(shard->loop, &shard->settle_task)) {
        queue_closed(&shard->settle_task, true); /* closed: the task that settles was dropped */
    }
}

void pl_shard_had_no_loop(struct pl_shard *shard)
{
    begin_stopping(shard);
    finish(shard);
}

static void on_loop_end(struct pl_resident *resident)
{
    pl_shard_loop_ended(pl_container(resident, struct pl_shard, resident));
}

static void on_deadline(struct peal_timer *timer, void *user)
{
    (void)timer;
    pl_shard_stop(user);
}

void pl_shard_stop(struct pl_shard *shard)
{
    if (shard->finished || shard->loop_gone) {
        return;
    }
    if (!shard->stopping) {
        begin_stopping(shard);
        for (struct peal_conn *conn = pl_conn_first(shard->loop, &shard->owner); conn;
             conn = pl_conn_next(conn)) {
            pl_conn_close_for(conn, PEAL_CAUSE_SERVER_STOP);
        }
    }
    uint64_t now_ns = sys_monotonic_ns();
    uint64_t deadline_ns = atomic_load(&shard->server->deadline_ns);
    if (now_ns >= deadline_ns) {
        break_all(shard, PEAL_CAUSE_SERVER_STOP);
    } else {
        peal_timer_start(&shard->deadline, (deadline_ns - now_ns) / 1000000u + 1, 0);
    }
    pl_shard_check_finished(shard);
}

void pl_shard_add(struct pl_shard *shard, struct peal_conn *conn)
{
    struct peal_server *server = shard->server;
    union pl_sockaddr peer; /* the connection may be gone when it has to be discounted */
    socklen_t peer_size = pl_conn_peer(conn, &peer);
    if (shard->stopping) {
        pl_conn_discard(conn);
    } else {
        if (pl_conn_open(conn, shard->loop, server->options.ops, server->options.user,
                         shard->limits) == 0) {
            shard->conns++;
            pl_count(&shard->counters.opened, 1);
            return;
        }
    }
    pl_count(&shard->counters.handover_lost, 1);
    pl_server_discount(server, &peer.any, peer_size);
}

struct pl_shard *pl_shard_new(struct peal_server *server, struct peal_loop *loop)
{
    struct pl_shard *shard = sys_calloc(1, sizeof *shard);
    if (!shard) {
        return NULL;
    }
    shard->limits = pl_limits_new(&server->options.limits, &shard->owner, server->number);
    if (!shard->limits) {
        sys_free(shard);
        return NULL;
    }
    shard->owner.kind = PL_OWNER_SHARD;
    shard->owner.closed = conn_closed;
    shard->server = server;
    shard->loop = peal_loop_ref(loop);
    shard->resident.on_loop_end = on_loop_end;
    pl_list_init(&shard->resident.link);
    pl_list_init(&shard->listeners);
    return shard;
}

void pl_shard_free(struct pl_shard *shard)
{
    if (!shard) {
        return;
    }
    pl_assert(shard->conns == 0);
    pl_limits_unref(shard->limits);
    peal_loop_unref(shard->loop);
    sys_free(shard);
}

void pl_shard_settle(struct pl_shard *shard)
{
    peal_timer_init(&shard->deadline, shard->loop, on_deadline, shard);
    pl_loop_settle(shard->loop, &shard->resident);
}
