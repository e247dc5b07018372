/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a loop would sleep through a task or a quit (hazard 36), pay a system call for
 * every post, or lose tasks when posts and its end meet (hazard 20). */
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"

#include <peal.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct peal_loop_stats stats_of(const struct peal_loop *loop)
{
    struct peal_loop_stats stats;
    peal_loop_get_stats(loop, &stats);
    return stats;
}

static struct peal_pool *pool_new(unsigned threads)
{
    struct peal_pool *pool;
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = threads}, &pool), 0);
    return pool;
}

/* Assertions of cmocka are for the test's own thread; callbacks on others count what is wrong. */
static _Atomic unsigned wrong;

static void expect(bool good)
{
    if (!good) {
        atomic_fetch_add(&wrong, 1);
    }
}

/* ---- no wake-up is lost */

enum { ROUNDS = 30000 };

struct rally {
    struct peal_loop *sides[2];
    _Atomic unsigned hits;
};

static void hit(void *user)
{
    struct rally *rally = user;
    unsigned hits = atomic_fetch_add(&rally->hits, 1) + 1;
    if (hits < ROUNDS) {
        expect(peal_loop_post(rally->sides[hits % 2], hit, rally) == 0);
    }
}

static void wait_for(_Atomic unsigned *count, unsigned value)
{
    while (atomic_load(count) < value) { /* a hang is ended by the test's time limit */
        usleep(500);
    }
}

static void set_busy(void *user)
{
    peal_loop_set_busy_poll_us(user, 20);
}

/* Each side is asleep, or on its way to sleep, when the other posts. */
static void play(bool busy)
{
    struct peal_pool *pool = pool_new(2);
    struct rally rally = {.sides = {peal_pool_loop(pool, 0), peal_pool_loop(pool, 1)}};
    for (unsigned i = 0; i < 2 && busy; i++) {
        assert_int_equal(peal_loop_post(rally.sides[i], set_busy, rally.sides[i]), 0);
    }
    assert_int_equal(peal_loop_post(rally.sides[0], hit, &rally), 0);
    wait_for(&rally.hits, ROUNDS);
    assert_int_equal(stats_of(rally.sides[0]).tasks + stats_of(rally.sides[1]).tasks,
                     ROUNDS + (busy ? 2 : 0));
    peal_pool_free(pool);
    assert_int_equal(atomic_load(&wrong), 0);
}

static void no_wake_up_is_lost_between_two_loops(void **state)
{
    (void)state;
    play(false);
}

static void nor_when_they_poll_busily_before_they_sleep(void **state)
{
    (void)state;
    play(true);
}

/* ---- wake-ups are paid for only when the loop sleeps */

static void add_one(void *user)
{
    atomic_fetch_add((_Atomic unsigned *)user, 1);
}

static void every_eventfd_write_is_a_wake(void **state)
{
    struct peal_pool *pool;
    _Atomic unsigned ran = 0;
    (void)state;
    faults_start((struct faults){.kind = 's', .name = "write"}); /* counts only */
    pool = pool_new(1);
    struct peal_loop *loop = peal_loop_ref(peal_pool_loop(pool, 0));
    for (unsigned i = 1; i <= 2000; i++) {
        assert_int_equal(peal_loop_post(loop, add_one, &ran), 0);
        if (i % 8 == 0) {
            wait_for(&ran, i);
        }
    }
    peal_pool_free(pool);
    assert_int_equal(atomic_load(&ran), 2000);
    assert_int_equal(stats_of(loop).wakes, faults_seen());
    assert_true(stats_of(loop).wakes > 0 && stats_of(loop).wakes <= 2001);
    faults_stop();
    peal_loop_unref(loop);
}

struct gate {
    _Atomic unsigned entered, open;
};

static void stay_inside(void *user)
{
    struct gate *gate = user;
    atomic_fetch_add(&gate->entered, 1);
    while (!atomic_load(&gate->open)) {
        sched_yield();
    }
}

