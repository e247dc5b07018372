/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: an error that is reported by the wrong name, or a text that changes or vanishes
 * under the thread that prints it. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <peal/error.h>

static void test_names(void **state)
{
    (void)state;
    static const struct {
        int error;
        const char *name;
    } rows[] = {
        {0, "0"},
        {-EPIPE, "EPIPE"},
        {EPIPE, "EPIPE"},
        {-EPERM, "EPERM"},
        {-EAGAIN, "EAGAIN"},
        {-ECONNRESET, "ECONNRESET"},
        {-ETIMEDOUT, "ETIMEDOUT"},
        {-ESTALE, "ESTALE"},
        {-EHWPOISON, "EHWPOISON"},
        {PEAL_ERR_LOOP_ENDED, "PEAL_ERR_LOOP_ENDED"},
        {PEAL_ERR_MALFORMED, "PEAL_ERR_MALFORMED"},
        {-PEAL_ERR_LOOP_ENDED, "?"},
        {-134, "?"},
        {-4096, "?"},
        {-5000, "?"},
        {INT_MAX, "?"},
        {INT_MIN, "?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(peal_error_name(rows[i].error), rows[i].name);
    }
}

/* Every errno that the system knows has a name here, and the system's text. */
static void test_every_errno(void **state)
{
    (void)state;
    for (int number = 1; number < 4096; number++) {
        const char *name = strerrorname_np(number);
        if (!name) {
            assert_string_equal(peal_error_name(-number), "?");
            continue;
        }
        if (number != EOPNOTSUPP) { /* it has two names, and systems differ in which they say */
            assert_string_equal(peal_error_name(-number), name);
        }
        assert_string_equal(peal_strerror(-number), strerror(number));
        assert_ptr_equal(peal_strerror(number), peal_strerror(-number));
    }
}

static void test_own_sentences(void **state)
{
    (void)state;
#define CHECK(name, value, sentence)                                                               \
    assert_true((value) < -4096);                                                                  \
    assert_string_equal(peal_strerror(PEAL_ERR_##name), sentence);                                 \
    assert_string_equal(peal_error_name(value), "PEAL_ERR_" #name);
    PEAL_ERRORS(CHECK)
#undef CHECK
}

static void test_unknown(void **state)
{
    (void)state;
    static const int unknown[] = {INT_MIN, INT_MAX, -4096, 4097, -999, 134};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_non_null(peal_strerror(unknown[i]));
        assert_true(strlen(peal_strerror(unknown[i])) > 0);
    }
}

static void *read_all(void *arg)
{
    (void)arg;
    size_t sum = 0;
    for (int number = 0; number < 140; number++) {
        sum += strlen(peal_strerror(-number));
    }
    return (void *)sum;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    void *sums[4];
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, NULL), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &sums[i]), 0);
        assert_ptr_equal(sums[i], sums[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads), /* first, while no text has been made yet */
        cmocka_unit_test(test_names),         cmocka_unit_test(test_every_errno),
        cmocka_unit_test(test_own_sentences), cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
