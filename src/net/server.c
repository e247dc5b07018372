/* SPDX-License-Identifier: BSD-2-Clause */
/* The server: made on its home loop, listening there, serving on its home or on the loops of a
 * pool.
 *
 * A server is its shards: one for the home loop, which owns the listeners, and one for each loop
 * that serves. They are all made by peal_server_new and live as long as the server's memory, so
 * that any thread with a reference can post to any of them.
 *
 * References are counted in two steps. users counts what the program holds; when that falls to zero
 * a server that still runs is stopped, by itself. references counts everything that needs the
 * memory: the users together, the server's own running (until on_stopped has returned), each task
 * under way, each listener until it is closed. So a server can be released at any moment, in any
 * callback, on any thread, and nothing of it is touched after it has gone.
 *
 * Rejected: keeping the pool. A server needs the loops, each of which it holds by reference; the
 * pool may be freed before it. */
#include "net/server.h"

#include "base/assert.h"
#include "base/log.h"

#include <peal/error.h>
#include <peal/pool.h>

#include <errno.h>
#include <string.h>

enum { DRAIN_MS = 10 * 1000 };

static _Atomic uint32_t server_numbers;

/* ---- references */

static void destroy(struct peal_server *server)
{
    for (unsigned i = 0; i < server->shard_count; i++) {
        pl_shard_free(server->shards[i]);
    }
    pl_addr_count_deinit(&server->addr_counts);
    struct peal_loop *home = server->home;
    sys_free(server->shards);
    sys_free(server->addresses);
    sys_free(server);
    peal_loop_unref(home);
}

void pl_server_hold(struct peal_server *server)
{
    atomic_fetch_add_explicit(&server->references, 1, memory_order_relaxed);
}

void pl_server_release(struct peal_server *server)
{
    uint32_t before = atomic_fetch_sub_explicit(&server->references, 1, memory_order_acq_rel);
    pl_assert(before > 0);
    if (before == 1) {
        destroy(server);
    }
}

struct peal_server *peal_server_ref(struct peal_server *server)
{
    if (atomic_fetch_add(&server->users, 1) ==
        0) { /* taken anew, in a callback of a released server */
        pl_server_hold(server);
    }
    return server;
}

struct peal_server *peal_server_unref(struct peal_server *server)
{
    if (server && atomic_fetch_sub(&server->users, 1) == 1) {
        if (pl_server_state(server) == PL_SERVER_RUNNING) {
            peal_server_stop(server, server->options.drain_ms);
        }
        pl_server_release(server);
    }
    return NULL;
}

/* ---- making one */

static int check_options(const struct peal_server_options *options)
{
    if (!options || !options->ops || (unsigned)options->balance > PEAL_BALANCE_REUSEPORT ||
        options->backlog < 0) {
        return -EINVAL;
    }
    return pl_limits_check(&options->limits);
}

static void copy_options(struct peal_server *server, const struct peal_server_options *options)
{
    server->options = *options;
    server->options.pool = NULL;
    if (!options->drain_ms) {
        server->options.drain_ms = DRAIN_MS;
    }
    const char *name = options->name ? options->name : "server";
    strncpy(server->name, name, sizeof server->name - 1);
    server->options.name = server->name;
}

static int add_shard(struct peal_server *server, struct peal_loop *loop)
{
    struct pl_shard *shard = pl_shard_new(server, loop);
    if (!shard) {
        return -ENOMEM;
    }
    server->shards[server->shard_count++] = shard;
    return 0;
}

/* The home shard first. A pool that has the home loop in it serves there too. */
static int make_shards(struct peal_server *server, struct peal_loop *home, struct peal_pool *pool)
{
    unsigned pool_size = pool ? peal_pool_size(pool) : 0;
    server->shards = sys_calloc(pool_size + 1u, sizeof *server->shards);
    if (!server->shards) {
        return -ENOMEM;
    }
    int result = add_shard(server, home);
    for (unsigned i = 0; i < pool_size && result == 0; i++) {
        struct peal_loop *loop = peal_pool_loop(pool, i);
        result = loop == home ? 0 : add_shard(server, loop);
    }
    server->serving_from = server->shard_count > 1 && server->shard_count == pool_size + 1u;
    return result;
}

static void settle(struct pl_task *task, bool dropped)
{
    struct pl_shard *shard = pl_container(task, struct pl_shard, settle_task);
    struct peal_server *server = shard->server;
    if (dropped) {
        pl_shard_loop_ended(shard);
    } else {
        pl_shard_settle(shard);
    }
    pl_server_release(server);
}

