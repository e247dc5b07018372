/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: a library that prints by itself, a line that reaches a handler that did not
 * want it, or a handler called with the user pointer of another. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

struct heard {
    unsigned count;
    enum peal_log_level level;
    char text[1024];
};

static void on_line(enum peal_log_level level, const char *text, void *user)
{
    struct heard *heard = user;
    heard->count++;
    heard->level = level;
    snprintf(heard->text, sizeof heard->text, "%s", text);
}

static int reset(void **state)
{
    (void)state;
    peal_log_set(NULL, NULL);
    peal_log_set_level(PEAL_LOG_WARNING);
    return 0;
}

static unsigned evaluations;

static int evaluated(void)
{
    evaluations++;
    return 7;
}

/* First: nothing has been set yet. */
static void test_silent_at_first(void **state)
{
    (void)state;
    evaluations = 0;
    pl_log(PEAL_LOG_ERROR, "%d", evaluated());
    assert_int_equal(evaluations, 0);
    assert_false(pl_log_wants(PEAL_LOG_ERROR));
}

static void test_levels(void **state)
{
    (void)state;
    struct heard heard = {0};
    peal_log_set(on_line, &heard);
    for (int least = PEAL_LOG_DEBUG; least <= PEAL_LOG_OFF; least++) {
        if (least != PEAL_LOG_WARNING) {
            peal_log_set_level((enum peal_log_level)least);
        } else {
            reset(NULL); /* it is the default */
            peal_log_set(on_line, &heard);
        }
        for (int level = PEAL_LOG_DEBUG; level < PEAL_LOG_OFF; level++) {
            heard.count = 0;
            evaluations = 0;
            pl_log((enum peal_log_level)level, "line %d", evaluated());
            assert_int_equal(heard.count, level >= least);
            assert_int_equal(evaluations, level >= least);
            if (level >= least) {
                assert_int_equal(heard.level, level);
                assert_string_equal(heard.text, "line 7");
            }
        }
    }
}

static void test_handler_is_taken_away(void **state)
{
    (void)state;
    struct heard heard = {0};
    peal_log_set(on_line, &heard);
    peal_log_set_level(PEAL_LOG_DEBUG);
    peal_log_set(NULL, NULL);
    pl_log(PEAL_LOG_ERROR, "nobody hears this");
    pl_log_write(PEAL_LOG_ERROR, "nor this");
    assert_int_equal(heard.count, 0);
    peal_log_set(on_line, &heard); /* the level was kept */
    pl_log(PEAL_LOG_DEBUG, "but this");
    assert_int_equal(heard.count, 1);
}

static void test_long_line_is_cut(void **state)
{
    (void)state;
    struct heard heard = {0};
    peal_log_set(on_line, &heard);
    pl_log(PEAL_LOG_ERROR, "%0600d", 1);
    assert_int_equal(heard.count, 1);
    assert_int_equal(strlen(heard.text), 511);
}

/* A name from outside cannot begin a line of its own, or speak to a terminal. */
static void test_a_line_is_a_line(void **state)
{
    (void)state;
    struct heard heard = {0};
    peal_log_set(on_line, &heard);
    pl_log(PEAL_LOG_ERROR, "no \"%s\"", "a\nb\r\033[31m\177\tn\303\251~ ");
    assert_string_equal(heard.text, "no \"a?b??[31m??n\303\251~ \"");
}

static void replace_handler(enum peal_log_level level, const char *text, void *user)
{
    (void)level;
    (void)text;
    peal_log_set(on_line, user);
    pl_log(PEAL_LOG_ERROR, "from inside");
}

static void test_handler_may_log_and_set(void **state)
{
    (void)state;
    struct heard heard = {0};
    peal_log_set(replace_handler, &heard);
    pl_log(PEAL_LOG_ERROR, "outside");
    assert_int_equal(heard.count, 1);
    assert_string_equal(heard.text, "from inside");
}

static void test_level_names(void **state)
{
    (void)state;
    assert_string_equal(peal_log_level_name(PEAL_LOG_DEBUG), "debug");
    assert_string_equal(peal_log_level_name(PEAL_LOG_INFO), "info");
    assert_string_equal(peal_log_level_name(PEAL_LOG_WARNING), "warning");
    assert_string_equal(peal_log_level_name(PEAL_LOG_ERROR), "error");
    assert_string_equal(peal_log_level_name(PEAL_LOG_OFF), "off");
    assert_string_equal(peal_log_level_name((enum peal_log_level)7), "?");
}

/* What fn writes to standard error. */
static void capture(const char *text, char *ret_line, size_t size)
{
    int ends[2];
    int kept = dup(STDERR_FILENO);
    assert_true(kept >= 0);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    peal_log_to_stderr(PEAL_LOG_WARNING, text, NULL);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ends[1]);
    ssize_t count = read(ends[0], ret_line, size - 1);
    close(ends[0]);
    assert_true(count >= 0);
    ret_line[count] = '\0';
}

static void test_stderr(void **state)
{
    (void)state;
    char line[2048], text[1500];
    capture("accept: too many open files", line, sizeof line);
    assert_string_equal(line, "peal: warning: accept: too many open files\n");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    capture(text, line, sizeof line);
    size_t length = strlen(line);
    assert_true(length > 512 && length < 600);
    assert_int_equal(line[length - 1], '\n');
    assert_int_equal(line[length - 2], 'x');
}

/* Two handlers, each of which knows the user pointer that belongs to it. */
static int user_a, user_b;
static _Atomic unsigned mismatches, lines;

static void on_line_a(enum peal_log_level level, const char *text, void *user)
{
    (void)level;
    (void)text;
    lines++;
    mismatches += user != &user_a;
}

static void on_line_b(enum peal_log_level level, const char *text, void *user)
{
    (void)level;
    (void)text;
    lines++;
    mismatches += user != &user_b;
}

static void *log_much(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 20000; i++) {
        pl_log(PEAL_LOG_ERROR, "line %u", i);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[2];
    peal_log_set(on_line_a, &user_a);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, NULL), 0);
    }
    for (unsigned i = 0; i < 5000; i++) {
        peal_log_set(on_line_b, &user_b);
        peal_log_set(on_line_a, &user_a);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(lines, 40000);
    assert_int_equal(mismatches, 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_teardown(fn, reset)
    const struct CMUnitTest tests[] = {
        TEST(test_silent_at_first),
        TEST(test_levels),
        TEST(test_handler_is_taken_away),
        TEST(test_long_line_is_cut),
        TEST(test_a_line_is_a_line),
        TEST(test_handler_may_log_and_set),
        TEST(test_level_names),
        TEST(test_stderr),
        TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
