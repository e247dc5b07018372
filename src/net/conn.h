/* SPDX-License-Identifier: BSD-2-Clause */
/* The connection, as src/net sees it. conn.c opens and ends it, conn_input.c and conn_output.c move
 * its bytes, conn_remote.c serves other threads, conn_limits.c its time-outs, conn_refs.c its
 * references, machine.c its state. */
#ifndef PL_CONN_H
#define PL_CONN_H

#include <peal/conn.h>

#include "base/list.h"
#include "loop/loop.h"
#include "net/handle.h"
#include "net/machine.h"
#include "net/outq.h"

#include <netinet/in.h>

/* Who a connection was made by: a server's shard or a client. It is told at the two ends of the
 * open life, on the loop's thread, after the program's own callback. The owner keeps itself alive
 * until closed was called. Not a slot that users can set. */
struct pl_conn_owner {
    enum { PL_OWNER_SHARD, PL_OWNER_CLIENT } kind;
    void (*closed)(struct pl_conn_owner *owner, struct peal_conn *conn,
                   const struct peal_close_record *record);
    uint32_t first, last; /* its connections: see peal_conn.next */
};

/* What the connections of an owner have in common: limits with their defaults filled in, and the
 * owner. Each connection has a reference until its memory goes, so that other threads can read what
 * is marked. peal_conn_set_limits gives a connection its own, which keep those that they took the
 * place of. */
struct pl_limits {
    _Atomic uint32_t references;
    uint32_t server_number; /* whose references a drain report counts; 0: a client's */
    struct pl_conn_owner *owner;
    struct pl_limits *base;    /* NULL: shared */
    _Atomic size_t output_cap; /* values.output_bytes_max, for any thread */
    struct peal_conn_limits values;
};
int pl_limits_check(const struct peal_conn_limits *limits); /* 0 or -EINVAL */
struct pl_limits *pl_limits_new(const struct peal_conn_limits *limits, struct pl_conn_owner *owner,
                                uint32_t server_number);
struct pl_limits *pl_limits_ref(struct pl_limits *limits);
struct pl_limits *pl_limits_unref(struct pl_limits *limits);

/* A peer's address: of IPv4 in the connection, others in a block of their own. */
union pl_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};
struct pl_peer {
    socklen_t size;
    union pl_sockaddr addr;
};
enum pl_peer_kind { PL_PEER_UNKNOWN, PL_PEER_V4, PL_PEER_OTHER };

enum pl_conn_flag {
    PL_CONN_IN_CALLBACK =
        1 << 0, /* one of its callbacks is running: output is flushed when it returns */
    PL_CONN_PEER_FIN = 1 << 1,   /* the peer's end of stream was read */
    PL_CONN_FIN_WANTED = 1 << 2, /* shutdown was called: FIN when flushed */
    PL_CONN_FIN_SENT = 1 << 3,
    PL_CONN_BLOCKED = 1 << 4, /* the engine says on_sent when the kernel takes more */
    PL_CONN_RECV_ON = 1 << 5, /* what the engine was told last */
    PL_CONN_HIGH =
        1 << 6, /* output went above the high mark and has not come down to the low one */
    PL_CONN_DRAIN_WANTED = 1 << 7,
    PL_CONN_FAILED =
        1 << 8, /* broken by the peer or the system: ends in reap, after the rest of its input */
    PL_CONN_REST = 1 << 9,    /* with FAILED: input may be left in the kernel */
    PL_CONN_OPENED = 1 << 10, /* on_open was called: on_close is owed */
    PL_CONN_RESET = 1 << 11,  /* close the fd with a reset */
    PL_CONN_HELD = 1 << 12,   /* on the list of closed connections that are still referenced */
    PL_CONN_ATTACHED = 1 << 14,
    PL_CONN_FLUSH_DUE = 1 << 15, /* flush when the callback returns */
    PL_CONN_WATCHED = 1 << 16,   /* the flush time-out is being watched */
    PL_CONN_CLEAN = 1 << 17,     /* closed by both ends of stream */
    PL_CONN_IS_OPEN = 1 << 18,   /* the state is OPEN: kept by machine.c */
    PL_CONN_INPUT = 1 << 19,     /* some input is kept: conn_input.c */
    PL_CONN_QUEUED = 1 << 20,    /* output may hold something: kept by conn_output.c */
    PL_CONN_ROOMY = 1 << 21,     /* its marks and its cap are above what can be gathered */
    PL_CONN_GATHERING = 1 << 22, /* what its callback sends may gather in the loop's chunk */
};

