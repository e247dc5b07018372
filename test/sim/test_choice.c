/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a failure of the simulation could not be replayed, or shrinking a stream would
 * turn it into another failure. */
#include "sys/sim/choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { DRAWS = 2000 };
static const uint64_t limits[] = {1, 2, 256, 257, 65536, 65537, 1ull << 32, UINT64_MAX};

static uint64_t ask(struct pl_choice *choice, size_t i)
{
    if (i % 9 == 8) {
        return pl_choice_chance(choice, 20000);
    }
    uint64_t limit = limits[i % 9];
    uint64_t value = pl_choice_below(choice, limit);
    assert_true(value < limit);
    return value;
}

static void a_record_replays_to_itself(void **state)
{
    (void)state;
    struct pl_choice first, second;
    uint64_t answers[DRAWS];
    pl_choice_init_seed(&first, 7);
    for (size_t i = 0; i < DRAWS; i++) {
        answers[i] = ask(&first, i);
    }
    pl_choice_init_replay(&second, first.bytes, first.size);
    for (size_t i = 0; i < DRAWS; i++) {
        assert_true(ask(&second, i) == answers[i]);
    }
    assert_int_equal(second.size, first.size);
    assert_memory_equal(second.bytes, first.bytes, first.size);
    pl_choice_deinit(&first);
    pl_choice_deinit(&second);
}

static void seeds_differ_and_repeat(void **state)
{
    (void)state;
    struct pl_choice one, same, other;
    pl_choice_init_seed(&one, 1);
    pl_choice_init_seed(&same, 1);
    pl_choice_init_seed(&other, 2);
    for (int i = 0; i < 8; i++) {
        uint64_t value = pl_choice_below(&one, UINT64_MAX);
        assert_true(value == pl_choice_below(&same, UINT64_MAX));
        assert_true(value != pl_choice_below(&other, UINT64_MAX));
    }
    pl_choice_deinit(&one);
    pl_choice_deinit(&same);
    pl_choice_deinit(&other);
}

static void beyond_the_end_all_is_zero(void **state)
{
    (void)state;
    struct pl_choice choice;
    pl_choice_init_replay(&choice, "\x05\xff", 2);
    assert_int_equal(pl_choice_below(&choice, 10), 5);
    assert_int_equal(pl_choice_below(&choice, 65536), 0xff); /* half of it is there */
    assert_int_equal(pl_choice_below(&choice, 10), 0);
    assert_false(pl_choice_chance(&choice, 65535));
    pl_choice_deinit(&choice);
}

static void any_bytes_are_a_stream(void **state)
{
    (void)state;
    struct pl_choice choice;
    pl_choice_init_replay(&choice, "\xff\xff\xff", 3);
    assert_int_equal(pl_choice_below(&choice, 10), 5);
    assert_true(pl_choice_chance(&choice, 1));
    assert_int_equal(choice.bytes[0], 5); /* what it meant */
    pl_choice_deinit(&choice);
}

static void what_is_certain_draws_nothing(void **state)
{
    (void)state;
    struct pl_choice choice;
    pl_choice_init_seed(&choice, 3);
    assert_int_equal(pl_choice_below(&choice, 0), 0);
    assert_int_equal(pl_choice_below(&choice, 1), 0);
    assert_false(pl_choice_chance(&choice, 0));
    assert_true(pl_choice_chance(&choice, 65536));
    assert_int_equal(choice.size, 0);
    pl_choice_deinit(&choice);
}

static void spans_nest(void **state)
{
    (void)state;
    struct pl_choice choice;
    pl_choice_init_seed(&choice, 3);
    pl_choice_begin(&choice, "outer");
    pl_choice_below(&choice, 2);
    for (int i = 0; i < 2; i++) {
        pl_choice_begin(&choice, "inner");
        pl_choice_below(&choice, 65536);
        pl_choice_end(&choice);
    }
    pl_choice_end(&choice);
    pl_choice_begin(&choice, "next");
    pl_choice_end(&choice);
    static const struct pl_choice_span expected[] = {
        {"outer", 0, 5, 0}, {"inner", 1, 3, 1}, {"inner", 3, 5, 1}, {"next", 5, 5, 0}};
    assert_int_equal(choice.spans_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(choice.spans[i].label, expected[i].label);
        assert_int_equal(choice.spans[i].begin, expected[i].begin);
        assert_int_equal(choice.spans[i].end, expected[i].end);
        assert_int_equal(choice.spans[i].depth, expected[i].depth);
    }
    assert_int_equal(choice.open, 0);
    pl_choice_deinit(&choice);
}

static void marks_lie_on_what_was_drawn(void **state)
{
    (void)state;
    struct pl_choice choice;
    pl_choice_init_seed(&choice, 3);
    pl_choice_mark(&choice, 0, 9); /* nothing */
    pl_choice_below(&choice, 2);
    size_t from = choice.size;
    pl_choice_below(&choice, 65536);
    pl_choice_mark(&choice, from, 7);
    pl_choice_below(&choice, 1);
    pl_choice_mark(&choice, choice.size, 8); /* nothing, too */
    pl_choice_below(&choice, 2);
    from = choice.size;
    for (int i = 0; i < 1000; i++) {
        pl_choice_below(&choice, 2);
    }
    pl_choice_mark(&choice, from, 5);
    pl_choice_mark(&choice, choice.size - 1, 6);
    pl_choice_below(&choice, 2);
    static const uint8_t expected[] = {0, 7, 7, 0, 5, 5};
    assert_memory_equal(choice.marks, expected, sizeof expected);
    assert_int_equal(choice.marks_size, 4 + 1000);
    assert_int_equal(choice.marks[4 + 998], 5);
    assert_int_equal(choice.marks[4 + 999], 6);
    pl_choice_deinit(&choice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_replays_to_itself),    cmocka_unit_test(seeds_differ_and_repeat),
        cmocka_unit_test(beyond_the_end_all_is_zero),    cmocka_unit_test(any_bytes_are_a_stream),
        cmocka_unit_test(what_is_certain_draws_nothing), cmocka_unit_test(spans_nest),
        cmocka_unit_test(marks_lie_on_what_was_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
