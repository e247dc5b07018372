/* SPDX-License-Identifier: BSD-2-Clause */
/* Reaching every connection of a server: one visit, which is a set of tasks, one a shard, made in
 * one allocation before any of them is posted - so it happens whole or not at all. Each task walks
 * its shard's list on that shard's loop; the last one to be done posts home. A shard whose loop has
 * ended has no connections: its task counts as done. */
#include "net/server.h"

#include "base/assert.h"

#include <peal/error.h>

#include <errno.h>

struct visit_task {
    struct pl_task task;
    struct visit *visit;
    struct pl_shard *shard;
};

struct visit {
    struct peal_server *server;
    void (*fn)(struct peal_conn *conn, void *user); /* or: */
    struct peal_blob *blob;
    bool (*filter)(struct peal_conn *conn, void *user);
    void (*done)(void *user);
    void *user;
    _Atomic unsigned left;
    struct pl_task done_task;
    struct visit_task tasks[];
};

static void visit_end(struct pl_task *task, bool dropped)
{
    struct visit *visit = pl_container(task, struct visit, done_task);
    struct peal_server *server = visit->server;
    (void)dropped;
    if (visit->done) {
        visit->done(visit->user);
    }
    peal_blob_unref(visit->blob);
    sys_free(visit);
    pl_server_release(server);
}

static void visit_part_done(struct visit *visit)
{
    if (atomic_fetch_sub(&visit->left, 1) > 1) {
        return;
    }
    visit->done_task.fn = visit_end;
    /* The task may run, and let the server and its home go, before the post has returned. */
    struct peal_loop *home = peal_loop_ref(visit->server->home);
    if (!visit->done || !pl_loop_post_task(home, &visit->done_task)) {
        visit_end(&visit->done_task, true);
    }
    peal_loop_unref(home);
}

static void visit_conn(struct visit *visit, struct peal_conn *conn)
{
    if (pl_conn_state(conn) != PEAL_CONN_OPEN) {
        return;
    }
    if (visit->fn) {
        visit->fn(conn, visit->user);
    } else if (!visit->filter || visit->filter(conn, visit->user)) {
        pl_conn_queue_blob(
            conn, visit->blob); /* an error is that connection's own: ended, or over its cap */
    }
}

static void visit_shard(struct pl_task *task, bool dropped)
{
    struct visit_task *part = pl_container(task, struct visit_task, task);
    if (!dropped) {
        /* What fn ends leaves the list in reap, not here. */
        struct pl_shard *shard = part->shard;
        for (struct peal_conn *conn = pl_conn_first(shard->loop, &shard->owner); conn;
             conn = pl_conn_next(conn)) {
            visit_conn(part->visit, conn);
        }
    }
    visit_part_done(part->visit);
}

/* The starting thread's own part. If it is the last and the home loop has ended, done belongs on
 * another of the server's loops: never inside the call. If all have ended meanwhile there is nobody
 * left to tell it, and the caller hears that instead. */
static int visit_was_started(struct visit *visit)
{
    struct peal_server *server = visit->server;
    if (atomic_fetch_sub(&visit->left, 1) > 1) {
        return 0;
    }
    visit->done_task.fn = visit_end;
    for (unsigned i = 0; i < server->shard_count && visit->done; i++) { /* [0]: home */
        if (pl_loop_post_task(server->shards[i]->loop, &visit->done_task)) {
            return 0;
        }
    }
    int result = visit->done ? PEAL_ERR_STOPPED : 0;
    visit->done = NULL;
    visit_end(&visit->done_task, true);
    return result;
}

static int start(struct peal_server *server, const struct visit *what)
{
    unsigned count = server->shard_count;
    if (pl_server_state(server) == PL_SERVER_STOPPED) {
        return PEAL_ERR_STOPPED;
    }
    struct visit *visit = sys_calloc(1, sizeof *visit + count * sizeof visit->tasks[0]);
    if (!visit) {
        return -ENOMEM;
    }
    visit->server = server;
    visit->fn = what->fn;
    visit->filter = what->filter;
    visit->done = what->done;
    visit->user = what->user;
    visit->blob = what->blob ? peal_blob_ref(what->blob) : NULL;
    atomic_init(&visit->left,
                count + 1); /* one for this function, so that done comes after all were posted */
    pl_server_hold(server);
    unsigned posted = 0;
    for (unsigned i = 0; i < count; i++) {
        visit->tasks[i] = (struct visit_task){
            .task = {.fn = visit_shard}, .visit = visit, .shard = server->shards[i]};
        if (pl_loop_post_task(server->shards[i]->loop, &visit->tasks[i].task)) {
            posted++;
        } else {
            atomic_fetch_sub(&visit->left, 1);
        }
    }
    if (posted == 0) { /* every loop has ended; nothing was called and nothing will be */
        peal_blob_unref(visit->blob);
        sys_free(visit);
        pl_server_release(server);
        return PEAL_ERR_STOPPED;
    }
    return visit_was_started(visit);
}

int peal_server_for_each(struct peal_server *server, void (*fn)(struct peal_conn *conn, void *user),
                         void (*done)(void *user), void *user)
{
    if (!fn) {
        return -EINVAL;
    }
    return start(server, &(struct visit){.fn = fn, .done = done, .user = user});
}

int peal_server_broadcast(struct peal_server *server, struct peal_blob *blob,
                          bool (*filter)(struct peal_conn *conn, void *user),
                          void (*done)(void *user), void *user)
{
    if (!blob) {
        return -EINVAL;
    }
    return start(server,
                 &(struct visit){.blob = blob, .filter = filter, .done = done, .user = user});
}
