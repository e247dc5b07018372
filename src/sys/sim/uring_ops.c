/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations of a simulated io_uring: those that the library's engine uses, and no others.
 *
 *   NOP            SEND, never waiting          ASYNC_CANCEL by user_data
 *   POLL_ADD, once or multishot                 ACCEPT, multishot
 *   RECV, multishot, into provided buffers
 *
 * Model. An operation is tried when it is taken. If it cannot go on it watches its file, and is
 * woken by a change; what was woken is tried again by the next enter that asks for completions, and
 * only there (DEFER_TASKRUN), in the order of waking. A flag of the submission queue says that
 * something was woken.
 *
 * A multishot operation completes each time that it could go on, and says F_MORE as long as it
 * lasts. It ends with an error, with an end of stream, when it is cancelled, and when a completion
 * finds no room.
 *
 * Polls are told by edges, as in the kernel: a multishot poll completes when something new has
 * come, not as long as there is something. New is an event that was not there at the change before;
 * input, each time that some arrives; room, when there is some after a write that fell short. A
 * poll tells the events of the moment at which it was woken, which may be over when it is heard of;
 * only if it was woken again since are they looked up once more.
 *
 * An operation holds its file: closing the fd ends nothing as long as it is in flight, and a peer
 * sees no end of stream before. An operation on a number that is no fd completes with EBADF; that
 * is no failure of a strict run, since an operation is taken later than it was written.
 *
 * Invariants
 *  1. A request is in the ring's list from the moment it was taken until its last completion.
 *  2. A send is over when it was taken: MSG_DONTWAIT.
 *  3. A cancelled operation completes with ECANCELED, also when it was woken before: the
 *     cancellation is taken before anything that was woken is tried.
 *
 * Failure modes. A known operation of the real ring that is not simulated, or one with unusual
 * flags, ends the run: its user would have to teach it to this file. A number that no kernel knows
 * completes with EINVAL. */
#include "sys/sim/socket.h"
#include "sys/sim/uring.h"

#include <errno.h>
#include <stdlib.h>

enum {
    TRIES_MAX = 32, /* of one multishot operation, before others have their turn */
    UNASKED = EPOLLERR | EPOLLHUP | EPOLLRDHUP
};

/* ---- waking */

static void wake(struct pl_sim_request *request)
{
    struct pl_sim_ring *ring = request->ring;
    if (!request->is_woken) {
        request->is_woken = true;
        request->next_woken = NULL;
        if (ring->woken) {
            ring->woken_last->next_woken = request;
        } else {
            ring->woken = request;
        }
        ring->woken_last = request;
    }
    atomic_fetch_or(&ring->sq_flags, IORING_SQ_TASKRUN);
    pl_sim_wake(&ring->file);
}

/* Which of the events there are came since the change before. */
static uint32_t news(struct pl_sim_request *request, uint32_t events)
{
    const struct pl_sim_file *file = request->file;
    uint32_t fresh = events & ~request->seen_events;
    if (events & EPOLLIN && file->inputs != request->seen_inputs) {
        fresh |= EPOLLIN;
        request->seen_inputs = file->inputs;
    }
    if (events & EPOLLOUT && file->shortages != request->seen_shortages) {
        fresh |= EPOLLOUT;
        request->seen_shortages = file->shortages;
    }
    request->seen_events = events;
    return fresh & request->wanted;
}

static void changed(struct pl_sim_watcher *watcher)
{
    struct pl_sim_request *request = (struct pl_sim_request *)watcher;
    uint32_t events = request->file->poll(request->file);
    if (request->sqe.opcode != IORING_OP_POLL_ADD) {
        if (events & request->wanted) {
            wake(request);
        }
    } else if (news(request, events)) {
        request->told = request->is_woken ? 0 : events & request->wanted;
        wake(request);
    }
}

static void await(struct pl_sim_request *request, uint32_t wanted)
{
    if (!request->watcher.file) {
        request->wanted = wanted;
        request->watcher.changed = changed;
        request->seen_events = request->file->poll(request->file);
        request->seen_inputs = request->file->inputs;
        request->seen_shortages = request->file->shortages;
        pl_sim_watch(request->file, &request->watcher);
    }
}

