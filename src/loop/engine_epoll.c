/* SPDX-License-Identifier: BSD-2-Clause */
/* The epoll engine: readiness made into completions.
 *
 * Level triggered: an event that is not used up comes again. One read an io a turn, into the loop's
 * scratch memory, so that no connection starves another. What the kernel watches for an io (armed)
 * follows what the owner wants (flags) lazily: it is brought into line after the handlers of an
 * event have run, so that a send that blocks, unblocks and blocks again costs no system call.
 *
 * Invariants, besides the contract E1-E7 of engine.h:
 *  1. armed is the event mask that the kernel has for io->fd, with ARMED_IN set if the fd is in the
 *     set at all. An io that is not in the set is parked (E7), not attached yet, or detached (flag
 *     DETACHED).
 *  2. An event's pointer is good for the whole batch: owners free an io in reap only. After each
 *     handler call the io is looked at again before anything more is done with it, because the
 *     handler may have detached it.
 *  3. A connect that the kernel decided at once is told from wait, not from inside the call: it is
 *     put on a list.
 *  4. in_flight stays 0: readiness leaves nothing in the kernel that memory must outlive.
 *
 * EPOLLRDHUP is not asked for: the end of the stream is read in its turn, after the data before it.
 * EPOLLERR and EPOLLHUP come unasked; with recv on they mean "read", which gives data, then the
 * error; with recv off an error is told at once (E2), and a bare hang-up parks the fd, or it would
 * wake the loop for ever. */
#include "loop/loop.h"

#include "base/assert.h"

#include <peal/watch.h>

#include <errno.h>
#include <string.h>

enum { FULL_READS_MAX = 4, EVENTS_MAX = 256, EINTR_TRIES = 8, DEL_TRIES = 8, WAKE_TRIES = 1000 };

/* io->armed: what epoll has been told, in a byte. */
enum { ARMED_IN_SET = 1, ARMED_READ = 2, ARMED_WRITE = 4, ARMED_DETACHED = 8 };

struct pl_engine {
    struct peal_loop *loop;
    int epoll_fd;
    int wake_fd;
    struct pl_io *
        *decided; /* ios whose connect was decided at once: a ring is not needed, there are few */
    unsigned decided_count, decided_room;
    struct pl_io wake_io; /* stands for wake_fd, so that each event has an io */
    struct epoll_event events[EVENTS_MAX];
};

/* ---- what the kernel is told */

static uint8_t wanted(const struct pl_io *io)
{
    uint8_t want = 0;
    if (io->flags & (PL_IO_RECV | PL_IO_ACCEPT)) {
        want |= ARMED_READ;
    }
    if (io->flags & (PL_IO_SEND | PL_IO_CONNECT)) {
        want |= ARMED_WRITE;
    }
    if (io->flags & PL_IO_POLL) {
        want |= io->poll_events & PEAL_READABLE ? ARMED_READ : 0;
        want |= io->poll_events & PEAL_WRITABLE ? ARMED_WRITE : 0;
    }
    return want;
}

static int control(struct pl_engine *engine, struct pl_io *io, int op, uint8_t want)
{
    struct epoll_event event = {.data.ptr = io};
    event.events =
        (want & ARMED_READ ? (uint32_t)EPOLLIN : 0) | (want & ARMED_WRITE ? (uint32_t)EPOLLOUT : 0);
    int result = sys_epoll_ctl(engine->epoll_fd, op, io->fd, &event);
    if (result == 0) {
        io->armed = op == EPOLL_CTL_DEL ? 0 : (uint8_t)(want | ARMED_IN_SET);
    }
    return result;
}

/* Brings the kernel into line with the owner's wants. A parked io with nothing wanted stays parked.
 */
static int align(struct pl_engine *engine, struct pl_io *io)
{
    uint8_t want = wanted(io);
    if (io->armed & ARMED_DETACHED || (io->armed & (ARMED_READ | ARMED_WRITE)) == want) {
        if (io->armed != 0 || want == 0) {
            return 0;
        }
    }
    return control(engine, io, io->armed & ARMED_IN_SET ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, want);
}

/* Removing may not fail: a registration that stays would name memory that goes. The kernel has no
 * reason to refuse but that there is none (ENOENT, or EBADF: the owner has closed the fd). */
static void park(struct pl_engine *engine, struct pl_io *io)
{
    int result = io->armed & ARMED_IN_SET ? -EINTR : 0;
    for (unsigned tries = 0;
         tries < DEL_TRIES && result < 0 && result != -ENOENT && result != -EBADF; tries++) {
        result = control(engine, io, EPOLL_CTL_DEL, 0);
    }
}

