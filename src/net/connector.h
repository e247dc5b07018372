/* SPDX-License-Identifier: BSD-2-Clause */
/* The connector: one attempt to connect to any of a list of addresses, raced in the order of Happy
 * Eyeballs (RFC 8305), within one time-out. */
#ifndef PL_CONNECTOR_H
#define PL_CONNECTOR_H

#include <peal/addr.h>

struct peal_loop;
struct pl_connector;

/* The end of the attempt, once, at top level on the loop's thread: fd >= 0, a connected socket, the
 * receiver's from now on, and detached from the engine; or a negative errno or
 * PEAL_ERR_SELF_CONNECT. addr is the address that won; else the one tried last, of which the error
 * is; for -ETIMEDOUT by timeout_ms the latest that was still under way. Valid during the call, as
 * is the connector, which frees itself after it. */
typedef void (*pl_connected_fn)(struct pl_connector *connector, int fd,
                                const struct peal_addr *addr, void *user);

struct pl_connector_options {
    struct peal_loop *loop;
    const struct peal_addr *addrs; /* copied */
    size_t count;                  /* at least 1 */
    uint32_t timeout_ms;           /* for the whole; PEAL_NEVER: the kernel's alone */
    uint32_t stagger_ms;           /* head start of each; PEAL_NEVER: until it has failed */
    bool delay;                    /* no TCP_NODELAY */
    bool no_keepalive;             /* no SO_KEEPALIVE */
    pl_connected_fn fn;
    void *user;
};

/* Begins in the flush phase of the turn under way, so that fn is never called from inside. The
 * loop's thread. Error: -ENOMEM. */
int pl_connector_start(const struct pl_connector_options *options,
                       struct pl_connector **ret_connector);

/* Stops: fn is not called any more, sockets are closed in the reap phase, then the memory goes. Not
 * after fn was called; inside it, it does nothing. NULL is allowed. Returns NULL. Also what the
 * owner must do when the loop ends. The loop's thread. */
struct pl_connector *pl_connector_cancel(struct pl_connector *connector);

/* The order of RFC 8305, section 4: families take turns, beginning with that of the first address;
 * inside a family the order stays. from and to do not overlap. */
void pl_connector_order(const struct peal_addr *from, size_t count, struct peal_addr *to);

/* Whether a socket is connected as it should be: 0, or PEAL_ERR_SELF_CONNECT (a TCP socket reached
 * itself, which happens when the port connected to is one from which the kernel takes local ports,
 * and nobody listens there), or the error by which it lost its peer since, or another negative
 * errno. */
int pl_connector_verify(int fd);

#endif