/* ---- the end of an operation */

static void forget(struct pl_sim_request *request)
{
    struct pl_sim_ring *ring = request->ring;
    struct pl_sim_request **at = &ring->requests;
    while (*at != request) {
        at = &(*at)->next;
    }
    *at = request->next;
    struct pl_sim_request *before = NULL;
    for (at = &ring->woken; *at && *at != request; at = &(*at)->next_woken) {
        before = *at;
    }
    if (*at) {
        *at = request->next_woken;
        ring->woken_last = request->next_woken ? ring->woken_last : before;
    }
    if (request->watcher.file) {
        pl_sim_unwatch(&request->watcher);
    }
    struct pl_sim_file *file = request->file;
    free(request);
    if (file) {
        pl_sim_release(file);
    }
}

static void finish(struct pl_sim_request *request, int result, bool has_failed, uint32_t flags)
{
    if (has_failed || !(request->sqe.flags & IOSQE_CQE_SKIP_SUCCESS)) {
        pl_sim_ring_post(request->ring, request->sqe.user_data, result, flags);
    }
    forget(request);
}

/* Tells of a success after which a multishot operation goes on. False: it has ended with it. */
static bool go_on(struct pl_sim_request *request, int result, uint32_t flags)
{
    if (!pl_sim_strikes(PL_SIM_URING_ENDS) &&
        pl_sim_ring_post_more(request->ring, request->sqe.user_data, result, flags)) {
        return true;
    }
    finish(request, result, false, flags);
    return false;
}

/* It could not go on. If its file says otherwise, which is a fault's work, it is tried again. */
static void wait_for_input(struct pl_sim_request *request)
{
    await(request, EPOLLIN | UNASKED);
    if (request->file->poll(request->file) & EPOLLIN) {
        wake(request);
    }
}

/* ---- the operations */

static bool is_socket(struct pl_sim_request *request)
{
    if (request->file->kind == PL_SIM_SOCKET) {
        return true;
    }
    finish(request, -ENOTSOCK, true, 0);
    return false;
}

static struct io_uring_buf *next_buffer(struct pl_sim_ring *ring)
{
    if (!ring->buffers) {
        return NULL;
    }
    const _Atomic uint16_t *tail = (const _Atomic uint16_t *)&ring->buffers->tail;
    if (atomic_load_explicit(tail, memory_order_acquire) == ring->buffers_head ||
        pl_sim_strikes(PL_SIM_URING_NO_BUFFER)) {
        return NULL;
    }
    return &((struct io_uring_buf *)(void *)ring->buffers)[ring->buffers_head & ring->buffers_mask];
}

static void try_recv(struct pl_sim_request *request)
{
    struct pl_sim_ring *ring = request->ring;
    struct pl_sim_socket *socket = (struct pl_sim_socket *)request->file;
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        const struct io_uring_buf *buffer = next_buffer(ring);
        if (!buffer) {
            finish(request, -ENOBUFS, true, 0);
            return;
        }
        ssize_t n = pl_sim_recv_from(socket, (void *)(uintptr_t)buffer->addr, buffer->len, 0);
        if (n == -EAGAIN) {
            break;
        }
        if (n <= 0) {
            finish(request, (int)n, n < 0, 0);
            return;
        }
        uint32_t id = buffer->bid;
        ring->buffers_head++;
        if (!go_on(request, (int)n, IORING_CQE_F_BUFFER | id << IORING_CQE_BUFFER_SHIFT)) {
            return;
        }
        if (socket->in.size == 0 && !socket->shut_in) {
            break; /* known to be empty, so it asks for no other buffer */
        }
    }
    wait_for_input(request);
}

static void try_accept(struct pl_sim_request *request)
{
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        int fd = pl_sim_accept_from((struct pl_sim_socket *)request->file, NULL, NULL);
        if (fd == -EAGAIN) {
            break;
        }
        if (fd < 0) {
            finish(request, fd, true, 0);
            return;
        }
        if (!go_on(request, fd, 0)) {
            return;
        }
    }
    wait_for_input(request);
}