static void a_post_to_a_loop_that_is_awake_writes_nothing(void **state)
{
    struct gate gate = {0};
    _Atomic unsigned ran = 0;
    (void)state;
    struct peal_pool *pool = pool_new(1);
    struct peal_loop *loop = peal_pool_loop(pool, 0);
    assert_int_equal(peal_loop_post(loop, stay_inside, &gate), 0);
    wait_for(&gate.entered, 1);
    faults_start((struct faults){.kind = 's', .name = "write"});
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(peal_loop_post(loop, add_one, &ran), 0);
    }
    peal_loop_quit(loop);
    assert_int_equal(faults_seen(), 0);
    faults_stop();
    atomic_store(&gate.open, 1);
    peal_pool_free(pool);
    assert_true(atomic_load(&ran) == 0 || atomic_load(&ran) == 1000);
}

/* The word "asleep" is taken back before the write: a write that fails must be tried again. */
static void a_wake_up_that_fails_once_is_repeated(void **state)
{
    static const int errors[] = {EINTR, EAGAIN, ENOMEM};
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        _Atomic unsigned ran = 0;
        struct peal_pool *pool = pool_new(1);
        usleep(20 * 1000); /* so that it most probably sleeps */
        faults_start((struct faults){.kind = 's', .name = "write", .nth = 1, .error = errors[i]});
        assert_int_equal(peal_loop_post(peal_pool_loop(pool, 0), add_one, &ran), 0);
        wait_for(&ran, 1);
        faults_stop();
        peal_pool_free(pool);
    }
}

/* ---- quit from outside */

static void *quit_soon(void *arg)
{
    usleep(20 * 1000);
    peal_loop_quit(arg);
    return NULL;
}

static void run_and_quit(uint32_t busy_poll_us)
{
    struct peal_loop *loop;
    struct timespec began, ended;
    pthread_t thread;
    clock_gettime(CLOCK_MONOTONIC, &began);
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    peal_loop_set_busy_poll_us(loop, busy_poll_us);
    assert_int_equal(pthread_create(&thread, NULL, quit_soon, loop), 0);
    assert_int_equal(peal_loop_run(loop), 0);
    pthread_join(thread, NULL);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    struct peal_loop_stats stats = stats_of(loop);
    uint64_t lived_ns = (uint64_t)(ended.tv_sec - began.tv_sec) * 1000000000u +
                        (uint64_t)ended.tv_nsec - (uint64_t)began.tv_nsec;
    assert_true(stats.wait_ns > 0);
    assert_true(stats.wait_ns + stats.work_ns <= lived_ns); /* busy waiting is counted once */
    peal_loop_free(loop);
}

static void a_quit_from_another_thread_ends_a_loop_asleep(void **state)
{
    (void)state;
    run_and_quit(0);
}

static void and_one_that_polls_for_an_hour(void **state)
{
    (void)state;
    run_and_quit(UINT32_MAX);
}

/* How often one turn that finds nothing looked for events. */
static unsigned looks_of_a_turn(struct peal_loop *loop)
{
    faults_start((struct faults){.name = "epoll_wait"});
    assert_int_equal(peal_loop_turn(loop, 20), 1);
    unsigned looks = faults_seen();
    faults_stop();
    return looks;
}

static void read_one(struct peal_watch *watch, uint32_t events, void *user)
{
    char byte;
    (void)watch;
    (void)events;
    (void)user;
    assert_int_equal(read(*(int *)user, &byte, 1), 1);
}

