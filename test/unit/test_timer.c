/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, time-outs would come early, drift, fire after they were cancelled (hazards 31 and
 * 32), or touch storage that is gone. */
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"

#include <peal.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void spin_ms(unsigned duration_ms)
{
    uint64_t until_ns = clock_ns() + duration_ms * 1000000ull;
    while (clock_ns() < until_ns) {
    }
}

/* A timer that counts, and does what it is told to when it fires. */
struct clock {
    struct peal_timer timer; /* the first member */
    unsigned fired;
    uint64_t started_ns, delay_ms, fired_ns;
    unsigned order; /* when it last fired, among all */
    void (*also)(struct clock *clock);
    struct clock *other;
};

static struct peal_loop *loop;
static unsigned fired_all;

static void on_timer(struct peal_timer *timer, void *user)
{
    struct clock *clock = user;
    assert_ptr_equal(timer, &clock->timer);
    assert_ptr_equal(peal_loop_current(), loop);
    assert_int_equal(peal_timer_is_armed(timer), timer->period_ms > 0);
    clock->fired_ns = clock_ns();
    assert_true(clock->fired_ns >= clock->started_ns + clock->delay_ms * 1000000u); /* not early */
    clock->fired++;
    clock->order = ++fired_all;
    if (clock->also) {
        clock->also(clock);
    }
}

static void clock_init(struct clock *clock)
{
    memset(clock, 0, sizeof *clock);
    peal_timer_init(&clock->timer, loop, on_timer, clock);
    assert_false(peal_timer_is_armed(&clock->timer));
}

static void clock_start(struct clock *clock, uint64_t delay_ms, uint32_t period_ms)
{
    clock->started_ns = clock_ns();
    clock->delay_ms = delay_ms;
    peal_timer_start(&clock->timer, delay_ms, period_ms);
    assert_true(peal_timer_is_armed(&clock->timer));
}

static void until_fired(struct clock *clock, unsigned times)
{
    while (clock->fired < times) { /* a hang is ended by the test's time limit */
        assert_int_equal(peal_loop_turn(loop, -1), 1);
    }
}

static int setup(void **state)
{
    baseline_setup(state);
    fired_all = 0;
    return peal_loop_new(NULL, &loop);
}

static int teardown(void **state)
{
    peal_loop_free(loop);
    return baseline_teardown(state);
}

/* ---- when */

static void none_is_early_and_none_is_forgotten(void **state)
{
    enum { COUNT = 60 };
    static struct clock clocks[COUNT];
    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        clock_init(&clocks[i]);
        clock_start(&clocks[i], i * 7 % COUNT / 2, 0);
        usleep(i * 13 % 200); /* at all fractions of a millisecond */
    }
    for (unsigned i = 0; i < COUNT; i++) {
        until_fired(&clocks[i], 1);
    }
    assert_int_equal(peal_loop_turn(loop, 40), 1);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(clocks[i].fired, 1);
        assert_false(peal_timer_is_armed(&clocks[i].timer));
    }
}

static void those_of_one_batch_come_in_the_order_of_their_moments(void **state)
{
    struct clock clocks[4];
    static const uint64_t delays_ms[] = {90, 30, 60,
                                         30}; /* far apart: starting takes a while, too */
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        clock_init(&clocks[i]);
        clock_start(&clocks[i], delays_ms[i], 0);
    }
    spin_ms(100);
    assert_int_equal(peal_loop_turn(loop, -1), 1);
    assert_int_equal(fired_all, 4);
    assert_int_equal(clocks[1].order, 1);
    assert_int_equal(clocks[3].order, 2);
    assert_int_equal(clocks[2].order, 3);
    assert_int_equal(clocks[0].order, 4);
}

static struct clock late;

static void start_late(void *user)
{
    (void)user;
    spin_ms(20);
    clock_start(&late, 5, 0); /* from now, not from when the turn began: on_timer checks */
}

static void a_delay_counts_from_the_real_clock(void **state)
{
    (void)state;
    clock_init(&late);
    assert_int_equal(peal_loop_post(loop, start_late, NULL), 0);
    until_fired(&late, 1);
}

static void restart_at_once(struct clock *clock)
{
    if (clock->fired < 5) {
        clock_start(clock, 0, 0);
    }
}

