/* SPDX-License-Identifier: BSD-2-Clause */
/* The yardstick: what a good programmer writes by hand with epoll(7) and nothing else, and what all
 * other servers are measured against.
 *
 * Level triggered, as select_tut and the first half of epoll(7) have it. One read an event, into a
 * scratch buffer that all connections share; the answer is written at once, and only what the
 * kernel does not take is kept, in memory of the connection's own. While something is kept the
 * connection waits for EPOLLOUT instead of EPOLLIN, so a peer that does not read is not read
 * either. Sockets are made nonblocking by accept4, have Nagle off from their listener, and leave
 * the epoll set by being closed. Accepting goes on until there is no more, so that a burst costs
 * one wake-up.
 *
 * It is as lean as it can be and still right: no timeouts, no accounts, no callback, no way to end
 * a connection but these. frames writes each answer with a write of its own, as a program without a
 * gathering library does; raw_epoll_gather is the same file, made to write all answers to one read
 * at once, so that nobody need take the cost of not gathering for that of the loop. LOOPS are
 * threads with an epoll set and a SO_REUSEPORT listener each. */
#include "bench.h"

#include <sys/epoll.h>

#define EVENTS_MAX 512

#ifndef GATHER
#define GATHER 0
#endif

struct conn {
    int fd;
    bool writing; /* waits for EPOLLOUT */
    size_t out_begin;
    size_t out_size; /* kept for the kernel, of out */
    unsigned char *out;
    size_t out_capacity;
    unsigned char *part; /* frames, source: the beginning of what is not yet whole */
    size_t part_size;
    uint64_t left; /* source: bytes still to be sent */
    size_t place;  /* broadcast: in conns */
};

static enum bench_mode mode;
static struct conn **conns; /* broadcast: all of them */
static size_t conns_count;
static size_t conns_capacity;

static void *need(void *memory)
{
    if (memory == NULL) {
        bench_die("memory", ENOMEM);
    }
    return memory;
}

static void join(struct conn *c)
{
    if (conns_count == conns_capacity) {
        conns_capacity = conns_capacity == 0 ? 64 : conns_capacity * 2;
        conns = need(realloc(conns, conns_capacity * sizeof(struct conn *)));
    }
    c->place = conns_count;
    conns[conns_count++] = c;
}

/* Called once for each connection, and not while something else may still name it. */
static void end(struct conn *c)
{
    if (mode == BENCH_BROADCAST) {
        conns[c->place] = conns[--conns_count];
        conns[c->place]->place = c->place;
    }
    close(c->fd);
    free(c->out);
    free(c->part);
    free(c);
}

static void wait_for(int epoll, struct conn *c, uint32_t what)
{
    struct epoll_event event = {.events = what, .data.ptr = c};
    c->writing = what == EPOLLOUT;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event) < 0) {
        bench_die("epoll_ctl", errno);
    }
}

static void keep(struct conn *c, const unsigned char *data, size_t size)
{
    if (c->out_begin + c->out_size + size > c->out_capacity) {
        unsigned char *larger = need(malloc((c->out_size + size) * 2));
        if (c->out_size > 0) {
            memcpy(larger, c->out + c->out_begin, c->out_size);
        }
        free(c->out);
        c->out = larger;
        c->out_begin = 0;
        c->out_capacity = (c->out_size + size) * 2;
    }
    memcpy(c->out + c->out_begin + c->out_size, data, size);
    c->out_size += size;
}

/* False: the connection is broken. */
static bool send_now(struct conn *c, const unsigned char *data, size_t size)
{
    if (c->out_size == 0) {
        ssize_t sent = write(c->fd, data, size);
        if (sent == (ssize_t)size) {
            return true;
        }
        if (sent < 0) {
            if (errno != EAGAIN) {
                return false;
            }
            sent = 0;
        }
        data += sent;
        size -= (size_t)sent;
    }
    keep(c, data, size);
    return true;
}

/* The frames at the beginning of data that are whole: their bytes, or -1 if one is too large. */
static ssize_t answer_frames(struct conn *c, const unsigned char *data, size_t size)
{
    size_t done = 0;
    while (size - done >= 4) {
        uint32_t body = bench_u32be(data + done);
        if (body > BENCH_FRAME_MAX) {
            return -1;
        }
        if (size - done - 4 < body) {
            break;
        }
        if (!GATHER && !send_now(c, data + done, body + 4)) {
            return -1;
        }
        done += body + 4;
    }
    if (GATHER && done > 0 && !send_now(c, data, done)) {
        return -1;
    }
    return (ssize_t)done;
}

static bool take_frames(struct conn *c, const unsigned char *data, size_t size)
{
    ssize_t done = answer_frames(c, data, size);
    if (done < 0) {
        return false;
    }
    size -= (size_t)done;
    if (size > 0) {
        if (c->part == NULL) {
            c->part = need(malloc(BENCH_READ_BYTES));
        }
        memmove(c->part, data + done, size);
    }
    c->part_size = size;
    return true;
}

