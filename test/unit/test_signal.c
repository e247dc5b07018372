/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a program would miss SIGTERM, be killed by it, or be left with a signal mask that
 * is not its own. */
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"

#include <peal.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct peal_loop *loop;

struct ear {
    struct peal_signal *signal;
    unsigned calls;
    int last;
    bool close_at_once;
};

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    struct ear *ear = user;
    assert_ptr_equal(signal, ear->signal);
    assert_non_null(peal_loop_current());
    ear->calls++;
    ear->last = number;
    if (ear->close_at_once) {
        ear->signal = peal_signal_close(ear->signal);
        assert_null(ear->signal);
    }
}

static void ear_open(struct ear *ear, struct peal_loop *on, int number)
{
    memset(ear, 0, sizeof *ear);
    assert_int_equal(peal_signal_open(on, number, on_signal, ear, &ear->signal), 0);
}

static bool is_blocked(int number)
{
    sigset_t now;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    return sigismember(&now, number) == 1;
}

static void send_self(int number)
{
    assert_int_equal(kill(getpid(), number), 0);
}

static void turn(struct peal_loop *which)
{
    assert_int_equal(peal_loop_turn(which, 10), 1);
}

static int setup(void **state)
{
    baseline_setup(state);
    assert_false(is_blocked(SIGUSR1));
    assert_false(is_blocked(SIGUSR2));
    return peal_loop_new(NULL, &loop);
}

static int teardown(void **state)
{
    peal_loop_free(loop);
    assert_false(is_blocked(SIGUSR1));
    assert_false(is_blocked(SIGUSR2));
    return baseline_teardown(state);
}

static void a_signal_is_an_event(void **state)
{
    struct ear one, two;
    (void)state;
    ear_open(&one, loop, SIGUSR1);
    ear_open(&two, loop, SIGUSR2);
    assert_true(is_blocked(SIGUSR1) && is_blocked(SIGUSR2));
    turn(loop);
    assert_int_equal(one.calls + two.calls, 0);
    send_self(SIGUSR1);
    turn(loop);
    assert_int_equal(one.calls, 1);
    assert_int_equal(one.last, SIGUSR1);
    send_self(SIGUSR2);
    send_self(SIGUSR2); /* the kernel keeps one of a kind */
    turn(loop);
    turn(loop);
    assert_int_equal(two.calls, 1);
    assert_int_equal(two.last, SIGUSR2);
    assert_int_equal(one.calls, 1);
    peal_signal_close(one.signal);
    assert_false(is_blocked(SIGUSR1));
    assert_true(is_blocked(SIGUSR2));
    assert_null(peal_signal_close(two.signal));
    assert_null(peal_signal_close(NULL));
}

static void queued_signals_come_one_by_one(void **state)
{
    struct ear ear;
    (void)state;
    ear_open(&ear, loop, SIGRTMIN);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}), 0);
    }
    for (unsigned i = 1; i <= 3; i++) {
        turn(loop);
        assert_int_equal(ear.calls, i);
    }
    turn(loop);
    assert_int_equal(ear.calls, 3);
    assert_int_equal(ear.last, SIGRTMIN);
    peal_signal_close(ear.signal);
}

static void it_may_be_closed_in_its_callback(void **state)
{
    struct ear ear;
    (void)state;
    ear_open(&ear, loop, SIGUSR1);
    ear.close_at_once = true;
    send_self(SIGUSR1);
    turn(loop);
    turn(loop);
    assert_int_equal(ear.calls, 1);
}

/* ---- the mask */

static void the_last_to_close_restores_the_mask(void **state)
{
    struct ear ears[3];
    (void)state;
    for (unsigned first = 0; first < 3; first++) { /* closed in every rotation */
        for (unsigned i = 0; i < 3; i++) {
            ear_open(&ears[i], loop, SIGUSR1);
        }
        for (unsigned i = 0; i < 3; i++) {
            assert_true(is_blocked(SIGUSR1));
            send_self(SIGUSR1); /* would kill, were it let through */
            turn(loop);
            turn(loop);
            peal_signal_close(ears[(first + i) % 3].signal);
        }
        assert_false(is_blocked(SIGUSR1));
        assert_int_equal(ears[0].calls + ears[1].calls + ears[2].calls, 3);
    }
}

