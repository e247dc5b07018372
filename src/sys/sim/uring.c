/* SPDX-License-Identifier: BSD-2-Clause */
/* The seam to io_uring, of a simulated kernel that has none: opening a ring fails as on a system
 * that forbids it, and a loop falls back on epoll. */
#include "sys/sys_uring.h"

#include "sys/sim/sim.h"

#include <errno.h>

int sys_uring_open(struct sys_uring *ring, unsigned sq_entries, unsigned cq_entries)
{
    (void)ring;
    TRACE("io_uring_setup(%u, %u) = ENOSYS", sq_entries, cq_entries);
    return -ENOSYS;
}

void sys_uring_close(struct sys_uring *ring)
{
    (void)ring;
}

int sys_uring_register_buffers(struct sys_uring *ring, unsigned count)
{
    (void)ring;
    (void)count;
    return -ENOSYS;
}

int sys_uring_enter(struct sys_uring *ring, unsigned wait_count, int64_t timeout_ns)
{
    (void)ring;
    (void)wait_count;
    (void)timeout_ns;
    return -ENOSYS;
}

int sys_uring_submit(struct sys_uring *ring)
{
    (void)ring;
    return -ENOSYS;
}
