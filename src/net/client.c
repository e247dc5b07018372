/* SPDX-License-Identifier: BSD-2-Clause */
/* The client.
 *
 * A client is a small machine on its loop:
 *
 *              ┌────────────────────── connect ──────────────────────┐
 *              │                                                     │
 *     IDLE ──connect──► RESOLVING ──► CONNECTING ──fd──► OPEN ──closed──► IDLE, or PAUSING
 *      ▲                    └──── failed ────┴──► PAUSING ──its time──► RESOLVING …
 *      └── cancel, release, loop end: from any phase but OPEN, which a connection leaves by itself
 *
 * An address in digits skips RESOLVING. Each step leaves exactly one thing under way (a lookup, a
 * connector, a timer or a connection), and stop() takes down whichever it is.
 *
 * Calls from outside (connect, cancel, the last unref) come from any thread and inside any
 * callback. They set a bit in requests and post the client's own task, so that they neither
 * allocate nor run anything of the program's (G2); the task does what the bits say.
 *
 * Invariants:
 *  1. All fields but references, holds and requests belong to the loop's thread.
 *  2. The task is in the loop's queue if and only if requests has POSTED, from the moment that the
 *     post has succeeded. ENDED is set for ever once the loop has ended.
 *  3. references counts the program's; holds keeps the memory: one for all of the program's
 *     together, one while the client is resident on its loop, one while its task is posted, and one
 *     while the thread that posts is not back. The last hold frees, on whichever thread. What may
 *     only be freed on the loop's thread (limits) goes in leave().
 *  4. The client is resident, and so hears of the loop's end, until it was released and its
 *     connection, if it has one, has closed: the connection's owner is a part of it.
 *  5. After the last unref or cancel no callback begins, even if the loop has not come to the
 *     request yet: is_stopped() is asked before each one. During a callback the client holds a
 *     reference of the program's kind, so the pointer is good whatever other threads do.
 *  6. Each attempt ends in exactly one of on_open, on_fail, or being stopped (G1).
 *
 * A connection that never opened (pl_conn_new or pl_conn_open failed) is a failed attempt.
 *
 * Rejected: a client object and a link object behind it, so that the client could be freed at once
 * and the link later. The program cannot tell the difference, and two objects need a pointer each
 * way that has to be kept right from two threads. */
#include "net/client.h"

#include "base/assert.h"
#include "base/log.h"
#include "loop/loop.h"
#include "net/conn.h"
#include "net/connector.h"
#include "net/lookup.h"

#include <peal/error.h>

#include <errno.h>
#include <string.h>

enum { WHY_MAX = PEAL_ADDR_TEXT_MAX + PEAL_HOST_MAX + 192 };

enum request {
    REQUEST_CONNECT = 1,
    REQUEST_CANCEL = 2, /* comes before a CONNECT that is set at the same time */
    REQUEST_RELEASE = 4,
    REQUEST_POSTED = 8,
    REQUEST_ENDED = 16
};

enum phase { IDLE, RESOLVING, CONNECTING, PAUSING, OPEN };

struct peal_client {
    /* any thread */
    _Atomic uint32_t references;
    _Atomic uint32_t holds;
    _Atomic uint32_t requests; /* enum request */
    struct pl_task task;
    struct peal_loop *loop; /* a reference */

    /* the loop's thread */
    enum phase phase;
    bool resident;
    bool released; /* the loop has come to the last unref */
    bool wanted;   /* connect was called after the last cancel */
    bool again;    /* connect was called while the connection was closing */
    unsigned failures;
    uint64_t began_ms; /* the attempt under way */
    struct pl_resident residence;
    struct pl_conn_owner owner;
    struct pl_resolve *lookup;      /* RESOLVING: by the built-in resolver, */
    struct peal_lookup *own_lookup; /* or by the program's */
    struct pl_connector *connector;
    struct peal_conn *conn;
    struct peal_timer timer; /* RESOLVING: the time-out; PAUSING: the pause */
    struct pl_limits *limits;

