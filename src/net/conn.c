/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a connection: how it opens, and the one way in which it ends.
 *
 * A connection is owned by its loop from pl_conn_open until reap. Ending has two halves. The first
 * is begun wherever the end is learnt of (a call of the program, an event, a time-out): it ends the
 * output side, so that nothing is accepted any more, moves the state machine, and puts the
 * connection on the loop's reap list. It calls nobody, so it can happen inside any callback. The
 * second half, reap(), runs at the end of the turn, at top level, when no event of the batch can
 * still name the connection.
 *
 * Invariants:
 *  1. state is written by pl_conn_move alone; CLOSED is final.
 *  2. on_close is called in finish() and nowhere else, after the last of all other callbacks, and
 *     only if on_open was (G1).
 *  3. The fd is closed in finish() (or in pl_conn_discard, for one that never opened), on the
 *     loop's thread, right after on_close (G3).
 *  4. What was accepted is what was taken, what is queued, what its callback has gathered, and what
 *     is under way from other threads (remote & PL_REMOTE_BYTES): it is not counted a second time.
 *     Once PL_REMOTE_ENDED is set other threads add nothing, and the count is of what was lost:
 *     theirs, and the rest of a send that was half gone when there was no memory to queue it
 *     (conn_output.c).
 *  5. FAILED connections (the peer or the system broke them) keep their state until reap, where
 *     what the kernel still holds of the input is shown first (G6). Everything else that ends at
 *     once is CLOSED at once.
 *  6. Nothing on the way from the end being learnt of to the freed memory allocates (G9).
 *
 * Rejected: closing the fd with the last reference, as muduo does. A forgotten reference then holds
 * the socket in CLOSE_WAIT, and "is it closed?" has no answer. */
#include "net/conn.h"

#include "base/assert.h"
#include "base/buf.h"

#include <errno.h>
#include <string.h>

static void reap(struct pl_job *job);

static void on_detached(struct pl_io *io)
{
    pl_loop_reap_later(io->loop, &pl_conn_of_io(io)->job);
}

static const struct pl_io_handler conn_handler = {
    .on_recv = pl_conn_on_recv,
    .on_sent = pl_conn_on_sent,
    .on_detached = on_detached,
};

struct peal_conn *pl_conn_new(int fd, const struct sockaddr *peer, socklen_t peer_size)
{
    struct peal_conn *conn = sys_calloc(1, sizeof *conn);
    if (!conn) {
        return NULL;
    }
    conn->io.fd = fd;
    conn->io.handler = &conn_handler;
    atomic_init(&conn->references, 1);
    atomic_init(&conn->state, PEAL_CONN_CONNECTING);
    pl_job_init(&conn->job);
    if (!pl_conn_set_peer(conn, peer, peer_size)) {
        sys_free(conn);
        return NULL;
    }
    return conn;
}

void pl_conn_free_unopened(struct peal_conn *conn)
{
    pl_conn_forget_peer(conn);
    sys_free(conn);
}

void pl_conn_discard(struct peal_conn *conn)
{
    pl_assert(pl_conn_state(conn) == PEAL_CONN_CONNECTING);
    sys_close(conn->io.fd);
    pl_conn_free_unopened(conn);
}

/* ---- the owner's list */

static struct peal_conn *at(const struct peal_loop *loop, uint32_t place)
{
    return place ? pl_handle_at(loop, place - 1) : NULL;
}

struct peal_conn *pl_conn_first(const struct peal_loop *loop, const struct pl_conn_owner *owner)
{
    return at(loop, owner->first);
}

struct peal_conn *pl_conn_next(const struct peal_conn *conn)
{
    return at(conn->io.loop, conn->next);
}

static void enlist(struct peal_conn *conn)
{
    struct pl_conn_owner *owner = conn->limits->owner;
    uint32_t place = pl_handle_place(conn->id) + 1;
    struct peal_conn *last = at(conn->io.loop, owner->last);
    conn->previous = owner->last;
    *(last ? &last->next : &owner->first) = place;
    owner->last = place;
}

/* While its id is in the table. */
static void delist(struct peal_conn *conn)
{
    struct pl_conn_owner *owner = conn->limits->owner;
    struct peal_conn *next = at(conn->io.loop, conn->next);
    struct peal_conn *previous = at(conn->io.loop, conn->previous);
    *(next ? &next->previous : &owner->last) = conn->previous;
    *(previous ? &previous->next : &owner->first) = conn->next;
}