/* From here on the shards hear of the end of their loops. */
static void settle_shards(struct peal_server *server)
{
    pl_shard_settle(server->shards[0]);
    for (unsigned i = 1; i < server->shard_count; i++) {
        struct pl_shard *shard = server->shards[i];
        pl_server_hold(server);
        shard->settle_task.fn = settle;
        if (!pl_loop_post_task(shard->loop, &shard->settle_task)) {
            pl_shard_had_no_loop(shard);
            pl_server_release(server);
        }
    }
}

int peal_server_new(struct peal_loop *loop, const struct peal_server_options *options,
                    struct peal_server **ret_server)
{
    pl_loop_check(loop, "peal_server_new");
    int result = check_options(options);
    if (result < 0) {
        return result;
    }
    if (atomic_load(&loop->life) != PL_LOOP_ALIVE) {
        return PEAL_ERR_LOOP_ENDED;
    }
    struct peal_server *server = sys_calloc(1, sizeof *server);
    if (!server) {
        return -ENOMEM;
    }
    copy_options(server, options);
    pl_addr_count_init(&server->addr_counts);
    server->home = peal_loop_ref(loop);
    server->number = atomic_fetch_add(&server_numbers, 1) + 1;
    atomic_init(&server->deadline_ns, UINT64_MAX);
    result = make_shards(server, loop, options->pool);
    if (result < 0) {
        destroy(server);
        return result;
    }
    atomic_init(&server->users, 1);
    atomic_init(&server->references, 2); /* the users', and its own while it runs */
    atomic_init(&server->shards_left, server->shard_count);
    settle_shards(server);
    *ret_server = server;
    return 0;
}

/* ---- listening */

struct start_task {
    struct pl_task task;
    struct pl_shard *shard;
    struct pl_listener *listener;
};

/* The listener is known to its shard from here on. */
static int start_here(struct pl_shard *shard, struct pl_listener *listener)
{
    listener->held_back = shard->held;
    int result = pl_listener_start(listener, shard->loop);
    if (result == 0) {
        pl_list_append(&shard->listeners, &listener->link);
    }
    return result;
}

static void start_there(struct pl_task *task, bool dropped)
{
    struct start_task *start = pl_container(task, struct start_task, task);
    int result = dropped || start->shard->stopping ? PEAL_ERR_STOPPED
                                                   : start_here(start->shard, start->listener);
    if (result < 0) {
        if (result != PEAL_ERR_STOPPED) {
            pl_log(PEAL_LOG_ERROR, "%s: a listener could not be started on loop %s: %s",
                   start->shard->server->name, peal_loop_name(start->shard->loop),
                   peal_strerror(result));
        }
        pl_listener_close(start->listener);
    }
    sys_free(start);
}

static int make_listener(struct pl_shard *shard, const struct peal_addr *address,
                         struct pl_listener **ret_listener, const char **ret_why)
{
    const struct peal_server_options *options = &shard->server->options;
    struct pl_listener_options listener_options = {
        .backlog = options->backlog,
        .reuse_port = options->reuse_port || options->balance == PEAL_BALANCE_REUSEPORT,
        .v6_only = options->v6_only,
        .no_delay = !options->delay,
        .keepalive = !options->no_keepalive,
        .defer_accept_s = options->defer_accept_s,
        .retry_ms = options->accept_retry_ms,
    };
    int result = pl_listener_new(address, &listener_options, &pl_server_listener_handler, shard,
                                 ret_listener, ret_why);
    if (result == 0) {
        pl_server_hold(shard->server); /* given back by its on_closed */
    }
    return result;
}

/* With balance by SO_REUSEPORT: a listener for each serving loop, on the address that the first one
 * got. */
static int listen_everywhere(struct peal_server *server, const struct peal_addr *address,
                             struct peal_addr *ret_bound, const char **ret_why)
{
    unsigned made = 0, count = server->shard_count - server->serving_from;
    struct start_task **starts = sys_calloc(count, sizeof(struct start_task *));
    int result = starts ? 0 : -ENOMEM;
    struct peal_addr bound = *address;
    while (result == 0 && made < count) {
        struct start_task *start = sys_malloc(sizeof *start);
        result = start ? make_listener(server->shards[server->serving_from + made], &bound,
                                       &start->listener, ret_why)
                       : -ENOMEM;
        if (result < 0) {
            sys_free(start);
            break;
        }
        start->shard = server->shards[server->serving_from + made];
        start->task.fn = start_there;
        bound = start->listener->address;
        starts[made++] = start;
    }
    for (unsigned i = 0; i < made; i++) {
        if (result < 0 || !pl_loop_post_task(starts[i]->shard->loop, &starts[i]->task)) {
            start_there(&starts[i]->task, true);
        }
    }
    sys_free(starts);
    *ret_bound = bound;
    return result;
}

