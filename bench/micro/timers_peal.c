/* SPDX-License-Identifier: BSD-2-Clause */
/* Peal's timers. They are the loop's, whatever its engine, so one engine is enough. Starting a
 * timer reads the real clock: that is part of the cost. */
#include "micro.h"

#include <peal.h>

#define TIMERS_TARGET(ns) (ns)
static const char timers_of[] = "Peal epoll";
static size_t timers_fired;

static struct peal_loop *loop;
static struct peal_timer *timers;

static void on_timer(struct peal_timer *timer, void *user)
{
    (void)timer;
    (void)user;
    timers_fired++;
}

static void check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, peal_strerror(result));
        exit(1);
    }
}

static void timers_open(size_t count)
{
    struct peal_loop_options options = {.engine = "epoll"};
    check("peal_loop_new", peal_loop_new(&options, &loop));
    timers = micro_alloc(count, sizeof(*timers));
    for (size_t i = 0; i < count; i++) {
        peal_timer_init(&timers[i], loop, on_timer, NULL);
    }
}

static void timers_close(void)
{
    peal_loop_free(loop);
    free(timers);
}

static void timers_start(size_t i, uint32_t ms)
{
    peal_timer_start(&timers[i], ms, 0);
}

static void timers_move(size_t i, uint32_t ms)
{
    peal_timer_start(&timers[i], ms, 0);
}

static void timers_cancel(size_t i)
{
    peal_timer_cancel(&timers[i]);
}

static void call(void *fn)
{
    (*(void (**)(void))fn)();
}

static void timers_inside(void (*fn)(void))
{
    check("peal_loop_defer", peal_loop_defer(loop, call, &fn));
    check("peal_loop_turn", peal_loop_turn(loop, 0));
}

#include "timers.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    timers_run();
    return 0;
}
