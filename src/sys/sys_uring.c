/* SPDX-License-Identifier: BSD-2-Clause */
/* The real side of the seam to io_uring.
 *
 * The system calls are made directly: the interface is a stable part of the kernel's, and what a
 * helper library would add (preparing operations, mapping two pieces of memory) is a page of code,
 * less than the choices that the engine makes about it. So every build has the engine wherever the
 * kernel's headers know it, with nothing to install.
 *
 * Ring memory is not inherited by a forked child, which could otherwise fill the parent's queue.
 *
 * The ring's fd is registered with the thread, which saves looking it up in each enter. The
 * registration holds the ring open, so it is taken back before the fd is closed. Where it is
 * refused the fd itself serves as well. */
#include "sys/sys_uring.h"

#include "sys/fault.h"
#include "sys/sys.h"

#include <errno.h>
#include <linux/time_types.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    FEATURES =
        IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP
};

static int result_of(long result)
{
    return result < 0 ? -errno : (int)result;
}

static int uring_register(int fd, unsigned what, void *arg, unsigned count)
{
    int injected = sys_fault("io_uring_register");
    return injected ? -injected : result_of(syscall(SYS_io_uring_register, fd, what, arg, count));
}

static void *map_ring(int fd, size_t bytes, off_t what)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    madvise(memory, bytes, MADV_DONTFORK);
    return memory;
}

static void *at(void *memory, uint32_t offset)
{
    return (char *)memory + offset;
}

static void register_fd(struct sys_uring *ring)
{
    struct io_uring_rsrc_update update = {.offset = UINT32_MAX, .data = (unsigned)ring->fd};
    ring->enter_fd = ring->fd;
    if (uring_register(ring->fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
        ring->enter_fd = (int)update.offset;
        ring->enter_flags = IORING_ENTER_REGISTERED_RING;
    }
}

static int map(struct sys_uring *ring, const struct io_uring_params *params)
{
    size_t sq_bytes = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
    size_t cq_bytes = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    ring->rings_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
    ring->sqes_bytes = params->sq_entries * sizeof(struct io_uring_sqe);
    ring->rings = map_ring(ring->fd, ring->rings_bytes, IORING_OFF_SQ_RING);
    ring->sqes = map_ring(ring->fd, ring->sqes_bytes, IORING_OFF_SQES);
    if (!ring->rings || !ring->sqes) {
        return -ENOMEM;
    }
    ring->sq_head = at(ring->rings, params->sq_off.head);
    ring->sq_tail = at(ring->rings, params->sq_off.tail);
    ring->sq_flags = at(ring->rings, params->sq_off.flags);
    ring->cq_head = at(ring->rings, params->cq_off.head);
    ring->cq_tail = at(ring->rings, params->cq_off.tail);
    ring->cqes = at(ring->rings, params->cq_off.cqes);
    ring->sq_mask = params->sq_entries - 1;
    ring->cq_mask = params->cq_entries - 1;
    uint32_t *array = at(ring->rings, params->sq_off.array);
    for (uint32_t i = 0; i < params->sq_entries; i++) {
        array[i] = i; /* operations are submitted in the order of their places, always */
    }
    return 0;
}

int sys_uring_open(struct sys_uring *ring, unsigned sq_entries, unsigned cq_entries)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                 IORING_SETUP_CLAMP,
        .cq_entries = cq_entries,
    };
    *ring = (struct sys_uring){.fd = -1};
    int injected = sys_fault("io_uring_setup");
    int fd = injected ? -injected : result_of(syscall(SYS_io_uring_setup, sq_entries, &params));
    if (fd < 0) {
        return fd;
    }
    ring->fd = fd;
    int result = (params.features & FEATURES) == FEATURES ? map(ring, &params) : -EOPNOTSUPP;
    if (result < 0) {
        sys_uring_close(ring);
        return result;
    }
    register_fd(ring);
    return 0;
}

void sys_uring_close(struct sys_uring *ring)
{
    if (ring->fd < 0) {
        return;
    }
    if (ring->enter_flags) {
        struct io_uring_rsrc_update update = {.offset = (uint32_t)ring->enter_fd};
        syscall(SYS_io_uring_register, ring->fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    }
    if (ring->sqes) {
        munmap(ring->sqes, ring->sqes_bytes);
    }
    if (ring->rings) {
        munmap(ring->rings, ring->rings_bytes);
    }
    sys_close(ring->fd);
    if (ring->buffers) {
        munmap(ring->buffers, ring->buffers_bytes);
    }
    *ring = (struct sys_uring){.fd = -1};
}

int sys_uring_register_buffers(struct sys_uring *ring, unsigned count)
{
    size_t bytes = count * sizeof(struct io_uring_buf);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        return -ENOMEM;
    }
    madvise(memory, bytes, MADV_DONTFORK);
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)memory, .ring_entries = count};
    int result = uring_register(ring->fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    if (result < 0) {
        munmap(memory, bytes);
        return result;
    }
    ring->buffers = memory;
    ring->buffers_bytes = bytes;
    return 0;
}

static int enter(struct sys_uring *ring, unsigned wait_count, unsigned flags, void *arg,
                 size_t arg_bytes)
{
    int injected = sys_fault("io_uring_enter");
    if (injected) {
        return -injected;
    }
    uint32_t submit = sys_uring_unsubmitted(ring);
    atomic_store_explicit(ring->sq_tail, ring->sq_filled, memory_order_release);
    int result = result_of(syscall(SYS_io_uring_enter, ring->enter_fd, submit, wait_count,
                                   flags | ring->enter_flags, arg, arg_bytes));
    return result == -ETIME ? 0 : result < 0 ? result : 0;
}

int sys_uring_enter(struct sys_uring *ring, unsigned wait_count, int64_t timeout_ns)
{
    if (wait_count == 0 || timeout_ns < 0) {
        return enter(ring, wait_count, IORING_ENTER_GETEVENTS, NULL, 0);
    }
    struct __kernel_timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                        .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_getevents_arg arg = {.ts = (uint64_t)(uintptr_t)&timeout};
    return enter(ring, wait_count, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof arg);
}

int sys_uring_submit(struct sys_uring *ring)
{
    return enter(ring, 0, 0, NULL, 0);
}
