/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine: what waits for events and moves bytes. Its interface is shaped like completions,
 * because readiness can imitate completion cheaply and the reverse is slow. Two engines fit it:
 * epoll (engine_epoll.c) and io_uring (engine_uring.c).
 *
 * An io is one fd at an engine. It is a part of its owner's structure (a connection, a listener, a
 * watch …), and the owner hears of it through its handler, always from inside pl_engine_ops.wait,
 * never from inside a call down.
 *
 * The contract, numbered so that both engines and the tests can cite it:
 *
 *  E1  recv: after attach with PL_IO_RECV or recv_start, on_recv(io, data, n) comes for n > 0
 *      bytes, then once for 0 (FIN) or a negative errno, after which recv is off. data belongs to
 *      the loop and is valid during the call. What one io is told in a turn is bounded. EAGAIN and
 *      EINTR never reach the owner.
 *
 *  E2  recv_stop: no on_recv after it until recv_start, with one exception: an error that is
 *      pending on the fd is told (on_recv with a negative errno) even while stopped, so that a
 *      paused reader learns of a reset. Bytes that an engine has already taken out of the kernel
 *      are kept, and come first when reading goes on (or by recv_rest).
 *
 *  E3  send(io, iov, n) returns the bytes taken now, 0 to all, or a negative errno that ends
 *      sending for good. When it took less than all, the caller keeps the iov's memory unchanged
 *      and calls no send until on_sent(io, n) says how many more were taken, or a negative errno.
 *      io->flags tells why: PL_IO_QUEUED, the engine writes when it waits next, and on_sent comes
 *      then; PL_IO_SEND, the kernel has no room, and on_sent comes when it has some. An on_sent
 *      that leaves PL_IO_SEND set found too little room: another comes. With PL_SEND_NOW nothing
 *      is queued, and the memory is not needed after the return. PL_IO_REFUSED: the part was taken,
 *      and the rest cannot be awaited, for the errno that pl_io_refusal gives. No on_sent comes:
 *      the owner detaches.
 *
 *  E4  send_file: as send, from file_fd at offset. Errors of the file side are told apart: see
 *      there.
 *
 *  E5  detach(io): no handler is called any more but on_detached, and on_sent before it for bytes
 *      of a send that was queued. Returns true if nothing is in flight: the owner may then close
 *      the fd and free the memory at once (but see E6); false: on_detached(io) will come, and the
 *      fd and the memory of a queued send stay until then. Detach removes the fd from the kernel's
 *      set explicitly, so duplicates of the fd (fork, dup) leave no registration behind.
 *
 *  E6  A stale event is impossible: owners free an io, or attach it anew, only in the reap phase
 *      or later, when no event of the batch is left.
 *
 *  E7  No condition that the owner cannot clear makes the engine spin (HUP with reading stopped:
 *      the fd is parked out of the set until recv_start or detach). */
#ifndef PL_ENGINE_H
#define PL_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct peal_loop;
struct pl_io;

struct pl_io_handler {
    void (*on_recv)(struct pl_io *io, const void *data, ssize_t n);
    void (*on_sent)(struct pl_io *io, ssize_t n);
    /* fd >= 0: a new socket, the owner's from now on, with its peer's address (size 0: not known);
     * fd < 0: a negative errno, after which accepting goes on unless the owner stops it. */
    void (*on_accept)(struct pl_io *io, int fd, const struct sockaddr *peer, socklen_t peer_size);
    void (*on_connect)(struct pl_io *io,
                       int error); /* 0 or a negative errno, once for each connect */
    void (*on_poll)(struct pl_io *io, uint32_t events /* PEAL_READABLE … of peal/watch.h */);
    void (*on_detached)(struct pl_io *io);
};

enum pl_io_flag {
    PL_IO_RECV = 1,    /* receiving is on */
    PL_IO_SEND = 2,    /* blocked in a send: on_sent is due */
    PL_IO_ACCEPT = 4,  /* accepting is on */
    PL_IO_CONNECT = 8, /* on_connect is due */
    PL_IO_POLL = 16,   /* a watch: the events asked for are in poll_events */
    PL_IO_QUEUED = 32, /* a send waits for the engine's next wait: on_sent is due */
    PL_IO_REFUSED = 64 /* a send took a part, but the rest cannot be awaited: no on_sent comes */
};

struct pl_io {
    int fd;
    uint8_t flags;       /* enum pl_io_flag: what the owner wants */
    uint8_t poll_events; /* of a watch */
    uint8_t armed;       /* the engine's own: what the kernel has been told */
    uint8_t in_flight;   /* the engine's own: operations whose completion has not come */
    const struct pl_io_handler *handler;
    struct peal_loop *loop;
    void *engine_data; /* the engine's own */
};

