/* SPDX-License-Identifier: BSD-2-Clause */
/* The seam to io_uring: one ring, its memory, and the three system calls. A part of the seam of
 * sys.h, kept apart because only one engine knows it.
 *
 * The ring is the kernel's own interface (linux/io_uring.h; io_uring_setup(2), io_uring_enter(2)):
 * two queues in shared memory. The thread that opened it is the only one to use it. What is memory
 * only, and cannot fail, is inline here; what is a system call returns a negative errno. */
#ifndef PL_SYS_URING_H
#define PL_SYS_URING_H

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sys_uring {
    struct io_uring_sqe *sqes;
    uint32_t sq_filled; /* operations written, made known to the kernel or not */
    uint32_t sq_mask;
    _Atomic uint32_t *sq_head; /* the kernel has taken what is before it */
    _Atomic uint32_t *sq_tail;
    _Atomic uint32_t *sq_flags;
    const _Atomic uint32_t *cq_tail;
    _Atomic uint32_t *cq_head;
    struct io_uring_cqe *cqes;
    uint32_t cq_mask;
    int fd;
    int enter_fd; /* fd, or its number among the thread's registered rings */
    unsigned enter_flags;
    struct io_uring_buf_ring *buffers; /* group 0; NULL: not registered */
    size_t rings_bytes, sqes_bytes, buffers_bytes;
    void *rings;
};

/* Opens a ring for the calling thread, with deferred task work: completions are made known inside
 * sys_uring_enter only. -ENOSYS or -EPERM where the system forbids it, -EINVAL or -EOPNOTSUPP where
 * the kernel is too old (before 6.1); then nothing is left open. */
int sys_uring_open(struct sys_uring *ring, unsigned sq_entries, unsigned cq_entries);
void sys_uring_close(struct sys_uring *ring); /* cancels all that is in flight, without waiting */

/* Registers a ring of provided buffers (group 0) with room for count, a power of two. */
int sys_uring_register_buffers(struct sys_uring *ring, unsigned count);

/* Submits all that was filled, runs what has come in, and waits for wait_count completions, at most
 * timeout_ns (negative: without limit). 0, or a negative errno (-ETIME is 0). */
int sys_uring_enter(struct sys_uring *ring, unsigned wait_count, int64_t timeout_ns);

/* Submits without looking at what has come in. */
int sys_uring_submit(struct sys_uring *ring);

/* The next free operation, zeroed, or NULL: the queue is full until something is submitted. */
static inline struct io_uring_sqe *sys_uring_sqe(struct sys_uring *ring)
{
    uint32_t head = atomic_load_explicit(ring->sq_head, memory_order_acquire);
    if (ring->sq_filled - head > ring->sq_mask) {
        return NULL;
    }
    struct io_uring_sqe *sqe = &ring->sqes[ring->sq_filled++ & ring->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

/* Operations that were filled and that the kernel has not taken. */
static inline uint32_t sys_uring_unsubmitted(const struct sys_uring *ring)
{
    return ring->sq_filled - atomic_load_explicit(ring->sq_head, memory_order_acquire);
}

/* Whether the kernel has something that an enter would make known. */
static inline bool sys_uring_has_work(const struct sys_uring *ring)
{
    return (atomic_load_explicit(ring->sq_flags, memory_order_relaxed) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

static inline bool sys_uring_overflowed(const struct sys_uring *ring)
{
    return (atomic_load_explicit(ring->sq_flags, memory_order_relaxed) & IORING_SQ_CQ_OVERFLOW) !=
           0;
}

/* Completions at hand are those of the numbers head to tail. */
static inline uint32_t sys_uring_cq_head(const struct sys_uring *ring)
{
    return atomic_load_explicit(ring->cq_head, memory_order_relaxed);
}
static inline uint32_t sys_uring_cq_tail(const struct sys_uring *ring)
{
    return atomic_load_explicit(ring->cq_tail, memory_order_acquire);
}
static inline struct io_uring_cqe *sys_uring_cqe(const struct sys_uring *ring, uint32_t number)
{
    return &ring->cqes[number & ring->cq_mask];
}
static inline void sys_uring_cq_advance(struct sys_uring *ring, uint32_t head)
{
    atomic_store_explicit(ring->cq_head, head, memory_order_release);
}

/* Gives the kernel a buffer to receive into. The ring has room for all that there are. */
static inline void sys_uring_provide(struct sys_uring *ring, void *memory, uint32_t bytes,
                                     uint16_t id, uint16_t mask)
{
    struct io_uring_buf_ring *buffers = ring->buffers;
    _Atomic uint16_t *tail = (_Atomic uint16_t *)&buffers->tail;
    uint16_t at = atomic_load_explicit(tail, memory_order_relaxed);
    struct io_uring_buf *buffer = (struct io_uring_buf *)(void *)buffers + (at & mask);
    buffer->addr = (uint64_t)(uintptr_t)memory;
    buffer->len = bytes;
    buffer->bid = id;
    atomic_store_explicit(tail, (uint16_t)(at + 1), memory_order_release);
}

#endif