/* A loop without events stops spinning; when its waits are short again, it spins again. */
static void spins_only_while_it_pays(void **state)
{
    struct peal_loop *loop;
    struct peal_watch *watch;
    int pipe_fds[2];
    (void)state;
    assert_int_equal(
        peal_loop_new(&(struct peal_loop_options){.engine = "epoll", .busy_poll_us = 3000}, &loop),
        0);
    assert_true(looks_of_a_turn(loop) > 1);
    for (int i = 0; i < 3; i++) {
        looks_of_a_turn(loop);
    }
    assert_int_equal(looks_of_a_turn(loop), 1);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(peal_watch_open(loop, pipe_fds[0], PEAL_READABLE, read_one, pipe_fds, &watch),
                     0);
    unsigned looks = 1;
    for (int tries = 0; looks == 1 && tries < 1000; tries++) { /* a busy machine makes long waits */
        for (int i = 0; i < 4; i++) {
            assert_int_equal(write(pipe_fds[1], "x", 1), 1);
            assert_int_equal(peal_loop_turn(loop, 20), 1);
        }
        looks = looks_of_a_turn(loop);
    }
    assert_true(looks > 1);
    peal_watch_close(watch);
    peal_loop_free(loop);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void a_busy_turn_keeps_its_time_limit(void **state)
{
    struct peal_loop *loop;
    (void)state;
    assert_int_equal(/* whose looks can be counted */
                     peal_loop_new(&(struct peal_loop_options){.engine = "epoll"}, &loop), 0);
    peal_loop_set_busy_poll_us(loop, 10 * 1000);
    for (int tries = 0; stats_of(loop).wait_ns < 20 * 1000000u && tries < 10; tries++) {
        assert_int_equal(peal_loop_turn(loop, 20), 1); /* the end of a ring may interrupt it */
    }
    assert_true(stats_of(loop).wait_ns >= 20 * 1000000u);
    peal_loop_set_busy_poll_us(loop, UINT32_MAX);
    faults_start((struct faults){.name = "epoll_wait"});
    assert_int_equal(peal_loop_turn(loop, 20), 1); /* an hour, if it did not */
    assert_true(faults_seen() > 2);                /* it looked again and again */
    faults_stop();
    peal_loop_set_busy_poll_us(loop, 0);
    faults_start((struct faults){.name = "epoll_wait"});
    assert_int_equal(peal_loop_turn(loop, 5), 1);
    assert_int_equal(faults_seen(), 1);
    faults_stop();
    assert_int_equal(peal_loop_turn(loop, 0), 1);
    peal_loop_free(loop);
}

/* ---- posts that meet the end */

enum { POSTERS = 4, POSTS = 20000 };

struct post {
    _Atomic unsigned ran, dropped;
};

struct poster {
    pthread_t thread;
    struct peal_loop *loop;
    struct post *posts;
    unsigned accepted;
};

static void run_post(void *user)
{
    atomic_fetch_add(&((struct post *)user)->ran, 1);
}

static void drop_post(void *user)
{
    atomic_fetch_add(&((struct post *)user)->dropped, 1);
}

static void *post_until_refused(void *arg)
{
    struct poster *poster = arg;
    for (unsigned i = 0; i < POSTS; i++) {
        int result = peal_loop_post_or_drop(poster->loop, run_post, drop_post, &poster->posts[i]);
        if (result != 0) {
            expect(result == PEAL_ERR_LOOP_ENDED);
            break;
        }
        poster->accepted++;
    }
    peal_loop_unref(poster->loop);
    return NULL;
}

static void each_post_is_run_dropped_or_refused(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        struct poster posters[POSTERS] = {0};
        struct peal_loop *loop;
        uint64_t ran = 0, accepted = 0;
        assert_int_equal(peal_loop_new(NULL, &loop), 0);
        for (unsigned i = 0; i < POSTERS; i++) {
            posters[i].loop = peal_loop_ref(loop);
            posters[i].posts = calloc(POSTS, sizeof(struct post));
            assert_int_equal(
                pthread_create(&posters[i].thread, NULL, post_until_refused, &posters[i]), 0);
        }
        for (unsigned turn = 0; turn < round * 10; turn++) {
            assert_int_equal(peal_loop_turn(loop, 1), 1);
        }
        peal_loop_ref(loop);
        peal_loop_free(loop);
        for (unsigned i = 0; i < POSTERS; i++) {
            pthread_join(posters[i].thread, NULL);
            for (unsigned j = 0; j < POSTS; j++) {
                struct post *post = &posters[i].posts[j];
                assert_int_equal(atomic_load(&post->ran) + atomic_load(&post->dropped),
                                 j < posters[i].accepted ? 1 : 0);
                ran += atomic_load(&post->ran);
            }
            accepted += posters[i].accepted;
            free(posters[i].posts);
        }
        assert_int_equal(stats_of(loop).tasks, ran);
        assert_int_equal(stats_of(loop).tasks_dropped, accepted - ran);
        peal_loop_unref(loop);
    }
    assert_int_equal(atomic_load(&wrong), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(no_wake_up_is_lost_between_two_loops),
        TEST(nor_when_they_poll_busily_before_they_sleep),
        TEST(every_eventfd_write_is_a_wake),
        TEST(a_post_to_a_loop_that_is_awake_writes_nothing),
        TEST(a_wake_up_that_fails_once_is_repeated),
        TEST(a_quit_from_another_thread_ends_a_loop_asleep),
        TEST(and_one_that_polls_for_an_hour),
        TEST(a_busy_turn_keeps_its_time_limit),
        TEST(spins_only_while_it_pays),
        TEST(each_post_is_run_dropped_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
