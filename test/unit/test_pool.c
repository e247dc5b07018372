/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, threads would be left over, start half, end without their loops, or one of them
 * would get all the work. */
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"

#include <peal.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 8 };

/* What the callbacks saw; they run on the pool's threads, where cmocka's assertions do not
 * belong. */
struct seen {
    _Atomic unsigned started, ended, ran, wrong;
    char names[MOST][16];
    pthread_t threads[MOST];
    bool quit_at_start;
};

static void check(struct seen *seen, bool good)
{
    if (!good) {
        atomic_fetch_add(&seen->wrong, 1);
    }
}

static void add_one(void *user)
{
    atomic_fetch_add(&((struct seen *)user)->ran, 1);
}

static void on_start(struct peal_loop *loop, unsigned index, void *user)
{
    struct seen *seen = user;
    check(seen, peal_loop_is_mine(loop) && index < MOST);
    seen->threads[index] = pthread_self();
    pthread_getname_np(pthread_self(), seen->names[index], sizeof seen->names[index]);
    check(seen, strcmp(seen->names[index], peal_loop_name(loop)) == 0);
    int result = peal_loop_post(loop, add_one, seen);
    check(seen, result == 0 || result == -ENOMEM); /* where allocations fail on purpose */
    if (seen->quit_at_start) {
        peal_loop_quit(loop);
    }
    atomic_fetch_add(&seen->started, 1);
}

static void on_end(struct peal_loop *loop, unsigned index, void *user)
{
    struct seen *seen = user;
    check(seen, peal_loop_is_mine(loop));
    check(seen, pthread_equal(seen->threads[index], pthread_self()) != 0);
    int result = peal_loop_post(loop, add_one, seen);
    check(seen, result == PEAL_ERR_LOOP_ENDED || result == -ENOMEM);
    atomic_fetch_add(&seen->ended, 1);
}

static struct peal_pool_options options_for(struct seen *seen, unsigned threads)
{
    memset(seen, 0, sizeof *seen);
    return (struct peal_pool_options){
        .threads = threads, .name = "ring", .on_start = on_start, .on_end = on_end, .user = seen};
}

static void each_thread_has_a_loop_a_name_a_start_and_an_end(void **state)
{
    struct seen seen;
    struct peal_pool_options options = options_for(&seen, 3);
    struct peal_pool *pool;
    (void)state;
    assert_int_equal(peal_pool_new(&options, &pool), 0);
    assert_int_equal(atomic_load(&seen.started), 3); /* all, before new returns */
    assert_int_equal(peal_pool_size(pool), 3);
    for (unsigned i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "ring-%u", i);
        assert_string_equal(seen.names[i], name);
        assert_string_equal(peal_loop_name(peal_pool_loop(pool, i)), name);
        assert_false(peal_loop_is_mine(peal_pool_loop(pool, i)));
    }
    assert_null(peal_pool_loop(pool, 3));
    assert_int_equal(atomic_load(&seen.ended), 0);
    assert_null(peal_pool_free(pool));
    assert_int_equal(atomic_load(&seen.ended), 3); /* all, before free returns */
    assert_int_equal(atomic_load(&seen.ran), 3);   /* posted before the first turn */
    assert_int_equal(atomic_load(&seen.wrong), 0);
}

static void the_defaults_are_a_thread_a_core(void **state)
{
    struct peal_pool *pool;
    cpu_set_t cores;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof cores, &cores), 0);
    assert_int_equal(peal_pool_new(NULL, &pool), 0);
    assert_int_equal(peal_pool_size(pool), CPU_COUNT(&cores));
    assert_string_equal(peal_loop_name(peal_pool_loop(pool, 0)), "peal-0");
    peal_pool_free(pool);
    assert_null(peal_pool_free(NULL));
}

static void long_names_are_cut_before_the_number(void **state)
{
    struct peal_pool *pool;
    (void)state;
    assert_int_equal(
        peal_pool_new(&(struct peal_pool_options){.threads = 2, .name = "a name of 20 letters"},
                      &pool),
        0);
    assert_string_equal(peal_loop_name(peal_pool_loop(pool, 1)), "a name of -1");
    peal_pool_free(pool);
}

static void bad_options_are_refused(void **state)
{
    struct peal_pool *untouched = (struct peal_pool *)(void *)&state, *pool = untouched;
    struct seen seen;
    struct peal_pool_options options = options_for(&seen, 2);
    (void)state;
    options.engine = "bogus";
    assert_int_equal(peal_pool_new(&options, &pool), -EINVAL);
    options = (struct peal_pool_options){.threads = 1025};
    assert_int_equal(peal_pool_new(&options, &pool), -EINVAL);
    assert_ptr_equal(pool, untouched);
    assert_int_equal(atomic_load(&seen.started), 0);
}

/* ---- choosing */

