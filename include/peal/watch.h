/* SPDX-License-Identifier: BSD-2-Clause */
/* A watch: the events of a file descriptor that is not Peal's, on Peal's loop (muduo's Channel).
 * With it libcurl, c-ares, libpq, hiredis and libnats live on the loop.
 *
 * The fd stays the caller's: Peal never reads, writes or closes it. Close the watch before the fd.
 * A watch is level triggered. After peal_watch_close no callback comes, not even one of the batch
 * under way.
 *
 * A library that knows only "readable" and "writable" is told "readable" for a hang-up and a fault:
 * it reads, and finds out which it is. examples/adapters has libcurl, hiredis and c-ares.
 *
 *     static void ready(struct peal_watch *watch, uint32_t events, void *user) { ... }
 *
 *     struct peal_watch *watch;
 *     peal_watch_open(loop, fd, PEAL_READABLE, ready, NULL, &watch);
 *     ...
 *     watch = peal_watch_close(watch);
 */
#ifndef PEAL_WATCH_H
#define PEAL_WATCH_H

#include <peal/base.h>

PEAL_BEGIN

struct peal_loop;
struct peal_watch;

enum {
    PEAL_READABLE = 1,
    PEAL_WRITABLE = 2,
    PEAL_HANGUP =
        4, /* both sides ended, or the other end of a pipe is gone; reported, never asked for */
    PEAL_FAULT = 8 /* an error is pending on the fd; reported, never asked for */
};

typedef void (*peal_watch_fn)(struct peal_watch *watch, uint32_t events, void *user);

/* The loop's thread, as all calls here. Errors: -EINVAL, -ENOMEM, -ENOSPC (the system's limit on
 * watches), -EPERM (the fd cannot be waited for: a plain file), -EBADF, -EEXIST (the fd is watched
 * already; told by epoll only, on io_uring both watches are told), PEAL_ERR_LOOP_ENDED (also while
 * it is ending). */
PEAL_API PEAL_MUST_USE int peal_watch_open(struct peal_loop *loop, int fd, uint32_t events,
                                           peal_watch_fn fn, void *user,
                                           struct peal_watch **ret_watch);

/* What to wait for from now on; 0 keeps the watch but reports nothing, not even a hang-up. Errors:
 * -EINVAL, -ENOMEM, -ENOSPC (all is then as before), PEAL_ERR_LOOP_ENDED. */
PEAL_API PEAL_MUST_USE int peal_watch_set(struct peal_watch *watch, uint32_t events);

/* Detaches now, and gives the watch up. Also after its loop has ended, which has detached it but
 * left it to be closed. The loop's thread. NULL is allowed. Returns NULL. */
PEAL_API struct peal_watch *peal_watch_close(struct peal_watch *watch);

PEAL_API int peal_watch_fd(const struct peal_watch *watch);

PEAL_END
#endif
