/* SPDX-License-Identifier: BSD-2-Clause */
/* Timers of a loop: the wheel's nodes, with somebody to tell.
 *
 * A program's timer is a node with a callback, its argument and its loop. A connection's is a bare
 * node, of which there are many more: its kind says whose it is, and src/net gives one function for
 * all.
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
    return timer->node.next != NULL;
}

/* ---- nodes */

void pl_timer_cancel(struct peal_loop *loop, struct peal_timer_node *node)
{
    if (node->next) {
        pl_wheel_remove(&loop->wheel, node);
        loop->next_timer_ms = 0;
    }
}

void pl_timer_start(struct peal_loop *loop, struct peal_timer_node *node, uint64_t delay_ms)
{
    uint64_t now_ms = (sys_monotonic_ns() + 999999u) / 1000000u;
    uint64_t due_ms = delay_ms < PL_WHEEL_DUE_MAX ? now_ms + delay_ms : PL_WHEEL_DUE_MAX;
    bool alive = atomic_load_explicit(&loop->life, memory_order_relaxed) == PL_LOOP_ALIVE;
    if (node->next) {
        if (alive && pl_wheel_move_later(&loop->wheel, node, due_ms)) {
            return;
        }
        pl_wheel_remove(&loop->wheel, node);
    }
    loop->next_timer_ms = 0;
    if (alive) { /* an ending loop has no later */
        pl_wheel_add(&loop->wheel, node, due_ms);
    }
}

/* ---- the program's */

void peal_timer_cancel(struct peal_timer *timer)
{
    if (timer->node.next) {
        pl_loop_check(timer->loop, "peal_timer_cancel");
        pl_timer_cancel(timer->loop, &timer->node);
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
    pl_loop_check(timer->loop, "peal_timer_start");
    timer->period_ms = period_ms;
    pl_timer_start(timer->loop, &timer->node, delay_ms);
}

/* ---- firing */

void (*pl_timer_conn_fn)(struct peal_timer_node *node);

static void fire(struct peal_loop *loop, struct peal_timer_node *node, uint64_t now_ms)
{
    pl_count(&loop->counters.timers, 1);
    if (node->kind == PL_TIMER_CONN) {
        pl_timer_conn_fn(node);
        return;
    }
    struct peal_timer *timer = pl_container(node, struct peal_timer, node);
    if (timer->period_ms > 0) {
        uint64_t due_ms = node->due_ms, late_ms = now_ms - due_ms;
        pl_wheel_add(&loop->wheel, node,
                     due_ms + (late_ms / timer->period_ms + 1) * timer->period_ms);
    }
    timer->fn(timer, timer->user);
}

void pl_loop_run_timers(struct peal_loop *loop)
{
    struct pl_wheel *wheel = &loop->wheel;
    uint64_t now_ms = pl_loop_now_ms(loop);
    loop->next_timer_ms = 0;
    pl_wheel_advance(wheel, now_ms);
    struct peal_timer_node *node;
    while ((node = pl_wheel_take_due(wheel)) != NULL) {
        fire(loop, node, now_ms);
    }
}
