/* SPDX-License-Identifier: BSD-2-Clause */
/* A listener: a bound, listening socket whose new connections are handed to its owner (muduo's
 * Acceptor). Two steps, because the socket may be made on one thread and served on another: new
 * (socket, bind, listen) and start (on a loop). */
#ifndef PL_LISTENER_H
#define PL_LISTENER_H

#include <peal/addr.h>
#include <peal/timer.h>

#include "loop/loop.h"

struct pl_listener;

struct pl_listener_options {
    int backlog; /* 0: SOMAXCONN */
    bool reuse_port, v6_only, no_delay, keepalive;
    uint32_t defer_accept_s;
    uint32_t retry_ms; /* the pause after a want of fds or memory */
};

struct pl_listener_handler {
    /* A new socket: the owner's. */
    void (*on_accept)(struct pl_listener *listener, int fd, const struct sockaddr *peer,
                      socklen_t peer_size);
    /* One connection was lost while it was being accepted. */
    void (*on_error)(struct pl_listener *listener, int error);
    /* Accepting pauses (a negative errno), each time anew; goes on (0) with the first success after
     * it. */
    void (*on_pause)(struct pl_listener *listener, int error);
    /* After close: nothing of it is in use any more; the memory has gone. */
    void (*on_closed)(void *user);
};

struct pl_listener {
    struct pl_io io;
    struct pl_job job;
    struct pl_list link; /* the owner's */
    struct peal_timer retry;
    const struct pl_listener_handler *handler;
    void *user;
    struct peal_addr address;         /* as bound */
    uint64_t path_device, path_inode; /* of the unix socket file that bind made; 0: none */
    uint32_t retry_ms;
    unsigned held_back;     /* pauses asked for by the owner */
    int starved;            /* the errno that accepting pauses for */
    unsigned lost_in_a_row; /* connections that failed while being accepted, since the last that did
                               not */
    bool started, attached, closing;
};

/* Any thread. *ret_why gets a static sentence, or NULL where the errno says it all. */
int pl_listener_new(const struct peal_addr *address, const struct pl_listener_options *options,
                    const struct pl_listener_handler *handler, void *user,
                    struct pl_listener **ret_listener, const char **ret_why);

/* The loop's thread, as all below. Begins accepting. */
int pl_listener_start(struct pl_listener *listener, struct peal_loop *loop);

/* Owner's pauses count. */
void pl_listener_hold_back(struct pl_listener *listener);
void pl_listener_go_on(struct pl_listener *listener);

/* Stops accepting now; the fd is closed and the memory freed in reap. One that was never started:
 * at once, on any thread. The socket file of a unix listener is removed if it is still the one that
 * it made. NULL is allowed. */
struct pl_listener *pl_listener_close(struct pl_listener *listener);

#endif
