/* SPDX-License-Identifier: BSD-2-Clause */
/* libevent, with what its book recommends for streams: bufferevents (bufferevent_socket_new with
 * BEV_OPT_CLOSE_ON_FREE) and an evconnlistener.
 *
 * echo moves the input to the output with evbuffer_add_buffer, which copies nothing, as the book's
 * echo server does. frames looks at each frame with evbuffer_pullup and answers with
 * bufferevent_write. source adds the piece by reference and adds the next in the write callback,
 * that is, when the output is empty; the limit of 16 KiB to one write is lifted for it. A
 * bufferevent writes when epoll says that it can, after the callback; the library reads at most 4
 * KiB at a time, which a program cannot change in this version.
 *
 * Backpressure: with more than 1 MiB of output, reading is disabled until all is written. The base
 * has EVENT_BASE_FLAG_NOLOCK, as each belongs to one thread. EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST,
 * which the manual offers for speed, is set: it saves half of the epoll_ctl calls. Nagle is off by
 * the listener. LOOPS are threads with a base and a SO_REUSEPORT listener each. */
#include "bench.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#define OUTPUT_MAX (1U << 20)

struct conn {
    struct bufferevent *stream;
    bool ending;   /* free when everything is written */
    uint64_t left; /* source: pieces to be sent */
    struct conn *next;
    struct conn *previous;
};

static enum bench_mode mode;
static struct conn *conns; /* broadcast: all of them */

static void *need(void *memory)
{
    if (memory == NULL) {
        bench_die("libevent", ENOMEM);
    }
    return memory;
}

static void check(const char *what, int result)
{
    if (result < 0) {
        bench_die(what, errno);
    }
}

static void end(struct conn *c)
{
    if (mode == BENCH_BROADCAST) {
        *(c->previous == NULL ? &conns : &c->previous->next) = c->next;
        if (c->next != NULL) {
            c->next->previous = c->previous;
        }
    }
    bufferevent_free(c->stream);
    free(c);
}

static void take_frames(struct conn *c, struct evbuffer *input)
{
    unsigned char *head;
    while (evbuffer_get_length(input) >= 4 && (head = evbuffer_pullup(input, 4)) != NULL) {
        size_t whole = (size_t)bench_u32be(head) + 4;
        if (whole > BENCH_FRAME_MAX + 4) {
            end(c);
            return;
        }
        if (evbuffer_get_length(input) < whole) {
            return;
        }
        check("write",
              bufferevent_write(c->stream, need(evbuffer_pullup(input, (ssize_t)whole)), whole));
        check("drain", evbuffer_drain(input, whole));
    }
}

static void send_source(struct conn *c)
{
    if (c->left == 0) {
        end(c);
        return;
    }
    c->left--;
    check("add", evbuffer_add_reference(bufferevent_get_output(c->stream), bench_piece,
                                        BENCH_PIECE_BYTES, NULL, NULL));
}

static void take_count(struct conn *c, struct evbuffer *input)
{
    unsigned char count[8];
    if (evbuffer_get_length(input) >= 8) {
        check("remove", evbuffer_remove(input, count, 8));
        check("disable", bufferevent_disable(c->stream, EV_READ));
        check("limit", bufferevent_set_max_single_write(c->stream, BENCH_PIECE_BYTES));
        c->left = bench_u64be(count);
        send_source(c);
    }
}

static void broadcast(struct evbuffer *input)
{
    size_t times = evbuffer_get_length(input);
    check("drain", evbuffer_drain(input, times));
    while (times-- > 0) {
        for (struct conn *c = conns; c != NULL; c = c->next) {
            check("write", bufferevent_write(c->stream, bench_piece, BENCH_BLOCK_BYTES));
        }
    }
}

static void on_read(struct bufferevent *stream, void *user)
{
    struct conn *c = user;
    struct evbuffer *input = bufferevent_get_input(stream);
    struct evbuffer *output = bufferevent_get_output(stream);
    switch (mode) {
    case BENCH_FRAMES:
        take_frames(c, input);
        return;
    case BENCH_SINK:
        check("drain", evbuffer_drain(input, evbuffer_get_length(input)));
        return;
    case BENCH_SOURCE:
        take_count(c, input);
        return;
    case BENCH_BROADCAST:
        broadcast(input);
        return;
    default:
        check("add", evbuffer_add_buffer(output, input));
        if (evbuffer_get_length(output) > OUTPUT_MAX) {
            check("disable", bufferevent_disable(stream, EV_READ));
        }
    }
}

/* All output is written. */
static void on_write(struct bufferevent *stream, void *user)
{
    struct conn *c = user;
    if (mode == BENCH_SOURCE) {
        send_source(c);
    } else if (c->ending) {
        end(c);
    } else if ((bufferevent_get_enabled(stream) & EV_READ) == 0) {
        check("enable", bufferevent_enable(stream, EV_READ));
    }
}

static void on_event(struct bufferevent *stream, short what, void *user)
{
    struct conn *c = user;
    if ((what & BEV_EVENT_EOF) == 0) {
        end(c);
        return;
    }
    if (mode == BENCH_SINK) {
        check("write", bufferevent_write(stream, "", 1));
    }
    c->ending = true;
    if (evbuffer_get_length(bufferevent_get_output(stream)) == 0) {
        end(c);
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
                      int size, void *user)
{
    struct conn *c = need(calloc(1, sizeof(*c)));
    (void)listener;
    (void)peer;
    (void)size;
    c->stream = need(bufferevent_socket_new(user, fd, BEV_OPT_CLOSE_ON_FREE));
    if (mode == BENCH_BROADCAST) {
        c->next = conns;
        if (conns != NULL) {
            conns->previous = c;
        }
        conns = c;
    }
    bufferevent_setcb(c->stream, on_read, on_write, on_event, c);
    check("enable", bufferevent_enable(c->stream, EV_READ));
}

static void *serve(void *user)
{
    struct event_config *config = need(event_config_new());
    check("config", event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK |
                                                      EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST));
    struct event_base *base = need(event_base_new_with_config(config));
    need(evconnlistener_new(base, on_accept, base, LEV_OPT_CLOSE_ON_FREE, 0, *(int *)user));
    event_base_dispatch(base);
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    char version[64];
    (void)snprintf(version, sizeof(version), "libevent %s", event_get_version());
    bench_begin(argc, argv, version, &args);
    mode = args.mode;
    if (mode == BENCH_BROADCAST && args.loops > 1) {
        bench_cannot("libevent broadcasts on one loop only.");
    }
    bench_run(&args, serve);
    return 0;
}
