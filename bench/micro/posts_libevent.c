/* SPDX-License-Identifier: BSD-2-Clause */
/* libevent: a locked queue and event_active on an event of no file descriptor, with the locks that
 * evthread_use_pthreads gives the base. */
#include "posts.h"

#include <event2/event.h>
#include <event2/thread.h>

#define POSTS_TARGET(ns) ((ns)*0)
static const char posts_of[] = "libevent";

static struct event_base *base;
static struct event *wake;

static void on_wake(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    (void)user;
    posts_drain();
}

static void check(const char *what, bool good)
{
    if (!good) {
        micro_die(what);
    }
}

static void posts_open(void)
{
    check("evthread_use_pthreads", evthread_use_pthreads() == 0);
    base = event_base_new();
    check("event_base_new", base != NULL);
    wake = event_new(base, -1, EV_PERSIST, on_wake, NULL);
    check("event_new", wake != NULL && event_add(wake, NULL) == 0);
}

static void posts_close(void)
{
    event_free(wake);
    event_base_free(base);
}

static void task(void *user)
{
    (void)user;
    if (posts_ran()) {
        check("event_base_loopbreak", event_base_loopbreak(base) == 0);
    }
}

static void posts_one(void)
{
    posts_push(task, NULL);
    event_active(wake, 0, 0);
}

static void posts_serve(void)
{
    check("event_base_loop", event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
}

#include "posts_run.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    posts_run();
    return 0;
}
