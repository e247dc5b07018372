/* SPDX-License-Identifier: BSD-2-Clause */
/* libuv: a uv_tcp_t a connection, which reads; its buffer is asked for when there is something. */
#include "micro.h"

#include <uv.h>

#define IDLE_TARGET(bytes) ((bytes)*0)
static const char idle_of[] = "libuv";
static uint64_t idle_accepted;

static uv_loop_t loop;
static uv_tcp_t listening;
static uv_timer_t limit; /* to a turn's waiting */

#include "idle.h"

static void check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
        exit(1);
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    static char bytes[65536];
    (void)handle;
    (void)size;
    *buffer = uv_buf_init(bytes, sizeof(bytes));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)buffer;
    if (size < 0) {
        uv_read_stop(stream);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    uv_tcp_t *conn = micro_alloc(1, sizeof(*conn));
    check("connection", status);
    check("uv_tcp_init", uv_tcp_init(&loop, conn));
    check("uv_accept", uv_accept(server, (uv_stream_t *)conn));
    check("uv_read_start", uv_read_start((uv_stream_t *)conn, on_alloc, on_read));
    idle_accepted++;
}

static void on_limit(uv_timer_t *timer)
{
    (void)timer;
}

static uint16_t idle_open(void)
{
    int fd = bench_listen(0, false, BENCH_ECHO);
    check("uv_loop_init", uv_loop_init(&loop));
    check("uv_timer_init", uv_timer_init(&loop, &limit));
    check("uv_timer_start", uv_timer_start(&limit, on_limit, 10, 10));
    check("uv_tcp_init", uv_tcp_init(&loop, &listening));
    check("uv_tcp_open", uv_tcp_open(&listening, fd));
    check("uv_listen", uv_listen((uv_stream_t *)&listening, BENCH_BACKLOG, on_connection));
    return bench_port(fd);
}

static void idle_turn(void)
{
    check("uv_run", uv_run(&loop, UV_RUN_ONCE));
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    idle_run();
    return 0;
}