int pl_conn_open(struct peal_conn *conn, struct peal_loop *loop, const struct peal_conn_ops *ops,
                 void *user, struct pl_limits *limits)
{
    int result = pl_handle_take(loop, conn);
    if (result < 0) {
        pl_conn_discard(conn);
        return result;
    }
    conn->io.loop = loop;
    conn->io.flags = PL_IO_RECV;
    result = loop->ops->attach(loop->engine, &conn->io);
    if (result < 0) {
        pl_handle_release(loop, conn);
        pl_conn_discard(conn);
        return result;
    }
    peal_loop_ref(loop);
    conn->limits = pl_limits_ref(limits);
    enlist(conn);
    conn->ops = ops;
    conn->user = user;
    conn->flags = PL_CONN_ATTACHED | PL_CONN_RECV_ON | PL_CONN_OPENED;
    conn->opened_ns = loop->now_ns;
    conn->active_ms = conn->progress_ms = pl_conn_now_ms(conn);
    pl_gather_init(loop);
    pl_conn_note_limits(conn);
    conn->timer.kind = PL_TIMER_CONN;
    atomic_fetch_add_explicit(&loop->connections, 1, memory_order_relaxed);
    pl_count(&loop->counters.opened, 1);
    pl_conn_move(conn, PL_EVENT_OPENED);
    if (ops->on_open) {
        pl_conn_enter(conn);
        ops->on_open(conn, conn->user);
        pl_conn_leave(conn);
    }
    pl_conn_arm_timer(conn);
    return 0;
}

/* ---- around the program's callbacks */

void pl_conn_enter(struct peal_conn *conn)
{
    pl_assert(!pl_conn_has(conn, PL_CONN_IN_CALLBACK));
    conn->flags =
        conn->flags == PL_CONN_PLAIN ? PL_CONN_CALLING : conn->flags | PL_CONN_IN_CALLBACK;
}

void pl_conn_leave(struct peal_conn *conn)
{
    if (pl_conn_leave_plain(conn, conn->io.loop)) {
        conn->active_ms = (uint32_t)conn->io.loop->now_ms;
        return;
    }
    pl_conn_stop_gathering(conn);
    conn->flags &= ~(uint32_t)PL_CONN_IN_CALLBACK;
    if (pl_conn_has(conn, PL_CONN_FLUSH_DUE)) {
        conn->flags &= ~(uint32_t)PL_CONN_FLUSH_DUE;
        pl_conn_flush(conn);
    }
}

/* ---- the first half of the end */

static void reap_soon(struct peal_conn *conn)
{
    pl_job_cancel(&conn->job);
    conn->job.run = reap;
    pl_loop_reap_later(conn->io.loop, &conn->job);
}

void pl_conn_end_output(struct peal_conn *conn)
{
    atomic_fetch_or_explicit(&conn->remote, PL_REMOTE_ENDED, memory_order_acq_rel);
}

/* Ends that cut a stream short are told to the peer by a reset. The others need none: the peer has
 * sent one itself, or our FIN is sent already and the kernel goes on delivering by itself. */
static bool wants_reset(enum peal_cause cause)
{
    return cause != PEAL_CAUSE_PEER_RESET && cause != PEAL_CAUSE_LINGER_TIMEOUT &&
           cause != PEAL_CAUSE_LINGER_LIMIT;
}

/* A linger limit is the cause where the program closed, for it could have expected the peer's end.
 * A connection that was ended for another reason, such as a time-out, keeps that as its cause. */
static bool is_only_a_long_linger(const struct peal_conn *conn, enum peal_cause cause)
{
    return (cause == PEAL_CAUSE_LINGER_TIMEOUT || cause == PEAL_CAUSE_LINGER_LIMIT) &&
           conn->cause != PEAL_CAUSE_LOCAL_CLOSE;
}

/* The cause of what broke it first stays. */
void pl_conn_break(struct peal_conn *conn, enum peal_cause cause, int error)
{
    if (pl_conn_state(conn) == PEAL_CONN_CLOSED) {
        return;
    }
    pl_conn_end_output(conn);
    if (!pl_conn_has(conn, PL_CONN_FAILED) && !is_only_a_long_linger(conn, cause)) {
        conn->cause = (uint8_t)cause;
        conn->error = (int16_t)error;
        conn->flags |= wants_reset(cause) ? PL_CONN_RESET : 0u;
    }
    pl_conn_move(conn, PL_EVENT_BREAK);
    reap_soon(conn);
}