static void what_was_blocked_before_stays_blocked(void **state)
{
    struct ear one, two;
    sigset_t set, old;
    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
    ear_open(&one, loop, SIGUSR1);
    ear_open(&two, loop, SIGUSR1);
    peal_signal_close(one.signal);
    peal_signal_close(two.signal);
    assert_true(is_blocked(SIGUSR1));
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
}

/* ---- loops */

static void two_loops_share_a_signal_or_have_their_own(void **state)
{
    struct peal_loop *other;
    struct ear here, there, own;
    (void)state;
    assert_int_equal(peal_loop_new(NULL, &other), 0);
    ear_open(&here, loop, SIGUSR1);
    ear_open(&there, other, SIGUSR1);
    ear_open(&own, other, SIGUSR2);
    send_self(SIGUSR1);
    turn(loop);
    turn(other);
    assert_int_equal(here.calls, 1); /* the first to look takes it, */
    assert_int_equal(there.calls, 0);
    send_self(SIGUSR1);
    send_self(SIGUSR2);
    turn(other);
    turn(other);
    turn(loop);
    assert_int_equal(here.calls, 1);
    assert_int_equal(there.calls, 1); /* whoever that is */
    assert_int_equal(own.calls, 1);
    peal_signal_close(here.signal);
    peal_signal_close(own.signal);
    assert_true(is_blocked(SIGUSR1));
    peal_signal_close(there.signal);
    peal_loop_free(other);
}

static void it_can_be_closed_after_its_loop_has_ended(void **state)
{
    struct peal_loop *ending;
    struct ear ear, late;
    (void)state;
    assert_int_equal(peal_loop_new(NULL, &ending), 0);
    ear_open(&ear, ending, SIGUSR1);
    peal_loop_quit(ending);
    assert_int_equal(peal_loop_run(ending), 0);
    late.signal = NULL;
    assert_int_equal(peal_signal_open(ending, SIGUSR2, on_signal, &late, &late.signal),
                     PEAL_ERR_LOOP_ENDED);
    assert_null(late.signal);
    assert_false(is_blocked(SIGUSR2));
    assert_true(is_blocked(SIGUSR1)); /* until it is closed */
    peal_loop_free(ending);
    peal_signal_close(ear.signal);
    assert_false(is_blocked(SIGUSR1));
}

/* ---- refusals and failures */

static void what_cannot_be_caught_is_refused(void **state)
{
    static const int numbers[] = {-1, 0, 32, 33, 65, 1 << 20, SIGKILL, SIGSTOP};
    struct ear ear = {0};
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_int_equal(peal_signal_open(loop, numbers[i], on_signal, &ear, &ear.signal), -EINVAL);
    }
    assert_int_equal(peal_signal_open(loop, SIGUSR1, NULL, &ear, &ear.signal), -EINVAL);
    assert_null(ear.signal);
}

static void every_failure_of_opening_is_clean(void **state)
{
    struct ear ear = {0};
    unsigned failures = 0;
    (void)state;
    for (unsigned nth = 1;; nth++) {
        struct baseline before = baseline_take();
        faults_start((struct faults){.nth = nth, .error = ENOMEM});
        int result = peal_signal_open(loop, SIGUSR1, on_signal, &ear, &ear.signal);
        if (faults_stop() == 0) {
            assert_int_equal(result, 0);
            peal_signal_close(ear.signal);
            break;
        }
        assert_int_equal(result, -ENOMEM);
        assert_false(is_blocked(SIGUSR1));
        baseline_check(&before);
        failures++;
    }
    assert_int_equal(failures, 4); /* its memory, the signalfd, the watch's memory, the kernel */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_signal_is_an_event),
        TEST(queued_signals_come_one_by_one),
        TEST(it_may_be_closed_in_its_callback),
        TEST(the_last_to_close_restores_the_mask),
        TEST(what_was_blocked_before_stays_blocked),
        TEST(two_loops_share_a_signal_or_have_their_own),
        TEST(it_can_be_closed_after_its_loop_has_ended),
        TEST(what_cannot_be_caught_is_refused),
        TEST(every_failure_of_opening_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
