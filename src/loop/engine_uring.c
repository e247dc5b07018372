/* SPDX-License-Identifier: BSD-2-Clause */
/* The io_uring engine: operations that the kernel completes, gathered into one system call a turn.
 *
 * Receiving and accepting are multishot operations: submitted once, they complete each time that
 * something has come. Small sends are queued during the turn and submitted together with the wait
 * (E3); they are asked not to wait for room, so all of them are over when the submission returns,
 * and only those that failed or fell short post a completion. When a turn brought very few events,
 * nothing is gained by gathering, and its first sends are made at once, as large ones and those of
 * several pieces always are.
 *
 * What needs readiness, not completion, is a poll: room for a send that fell short, and errors of a
 * stream that nobody reads (multishot, which the kernel tells edge by edge: it cannot spin); a
 * connect; the fds of watches, once and asked again after each event, so that watches are level
 * triggered as they promise.
 *
 * Invariants, besides the contract E1-E7 of engine.h:
 *  1. A bit of io->in_flight is set from the moment when the operation is put in the queue until
 *     its last completion was seen; user_data names the io only as long. A detached io is given
 *     back (on_detached) when the last bit goes.
 *  2. Operations are taken by the kernel in the order in which they were queued, so a cancellation
 *     never meets an operation that was started after it.
 *  3. No operation is lost for want of room: a full queue is submitted and filled again.
 *  4. Handlers run from inside wait only. What has to be told and needs no kernel is a no-op that
 *     is submitted (nudge).
 *  5. Bytes of a send are counted when the kernel has taken them, never before.
 *
 * When the kernel refuses to go on (a sandbox that was closed after the loop was made, memory that
 * stays short) the engine breaks: the ring is closed, which ends all that is in flight, wait
 * returns the error from then on, and every detach is done at once.
 *
 * The thread that made the loop is the ring's only issuer; others write the eventfd, which a
 * multishot poll watches and nobody reads: each write is an edge. */
#include "loop/engine_uring.h"

#include "base/assert.h"
#include "loop/engine_sync.h"

#include <peal/watch.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SQ_ENTRIES = 1024,
    CQ_ENTRIES = 8192,
    FAILURES_MAX = 1000, /* in a row, of an enter that may succeed later */
    WAKE_TRIES = 1000
};

/* ---- operations */

/* The kernel does not go on: what is in flight ends with the ring. */
static void break_down(struct pl_engine *engine, int error)
{
    if (!engine->broken) {
        engine->broken = error;
        sys_uring_close(&engine->ring);
        engine->sends_count = 0;
    }
}

struct io_uring_sqe *uring_sqe_new(struct pl_engine *engine)
{
    struct io_uring_sqe *sqe = engine->broken ? NULL : sys_uring_sqe(&engine->ring);
    for (unsigned tries = 0; !sqe && !engine->broken; tries++) {
        int result = sys_uring_submit(&engine->ring);
        if (result < 0 && tries > FAILURES_MAX) {
            break_down(engine, result);
            return NULL;
        }
        sqe = sys_uring_sqe(&engine->ring);
    }
    return sqe;
}

static struct io_uring_sqe *start(struct pl_engine *engine, struct pl_io *io, enum op op,
                                  uint8_t opcode)
{
    struct io_uring_sqe *sqe = uring_sqe_new(engine);
    if (sqe) {
        sqe->opcode = opcode;
        sqe->fd = io->fd;
        sqe->user_data = (uint64_t)(uintptr_t)io | op;
        io->in_flight |= (uint8_t)IN_FLIGHT(op);
    }
    return sqe;
}

static int done_or_broken(const struct pl_engine *engine, const struct io_uring_sqe *sqe)
{
    return sqe ? 0 : engine->broken;
}

static int start_recv(struct pl_engine *engine, struct pl_io *io)
{
    struct io_uring_sqe *sqe = start(engine, io, OP_RECV, IORING_OP_RECV);
    if (sqe) {
        sqe->ioprio = IORING_RECV_MULTISHOT;
        sqe->flags = IOSQE_BUFFER_SELECT;
    }
    return done_or_broken(engine, sqe);
}

static int start_accept(struct pl_engine *engine, struct pl_io *io)
{
    struct io_uring_sqe *sqe = start(engine, io, OP_ACCEPT, IORING_OP_ACCEPT);
    if (sqe) {
        sqe->ioprio = IORING_ACCEPT_MULTISHOT;
        sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    }
    return done_or_broken(engine, sqe);
}