void pl_conn_fail(struct peal_conn *conn, int error, bool rest)
{
    if (pl_conn_state(conn) == PEAL_CONN_CLOSED || pl_conn_has(conn, PL_CONN_FAILED)) {
        return;
    }
    pl_conn_end_output(conn);
    conn->error = (int16_t)error;
    switch (error) {
    case -ECONNRESET:
    case -EPIPE:
    case -ECONNABORTED:
        conn->cause = PEAL_CAUSE_PEER_RESET;
        break;
    case -ENOMEM:
    case -ENOBUFS:
        conn->cause = PEAL_CAUSE_NO_MEMORY;
        break;
    default:
        conn->cause = PEAL_CAUSE_IO_ERROR;
        break;
    }
    conn->flags |= PL_CONN_FAILED | (rest ? PL_CONN_REST : 0u) |
                   (wants_reset((enum peal_cause)conn->cause) ? PL_CONN_RESET : 0u);
    reap_soon(conn);
}

void pl_conn_close_for(struct peal_conn *conn, enum peal_cause cause)
{
    if (pl_conn_state(conn) != PEAL_CONN_OPEN || pl_conn_has(conn, PL_CONN_FAILED)) {
        return;
    }
    pl_conn_end_output(conn);
    conn->cause = (uint8_t)cause;
    pl_conn_move(conn, PL_EVENT_CLOSE);
    if (!pl_conn_has(conn, PL_CONN_IN_CALLBACK)) { /* else the callback may be looking at it */
        pl_conn_drop_input(conn);
    }
    pl_conn_update_recv(conn);
    pl_conn_flush_soon(conn);
}

static void shutdown_here(struct peal_conn *conn)
{
    if (pl_conn_state(conn) != PEAL_CONN_OPEN ||
        pl_conn_has(conn, PL_CONN_FIN_WANTED | PL_CONN_FAILED)) {
        return;
    }
    pl_conn_end_output(conn);
    conn->flags |= PL_CONN_FIN_WANTED;
    pl_conn_flush_soon(conn);
}

/* Both ends of stream have passed. */
static void both_ended(struct peal_conn *conn)
{
    if (conn->cause == PEAL_CAUSE_NONE) {
        conn->cause = PEAL_CAUSE_LOCAL_CLOSE;
    }
    conn->flags |= PL_CONN_CLEAN;
    pl_conn_move(conn, PL_EVENT_BOTH_ENDED);
    reap_soon(conn);
}

/* FIN. False: the connection has failed meanwhile. */
static bool send_fin(struct peal_conn *conn)
{
    if (pl_conn_has(conn, PL_CONN_FIN_SENT)) {
        return true;
    }
    int result = sys_shutdown(conn->io.fd, SHUT_WR);
    if (result < 0) { /* ENOTCONN: a reset has come that has not been read yet */
        pl_conn_fail(conn, result == -ENOTCONN ? -ECONNRESET : result, true);
        return false;
    }
    conn->flags |= PL_CONN_FIN_SENT;
    conn->active_ms = conn->progress_ms = pl_conn_now_ms(conn);
    return true;
}

void pl_conn_output_empty(struct peal_conn *conn)
{
    if (atomic_load_explicit(&conn->remote, memory_order_acquire) & PL_REMOTE_BYTES) {
        return; /* accepted by another thread and on its way here: the FIN goes after it */
    }
    bool peer_fin = pl_conn_has(conn, PL_CONN_PEER_FIN);
    switch (pl_conn_state(conn)) {
    case PEAL_CONN_OPEN:
        if (!pl_conn_has(conn, PL_CONN_FIN_WANTED) || pl_conn_has(conn, PL_CONN_FIN_SENT)) {
            return;
        }
        if (send_fin(conn)) {
            pl_conn_move(conn, PL_EVENT_FIN_SENT);
            if (peer_fin) {
                both_ended(conn);
            } else {
                pl_conn_arm_timer(conn);
            }
        }
        return;
    case PEAL_CONN_CLOSING:
        if (!send_fin(conn)) { /* not left to close(2), which sends none while a child has a copy */
            return;
        }
        if (peer_fin) {
            both_ended(conn);
        } else {
            pl_conn_move(conn, PL_EVENT_FLUSHED);
            pl_conn_arm_timer(conn);
        }
        return;
    default:
        return;
    }
}