static int listen_at_home(struct peal_server *server, const struct peal_addr *address,
                          struct peal_addr *ret_bound, const char **ret_why)
{
    struct pl_listener *listener;
    int result = make_listener(server->shards[0], address, &listener, ret_why);
    if (result < 0) {
        return result;
    }
    result = start_here(server->shards[0], listener);
    if (result < 0) {
        pl_listener_close(listener);
        return result;
    }
    *ret_bound = listener->address;
    return 0;
}

int peal_server_listen_addr(struct peal_server *server, const struct peal_addr *address,
                            const char **ret_why)
{
    pl_loop_check(server->home, "peal_server_listen_addr");
    const char *why = NULL;
    int result;
    struct peal_addr *addresses = NULL, bound;
    if (pl_server_state(server) != PL_SERVER_RUNNING || server->shards[0]->loop_gone) {
        result = PEAL_ERR_STOPPED;
    } else if (server->options.balance == PEAL_BALANCE_REUSEPORT &&
               peal_addr_family(address) != AF_INET && peal_addr_family(address) != AF_INET6) {
        result = -EINVAL;
        why = "balance by SO_REUSEPORT works for IP addresses only";
    } else {
        addresses = sys_realloc(server->addresses, (server->address_count + 1) * sizeof *addresses);
        result = addresses ? 0 : -ENOMEM;
    }
    if (addresses) {
        server->addresses = addresses;
        result = server->options.balance == PEAL_BALANCE_REUSEPORT
                     ? listen_everywhere(server, address, &bound, &why)
                     : listen_at_home(server, address, &bound, &why);
    }
    if (result < 0) {
        if (ret_why) {
            *ret_why = why ? why : peal_strerror(result);
        }
        return result;
    }
    server->addresses[server->address_count++] = bound;
    return 0;
}

int peal_server_listen(struct peal_server *server, const char *address, const char **ret_why)
{
    struct peal_addr parsed;
    int result = peal_addr_parse(address, &parsed, ret_why);
    return result < 0 ? result : peal_server_listen_addr(server, &parsed, ret_why);
}

int peal_server_address(const struct peal_server *server, size_t index, struct peal_addr *ret_addr)
{
    pl_loop_check(server->home, "peal_server_address");
    if (index >= server->address_count) {
        return -ENOENT;
    }
    *ret_addr = server->addresses[index];
    return 0;
}

static void set_accept_held(struct peal_server *server, bool held)
{
    atomic_store(&server->accept_held, held);
    pl_shard_hold_back(server->shards[0], held);
    for (unsigned i = 1; i < server->shard_count; i++) {
        pl_shard_call(server->shards[i]);
    }
}

void peal_server_pause_accept(struct peal_server *server)
{
    pl_loop_check(server->home, "peal_server_pause_accept");
    if (server->accept_pauses++ == 0) {
        set_accept_held(server, true);
    }
}

void peal_server_resume_accept(struct peal_server *server)
{
    pl_loop_check(server->home, "peal_server_resume_accept");
    if (server->accept_pauses == 0) {
        pl_misuse("peal_server_resume_accept was called more often than peal_server_pause_accept; "
                  "each resume must "
                  "follow a pause of its own.");
    }
    if (--server->accept_pauses == 0) {
        set_accept_held(server, false);
    }
}

/* ---- what it is */

size_t peal_server_connections(const struct peal_server *server)
{
    return (size_t)atomic_load(&server->conns_now);
}

struct peal_loop *peal_server_loop(const struct peal_server *server)
{
    return server->home;
}

struct peal_server *peal_conn_server(const struct peal_conn *conn)
{
    pl_loop_check(conn->io.loop, "peal_conn_server");
    struct pl_conn_owner *owner = pl_conn_owner(conn);
    if (!owner || owner->kind != PL_OWNER_SHARD) {
        return NULL;
    }
    return pl_container(owner, struct pl_shard, owner)->server;
}

void peal_server_get_stats(const struct peal_server *server, struct peal_server_stats *ret_stats)
{
    struct peal_server_stats stats = {.connections_now = atomic_load(&server->conns_now)};
    for (unsigned i = 0; i < server->shard_count; i++) {
        const struct pl_server_counters *counters = &server->shards[i]->counters;
#define ADD_COUNTER(name, sentence) stats.name += pl_counter_get(&counters->name);
        PEAL_SERVER_STATS(ADD_COUNTER)
#undef ADD_COUNTER
        for (unsigned cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
            stats.closed_by_cause[cause] += pl_counter_get(&counters->closed_by_cause[cause]);
        }
    }
    stats.accepted += atomic_load(&server->adopted);
    *ret_stats = stats;
}