/* POLLERR and POLLHUP come unasked, and so does the peer's end of stream, which is not wanted. */
static int start_poll(struct pl_engine *engine, struct pl_io *io, unsigned events, bool multishot)
{
    struct io_uring_sqe *sqe = start(engine, io, OP_POLL, IORING_OP_POLL_ADD);
    if (sqe) {
        sqe->poll32_events = events;
        sqe->len = multishot ? IORING_POLL_ADD_MULTI : 0;
    }
    return done_or_broken(engine, sqe);
}

int uring_start_stream_poll(struct pl_engine *engine, struct pl_io *io)
{
    return io->in_flight & IN_FLIGHT(OP_POLL) ? 0 : start_poll(engine, io, POLLOUT, true);
}

static unsigned watch_mask(const struct pl_io *io)
{
    return (io->poll_events & PEAL_READABLE ? (unsigned)POLLIN : 0) |
           (io->poll_events & PEAL_WRITABLE ? (unsigned)POLLOUT : 0);
}

static int start_watch_poll(struct pl_engine *engine, struct pl_io *io)
{
    return start_poll(engine, io, watch_mask(io), (io->armed & URING_EDGE) != 0);
}

static int nudge(struct pl_engine *engine, struct pl_io *io)
{
    if (io->in_flight & IN_FLIGHT(OP_NUDGE)) {
        return 0;
    }
    return done_or_broken(engine, start(engine, io, OP_NUDGE, IORING_OP_NOP));
}