void pl_conn_peer_ended(struct peal_conn *conn)
{
    conn->flags |= PL_CONN_PEER_FIN;
    switch (pl_conn_state(conn)) {
    case PEAL_CONN_OPEN:
        pl_conn_move(conn, PL_EVENT_PEER_FIN);
        if (conn->ops->on_eof) {
            struct peal_buf none;
            peal_buf_init(&none);
            pl_conn_enter(conn);
            conn->ops->on_eof(conn, pl_conn_has(conn, PL_CONN_INPUT) ? &conn->in.kept->buf : &none,
                              conn->user);
            pl_conn_leave(conn);
            peal_buf_deinit(&none);
            pl_conn_drop_input(conn);
            if (pl_conn_state(conn) == PEAL_CONN_OPEN && pl_conn_has(conn, PL_CONN_FIN_SENT)) {
                both_ended(conn);
            } else {
                struct peal_loop *loop = conn->io.loop;
                loop->ops->recv_stop(loop->engine, &conn->io); /* it stays: errors matter */
                pl_conn_arm_timer(conn);
            }
        } else if (pl_conn_has(conn, PL_CONN_FIN_SENT)) {
            both_ended(conn);
        } else {
            pl_conn_close_for(conn, pl_conn_has(conn, PL_CONN_FIN_WANTED) ? PEAL_CAUSE_LOCAL_CLOSE
                                                                          : PEAL_CAUSE_PEER_CLOSED);
        }
        return;
    case PEAL_CONN_CLOSING:
        pl_conn_move(conn, PL_EVENT_PEER_FIN);
        return;
    default:
        pl_assert(pl_conn_state(conn) == PEAL_CONN_LINGERING);
        both_ended(conn);
        return;
    }
}

/* ---- the second half: reap, at top level */

static void fill_record(struct peal_conn *conn, struct peal_close_record *record)
{
    uint64_t on_the_way =
        atomic_load_explicit(&conn->remote, memory_order_acquire) & PL_REMOTE_BYTES;
    int unacked = 0;
    if (conn->taken > 0 && conn->ops->on_close && /* nobody else asks: a system call */
        sys_bytes_unsent(conn->io.fd, &unacked) < 0) {
        unacked = 0;
    }
    *record = (struct peal_close_record){
        .cause = (enum peal_cause)conn->cause,
        .state = pl_conn_ended_in(conn),
        .error = conn->error,
        .clean = pl_conn_has(conn, PL_CONN_CLEAN),
        .bytes_received = conn->received,
        .bytes_accepted = conn->taken + pl_outq_bytes(&conn->output) + on_the_way,
        .bytes_taken = conn->taken,
        .bytes_unsent = pl_outq_bytes(&conn->output) + on_the_way,
        .bytes_unacked = (uint64_t)unacked,
        .bytes_discarded = conn->in.discarded,
        .lifetime_ns = conn->io.loop->now_ns - conn->opened_ns,
    };
}

/* Disconnecting resets at once, even while a child or a dup has a copy of the fd. Where it does not
 * work (a unix socket has no reset; a kernel that is not Linux), close(2) is told to reset. */
