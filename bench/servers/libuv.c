/* SPDX-License-Identifier: BSD-2-Clause */
/* libuv, built twice: as libuv it sends with uv_write, as the guide's TCP echo server does, and as
 * libuv_try with uv_try_write first and uv_write for what that could not send, which the
 * documentation offers for writing without queueing.
 *
 * As the guide has it: uv_tcp_t handles with uv_listen and uv_accept, uv_read_start with an
 * allocation callback, a request on the heap for each uv_write and uv_close at the end. Other than
 * in the guide, which allocates a buffer of the suggested 64 KiB for each read, all connections
 * read into one buffer of that size, as the documentation of uv_alloc_cb allows, and a request has
 * the bytes that it sends copied behind it: measured, that is the faster way. The listener comes
 * from uv_tcp_open, so that its options are set once and accepted sockets inherit them.
 *
 * Backpressure: while more than 1 MiB is queued on a stream it is not read (uv_read_stop). source
 * has one piece queued at a time and queues the next in the write callback, in both builds:
 * uv_write tries to write at once, too. LOOPS are threads with a loop and a SO_REUSEPORT listener
 * each. */
#include "bench.h"

#include <uv.h>

#ifndef TRY_WRITE
#define TRY_WRITE 0
#endif

#define QUEUED_MAX (1U << 20)

struct conn {
    uv_tcp_t tcp; /* first: a handle is its connection */
    bool paused;
    bool ending;         /* close when everything is written */
    size_t part_size;    /* frames, source: bytes of part */
    unsigned char *part; /* the beginning of what is not yet whole */
    uint64_t left;       /* source: pieces to be sent */
    struct conn *next;   /* broadcast */
    struct conn *previous;
};

struct request {
    uv_write_t write; /* first: it is the request */
    char bytes[];
};

static enum bench_mode mode;
static struct conn *conns; /* broadcast: all of them */
static _Thread_local char scratch[BENCH_READ_BYTES];

static void *need(void *memory)
{
    if (memory == NULL) {
        bench_die("memory", ENOMEM);
    }
    return memory;
}

static void check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
        exit(1);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = (struct conn *)handle;
    free(c->part);
    free(c);
}

static void end(struct conn *c)
{
    if (uv_is_closing((uv_handle_t *)&c->tcp)) {
        return;
    }
    if (mode == BENCH_BROADCAST) {
        *(c->previous == NULL ? &conns : &c->previous->next) = c->next;
        if (c->next != NULL) {
            c->next->previous = c->previous;
        }
    }
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void start_reading(struct conn *c);
static void send_source(struct conn *c);

static void on_written(uv_write_t *write, int status)
{
    struct conn *c = (struct conn *)write->handle;
    free(write);
    if (uv_is_closing((uv_handle_t *)&c->tcp)) {
        return;
    }
    if (status < 0) {
        end(c);
    } else if (mode == BENCH_SOURCE) {
        send_source(c);
    } else if (c->ending && uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) == 0) {
        end(c);
    } else if (c->paused &&
               uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) < QUEUED_MAX / 4) {
        c->paused = false;
        start_reading(c);
    }
}

/* Bytes that stay where they are are not copied. */
static void write_bytes(struct conn *c, const void *data, size_t size, bool stay)
{
    struct request *request = need(malloc(sizeof(*request) + (stay ? 0 : size)));
    uv_buf_t buf = {.base = stay ? (char *)(uintptr_t)data : request->bytes, .len = size};
    if (!stay) {
        memcpy(request->bytes, data, size);
    }
    if (uv_write(&request->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written) < 0) {
        free(request);
        end(c);
    }
}

static void send_bytes(struct conn *c, const void *data, size_t size, bool stay)
{
    size_t sent = 0;
    if (TRY_WRITE) {
        uv_buf_t buf = {.base = (char *)(uintptr_t)data, .len = size};
        int result = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
        if (result < 0 && result != UV_EAGAIN) {
            end(c);
            return;
        }
        sent = result < 0 ? 0 : (size_t)result;
    }
    if (sent < size) {
        write_bytes(c, (const char *)data + sent, size - sent, stay);
    }
}

static void send_source(struct conn *c)
{
    if (c->left == 0) {
        end(c);
        return;
    }
    c->left--;
    write_bytes(c, bench_piece, BENCH_PIECE_BYTES, true);
}

