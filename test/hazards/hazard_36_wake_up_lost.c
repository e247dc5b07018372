/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 36: a loop looks, finds nothing to do, and goes to sleep; a post that comes between the
 * look and the sleep wakes nobody, and waits until something else happens to, or for ever.
 *
 * A loop says that it will sleep before it looks for the last time, and who posts looks whether it
 * has said so after the task is in the queue: one of the two sees the other (a store and a load
 * each, sequentially consistent). The wake itself is an eventfd, which stays readable, so it cannot
 * come too early. Without the order these plays stop within thousands of rounds; a guard of a
 * minute tells that from a slow machine. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/raw.h"
#include "support/rig.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

enum { ROUNDS = 100 * 1000, SINGLES = 3000, GUARD_MS = 60 * 1000 };

static void wait_for(_Atomic unsigned *count, unsigned value, const char *what)
{
    const struct timespec pause = {.tv_nsec = 50 * 1000};
    uint64_t limit_ms = rig_now_ms() + GUARD_MS;
    while (atomic_load(count) < value) {
        if (rig_now_ms() > limit_ms) {
            fail_msg("stuck for a minute: %s, at %u of %u", what, atomic_load(count), value);
        }
        nanosleep(&pause, NULL);
    }
}

/* ---- two loops that do nothing but wake each other */

struct ball {
    struct peal_loop *loops[2];
    _Atomic unsigned hits;
};

static void hit(void *user)
{
    struct ball *ball = user;
    unsigned at = atomic_fetch_add(&ball->hits, 1) + 1;
    if (at < ROUNDS) {
        struct peal_loop *other = ball->loops[peal_loop_is_mine(ball->loops[0])];
        if (peal_loop_post(other, hit, ball) < 0) {
            atomic_store(&ball->hits, 0); /* and the guard tells */
        }
    }
}

static void set_busy(void *user)
{
    peal_loop_set_busy_poll_us(user, 5);
}

static void play(bool busy)
{
    struct peal_pool *pool;
    struct ball ball = {0};
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 2}, &pool), 0);
    ball.loops[0] = peal_pool_loop(pool, 0);
    ball.loops[1] = peal_pool_loop(pool, 1);
    for (unsigned i = 0; busy && i < 2; i++) {
        assert_int_equal(peal_loop_post(ball.loops[i], set_busy, ball.loops[i]), 0);
    }
    assert_int_equal(peal_loop_post(ball.loops[0], hit, &ball), 0);
    wait_for(&ball.hits, ROUNDS, "two loops that post to each other");
    peal_pool_free(pool);
}

static void no_wake_up_is_lost_between_two_loops(void **state)
{
    (void)state;
    play(false);
    play(true);
}

/* ---- single posts, each to a loop that is about to sleep */

static void add_one(void *user)
{
    atomic_fetch_add((_Atomic unsigned *)user, 1);
}

static void spin(unsigned loops)
{
    for (volatile unsigned i = 0; i < loops; i++) {
    }
}

static void each_single_post_wakes_a_sleeping_loop(void **state)
{
    (void)state;
    struct peal_pool *pool;
    _Atomic unsigned ran;
    atomic_init(&ran, 0);
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 1}, &pool), 0);
    uint64_t limit_ms = rig_now_ms() + GUARD_MS;
    for (unsigned i = 0; i < SINGLES; i++) {
        spin(i * 7 % 3000); /* hits the loop at ever different moments of its way to sleep */
        assert_int_equal(peal_loop_post(peal_pool_loop(pool, 0), add_one, &ran), 0);
        while (atomic_load(&ran) == i) {
            assert_true(rig_now_ms() < limit_ms);
            sched_yield();
        }
    }
    peal_pool_free(pool);
    assert_int_equal(ran, SINGLES);
}

/* ---- what travels as a post: bytes of another thread, and a quit */

static void *send_one_after_the_other(void *arg)
{
    struct peal_conn *conn = arg;
    for (unsigned i = 0; i < SINGLES; i++) {
        spin(i * 7 % 3000);
        if (peal_conn_send(conn, "x", 1) != 1) {
            break;
        }
        if (i % 2) {
            sched_yield();
        }
    }
    peal_conn_unref(conn);
    return NULL;
}

static void bytes_of_another_thread_wake_the_loop(void **state)
{
    struct rig rig;
    pthread_t thread;
    static char bytes[SINGLES];
    size_t got = 0;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(
        pthread_create(&thread, NULL, send_one_after_the_other, peal_conn_ref(rig.witness.conn)),
        0);
    while (got < SINGLES) { /* sleeps without limit: only the wake-ups end it */
        struct peal_loop_stats stats;
        assert_int_equal(peal_loop_turn(rig.loop, -1), 1);
        peal_loop_get_stats(rig.loop, &stats);
        raw_recv_exactly(peer, bytes, stats.bytes_taken - got);
        got = stats.bytes_taken;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    raw_close(peer);
    rig_close(&rig);
}

static void *quit_later(void *arg)
{
    spin(20000);
    peal_loop_quit(arg);
    peal_loop_unref(arg);
    return NULL;
}

static void a_quit_wakes_a_loop_without_anything_else(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        struct peal_loop *loop;
        pthread_t thread;
        assert_int_equal(peal_loop_new(NULL, &loop), 0);
        assert_int_equal(pthread_create(&thread, NULL, quit_later, peal_loop_ref(loop)), 0);
        assert_int_equal(peal_loop_run(loop), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        peal_loop_free(loop);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(no_wake_up_is_lost_between_two_loops),
        TEST(each_single_post_wakes_a_sleeping_loop),
        TEST(bytes_of_another_thread_wake_the_loop),
        TEST(a_quit_wakes_a_loop_without_anything_else),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