static void send_reset(int fd)
{
    const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    if (sys_connect(fd, &nowhere, sizeof nowhere) < 0) {
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
}

static void finish(struct peal_conn *conn)
{
    struct peal_loop *loop = conn->io.loop;
    struct peal_close_record record;
    pl_conn_drop_input(conn);
    fill_record(conn, &record);
    pl_outq_consume_all(&conn->output, loop);
    delist(conn);
    pl_handle_release(loop, conn);
    pl_timer_cancel(loop, &conn->timer);
    if (conn->ops->on_close) {
        conn->ops->on_close(conn, &record, conn->user);
    }
    if (pl_conn_has(conn, PL_CONN_RESET)) {
        send_reset(conn->io.fd);
    }
    pl_record(loop, PL_RECORD_FD_CLOSED, conn->id, (uint32_t)conn->io.fd);
    sys_close(conn->io.fd);
    conn->io.fd = -1;
    conn->opened_ns = loop->now_ns; /* from now on: when it closed */
    pl_count(&loop->counters.closed, 1);
    atomic_fetch_sub_explicit(&loop->connections, 1, memory_order_relaxed);
    struct pl_conn_owner *owner = conn->limits->owner;
    owner->closed(owner, conn, &record);
    pl_conn_closed_refs(conn);
}

static bool rest_is_over(struct pl_io *io)
{
    return pl_conn_state(pl_conn_of_io(io)) != PEAL_CONN_OPEN;
}

/* Shows what had arrived before the connection broke. */
static void show_rest(struct peal_conn *conn)
{
    int unread = 0;
    conn->flags &= ~(uint32_t)PL_CONN_REST;
    if (pl_conn_state(conn) != PEAL_CONN_OPEN || pl_conn_has(conn, PL_CONN_PEER_FIN) ||
        sys_bytes_unread(conn->io.fd, &unread) < 0) {
        return;
    }
    struct peal_loop *loop = conn->io.loop;
    loop->ops->recv_rest(loop->engine, &conn->io, (size_t)(unread > 0 ? unread : 0), rest_is_over);
}

static void reap(struct pl_job *job)
{
    struct peal_conn *conn = pl_container(job, struct peal_conn, job);
    struct peal_loop *loop = conn->io.loop;
    if (pl_conn_state(conn) != PEAL_CONN_CLOSED) {
        if (pl_conn_has(conn, PL_CONN_REST)) {
            show_rest(conn);
        }
        if (pl_conn_state(conn) != PEAL_CONN_CLOSED) {
            pl_conn_move(conn, PL_EVENT_BREAK);
        }
        pl_job_cancel(&conn->job); /* the program may have ended it once more meanwhile */
    }
    if (pl_conn_has(conn, PL_CONN_ATTACHED)) {
        conn->flags &= ~(uint32_t)PL_CONN_ATTACHED;
        if (!loop->ops->detach(loop->engine, &conn->io)) {
            pl_loop_reap_when_detached(loop, &conn->job);
            return; /* on_detached brings it back here */
        }
    }
    finish(conn);
}

/* ---- the program's calls */

void peal_conn_shutdown(struct peal_conn *conn)
{
    if (pl_loop_is_mine(conn->io.loop)) {
        pl_record(conn->io.loop, PL_RECORD_SHUTDOWN_CALLED, conn->id, 0);
        shutdown_here(conn);
    } else {
        pl_conn_request(conn, PL_REQUEST_SHUTDOWN);
    }
}

void peal_conn_close(struct peal_conn *conn)
{
    if (pl_loop_is_mine(conn->io.loop)) {
        pl_record(conn->io.loop, PL_RECORD_CLOSE_CALLED, conn->id, 0);
        pl_conn_close_for(conn, PEAL_CAUSE_LOCAL_CLOSE);
    } else {
        pl_conn_request(conn, PL_REQUEST_CLOSE);
    }
}

void peal_conn_abort(struct peal_conn *conn)
{
    if (pl_loop_is_mine(conn->io.loop)) {
        pl_record(conn->io.loop, PL_RECORD_ABORT_CALLED, conn->id, 0);
        pl_conn_break(conn, PEAL_CAUSE_LOCAL_ABORT, 0);
    } else {
        pl_conn_request(conn, PL_REQUEST_ABORT);
    }
}

void pl_conn_serve_requests(struct peal_conn *conn, unsigned requests)
{
    if (requests & PL_REQUEST_ABORT) {
        pl_conn_break(conn, PEAL_CAUSE_LOCAL_ABORT, 0);
    }
    if (requests & PL_REQUEST_CAP && pl_conn_state(conn) != PEAL_CONN_CLOSED &&
        !conn->limits->values.output_cap_refuses) {
        pl_conn_break(conn, PEAL_CAUSE_OUTPUT_CAP, -ENOBUFS);
    }
    if (requests & PL_REQUEST_CLOSE) {
        pl_conn_close_for(conn, PEAL_CAUSE_LOCAL_CLOSE);
    }
    if (requests & PL_REQUEST_SHUTDOWN) {
        shutdown_here(conn);
    }
    if (requests & PL_REQUEST_RESUME) {
        pl_conn_update_recv(conn);
    }
}