static void cancel(struct pl_engine *engine, struct pl_io *io, enum op op, uint8_t mark)
{
    if (!(io->in_flight & IN_FLIGHT(op)) || io->armed & mark) {
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe_new(engine);
    if (sqe) {
        sqe->opcode = IORING_OP_ASYNC_CANCEL;
        sqe->fd = -1;
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
        sqe->addr = (uint64_t)(uintptr_t)io | op;
        sqe->user_data = OP_NONE;
        io->armed |= mark;
    }
}

int uring_await_room(struct pl_engine *engine, struct pl_io *io, bool was_full)
{
    if (was_full || !(io->in_flight & IN_FLIGHT(OP_POLL))) {
        return uring_start_stream_poll(engine, io);
    }
    cancel(engine, io, OP_POLL, URING_CANCEL_POLL); /* its end starts the next, which looks */
    return engine->broken;
}

void uring_ended(struct pl_io *io, enum op op, uint8_t mark)
{
    io->in_flight &= (uint8_t)~IN_FLIGHT(op);
    io->armed &= (uint8_t)~mark;
}

void uring_give_back_if_idle(struct pl_io *io)
{
    if (io->in_flight == 0) {
        io->handler->on_detached(io);
    }
}

/* ---- receiving */

static void told_error(struct pl_io *io, int error)
{
    io->flags &= (uint8_t)~PL_IO_RECV;
    io->handler->on_recv(io, NULL, error);
}

static int recv_start(struct pl_engine *engine, struct pl_io *io)
{
    io->flags |= PL_IO_RECV;
    if (io->engine_data) {
        return nudge(engine, io);
    }
    return io->in_flight & IN_FLIGHT(OP_RECV) ? 0 : start_recv(engine, io);
}

/* The receive stays, as what the error of a paused stream is learnt by; it is cancelled when it
 * brings bytes. Where there is none any more, a poll takes its place. */
static int recv_stop(struct pl_engine *engine, struct pl_io *io)
{
    io->flags &= (uint8_t)~PL_IO_RECV;
    return io->in_flight & IN_FLIGHT(OP_RECV) ? 0 : uring_start_stream_poll(engine, io);
}

static void keep(struct pl_engine *engine, struct pl_io *io, const void *data, size_t size)
{
    cancel(engine, io, OP_RECV, URING_CANCEL_RECV);
    if (uring_keep(io, data, size) < 0) {
        told_error(io, -ENOMEM);
    }
}

static void received(struct pl_engine *engine, struct pl_io *io, int result, unsigned flags)
{
    unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
    if (!(io->armed & (URING_DETACHED | URING_LOST))) {
        if (io->engine_data) {
            uring_tell_kept(io, NULL);
        }
        if (io->flags & PL_IO_RECV) {
            io->handler->on_recv(io, uring_buffer(engine, id), result);
        } else if (!uring_is_detached(io)) {
            keep(engine, io, uring_buffer(engine, id), (size_t)result);
        }
    }
    uring_buffer_recycle(engine, id);
}

/* The receive is over: FIN, an error, or a reason to start anew. */
static void recv_ended(struct pl_engine *engine, struct pl_io *io, int result)
{
    if (io->engine_data) {
        uring_tell_kept(io, NULL);
    }
    if (uring_is_detached(io)) {
        return;
    }
    bool reads = io->flags & PL_IO_RECV;
    if (result == 0 && reads) {
        told_error(io, 0); /* FIN, which is none */
    } else if (result == -ENOBUFS) {
        uring_buffers_grow(engine);
    } else if (result < 0 && result != -ECANCELED && result != -EAGAIN && result != -EINTR) {
        told_error(io, result);
        return;
    }
    if (uring_is_detached(io) || io->in_flight & IN_FLIGHT(OP_RECV)) {
        return;
    }
    int error = 0;
    if (io->flags & PL_IO_RECV && !io->engine_data) {
        error = start_recv(engine, io);
    } else if (!reads) {
        error = uring_start_stream_poll(engine, io);
    }
    if (error < 0) {
        told_error(io, error);
    }
}

static void on_recv_done(struct pl_engine *engine, struct pl_io *io, int result, unsigned flags)
{
    bool last = !(flags & IORING_CQE_F_MORE);
    if (last) {
        uring_ended(io, OP_RECV, URING_CANCEL_RECV);
    }
    if (flags & IORING_CQE_F_BUFFER && result > 0) {
        received(engine, io, result, flags);
        result = -EAGAIN;
    } else if (flags & IORING_CQE_F_BUFFER) {
        uring_buffer_recycle(engine, flags >> IORING_CQE_BUFFER_SHIFT);
    }
    if (last && uring_is_detached(io)) {
        uring_give_back_if_idle(io);
    } else if (last) {
        recv_ended(engine, io, result);
    }
}

/* ---- accepting and connecting */

static int accept_start(struct pl_engine *engine, struct pl_io *io)
{
    io->flags |= PL_IO_ACCEPT;
    return io->in_flight & IN_FLIGHT(OP_ACCEPT) ? 0 : start_accept(engine, io);
}

static int accept_stop(struct pl_engine *engine, struct pl_io *io)
{
    io->flags &= (uint8_t)~PL_IO_ACCEPT;
    cancel(engine, io, OP_ACCEPT, URING_CANCEL_ACCEPT);
    return engine->broken;
}

static void tell_accepted(struct pl_io *io, int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (sys_getpeername(fd, (struct sockaddr *)&peer, &size) < 0) {
        size = 0; /* gone already */
    }
    io->handler->on_accept(io, fd, (struct sockaddr *)&peer, size);
}

static void on_accept_done(struct pl_engine *engine, struct pl_io *io, int result, unsigned flags)
{
    bool last = !(flags & IORING_CQE_F_MORE);
    if (last) {
        uring_ended(io, OP_ACCEPT, URING_CANCEL_ACCEPT);
    }
    if (result >= 0 && uring_is_detached(io)) {
        sys_close(result); /* as the kernel does with those that nobody has accepted */
    } else if (result >= 0) {
        tell_accepted(io, result);
    } else if (!uring_is_detached(io) && result != -ECANCELED && result != -EAGAIN &&
               result != -EINTR) {
        io->handler->on_accept(io, result, NULL, 0);
    }
    if (!last) {
        return;
    }
    if (uring_is_detached(io)) {
        uring_give_back_if_idle(io);
    } else if (io->flags & PL_IO_ACCEPT && !(io->in_flight & IN_FLIGHT(OP_ACCEPT))) {
        (void)start_accept(engine, io); /* it fails only with the engine */
    }
}

static int connect_io(struct pl_engine *engine, struct pl_io *io, const struct sockaddr *address,
                      socklen_t size)
{
    int result = sys_connect(io->fd, address, size);
    io->flags = PL_IO_CONNECT;
    io->armed = io->in_flight = 0;
    io->engine_data = NULL;
    if (result == 0 || result == -EINPROGRESS || result == -EINTR) {
        return start_poll(engine, io, POLLOUT, false);
    }
    pl_assert(-result <= UINT8_MAX);
    io->poll_events = (uint8_t)-result;
    io->armed = URING_DECIDED;
    return nudge(engine, io);
}

/* Connected and still attached: it is a stream now, of which errors are told (E2), also when the
 * handler has queued a send. */
static void tell_connect(struct pl_engine *engine, struct pl_io *io, int error)
{
    io->flags = 0;
    io->poll_events = 0;
    io->armed &= (uint8_t)~URING_DECIDED;
    io->handler->on_connect(io, error);
    bool is_heard = io->in_flight & (IN_FLIGHT(OP_RECV) | IN_FLIGHT(OP_POLL));
    if (!uring_is_detached(io) && error == 0 && !is_heard) {
        int result =
            io->flags & PL_IO_RECV ? start_recv(engine, io) : uring_start_stream_poll(engine, io);
        if (result < 0 && io->handler->on_recv) {
            told_error(io, result);
        }
    }
}

/* ---- polls */

static void poll_stream(struct pl_engine *engine, struct pl_io *io, unsigned events)
{
    bool fault = events & (POLLERR | POLLHUP);
    if (io->flags & PL_IO_SEND && (events & POLLOUT || fault)) {
        io->flags &= (uint8_t)~PL_IO_SEND;
        io->handler->on_sent(io, 0);
        if (uring_is_detached(io)) {
            return;
        }
    }
    if (events & POLLERR && !(io->in_flight & IN_FLIGHT(OP_RECV))) {
        int error = pl_sync_pending_error(io->fd);
        if (error < 0) {
            told_error(io, error);
        }
    }
    if (!uring_is_detached(io) && !(io->in_flight & IN_FLIGHT(OP_POLL)) && !fault &&
        !(io->flags & PL_IO_RECV && !(io->flags & PL_IO_SEND))) {
        int error = uring_start_stream_poll(engine, io);
        if (error < 0) {
            told_error(io, error);
        }
    }
}

static void tell_watch(struct pl_io *io, unsigned events)
{
    uint32_t told = (events & POLLIN ? (uint32_t)PEAL_READABLE : 0) |
                    (events & POLLOUT ? (uint32_t)PEAL_WRITABLE : 0) |
                    (events & POLLHUP ? (uint32_t)PEAL_HANGUP : 0) |
                    (events & POLLERR ? (uint32_t)PEAL_FAULT : 0);
    told &= io->poll_events | (uint32_t)(PEAL_HANGUP | PEAL_FAULT);
    if (told && io->poll_events) {
        io->handler->on_poll(io, told);
    }
}

/* Asked again after each event. Where the only thing to tell is what nobody wants (the peer's end
 * of stream), asking again would spin, so the next poll tells edges until something wanted came. */
static void poll_watch(struct pl_engine *engine, struct pl_io *io, unsigned events)
{
    unsigned wanted = watch_mask(io) | POLLHUP | POLLERR;
    if (events & wanted) {
        tell_watch(io, events);
        if (uring_is_detached(io)) {
            return;
        }
        io->armed &= (uint8_t)~URING_EDGE;
        cancel(engine, io, OP_POLL, URING_CANCEL_POLL); /* if it was one that tells edges */
    } else if (events) {
        io->armed |= URING_EDGE;
    }
    if (!(io->in_flight & IN_FLIGHT(OP_POLL)) && io->poll_events) {
        (void)start_watch_poll(engine, io); /* it fails only with the engine */
    }
}

static void on_poll_done(struct pl_engine *engine, struct pl_io *io, int result, unsigned flags)
{
    bool last = !(flags & IORING_CQE_F_MORE);
    unsigned events = result > 0 ? (unsigned)result : 0;
    if (last) {
        uring_ended(io, OP_POLL, URING_CANCEL_POLL);
    }
    if (uring_is_detached(io)) {
        if (last) {
            uring_give_back_if_idle(io);
        }
    } else if (result < 0 && result != -ECANCELED) {
        return; /* its fd was closed under it: as quiet as epoll, which forgets such fds */
    } else if (io->flags & PL_IO_POLL) {
        poll_watch(engine, io, events);
    } else if (io->flags & PL_IO_CONNECT) {
        tell_connect(engine, io, pl_sync_pending_error(io->fd));
    } else {
        poll_stream(engine, io, events);
    }
}

static int poll_set(struct pl_engine *engine, struct pl_io *io, uint8_t events)
{
    if (engine->broken) {
        return engine->broken;
    }
    if (io->poll_events == events) {
        return 0;
    }
    io->poll_events = events;
    io->armed &= (uint8_t)~URING_EDGE;
    if (io->in_flight & IN_FLIGHT(OP_POLL)) {
        cancel(engine, io, OP_POLL, URING_CANCEL_POLL); /* its end starts the next */
        return engine->broken;
    }
    return events ? start_watch_poll(engine, io) : 0;
}

static void on_nudge_done(struct pl_engine *engine, struct pl_io *io)
{
    uring_ended(io, OP_NUDGE, 0);
    if (uring_is_detached(io)) {
        uring_give_back_if_idle(io);
    } else if (io->armed & URING_DECIDED) {
        tell_connect(engine, io, -(int)io->poll_events);
    } else {
        uring_tell_kept(io, NULL);
        if (!uring_is_detached(io) && io->flags & PL_IO_RECV &&
            !(io->in_flight & IN_FLIGHT(OP_RECV))) {
            int error = start_recv(engine, io);
            if (error < 0) {
                told_error(io, error);
            }
        }
    }
}

/* ---- life */

static void submit(struct pl_engine *engine)
{
    if (!engine->broken) {
        (void)sys_uring_submit(&engine->ring); /* what it does not take goes with the next wait */
    }
}

/* Polls that are started anew wait for the next turn: submitted before the program has looked at
 * its fds, they would tell what is no longer so. */
static void push(struct pl_engine *engine)
{
    if (engine->sends_count > 0) {
        submit(engine);
    }
}

static int attach(struct pl_engine *engine, struct pl_io *io)
{
    io->armed = io->in_flight = 0;
    io->engine_data = NULL;
    if (engine->broken) {
        return engine->broken;
    }
    if (io->flags & PL_IO_ACCEPT) {
        return start_accept(engine, io);
    }
    if (io->flags & PL_IO_POLL) {
        struct stat status;
        int result = sys_fstat(io->fd, &status);
        if (result < 0) {
            return result;
        }
        if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) {
            return -EPERM; /* always ready: not a thing to watch, as epoll says */
        }
        return io->poll_events ? start_watch_poll(engine, io) : 0;
    }
    if (io->flags & PL_IO_RECV) {
        return start_recv(engine, io);
    }
    return io->handler->on_recv ? uring_start_stream_poll(engine, io) : 0;
}

