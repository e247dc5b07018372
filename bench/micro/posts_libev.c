/* SPDX-License-Identifier: BSD-2-Clause */
/* libev: a locked queue and ev_async_send, which merges calls until the loop has woken. */
#include "posts.h"

#include <ev.h>

#define POSTS_TARGET(ns) ((ns)*0)
static const char posts_of[] = "libev";

static struct ev_loop *loop;
static ev_async wake;

static void on_wake(struct ev_loop *of, ev_async *watcher, int what)
{
    (void)of;
    (void)watcher;
    (void)what;
    posts_drain();
}

static void posts_open(void)
{
    loop = ev_loop_new(EVFLAG_AUTO);
    if (loop == NULL) {
        micro_die("ev_loop_new");
    }
    ev_async_init(&wake, on_wake);
    ev_async_start(loop, &wake);
}

static void posts_close(void)
{
    ev_loop_destroy(loop);
}

static void task(void *user)
{
    (void)user;
    if (posts_ran()) {
        ev_break(loop, EVBREAK_ALL);
    }
}

static void posts_one(void)
{
    posts_push(task, NULL);
    ev_async_send(loop, &wake);
}

static void posts_serve(void)
{
    ev_run(loop, 0);
}

#include "posts_run.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    posts_run();
    return 0;
}
