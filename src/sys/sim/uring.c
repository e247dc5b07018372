/* SPDX-License-Identifier: BSD-2-Clause */
/* A simulated io_uring: the calls of the seam (sys/sys_uring.h).
 *
 * Model. A ring is a file like others, behind an fd, with the two queues as its memory; the program
 * reads and writes them through the same inline functions as on the real system. Everything else
 * happens in an enter, in the order of the kernel's: operations are taken from the queue and tried;
 * then, if the program asks for completions, those that were woken since go on, what had overflowed
 * comes back, and the caller waits under the scheduler's baton, woken as any other waiter, until
 * there are as many completions as it wants or its time is over.
 *
 *   uring.c         setup, enter, waiting, closing
 *   uring_queue.c   completions, and those that find no room
 *   uring_ops.c     what operations do, when they are woken, how they end
 *
 * The ring is set up as the real seam does it (SINGLE_ISSUER, DEFER_TASKRUN, TASKRUN_FLAG,
 * SUBMIT_ALL, CQSIZE, CLAMP), since the program sees those flags only in what the ring does:
 *  1. Only the thread that opened it may enter (EEXIST).
 *  2. Nothing that was woken completes but inside of an enter that asks for completions. An
 *     operation that can go on at once completes when it is taken, in any enter.
 *  3. An operation that fails does not keep those behind it from being taken.
 *  4. An enter that took anything says how many, whatever went wrong later: interruptions and the
 *     end of the time are told only by one that took nothing.
 *  5. Closing the ring ends what is in flight, and lets go of its files.
 *
 * Failure modes, all faults of faults.def: the ring is refused (EPERM, ENOSYS, ENOMEM); only some
 * operations are taken, and then nothing is waited for (EAGAIN if none was); the wait is
 * interrupted. Faults of single operations are in uring_ops.c.
 *
 * Not simulated: threads of the kernel that do what would block, registered files, several groups
 * of buffers, a ring that others may enter. The files of a closed ring are let go at once, where
 * the real one may take a moment. */
#include "sys/sim/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SQ_ENTRIES_MAX = 32768, CQ_ENTRIES_MAX = 65536, BUFFERS_MAX = 32768 };

static void close_ring(struct pl_sim_file *file)
{
    struct pl_sim_ring *ring = (struct pl_sim_ring *)file;
    pl_sim_ring_abandon(ring);
    pl_sim_ring_forget_overflow(ring);
    pl_sim_forget_watchers(file);
    free(ring->sqes);
    free(ring->cqes);
    free(ring);
}

static uint32_t rounded(uint32_t entries, uint32_t most)
{
    uint32_t power = 1;
    while (power < entries && power < most) {
        power *= 2;
    }
    return power;
}

static struct pl_sim_ring *new_ring(unsigned sq_entries, unsigned cq_entries)
{
    struct pl_sim_ring *ring = pl_sim_take(sizeof *ring);
    ring->file = (struct pl_sim_file){.kind = PL_SIM_RING, .unnamed = close_ring};
    ring->owner = pl_sim_thread_number();
    ring->sq_mask = rounded(sq_entries, SQ_ENTRIES_MAX) - 1;
    ring->cq_mask = rounded(cq_entries, CQ_ENTRIES_MAX) - 1;
    ring->sqes = pl_sim_take((ring->sq_mask + 1) * sizeof *ring->sqes);
    ring->cqes = pl_sim_take((ring->cq_mask + 1) * sizeof *ring->cqes);
    return ring;
}

static int refusal(unsigned sq_entries, unsigned cq_entries)
{
    static const int errors[] = {-EPERM, -ENOSYS, -ENOMEM};
    int injected = pl_sim_hook('s', "io_uring_setup");
    if (injected) {
        return -injected;
    }
    if (pl_sim_strikes(PL_SIM_URING_REFUSED)) {
        return errors[pl_choice_below(&pl_sim.choice, 3)];
    }
    return sq_entries == 0 || cq_entries < sq_entries ? -EINVAL : pl_sim_may_open();
}

int sys_uring_open(struct sys_uring *ring, unsigned sq_entries, unsigned cq_entries)
{
    *ring = (struct sys_uring){.fd = -1};
    int result = refusal(sq_entries, cq_entries);
    if (result == 0) {
        struct pl_sim_ring *made = new_ring(sq_entries, cq_entries);
        result = pl_sim_new_fd(&made->file);
        *ring = (struct sys_uring){
            .fd = result,
            .enter_fd = result,
            .sqes = made->sqes,
            .sq_mask = made->sq_mask,
            .sq_head = &made->sq_head,
            .sq_tail = &made->sq_tail,
            .sq_flags = &made->sq_flags,
            .cq_head = &made->cq_head,
            .cq_tail = &made->cq_tail,
            .cqes = made->cqes,
            .cq_mask = made->cq_mask,
        };
    }
    TRACE("io_uring_setup(%u, %u) = %d", sq_entries, cq_entries, result);
    return result < 0 ? result : 0;
}