    /* what never changes */
    struct peal_client_options options; /* to and addrs are not to be used */
    char host[PEAL_HOST_MAX];           /* empty: there are addresses */
    uint16_t port;
    size_t addr_count;
    struct peal_addr addrs[];
};

static void begin(struct peal_client *client);

/* ---- memory */

static void hold(struct peal_client *client)
{
    atomic_fetch_add_explicit(&client->holds, 1, memory_order_relaxed);
}

static void let_go(struct peal_client *client)
{
    uint32_t holds = atomic_fetch_sub_explicit(&client->holds, 1, memory_order_acq_rel);
    pl_assert(holds > 0);
    if (holds == 1) {
        peal_loop_unref(client->loop);
        sys_free(client);
    }
}

/* The client leaves its loop. The last that is done on the loop's thread; it may be freed here. */
static void leave(struct peal_client *client)
{
    pl_assert(client->phase == IDLE && client->resident);
    client->resident = false;
    client->limits = pl_limits_unref(client->limits);
    peal_timer_deinit(&client->timer);
    pl_loop_leave(&client->residence);
    let_go(client);
}

/* A reference of the program's kind, unless the last one has gone. */
static bool try_ref(struct peal_client *client)
{
    uint32_t references = atomic_load_explicit(&client->references, memory_order_relaxed);
    while (references > 0) {
        if (atomic_compare_exchange_weak_explicit(&client->references, &references, references + 1,
                                                  memory_order_acq_rel, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* ---- stopping */

static bool is_stopped(const struct peal_client *client)
{
    const uint32_t mask = REQUEST_CANCEL | REQUEST_RELEASE | REQUEST_ENDED;
    return (atomic_load_explicit(&client->requests, memory_order_acquire) & mask) != 0;
}

static void drop_lookup(struct peal_client *client)
{
    struct peal_lookup *own = client->own_lookup;
    if (client->lookup) {
        pl_resolver->cancel(client->lookup);
        client->lookup = NULL;
    } else if (own) {
        client->own_lookup = NULL;
        pl_lookup_cancel(own);
    }
}

/* Takes down whatever is under way, but for an open connection. */
static void stop(struct peal_client *client)
{
    client->wanted = false;
    client->again = false;
    peal_timer_cancel(&client->timer);
    drop_lookup(client);
    client->connector = pl_connector_cancel(client->connector);
    if (client->phase != OPEN) {
        client->phase = IDLE;
    }
}

static void on_loop_end(struct pl_resident *residence)
{
    struct peal_client *client = pl_container(residence, struct peal_client, residence);
    atomic_fetch_or_explicit(&client->requests, REQUEST_ENDED, memory_order_acq_rel);
    stop(client);
    if (client->phase == OPEN) {
        pl_conn_break(client->conn, PEAL_CAUSE_LOOP_ENDED, 0); /* then on_closed */
    } else {
        leave(client);
    }
}

/* ---- failure */

static void pause_for(struct peal_client *client, uint32_t pause_ms)
{
    client->phase = PAUSING;
    peal_timer_start(&client->timer, pause_ms, 0);
}

static uint32_t draw_pause_ms(const struct peal_client *client)
{
    return pl_client_pause_ms(client->options.retry_min_ms, client->options.retry_max_ms,
                              client->failures, sys_random());
}

/* Writes the sentence that tells of a failure. resolver_why: the resolver's words, or NULL. */
static void describe(const struct peal_client *client, int error, const struct peal_addr *addr,
                     const char *resolver_why, char why[WHY_MAX])
{
    char text[PEAL_ADDR_TEXT_MAX];
    if (resolver_why) {
        sys_format(why, WHY_MAX, "the name %s could not be resolved: %s", client->host,
                   resolver_why);
    } else if (addr && peal_addr_format(addr, text, sizeof text) >= 0) {
        sys_format(why, WHY_MAX, "could not connect to %s: %s", text, peal_strerror(error));
    } else {
        sys_format(why, WHY_MAX, "could not begin to connect: %s", peal_strerror(error));
    }
    pl_make_line(why);
}

/* The attempt has failed: says so, and sees to the next. addr may be NULL. Top level. */
static void fail(struct peal_client *client, int error, const struct peal_addr *addr,
                 const char *resolver_why)
{
    struct peal_client_options *options = &client->options;
    client->phase = IDLE;
    if (is_stopped(client) || !try_ref(client)) {
        client->wanted = false;
        return;
    }
    client->failures++;
    char why[WHY_MAX];
    struct peal_connect_failure failure = {
        .error = error,
        .attempt = client->failures,
        .why = why,
        .will_retry = (options->retry || options->reconnect) &&
                      (options->attempts_max == 0 || client->failures < options->attempts_max),
    };
    if (addr) {
        failure.addr = *addr;
    }
    describe(client, error, addr, resolver_why, why);
    if (failure.will_retry) {
        failure.retry_ms = draw_pause_ms(client);
        pause_for(client, failure.retry_ms);
    } else {
        client->wanted = false;
    }
    pl_log(PEAL_LOG_INFO, "client: %s (attempt %u)", why, failure.attempt);
    if (options->on_fail) {
        options->on_fail(client, &failure, options->user);
    }
    peal_client_unref(client);
}

/* ---- success */

static void on_closed(struct pl_conn_owner *owner, struct peal_conn *conn,
                      const struct peal_close_record *record)
{
    struct peal_client *client = pl_container(owner, struct peal_client, owner);
    (void)record;
    pl_assert(client->phase == OPEN && client->conn == conn);
    client->conn = NULL;
    client->phase = IDLE;
    uint32_t requests = atomic_load_explicit(&client->requests, memory_order_acquire);
    if (client->released || requests & REQUEST_ENDED) {
        leave(client);
    } else if (requests & REQUEST_CANCEL ||
               atomic_load_explicit(&client->references, memory_order_acquire) == 0) {
        client->wanted = false; /* and the task will come to it */
    } else if (client->again) {
        client->again = false;
        pause_for(client, 0);
    } else if (client->wanted && client->options.reconnect) {
        pause_for(client, draw_pause_ms(client));
    } else {
        client->wanted = false;
    }
}

static void open_conn(struct peal_client *client, int fd, const struct peal_addr *addr)
{
    socklen_t size;
    const struct sockaddr *peer = peal_addr_sockaddr(addr, &size);
    struct peal_conn *conn = pl_conn_new(fd, peer, size);
    if (!conn) {
        sys_close(fd);
        fail(client, -ENOMEM, addr, NULL);
        return;
    }
    unsigned failures = client->failures;
    client->failures = 0;
    client->conn = conn;
    client->phase = OPEN;
    int result =
        pl_conn_open(conn, client->loop, client->options.ops, client->options.user, client->limits);
    if (result < 0) {
        client->conn = NULL;
        client->failures = failures;
        fail(client, result, addr, NULL);
    }
}

static void on_connected(struct pl_connector *connector, int fd, const struct peal_addr *addr,
                         void *user)
{
    struct peal_client *client = user;
    pl_assert(client->phase == CONNECTING && client->connector == connector);
    client->connector = NULL;
    client->phase = IDLE;
    if (fd < 0) {
        fail(client, fd, addr, NULL);
    } else if (is_stopped(client)) {
        client->wanted = false;
        sys_close(fd);
    } else {
        open_conn(client, fd, addr);
    }
}

/* ---- one attempt */

static void connect_to(struct peal_client *client, const struct peal_addr *addrs, size_t count)
{
    uint32_t timeout_ms = client->options.connect_ms;
    uint64_t passed_ms = pl_loop_now_ms(client->loop) - client->began_ms;
    if (timeout_ms != PEAL_NEVER) {
        timeout_ms = passed_ms < timeout_ms ? timeout_ms - (uint32_t)passed_ms : 1;
    }
    const struct pl_connector_options options = {
        .loop = client->loop,
        .addrs = addrs,
        .count = count,
        .timeout_ms = timeout_ms,
        .stagger_ms = client->options.stagger_ms,
        .delay = client->options.delay,
        .no_keepalive = client->options.no_keepalive,
        .fn = on_connected,
        .user = client,
    };
    client->phase = CONNECTING;
    int result = pl_connector_start(&options, &client->connector);
    if (result < 0) {
        fail(client, result, NULL, NULL);
    }
}

static void on_resolved(const struct pl_resolved *resolved, void *user)
{
    struct peal_client *client = user;
    pl_assert(client->phase == RESOLVING);
    client->lookup = NULL;
    client->own_lookup = NULL;
    peal_timer_cancel(&client->timer);
    if (resolved->error < 0) {
        fail(client, resolved->error, NULL, resolved->why);
    } else {
        connect_to(client, resolved->addrs, resolved->count);
    }
}

static void begin(struct peal_client *client)
{
    client->began_ms = pl_loop_now_ms(client->loop);
    if (client->addr_count > 0) {
        connect_to(client, client->addrs, client->addr_count);
        return;
    }
    const struct peal_resolver *own = client->options.resolver;
    if (own && is_stopped(client)) { /* it may have gone, as the program may think us gone */
        client->phase = IDLE;
        client->wanted = false;
        return;
    }
    client->phase = RESOLVING;
    int result = own ? pl_lookup_start(own, client->loop, client->host, client->port, on_resolved,
                                       client, &client->own_lookup)
                     : pl_resolver->start(client->loop, client->host, client->port, on_resolved,
                                          client, &client->lookup);
    if (result < 0) {
        fail(client, result, NULL, peal_strerror(result));
    } else if (client->options.connect_ms != PEAL_NEVER) {
        peal_timer_start(&client->timer, client->options.connect_ms, 0);
    }
}

static void on_timer(struct peal_timer *timer, void *user)
{
    struct peal_client *client = user;
    (void)timer;
    if (client->phase == PAUSING) {
        client->phase = IDLE;
        begin(client);
    } else if (client->phase == RESOLVING) {
        drop_lookup(client);
        fail(client, -ETIMEDOUT, NULL, "no answer in time");
    }
}

/* ---- requests */

static void start(struct peal_client *client)
{
    client->wanted = true;
    switch (client->phase) {
    case IDLE:
    case PAUSING:
        peal_timer_cancel(&client->timer);
        client->failures = 0;
        begin(client);
        return;
    case OPEN:
        client->again = pl_conn_state(client->conn) != PEAL_CONN_OPEN;
        return;
    default:
        return; /* under way */
    }
}

static void on_task(struct pl_task *task, bool dropped)
{
    struct peal_client *client = pl_container(task, struct peal_client, task);
    uint32_t requests =
        atomic_fetch_and_explicit(&client->requests, REQUEST_ENDED, memory_order_acq_rel);
    if (!dropped && !(requests & REQUEST_ENDED)) {
        if (requests & (REQUEST_CANCEL | REQUEST_RELEASE)) {
            stop(client);
        }
        if (requests & REQUEST_RELEASE) {
            client->released = true;
            if (client->phase != OPEN) {
                leave(client);
            }
        } else if (requests & REQUEST_CONNECT) {
            start(client);
        }
    }
    let_go(client);
}

static int request(struct peal_client *client, uint32_t add, uint32_t remove)
{
    uint32_t wanted, requests = atomic_load_explicit(&client->requests, memory_order_relaxed);
    do {
        if (requests & REQUEST_ENDED) {
            return PEAL_ERR_LOOP_ENDED;
        }
        wanted = (requests & ~remove) | add | REQUEST_POSTED;
    } while (!atomic_compare_exchange_weak_explicit(&client->requests, &requests, wanted,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (requests & REQUEST_POSTED) {
        return 0;
    }
    hold(client);
    if (!pl_loop_post_task(client->loop, &client->task)) {
        atomic_fetch_or_explicit(&client->requests, REQUEST_ENDED, memory_order_acq_rel);
        let_go(client);
        return PEAL_ERR_LOOP_ENDED;
    }
    return 0;
}

int peal_client_connect(struct peal_client *client)
{
    if (atomic_load_explicit(&client->loop->life, memory_order_relaxed) != PL_LOOP_ALIVE) {
        return PEAL_ERR_LOOP_ENDED; /* a task would only be dropped */
    }
    return request(client, REQUEST_CONNECT, 0);
}

void peal_client_cancel(struct peal_client *client)
{
    request(client, REQUEST_CANCEL, REQUEST_CONNECT);
}

/* ---- references */

struct peal_client *peal_client_ref(struct peal_client *client)
{
    uint32_t before = atomic_fetch_add_explicit(&client->references, 1, memory_order_relaxed);
    if (before == 0) {
        pl_misuse("peal_client_ref: the client's last reference was given back already");
    }
    return client;
}

struct peal_client *peal_client_unref(struct peal_client *client)
{
    if (!client) {
        return NULL;
    }
    uint32_t before = atomic_fetch_sub_explicit(&client->references, 1, memory_order_acq_rel);
    if (before == 0) {
        pl_misuse("peal_client_unref: the client's last reference was given back already");
    }
    if (before == 1) {
        request(client, REQUEST_RELEASE, REQUEST_CONNECT);
        let_go(client);
    }
    return NULL;
}

/* ---- looking */

struct peal_conn *peal_client_conn(const struct peal_client *client)
{
    pl_loop_check(client->loop, "peal_client_conn");
    bool open = client->conn && pl_conn_state(client->conn) != PEAL_CONN_CLOSED;
    return open ? client->conn : NULL;
}

struct peal_client *peal_conn_client(const struct peal_conn *conn)
{
    pl_loop_check(conn->io.loop, "peal_conn_client");
    struct pl_conn_owner *owner = pl_conn_owner(conn);
    if (!owner || owner->kind != PL_OWNER_CLIENT) {
        return NULL;
    }
    struct peal_client *client = pl_container(owner, struct peal_client, owner);
    return atomic_load_explicit(&client->references, memory_order_acquire) > 0 ? client : NULL;
}

/* ---- a new one */

static struct peal_client *make(struct peal_loop *loop, const struct pl_client_setup *setup)
{
    size_t addrs_size = setup->addr_count * sizeof(struct peal_addr);
    struct peal_client *client = sys_calloc(1, sizeof *client + addrs_size);
    struct pl_limits *limits =
        client ? pl_limits_new(&setup->options.limits, &client->owner, 0) : NULL;
    if (!limits) {
        sys_free(client);
        return NULL;
    }
    atomic_init(&client->references, 1);
    atomic_init(&client->holds, 2); /* the program's and the residence's */
    client->task.fn = on_task;
    client->loop = peal_loop_ref(loop);
    client->resident = true;
    client->residence.on_loop_end = on_loop_end;
    client->owner = (struct pl_conn_owner){.kind = PL_OWNER_CLIENT, .closed = on_closed};
    client->limits = limits;
    client->options = setup->options;
    memcpy(client->host, setup->host, sizeof client->host);
    client->port = setup->port;
    client->addr_count = setup->addr_count;
    if (addrs_size > 0) {
        memcpy(client->addrs, setup->addrs, addrs_size);
    }
    peal_timer_init(&client->timer, loop, on_timer, client);
    pl_list_init(&client->residence.link);
    pl_loop_settle(loop, &client->residence);
    return client;
}

int peal_client_new(struct peal_loop *loop, const struct peal_client_options *options,
                    struct peal_client **ret_client)
{
    struct pl_client_setup setup;
    pl_loop_check(loop, "peal_client_new");
    int result = pl_client_set_up(options, &setup);
    if (result < 0) {
        return result;
    }
    if (atomic_load_explicit(&loop->life, memory_order_relaxed) != PL_LOOP_ALIVE) {
        return PEAL_ERR_LOOP_ENDED;
    }
    struct peal_client *client = make(loop, &setup);
    if (!client) {
        return -ENOMEM;
    }
    *ret_client = client;
    return 0;
}
