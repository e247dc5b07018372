/* SPDX-License-Identifier: BSD-2-Clause */
/* libuv's timers: a heap. A moved timer is stopped and started by uv_timer_start itself. */
#include "micro.h"

#include <uv.h>

#define TIMERS_TARGET(ns) ((ns)*0)
static const char timers_of[] = "libuv";
static size_t timers_fired;

static uv_loop_t loop;
static uv_timer_t *timers;
static uv_idle_t idle;
static void (*inside)(void);

static void on_timer(uv_timer_t *timer)
{
    (void)timer;
    timers_fired++;
}

static void check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
        exit(1);
    }
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle;
    inside();
}

static void timers_open(size_t count)
{
    check("uv_loop_init", uv_loop_init(&loop));
    check("uv_idle_init", uv_idle_init(&loop, &idle));
    check("uv_idle_start", uv_idle_start(&idle, on_idle));
    timers = micro_alloc(count, sizeof(*timers));
    for (size_t i = 0; i < count; i++) {
        check("uv_timer_init", uv_timer_init(&loop, &timers[i]));
    }
}

static void close_one(uv_handle_t *handle, void *user)
{
    (void)user;
    uv_close(handle, NULL);
}

static void timers_close(void)
{
    uv_walk(&loop, close_one, NULL);
    check("uv_run", uv_run(&loop, UV_RUN_DEFAULT));
    check("uv_loop_close", uv_loop_close(&loop));
    free(timers);
}

static void timers_start(size_t i, uint32_t ms)
{
    check("uv_timer_start", uv_timer_start(&timers[i], on_timer, ms, 0));
}

static void timers_move(size_t i, uint32_t ms)
{
    check("uv_timer_start", uv_timer_start(&timers[i], on_timer, ms, 0));
}

static void timers_cancel(size_t i)
{
    check("uv_timer_stop", uv_timer_stop(&timers[i]));
}

static void timers_inside(void (*fn)(void))
{
    inside = fn;
    check("uv_run", uv_run(&loop, UV_RUN_NOWAIT));
}

#include "timers.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    timers_run();
    return 0;
}