static struct pl_sim_ring *ring_of(const struct sys_uring *ring)
{
    struct pl_sim_file *file = pl_sim_file_of(ring->fd);
    return file && file->kind == PL_SIM_RING ? (struct pl_sim_ring *)file : NULL;
}

void sys_uring_close(struct sys_uring *ring)
{
    if (ring->fd < 0) {
        return;
    }
    sys_close(ring->fd);
    free(ring->buffers);
    *ring = (struct sys_uring){.fd = -1};
}

int sys_uring_register_buffers(struct sys_uring *ring, unsigned count)
{
    int injected = pl_sim_hook('s', "io_uring_register");
    struct pl_sim_ring *target = ring_of(ring);
    int result = injected                                  ? -injected
                 : !target                                 ? -EBADF
                 : target->owner != pl_sim_thread_number() ? -EEXIST
                 : count == 0 || count & (count - 1)       ? -EINVAL
                 : count > BUFFERS_MAX                     ? -EINVAL
                 : target->buffers                         ? -EEXIST
                 : pl_sim_strikes(PL_SIM_KERNEL_NO_MEMORY) ? -ENOMEM
                                                           : 0;
    if (result == 0) {
        ring->buffers = pl_sim_take(count * sizeof(struct io_uring_buf));
        ring->buffers_bytes = count * sizeof(struct io_uring_buf);
        target->buffers = ring->buffers;
        target->buffers_mask = (uint16_t)(count - 1);
        target->buffers_head = 0;
    }
    TRACE("io_uring_register(%d, %u buffers) = %d", ring->fd, count, result);
    return result;
}

static uint32_t take_operations(struct pl_sim_ring *ring)
{
    uint32_t head = atomic_load(&ring->sq_head), first = head;
    uint32_t tail = atomic_load(&ring->sq_tail);
    if (tail != head && pl_sim_strikes(PL_SIM_URING_TAKES_FEW)) {
        tail = head + (uint32_t)pl_choice_below(&pl_sim.choice, tail - head);
    }
    while (head != tail) {
        const struct io_uring_sqe sqe = ring->sqes[head & ring->sq_mask];
        atomic_store(&ring->sq_head, ++head);
        pl_sim_ring_start(ring, &sqe);
        pl_sim_point();
    }
    return head - first;
}

/* 0, or what ended the wait before there was enough. */
static int wait_for(struct pl_sim_ring *ring, unsigned wait_count, int64_t timeout_ns)
{
    uint64_t until_ns = timeout_ns < 0 ? PL_SIM_NEVER : pl_sim_after((uint64_t)timeout_ns);
    for (;;) {
        pl_sim_ring_run(ring);
        pl_sim_ring_flush(ring);
        if (pl_sim_ring_completions(ring) >= wait_count) {
            return 0;
        }
        if (until_ns <= pl_sim.now_ns) {
            return -ETIME;
        }
        if (pl_sim_strikes(PL_SIM_INTERRUPTED)) {
            return -EINTR;
        }
        if (ring->woken) {
            pl_sim_point();
        } else {
            pl_sim_wait(&ring->file, until_ns);
        }
    }
}

static int enter(struct sys_uring *ring, bool wants_completions, unsigned wait_count,
                 int64_t timeout_ns)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', "io_uring_enter");
    struct pl_sim_ring *target = ring_of(ring);
    if (injected || !target) {
        return injected ? -injected : -EBADF;
    }
    if (target->owner != pl_sim_thread_number()) {
        return -EEXIST;
    }
    uint32_t offered = sys_uring_unsubmitted(ring);
    atomic_store_explicit(ring->sq_tail, ring->sq_filled, memory_order_release);
    pl_sim_hold(&target->file);
    uint32_t taken = take_operations(target);
    int result = taken < offered ? -EAGAIN : 0;
    if (result == 0 && wants_completions) {
        uint32_t most = target->cq_mask + 1;
        result = wait_for(target, wait_count < most ? wait_count : most, timeout_ns);
    }
    TRACE("io_uring_enter(%d, %u, wait for %u) = %d: took %u, %u completions", ring->fd, offered,
          wait_count, result, taken, pl_sim_ring_completions(target));
    pl_sim_release(&target->file);
    return taken > 0 || result == -ETIME ? 0 : result;
}

int sys_uring_enter(struct sys_uring *ring, unsigned wait_count, int64_t timeout_ns)
{
    return enter(ring, true, wait_count, timeout_ns);
}

int sys_uring_submit(struct sys_uring *ring)
{
    return enter(ring, false, 0, 0);
}
