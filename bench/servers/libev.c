/* SPDX-License-Identifier: BSD-2-Clause */
/* libev, which only waits: the program reads and writes for itself (plain.h), as with raw_epoll.
 *
 * As its manual has it: one ev_io a connection, embedded in the connection's structure, which is
 * readable or writable but not both at a time; the loop is made with EVFLAG_AUTO, without
 * EVFLAG_SIGNALFD and the like, and its backend on Linux is epoll. A watcher's events are changed
 * by stopping it, ev_io_modify (the macro that spares the library asking the kernel twice) and
 * starting it again. ev_set_io_collect_interval is left alone: it would trade latency.
 *
 * Nagle is off by the listener, accept4 makes sockets nonblocking, and accepting goes on until
 * there is no more. LOOPS are threads with a loop of their own (ev_loop_new) and a SO_REUSEPORT
 * listener each. */
#include "plain.h"

#include <ev.h>

struct conn {
    ev_io io; /* first: a watcher is its connection */
    struct plain bytes;
    struct conn *next; /* broadcast */
    struct conn *previous;
};

static enum bench_mode mode;
static struct conn *conns; /* broadcast: all of them */
static _Thread_local unsigned char scratch[BENCH_READ_BYTES];

static void end(struct ev_loop *loop, struct conn *c)
{
    if (mode == BENCH_BROADCAST) {
        *(c->previous == NULL ? &conns : &c->previous->next) = c->next;
        if (c->next != NULL) {
            c->next->previous = c->previous;
        }
    }
    ev_io_stop(loop, &c->io);
    plain_close(&c->bytes);
    free(c);
}

/* After its bytes have moved. */
static void wait_for(struct ev_loop *loop, struct conn *c)
{
    int events = plain_waits(&c->bytes) ? EV_WRITE : EV_READ;
    if ((c->io.events & (EV_READ | EV_WRITE)) != events) {
        ev_io_stop(loop, &c->io);
        ev_io_modify(&c->io, events);
        ev_io_start(loop, &c->io);
    }
}

/* A peer that cannot be written to is broken; its own next event shows that and ends it. */
static void broadcast(struct ev_loop *loop, size_t times)
{
    while (times-- > 0) {
        for (struct conn *c = conns; c != NULL; c = c->next) {
            (void)plain_send(&c->bytes, bench_piece, BENCH_BLOCK_BYTES);
            wait_for(loop, c);
        }
    }
}

static void on_event(struct ev_loop *loop, ev_io *io, int events)
{
    struct conn *c = (struct conn *)io;
    size_t messages = 0;
    bool lives = (events & EV_WRITE) != 0
                     ? plain_on_writable(&c->bytes)
                     : plain_on_readable(&c->bytes, mode, scratch, false, &messages);
    if (!lives) {
        end(loop, c);
    } else {
        wait_for(loop, c);
        broadcast(loop, messages);
    }
}

static void on_acceptable(struct ev_loop *loop, ev_io *io, int events)
{
    int fd;
    (void)events;
    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = plain_need(calloc(1, sizeof(*c)));
        c->bytes.fd = fd;
        if (mode == BENCH_BROADCAST) {
            c->next = conns;
            if (conns != NULL) {
                conns->previous = c;
            }
            conns = c;
        }
        ev_io_init(&c->io, on_event, fd, EV_READ);
        ev_io_start(loop, &c->io);
    }
    if (errno != EAGAIN && errno != ECONNABORTED) {
        bench_die("accept4", errno);
    }
}

static void *serve(void *user)
{
    struct ev_loop *loop = plain_need(ev_loop_new(EVFLAG_AUTO));
    ev_io listener;
    ev_io_init(&listener, on_acceptable, *(int *)user, EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    char version[32];
    (void)snprintf(version, sizeof(version), "libev %d.%d", ev_version_major(), ev_version_minor());
    bench_begin(argc, argv, version, &args);
    mode = args.mode;
    if (mode == BENCH_BROADCAST && args.loops > 1) {
        bench_cannot("libev broadcasts on one loop only.");
    }
    bench_run(&args, serve);
    return 0;
}