/* For engines: what a send comes to that took n bytes, the rest of which cannot be awaited. What
 * was taken is taken, and has to be counted. A stream has no poll_events; they keep the errno. */
static inline ssize_t pl_io_refuse(struct pl_io *io, ssize_t n, int error)
{
    if (n == 0) {
        return error;
    }
    io->flags |= PL_IO_REFUSED;
    io->poll_events = (uint8_t)-error;
    return n;
}

static inline int pl_io_refusal(const struct pl_io *io)
{
    return -(int)io->poll_events;
}

enum { PL_SEND_NOW = 1 };

struct pl_engine; /* each engine's own structure */

struct pl_engine_ops {
    const char *name;
    int (*new)(struct peal_loop *loop, struct pl_engine **ret_engine);
    void (*free)(struct pl_engine *engine);

    /* Waits at most timeout_ns (negative: without limit, 0: not at all) and dispatches what came to
     * the handlers. Returns the number of events dispatched (0 on time-out or EINTR), or a negative
     * errno. */
    int (*wait)(struct pl_engine *engine, int64_t timeout_ns);

    /* Ends a wait that is under way, or the next one. Any thread; async-signal-safe. */
    void (*wake)(struct pl_engine *engine);

    /* Registers io (fd, handler and flags set by the owner: RECV, ACCEPT, POLL or none). 0 or a
     * negative errno. */
    int (*attach)(struct pl_engine *engine, struct pl_io *io);
    bool (*detach)(struct pl_engine *engine, struct pl_io *io);

    /* 0, or a negative errno when the kernel refused to change what it watches. */
    int (*recv_start)(struct pl_engine *engine, struct pl_io *io);
    int (*recv_stop)(struct pl_engine *engine, struct pl_io *io);

    /* For an io that is about to end: reads what has already arrived, at most bytes_max, and hands
     * it to on_recv piece by piece, without waiting and whether recv is on or not; stops early at
     * FIN, at an error, or when stop_if says so after a piece. FIN and errors are not told. What
     * the engine had already taken out of the kernel comes first and does not count. Top level
     * only (the reap phase). */
    void (*recv_rest)(struct pl_engine *engine, struct pl_io *io, size_t bytes_max,
                      bool (*stop_if)(struct pl_io *io));

    ssize_t (*send)(struct pl_engine *engine, struct pl_io *io, const struct iovec *iov,
                    int iov_count, int flags);

    /* The straight way of a message: one piece, tried once. Returns the bytes taken; when that is
     * not all of them, or negative, tried must be called with it before anything else, and returns
     * what send would have (E3). An engine that has nothing simpler than send leaves both NULL. */
    ssize_t (*try_send)(struct pl_io *io, const void *data, size_t size);
    ssize_t (*tried)(struct pl_engine *engine, struct pl_io *io, ssize_t n, size_t size);

    /* As send, from a file. *ret_file_error: true when the negative result is the file's (EIO, a
     * file cut short gives -ENODATA), false when it is the socket's. Not for every pair of fds:
     * -EOPNOTSUPP, then read and send. */
    ssize_t (*send_file)(struct pl_engine *engine, struct pl_io *io, int file_fd, off_t offset,
                         size_t size, bool *ret_file_error);

    /* Writes what is queued, without waiting (the outcome is told by the next wait). NULL: this
     * engine queues nothing. */
    void (*push)(struct pl_engine *engine);

    int (*accept_start)(struct pl_engine *engine, struct pl_io *io);
    int (*accept_stop)(struct pl_engine *engine, struct pl_io *io);

    /* Begins connecting a socket that is not attached yet, and attaches it. 0: on_connect will
     * come, also if the kernel connected or refused at once. */
    int (*connect)(struct pl_engine *engine, struct pl_io *io, const struct sockaddr *address,
                   socklen_t size);

    /* Sets the events of a watch (io->poll_events) anew. */
    int (*poll_set)(struct pl_engine *engine, struct pl_io *io, uint8_t events);
};

extern const struct pl_engine_ops pl_engine_epoll;
extern const struct pl_engine_ops pl_engine_uring; /* where PL_HAS_URING is defined */

/* Connections taken from a listener in one turn, at most: the rest waits for the next, so that
 * accepting does not starve the connections that there are. */
enum { PL_ACCEPT_BATCH = 64 };

/* The loop's read buffer: the most that one recv delivers. */
enum { PL_SCRATCH_BYTES = 64 * 1024 };

#endif
