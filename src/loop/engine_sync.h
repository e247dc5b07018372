/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes and questions that an engine makes at once, whatever it waits with. */
#ifndef PL_ENGINE_SYNC_H
#define PL_ENGINE_SYNC_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Returns the bytes that the kernel took, 0 if it has no room, or a negative errno. *ret_size: the
 * bytes of all parts. Interruptions are tried again, a few times. */
ssize_t pl_sync_send(int fd, const struct iovec *iov, int iov_count, size_t *ret_size);

/* As pl_sync_send, from a file; errors as pl_engine_ops.send_file tells them. */
ssize_t pl_sync_send_file(int fd, int file_fd, off_t offset, size_t size, bool *ret_file_error);

/* The error that is pending on a socket (and no longer afterwards), as a negative errno, or 0. */
int pl_sync_pending_error(int fd);

#endif
