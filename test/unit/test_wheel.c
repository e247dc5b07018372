/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, timers would fire early, late, never, twice, or after they were cancelled (hazard
 * 31), or an idle loop would wake for nothing. */
#include "loop/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the model: what is armed, in a table that is searched from end to end */

enum { ITEMS = 512, OPERATIONS = 100000 };

struct model {
    struct pl_wheel wheel;
    struct peal_timer_node timers[ITEMS];
    bool armed[ITEMS];
    uint64_t due_ms[ITEMS]; /* as the wheel must have it */
    uint64_t now_ms, count;
    uint64_t random;
};

static uint64_t next_random(struct model *model)
{
    uint64_t x = model->random; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return model->random = x;
}

static uint64_t below(struct model *model, uint64_t limit)
{
    return next_random(model) % limit;
}

static void add(struct model *model, size_t i, uint64_t due_ms)
{
    pl_wheel_add(&model->wheel, &model->timers[i], due_ms);
    model->armed[i] = true;
    model->due_ms[i] = due_ms > model->now_ms ? due_ms : model->now_ms + 1;
    model->count++;
    assert_int_equal(model->timers[i].due_ms, model->due_ms[i]);
    assert_non_null(model->timers[i].next);
}

static void forget(struct model *model, size_t i)
{
    assert_true(model->armed[i]);
    assert_null(model->timers[i].next);
    model->armed[i] = false;
    model->count--;
}

/* As a timer is moved: noted where that can be, else hung anew. */
static void move_later(struct model *model, size_t i, uint64_t due_ms)
{
    if (pl_wheel_move_later(&model->wheel, &model->timers[i], due_ms)) {
        model->due_ms[i] = due_ms;
        return;
    }
    pl_wheel_remove(&model->wheel, &model->timers[i]);
    forget(model, i);
    add(model, i, due_ms);
}

/* The earliest moment at which something is due, or UINT64_MAX. */
static uint64_t earliest(const struct model *model)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < ITEMS; i++) {
        if (model->armed[i] && model->due_ms[i] < least) {
            least = model->due_ms[i];
        }
    }
    return least;
}

static void check_next(struct model *model)
{
    uint64_t next_ms = pl_wheel_next_ms(&model->wheel), truth_ms = earliest(model);
    assert_int_equal(model->wheel.count, model->count);
    if (truth_ms == UINT64_MAX) {
        assert_true(next_ms == UINT64_MAX); /* an idle wheel never ticks */
    } else {
        assert_true(next_ms <= truth_ms);     /* never later than the next expiry */
        assert_true(next_ms > model->now_ms); /* and always progress */
    }
}

static void advance(struct model *model, uint64_t to_ms)
{
    uint64_t last_ms = 0;
    struct peal_timer_node *timer;
    pl_wheel_advance(&model->wheel, to_ms);
    model->now_ms = to_ms;
    assert_int_equal(model->wheel.now_ms, to_ms);
    while ((timer = pl_wheel_take_due(&model->wheel)) != NULL) {
        size_t i = (size_t)(timer - model->timers);
        forget(model, i);
        assert_true(model->due_ms[i] <= to_ms);   /* not early */
        assert_true(model->due_ms[i] >= last_ms); /* in order */
        last_ms = model->due_ms[i];
        size_t other = below(model, ITEMS); /* cancelled in the batch in which it is due */
        if (model->armed[other] && below(model, 4) == 0) {
            pl_wheel_remove(&model->wheel, &model->timers[other]);
            forget(model, other);
        } else if (!model->armed[other] && below(model, 4) == 0) {
            add(model, other, to_ms + below(model, 3)); /* now or past: not in this batch */
        }
    }
    assert_true(earliest(model) > to_ms); /* none was left behind */
}

static uint64_t some_delay(struct model *model)
{
    unsigned bits = (unsigned)below(model, 46); /* beyond the last level: 2^40 ms */
    uint64_t delay_ms = below(model, (1ull << bits) + 1);
    if (below(model, 8) == 0) { /* to the edge of a level, or next to it */
        uint64_t edge = 1ull << (8 * (1 + below(model, 5)));
        delay_ms = edge - model->now_ms % edge + below(model, 3) - 1;
    }
    return delay_ms;
}

