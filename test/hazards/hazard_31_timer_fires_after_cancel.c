/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 31: a timer that another timer of its batch cancels would fire all the same, because the
 * batch was copied out before, and would use what the cancelling callback has freed.
 *
 * The batch of due timers is a list of which each cancel takes its timer, and the loop takes the
 * first as long as there is one; nothing is copied. So a cancel counts at once, wherever it comes
 * from (the same holds for close of a watch and of a connection: G1, no callback after the end). */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { COUNT = 64 };

struct bomb {
    struct peal_timer timer;
};

static struct peal_loop *loop;
static struct bomb *bombs[COUNT];
static unsigned fired, chosen;

static void pass_ms(unsigned duration_ms)
{
    const struct timespec pause = {.tv_nsec = duration_ms * 1000000L};
    nanosleep(&pause, NULL);
}

/* Cancels all others, and frees them so that a late shot would be a use after free. */
static void on_bomb(struct peal_timer *timer, void *user)
{
    struct bomb *bomb = user;
    fired++;
    for (unsigned i = 0; i < COUNT; i++) {
        if (bombs[i] && bombs[i] != bomb) {
            peal_timer_cancel(&bombs[i]->timer);
            assert_false(peal_timer_is_armed(&bombs[i]->timer));
            peal_timer_deinit(&bombs[i]->timer);
            free(bombs[i]);
            bombs[i] = NULL;
        }
    }
    assert_ptr_equal(timer, &bomb->timer);
}

static void arm(uint32_t period_ms, uint64_t spread_ms)
{
    fired = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        bombs[i] = calloc(1, sizeof *bombs[i]);
        assert_non_null(bombs[i]);
        peal_timer_init(&bombs[i]->timer, loop, on_bomb, bombs[i]);
        peal_timer_start(&bombs[i]->timer, 1 + i * spread_ms / COUNT, period_ms);
    }
}

static void disarm(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        if (bombs[i]) {
            peal_timer_deinit(&bombs[i]->timer);
            free(bombs[i]);
            bombs[i] = NULL;
        }
    }
}

static void wait_for_one(void)
{
    uint64_t limit_ms = rig_now_ms() + 20 * 1000;
    while (fired == 0 && rig_now_ms() < limit_ms) {
        assert_int_equal(peal_loop_turn(loop, 20), 1);
    }
}

/* All due in one turn: in one slot of the wheel, or in several. */
static void the_first_of_a_batch_cancels_the_rest(void **state)
{
    static const uint64_t spreads_ms[] = {0, 5, 60};
    (void)state;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    for (size_t i = 0; i < sizeof spreads_ms / sizeof spreads_ms[0]; i++) {
        for (uint32_t period_ms = 0; period_ms < 2; period_ms++) {
            arm(period_ms * 1000, spreads_ms[i]);
            pass_ms((unsigned)spreads_ms[i] + 20); /* while the loop does not look */
            wait_for_one();
            assert_int_equal(fired, 1);
            disarm();
        }
    }
    peal_loop_free(loop);
}

/* ---- cancelled by what comes before timers in the turn: an event, a task */

static void defuse(void *user)
{
    (void)user;
    for (unsigned i = 0; i < COUNT; i++) {
        peal_timer_cancel(&bombs[i]->timer);
    }
    chosen++;
}

static void on_watch(struct peal_watch *watch, uint32_t events, void *user)
{
    (void)events;
    (void)watch;
    defuse(user);
}

static void an_event_or_a_task_of_the_turn_cancels_all(void **state)
{
    (void)state;
    int pair[2];
    struct peal_watch *watch;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    raw_pair(pair);
    chosen = 0;
    for (unsigned round = 0; round < 2; round++) {
        arm(0, 0);
        if (round == 0) {
            assert_int_equal(peal_loop_post(loop, defuse, NULL), 0);
        } else {
            raw_send(pair[1], "x", 1);
            assert_int_equal(peal_watch_open(loop, pair[0], PEAL_READABLE, on_watch, NULL, &watch),
                             0);
        }
        pass_ms(20);
        while (chosen == round) {
            assert_int_equal(peal_loop_turn(loop, 20), 1);
        }
        pass_ms(5);
        assert_int_equal(peal_loop_turn(loop, 0), 1);
        assert_int_equal(fired, 0);
        disarm();
    }
    peal_watch_close(watch);
    raw_close(pair[0]);
    raw_close(pair[1]);
    peal_loop_free(loop);
}

/* ---- and by the callback of a connection: one that ends takes its own timers with it */

static struct peal_timer reminder;

static void on_reminder(struct peal_timer *timer, void *user)
{
    (void)timer;
    (void)user;
    fail_msg("the timer of a connection that had closed fired");
}

static void forget(struct peal_conn *conn, const struct peal_close_record *record,
                   struct witness *witness)
{
    (void)conn;
    (void)record;
    (void)witness;
    peal_timer_deinit(&reminder);
}

static void on_close_cancels_what_is_due(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_close = forget;
    int peer = rig_connect(&rig);
    peal_timer_init(&reminder, rig.loop, on_reminder, NULL);
    peal_timer_start(&reminder, 30, 0);
    peal_conn_abort(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    rig_turn_ms(&rig, 60);
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_first_of_a_batch_cancels_the_rest),
        TEST(an_event_or_a_task_of_the_turn_cancels_all),
        TEST(on_close_cancels_what_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
