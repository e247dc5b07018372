/* SPDX-License-Identifier: BSD-2-Clause */
/* Racing addresses.
 *
 * The addresses are tried in the order of RFC 8305: the first at once, each further one when the
 * one before it has failed, or has had its head start (stagger_ms) and has not answered. The first
 * that connects wins and the others are given up. A single time-out covers the whole.
 *
 * Each address has an attempt: its socket, as an io at the engine, and a job that closes the socket
 * in the reap phase, when no event of the batch can name it any more (E6). A connector and all its
 * attempts are one allocation, so that nothing on the way can fail for want of memory, and giving
 * up needs none.
 *
 *     attempt   IDLE ──start──► CONNECTING ──failed, lost, cancelled──► ENDING ──reap──► IDLE
 *                                   └──on_connect(0)──► WON, then ENDING with its fd handed out
 *
 * Invariants:
 *  1. fn is called from finish() and nowhere else, once, at top level: from an event, a timer, or
 *     the flush job with which the connector begins. Before the call the connector is over: its
 *     timers are off and every attempt is on its way out. So whatever fn does, cancelling included,
 *     it finds nothing left to disturb.
 *  2. pending counts the attempts in CONNECTING. When one has failed, it is 0 and no address is
 *     left, the connector has failed.
 *  3. holds is 1 for the connector itself, until its job has run in reap, and 1 for each attempt
 *     that is not IDLE. The last one frees. Hence the memory goes in reap, never under a handler
 *     that is still on the stack.
 *  4. A socket is closed in reap_attempt(), or is the receiver's. There is no third way.
 *  5. That the engine reports success is not believed without a look at the socket: it must have a
 *     peer (hazard 26), and another one than itself.
 *  6. A self-connection is closed with a reset: an orderly close would leave the port in TIME_WAIT,
 *     and a server that wants to bind it could not.
 *
 * An engine that cannot detach the winner at once (an operation in flight) delays fn until
 * on_detached; the race has ended by then, and the connector can still be cancelled.
 *
 * Failures of a single address (no fd, no route, refused, an option that the kernel does not take)
 * are failures of that address only, and the next one is tried at once.
 *
 * Rejected: one connector for the life of a client, reused for each attempt. Sockets of the last
 * attempt may wait for reap while the next attempt begins, and telling them apart is harder than
 * allocating. */
#include "net/connector.h"

#include "base/assert.h"
#include "base/list.h"
#include "loop/loop.h"

#include <peal/error.h>
#include <peal/timer.h>

#include <errno.h>
#include <netinet/tcp.h>

enum phase { IDLE, CONNECTING, WON, ENDING };

struct attempt {
    struct pl_io io;
    struct pl_job job; /* reap */
    struct pl_connector *connector;
    enum phase phase;
    bool reset; /* close with a reset */
};

struct pl_connector {
    struct peal_loop *loop;
    pl_connected_fn fn;
    void *user;
    struct pl_job job; /* flush: begin; reap: the connector's own hold */
    struct peal_timer stagger;
    struct peal_timer timeout;
    uint32_t timeout_ms;
    uint32_t stagger_ms;
    bool delay;
    bool no_keepalive;
    bool over; /* fn was called or will not be */
    unsigned holds;
    size_t count;
    size_t next; /* the first address that has not been tried */
    size_t pending;
    size_t failed; /* the latest address that has failed, if error is not 0 */
    int error;     /* of that address */
    struct attempt *attempts;
    struct peal_addr *addrs;
};

static void try_next(struct pl_connector *connector);

/* ---- order */

void pl_connector_order(const struct peal_addr *from, size_t count, struct peal_addr *to)
{
    int first = count > 0 ? peal_addr_family(&from[0]) : AF_UNSPEC;
    size_t ours = 0, others = 0;
    for (size_t i = 0; i < count; i++) {
        bool want_first = i % 2 == 0;
        for (;;) {
            size_t *at = want_first ? &ours : &others;
            while (*at < count && (peal_addr_family(&from[*at]) == first) != want_first) {
                ++*at;
            }
            if (*at < count) {
                to[i] = from[(*at)++];
                break;
            }
            want_first = !want_first; /* that family is used up */
        }
    }
}

/* ---- ends */

static void release(struct pl_connector *connector)
{
    pl_assert(connector->holds > 0);
    if (--connector->holds == 0) {
        peal_timer_deinit(&connector->stagger);
        peal_timer_deinit(&connector->timeout);
        sys_free(connector);
    }
}

static void reap_connector(struct pl_job *job)
{
    release(pl_container(job, struct pl_connector, job));
}

