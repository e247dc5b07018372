/* SPDX-License-Identifier: BSD-2-Clause */
/* libuv: a locked queue and uv_async_send, which merges calls until the loop has woken. */
#include "posts.h"

#include <uv.h>

#define POSTS_TARGET(ns) ((ns)*0)
static const char posts_of[] = "libuv";

static uv_loop_t loop;
static uv_async_t wake;

static void check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
        exit(1);
    }
}

static void on_wake(uv_async_t *handle)
{
    (void)handle;
    posts_drain();
}

static void posts_open(void)
{
    check("uv_loop_init", uv_loop_init(&loop));
    check("uv_async_init", uv_async_init(&loop, &wake, on_wake));
}

static void posts_close(void)
{
    uv_close((uv_handle_t *)&wake, NULL);
    check("uv_run", uv_run(&loop, UV_RUN_DEFAULT));
    check("uv_loop_close", uv_loop_close(&loop));
}

static void task(void *user)
{
    (void)user;
    if (posts_ran()) {
        uv_stop(&loop);
    }
}

static void posts_one(void)
{
    posts_push(task, NULL);
    check("uv_async_send", uv_async_send(&wake));
}

static void posts_serve(void)
{
    check("uv_run", uv_run(&loop, UV_RUN_DEFAULT));
}

#include "posts_run.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    posts_run();
    return 0;
}