static void no_delay_means_the_next_millisecond(void **state)
{
    struct clock clock;
    uint64_t turns_before;
    struct peal_loop_stats stats;
    (void)state;
    clock_init(&clock);
    clock.also = restart_at_once;
    peal_loop_get_stats(loop, &stats);
    turns_before = stats.turns;
    clock_start(&clock, 0, 0);
    until_fired(&clock, 5);
    peal_loop_get_stats(loop, &stats);
    assert_true(stats.turns - turns_before >= 5); /* not five times in one batch */
    assert_int_equal(stats.timers, 5);
}

static void a_start_moves_what_is_armed(void **state)
{
    struct clock sooner, later, cancelled;
    (void)state;
    clock_init(&sooner);
    clock_init(&later);
    clock_init(&cancelled);
    clock_start(&sooner, 3600 * 1000, 0);
    clock_start(&sooner, 2, 0);
    clock_start(&later, 1, 0);
    clock_start(&later, 20, 0);
    clock_start(&cancelled, 1, 1);
    peal_timer_cancel(&cancelled.timer);
    peal_timer_cancel(&cancelled.timer);
    until_fired(&later, 1);
    assert_int_equal(sooner.fired, 1);
    assert_int_equal(later.fired, 1);
    assert_int_equal(cancelled.fired, 0);
}

static void what_lies_beyond_all_time_never_comes(void **state)
{
    struct clock never, far, near;
    (void)state;
    clock_init(&never);
    clock_init(&far);
    clock_init(&near);
    clock_start(&never, UINT64_MAX, 0);
    clock_start(&far, UINT64_MAX / 8, 0);
    never.delay_ms = far.delay_ms = 0;
    assert_int_equal(peal_loop_turn(loop, 5), 1);
    clock_start(&near, 5, 0);
    until_fired(&near, 1);
    assert_int_equal(fired_all, 1);
    peal_timer_deinit(&never.timer);
    peal_timer_deinit(&far.timer);
}

/* ---- periods */

static void a_period_does_not_drift(void **state)
{
    enum { PERIOD_MS = 3, TIMES = 20 };
    struct clock clock;
    (void)state;
    clock_init(&clock);
    clock_start(&clock, 4, PERIOD_MS);
    uint64_t first_ms = clock.timer.node.due_ms;
    for (unsigned i = 1; i <= TIMES; i++) {
        until_fired(&clock, i);
        spin_ms(i % 3); /* late in every other way */
        assert_int_equal((clock.timer.node.due_ms - first_ms) % PERIOD_MS, 0);
        assert_true(clock.fired_ns / 1000000u >= first_ms + (i - 1) * PERIOD_MS);
        clock.delay_ms = 4 + i * PERIOD_MS; /* the least there is to the next */
    }
    peal_timer_cancel(&clock.timer);
    assert_int_equal(peal_loop_turn(loop, 2 * PERIOD_MS), 1);
    assert_int_equal(clock.fired, TIMES);
}

static void periods_that_passed_are_skipped(void **state)
{
    struct clock clock;
    (void)state;
    clock_init(&clock);
    clock_start(&clock, 1, 1);
    spin_ms(30);
    assert_int_equal(peal_loop_turn(loop, -1), 1);
    assert_int_equal(clock.fired, 1);
    peal_timer_deinit(&clock.timer);
}

/* ---- in callbacks */

static void cancel_self(struct clock *clock)
{
    peal_timer_cancel(&clock->timer);
    peal_timer_cancel(&clock->timer);
}

static void cancel_other(struct clock *clock)
{
    peal_timer_cancel(&clock->other->timer);
}

static void restart_other(struct clock *clock)
{
    clock_start(clock->other, 2, 0);
}

static void free_self(struct clock *clock)
{
    peal_timer_deinit(&clock->timer);
    memset(clock, 0xa5, sizeof *clock);
    free(clock);
}

static void free_other(struct clock *clock)
{
    peal_timer_deinit(&clock->other->timer);
    memset(clock->other, 0xa5, sizeof *clock->other);
    free(clock->other);
    clock->other = NULL;
}

static void a_callback_may_cancel_its_own_period(void **state)
{
    struct clock clock;
    (void)state;
    clock_init(&clock);
    clock.also = cancel_self;
    clock_start(&clock, 0, 1);
    until_fired(&clock, 1);
    assert_int_equal(peal_loop_turn(loop, 10), 1);
    assert_int_equal(clock.fired, 1);
}

/* Both are due in one batch; the first acts on the second. */
static void act_on_other(struct clock *other, void (*also)(struct clock *), unsigned period_ms)
{
    struct clock actor;
    clock_init(&actor);
    actor.also = also;
    actor.other = other;
    clock_start(&actor, 0, 0);
    clock_start(other, 1, period_ms);
    spin_ms(10);
    assert_int_equal(peal_loop_turn(loop, -1), 1);
    assert_int_equal(actor.fired, 1);
}

