/* SPDX-License-Identifier: BSD-2-Clause */
/* A client: connects to a name or to addresses, tells of success or failure once for each attempt,
 * and, if asked to, connects again with growing pauses.
 *
 * Addresses are raced in Happy Eyeballs order (RFC 8305). Names are resolved off the loop. A client
 * can be released at any moment, from any thread, while it resolves, connects, waits or has a
 * connection; an open connection is not closed by that (it lives its own life: close it), anything
 * else is cancelled without a further callback.
 *
 *     struct peal_client *client;
 *     struct peal_client_options options = {.to = "localhost:7", .ops = &ops};
 *     peal_client_new(loop, &options, &client);
 *     peal_client_connect(client);
 *     ...
 *     client = peal_client_unref(client);
 */
#ifndef PEAL_CLIENT_H
#define PEAL_CLIENT_H

#include <peal/conn.h>

PEAL_BEGIN

struct peal_client;
struct peal_resolver;

/* One failure to connect. */
struct peal_connect_failure {
    int error; /* of the address tried last: -ECONNREFUSED, -ETIMEDOUT, PEAL_ERR_RESOLVE … */
    unsigned attempt;      /* 1 for the first since peal_client_connect or since the last success */
    struct peal_addr addr; /* tried last; PEAL_ADDR_NONE when none was (the name did not resolve) */
    const char *why;       /* a sentence, on one line; valid during the call */
    bool will_retry;
    uint32_t retry_ms; /* the pause before the next attempt */
};

struct peal_client_options {
    const char *to; /* "host:port", or any form of peal/addr.h that can be connected to; copied */
    const struct peal_addr *addrs; /* or: addresses to race, in order of preference; copied */
    size_t addr_count;
    /* Of the name: the program's own (peal/resolver.h), not copied; default: the built-in one, that
     * calls getaddrinfo(3) in threads. */
    const struct peal_resolver *resolver;
    const struct peal_conn_ops *ops; /* must be set */
    void *user;                      /* for ops and on_fail */
    struct peal_conn_limits limits;
    uint32_t connect_ms; /* for one attempt, resolving included; default 30,000 */
    uint32_t stagger_ms; /* head start of each address over the next; default 250 (RFC 8305, section
                            5) */
    bool delay;          /* leave Nagle's algorithm on; default: TCP_NODELAY */
    bool no_keepalive;   /* default: SO_KEEPALIVE */

    /* Connecting again: after a failure to connect, and after a connection has closed. */
    bool retry;            /* after failures, until it succeeds */
    bool reconnect;        /* after a connection that had opened closed; includes retry */
    unsigned attempts_max; /* failures in a row before it gives up; default: none */
    uint32_t retry_min_ms; /* first pause; default 500, then doubled each time up to */
    uint32_t retry_max_ms; /* default 30,000 */
    /* Each pause is drawn from its upper half, so that many clients do not come back in step. */

    /* An attempt failed. Once for each attempt; the last one says will_retry false. The loop's
     * thread, at top level. */
    void (*on_fail)(struct peal_client *client, const struct peal_connect_failure *failure,
                    void *user);
};

/* The loop's thread. Errors: -EINVAL (no ops, a resolver that cannot resolve, a malformed address
 * or one that cannot be connected to, neither to nor addrs, or both), -ENODEV (there is no
 * interface of the scope's name), -ENOMEM, PEAL_ERR_LOOP_ENDED. What is wrong with `to` is a
 * sentence in the log (peal/log.h). */
PEAL_API PEAL_MUST_USE int peal_client_new(struct peal_loop *loop,
                                           const struct peal_client_options *options,
                                           struct peal_client **ret_client);

/* Starts connecting. Any thread with a reference. While it connects or has an open connection, it
 * does nothing; during a pause it starts at once and counts attempts anew; while a connection is
 * closing it starts when that has closed. What comes of it comes by on_open or on_fail. Returns 0
 * or PEAL_ERR_LOOP_ENDED. */
PEAL_API int peal_client_connect(struct peal_client *client);

/* Stops connecting and retrying, without a callback: if an attempt or a pause was under way, it is
 * over when the loop has come to this. An open connection is left as it is, but not replaced when
 * it closes. connect starts anew. Any thread. */
PEAL_API void peal_client_cancel(struct peal_client *client);

/* The connection if one is open, or NULL. Without a reference. The loop's thread. */
PEAL_API struct peal_conn *peal_client_conn(const struct peal_client *client);

/* References. Any thread. The last unref cancels. */
PEAL_API struct peal_client *peal_client_ref(struct peal_client *client);
PEAL_API struct peal_client *
peal_client_unref(struct peal_client *client); /* NULL is allowed. Returns NULL. */

/* The client that made the connection, or NULL. Without a reference, and only while the client
 * lives. Loop's thread. */
PEAL_API struct peal_client *peal_conn_client(const struct peal_conn *conn);

PEAL_END
#endif
