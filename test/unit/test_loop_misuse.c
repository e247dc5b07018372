/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a call that corrupts a loop would do so silently, instead of stopping the program
 * with a sentence that says what was wrong. */
#include "support/baseline.h"
#include "support/child.h"

#include <peal.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* What a child uses. Its loop is never freed: the child is to die before. */
static struct peal_loop *loop;
static struct peal_timer timer;
static struct peal_watch *watch;
static struct peal_signal *a_signal;
static struct peal_pool *pool;

static void nothing(void *user)
{
    (void)user;
}

static void on_timer(struct peal_timer *which, void *user)
{
    (void)which;
    (void)user;
}

static void on_watch(struct peal_watch *which, uint32_t events, void *user)
{
    (void)which;
    (void)events;
    (void)user;
}

static void on_signal(struct peal_signal *which, int number, void *user)
{
    (void)which;
    (void)number;
    (void)user;
}

static void on_line(const char *text, void *user)
{
    (void)text;
    (void)user;
}

static void must(bool good)
{
    if (!good) {
        _exit(99); /* not the abort that is expected */
    }
}

/* ---- from the wrong thread */

static void call_run(void)
{
    must(peal_loop_run(loop) == 0);
}

static void call_turn(void)
{
    must(peal_loop_turn(loop, 0) == 0);
}

static void call_free(void)
{
    peal_loop_free(loop);
}

static void call_defer(void)
{
    must(peal_loop_defer(loop, nothing, NULL) == 0);
}

static void call_now(void)
{
    must(peal_loop_now_ns(loop) == 0);
}

static void call_busy(void)
{
    peal_loop_set_busy_poll_us(loop, 1);
}

static void call_recorder(void)
{
    peal_loop_print_recorder(loop, on_line, NULL);
}

static void call_timer_start(void)
{
    peal_timer_start(&timer, 1, 0);
}

static void call_timer_cancel(void)
{
    peal_timer_cancel(&timer);
}

static void call_watch_open(void)
{
    must(peal_watch_open(loop, 0, PEAL_READABLE, on_watch, NULL, &watch) == 0);
}

static void call_watch_set(void)
{
    must(peal_watch_set(watch, PEAL_WRITABLE) == 0);
}

static void call_watch_close(void)
{
    peal_watch_close(watch);
}

static void call_signal_open(void)
{
    must(peal_signal_open(loop, SIGUSR1, on_signal, NULL, &a_signal) == 0);
}

static void call_signal_close(void)
{
    peal_signal_close(a_signal);
}

static const struct {
    const char *name; /* with what must follow it in the sentence */
    void (*call)(void);
} foreign_calls[] = {
    {"peal_loop_run was called from a thread that is not loop \"mine\"'s own", call_run},
    {"peal_loop_turn was called from a thread", call_turn},
    {"peal_loop_free was called from a thread", call_free},
    {"peal_loop_defer was called from a thread", call_defer},
    {"peal_loop_now_ns was called from a thread", call_now},
    {"peal_loop_set_busy_poll_us was called from a thread", call_busy},
    {"peal_loop_print_recorder was called from a thread", call_recorder},
    {"peal_timer_start was called from a thread", call_timer_start},
    {"peal_timer_cancel was called from a thread", call_timer_cancel},
    {"peal_watch_open was called from a thread", call_watch_open},
    {"peal_watch_set was called from a thread", call_watch_set},
    {"peal_watch_close was called from a thread", call_watch_close},
    {"peal_signal_open was called from a thread", call_signal_open},
    {"peal_signal_close was called from a thread", call_signal_close},
};

static void make_things(void)
{
    int ends[2];
    must(peal_loop_new(&(struct peal_loop_options){.name = "mine"}, &loop) == 0);
    peal_timer_init(&timer, loop, on_timer, NULL);
    peal_timer_start(&timer, 1000, 0);
    must(pipe(ends) == 0);
    must(peal_watch_open(loop, ends[0], PEAL_READABLE, on_watch, NULL, &watch) == 0);
    must(peal_signal_open(loop, SIGUSR2, on_signal, NULL, &a_signal) == 0);
}

static void *make_foreign_call(void *arg)
{
    (*(void (*const *)(void))arg)();
    return NULL;
}

static void call_from_another_thread(void *arg)
{
    pthread_t thread;
    make_things();
    must(pthread_create(&thread, NULL, make_foreign_call, arg) == 0);
    pthread_join(thread, NULL);
}

static void calls_from_a_wrong_thread_are_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof foreign_calls / sizeof foreign_calls[0]; i++) {
        void (*call)(void) = foreign_calls[i].call;
        child_expect_abort(call_from_another_thread, &call, foreign_calls[i].name);
    }
}

/* ---- from inside a callback */

static void in_callback(void *user)
{
    make_foreign_call(user);
}

static void call_from_a_task(void *arg)
{
    make_things();
    must(peal_loop_post(loop, in_callback, arg) == 0);
    must(peal_loop_turn(loop, 0) == 1);
}

static void calls_that_would_nest_are_told(void **state)
{
    void (*call)(void) = call_run;
    (void)state;
    child_expect_abort(call_from_a_task, &call,
                       "peal_loop_run or peal_loop_turn was called from inside a callback of the "
                       "same loop (\"mine\")");
    call = call_turn;
    child_expect_abort(call_from_a_task, &call, "from inside a callback of the same loop");
    call = call_free;
    child_expect_abort(call_from_a_task, &call,
                       "peal_loop_free was called from inside a callback of loop \"mine\"");
}

static void drop_that_frees(void *user)
{
    (void)user;
    peal_loop_free(loop);
}

static void free_in_a_drop(void *arg)
{
    (void)arg;
    make_things();
    must(peal_loop_post_or_drop(loop, nothing, drop_that_frees, NULL) == 0);
    peal_loop_free(loop);
}

static void freeing_a_loop_that_ends_is_told(void **state)
{
    (void)state;
    child_expect_abort(free_in_a_drop, NULL, "peal_loop_free was called from inside a callback");
}

/* ---- references, pools */

static void unref_the_owners(void *arg)
{
    (void)arg;
    make_things();
    peal_watch_close(watch);
    peal_signal_close(a_signal);
    must(peal_loop_turn(loop, 0) == 1);
    peal_loop_unref(loop);
}

static void giving_up_the_owners_reference_is_told(void **state)
{
    (void)state;
    child_expect_abort(unref_the_owners, NULL,
                       "peal_loop_unref gave up the last reference to loop \"mine\"");
}

static void free_the_pool(void *user)
{
    (void)user;
    peal_pool_free(pool);
}

static void free_pool_on_its_own_thread(void *arg)
{
    (void)arg;
    must(peal_pool_new(&(struct peal_pool_options){.threads = 2, .name = "ring"}, &pool) == 0);
    must(peal_loop_post(peal_pool_loop(pool, 1), free_the_pool, NULL) == 0);
    sleep(30);
}

static void freeing_a_pool_on_its_own_thread_is_told(void **state)
{
    (void)state;
    child_expect_abort(free_pool_on_its_own_thread, NULL,
                       "peal_pool_free was called on thread 1 of pool \"ring\" itself");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(calls_from_a_wrong_thread_are_told),
        TEST(calls_that_would_nest_are_told),
        TEST(freeing_a_loop_that_ends_is_told),
        TEST(giving_up_the_owners_reference_is_told),
        TEST(freeing_a_pool_on_its_own_thread_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
