/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a plot would show another distribution than the one that was measured. */
#include "plot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect(const struct histogram *h, size_t width, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    assert_non_null(file);
    plot_print(file, h, width);
    fclose(file);
    assert_string_equal(text, expected);
    free(text);
}

static void add(struct histogram *h, uint64_t value, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        histogram_add(h, value);
    }
}

static int make(void **state)
{
    *state = calloc(1, sizeof(struct histogram));
    return *state == NULL;
}

static int drop(void **state)
{
    free(*state);
    return 0;
}

static void empty_is_nothing(void **state)
{
    expect(*state, 80, "");
}

/* Each value begins where its nine does, and fills up to its own label. */
static void every_nine_is_a_step(void **state)
{
    struct histogram *h = *state;

    add(h, 100000, 900);
    add(h, 1000000, 90);
    add(h, 10000000, 9);
    add(h, 100000000, 1);
    expect(h, 45,
           "   100 ms ┤                                 █\n"
           "    50 ms ┤                                 █\n"
           "    20 ms ┤                                 █\n"
           "    10 ms ┤                       ███████████\n"
           "     5 ms ┤                       ███████████\n"
           "     2 ms ┤                       ███████████\n"
           "     1 ms ┤            ██████████████████████\n"
           "   500 us ┤            ██████████████████████\n"
           "   200 us ┤▁▁▁▁▁▁▁▁▁▁▁▁██████████████████████\n"
           "   100 us └┬──────────┬──────────┬──────────┬\n"
           "           min       90%        99%       max\n");
}

static void too_narrow_is_the_least_width(void **state)
{
    struct histogram *h = *state;

    add(h, 100000, 900);
    add(h, 1000000, 90);
    add(h, 10000000, 9);
    add(h, 100000000, 1);
    expect(h, 1,
           "   100 ms ┤                  █\n"
           "    50 ms ┤                  █\n"
           "    20 ms ┤                  █\n"
           "    10 ms ┤             ██████\n"
           "     5 ms ┤             ██████\n"
           "     2 ms ┤             ██████\n"
           "     1 ms ┤       ████████████\n"
           "   500 us ┤       ████████████\n"
           "   200 us ┤▁▁▁▁▁▁▁████████████\n"
           "   100 us └┬─────┬─────┬─────┬\n"
           "           min  90%   99%  max\n");
}

static void one_value_is_a_plain(void **state)
{
    struct histogram *h = *state;

    add(h, 3000, 1);
    expect(h, 45,
           "     5 us ┤\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂\n"
           "          │██████████████████████████████████\n"
           "          │██████████████████████████████████\n"
           "          │██████████████████████████████████\n"
           "          │██████████████████████████████████\n"
           "          │██████████████████████████████████\n"
           "     2 us └┬─────────┬──────────────────────┬\n"
           "           min      50%                   max\n");
}

/* Zero has no logarithm, and is drawn as the least there is. */
static void nothing_took_no_time(void **state)
{
    struct histogram *h = *state;

    add(h, 0, 1);
    expect(h, 45,
           "     2 ns ┤\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁\n"
           "     1 ns └┬─────────┬──────────────────────┬\n"
           "           min      50%                   max\n");
}

/* The square root of two is half way from 1 to 2. */
static void within_a_step_it_is_logarithmic(void **state)
{
    struct histogram *h = *state;

    add(h, 1000, 5);
    add(h, 1414, 5);
    expect(h, 60,
           "     2 us ┤\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │\n"
           "          │               ██████████████████████████████████\n"
           "          │               ██████████████████████████████████\n"
           "          │               ██████████████████████████████████\n"
           "          │               ██████████████████████████████████\n"
           "          │               ██████████████████████████████████\n"
           "          │▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁██████████████████████████████████\n"
           "     1 us └┬─────────────┬─────────────────────────────────┬\n"
           "           min          50%                              max\n");
}

/* Neither the tallest nor the widest leaves its lines. */
static void extremes_stay_within(void **state)
{
    struct histogram *h = *state;
    char *text = NULL;
    size_t size = 0;
    size_t lines = 0;
    FILE *file = open_memstream(&text, &size);

    assert_non_null(file);
    add(h, 0, 1);
    add(h, UINT64_MAX, 100000);
    plot_print(file, h, 100000);
    fclose(file);
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1, lines++) {
        size_t columns = 0;
        for (const char *at = line; *at != '\n'; at++) {
            columns += ((unsigned char)*at & 0xc0) != 0x80; /* the first byte of a character */
        }
        assert_true(columns <= 200);
    }
    assert_int_equal(lines, 39 + 2); /* 1 ns to 10,000 s has 39 steps */
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(empty_is_nothing, make, drop),
        cmocka_unit_test_setup_teardown(every_nine_is_a_step, make, drop),
        cmocka_unit_test_setup_teardown(too_narrow_is_the_least_width, make, drop),
        cmocka_unit_test_setup_teardown(one_value_is_a_plain, make, drop),
        cmocka_unit_test_setup_teardown(nothing_took_no_time, make, drop),
        cmocka_unit_test_setup_teardown(within_a_step_it_is_logarithmic, make, drop),
        cmocka_unit_test_setup_teardown(extremes_stay_within, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
