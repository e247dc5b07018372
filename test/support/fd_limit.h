/* SPDX-License-Identifier: BSD-2-Clause */
/* A process that has no fds left, in earnest: for what no injected error can show, because the
 * kernel accepts by itself (io_uring). */
#ifndef TEST_FD_LIMIT_H
#define TEST_FD_LIMIT_H

/* From now on the process can open left more fds (each open, socket, accept or dup takes one),
 * until fd_limit_end. */
void fd_limit_start(unsigned left);
void fd_limit_end(void);

#endif
