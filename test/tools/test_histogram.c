/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, the percentiles that a load prints would be off by more than their digits say. */
#include "histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int make(void **state)
{
    *state = calloc(2, sizeof(struct histogram));
    return *state == NULL;
}

static int drop(void **state)
{
    free(*state);
    return 0;
}

static void empty_says_nothing(void **state)
{
    const struct histogram *h = *state;

    assert_int_equal(histogram_at(h, 0), 0);
    assert_int_equal(histogram_at(h, 1), 0);
    assert_int_equal(h->count, 0);
}

/* Alone in a histogram that reaches further, each value comes back no smaller, and by less than a
 * thousandth larger: at the edges of every power of two, and between. */
static void keeps_three_digits(void **state)
{
    struct histogram *h = *state;

    for (unsigned bit = 0; bit < HISTOGRAM_VALUE_BITS; bit++) {
        const uint64_t power = (uint64_t)1 << bit;
        const uint64_t values[] = {power - 1, power, power + 1, power + power / 3};
        for (unsigned i = 0; i < 4; i++) {
            memset(h, 0, sizeof(*h));
            histogram_add(h, values[i]);
            histogram_add(h, (uint64_t)1 << HISTOGRAM_VALUE_BITS);
            uint64_t told = histogram_at(h, 0.5);
            assert_true(told >= values[i]);
            assert_true((told - values[i]) * 1000 <= values[i]);
        }
    }
}

/* Against the sorted list of the same values. */
static void agrees_with_a_sorted_list(void **state)
{
    static const double shares[] = {0, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    struct histogram *h = *state;
    enum { COUNT = 10000 };

    for (uint64_t i = 1; i <= COUNT; i++) {
        histogram_add(h, i * 7919 % (COUNT + 1) * 1000); /* 1,000 to 10,000,000, each once */
    }
    for (unsigned i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        uint64_t rank = (uint64_t)(shares[i] * COUNT);
        uint64_t exact = (rank > 0 ? rank : 1) * 1000;
        uint64_t told = histogram_at(h, shares[i]);
        assert_true(told >= exact && (told - exact) * 1000 <= exact);
    }
    assert_int_equal(histogram_at(h, 1), 10000000);
}

static void merging_is_adding(void **state)
{
    struct histogram *both = *state;
    struct histogram *halves = calloc(2, sizeof(*halves));

    assert_non_null(halves);
    for (uint64_t i = 0; i < 5000; i++) {
        histogram_add(both, i * i);
        histogram_add(&halves[i % 2], i * i);
    }
    histogram_merge(&halves[0], &halves[1]);
    assert_memory_equal(both, &halves[0], sizeof(*both));
    histogram_clear(&halves[0]);
    assert_int_equal(halves[0].count, 0);
    assert_int_equal(histogram_at(&halves[0], 1), 0);
    histogram_merge(&halves[0], both);
    assert_memory_equal(both, &halves[0], sizeof(*both));
    free(halves);
}

static void what_is_too_large_keeps_its_maximum(void **state)
{
    struct histogram *h = *state;

    histogram_add(h, UINT64_MAX);
    histogram_add(h, 5);
    assert_int_equal(histogram_at(h, 0.5), 5);
    assert_int_equal(h->max, UINT64_MAX);
    assert_int_equal(h->count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(empty_says_nothing, make, drop),
        cmocka_unit_test_setup_teardown(keeps_three_digits, make, drop),
        cmocka_unit_test_setup_teardown(agrees_with_a_sorted_list, make, drop),
        cmocka_unit_test_setup_teardown(merging_is_adding, make, drop),
        cmocka_unit_test_setup_teardown(what_is_too_large_keeps_its_maximum, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