static void try_poll(struct pl_sim_request *request)
{
    uint32_t events = request->told ? request->told : request->file->poll(request->file);
    events &= request->wanted;
    request->told = 0;
    if (events && request->is_multishot) {
        go_on(request, (int)events, 0);
    } else if (events) {
        finish(request, (int)events, false, 0);
    }
}

static void start_poll(struct pl_sim_request *request)
{
    if (!request->file->poll) {
        uint32_t ready = request->sqe.poll32_events & (EPOLLIN | EPOLLOUT);
        finish(request, (int)ready, false, 0); /* as of any file that cannot be waited for */
        return;
    }
    await(request, request->sqe.poll32_events | UNASKED);
    uint32_t events = request->seen_events & request->wanted;
    if (events && !request->is_multishot) {
        finish(request, (int)events, false, 0);
    } else if (events) {
        request->told = events;
        wake(request);
    }
}

static void send_now(struct pl_sim_request *request)
{
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)request->sqe.addr,
                                .iov_len = request->sqe.len};
    ssize_t n = pl_sim_write_to((struct pl_sim_socket *)request->file, &piece, 1, MSG_NOSIGNAL);
    bool is_less = n >= 0 && (size_t)n < piece.iov_len && request->sqe.msg_flags & MSG_WAITALL;
    finish(request, (int)n, n < 0 || is_less, 0);
}

static void go(struct pl_sim_request *request)
{
    switch (request->sqe.opcode) {
    case IORING_OP_RECV:
        try_recv(request);
        return;
    case IORING_OP_ACCEPT:
        try_accept(request);
        return;
    default:
        try_poll(request);
        return;
    }
}

/* Found by its user_data: the oldest, if there are several. */
static void cancel(struct pl_sim_request *request)
{
    struct pl_sim_ring *ring = request->ring;
    struct pl_sim_request *other = ring->requests;
    while (other && (other == request || other->sqe.user_data != request->sqe.addr)) {
        other = other->next;
    }
    if (other && !other->is_cancelled && other->is_woken &&
        pl_sim_strikes(PL_SIM_URING_CANCEL_LATE)) {
        go(other);
        for (other = ring->requests;
             other && (other == request || other->sqe.user_data != request->sqe.addr);
             other = other->next) {
        }
    }
    if (other) {
        other->is_cancelled = true;
        wake(other);
    }
    finish(request, other ? 0 : -ENOENT, !other, 0);
}

/* ---- taking */

/* Whether the operation is one of those above, with the flags that go with it. */
static bool is_simulated(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_NOP:
        return sqe->flags == 0;
    case IORING_OP_RECV:
        return sqe->flags == IOSQE_BUFFER_SELECT && sqe->ioprio == IORING_RECV_MULTISHOT &&
               sqe->len == 0 && sqe->msg_flags == 0 && sqe->buf_group == 0;
    case IORING_OP_ACCEPT:
        return sqe->flags == 0 && sqe->ioprio == IORING_ACCEPT_MULTISHOT && sqe->addr == 0;
    case IORING_OP_POLL_ADD:
        return sqe->flags == 0 && (sqe->len & ~IORING_POLL_ADD_MULTI) == 0 &&
               (sqe->poll32_events & ~(uint32_t)(EPOLLIN | EPOLLOUT | UNASKED)) == 0;
    case IORING_OP_SEND:
        return (sqe->flags & ~IOSQE_CQE_SKIP_SUCCESS) == 0 && sqe->msg_flags & MSG_DONTWAIT &&
               (sqe->msg_flags & ~(uint32_t)(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL)) == 0;
    case IORING_OP_ASYNC_CANCEL:
        return (sqe->flags & ~IOSQE_CQE_SKIP_SUCCESS) == 0 && sqe->cancel_flags == 0;
    default:
        return false;
    }
}

static bool needs_file(const struct io_uring_sqe *sqe)
{
    return sqe->opcode != IORING_OP_NOP && sqe->opcode != IORING_OP_ASYNC_CANCEL;
}

static bool may_be_late(const struct io_uring_sqe *sqe)
{
    return sqe->opcode == IORING_OP_RECV || sqe->opcode == IORING_OP_ACCEPT;
}