static bool is_detached(const struct pl_io *io)
{
    return io->armed & ARMED_DETACHED;
}

/* ---- streams */

__attribute__((noinline)) static void received_none(struct pl_engine *engine, struct pl_io *io,
                                                    ssize_t n)
{
    struct peal_loop *loop = engine->loop;
    if (n == -EAGAIN || n == -EINTR) {
        pl_count(&loop->counters.recv_again, n == -EAGAIN);
        return;
    }
    io->flags &= (uint8_t)~PL_IO_RECV;
    io->handler->on_recv(io, NULL, n);
}

/* True: the read filled the buffer, so there is likely to be more. */
static inline bool receive(struct pl_engine *engine, struct pl_io *io, char *scratch)
{
    ssize_t n = sys_recv(io->fd, scratch, PL_SCRATCH_BYTES, 0);
    if (__builtin_expect(n > 0, 1)) {
        io->handler->on_recv(io, scratch, n);
    } else {
        received_none(engine, io, n);
    }
    return n == PL_SCRATCH_BYTES;
}

static int pending_error(struct pl_io *io)
{
    int error = 0;
    socklen_t size = sizeof error;
    int result = sys_getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return result < 0 ? result : -error;
}

/* An error or a hang-up while nobody reads: a send that is blocked learns of it by trying; else an
 * error is told, and a mere hang-up waits, out of the set, until somebody reads. */
static void fault_while_paused(struct pl_engine *engine, struct pl_io *io, uint32_t events)
{
    int error = events & EPOLLERR ? pending_error(io) : 0;
    park(engine, io);
    if (error < 0) {
        io->handler->on_recv(io, NULL, error);
    }
}

static void dispatch_stream(struct pl_engine *engine, struct pl_io *io, uint32_t events)
{
    bool fault = events & (EPOLLERR | EPOLLHUP);
    if (io->flags & PL_IO_SEND && (events & EPOLLOUT || fault)) {
        io->flags &= (uint8_t)~PL_IO_SEND;
        io->handler->on_sent(io, 0);
        if (is_detached(io)) {
            return;
        }
    }
    if (io->flags & PL_IO_RECV) {
        if (events & EPOLLIN || fault) {
            receive(engine, io, engine->loop->scratch);
        }
    } else if (fault) {
        fault_while_paused(engine, io, events);
    }
}

static int recv_start(struct pl_engine *engine, struct pl_io *io)
{
    io->flags |= PL_IO_RECV;
    return align(engine, io);
}

/* The kernel is told only if an event comes that nobody wants (needs_align): mostly the fd is
 * closed first, or reading goes on. */
static int recv_stop(struct pl_engine *engine, struct pl_io *io)
{
    (void)engine;
    io->flags &= (uint8_t)~PL_IO_RECV;
    return 0;
}

static void recv_rest(struct pl_engine *engine, struct pl_io *io, size_t bytes_max,
                      bool (*stop_if)(struct pl_io *io))
{
    struct peal_loop *loop = engine->loop;
    unsigned interrupted = 0;
    while (bytes_max > 0 && !stop_if(io)) {
        size_t want = bytes_max < PL_SCRATCH_BYTES ? bytes_max : PL_SCRATCH_BYTES;
        ssize_t n = sys_recv(io->fd, loop->scratch, want, MSG_DONTWAIT);
        if (n == -EINTR && interrupted++ < EINTR_TRIES) {
            continue;
        }
        if (n <= 0) {
            return;
        }
        bytes_max -= (size_t)n;
        io->handler->on_recv(io, loop->scratch, n);
    }
}

/* The outcome of one try to write: all, or less and then blocked. */
static ssize_t wrote(struct pl_engine *engine, struct pl_io *io, ssize_t n, size_t size)
{
    if (n == -EAGAIN || n == -EINTR) {
        n = 0;
    }
    if (n < 0 || (size_t)n == size) {
        return n;
    }
    io->flags |= PL_IO_SEND;
    int result = align(engine, io);
    return result < 0 ? pl_io_refuse(io, n, result) : n;
}

static size_t size_of(const struct iovec *iov, int iov_count)
{
    size_t size = 0;
    for (int i = 0; i < iov_count; i++) {
        size += iov[i].iov_len;
    }
    return size;
}

