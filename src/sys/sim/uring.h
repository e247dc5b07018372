/* SPDX-License-Identifier: BSD-2-Clause */
/* A simulated io_uring, shared by its parts: uring.c (the calls; tells the model), uring_queue.c
 * (completions) and uring_ops.c (operations). */
#ifndef PL_SIM_URING_H
#define PL_SIM_URING_H

#include "sys/sim/sim.h"
#include "sys/sys_uring.h"

struct pl_sim_ring;

/* An operation in flight. */
struct pl_sim_request {
    struct pl_sim_watcher watcher; /* first: told of changes; of no file until it waits */
    struct pl_sim_request *next;   /* of the ring, oldest first */
    struct pl_sim_request *next_woken;
    struct pl_sim_ring *ring;
    struct pl_sim_file *file; /* held, so that it outlives its fd; NULL: of no file */
    struct io_uring_sqe sqe;  /* the operation, as it was when it was taken */
    uint32_t wanted;          /* events that it waits for */
    uint32_t seen_events;     /* when it was told of a change last */
    uint32_t seen_inputs, seen_shortages;
    uint32_t told; /* events that woke it; 0: to be looked up */
    bool is_multishot, is_woken, is_cancelled;
};

struct pl_sim_overflow {
    struct pl_sim_overflow *next;
    struct io_uring_cqe cqe;
};

struct pl_sim_ring {
    struct pl_sim_file file; /* first */
    uint64_t owner;          /* the only thread that may enter */
    _Atomic uint32_t sq_head, sq_tail, sq_flags, cq_head, cq_tail;
    uint32_t sq_mask, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    struct io_uring_buf_ring *buffers;
    uint16_t buffers_head, buffers_mask;
    struct pl_sim_request *requests;
    struct pl_sim_request *woken, *woken_last; /* in the order in which they were woken */
    struct pl_sim_overflow *overflow, *overflow_last;
};

/* ---- uring_queue.c */

/* Makes a completion known; it waits beside the queue if that is full. */
void pl_sim_ring_post(struct pl_sim_ring *ring, uint64_t user_data, int result, uint32_t flags);
/* The same of an operation that goes on. False: there is no room, and nothing was posted. */
bool pl_sim_ring_post_more(struct pl_sim_ring *ring, uint64_t user_data, int result,
                           uint32_t flags);
void pl_sim_ring_flush(struct pl_sim_ring *ring); /* what waits, as far as there is room */
void pl_sim_ring_forget_overflow(struct pl_sim_ring *ring);
uint32_t pl_sim_ring_completions(const struct pl_sim_ring *ring); /* not yet looked at */

/* ---- uring_ops.c */

/* Takes an operation: it completes, or is in flight from now on. */
void pl_sim_ring_start(struct pl_sim_ring *ring, const struct io_uring_sqe *sqe);
/* Goes on with operations that were woken. */
void pl_sim_ring_run(struct pl_sim_ring *ring);
void pl_sim_ring_abandon(struct pl_sim_ring *ring); /* all that is in flight, untold */

#endif
