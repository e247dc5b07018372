/* SPDX-License-Identifier: BSD-2-Clause */
/* Time-outs and limits.
 *
 * A connection has one timer for all its time-outs, and the way of a message costs them one store
 * (active_ms). The timer fires now and then, looks at what has moved since, and either ends the
 * connection or looks again later.
 *
 * What counts as progress of output is decided at the peer, not at our kernel: a slow reader drains
 * our socket's buffer, up to megabytes, for a long time before the kernel takes another byte, and
 * to cut it off then would truncate its reply. So each look asks SIOCOUTQ how much the peer has
 * still to acknowledge; less than last time is progress. The same holds while lingering: the peer's
 * end can be awaited only once it has everything.
 *
 * The looks come every quarter of the time-out, which bounds how late one is noticed. Times are
 * compared on the turn's clock. */
#include "net/conn.h"

#include "base/assert.h"

#include <errno.h>

enum {
    FLUSH_MS = 60 * 1000,
    HALF_CLOSE_MS = 60 * 1000,
    LINGER_MS = 10 * 1000,
    LINGER_BYTES = 64 * 1024 * 1024,
    OUTPUT_HIGH_BYTES = 1024 * 1024,
    OUTPUT_CAP_BYTES = 256 * 1024 * 1024,
    INPUT_CAP_BYTES = 16 * 1024 * 1024
};

#define FOREVER UINT64_MAX

static size_t or_default_size(size_t value, size_t standard)
{
    return value ? value : standard;
}

static uint32_t or_default_ms(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}

static void fill_defaults(struct peal_conn_limits *limits)
{
    limits->idle_ms = or_default_ms(limits->idle_ms, PEAL_NEVER);
    limits->flush_ms = or_default_ms(limits->flush_ms, FLUSH_MS);
    limits->half_close_ms = or_default_ms(limits->half_close_ms, HALF_CLOSE_MS);
    limits->linger_ms = or_default_ms(limits->linger_ms, LINGER_MS);
    limits->linger_bytes_max = or_default_size(limits->linger_bytes_max, LINGER_BYTES);
    limits->output_high_bytes = or_default_size(limits->output_high_bytes, OUTPUT_HIGH_BYTES);
    limits->output_low_bytes =
        or_default_size(limits->output_low_bytes, limits->output_high_bytes / 4);
    limits->output_bytes_max = or_default_size(limits->output_bytes_max, OUTPUT_CAP_BYTES);
    limits->input_bytes_max = or_default_size(limits->input_bytes_max, INPUT_CAP_BYTES);
}

int pl_limits_check(const struct peal_conn_limits *limits)
{
    struct peal_conn_limits values = *limits;
    fill_defaults(&values);
    return values.output_low_bytes > values.output_high_bytes ? -EINVAL : 0;
}

struct pl_limits *pl_limits_new(const struct peal_conn_limits *limits, struct pl_conn_owner *owner,
                                uint32_t server_number)
{
    struct pl_limits *counted = sys_malloc(sizeof *counted);
    if (counted) {
        atomic_init(&counted->references, 1);
        counted->owner = owner;
        counted->server_number = server_number;
        counted->base = NULL;
        counted->values = *limits;
        fill_defaults(&counted->values);
        atomic_init(&counted->output_cap, counted->values.output_bytes_max);
    }
    return counted;
}

struct pl_limits *pl_limits_ref(struct pl_limits *limits)
{
    atomic_fetch_add_explicit(&limits->references, 1, memory_order_relaxed);
    return limits;
}

struct pl_limits *pl_limits_unref(struct pl_limits *limits)
{
    while (limits && atomic_fetch_sub_explicit(&limits->references, 1, memory_order_acq_rel) == 1) {
        struct pl_limits *base = limits->base;
        sys_free(limits);
        limits = base;
    }
    return NULL;
}

void pl_conn_note_limits(struct peal_conn *conn)
{
    const struct peal_conn_limits *values = &conn->limits->values;
    bool roomy = values->output_high_bytes >= PL_GATHER_BYTES_MAX &&
                 values->output_bytes_max >= PL_GATHER_BYTES_MAX;
    pl_conn_stop_gathering(conn);
    conn->flags = roomy ? conn->flags | PL_CONN_ROOMY : conn->flags & ~(uint32_t)PL_CONN_ROOMY;
}

int peal_conn_set_limits(struct peal_conn *conn, const struct peal_conn_limits *limits)
{
    pl_loop_check(conn->io.loop, "peal_conn_set_limits");
    if (pl_limits_check(limits) < 0) {
        return -EINVAL;
    }
    if (pl_conn_state(conn) == PEAL_CONN_CLOSED) {
        return -EPIPE;
    }
    struct pl_limits *own = conn->limits;
    if (own->base) { /* its own already */
        own->values = *limits;
        fill_defaults(&own->values);
        atomic_store_explicit(&own->output_cap, own->values.output_bytes_max, memory_order_relaxed);
    } else {
        struct pl_limits *shared = own;
        own = pl_limits_new(limits, shared->owner, shared->server_number);
        if (!own) {
            return -ENOMEM;
        }
        own->base = shared; /* with the connection's reference: another thread may be reading it */
        conn->limits = own;
    }
    pl_conn_note_limits(conn);
    pl_conn_update_recv(conn);
    pl_conn_arm_timer(conn);
    return 0;
}

