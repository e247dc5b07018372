/* SPDX-License-Identifier: BSD-2-Clause */
/* A server: listens on addresses, spreads connections over loops, and stops within a deadline, with
 * a report.
 *
 * It has a home loop (its listeners, its callbacks) and serves its connections there or on the
 * loops of a pool; each loop keeps the connections that it serves in a shard of its own. A server
 * can be stopped and released at any moment, from any thread, in any callback: what it still has is
 * then drained and closed first (G7). Loops and pool must be ended after it or may be ended before
 * it; both are safe.
 *
 *     struct peal_server *server;
 *     peal_server_new(loop, &(struct peal_server_options){.ops = &ops, .pool = pool}, &server);
 *     peal_server_listen(server, "127.0.0.1:7", NULL);
 *     ...
 *     peal_server_stop(server, 5000);
 *     server = peal_server_unref(server);
 */
#ifndef PEAL_SERVER_H
#define PEAL_SERVER_H

#include <peal/conn.h>

PEAL_BEGIN

struct peal_server;
struct peal_pool;

enum peal_balance {
    PEAL_BALANCE_ROUND_ROBIN,
    PEAL_BALANCE_LEAST,    /* the loop with the fewest open connections */
    PEAL_BALANCE_REUSEPORT /* one SO_REUSEPORT listener a loop: the kernel chooses. IP addresses
                              only */
};

/* What a stop came to. */
struct peal_drain_report {
    uint64_t connections;      /* open when the stop began, or opened by hand-overs under way */
    uint64_t closed_clean;     /* of those: both sides ended, nothing lost */
    uint64_t closed_otherwise; /* ended by the peer or by a limit of their own */
    uint64_t cut_off;          /* aborted because the deadline had come */
    uint64_t bytes_unsent;     /* accepted from the program and lost, over all of them */
    uint64_t references_held;  /* closed connections that somebody holds a reference to
                                  (peal_refs_report names them) */
    uint64_t took_ns;
};

struct peal_server_options {
    const struct peal_conn_ops *ops; /* must be set; read as long as there are connections */
    void *user;                      /* for ops and the callbacks below */
    const char *name;                /* for logs; copied, at most 15 bytes; default "server" */
    struct peal_pool *pool;          /* serve on these loops; default: on the home loop */
    enum peal_balance balance;
    struct peal_conn_limits limits;
    size_t conns_max; /* open at once; one more is accepted and closed at once. Default: no limit */
    size_t conns_per_addr_max; /* the same for one peer's IP address (not for unix sockets) */
    int backlog;               /* default SOMAXCONN */
    bool reuse_port;   /* SO_REUSEPORT also without balance by it: several processes on one port */
    bool v6_only;      /* an IPv6 listener takes IPv6 only. (":80" takes both unless this is set) */
    bool delay;        /* leave Nagle's algorithm on; default: TCP_NODELAY */
    bool no_keepalive; /* default: SO_KEEPALIVE */
    uint32_t defer_accept_s;  /* TCP_DEFER_ACCEPT: accept only when data has come. Default: off */
    uint32_t accept_retry_ms; /* pause after EMFILE, ENFILE, ENOBUFS, ENOMEM. Default 100 */
    uint32_t drain_ms;        /* deadline of the stop that a last unref starts. Default 10,000 */

    /* Accepting paused for want of fds or memory (error), or goes on (0). Home loop's thread (with
     * PEAL_BALANCE_REUSEPORT: that of the loop concerned). */
    void (*on_accept_pause)(struct peal_server *server, int error, void *user);

    /* The server has stopped: once, last of its callbacks, on the home loop's thread (if that has
     * ended, on the thread of the loop that finished last). The server pointer is valid during the
     * call even if the program holds no reference. */
    void (*on_stopped)(struct peal_server *server, const struct peal_drain_report *report,
                       void *user);
};

/* A server with loop as its home. The loop's thread. Errors: -EINVAL (no ops, a bad limit),
 * -ENOMEM, PEAL_ERR_LOOP_ENDED. */
PEAL_API PEAL_MUST_USE int peal_server_new(struct peal_loop *loop,
                                           const struct peal_server_options *options,
                                           struct peal_server **ret_server);