static uint64_t some_step(struct model *model)
{
    uint64_t next_ms = pl_wheel_next_ms(&model->wheel);
    switch (below(model, 4)) {
    case 0:
        return model->now_ms + 1 + below(model, 300);
    case 1:
        return model->now_ms + 1 + below(model, 1ull << below(model, 34));
    default:
        return next_ms == UINT64_MAX ? model->now_ms + 1 : next_ms;
    }
}

static struct model *model_new(uint64_t seed, uint64_t now_ms)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->random = seed;
    model->now_ms = now_ms;
    pl_wheel_init(&model->wheel, now_ms);
    return model;
}

static void run_model(uint64_t seed, uint64_t now_ms)
{
    struct model *model = model_new(seed, now_ms);
    for (unsigned operation = 0; operation < OPERATIONS; operation++) {
        size_t i = below(model, ITEMS);
        if (below(model, 3) == 0) {
            advance(model, some_step(model));
        } else if (!model->armed[i]) {
            add(model, i, model->now_ms + some_delay(model));
        } else if (below(model, 2) == 0) {
            move_later(model, i, model->due_ms[i] + some_delay(model));
        } else {
            pl_wheel_remove(&model->wheel, &model->timers[i]);
            forget(model, i);
        }
        check_next(model);
    }
    while (pl_wheel_take_any(&model->wheel)) {
        model->count--;
    }
    assert_int_equal(model->count, 0);
    assert_int_equal(model->wheel.count, 0);
    assert_true(pl_wheel_next_ms(&model->wheel) == UINT64_MAX);
    free(model);
}

static void agrees_with_a_naive_list(void **state)
{
    (void)state;
    run_model(0x9e3779b97f4a7c15u, 0);
    run_model(1, 1234567);
}

static void agrees_from_just_before_the_edge_of_every_level(void **state)
{
    (void)state;
    run_model(7, (1ull << 40) - 3);
    run_model(11, (1ull << 41) - 1);
}

/* ---- single properties */

static void far_deadlines_come_at_their_millisecond(void **state)
{
    static const uint64_t far_ms[] = {255,
                                      256,
                                      257,
                                      65535,
                                      65536,
                                      1ull << 24,
                                      (1ull << 32) - 1,
                                      1ull << 32,
                                      (1ull << 40) - 1,
                                      1ull << 40,
                                      (1ull << 40) + 1,
                                      3ull << 41,
                                      PL_WHEEL_DUE_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof far_ms / sizeof far_ms[0]; i++) {
        struct pl_wheel wheel;
        struct peal_timer_node timer = {0};
        unsigned wakes = 0;
        pl_wheel_init(&wheel, 99);
        pl_wheel_add(&wheel, &timer, far_ms[i] == PL_WHEEL_DUE_MAX ? UINT64_MAX : far_ms[i]);
        while (!wheel.due && wakes < 5000) {
            uint64_t next_ms = pl_wheel_next_ms(&wheel);
            assert_true(next_ms > wheel.now_ms && next_ms <= far_ms[i]);
            pl_wheel_advance(&wheel, next_ms);
            wakes++;
            if (far_ms[i] > 1ull << 46 && wakes == 10) {
                pl_wheel_advance(&wheel, far_ms[i] - 1); /* too far to go there step by step */
                assert_null(wheel.due);
            }
        }
        assert_int_equal(wheel.now_ms, far_ms[i]);
        assert_ptr_equal(pl_wheel_take_due(&wheel), &timer);
        assert_null(pl_wheel_take_due(&wheel));
        assert_true(wakes <= 20); /* cascades, not ticks */
    }
}

