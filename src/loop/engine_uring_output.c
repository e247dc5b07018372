/* SPDX-License-Identifier: BSD-2-Clause */
/* Output of the io_uring engine: sends that are made at once, and sends that are gathered.
 *
 * A queued send is an operation that may not wait for room (MSG_DONTWAIT), so it is over when the
 * submission returns. It posts a completion only if it failed, and one that took less than all
 * counts as failed (MSG_WAITALL with IOSQE_CQE_SKIP_SUCCESS): a turn with a hundred answers costs
 * one system call and no completion. So, after an enter, every send that the kernel has taken from
 * the queue and that no completion names went well.
 *
 * Queueing pays when there is something to gather. The first sends of a turn that brought few
 * events are made at once, so that one connection's ping-pong does not wait for a second entry to
 * the kernel; so are large ones, where a system call does not matter, and those of many pieces.
 *
 * A send that falls short waits for the poll to tell of room. That is an edge, which comes only if
 * the kernel was full: a write that stopped for another reason has the poll begin anew.
 *
 * Invariants:
 *  1. sends[] holds the sends that are in the queue, in its order; the first has the number
 *     sends_first.
 *  2. An io has at most one send here (E3).
 *  3. Nothing is taken to have gone well while completions wait outside of the queue (overflow). */
#include "loop/engine_uring.h"

#include "loop/engine_sync.h"

#include <errno.h>
#include <string.h>

enum {
    QUEUE_FROM = 3, /* completions in a turn, or sends, from which on its sends are queued */
    QUEUED_BYTES_MAX = 32 * 1024
};

static ssize_t wrote(struct pl_engine *engine, struct pl_io *io, ssize_t n, size_t size,
                     bool was_full)
{
    if (n < 0 || (size_t)n == size) {
        return n;
    }
    io->flags |= PL_IO_SEND;
    int result = uring_await_room(engine, io, was_full);
    return result < 0 ? pl_io_refuse(io, n, result) : n;
}

static struct uring_send *note_send(struct pl_engine *engine)
{
    if (engine->sends_count == engine->sends_room) {
        uint32_t room = engine->sends_room ? engine->sends_room * 2 : 64;
        struct uring_send *sends = sys_realloc(engine->sends, room * sizeof *sends);
        if (!sends) {
            return NULL;
        }
        engine->sends = sends;
        engine->sends_room = room;
    }
    return &engine->sends[engine->sends_count];
}

/* False: it cannot be queued. */
static bool queue_send(struct pl_engine *engine, struct pl_io *io, const struct iovec *part)
{
    struct uring_send *send = note_send(engine);
    struct io_uring_sqe *sqe = send ? uring_sqe_new(engine) : NULL;
    if (!sqe) {
        return false;
    }
    sqe->opcode = IORING_OP_SEND;
    sqe->fd = io->fd;
    sqe->addr = (uint64_t)(uintptr_t)part->iov_base;
    sqe->len = (uint32_t)part->iov_len;
    sqe->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL; /* less than all counts as failed */
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = (uint64_t)(uint32_t)(engine->sends_first + engine->sends_count) << 3 | OP_SEND;
    *send = (struct uring_send){.io = io,
                                .size = (uint32_t)part->iov_len,
                                .sq_number = engine->ring.sq_filled,
                                .result = (int)part->iov_len};
    engine->sends_count++;
    io->flags |= PL_IO_QUEUED;
    io->in_flight |= (uint8_t)IN_FLIGHT(OP_SEND);
    return true;
}

ssize_t uring_send(struct pl_engine *engine, struct pl_io *io, const struct iovec *iov,
                   int iov_count, int flags)
{
    bool pays = engine->batch >= QUEUE_FROM || engine->sent_now >= QUEUE_FROM;
    if (pays && iov_count == 1 && !(flags & PL_SEND_NOW) && iov[0].iov_len <= QUEUED_BYTES_MAX &&
        queue_send(engine, io, iov)) {
        return 0;
    }
    size_t size = 0;
    engine->sent_now++;
    ssize_t n = pl_sync_send(io->fd, iov, iov_count, &size);
    return wrote(engine, io, n, size, n > 0);
}

ssize_t uring_send_file(struct pl_engine *engine, struct pl_io *io, int file_fd, off_t offset,
                        size_t size, bool *ret_file_error)
{
    ssize_t n = pl_sync_send_file(io->fd, file_fd, offset, size, ret_file_error);
    return *ret_file_error || n == -EOPNOTSUPP ? n : wrote(engine, io, n, size, false);
}

/* Failed sends post completions; they are looked up first, for what has posted none went well. */
static void note_failed_sends(struct pl_engine *engine)
{
    uint32_t tail = sys_uring_cq_tail(&engine->ring);
    for (uint32_t i = sys_uring_cq_head(&engine->ring); i != tail; i++) {
        const struct io_uring_cqe *cqe = sys_uring_cqe(&engine->ring, i);
        if ((cqe->user_data & OP_MASK) == OP_SEND) {
            uint32_t at = (uint32_t)(cqe->user_data >> 3) - engine->sends_first;
            if (at < engine->sends_count) {
                engine->sends[at].result = cqe->res;
            }
        }
    }
}

static void tell_send(struct pl_engine *engine, const struct uring_send *send)
{
    struct pl_io *io = send->io;
    ssize_t n = send->result == -EAGAIN || send->result == -EINTR ? 0 : send->result;
    uring_ended(io, OP_SEND, 0);
    io->flags &= (uint8_t)~PL_IO_QUEUED;
    if (uring_is_detached(io)) {
        if (n > 0) {
            io->handler->on_sent(io, n);
        }
        uring_give_back_if_idle(io);
        return;
    }
    io->handler->on_sent(io, wrote(engine, io, n, send->size, send->result != -EINTR));
}

/* Tells those that the kernel has taken. Handlers queue new ones behind them. */
unsigned uring_tell_sends(struct pl_engine *engine)
{
    uint32_t count = 0, head = atomic_load_explicit(engine->ring.sq_head, memory_order_acquire);
    note_failed_sends(engine);
    if (sys_uring_overflowed(&engine->ring)) {
        return 0; /* another failure may be among what there was no room for */
    }
    while (count < engine->sends_count && (int32_t)(head - engine->sends[count].sq_number) >= 0) {
        struct uring_send send = engine->sends[count++];
        tell_send(engine, &send);
        if (engine->broken) {
            return count;
        }
    }
    engine->sends_count -= count;
    engine->sends_first += count;
    memmove(engine->sends, engine->sends + count, engine->sends_count * sizeof *engine->sends);
    return count;
}
