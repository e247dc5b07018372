/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 32: a timer that is cancelled, restarted or freed after it has fired, or in its own
 * callback, would touch what the loop has freed, or cancel another timer that got its place.
 *
 * There is no handle that could go stale: the storage is the program's, armed means linked, and a
 * timer is unlinked before its callback runs. So every call is good at every time, and in the
 * callback the storage may go; the loop does not look at it again (as after G2). */
#include "support/baseline.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 200 };

static struct peal_loop *loop;
static unsigned fired;

static void turn_until(unsigned count)
{
    uint64_t limit_ms = rig_now_ms() + 20 * 1000;
    while (fired < count && rig_now_ms() < limit_ms) {
        assert_int_equal(peal_loop_turn(loop, 20), 1);
    }
    assert_int_equal(fired, count);
}

static void turn_ms(unsigned duration_ms)
{
    uint64_t until_ms = rig_now_ms() + duration_ms;
    while (rig_now_ms() < until_ms) {
        assert_int_equal(peal_loop_turn(loop, 5), 1);
    }
}

static int open_loop(void **state)
{
    fired = 0;
    return baseline_setup(state) || peal_loop_new(NULL, &loop);
}

static int free_loop(void **state)
{
    peal_loop_free(loop);
    return baseline_teardown(state);
}

static void count(struct peal_timer *timer, void *user)
{
    (void)user;
    assert_false(peal_timer_is_armed(timer));
    fired++;
}

static void every_call_is_good_after_it_fired(void **state)
{
    struct peal_timer timer;
    (void)state;
    memset(&timer, 0, sizeof timer);
    peal_timer_deinit(&timer); /* before it was ever made */
    peal_timer_deinit(NULL);
    peal_timer_init(&timer, loop, count, NULL);
    peal_timer_cancel(&timer);
    for (unsigned round = 1; round <= 3; round++) {
        peal_timer_start(&timer, 1, 0);
        assert_true(peal_timer_is_armed(&timer));
        turn_until(round);
        assert_false(peal_timer_is_armed(&timer));
        peal_timer_cancel(&timer);
        peal_timer_cancel(&timer);
    }
    peal_timer_deinit(&timer);
    peal_timer_deinit(&timer);
}

/* One that has fired has left its place; cancelling it must not take the one that is there now. */
static void cancelling_one_that_fired_spares_its_successor(void **state)
{
    struct peal_timer old, young[3];
    (void)state;
    peal_timer_init(&old, loop, count, NULL);
    peal_timer_start(&old, 1, 0);
    turn_until(1);
    for (unsigned i = 0; i < 3; i++) {
        peal_timer_init(&young[i], loop, count, NULL);
        peal_timer_start(&young[i], 256, 0); /* the slot of the old one, a round later */
        peal_timer_cancel(&old);
    }
    turn_until(4);
}

/* ---- in its own callback */

static void free_self(struct peal_timer *timer, void *user)
{
    assert_ptr_equal(timer, user);
    peal_timer_deinit(timer);
    memset(timer, 0xa5, sizeof *timer);
    free(timer);
    fired++;
}

static void the_storage_may_go_in_the_callback(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        struct peal_timer *timer = malloc(sizeof *timer);
        assert_non_null(timer);
        peal_timer_init(timer, loop, free_self, timer);
        peal_timer_start(timer, 1 + i % 7, i % 2 ? 1 : 0); /* periodic ones, too */
    }
    turn_until(COUNT);
    turn_ms(10);
    assert_int_equal(fired, COUNT);
}

static void restart_self(struct peal_timer *timer, void *user)
{
    fired++;
    peal_timer_cancel(timer);
    peal_timer_start(timer, 1, 0);
    peal_timer_start(timer, fired < 5 ? 2 : 1000000, 0);
    assert_true(peal_timer_is_armed(timer));
    assert_null(user);
}

static void end_own_period(struct peal_timer *timer, void *user)
{
    unsigned *left = user;
    fired++;
    if (--*left == 0) {
        peal_timer_cancel(timer);
        peal_timer_cancel(timer);
    }
}

static void it_may_restart_or_end_itself(void **state)
{
    struct peal_timer once, often;
    unsigned left = 5;
    (void)state;
    peal_timer_init(&once, loop, restart_self, NULL);
    peal_timer_start(&once, 1, 0);
    turn_until(5);
    peal_timer_deinit(&once);
    peal_timer_init(&often, loop, end_own_period, &left);
    peal_timer_start(&often, 1, 1);
    turn_until(10);
    turn_ms(10);
    assert_int_equal(fired, 10);
    assert_false(peal_timer_is_armed(&often));
    peal_timer_deinit(&often);
}

/* A new timer in the storage of an old one, from inside the old one's callback. */
static void renew(struct peal_timer *timer, void *user)
{
    (void)user;
    fired++;
    peal_timer_deinit(timer);
    peal_timer_init(timer, loop, count, NULL);
    peal_timer_start(timer, 3, 0);
}

static void the_storage_may_become_another_timer(void **state)
{
    struct peal_timer timer;
    (void)state;
    peal_timer_init(&timer, loop, renew, NULL);
    peal_timer_start(&timer, 1, 1); /* the period is the old one's */
    turn_until(2);
    turn_ms(10);
    assert_int_equal(fired, 2);
    assert_false(peal_timer_is_armed(&timer));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, free_loop)
    const struct CMUnitTest tests[] = {
        TEST(every_call_is_good_after_it_fired),
        TEST(cancelling_one_that_fired_spares_its_successor),
        TEST(the_storage_may_go_in_the_callback),
        TEST(it_may_restart_or_end_itself),
        TEST(the_storage_may_become_another_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
