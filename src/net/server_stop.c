/* SPDX-License-Identifier: BSD-2-Clause */
/* Stopping a server: from any thread, in any callback, any number of times, always to an end (G7).
 *
 * peal_server_stop notes the deadline (the earliest that anybody asked for) and posts each shard
 * its stop task, which is a part of the shard: stopping allocates nothing. Each shard closes its
 * listeners and its connections, at the deadline aborts what is left, and finishes. The last to
 * finish posts the server's stopped_task home, which builds the report and calls on_stopped.
 *
 * Why it always ends: a shard finishes when its connections have closed and no socket is on the way
 * to it. Connections close by themselves or are broken at the deadline, and a broken one is reaped
 * in the same turn (or when what the engine has in flight was cancelled); sockets on the way arrive
 * or are dropped with their loop. A shard whose loop has ended has finished with that. A loop that
 * does not turn, because a callback does not return, is the one thing that can hold a stop up. */
#include "net/server.h"

#include "base/assert.h"

#include <errno.h>

static void add_report(struct peal_drain_report *sum, const struct peal_drain_report *part)
{
    sum->connections += part->connections;
    sum->closed_clean += part->closed_clean;
    sum->closed_otherwise += part->closed_otherwise;
    sum->cut_off += part->cut_off;
    sum->bytes_unsent += part->bytes_unsent;
}

static void stopped(struct pl_task *task, bool dropped)
{
    struct peal_server *server = pl_container(task, struct peal_server, stopped_task);
    struct peal_drain_report report = {0};
    (void)dropped; /* the report is due all the same */
    for (unsigned i = 0; i < server->shard_count; i++) {
        add_report(&report, &server->shards[i]->report);
    }
    report.references_held = pl_refs_held_by_server(server->number);
    uint64_t began_ns = atomic_load(&server->stop_began_ns);
    report.took_ns = began_ns ? sys_monotonic_ns() - began_ns : 0;
    atomic_store(&server->state, PL_SERVER_STOPPED);
    if (server->options.on_stopped) {
        server->options.on_stopped(server, &report, server->options.user);
    }
    pl_server_release(server); /* it runs no more */
}

void pl_server_shard_finished(struct peal_server *server)
{
    if (atomic_fetch_sub(&server->shards_left, 1) > 1) {
        return;
    }
    uint8_t running = PL_SERVER_RUNNING; /* all its loops ended without a stop: that is one */
    atomic_compare_exchange_strong(&server->state, &running, PL_SERVER_STOPPING);
    server->stopped_task.fn = stopped;
    /* Once the task is pushed, home may run it, let the server go, and end: the waking needs a
     * reference of its own. */
    struct peal_loop *home = peal_loop_ref(server->home);
    if (!pl_loop_post_task(home, &server->stopped_task)) {
        stopped(&server->stopped_task, true);
    }
    peal_loop_unref(home);
}

static void control(struct pl_task *task, bool dropped)
{
    struct pl_shard *shard = pl_container(task, struct pl_shard, control_task);
    struct peal_server *server = shard->server;
    atomic_store(&shard->control_posted,
                 false); /* before anything is read: a later call posts again */
    if (!dropped) {
        pl_shard_hold_back(shard, atomic_load(&server->accept_held));
        if (pl_server_state(server) != PL_SERVER_RUNNING) {
            pl_shard_stop(shard);
        }
    }
    pl_server_release(server);
}

void pl_shard_call(struct pl_shard *shard)
{
    if (atomic_exchange(&shard->control_posted, true)) {
        return;
    }
    pl_server_hold(shard->server);
    shard->control_task.fn = control;
    if (!pl_loop_post_task(shard->loop, &shard->control_task)) {
        pl_server_release(shard->server); /* the loop has ended: so has the shard */
    }
}

/* Lowers the deadline. */
static void note_deadline(struct peal_server *server, uint64_t deadline_ns)
{
    uint64_t seen = atomic_load(&server->deadline_ns);
    while (deadline_ns < seen &&
           !atomic_compare_exchange_weak(&server->deadline_ns, &seen, deadline_ns)) {
    }
}

void peal_server_stop(struct peal_server *server, uint32_t deadline_ms)
{
    uint64_t now_ns = sys_monotonic_ns();
    if (pl_server_state(server) == PL_SERVER_STOPPED) {
        return;
    }
    note_deadline(server,
                  deadline_ms == PEAL_NEVER ? UINT64_MAX - 1 : now_ns + deadline_ms * 1000000ull);
    uint64_t never = 0;
    atomic_compare_exchange_strong(&server->stop_began_ns, &never, now_ns);
    uint8_t running = PL_SERVER_RUNNING;
    atomic_compare_exchange_strong(&server->state, &running, PL_SERVER_STOPPING);
    pl_server_hold(server); /* the last shard may finish, and release it, while this goes on */
    for (unsigned i = 0; i < server->shard_count; i++) {
        pl_shard_call(server->shards[i]);
    }
    pl_server_release(server);
}

const char *peal_drain_report_format(const struct peal_drain_report *report, char *text,
                                     size_t size)
{
    uint64_t ms = report->took_ns / 1000000u;
    sys_format(
        text, size,
        "drained %llu connections in %llu.%03llu s: %llu clean, %llu otherwise, %llu cut off, "
        "%llu bytes unsent, %llu still referenced",
        (unsigned long long)report->connections, (unsigned long long)(ms / 1000),
        (unsigned long long)(ms % 1000), (unsigned long long)report->closed_clean,
        (unsigned long long)report->closed_otherwise, (unsigned long long)report->cut_off,
        (unsigned long long)report->bytes_unsent, (unsigned long long)report->references_held);
    return text;
}