/* The flags of a connection that is open and has nothing out of the ordinary about it: reading,
 * nothing kept of the input, no output pending, no end in sight, no callback running. The straight
 * way of a message compares with this, once before its callback and once after it. */
#define PL_CONN_PLAIN                                                                              \
    ((uint32_t)(PL_CONN_RECV_ON | PL_CONN_OPENED | PL_CONN_ATTACHED | PL_CONN_IS_OPEN |            \
                PL_CONN_ROOMY))
/* The same while its callback is running, and all that it has sent is in the gather chunk. */
#define PL_CONN_CALLING (PL_CONN_PLAIN | PL_CONN_IN_CALLBACK | PL_CONN_GATHERING)

/* Bits of peal_conn.remote above the count of bytes that other threads have had accepted and that
 * have not arrived. */
#define PL_REMOTE_ENDED  (1ull << 63)
#define PL_REMOTE_MOVING (1ull << 62) /* some of them are on both sides just now: being queued */
#define PL_REMOTE_BYTES  (PL_REMOTE_MOVING - 1)

enum pl_conn_request {
    PL_REQUEST_SHUTDOWN = 1,
    PL_REQUEST_CLOSE = 2,
    PL_REQUEST_ABORT = 4,
    PL_REQUEST_CAP = 8,
    PL_REQUEST_RESUME = 16
};

/* What on_data left. */
struct pl_input {
    struct peal_buf buf;
    uint64_t discarded; /* bytes that nobody was shown */
};

/* 232 bytes, which malloc gives with 8 of its own and without slack: an idle connection costs 248
 * with its place in the table of ids (docs/decisions/0012-connections-from-malloc.md). Two lines of
 * 64 bytes hold all that a message needs on its way; the rest is touched at the ends of the
 * connection's life, by time-outs and by other threads. (malloc aligns to 16, so the two may lie
 * across three of the processor's.)
 *
 * What most connections never need is elsewhere: an address that is not IPv4, kept input, sites of
 * references, limits of its own, the accounts of a queue. What an end needs is all here, because
 * nothing on the way to it may allocate (G9). */
struct peal_conn {
    /* --- the first line: the way in */
    struct pl_io io; /* fd, what the engine is told, loop */
    const struct peal_conn_ops *ops;
    void *user;
    uint32_t flags;          /* enum pl_conn_flag */
    _Atomic uint16_t pauses; /* raised by the loop's thread, lowered by any */
    _Atomic uint8_t state;   /* enum peal_conn_state; written by machine.c only */
    uint8_t cause;
    uint64_t received;

    /* --- the second: the way out */
    _Atomic uint64_t remote; /* any thread */
    uint64_t taken;
    uint32_t active_ms;                 /* when a byte last moved; modulo 2^32, as progress_ms */
    uint32_t progress_ms;               /* when the peer last took output */
    _Atomic(struct pl_limits *) limits; /* any thread */
    _Atomic size_t output_seen;         /* pl_outq_memory_bytes, for other threads; LINGERING:
                                   bytes discarded since our FIN */
    union {
        uint64_t discarded;    /* bytes that nobody was shown */
        struct pl_input *kept; /* with the flag INPUT: what on_data left, and that count */
    } in;
    struct pl_outq output;