/* Listens on an address in text (peal/addr.h). Can be called for several. ret_why, if not NULL,
 * gets a sentence on failure (static, or of the calling thread until its next failure). Home loop's
 * thread. Errors: -EINVAL (malformed), -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EMFILE, -ENOMEM,
 * PEAL_ERR_STOPPED … A unix path at which nobody listens any more is replaced; one at which
 * somebody does is -EADDRINUSE. */
PEAL_API PEAL_MUST_USE int peal_server_listen(struct peal_server *server, const char *address,
                                              const char **ret_why);
PEAL_API PEAL_MUST_USE int peal_server_listen_addr(struct peal_server *server,
                                                   const struct peal_addr *address,
                                                   const char **ret_why);

/* The bound address of the listener with that index (in the order of the listen calls), with the
 * port the kernel chose for port 0. -ENOENT. Home loop's thread. */
PEAL_API int peal_server_address(const struct peal_server *server, size_t index,
                                 struct peal_addr *ret_addr);

/* Takes a connected stream socket as if it had been accepted. On success the fd is the server's.
 * Any thread with a reference. Errors, after which the fd is the caller's still: -ENOTCONN (not
 * connected, or listening), -ENOTSOCK, -EPROTOTYPE (not a stream), -EBADF, -EUSERS (a limit on
 * connections is reached), -ENOMEM, PEAL_ERR_STOPPED, PEAL_ERR_LOOP_ENDED. */
PEAL_API PEAL_MUST_USE int peal_server_adopt(struct peal_server *server, int fd);

/* Stops taking new connections off the listeners (they queue in the kernel), and goes on. On
 * io_uring those that the kernel has accepted by then still open. Home loop's thread; counted, as
 * many resumes as pauses. */
PEAL_API void peal_server_pause_accept(struct peal_server *server);
PEAL_API void peal_server_resume_accept(struct peal_server *server);

/* Calls fn(conn, user) for each open connection, on the loop that owns it; then, if it is set,
 * done(user) once on the home loop (if that has ended, on the loop that finished last). Never from
 * inside this call. Any thread with a reference. -ENOMEM, PEAL_ERR_STOPPED: nothing is called after
 * that (where the loops ended during the call, fn may have been). */
PEAL_API PEAL_MUST_USE int peal_server_for_each(struct peal_server *server,
                                                void (*fn)(struct peal_conn *conn, void *user),
                                                void (*done)(void *user), void *user);

/* Sends the blob to every open connection, or to those for which filter (called on each one's loop)
 * says true. Connections whose cap it would break are treated as peal_conn_send_ref does. done (it
 * may be NULL), threads and errors as for_each: who broadcasts without end waits for it now and
 * then, as each loop has a queue of what it has not come to yet. */
PEAL_API PEAL_MUST_USE int peal_server_broadcast(struct peal_server *server, struct peal_blob *blob,
                                                 bool (*filter)(struct peal_conn *conn, void *user),
                                                 void (*done)(void *user), void *user);

/* Stops: no new connections; those there are are closed gracefully, with cause SERVER_STOP; at the
 * deadline the rest is aborted; then on_stopped. Any thread with a reference, any callback, any
 * number of times (a later, shorter deadline counts). deadline_ms 0: abort all at once. */
PEAL_API void peal_server_stop(struct peal_server *server, uint32_t deadline_ms);

/* References. Any thread. The last unref of a server that was not stopped stops it, with drain_ms.
 */
PEAL_API struct peal_server *peal_server_ref(struct peal_server *server);
PEAL_API struct peal_server *
peal_server_unref(struct peal_server *server); /* NULL is allowed. Returns NULL. */

PEAL_API size_t
peal_server_connections(const struct peal_server *server); /* open now; any thread */
PEAL_API struct peal_loop *
peal_server_loop(const struct peal_server *server); /* home; any thread */

/* The server that a connection was accepted by, or NULL for a client's. Without a reference. Loop's
 * thread. */
PEAL_API struct peal_server *peal_conn_server(const struct peal_conn *conn);

/* The report as one line. Returns text. Any thread. */
#define PEAL_DRAIN_TEXT_MAX 256
PEAL_API const char *peal_drain_report_format(const struct peal_drain_report *report, char *text,
                                              size_t size);

PEAL_END
#endif