static struct pl_sim_request *new_request(struct pl_sim_ring *ring, const struct io_uring_sqe *sqe)
{
    struct pl_sim_request *request = pl_sim_take(sizeof *request);
    request->ring = ring;
    request->sqe = *sqe;
    request->is_multishot = sqe->opcode == IORING_OP_RECV || sqe->opcode == IORING_OP_ACCEPT ||
                            (sqe->opcode == IORING_OP_POLL_ADD && sqe->len);
    struct pl_sim_request **end = &ring->requests;
    while (*end) {
        end = &(*end)->next;
    }
    *end = request;
    if (needs_file(sqe)) {
        request->file = sqe->fd >= 0 && sqe->fd < PL_SIM_FDS_MAX ? pl_sim.fds[sqe->fd] : NULL;
    }
    if (request->file) {
        pl_sim_hold(request->file);
    }
    return request;
}

void pl_sim_ring_start(struct pl_sim_ring *ring, const struct io_uring_sqe *sqe)
{
    TRACE("    operation %u of fd %d: %#llx", sqe->opcode, sqe->fd,
          (unsigned long long)sqe->user_data);
    if (sqe->opcode >= IORING_OP_LAST) {
        pl_sim_ring_post(ring, sqe->user_data, -EINVAL, 0);
        return;
    }
    if (!is_simulated(sqe)) {
        pl_sim_fail("io_uring: operation %u with flags %#x is not simulated", sqe->opcode,
                    sqe->flags);
    }
    struct pl_sim_request *request = new_request(ring, sqe);
    if (needs_file(sqe) && !request->file) {
        finish(request, -EBADF, true, 0);
    } else if (sqe->opcode == IORING_OP_NOP) {
        finish(request, 0, false, 0);
    } else if (sqe->opcode == IORING_OP_ASYNC_CANCEL) {
        cancel(request);
    } else if (sqe->opcode == IORING_OP_POLL_ADD) {
        start_poll(request);
    } else if (!is_socket(request)) {
        return;
    } else if (sqe->opcode == IORING_OP_SEND) {
        send_now(request);
    } else if (may_be_late(sqe) && pl_sim_strikes(PL_SIM_URING_LATE)) {
        await(request, EPOLLIN | UNASKED);
        wake(request);
    } else {
        go(request);
    }
}

static struct pl_sim_request *take_woken(struct pl_sim_ring *ring, unsigned count)
{
    struct pl_sim_request **at = &ring->woken, *before = NULL;
    if (count > 1 && pl_sim_strikes(PL_SIM_REORDERED)) {
        for (uint64_t i = pl_choice_below(&pl_sim.choice, count); i > 0; i--) {
            before = *at;
            at = &(*at)->next_woken;
        }
    }
    struct pl_sim_request *request = *at;
    *at = request->next_woken;
    if (!request->next_woken) {
        ring->woken_last = before;
    }
    request->is_woken = false;
    return request;
}

/* What is woken meanwhile is for the next time. What a fault leaves stays woken; the flag may be
 * down nevertheless, as in kernels that run only so many a time (6.13 and later). */
void pl_sim_ring_run(struct pl_sim_ring *ring)
{
    unsigned count = 0;
    for (const struct pl_sim_request *r = ring->woken; r; r = r->next_woken) {
        count++;
    }
    atomic_fetch_and(&ring->sq_flags, ~(uint32_t)IORING_SQ_TASKRUN);
    for (; count > 0; count--) {
        if (pl_sim_strikes(PL_SIM_URING_LATE)) {
            if (!pl_choice_below(&pl_sim.choice, 2)) {
                atomic_fetch_or(&ring->sq_flags, IORING_SQ_TASKRUN);
            }
            return;
        }
        struct pl_sim_request *request = take_woken(ring, count);
        if (request->is_cancelled) {
            finish(request, -ECANCELED, true, 0);
        } else {
            go(request);
        }
    }
}

void pl_sim_ring_abandon(struct pl_sim_ring *ring)
{
    while (ring->requests) {
        forget(ring->requests);
    }
}
