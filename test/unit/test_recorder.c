/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, the report of a broken invariant would not say what led to it. */
#include "loop/recorder.h"
#include "base/assert.h"
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/child.h"

#include <peal.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct peal_loop *loop;

struct lines {
    unsigned count;
    char first[192], last[192];
};

static void on_line(const char *text, void *user)
{
    struct lines *lines = user;
    if (lines->count++ == 0) {
        snprintf(lines->first, sizeof lines->first, "%s", text);
    }
    snprintf(lines->last, sizeof lines->last, "%s", text);
}

static struct lines print(uint64_t subject, size_t events_max)
{
    struct lines lines = {0};
    pl_recorder_print(loop, subject, events_max, on_line, &lines);
    return lines;
}

static int setup(void **state)
{
    baseline_setup(state);
    return peal_loop_new(&(struct peal_loop_options){.name = "recorded"}, &loop);
}

static int teardown(void **state)
{
    peal_loop_free(loop);
    return baseline_teardown(state);
}

static void events_are_lines_and_the_oldest_is_the_first(void **state)
{
    struct lines lines;
    (void)state;
    pl_record(loop, PL_RECORD_ACCEPTED, 0xabcdef, 17);
    pl_record(loop, PL_RECORD_FREED, 0xabcdef, 0);
    lines = print(0, 100);
    assert_int_equal(lines.count, 3);
    assert_string_equal(lines.first, "-0.000000 s  0000000000000000  loop started");
    assert_string_equal(lines.last, "-0.000000 s  0000000000abcdef  memory freed");
    assert_string_equal(print(0xabcdef, 100).first, "-0.000000 s  0000000000abcdef  accepted: 17");
}

static void their_age_is_told(void **state)
{
    (void)state;
    pl_record(loop, PL_RECORD_SERVER_STOP, 0, 0);
    loop->now_ns += 2000003000u;
    pl_record(loop, PL_RECORD_SERVER_STOPPED, 0, 0);
    assert_string_equal(print(0, 2).first, "-2.000003 s  0000000000000000  server stop");
    assert_string_equal(print(0, 2).last, "-0.000000 s  0000000000000000  server stopped");
}

static void one_subject_and_the_last_few_can_be_asked_for(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        pl_record(loop, PL_RECORD_ACCEPTED, 1 + i % 2, i + 1);
    }
    assert_int_equal(print(0, 100).count, 11);
    assert_int_equal(print(0, 4).count, 4);
    assert_non_null(strstr(print(0, 4).first, "accepted: 7"));
    assert_int_equal(print(1, 100).count, 5);
    assert_int_equal(print(2, 2).count, 2);
    assert_non_null(strstr(print(2, 2).first, "accepted: 8"));
    assert_non_null(strstr(print(2, 2).last, "accepted: 10"));
    assert_int_equal(print(3, 100).count, 0);
    assert_int_equal(print(0, 0).count, 0);
}

static void the_ring_keeps_the_last_4096(void **state)
{
    struct lines lines = {0};
    (void)state;
    for (unsigned i = 1; i <= 5000; i++) {
        pl_record(loop, PL_RECORD_ACCEPTED, i % 2, i);
    }
    peal_loop_print_recorder(loop, on_line, &lines);
    assert_int_equal(lines.count, PL_RECORDER_EVENTS);
    assert_non_null(strstr(lines.first, "accepted: 905"));
    assert_non_null(strstr(lines.last, "accepted: 5000"));
    assert_int_equal(print(1, SIZE_MAX).count, PL_RECORDER_EVENTS / 2);
}

static void describe(uint32_t detail, char *text, size_t size)
{
    snprintf(text, size, "from %u to %u", detail >> 16, detail & 0xff);
}

static void moves_are_put_into_words(void **state)
{
    void (*before)(uint32_t, char *, size_t) = pl_recorder_describe_move;
    (void)state;
    pl_record(loop, PL_RECORD_MOVE, 7, 2u << 16 | 3);
    pl_recorder_describe_move = describe;
    assert_non_null(strstr(print(7, 1).first, "connection moved: from 2 to 3"));
    pl_recorder_describe_move = NULL;
    assert_non_null(strstr(print(7, 1).first, "connection moved: 131075"));
    pl_recorder_describe_move = before;
}

/* ---- in the message of a broken invariant */

static void break_an_invariant(void *user)
{
    (void)user;
    pl_assert(loop == NULL);
}

static void break_in_a_callback(void *arg)
{
    (void)arg;
    pl_record(loop, PL_RECORD_ACCEPTED, 0x5eed, 3);
    if (peal_loop_post(loop, break_an_invariant, NULL) == 0) {
        peal_loop_run(loop);
    }
}

static void break_in_a_drop(void *arg)
{
    (void)arg;
    if (peal_loop_post_or_drop(loop, break_an_invariant, break_an_invariant, NULL) == 0) {
        peal_loop_free(loop);
    }
}

static void a_broken_invariant_says_what_led_to_it(void **state)
{
    (void)state;
    child_expect_abort(break_in_a_callback, NULL, "peal: broken invariant: loop == NULL (");
    child_expect_abort(break_in_a_callback, NULL, "the last events of the loop, oldest first");
    child_expect_abort(break_in_a_callback, NULL, "0000000000000000  loop started");
    child_expect_abort(break_in_a_callback, NULL, "0000000000005eed  accepted: 3");
    child_expect_abort(break_in_a_drop, NULL, "0000000000000000  loop ended");
}

static void outside_of_a_loop_it_says_what_it_knows(void **state)
{
    char text[4096];
    (void)state;
    int status = child_run(break_an_invariant, NULL, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "broken invariant"));
    assert_null(strstr(text, "last events"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(events_are_lines_and_the_oldest_is_the_first),
        TEST(their_age_is_told),
        TEST(one_subject_and_the_last_few_can_be_asked_for),
        TEST(the_ring_keeps_the_last_4096),
        TEST(moves_are_put_into_words),
        TEST(a_broken_invariant_says_what_led_to_it),
        TEST(outside_of_a_loop_it_says_what_it_knows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
