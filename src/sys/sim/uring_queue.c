/* SPDX-License-Identifier: BSD-2-Clause */
/* Completions of a simulated io_uring.
 *
 * Model. The queue is a ring of a fixed size between two numbers: the kernel counts the tail up,
 * the program the head. What finds the queue full waits in a list beside it, in order, and a flag
 * of the submission queue says so; the next enter that asks for completions moves over what there
 * is room for. While anything waits, whatever comes after it waits too: no completion overtakes.
 *
 * A completion after which its operation goes on (F_MORE) is never put into the list. It becomes
 * the operation's last one instead, as in the kernel: only something that ends may wait there, or
 * a program that does not look could fill the memory.
 *
 * Invariants
 *  1. tail - head <= the queue's size.
 *  2. The flag is set exactly while the list has something.
 *
 * Failure modes. The fault URING_OVERFLOW finds no room where there is some. A real queue would
 * have to be full; what the program sees then, room and the flag, it also sees when it has looked
 * at a full queue and not yet entered again. */
#include "sys/sim/uring.h"

#include <stdlib.h>

uint32_t pl_sim_ring_completions(const struct pl_sim_ring *ring)
{
    return atomic_load_explicit(&ring->cq_tail, memory_order_relaxed) -
           atomic_load_explicit(&ring->cq_head, memory_order_acquire);
}

static bool has_room(const struct pl_sim_ring *ring)
{
    return pl_sim_ring_completions(ring) <= ring->cq_mask;
}

static void put(struct pl_sim_ring *ring, const struct io_uring_cqe *cqe)
{
    uint32_t tail = atomic_load_explicit(&ring->cq_tail, memory_order_relaxed);
    struct io_uring_cqe *place = &ring->cqes[tail & ring->cq_mask];
    place->user_data = cqe->user_data;
    place->res = cqe->res;
    place->flags = cqe->flags;
    atomic_store_explicit(&ring->cq_tail, tail + 1, memory_order_release);
}

void pl_sim_ring_post(struct pl_sim_ring *ring, uint64_t user_data, int result, uint32_t flags)
{
    const struct io_uring_cqe cqe = {.user_data = user_data, .res = result, .flags = flags};
    TRACE("    completion %#llx: %d, flags %#x", (unsigned long long)user_data, result, flags);
    pl_sim_progress();
    if (!ring->overflow && has_room(ring) && !pl_sim_strikes(PL_SIM_URING_OVERFLOW)) {
        put(ring, &cqe);
        return;
    }
    struct pl_sim_overflow *waiting = pl_sim_take(sizeof *waiting);
    waiting->cqe.user_data = user_data;
    waiting->cqe.res = result;
    waiting->cqe.flags = flags;
    if (ring->overflow) {
        ring->overflow_last->next = waiting;
    } else {
        ring->overflow = waiting;
    }
    ring->overflow_last = waiting;
    atomic_fetch_or(&ring->sq_flags, IORING_SQ_CQ_OVERFLOW);
}

bool pl_sim_ring_post_more(struct pl_sim_ring *ring, uint64_t user_data, int result, uint32_t flags)
{
    if (ring->overflow || !has_room(ring)) {
        return false;
    }
    const struct io_uring_cqe cqe = {
        .user_data = user_data, .res = result, .flags = flags | IORING_CQE_F_MORE};
    TRACE("    completion %#llx: %d, flags %#x", (unsigned long long)user_data, result, cqe.flags);
    pl_sim_progress();
    put(ring, &cqe);
    return true;
}

void pl_sim_ring_flush(struct pl_sim_ring *ring)
{
    while (ring->overflow && has_room(ring)) {
        struct pl_sim_overflow *first = ring->overflow;
        ring->overflow = first->next;
        put(ring, &first->cqe);
        free(first);
    }
    if (!ring->overflow) {
        atomic_fetch_and(&ring->sq_flags, ~(uint32_t)IORING_SQ_CQ_OVERFLOW);
    }
}

void pl_sim_ring_forget_overflow(struct pl_sim_ring *ring)
{
    while (ring->overflow) {
        struct pl_sim_overflow *first = ring->overflow;
        ring->overflow = first->next;
        free(first);
    }
}