    /* --- the rest */
    struct pl_job job; /* flush or reap */
    union {
        struct peal_timer_node timer;
        struct pl_list held_link; /* closed: in the list of those that are still referenced */
    };
    struct pl_bare_task task; /* hand-over to the loop, later requests of other threads */
    _Atomic uint32_t references;
    uint32_t unacked_seen; /* SIOCOUTQ when last looked */
    uint64_t opened_ns;    /* then closed_ns, once closed */
    uint64_t id;
    uint32_t next, previous; /* of the owner's: 1 + the place in the loop's table of ids; 0: none */
    union {
        struct { /* in network order */
            uint32_t address;
            uint16_t port;
        } v4;
        struct pl_peer *other;
    } peer;
    uint32_t moves : 24;    /* four bits each, the newest lowest: 1 + the line in moves.def */
    uint32_t peer_kind : 8; /* enum pl_peer_kind */
    uint32_t moved_us;      /* when it last moved, from its opening; coded: see machine.c */
    uint8_t move_pauses[PL_HISTORY_MOVES - 1]; /* before each move, the newest first; coded */
    _Atomic uint8_t requests;                  /* enum pl_conn_request; any thread */
    int16_t error;                             /* negative errno of the cause, or Peal's own */
};
_Static_assert(offsetof(struct peal_conn, remote) == 64, "the way in is one cache line");
_Static_assert(offsetof(struct peal_conn, job) <= 128, "the way out is the second");
_Static_assert(sizeof(struct peal_conn) <= 232, "what malloc(3) gives without slack");

/* ---- life (conn.c) */

/* A connection in state CONNECTING around a connected socket, with one reference: the creator's,
 * which pl_conn_open takes over. Any thread. On -ENOMEM (NULL) the fd stays the caller's. */
struct peal_conn *pl_conn_new(int fd, const struct sockaddr *peer, socklen_t peer_size);

/* Opens it on the loop: attaches, runs on_open, at top level on the loop's thread. The reference
 * becomes the loop's. limits gets a further reference. On a negative errno nothing was called: the
 * fd is closed, the connection gone, its owner not told. */
int pl_conn_open(struct peal_conn *conn, struct peal_loop *loop, const struct peal_conn_ops *ops,
                 void *user, struct pl_limits *limits);

/* Gives up a connection that was never opened: closes the fd and frees it, or only frees it. Any
 * thread. */
void pl_conn_discard(struct peal_conn *conn);
void pl_conn_free_unopened(struct peal_conn *conn);

/* Graceful end with the given cause: what peal_conn_close does on the loop's thread. */
void pl_conn_close_for(struct peal_conn *conn, enum peal_cause cause);

/* Ends at once. error 0 or a negative errno. No callback inside: on_close comes in reap. */
void pl_conn_break(struct peal_conn *conn, enum peal_cause cause, int error);

/* The socket failed with a negative errno: ends in reap, after what had arrived is shown (G6).
 * rest: input may be left in the kernel. */
void pl_conn_fail(struct peal_conn *conn, int error, bool rest);

/* ---- used between the conn_*.c files */
static inline enum peal_conn_state pl_conn_state(const struct peal_conn *conn)
{
    return (enum peal_conn_state)atomic_load_explicit(&conn->state, memory_order_relaxed);
}
static inline uint32_t pl_conn_now_ms(const struct peal_conn *conn)
{
    return (uint32_t)pl_loop_now_ms(conn->io.loop);
}
/* NULL once it has closed. The loop's thread. */
static inline struct pl_conn_owner *pl_conn_owner(const struct peal_conn *conn)
{
    return conn->io.fd >= 0 && conn->limits ? conn->limits->owner : NULL;
}
/* conn_info.c. The size, 0: not known. False: no memory. */
socklen_t pl_conn_peer(const struct peal_conn *conn, union pl_sockaddr *ret_peer);
/* The owner's connections, in the order in which they opened, but for one whose on_close is
 * running. The loop's thread. NULL after the last. */
