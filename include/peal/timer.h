/* SPDX-License-Identifier: BSD-2-Clause */
/* Timers: a callback on the loop's thread at a moment of the monotonic clock.
 *
 * The storage is the caller's (a field of your own structure), so starting and cancelling allocate
 * nothing and cannot fail. A timer is armed or it is not; start on an armed timer moves it; cancel
 * on one that is not armed does nothing, whether it has fired, was cancelled or was never started.
 * A timer cancelled while due in the same batch does not fire. Resolution is one millisecond; a
 * timer never fires early.
 *
 *     static void tick(struct peal_timer *timer, void *user) { puts("tick"); }
 *
 *     struct peal_timer timer;
 *     peal_timer_init(&timer, loop, tick, NULL);
 *     peal_timer_start(&timer, 100, 1000);    // in 0.1 s, then every second
 *     ...
 *     peal_timer_deinit(&timer);              // before its storage goes
 */
#ifndef PEAL_TIMER_H
#define PEAL_TIMER_H

#include <peal/base.h>

PEAL_BEGIN

struct peal_loop;
struct peal_timer;

typedef void (*peal_timer_fn)(struct peal_timer *timer, void *user);

/* The fields are private; the structures are public so that they can be a part of yours. */
struct peal_timer_node {
    struct peal_timer_node *next, *prev; /* in a slot of the wheel; NULL while not armed */
    uint64_t due_ms : 48, slot : 11, kind : 5;
};
struct peal_timer {
    struct peal_timer_node node;
    peal_timer_fn fn;
    void *user;
    struct peal_loop *loop;
    uint32_t period_ms;
};

/* Makes a timer, not armed. All calls on it: the loop's thread. It must not be armed when its
 * storage goes. A loop that ends disarms the timers that it still has; once it is freed, only
 * cancel and deinit may be called. */
PEAL_API void peal_timer_init(struct peal_timer *timer, struct peal_loop *loop, peal_timer_fn fn,
                              void *user);

/* Cancels, and forgets the loop. NULL and zeroed storage are allowed. */
PEAL_API void peal_timer_deinit(struct peal_timer *timer);

/* Fires after delay_ms from now (the real clock, not the turn's), then every period_ms, without
 * drift, if that is not 0. Periods that passed while the loop was busy are skipped, not made up
 * for. */
PEAL_API void peal_timer_start(struct peal_timer *timer, uint64_t delay_ms, uint32_t period_ms);

PEAL_API void peal_timer_cancel(struct peal_timer *timer);
PEAL_API bool peal_timer_is_armed(const struct peal_timer *timer);

PEAL_END
#endif
