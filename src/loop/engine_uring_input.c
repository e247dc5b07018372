/* SPDX-License-Identifier: BSD-2-Clause */
/* Input of the io_uring engine: the buffers that the loop's connections share, and what has to be
 * kept of them.
 *
 * The kernel takes a buffer when bytes have come, not before: a thousand idle connections need
 * none. The owner sees the bytes where the kernel put them, and the buffer goes back when its
 * handler has returned, so about as many are out as completions are looked at in a turn. There is
 * one block of buffers at first; when the kernel found none (ENOBUFS), another is added, up to
 * BLOCKS_MAX; one for a wait, however many receives found none in it, because all the buffers that
 * are out come back before the next. They stay, as room that the loop's bursts have shown to need.
 *
 * Neighbouring buffers begin at different places of a page, or the first lines of all of them would
 * compete for the same few places of the processor's caches.
 *
 * A receive that is in flight cannot be stopped at once. What it brings after recv_stop is copied
 * to the io's list, in order, and told before anything else when reading goes on (E2). The list is
 * the one piece of memory that an io may own here, and goes with detach. When there is no memory
 * for it the stream ends there with ENOMEM: bytes after a gap are never told, also not as the rest
 * before the end.
 *
 * Invariant: a buffer is with the kernel, in a completion that was not looked at yet, or in the
 * call of one handler. */
#include "loop/engine_uring.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>

enum { STRIDE = BUFFER_BYTES + 192, INTERRUPTIONS_MAX = 8 };

struct kept {
    struct kept *next;
    size_t size;
    unsigned char data[];
};

/* ---- buffers */

char *uring_buffer(struct pl_engine *engine, unsigned id)
{
    return engine->blocks[id / BUFFERS_A_BLOCK] + (size_t)(id % BUFFERS_A_BLOCK) * STRIDE;
}

void uring_buffer_recycle(struct pl_engine *engine, unsigned id)
{
    if (__builtin_expect(!engine->ring.buffers, 0)) {
        return; /* the handler that had the buffer has met a kernel that does not go on */
    }
    sys_uring_provide(&engine->ring, uring_buffer(engine, id), BUFFER_BYTES, (uint16_t)id,
                      BUFFERS_MAX - 1);
}

static int add_block(struct pl_engine *engine)
{
    char *block = sys_malloc((size_t)BUFFERS_A_BLOCK * STRIDE);
    if (!block) {
        return -ENOMEM;
    }
    unsigned first = engine->blocks_count * BUFFERS_A_BLOCK;
    engine->blocks[engine->blocks_count++] = block;
    for (unsigned i = 0; i < BUFFERS_A_BLOCK; i++) {
        uring_buffer_recycle(engine, first + i);
    }
    return 0;
}

void uring_buffers_grow(struct pl_engine *engine)
{
    if (engine->blocks_count < BLOCKS_MAX && !engine->grown) {
        engine->grown = true;
        (void)add_block(engine); /* without it, those there are go round more often */
    }
}

int uring_buffers_new(struct pl_engine *engine)
{
    int result = sys_uring_register_buffers(&engine->ring, BUFFERS_MAX);
    return result < 0 ? result : add_block(engine);
}

void uring_buffers_free(struct pl_engine *engine)
{
    for (unsigned i = 0; i < engine->blocks_count; i++) {
        sys_free(engine->blocks[i]);
    }
    engine->blocks_count = 0;
}

/* ---- what is kept */

int uring_keep(struct pl_io *io, const void *data, size_t size)
{
    struct kept *kept = sys_malloc(sizeof *kept + size);
    if (!kept) {
        io->armed |= URING_LOST;
        return -ENOMEM;
    }
    kept->next = NULL;
    kept->size = size;
    memcpy(kept->data, data, size);
    struct kept *last = io->engine_data;
    if (!last) {
        io->engine_data = kept;
        return 0;
    }
    while (last->next) { /* a few: the receive is being cancelled */
        last = last->next;
    }
    last->next = kept;
    return 0;
}

void uring_tell_kept(struct pl_io *io, bool (*stop_if)(struct pl_io *io))
{
    while (io->engine_data && (stop_if ? !stop_if(io) : (io->flags & PL_IO_RECV) != 0)) {
        struct kept *kept = io->engine_data;
        io->engine_data = kept->next;
        io->handler->on_recv(io, kept->data, (ssize_t)kept->size);
        sys_free(kept);
    }
}

void uring_drop_kept(struct pl_io *io)
{
    while (io->engine_data) {
        struct kept *kept = io->engine_data;
        io->engine_data = kept->next;
        sys_free(kept);
    }
}

/* ---- the rest before the end */

/* What a receive has brought since the last wait, if something was submitted after it. The
 * completion stays, as one that brought nothing. */
static void tell_completed(struct pl_engine *engine, struct pl_io *io,
                           bool (*stop_if)(struct pl_io *io))
{
    uint32_t tail = sys_uring_cq_tail(&engine->ring);
    for (uint32_t i = sys_uring_cq_head(&engine->ring);
         i != tail && !engine->broken && !stop_if(io); i++) {
        struct io_uring_cqe *cqe = sys_uring_cqe(&engine->ring, i);
        if (cqe->user_data == ((uint64_t)(uintptr_t)io | OP_RECV) && cqe->res > 0) {
            unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
            int size = cqe->res;
            cqe->res = -EAGAIN;
            cqe->flags &= (uint32_t)IORING_CQE_F_MORE;
            io->handler->on_recv(io, uring_buffer(engine, id), size);
            uring_buffer_recycle(engine, id);
        }
    }
}

void uring_recv_rest(struct pl_engine *engine, struct pl_io *io, size_t bytes_max,
                     bool (*stop_if)(struct pl_io *io))
{
    struct peal_loop *loop = engine->loop;
    unsigned interrupted = 0;
    uring_tell_kept(io, stop_if);
    if (io->armed & URING_LOST) {
        return;
    }
    if (!engine->broken) {
        tell_completed(engine, io, stop_if);
    }
    while (bytes_max > 0 && !stop_if(io)) {
        size_t want = bytes_max < PL_SCRATCH_BYTES ? bytes_max : PL_SCRATCH_BYTES;
        ssize_t n = sys_recv(io->fd, loop->scratch, want, MSG_DONTWAIT);
        if (n == -EINTR && interrupted++ < INTERRUPTIONS_MAX) {
            continue;
        }
        if (n <= 0) {
            return;
        }
        bytes_max -= (size_t)n;
        io->handler->on_recv(io, loop->scratch, n);
    }
}
