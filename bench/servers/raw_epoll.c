/* SPDX-License-Identifier: BSD-2-Clause */
/* The yardstick: what a good programmer writes by hand with epoll(7) and nothing else, and what all
 * other servers are measured against. plain.h has the bytes; here is the waiting.
 *
 * Level triggered, one read an event. The answer is written at once, without waiting for EPOLLOUT,
 * and while the kernel does not take all of it the connection waits for EPOLLOUT instead of
 * EPOLLIN. Sockets are made nonblocking by accept4, have Nagle off from their listener, and leave
 * the epoll set by being closed. Accepting goes on until there is no more, so that a burst costs
 * one wake-up.
 *
 * It is as lean as it can be and still right: no timeouts, no accounts, no callback, no way to end
 * a connection but these. frames writes each answer with a write of its own, as a program without a
 * gathering library does; raw_epoll_gather is the same file, made to write all answers to one read
 * at once, so that nobody need take the cost of not gathering for that of the loop. LOOPS are
 * threads with an epoll set and a SO_REUSEPORT listener each. */
#include "plain.h"

#include <sys/epoll.h>

#define EVENTS_MAX 512

#ifndef GATHER
#define GATHER 0
#endif

struct conn {
    struct plain bytes;
    bool writing; /* waits for EPOLLOUT */
    size_t place; /* broadcast: in conns */
};

static enum bench_mode mode;
static struct conn **conns; /* broadcast: all of them */
static size_t conns_count;
static size_t conns_capacity;

static void join(struct conn *c)
{
    if (conns_count == conns_capacity) {
        conns_capacity = conns_capacity == 0 ? 64 : conns_capacity * 2;
        conns = plain_need(realloc(conns, conns_capacity * sizeof(struct conn *)));
    }
    c->place = conns_count;
    conns[conns_count++] = c;
}

static void end(struct conn *c)
{
    if (mode == BENCH_BROADCAST) {
        conns[c->place] = conns[--conns_count];
        conns[c->place]->place = c->place;
    }
    plain_close(&c->bytes);
    free(c);
}

/* After its bytes have moved. */
static void wait_for(int epoll, struct conn *c)
{
    bool writing = plain_waits(&c->bytes);
    if (c->writing != writing) {
        struct epoll_event event = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = c};
        c->writing = writing;
        if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->bytes.fd, &event) < 0) {
            bench_die("epoll_ctl", errno);
        }
    }
}

/* A peer that cannot be written to is broken; its own next event shows that and ends it. */
static void broadcast(int epoll, size_t times)
{
    while (times-- > 0) {
        for (size_t i = 0; i < conns_count; i++) {
            (void)plain_send(&conns[i]->bytes, bench_piece, BENCH_BLOCK_BYTES);
            wait_for(epoll, conns[i]);
        }
    }
}

static void on_event(int epoll, struct conn *c, unsigned char *scratch)
{
    size_t messages = 0;
    bool lives = c->writing ? plain_on_writable(&c->bytes)
                            : plain_on_readable(&c->bytes, mode, scratch, GATHER != 0, &messages);
    if (!lives) {
        end(c);
    } else {
        wait_for(epoll, c);
        broadcast(epoll, messages);
    }
}

static void on_acceptable(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = plain_need(calloc(1, sizeof(*c)));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->bytes.fd = fd;
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
    static _Thread_local unsigned char scratch[BENCH_READ_BYTES];
    int listener = *(int *)user;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) {
        bench_die("epoll", errno);
    }
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) {
            bench_die("epoll_wait", errno);
        }
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                on_acceptable(epoll, listener);
            } else {
                on_event(epoll, events[i].data.ptr, scratch);
            }
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    bench_begin(argc, argv, GATHER != 0 ? "raw_epoll_gather 1" : "raw_epoll 1", &args);
    mode = args.mode;
    if (mode == BENCH_BROADCAST && args.loops > 1) {
        bench_cannot("raw_epoll broadcasts on one loop only.");
    }
    bench_run(&args, serve);
    return 0;
}