static bool detach(struct pl_engine *engine, struct pl_io *io)
{
    bool is_watch = io->flags & PL_IO_POLL;
    cancel(engine, io, OP_RECV, URING_CANCEL_RECV);
    cancel(engine, io, OP_ACCEPT, URING_CANCEL_ACCEPT);
    cancel(engine, io, OP_POLL, URING_CANCEL_POLL);
    uring_drop_kept(io);
    io->flags = 0;
    io->armed |= URING_DETACHED;
    if (engine->broken) {
        io->in_flight = 0;
    } else if (is_watch && io->in_flight) {
        submit(engine); /* its fd is somebody else's, who may wait for the last holder to go */
    }
    return io->in_flight == 0;
}

/* ---- waiting */

static void arm_wake(struct pl_engine *engine)
{
    struct io_uring_sqe *sqe = uring_sqe_new(engine);
    if (sqe) {
        sqe->opcode = IORING_OP_POLL_ADD;
        sqe->fd = engine->wake_fd;
        sqe->poll32_events = POLLIN;
        sqe->len = IORING_POLL_ADD_MULTI;
        sqe->user_data = OP_WAKE;
        engine->wake_armed = true;
    }
}

static void dispatch(struct pl_engine *engine, uint64_t user_data, int result, unsigned flags)
{
    struct pl_io *io = (struct pl_io *)(uintptr_t)(user_data & ~(uint64_t)OP_MASK);
    switch ((enum op)(user_data & OP_MASK)) {
    case OP_RECV:
        on_recv_done(engine, io, result, flags);
        return;
    case OP_ACCEPT:
        on_accept_done(engine, io, result, flags);
        return;
    case OP_POLL:
        on_poll_done(engine, io, result, flags);
        return;
    case OP_NUDGE:
        on_nudge_done(engine, io);
        return;
    case OP_WAKE:
        engine->wake_armed = flags & IORING_CQE_F_MORE;
        return;
    case OP_NONE:
    case OP_SEND: /* looked up before */
    case OP_MASK:
        return;
    }
}