/* What the first try to write one piece came to, when it did not take all. */
__attribute__((noinline)) static ssize_t sent_otherwise(struct pl_engine *engine, struct pl_io *io,
                                                        const struct iovec *part, ssize_t n)
{
    for (unsigned tries = 1; n == -EINTR && tries < EINTR_TRIES; tries++) {
        n = sys_send(io->fd, part->iov_base, part->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return wrote(engine, io, n, part->iov_len);
}

__attribute__((noinline)) static ssize_t send_parts(struct pl_engine *engine, struct pl_io *io,
                                                    const struct iovec *iov, int iov_count)
{
    ssize_t n = -EINTR;
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                   .msg_iovlen = (size_t)iov_count};
    for (unsigned tries = 0; n == -EINTR && tries < EINTR_TRIES; tries++) {
        n = sys_sendmsg(io->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return wrote(engine, io, n, size_of(iov, iov_count));
}

static ssize_t try_send(struct pl_io *io, const void *data, size_t size)
{
    return sys_send(io->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t send_some(struct pl_engine *engine, struct pl_io *io, const struct iovec *iov,
                         int iov_count, int flags)
{
    (void)flags; /* the memory is never needed afterwards */
    if (__builtin_expect(iov_count != 1, 0)) {
        return send_parts(engine, io, iov, iov_count);
    }
    ssize_t n = sys_send(io->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return __builtin_expect(n == (ssize_t)iov->iov_len, 1) ? n : sent_otherwise(engine, io, iov, n);
}

static ssize_t send_file(struct pl_engine *engine, struct pl_io *io, int file_fd, off_t offset,
                         size_t size, bool *ret_file_error)
{
    off_t at = offset;
    ssize_t n = sys_sendfile(io->fd, file_fd, &at, size);
    if (n == -EINVAL || n == -ESPIPE || n == -ENOSYS || n == -EOVERFLOW) {
        return -EOPNOTSUPP;
    }
    if (n == 0 || n == -EIO || n == -EBADF || n == -ENXIO) {
        *ret_file_error = true;
        return n == 0 ? -ENODATA : n;
    }
    return wrote(engine, io, n, size);
}

/* ---- accepting and connecting */

static bool is_want_of_resources(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

static void dispatch_accept(struct pl_io *io)
{
    for (int i = 0; i < PL_ACCEPT_BATCH && io->flags & PL_IO_ACCEPT && !is_detached(io); i++) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof peer;
        int fd = sys_accept(io->fd, (struct sockaddr *)&peer, &size);
        if (fd == -EAGAIN) {
            return;
        }
        if (fd == -EINTR) {
            continue; /* nothing has been taken, nothing was lost */
        }
        io->handler->on_accept(io, fd, (struct sockaddr *)&peer, fd < 0 ? 0 : size);
        if (is_want_of_resources(fd)) {
            return;
        }
    }
}

static int accept_start(struct pl_engine *engine, struct pl_io *io)
{
    io->flags |= PL_IO_ACCEPT;
    return align(engine, io);
}

static int accept_stop(struct pl_engine *engine, struct pl_io *io)
{
    io->flags &= (uint8_t)~PL_IO_ACCEPT;
    return align(engine, io);
}

static void dispatch_connect(struct pl_io *io)
{
    int error = pending_error(io);
    io->flags &= (uint8_t)~PL_IO_CONNECT;
    io->handler->on_connect(io, error);
}

static int note_decided(struct pl_engine *engine, struct pl_io *io)
{
    if (engine->decided_count == engine->decided_room) {
        unsigned room = engine->decided_room ? engine->decided_room * 2 : 8;
        struct pl_io **decided = sys_realloc(engine->decided, room * sizeof(struct pl_io *));
        if (!decided) {
            return -ENOMEM;
        }
        engine->decided = decided;
        engine->decided_room = room;
    }
    engine->decided[engine->decided_count++] = io;
    return 0;
}

static void forget_decided(struct pl_engine *engine, const struct pl_io *io)
{
    for (unsigned i = 0; i < engine->decided_count; i++) {
        if (engine->decided[i] == io) {
            engine->decided[i] = NULL;
        }
    }
}

/* Refused at once: io->poll_events, which a stream does not use, keeps the errno until wait tells
 * it. */
static int connect_io(struct pl_engine *engine, struct pl_io *io, const struct sockaddr *address,
                      socklen_t size)
{
    int result = sys_connect(io->fd, address, size);
    io->flags = PL_IO_CONNECT;
    io->armed = 0;
    if (result == -EINPROGRESS || result == -EINTR) {
        return control(engine, io, EPOLL_CTL_ADD, ARMED_WRITE);
    }
    pl_assert(-result <= UINT8_MAX);
    io->poll_events = (uint8_t)-result;
    int noted = note_decided(engine, io);
    if (noted < 0) {
        return noted;
    }
    io->armed =
        ARMED_IN_SET; /* attached as far as detach is concerned; told from wait, then aligned */
    io->flags |= PL_IO_POLL; /* keeps it apart: not in the kernel's set yet */
    return 0;
}

/* A connected io that its owner left alone, or paused, has still to learn of errors (E2). */
static void enter_set(struct pl_engine *engine, struct pl_io *io)
{
    if (io->armed == 0) {
        int result = control(engine, io, EPOLL_CTL_ADD, wanted(io));
        if (result < 0 && io->handler->on_recv) {
            io->flags &= (uint8_t)~PL_IO_RECV;
            io->handler->on_recv(io, NULL, result);
        }
    }
}

__attribute__((noinline)) static int tell_decided(struct pl_engine *engine)
{
    int told = 0;
    unsigned count =
        engine->decided_count; /* a handler may connect anew: that is for the next turn */
    for (unsigned i = 0; i < count; i++) {
        struct pl_io *io = engine->decided[i];
        if (io) {
            int error = -(int)io->poll_events;
            io->flags = 0;
            io->armed = 0;
            io->poll_events = 0;
            io->handler->on_connect(io, error);
            told++;
            if (error == 0) {
                enter_set(engine, io);
            }
        }
    }
    memmove(engine->decided, engine->decided + count,
            (engine->decided_count - count) * sizeof(struct pl_io *));
    engine->decided_count -= count;
    return told;
}

/* ---- watches */

static void dispatch_poll(struct pl_engine *engine, struct pl_io *io, uint32_t events)
{
    uint32_t told = (events & EPOLLIN ? (uint32_t)PEAL_READABLE : 0) |
                    (events & EPOLLOUT ? (uint32_t)PEAL_WRITABLE : 0) |
                    (events & EPOLLHUP ? (uint32_t)PEAL_HANGUP : 0) |
                    (events & EPOLLERR ? (uint32_t)PEAL_FAULT : 0);
    told &= io->poll_events | (uint32_t)(PEAL_HANGUP | PEAL_FAULT);
    if (io->poll_events == 0) {
        park(engine, io); /* told when something is asked for again; until then it would spin */
        return;
    }
    if (told) {
        io->handler->on_poll(io, told);
    }
}

static int poll_set(struct pl_engine *engine, struct pl_io *io, uint8_t events)
{
    uint8_t before = io->poll_events;
    io->poll_events = events;
    int result = align(engine, io);
    if (result < 0) {
        io->poll_events = before;
    }
    return result;
}

/* ---- life, waiting, dispatch */

static int attach(struct pl_engine *engine, struct pl_io *io)
{
    io->armed = 0;
    return control(engine, io, EPOLL_CTL_ADD, wanted(io));
}

static bool detach(struct pl_engine *engine, struct pl_io *io)
{
    if ((io->flags & (PL_IO_CONNECT | PL_IO_POLL)) == (PL_IO_CONNECT | PL_IO_POLL)) {
        forget_decided(engine, io);
    } else {
        park(engine, io);
    }
    io->flags = 0;
    io->armed = ARMED_DETACHED;
    return true;
}

/* Whether the kernel must be told after an event: of something new to watch for always, of reading
 * no more only if this event came for it in vain, so that it does not come again (E7). */
static bool needs_align(const struct pl_io *io, uint32_t events, bool was_reading)
{
    uint8_t want = wanted(io), have = io->armed & (ARMED_READ | ARMED_WRITE);
    if (want & ~have || (have & ~want) & ARMED_WRITE) {
        return true;
    }
    return (have & ~want) & ARMED_READ && events & EPOLLIN && !was_reading;
}

static void drain_wake(struct pl_engine *engine)
{
    uint64_t count;
    ssize_t n = sys_read(engine->wake_fd, &count, sizeof count);
    (void)n; /* EAGAIN: it has been drained; EINTR: it comes again */
}

__attribute__((noinline)) static void dispatch(struct pl_engine *engine, struct pl_io *io,
                                               uint32_t events)
{
    if (io == &engine->wake_io) {
        drain_wake(engine);
        return;
    }
    if (is_detached(io)) {
        return;
    }
    bool was_reading = io->flags & PL_IO_RECV;
    if (io->flags & PL_IO_POLL) {
        dispatch_poll(engine, io, events);
    } else if (io->flags & PL_IO_ACCEPT) {
        dispatch_accept(io);
    } else if (io->flags & PL_IO_CONNECT) {
        dispatch_connect(io);
    } else if (io->handler->on_recv) {
        dispatch_stream(engine, io, events);
    } else {
        park(engine, io); /* a listener that was paused since: nobody wants this */
    }
    if (!is_detached(io) && needs_align(io, events, was_reading)) {
        int result = align(engine, io);
        if (result < 0 && io->handler->on_recv && !(io->flags & PL_IO_CONNECT)) {
            io->flags &= (uint8_t)~PL_IO_RECV;
            io->handler->on_recv(io, NULL, result); /* the kernel will not watch it any more */
        }
    }
}

/* What most events meet: an io that reads, wants nothing else, and whose kernel side agrees. Any
 * event then means to read, a fault too, and what the handler calls tells the kernel by itself. */
static inline bool is_only_reading(const struct pl_io *io)
{
    static const uint8_t only_reading[4] = {PL_IO_RECV, 0, ARMED_IN_SET | ARMED_READ, 0};
    return memcmp(&io->flags, only_reading, sizeof only_reading) == 0;
}

/* A bulk transfer gets a few reads a turn: the wait between them would cost a quarter of each. */
__attribute__((noinline)) static void receive_more(struct pl_engine *engine, struct pl_io *io)
{
    for (int i = 1; i < FULL_READS_MAX && is_only_reading(io); i++) {
        if (!receive(engine, io, engine->loop->scratch)) {
            return;
        }
    }
}

static inline void dispatch_all(struct pl_engine *engine, int count)
{
    char *scratch = engine->loop->scratch;
    const struct epoll_event *end = engine->events + count;
    for (const struct epoll_event *event = engine->events; event < end; event++) {
        struct pl_io *io = event->data.ptr;
        if (__builtin_expect(is_only_reading(io), 1)) {
            if (__builtin_expect(receive(engine, io, scratch), 0)) {
                receive_more(engine, io);
            }
        } else {
            dispatch(engine, io, event->events);
        }
    }
}

/* Some connects have been decided already: told without waiting, and before the other events. */
__attribute__((noinline)) static int wait_with_decided(struct pl_engine *engine)
{
    int count = sys_epoll_wait(engine->epoll_fd, engine->events, EVENTS_MAX, 0);
    pl_loop_awake(engine->loop);
    if (count < 0) {
        return count == -EINTR ? 0 : count;
    }
    int told = tell_decided(engine);
    dispatch_all(engine, count);
    return told + count;
}

static int wait_events(struct pl_engine *engine, int64_t timeout_ns)
{
    if (__builtin_expect(engine->decided_count > 0, 0)) {
        return wait_with_decided(engine);
    }
    int count = sys_epoll_wait(engine->epoll_fd, engine->events, EVENTS_MAX, timeout_ns);
    pl_loop_awake(engine->loop);
    if (__builtin_expect(count < 0, 0)) {
        return count == -EINTR ? 0 : count;
    }
    dispatch_all(engine, count);
    return count;
}

/* A wake-up that is lost is lost for good: whoever wakes has taken the word "asleep" back. */
static void wake(struct pl_engine *engine)
{
    const uint64_t one = 1;
    for (unsigned tries = 0; sys_write(engine->wake_fd, &one, sizeof one) < 0 && tries < WAKE_TRIES;
         tries++) {
    }
}

static void engine_free(struct pl_engine *engine)
{
    if (!engine) {
        return;
    }
    if (engine->wake_fd >= 0) {
        sys_close(engine->wake_fd);
    }
    if (engine->epoll_fd >= 0) {
        sys_close(engine->epoll_fd);
    }
    sys_free(engine->decided);
    sys_free(engine);
}

static int engine_new(struct peal_loop *loop, struct pl_engine **ret_engine)
{
    struct pl_engine *engine = sys_calloc(1, sizeof *engine);
    if (!engine) {
        return -ENOMEM;
    }
    engine->loop = loop;
    engine->wake_fd = -1;
    engine->epoll_fd = sys_epoll_create();
    int result = engine->epoll_fd < 0 ? engine->epoll_fd : 0;
    if (result == 0) {
        engine->wake_fd = sys_eventfd();
        result = engine->wake_fd < 0 ? engine->wake_fd : 0;
    }
    if (result == 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &engine->wake_io};
        result = sys_epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, engine->wake_fd, &event);
    }
    if (result < 0) {
        engine_free(engine);
        return result;
    }
    *ret_engine = engine;
    return 0;
}

const struct pl_engine_ops pl_engine_epoll = {
    .name = "epoll",
    .new = engine_new,
    .free = engine_free,
    .wait = wait_events,
    .wake = wake,
    .attach = attach,
    .detach = detach,
    .recv_start = recv_start,
    .recv_stop = recv_stop,
    .recv_rest = recv_rest,
    .send = send_some,
    .try_send = try_send,
    .tried = wrote,
    .send_file = send_file,
    .accept_start = accept_start,
    .accept_stop = accept_stop,
    .connect = connect_io,
    .poll_set = poll_set,
};