static void reap_attempt(struct pl_job *job)
{
    struct attempt *attempt = pl_container(job, struct attempt, job);
    if (attempt->io.fd >= 0) {
        if (attempt->reset) {
            struct linger now = {.l_onoff = 1, .l_linger = 0};
            sys_setsockopt(attempt->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        sys_close(attempt->io.fd);
        attempt->io.fd = -1;
    }
    attempt->phase = IDLE;
    release(attempt->connector);
}

static void reap_attempt_later(struct attempt *attempt)
{
    attempt->phase = ENDING;
    attempt->job.run = reap_attempt;
    pl_loop_reap_later(attempt->connector->loop, &attempt->job);
}

static void reap_attempt_when_detached(struct attempt *attempt)
{
    attempt->job.run = reap_attempt;
    pl_loop_reap_when_detached(attempt->connector->loop, &attempt->job);
}

/* Gives up a socket that the engine knows; all others are on their way out already. */
static void end_attempt(struct attempt *attempt)
{
    struct peal_loop *loop = attempt->connector->loop;
    if (attempt->phase == CONNECTING) {
        attempt->connector->pending--;
        attempt->phase = ENDING;
        if (loop->ops->detach(loop->engine, &attempt->io)) {
            reap_attempt_later(attempt);
        } else {
            reap_attempt_when_detached(attempt);
        }
    } else if (attempt->phase == WON) {
        attempt->phase = ENDING; /* on_detached will come */
    }
}

/* No more timers, no more attempts but that of the winner, if there is one. */
static void end_race(struct pl_connector *connector, const struct attempt *winner)
{
    peal_timer_cancel(&connector->stagger);
    peal_timer_cancel(&connector->timeout);
    for (size_t i = 0; i < connector->next; i++) {
        if (&connector->attempts[i] != winner) {
            end_attempt(&connector->attempts[i]);
        }
    }
}

static void wind_up(struct pl_connector *connector)
{
    pl_assert(!connector->over);
    connector->over = true;
    end_race(connector, NULL);
    pl_job_cancel(&connector->job);
    connector->job.run = reap_connector;
    pl_loop_reap_later(connector->loop, &connector->job);
}

static void finish(struct pl_connector *connector, int fd, const struct peal_addr *addr)
{
    wind_up(connector);
    connector->fn(connector, fd, addr, connector->user);
}

static void deliver(struct attempt *winner)
{
    struct pl_connector *connector = winner->connector;
    int fd = winner->io.fd;
    winner->io.fd = -1;
    reap_attempt_later(winner);
    finish(connector, fd, &connector->addrs[winner - connector->attempts]);
}

struct pl_connector *pl_connector_cancel(struct pl_connector *connector)
{
    if (connector && !connector->over) {
        wind_up(connector);
    }
    return NULL;
}

/* ---- one address */

static void note_failure(struct pl_connector *connector, size_t index, int error)
{
    pl_record(connector->loop, PL_RECORD_CONNECT_FAILED, 0, (uint32_t)-error);
    if (connector->error == 0 || index >= connector->failed) {
        connector->failed = index;
        connector->error = error;
    }
}

/* Why a socket that was said to be connected is not. */
static int lost_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    int result = sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return result < 0 ? result : error > 0 ? -error : -ENOTCONN;
}

int pl_connector_verify(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_storage room;
    } local, peer;
    socklen_t local_size = sizeof local, peer_size = sizeof peer;
    struct peal_addr local_addr, peer_addr;
    int result = sys_getpeername(fd, &peer.any, &peer_size);
    if (result < 0) {
        return result == -ENOTCONN ? lost_error(fd) : result;
    }
    if (peer.any.sa_family == AF_UNIX) {
        return 0;
    }
    result = sys_getsockname(fd, &local.any, &local_size);
    if (result < 0) {
        return result;
    }
    bool is_self = peal_addr_from_sockaddr(&local.any, local_size, &local_addr) == 0 &&
                   peal_addr_from_sockaddr(&peer.any, peer_size, &peer_addr) == 0 &&
                   peal_addr_equal(&local_addr, &peer_addr);
    return is_self ? PEAL_ERR_SELF_CONNECT : 0;
}

static void on_connect(struct pl_io *io, int error)
{
    struct attempt *attempt = pl_container(io, struct attempt, io);
    struct pl_connector *connector = attempt->connector;
    size_t index = (size_t)(attempt - connector->attempts);
    if (attempt->phase != CONNECTING) {
        return;
    }
    if (error == 0) {
        error = pl_connector_verify(io->fd);
    }
    if (error < 0) {
        attempt->reset = error == PEAL_ERR_SELF_CONNECT;
        end_attempt(attempt);
        note_failure(connector, index, error);
        try_next(connector);
        return;
    }
    connector->pending--;
    attempt->phase = WON;
    end_race(connector, attempt);
    if (connector->loop->ops->detach(connector->loop->engine, io)) {
        deliver(attempt);
    } else {
        reap_attempt_when_detached(attempt);
    }
}

