/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes that are made at once. Neither engine waits in them: sockets do not block, and a kernel
 * without room is not an error but 0 bytes. An interrupted write has written nothing, so it is
 * tried again; not for ever, for a stream of signals would hold the loop here. */
#include "loop/engine_sync.h"

#include "sys/sys.h"

#include <errno.h>

enum { TRIES = 8 };

static ssize_t taken(ssize_t n)
{
    return n == -EAGAIN || n == -EINTR ? 0 : n;
}

ssize_t pl_sync_send(int fd, const struct iovec *iov, int iov_count, size_t *ret_size)
{
    ssize_t n = -EINTR;
    *ret_size = iov[0].iov_len;
    if (iov_count == 1) {
        for (unsigned tries = 0; n == -EINTR && tries < TRIES; tries++) {
            n = sys_send(fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        return taken(n);
    }
    for (int i = 1; i < iov_count; i++) {
        *ret_size += iov[i].iov_len;
    }
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                   .msg_iovlen = (size_t)iov_count};
    for (unsigned tries = 0; n == -EINTR && tries < TRIES; tries++) {
        n = sys_sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return taken(n);
}

ssize_t pl_sync_send_file(int fd, int file_fd, off_t offset, size_t size, bool *ret_file_error)
{
    off_t at = offset;
    ssize_t n = sys_sendfile(fd, file_fd, &at, size);
    if (n == -EINVAL || n == -ESPIPE || n == -ENOSYS || n == -EOVERFLOW) {
        return -EOPNOTSUPP;
    }
    if (n == 0 || n == -EIO || n == -EBADF || n == -ENXIO) {
        *ret_file_error = true;
        return n == 0 ? -ENODATA : n;
    }
    return taken(n);
}

int pl_sync_pending_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    int result = sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return result < 0 ? result : -error;
}