/* ---- the timer */

static uint64_t quarter(uint32_t timeout_ms)
{
    return timeout_ms == PEAL_NEVER ? FOREVER : timeout_ms < 4 ? 1 : timeout_ms / 4;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool is_half_closed(const struct peal_conn *conn)
{
    return pl_conn_has(conn, PL_CONN_PEER_FIN | PL_CONN_FIN_SENT);
}

/* Milliseconds until there is something to look at, or FOREVER. */
static uint64_t next_look_ms(const struct peal_conn *conn)
{
    const struct peal_conn_limits *limits = &conn->limits->values;
    uint64_t next_ms = FOREVER;
    switch (pl_conn_state(conn)) {
    case PEAL_CONN_OPEN:
        if (limits->idle_ms != PEAL_NEVER) {
            uint32_t idle_ms = pl_conn_now_ms(conn) - conn->active_ms;
            next_ms = idle_ms < limits->idle_ms ? limits->idle_ms - idle_ms : 1;
        }
        if (is_half_closed(conn)) {
            next_ms = earlier(next_ms, quarter(limits->half_close_ms));
        }
        break;
    case PEAL_CONN_LINGERING:
        return quarter(limits->linger_ms);
    default:
        break;
    }
    if (pl_conn_has(conn, PL_CONN_WATCHED)) {
        next_ms = earlier(next_ms, quarter(limits->flush_ms));
    }
    return next_ms;
}

/* Notes whether the peer has acknowledged anything since the last look. More may have been written
 * meanwhile: if less is unacknowledged all the same, so much the more was acknowledged; and each
 * write is noted as progress itself. */
static void look_at_peer(struct peal_conn *conn)
{
    int unacked;
    if (conn->taken == 0 || sys_bytes_unsent(conn->io.fd, &unacked) < 0) {
        return;
    }
    if ((uint32_t)unacked < conn->unacked_seen) {
        conn->active_ms = conn->progress_ms = pl_conn_now_ms(conn);
    }
    conn->unacked_seen = (uint32_t)unacked;
}

static bool is_past(uint32_t now_ms, uint32_t since_ms, uint32_t timeout_ms)
{
    return timeout_ms != PEAL_NEVER && now_ms - since_ms >= timeout_ms;
}

static void on_timer(struct peal_timer_node *node)
{
    struct peal_conn *conn = pl_container(node, struct peal_conn, timer);
    const struct peal_conn_limits *limits = &conn->limits->values;
    uint32_t now_ms = pl_conn_now_ms(conn);
    enum peal_conn_state state = pl_conn_state(conn);
    if (state == PEAL_CONN_CLOSED || pl_conn_has(conn, PL_CONN_FAILED)) {
        return;
    }
    look_at_peer(conn);
    if (pl_conn_has(conn, PL_CONN_WATCHED) &&
        is_past(now_ms, conn->progress_ms, limits->flush_ms)) {
        pl_conn_break(conn, PEAL_CAUSE_FLUSH_TIMEOUT, -ETIMEDOUT);
    } else if (state == PEAL_CONN_LINGERING) {
        if (is_past(now_ms, conn->progress_ms, limits->linger_ms)) {
            pl_conn_break(conn, PEAL_CAUSE_LINGER_TIMEOUT, 0);
        }
    } else if (state == PEAL_CONN_OPEN) {
        if (is_half_closed(conn) && is_past(now_ms, conn->active_ms, limits->half_close_ms)) {
            pl_conn_break(conn, PEAL_CAUSE_HALF_CLOSE_TIMEOUT, -ETIMEDOUT);
        } else if (is_past(now_ms, conn->active_ms, limits->idle_ms)) {
            pl_conn_close_for(conn, PEAL_CAUSE_IDLE_TIMEOUT);
        }
    }
    pl_conn_arm_timer(conn);
}

/* Tells the timers, which belong to a lower layer, whom a connection's is for. */
__attribute__((constructor)) static void hook_timer(void)
{
    pl_timer_conn_fn = on_timer;
}

void pl_conn_arm_timer(struct peal_conn *conn)
{
    if (pl_conn_state(conn) == PEAL_CONN_CLOSED) {
        return;
    }
    uint64_t next_ms = next_look_ms(conn);
    if (next_ms == FOREVER) {
        return; /* if it is armed it finds nothing to do, once */
    }
    uint64_t due_ms = pl_loop_now_ms(conn->io.loop) + next_ms;
    if (!conn->timer.next || due_ms < conn->timer.due_ms) {
        pl_timer_start(conn->io.loop, &conn->timer, next_ms);
    }
}