/* Takes the whole frames off the front, and keeps the rest for the next read to go on. */
static void take_frames(struct conn *c, const unsigned char *data, size_t size)
{
    while (size >= 4 && size - 4 >= bench_u32be(data)) {
        size_t whole = bench_u32be(data) + 4;
        send_bytes(c, data, whole, false);
        data += whole;
        size -= whole;
    }
    if (size >= 4 && bench_u32be(data) > BENCH_FRAME_MAX) {
        end(c);
        return;
    }
    if (size > 0) {
        c->part = c->part == NULL ? need(malloc(BENCH_READ_BYTES)) : c->part;
        memmove(c->part, data, size);
    }
    c->part_size = size;
}

static void take_count(struct conn *c, const unsigned char *data, size_t size)
{
    c->part = c->part == NULL ? need(malloc(8)) : c->part;
    size = size < 8 - c->part_size ? size : 8 - c->part_size;
    memcpy(c->part + c->part_size, data, size);
    c->part_size += size;
    if (c->part_size == 8) {
        uv_read_stop((uv_stream_t *)&c->tcp);
        c->left = bench_u64be(c->part);
        send_source(c);
    }
}

static void broadcast(size_t times)
{
    while (times-- > 0) {
        for (struct conn *c = conns, *next; c != NULL; c = next) {
            next = c->next;
            send_bytes(c, bench_piece, BENCH_BLOCK_BYTES, true);
        }
    }
}

static void on_eof(struct conn *c)
{
    if (mode == BENCH_SINK) {
        send_bytes(c, "", 1, true);
    }
    c->ending = true;
    if (uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) == 0) {
        end(c);
    }
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct conn *c = (struct conn *)stream;
    const unsigned char *data = (const unsigned char *)buf->base;
    if (size < 0) {
        if (size == UV_EOF) {
            on_eof(c);
        } else {
            end(c);
        }
        return;
    }
    switch (mode) {
    case BENCH_ECHO:
        send_bytes(c, data, (size_t)size, false);
        break;
    case BENCH_FRAMES:
        if (c->part_size > 0) { /* it was read behind the part */
            take_frames(c, c->part, c->part_size + (size_t)size);
        } else {
            take_frames(c, data, (size_t)size);
        }
        break;
    case BENCH_SOURCE:
        take_count(c, data, (size_t)size);
        break;
    case BENCH_BROADCAST:
        broadcast((size_t)size);
        break;
    default:
        break;
    }
    if (uv_stream_get_write_queue_size(stream) > QUEUED_MAX && mode != BENCH_BROADCAST) {
        c->paused = true;
        uv_read_stop(stream);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = (struct conn *)handle;
    (void)suggested;
    buf->base = scratch;
    buf->len = sizeof(scratch);
    if (mode == BENCH_FRAMES && c->part_size > 0) {
        buf->base = (char *)c->part + c->part_size;
        buf->len = BENCH_READ_BYTES - c->part_size;
    }
}

static void start_reading(struct conn *c)
{
    check("uv_read_start", uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read));
}

static void on_connection(uv_stream_t *listener, int status)
{
    check("accept", status);
    struct conn *c = need(calloc(1, sizeof(*c)));
    check("uv_tcp_init", uv_tcp_init(listener->loop, &c->tcp));
    check("uv_accept", uv_accept(listener, (uv_stream_t *)&c->tcp));
    if (mode == BENCH_BROADCAST) {
        c->next = conns;
        if (conns != NULL) {
            conns->previous = c;
        }
        conns = c;
    }
    start_reading(c);
}

static void *serve(void *user)
{
    uv_loop_t loop;
    uv_tcp_t listener;
    check("uv_loop_init", uv_loop_init(&loop));
    check("uv_tcp_init", uv_tcp_init(&loop, &listener));
    check("uv_tcp_open", uv_tcp_open(&listener, *(int *)user));
    check("uv_listen", uv_listen((uv_stream_t *)&listener, BENCH_BACKLOG, on_connection));
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    char version[64];
    (void)snprintf(version, sizeof(version), "libuv %s", uv_version_string());
    bench_begin(argc, argv, version, &args);
    mode = args.mode;
    if (mode == BENCH_BROADCAST && args.loops > 1) {
        bench_cannot("libuv broadcasts on one loop only.");
    }
    bench_run(&args, serve);
    return 0;
}
