/* SPDX-License-Identifier: BSD-2-Clause */
/* The io_uring engine, as its files see it: engine_uring.c (operations, completions, waiting),
 * engine_uring_input.c (the buffers that the kernel receives into, and what is kept of them for a
 * paused reader) and engine_uring_output.c (sends). */
#ifndef PL_ENGINE_URING_H
#define PL_ENGINE_URING_H

#include "loop/engine.h"
#include "loop/loop.h"
#include "sys/sys_uring.h"

/* What an operation's user_data says in its low bits; the rest is the io's address, which is a
 * multiple of 8. */
enum op {
    OP_NONE,   /* nobody waits for it: a cancellation */
    OP_RECV,   /* multishot */
    OP_SEND,   /* the rest is not an address but the number of the send */
    OP_ACCEPT, /* multishot */
    OP_POLL,   /* a stream's, multishot; a watch's, mostly once; a connect's, once */
    OP_NUDGE,  /* a no-op: the engine has something to tell this io from inside wait */
    OP_WAKE,   /* the eventfd */
    OP_MASK = 7
};

/* io->in_flight: a bit an operation, set until its last completion was seen. */
#define IN_FLIGHT(op) (1u << (op))

/* io->armed */
enum {
    URING_DETACHED = 1,
    URING_CANCEL_RECV = 2, /* its cancellation is under way */
    URING_CANCEL_POLL = 4,
    URING_CANCEL_ACCEPT = 8,
    URING_DECIDED = 16, /* a connect that was refused at once: the errno is in poll_events */
    URING_EDGE = 32,    /* a watch's poll is multishot, because asking again would spin */
    URING_LOST = 64,    /* what came found no memory: nothing that came after it may be told */
};

enum {
    BUFFER_BYTES = PL_SCRATCH_BYTES,
    BUFFERS_A_BLOCK = 64,
    BLOCKS_MAX = 16,
    BUFFERS_MAX = BUFFERS_A_BLOCK * BLOCKS_MAX
};

/* A send that was queued; those of one engine are numbered in order. */
struct uring_send {
    struct pl_io *io;
    uint32_t size;
    uint32_t sq_number; /* taken by the kernel when the queue's head has passed it */
    int result;
};

struct pl_engine {
    struct peal_loop *loop;
    struct sys_uring ring;
    int wake_fd;
    int broken; /* a negative errno: the ring is closed, nothing is in flight any more */
    unsigned failures;
    bool wake_armed;
    unsigned batch;    /* completions of the last wait */
    unsigned sent_now; /* sends since, that were not queued */
    bool grown;        /* buffers were added since */
    struct uring_send *sends;
    uint32_t sends_count, sends_room, sends_first /* its number */;
    unsigned blocks_count;
    char *blocks[BLOCKS_MAX];
};

static inline bool uring_is_detached(const struct pl_io *io)
{
    return io->armed & URING_DETACHED;
}

/* ---- engine_uring.c */

/* A place in the queue, or NULL: the engine is broken. */
struct io_uring_sqe *uring_sqe_new(struct pl_engine *engine);

/* Room for a send, and errors while nobody reads: on_sent and on_recv come from it. */
int uring_start_stream_poll(struct pl_engine *engine, struct pl_io *io);

/* The same for a send that fell short. A kernel that was full tells an edge when it has room; where
 * that is not sure (it was interrupted, the file gave less) the poll begins anew, with a look. */
int uring_await_room(struct pl_engine *engine, struct pl_io *io, bool was_full);

/* An operation of the io has seen its last completion; its cancellation, marked so, is over. */
void uring_ended(struct pl_io *io, enum op op, uint8_t mark);

/* A detached io with nothing in flight is its owner's again. Not to be touched afterwards. */
void uring_give_back_if_idle(struct pl_io *io);

/* ---- engine_uring_output.c */
ssize_t uring_send(struct pl_engine *engine, struct pl_io *io, const struct iovec *iov,
                   int iov_count, int flags);
ssize_t uring_send_file(struct pl_engine *engine, struct pl_io *io, int file_fd, off_t offset,
                        size_t size, bool *ret_file_error);

/* Tells the queued sends that the kernel has taken; returns how many. */
unsigned uring_tell_sends(struct pl_engine *engine);

/* ---- engine_uring_input.c */
int uring_buffers_new(struct pl_engine *engine);
void uring_buffers_free(struct pl_engine *engine);
void uring_buffers_grow(struct pl_engine *engine); /* there were too few: a wish */
char *uring_buffer(struct pl_engine *engine, unsigned id);
void uring_buffer_recycle(struct pl_engine *engine, unsigned id);

/* Keeps a copy of what came while the io's reading was stopped. -ENOMEM: it could not, and the
 * stream ends there. */
int uring_keep(struct pl_io *io, const void *data, size_t size);

/* Tells what was kept, as long as the io reads (or, with stop_if, until that says so). */
void uring_tell_kept(struct pl_io *io, bool (*stop_if)(struct pl_io *io));
void uring_drop_kept(struct pl_io *io);
void uring_recv_rest(struct pl_engine *engine, struct pl_io *io, size_t bytes_max,
                     bool (*stop_if)(struct pl_io *io));

#endif
