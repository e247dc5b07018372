/* SPDX-License-Identifier: BSD-2-Clause */
/* libev's timers: a heap of four children a node. A moved one repeats, and ev_timer_again is what
 * its manual recommends. */
#include "micro.h"

#include <ev.h>

#define TIMERS_TARGET(ns) ((ns)*0)
static const char timers_of[] = "libev";
static size_t timers_fired;

static struct ev_loop *loop;
static ev_timer *timers;
static ev_prepare turn;
static void (*inside)(void);

static void on_timer(struct ev_loop *of, ev_timer *timer, int what)
{
    (void)of;
    (void)timer;
    (void)what;
    timers_fired++;
}

static void on_turn(struct ev_loop *of, ev_prepare *watcher, int what)
{
    (void)of;
    (void)watcher;
    (void)what;
    inside();
}

static void timers_open(size_t count)
{
    loop = ev_loop_new(EVFLAG_AUTO);
    if (loop == NULL) {
        micro_die("ev_loop_new");
    }
    ev_prepare_init(&turn, on_turn);
    ev_prepare_start(loop, &turn);
    timers = micro_alloc(count, sizeof(*timers));
    for (size_t i = 0; i < count; i++) {
        ev_timer_init(&timers[i], on_timer, 0., 0.);
    }
}

static void timers_close(void)
{
    ev_loop_destroy(loop);
    free(timers);
}

static void timers_start(size_t i, uint32_t ms)
{
    ev_timer_set(&timers[i], ms * 1e-3, 0.);
    ev_timer_start(loop, &timers[i]);
}

static void timers_move(size_t i, uint32_t ms)
{
    timers[i].repeat = ms * 1e-3;
    ev_timer_again(loop, &timers[i]);
}

static void timers_cancel(size_t i)
{
    ev_timer_stop(loop, &timers[i]);
}

static void timers_inside(void (*fn)(void))
{
    inside = fn;
    ev_run(loop, EVRUN_NOWAIT);
}

#include "timers.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    timers_run();
    return 0;
}