static void one_cancelled_in_its_own_batch_does_not_fire(void **state)
{
    struct clock other;
    (void)state;
    for (unsigned period_ms = 0; period_ms < 2; period_ms++) {
        clock_init(&other);
        act_on_other(&other, cancel_other, period_ms);
        assert_int_equal(peal_loop_turn(loop, 10), 1);
        assert_int_equal(other.fired, 0);
        assert_false(peal_timer_is_armed(&other.timer));
    }
}

static void one_restarted_in_its_own_batch_fires_later(void **state)
{
    struct clock other;
    (void)state;
    clock_init(&other);
    act_on_other(&other, restart_other, 0);
    assert_int_equal(other.fired, 0);
    until_fired(&other, 1);
    assert_int_equal(peal_loop_turn(loop, 5), 1);
    assert_int_equal(other.fired, 1);
}

static void storage_may_go_in_a_callback(void **state)
{
    struct clock *clock = malloc(sizeof *clock), *other = malloc(sizeof *other);
    (void)state;
    assert_non_null(clock);
    assert_non_null(other);
    clock_init(clock);
    clock->also = free_self;
    clock_start(clock, 0, 1); /* periodic: it was armed again before it was called */
    while (fired_all == 0) {
        assert_int_equal(peal_loop_turn(loop, -1), 1);
    }
    clock_init(other);
    act_on_other(other, free_other, 1);
    assert_int_equal(peal_loop_turn(loop, 5), 1);
    assert_int_equal(fired_all, 2);
}

/* ---- the end, and many */

static struct clock of_the_end;

static void start_in_drop(void *user)
{
    (void)user;
    peal_timer_start(&of_the_end.timer, 0, 1);
    assert_false(peal_timer_is_armed(&of_the_end.timer)); /* there is no later */
}

static void a_loop_that_ends_disarms_what_it_has(void **state)
{
    struct peal_loop *outer = loop;
    struct clock soon, far;
    struct peal_timer zeroed = {0};
    (void)state;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    clock_init(&soon);
    clock_init(&far);
    clock_init(&of_the_end);
    clock_start(&soon, 0, 1);
    clock_start(&far, 1ull << 45, 0);
    assert_int_equal(peal_loop_post_or_drop(loop, start_in_drop, start_in_drop, NULL), 0);
    peal_loop_free(loop);
    loop = outer;
    assert_false(peal_timer_is_armed(&soon.timer));
    assert_false(peal_timer_is_armed(&far.timer));
    assert_int_equal(fired_all, 0);
    peal_timer_deinit(&soon.timer);
    peal_timer_deinit(&far.timer);
    peal_timer_deinit(&of_the_end.timer);
    peal_timer_deinit(&zeroed);
    peal_timer_deinit(NULL);
}

static void a_million_cost_no_allocation(void **state)
{
    enum { COUNT = 1000000 };
    struct peal_timer *timers = calloc(COUNT, sizeof *timers);
    (void)state;
    assert_non_null(timers);
    faults_start((struct faults){0}); /* counts only */
    for (unsigned i = 0; i < COUNT; i++) {
        peal_timer_init(&timers[i], loop, on_timer, NULL);
        peal_timer_start(&timers[i], 60 * 1000 + (uint64_t)i * 977, 0);
    }
    assert_int_equal(loop->wheel.count, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        peal_timer_cancel(&timers[(i * 7919ull) % COUNT]);
    }
    assert_int_equal(faults_seen(), 0);
    faults_stop();
    assert_int_equal(loop->wheel.count, 0);
    assert_true(pl_wheel_next_ms(&loop->wheel) == UINT64_MAX);
    free(timers);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(none_is_early_and_none_is_forgotten),
        TEST(those_of_one_batch_come_in_the_order_of_their_moments),
        TEST(a_delay_counts_from_the_real_clock),
        TEST(no_delay_means_the_next_millisecond),
        TEST(a_start_moves_what_is_armed),
        TEST(what_lies_beyond_all_time_never_comes),
        TEST(a_period_does_not_drift),
        TEST(periods_that_passed_are_skipped),
        TEST(a_callback_may_cancel_its_own_period),
        TEST(one_cancelled_in_its_own_batch_does_not_fire),
        TEST(one_restarted_in_its_own_batch_fires_later),
        TEST(storage_may_go_in_a_callback),
        TEST(a_loop_that_ends_disarms_what_it_has),
        TEST(a_million_cost_no_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