static void a_jump_over_everything_gives_all_in_order(void **state)
{
    enum { COUNT = 3000 };
    static struct peal_timer_node timers[COUNT];
    struct pl_wheel wheel;
    uint64_t last_ms = 0;
    struct peal_timer_node *timer;
    unsigned taken = 0;
    (void)state;
    pl_wheel_init(&wheel, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        pl_wheel_add(&wheel, &timers[i], 1 + (i * 7919ull * 7919ull) % (1ull << 33));
    }
    pl_wheel_advance(&wheel, 1ull << 34);
    while ((timer = pl_wheel_take_due(&wheel)) != NULL) {
        assert_true(timer->due_ms >= last_ms);
        last_ms = timer->due_ms;
        taken++;
    }
    assert_int_equal(taken, COUNT);
}

static void what_is_due_is_told_at_once_and_can_be_cancelled(void **state)
{
    struct pl_wheel wheel;
    struct peal_timer_node first = {0}, second = {0}, third = {0};
    (void)state;
    pl_wheel_init(&wheel, 1000);
    pl_wheel_add(&wheel, &first, 1005);
    pl_wheel_add(&wheel, &second, 1005);
    pl_wheel_add(&wheel, &third, 1005);
    pl_wheel_advance(&wheel, 1010);
    assert_int_equal(pl_wheel_next_ms(&wheel), 1010); /* not to be slept over */
    assert_ptr_equal(pl_wheel_take_due(&wheel), &first);
    pl_wheel_remove(&wheel, &second);
    assert_ptr_equal(pl_wheel_take_due(&wheel), &third);
    assert_null(pl_wheel_take_due(&wheel));
    assert_int_equal(wheel.count, 0);
}

static void a_timer_that_is_moved_comes_at_the_last_of_its_moments(void **state)
{
    struct pl_wheel wheel;
    struct peal_timer_node moved = {0}, near = {0}, still = {0};
    (void)state;
    pl_wheel_init(&wheel, 1000);
    pl_wheel_add(&wheel, &moved, 1000 + 30000);
    pl_wheel_add(&wheel, &still, 1000 + 30000 + 5000);
    uint64_t next_ms = pl_wheel_next_ms(&wheel);
    for (unsigned i = 1; i <= 10000; i++) {
        assert_true(pl_wheel_move_later(&wheel, &moved, 1000 + 30000 + i));
    }
    assert_int_equal(pl_wheel_next_ms(&wheel), next_ms);
    assert_false(pl_wheel_move_later(&wheel, &moved, 1000 + 30000)); /* that were earlier */
    assert_int_equal(wheel.count, 2);
    pl_wheel_advance(&wheel, 1000 + 40000 - 1);
    assert_ptr_equal(pl_wheel_take_due(&wheel), &still);
    assert_null(pl_wheel_take_due(&wheel));
    pl_wheel_advance(&wheel, 1000 + 40000);
    assert_ptr_equal(pl_wheel_take_due(&wheel), &moved);
    pl_wheel_add(&wheel, &near, 41010);
    assert_false(pl_wheel_move_later(&wheel, &near, 41020)); /* level 0 is exact */
    pl_wheel_remove(&wheel, &near);
}

static void time_does_not_go_back(void **state)
{
    struct pl_wheel wheel;
    struct peal_timer_node timer = {0};
    (void)state;
    pl_wheel_init(&wheel, 1000);
    pl_wheel_add(&wheel, &timer, 1005);
    pl_wheel_advance(&wheel, 900);
    assert_int_equal(wheel.now_ms, 1000);
    pl_wheel_advance(&wheel, 1004);
    assert_null(pl_wheel_take_due(&wheel));
    pl_wheel_advance(&wheel, 1005);
    assert_ptr_equal(pl_wheel_take_due(&wheel), &timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_naive_list),
        cmocka_unit_test(agrees_from_just_before_the_edge_of_every_level),
        cmocka_unit_test(far_deadlines_come_at_their_millisecond),
        cmocka_unit_test(a_jump_over_everything_gives_all_in_order),
        cmocka_unit_test(what_is_due_is_told_at_once_and_can_be_cancelled),
        cmocka_unit_test(a_timer_that_is_moved_comes_at_the_last_of_its_moments),
        cmocka_unit_test(time_does_not_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