static void on_detached(struct pl_io *io)
{
    struct attempt *attempt = pl_container(io, struct attempt, io);
    if (attempt->phase == WON) {
        pl_job_cancel(&attempt->job);
        deliver(attempt);
    } else {
        reap_attempt_later(attempt);
    }
}

static const struct pl_io_handler attempt_handler = {
    .on_connect = on_connect,
    .on_detached = on_detached,
};

static int set_options(const struct pl_connector *connector, int fd)
{
    int on = 1, result = 0;
    if (!connector->delay) {
        result = sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (result == 0 && !connector->no_keepalive) {
        result = sys_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    return result;
}

static int start_attempt(struct pl_connector *connector, size_t index)
{
    struct attempt *attempt = &connector->attempts[index];
    int family = peal_addr_family(&connector->addrs[index]);
    struct peal_loop *loop = connector->loop;
    int fd = sys_socket(family, SOCK_STREAM, 0);
    if (fd < 0) {
        return fd;
    }
    attempt->io = (struct pl_io){.fd = fd, .handler = &attempt_handler, .loop = loop};
    connector->holds++;
    int result = family == AF_UNIX ? 0 : set_options(connector, fd);
    if (result == 0) {
        socklen_t size;
        const struct sockaddr *address = peal_addr_sockaddr(&connector->addrs[index], &size);
        pl_record(loop, PL_RECORD_CONNECT_STARTED, 0, (uint32_t)fd);
        result = loop->ops->connect(loop->engine, &attempt->io, address, size);
    }
    if (result < 0) {
        reap_attempt_later(attempt);
        return result;
    }
    attempt->phase = CONNECTING;
    connector->pending++;
    return 0;
}

/* ---- the race */

static void try_next(struct pl_connector *connector)
{
    peal_timer_cancel(&connector->stagger);
    while (connector->next < connector->count) {
        size_t index = connector->next++;
        int result = start_attempt(connector, index);
        if (result == 0) {
            if (connector->next < connector->count && connector->stagger_ms != PEAL_NEVER) {
                peal_timer_start(&connector->stagger, connector->stagger_ms, 0);
            }
            return;
        }
        note_failure(connector, index, result);
    }
    if (connector->pending == 0) {
        finish(connector, connector->error, &connector->addrs[connector->failed]);
    }
}

static void on_stagger(struct peal_timer *timer, void *user)
{
    (void)timer;
    try_next(user);
}

static void on_timeout(struct peal_timer *timer, void *user)
{
    struct pl_connector *connector = user;
    (void)timer;
    size_t latest = 0;
    for (size_t i = 0; i < connector->next; i++) {
        latest = connector->attempts[i].phase == CONNECTING ? i : latest;
    }
    pl_record(connector->loop, PL_RECORD_CONNECT_FAILED, 0, ETIMEDOUT);
    finish(connector, -ETIMEDOUT, &connector->addrs[latest]);
}

static void begin(struct pl_job *job)
{
    struct pl_connector *connector = pl_container(job, struct pl_connector, job);
    if (connector->timeout_ms != PEAL_NEVER) {
        peal_timer_start(&connector->timeout, connector->timeout_ms, 0);
    }
    try_next(connector);
}

int pl_connector_start(const struct pl_connector_options *options,
                       struct pl_connector **ret_connector)
{
    pl_assert(options->count > 0);
    struct pl_connector *connector;
    size_t attempts_size = options->count * sizeof(struct attempt);
    connector = sys_calloc(1, sizeof *connector + attempts_size +
                                  options->count * sizeof(struct peal_addr));
    if (!connector) {
        return -ENOMEM;
    }
    connector->attempts = (struct attempt *)(void *)(connector + 1);
    connector->addrs = (struct peal_addr *)(void *)((char *)connector->attempts + attempts_size);
    pl_connector_order(options->addrs, options->count, connector->addrs);
    for (size_t i = 0; i < options->count; i++) {
        connector->attempts[i].connector = connector;
        connector->attempts[i].io.fd = -1;
        pl_job_init(&connector->attempts[i].job);
    }
    connector->loop = options->loop;
    connector->fn = options->fn;
    connector->user = options->user;
    connector->timeout_ms = options->timeout_ms;
    connector->stagger_ms = options->stagger_ms;
    connector->delay = options->delay;
    connector->no_keepalive = options->no_keepalive;
    connector->count = options->count;
    connector->holds = 1;
    peal_timer_init(&connector->stagger, options->loop, on_stagger, connector);
    peal_timer_init(&connector->timeout, options->loop, on_timeout, connector);
    pl_job_init(&connector->job);
    connector->job.run = begin;
    pl_loop_flush_later(options->loop, &connector->job);
    *ret_connector = connector;
    return 0;
}