/* What had come when the wait was over. What handlers cause to come is for the next turn, also that
 * of the handlers of sends: a failed send among it was not looked up yet. */
static void dispatch_until(struct pl_engine *engine, uint32_t tail)
{
    struct sys_uring *ring = &engine->ring;
    uint32_t head = sys_uring_cq_head(ring);
    while (head != tail && !engine->broken) {
        const struct io_uring_cqe cqe = *sys_uring_cqe(ring, head++);
        sys_uring_cq_advance(ring, head);
        dispatch(engine, cqe.user_data, cqe.res, cqe.flags);
    }
}

static bool is_passing(struct pl_engine *engine, int error)
{
    return (error == -EINTR || error == -EAGAIN || error == -EBUSY || error == -ENOMEM) &&
           engine->failures++ < FAILURES_MAX;
}

/* A living loop may be interrupted by signals for ever, and its owner decides what an error means;
 * a loop that ends must get to its end. */
static int enter(struct pl_engine *engine, int64_t timeout_ns)
{
    bool ending = atomic_load(&engine->loop->life) != PL_LOOP_ALIVE;
    int result = sys_uring_enter(&engine->ring, timeout_ns != 0, timeout_ns);
    if (result == 0 || (result == -EINTR && !ending)) {
        engine->failures = 0;
        return 0;
    }
    if (is_passing(engine, result)) {
        sys_thread_yield();
        return 0;
    }
    if (ending) {
        break_down(engine, result);
    }
    return result;
}

