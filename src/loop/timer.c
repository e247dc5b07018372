/* SPDX-License-Identifier: BSD-2-Clause */
/* Timers of a loop: the wheel's items, with a callback.
 *
 * The wheel counts whole milliseconds of the monotonic clock. A timer's moment is reckoned from the
 * real clock at the time of the call, rounded up, and the wheel is advanced to the turn's clock,
 * rounded down: so none fires early, however long the turn in which it was started has been going
 * on. The wall clock is not asked, so its jumps move nothing (hazard 34).
 *
 * A timer that is due is taken off the list before its callback runs, so the callback may start,
 * cancel or free it; one that is cancelled by the callback of another that is due in the same batch
 * is taken off the list there, and does not fire (hazard 31). */
#include "loop/loop.h"

#include "base/assert.h"

#include <string.h>

void peal_timer_init(struct peal_timer *timer, struct peal_loop *loop, peal_timer_fn fn, void *user)
{
    memset(timer, 0, sizeof *timer);
    timer->loop = loop;
    timer->fn = fn;
    timer->user = user;
}

bool peal_timer_is_armed(const struct peal_timer *timer)
{
    return timer->next != NULL;
}

void peal_timer_cancel(struct peal_timer *timer)
{
    if (timer->next) {
        pl_loop_check(timer->loop, "peal_timer_cancel");
        pl_wheel_remove(&timer->loop->wheel, timer);
        timer->loop->next_timer_ms = 0;
    }
}

void peal_timer_deinit(struct peal_timer *timer)
{
    if (timer) {
        peal_timer_cancel(timer);
        timer->loop = NULL;
    }
}

void peal_timer_start(struct peal_timer *timer, uint64_t delay_ms, uint32_t period_ms)
{
    struct peal_loop *loop = timer->loop;
    pl_loop_check(loop, "peal_timer_start");
    peal_timer_cancel(timer);
    uint64_t now_ms = (sys_monotonic_ns() + 999999u) / 1000000u;
    timer->period_ms = period_ms;
    if (atomic_load_explicit(&loop->life, memory_order_relaxed) ==
        PL_LOOP_ALIVE) { /* an ending loop has no later */
        loop->next_timer_ms = 0;
        pl_wheel_add(&loop->wheel, timer,
                     delay_ms < UINT64_MAX / 4 ? now_ms + delay_ms : UINT64_MAX / 4);
    }
}

static void fire(struct peal_loop *loop, struct peal_timer *timer, uint64_t now_ms)
{
    if (timer->period_ms > 0) {
        uint64_t late_ms = now_ms - timer->due_ms;
        pl_wheel_add(&loop->wheel, timer,
                     timer->due_ms + (late_ms / timer->period_ms + 1) * timer->period_ms);
    }
    pl_count(&loop->counters.timers, 1);
    timer->fn(timer, timer->user);
}

void pl_loop_run_timers(struct peal_loop *loop)
{
    struct pl_wheel *wheel = &loop->wheel;
    uint64_t now_ms = pl_loop_now_ms(loop);
    loop->next_timer_ms = 0;
    pl_wheel_advance(wheel, now_ms);
    struct peal_timer *timer;
    while ((timer = pl_wheel_take_due(wheel)) != NULL) {
        fire(loop, timer, now_ms);
    }
}