static void loops_are_chosen_in_turn_by_hash_and_by_load(void **state)
{
    struct peal_pool *pool;
    struct peal_loop *loops[4];
    unsigned times[4] = {0};
    (void)state;
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 4}, &pool), 0);
    for (unsigned i = 0; i < 4; i++) {
        loops[i] = peal_pool_loop(pool, i);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_ptr_equal(peal_pool_next(pool), loops[i % 4]);
    }
    for (uint64_t hash = 0; hash < 8; hash++) {
        assert_ptr_equal(peal_pool_by_hash(pool, hash), loops[hash % 4]);
    }
    assert_ptr_equal(peal_pool_by_hash(pool, UINT64_MAX), loops[UINT64_MAX % 4]);
    for (unsigned i = 0; i < 4; i++) {
        atomic_store(&loops[i]->connections, i == 2 ? 1 : 5);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_ptr_equal(peal_pool_least(pool), loops[2]);
    }
    atomic_store(&loops[2]->connections, 5);
    for (unsigned i = 0; i < 8; i++) { /* ties go round */
        struct peal_loop *least = peal_pool_least(pool);
        for (unsigned j = 0; j < 4; j++) {
            times[j] += least == loops[j];
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(times[i], 2);
        atomic_store(&loops[i]->connections, UINT32_MAX); /* still one of them */
    }
    assert_non_null(peal_pool_least(pool));
    peal_pool_free(pool);
}

/* ---- ending */

static void quit_pool(void *user)
{
    peal_pool_quit(user);
}

static void wait_for(_Atomic unsigned *count, unsigned value)
{
    while (atomic_load(count) < value) { /* a hang is ended by the test's time limit */
        usleep(500);
    }
}

static void a_pool_may_quit_from_its_own_thread(void **state)
{
    struct seen seen;
    struct peal_pool_options options = options_for(&seen, 3);
    struct peal_pool *pool;
    (void)state;
    assert_int_equal(peal_pool_new(&options, &pool), 0);
    assert_int_equal(peal_loop_post(peal_pool_loop(pool, 1), quit_pool, pool), 0);
    wait_for(&seen.ended, 3);
    /* the loops have ended, their memory has not: they can be asked */
    assert_int_equal(peal_loop_post(peal_pool_next(pool), add_one, &seen), PEAL_ERR_LOOP_ENDED);
    peal_pool_quit(pool);
    peal_pool_free(pool);
    assert_int_equal(atomic_load(&seen.wrong), 0);
}

static void a_quit_before_the_first_turn_is_not_lost(void **state)
{
    struct seen seen;
    struct peal_pool_options options = options_for(&seen, 3);
    struct peal_pool *pool;
    (void)state;
    seen.quit_at_start = true;
    assert_int_equal(peal_pool_new(&options, &pool), 0);
    wait_for(&seen.ended, 3);
    assert_int_equal(atomic_load(&seen.ran), 3);
    peal_pool_free(pool);
    assert_int_equal(atomic_load(&seen.wrong), 0);
}

static void a_loop_outlives_its_pool_by_a_reference(void **state)
{
    struct peal_pool *pool;
    (void)state;
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 1}, &pool), 0);
    struct peal_loop *loop = peal_loop_ref(peal_pool_loop(pool, 0));
    peal_pool_free(pool);
    assert_int_equal(peal_loop_post(loop, quit_pool, NULL), PEAL_ERR_LOOP_ENDED);
    peal_loop_unref(loop);
}

/* ---- failures */

/* What loops are made with. */
static bool loops_are(const char *engine)
{
    struct peal_loop *loop;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    bool same = strcmp(peal_loop_engine(loop), engine) == 0;
    peal_loop_free(loop);
    return same;
}

/* Returns how many were made to fail. */
static unsigned try_with(struct faults faults)
{
    struct seen seen;
    struct peal_pool_options options = options_for(&seen, 3);
    struct peal_pool *pool = NULL;
    struct baseline before = baseline_take();
    faults_start(faults);
    int result = peal_pool_new(&options, &pool);
    if (result == 0) { /* what failed came later, or was made good */
        peal_pool_free(pool);
        assert_int_equal(atomic_load(&seen.started), 3);
    } else {
        assert_true(result == -faults.error || result == -ENOMEM);
        assert_null(pool);
    }
    unsigned injected = faults_stop();
    assert_int_equal(atomic_load(&seen.started), atomic_load(&seen.ended));
    assert_int_equal(atomic_load(&seen.wrong), 0);
    baseline_check(&before);
    return injected;
}

static void a_thread_that_does_not_start_takes_the_others_back(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 3; nth++) {
        assert_int_equal(
            try_with((struct faults){.name = "pthread_create", .nth = nth, .error = EAGAIN}), 1);
    }
}

static void every_failure_is_clean(void **state)
{
    static const int errors[] = {ENOMEM, EMFILE};
    (void)state;
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        unsigned nth = 1;
        while (try_with((struct faults){.nth = nth, .error = errors[i]}) > 0) {
            nth++;
        }
        assert_true(nth > 3 * 7); /* what three loops take */
        nth = 1;
        while (try_with((struct faults){
                   .kind = 'a', .nth = nth, .for_ever = true, .error = errors[i]}) > 0) {
            nth++;
        }
        const char *name = loops_are("epoll") ? "epoll_ctl" : "io_uring_setup";
        nth = 1;
        while (try_with((struct faults){
                   .name = name, .nth = nth, .for_ever = true, .error = errors[i]}) > 0) {
            nth++;
        }
        assert_int_equal(nth, 4);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_thread_has_a_loop_a_name_a_start_and_an_end),
        TEST(the_defaults_are_a_thread_a_core),
        TEST(long_names_are_cut_before_the_number),
        TEST(bad_options_are_refused),
        TEST(loops_are_chosen_in_turn_by_hash_and_by_load),
        TEST(a_pool_may_quit_from_its_own_thread),
        TEST(a_quit_before_the_first_turn_is_not_lost),
        TEST(a_loop_outlives_its_pool_by_a_reference),
        TEST(a_thread_that_does_not_start_takes_the_others_back),
        TEST(every_failure_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