static unsigned completions(const struct pl_engine *engine)
{
    return sys_uring_cq_tail(&engine->ring) - sys_uring_cq_head(&engine->ring);
}

/* Sends are over when they have been submitted, and their owners wait to be told, so no sleep comes
 * between. */
static int wait_events(struct pl_engine *engine, int64_t timeout_ns)
{
    struct sys_uring *ring = &engine->ring;
    if (!engine->wake_armed && !engine->broken) {
        arm_wake(engine);
    }
    if (engine->broken) {
        pl_loop_awake(engine->loop);
        return engine->broken;
    }
    if (engine->sends_count > 0 || completions(engine) > 0) {
        timeout_ns = 0;
    }
    int result = 0;
    if (timeout_ns != 0 || sys_uring_unsubmitted(ring) > 0 || sys_uring_has_work(ring)) {
        result = enter(engine, timeout_ns);
    }
    pl_loop_awake(engine->loop);
    if (result < 0) {
        return result;
    }
    uint32_t tail = sys_uring_cq_tail(ring);
    engine->batch = completions(engine);
    engine->sent_now = 0;
    engine->grown = false;
    unsigned told = engine->batch;
    if (engine->sends_count > 0) {
        told += uring_tell_sends(engine);
    }
    if (!engine->broken) {
        dispatch_until(engine, tail);
    }
    return engine->broken ? engine->broken : (int)told;
}

static void wake(struct pl_engine *engine)
{
    const uint64_t one = 1;
    for (unsigned tries = 0; sys_write(engine->wake_fd, &one, sizeof one) < 0 && tries < WAKE_TRIES;
         tries++) {
    }
}

static void engine_free(struct pl_engine *engine)
{
    if (!engine) {
        return;
    }
    sys_uring_close(&engine->ring);
    if (engine->wake_fd >= 0) {
        sys_close(engine->wake_fd);
    }
    uring_buffers_free(engine);
    sys_free(engine->sends);
    sys_free(engine);
}

static int engine_new(struct peal_loop *loop, struct pl_engine **ret_engine)
{
    struct pl_engine *engine = sys_calloc(1, sizeof *engine);
    if (!engine) {
        return -ENOMEM;
    }
    engine->loop = loop;
    engine->wake_fd = -1;
    int result = sys_uring_open(&engine->ring, SQ_ENTRIES, CQ_ENTRIES);
    if (result == 0) {
        result = uring_buffers_new(engine);
    }
    if (result == 0) {
        engine->wake_fd = sys_eventfd();
        result = engine->wake_fd < 0 ? engine->wake_fd : 0;
    }
    if (result < 0) {
        engine_free(engine);
        return result;
    }
    *ret_engine = engine;
    return 0;
}

const struct pl_engine_ops pl_engine_uring = {
    .name = "io_uring",
    .new = engine_new,
    .free = engine_free,
    .wait = wait_events,
    .wake = wake,
    .attach = attach,
    .detach = detach,
    .recv_start = recv_start,
    .recv_stop = recv_stop,
    .recv_rest = uring_recv_rest,
    .send = uring_send,
    .send_file = uring_send_file,
    .push = push,
    .accept_start = accept_start,
    .accept_stop = accept_stop,
    .connect = connect_io,
    .poll_set = poll_set,
};