struct peal_conn *pl_conn_first(const struct peal_loop *loop, const struct pl_conn_owner *owner);
struct peal_conn *pl_conn_next(const struct peal_conn *conn);
bool pl_conn_set_peer(struct peal_conn *conn, const struct sockaddr *peer, socklen_t size);
void pl_conn_forget_peer(struct peal_conn *conn);
static inline bool pl_conn_has(const struct peal_conn *conn, uint32_t flag)
{
    return (conn->flags & flag) != 0;
}
static inline struct peal_conn *pl_conn_of_io(struct pl_io *io)
{
    return pl_container(io, struct peal_conn, io);
}
void pl_conn_output_empty(struct peal_conn *conn); /* the last byte was taken: FIN, if one is due */
void pl_conn_peer_ended(struct peal_conn *conn);   /* FIN was read */
void pl_conn_arrived(struct peal_conn *conn, bool dropped);             /* handed over; accept.c */
void pl_conn_serve_requests(struct peal_conn *conn, unsigned requests); /* of other threads */
void pl_conn_end_output(struct peal_conn *conn); /* nothing is accepted any more; any thread */
void pl_conn_on_recv(struct pl_io *io, const void *data, ssize_t n);
void pl_conn_update_recv(struct peal_conn *conn); /* tells the engine whether to read */
void pl_conn_drop_input(struct peal_conn *conn);
void pl_conn_on_sent(struct pl_io *io, ssize_t n);
void pl_conn_flush_soon(
    struct peal_conn *conn);                /* when its callback returns, or in the flush phase */
void pl_conn_flush(struct peal_conn *conn); /* flush, then on_drain if due; top level */
void pl_conn_enter(struct peal_conn *conn); /* around each callback of the program */
void pl_conn_leave(struct peal_conn *conn);
void pl_conn_sent_in_part(struct peal_conn *conn, ssize_t n); /* of what was gathered */
void pl_conn_stop_gathering(struct peal_conn *conn); /* what was gathered goes to the queue */
void pl_conn_note_limits(struct peal_conn *conn);    /* after conn->limits has changed */
ssize_t pl_conn_queue(struct peal_conn *conn, const struct iovec *parts, int count,
                      size_t size); /* loop's thread */
ssize_t pl_conn_queue_blob(struct peal_conn *conn, struct peal_blob *blob);
ssize_t pl_conn_remote_send(struct peal_conn *conn, const struct iovec *parts, int count,
                            size_t size);
ssize_t pl_conn_remote_blob(struct peal_conn *conn, struct peal_blob *blob);
void pl_conn_accept_remote(struct peal_conn *conn,
                           struct pl_chunk *chunk); /* takes the chunk over */
void pl_conn_request(struct peal_conn *conn, enum pl_conn_request request);
void pl_conn_arm_timer(struct peal_conn *conn); /* after anything that a time-out depends on */
void pl_conn_hold(struct peal_conn *conn);      /* internal references: without a site */
void pl_conn_release(struct peal_conn *conn);
void pl_conn_closed_refs(
    struct peal_conn *conn); /* reap: drops the loop's reference, notes who holds on */
size_t pl_refs_held_by_server(uint32_t server_number);

/* The end of a callback on the straight way: writes what was gathered, if the connection is still
 * plain. False: it is not, nothing was done (pl_conn_leave). */
static inline bool pl_conn_leave_plain(struct peal_conn *conn, struct peal_loop *loop)
{
    if (__builtin_expect(conn->flags != PL_CONN_CALLING, 0)) {
        return false;
    }
    conn->flags = PL_CONN_PLAIN;
    struct pl_chunk *chunk = loop->gather;
    if (chunk->end > 0) {
        ssize_t n = loop->try_send(&conn->io, chunk->data, chunk->end);
        chunk = loop->gather; /* the same: not kept over the call, which would cost more */
        if (__builtin_expect(n != (ssize_t)chunk->end, 0)) {
            pl_conn_sent_in_part(conn, n);
            return true;
        }
        chunk->end = 0;
        conn->taken += (size_t)n;
        pl_count(&loop->counters.bytes_taken, (size_t)n);
    }
    return true;
}

#endif
