/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 33: a quit that comes before run, or between two turns, would be overwritten when run sets
 * its flag, and the loop would run for ever.
 *
 * A quit is a fact that nothing takes back: run never clears it. A loop that was told to quit
 * still runs what it has accepted, closes its connections and tells them so (G1), and ends. Should
 * a quit be lost, these tests hang, and the harness ends them. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/raw.h"
#include "support/rig.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

static _Atomic unsigned ran, dropped;

static void run_one(void *user)
{
    (void)user;
    atomic_fetch_add(&ran, 1);
}

static void drop_one(void *user)
{
    (void)user;
    atomic_fetch_add(&dropped, 1);
}

static void quit(void *user)
{
    peal_loop_quit(user);
}

static void *quit_in_thread(void *user)
{
    peal_loop_quit(user);
    peal_loop_unref(user);
    return NULL;
}

static void a_loop_that_was_told_before_ends(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 5; way++) {
        struct peal_loop *loop;
        pthread_t thread;
        ran = dropped = 0;
        assert_int_equal(peal_loop_new(NULL, &loop), 0);
        assert_int_equal(peal_loop_post_or_drop(loop, run_one, drop_one, NULL), 0);
        switch (way) {
        case 0:
            peal_loop_quit(loop);
            peal_loop_quit(loop);
            break;
        case 1: /* by another thread, which has gone */
            assert_int_equal(pthread_create(&thread, NULL, quit_in_thread, peal_loop_ref(loop)), 0);
            assert_int_equal(pthread_join(thread, NULL), 0);
            break;
        case 2: /* after turns by hand */
            assert_int_equal(peal_loop_turn(loop, 0), 1);
            peal_loop_quit(loop);
            break;
        case 3: /* a turn sees it first, and run still ends */
            peal_loop_quit(loop);
            assert_int_equal(peal_loop_turn(loop, -1), 0);
            assert_int_equal(peal_loop_turn(loop, -1), 0);
            break;
        default: /* in a task that was queued before run */
            assert_int_equal(peal_loop_post(loop, quit, loop), 0);
            break;
        }
        assert_int_equal(peal_loop_post_or_drop(loop, run_one, drop_one, NULL), 0);
        assert_int_equal(peal_loop_run(loop), 0);
        assert_int_equal(ran + dropped, 2);
        assert_true(ran >= 1);
        assert_int_equal(peal_loop_post(loop, run_one, NULL), PEAL_ERR_LOOP_ENDED);
        assert_int_equal(peal_loop_run(loop), PEAL_ERR_LOOP_ENDED); /* and does not hang */
        peal_loop_quit(loop);
        peal_loop_free(loop);
    }
}

/* What was accepted before is run, and not dropped, by a run that comes after the quit. */
static void what_was_queued_before_is_run(void **state)
{
    struct peal_loop *loop;
    (void)state;
    ran = dropped = 0;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(peal_loop_post_or_drop(loop, run_one, drop_one, NULL), 0);
    }
    peal_loop_quit(loop);
    assert_int_equal(peal_loop_run(loop), 0);
    assert_int_equal(ran, 1000);
    assert_int_equal(dropped, 0);
    peal_loop_free(loop);
}

/* A quit and the run race: whichever is first, run returns. */
static void a_quit_at_the_same_time_as_run_is_not_lost(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct peal_loop *loop;
        pthread_t thread;
        assert_int_equal(peal_loop_new(NULL, &loop), 0);
        assert_int_equal(pthread_create(&thread, NULL, quit_in_thread, peal_loop_ref(loop)), 0);
        assert_int_equal(peal_loop_run(loop), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        peal_loop_free(loop);
    }
}

static void a_connection_of_a_loop_that_ends_so_is_told(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_loop_quit(rig.loop);
    rig.server = peal_server_unref(rig.server);
    assert_int_equal(peal_loop_run(rig.loop), 0);
    assert_int_equal(rig.witness.closed, 1);
    assert_int_equal(rig.stopped, 1);
    raw_close(peer);
    rig_close(&rig);
}

/* ---- pools: a quit right after, or before the first turn of, their loops */

static void quit_at_start(struct peal_loop *loop, unsigned index, void *user)
{
    (void)user;
    if (index % 2 == 0) {
        peal_loop_quit(loop); /* before its first turn */
    }
}

static void nor_is_one_to_a_pool(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct peal_pool *pool;
        struct peal_pool_options options = {.threads = 3,
                                            .on_start = round % 2 ? quit_at_start : NULL};
        ran = dropped = 0;
        unsigned accepted = 0;
        assert_int_equal(peal_pool_new(&options, &pool), 0);
        if (round % 4 < 2) {
            peal_pool_quit(pool);
        }
        for (unsigned i = 0; i < 3; i++) {
            int result = peal_loop_post_or_drop(peal_pool_loop(pool, i), run_one, drop_one, NULL);
            assert_true(result == 0 || result == PEAL_ERR_LOOP_ENDED);
            accepted += result == 0;
        }
        peal_pool_free(pool);
        assert_int_equal(ran + dropped, accepted);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_loop_that_was_told_before_ends),
        TEST(what_was_queued_before_is_run),
        TEST(a_quit_at_the_same_time_as_run_is_not_lost),
        TEST(a_connection_of_a_loop_that_ends_so_is_told),
        TEST(nor_is_one_to_a_pool),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