/* One piece a time, so that others get their turn: the level tells when there is room again. */
static bool send_source(int epoll, struct conn *c)
{
    size_t at = (BENCH_PIECE_BYTES - c->left % BENCH_PIECE_BYTES) % BENCH_PIECE_BYTES;
    ssize_t sent = c->left == 0 ? 0 : write(c->fd, bench_piece + at, BENCH_PIECE_BYTES - at);
    if (sent < 0) {
        return errno == EAGAIN;
    }
    c->left -= (uint64_t)sent;
    if (c->left > 0 && !c->writing) {
        wait_for(epoll, c, EPOLLOUT);
    }
    return c->left > 0;
}

static bool take_count(int epoll, struct conn *c, const unsigned char *data, size_t size)
{
    c->part = c->part == NULL ? need(malloc(8)) : c->part;
    size = size < 8 - c->part_size ? size : 8 - c->part_size;
    memcpy(c->part + c->part_size, data, size);
    c->part_size += size;
    if (c->part_size < 8) {
        return true;
    }
    c->left = bench_u64be(c->part) * BENCH_PIECE_BYTES;
    return send_source(epoll, c);
}

/* A peer that cannot be written to is broken; its own next event shows that and ends it. */
static void broadcast(int epoll, size_t times)
{
    while (times-- > 0) {
        for (size_t i = 0; i < conns_count; i++) {
            struct conn *c = conns[i];
            (void)send_now(c, bench_piece, BENCH_BLOCK_BYTES);
            if (c->out_size > 0 && !c->writing) {
                wait_for(epoll, c, EPOLLOUT);
            }
        }
    }
}

static bool take(int epoll, struct conn *c, const unsigned char *data, size_t size)
{
    switch (mode) {
    case BENCH_ECHO:
        return send_now(c, data, size);
    case BENCH_FRAMES:
        return take_frames(c, data, size);
    case BENCH_SOURCE:
        return take_count(epoll, c, data, size);
    case BENCH_BROADCAST:
        broadcast(epoll, size);
        return true;
    default:
        return true;
    }
}

static void on_readable(int epoll, struct conn *c, unsigned char *scratch)
{
    unsigned char *data = scratch;
    ssize_t size;
    if (c->part_size > 0 && mode == BENCH_FRAMES) {
        data = c->part;
        size = read(c->fd, data + c->part_size, BENCH_READ_BYTES - c->part_size);
    } else {
        size = read(c->fd, data, BENCH_READ_BYTES);
    }
    if (size > 0) {
        size_t whole = (size_t)size + (data == scratch ? 0 : c->part_size);
        if (!take(epoll, c, data, whole)) {
            end(c);
        } else if (c->out_size > 0 && !c->writing) {
            wait_for(epoll, c, EPOLLOUT);
        }
    } else if (size == 0 || errno != EAGAIN) {
        if (size == 0 && mode == BENCH_SINK) {
            (void)send_now(c, bench_piece, 1);
        }
        end(c);
    }
}

static void on_writable(int epoll, struct conn *c)
{
    if (mode == BENCH_SOURCE) {
        if (!send_source(epoll, c)) {
            end(c);
        }
        return;
    }
    ssize_t sent = write(c->fd, c->out + c->out_begin, c->out_size);
    if (sent < 0) {
        if (errno != EAGAIN) {
            end(c);
        }
        return;
    }
    c->out_begin += (size_t)sent;
    c->out_size -= (size_t)sent;
    if (c->out_size == 0) {
        free(c->out);
        c->out = NULL;
        c->out_begin = c->out_capacity = 0;
        wait_for(epoll, c, EPOLLIN);
    }
}

static void on_acceptable(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = need(calloc(1, sizeof(*c)));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->fd = fd;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
            bench_die("epoll_ctl", errno);
        }
        if (mode == BENCH_BROADCAST) {
            join(c);
        }
    }
    if (errno != EAGAIN && errno != ECONNABORTED) {
        bench_die("accept4", errno);
    }
}

static void *serve(void *user)
{
    static _Thread_local struct epoll_event events[EVENTS_MAX];
    int listener = *(int *)user;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    unsigned char *scratch = need(malloc(BENCH_READ_BYTES));
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) {
        bench_die("epoll", errno);
    }
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) {
            bench_die("epoll_wait", errno);
        }
        for (int i = 0; i < count; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL) {
                on_acceptable(epoll, listener);
            } else if (c->writing) {
                on_writable(epoll, c);
            } else {
                on_readable(epoll, c, scratch);
            }
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    bench_begin(argc, argv, "raw_epoll 1", &args);
    mode = args.mode;
    if (mode == BENCH_BROADCAST && args.loops > 1) {
        bench_cannot("raw_epoll broadcasts on one loop only.");
    }
    bench_run(&args, serve);
    return 0;
}
