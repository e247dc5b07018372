/* SPDX-License-Identifier: BSD-2-Clause */
/* Timers would fire early, late, twice or not at all: whatever is added, moved and removed, the
 * wheel gives out the same timers at the same moments as a plain array in which all are looked
 * at. */
#include "fuzz.h"

#include "loop/wheel.h"

enum { TIMERS = 24, STEPS_MAX = 400 };

struct model_timer {
    struct peal_timer_node node; /* first */
    bool is_armed;
    uint64_t due_ms;
};

struct model {
    struct pl_wheel wheel;
    struct model_timer timers[TIMERS];
    uint64_t now_ms;
};

/* Delays of all magnitudes: up to 2^42 ms. */
static uint64_t some_delay(struct fuzz_input *input)
{
    uint64_t bits = fuzz_below(input, 43);
    return bits == 0 ? 0 : fuzz_below(input, 1ull << bits);
}

static void check_next(const struct model *model)
{
    uint64_t first_ms = UINT64_MAX;
    for (unsigned i = 0; i < TIMERS; i++) {
        const struct model_timer *timer = &model->timers[i];
        FUZZ_CHECK((timer->node.next != NULL) == timer->is_armed);
        if (timer->is_armed && timer->due_ms < first_ms) {
            first_ms = timer->due_ms;
        }
    }
    /* The wheel may want to look earlier (a cascade, a timer that was moved), never later. */
    uint64_t next_ms = pl_wheel_next_ms(&model->wheel);
    if (first_ms > model->now_ms) {
        FUZZ_CHECK(next_ms <= first_ms);
        FUZZ_CHECK(first_ms != UINT64_MAX || next_ms == UINT64_MAX);
    }
}

static void advance(struct model *model, uint64_t now_ms)
{
    struct peal_timer_node *node;
    uint64_t last_ms = 0;
    model->now_ms = now_ms;
    pl_wheel_advance(&model->wheel, now_ms);
    while ((node = pl_wheel_take_due(&model->wheel))) {
        struct model_timer *timer = (struct model_timer *)node;
        FUZZ_CHECK(timer->is_armed && timer->due_ms <= now_ms && timer->due_ms >= last_ms);
        last_ms = timer->due_ms;
        timer->is_armed = false;
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        FUZZ_CHECK(!model->timers[i].is_armed || model->timers[i].due_ms > now_ms);
    }
}

static void step(struct model *model, struct fuzz_input *input)
{
    struct model_timer *timer = &model->timers[fuzz_below(input, TIMERS)];
    uint64_t due_ms = model->now_ms + some_delay(input);
    uint64_t later_ms = due_ms > model->now_ms ? due_ms : model->now_ms + 1; /* now is past */
    switch (fuzz_below(input, 6)) {
    case 0:
    case 1:
        if (timer->is_armed) {
            pl_wheel_remove(&model->wheel, &timer->node);
        }
        pl_wheel_add(&model->wheel, &timer->node, due_ms);
        timer->is_armed = true;
        timer->due_ms = later_ms;
        break;
    case 2:
        if (timer->is_armed) {
            pl_wheel_remove(&model->wheel, &timer->node);
            timer->is_armed = false;
        }
        break;
    case 3:
        if (timer->is_armed && pl_wheel_move_later(&model->wheel, &timer->node, due_ms)) {
            FUZZ_CHECK(later_ms >= timer->due_ms);
            timer->due_ms = later_ms;
        }
        break;
    case 4:
        advance(model, due_ms);
        break;
    default: { /* as the loop does: to the moment that the wheel asks for, and no further */
        uint64_t next_ms = pl_wheel_next_ms(&model->wheel);
        if (next_ms != UINT64_MAX) {
            advance(model, next_ms > model->now_ms ? next_ms : model->now_ms);
        }
        break;
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model model;
    struct fuzz_input input = {data, size};
    memset(&model, 0, sizeof model);
    model.now_ms = fuzz_below(&input, 1u << 24);
    pl_wheel_init(&model.wheel, model.now_ms);
    for (unsigned steps = 0; steps < STEPS_MAX && input.size > 0; steps++) {
        if (model.now_ms > 1ull << 45) {
            break;
        }
        step(&model, &input);
        check_next(&model);
    }
    unsigned armed = 0, taken = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        armed += model.timers[i].is_armed;
    }
    while (pl_wheel_take_any(&model.wheel)) {
        taken++;
    }
    FUZZ_CHECK(armed == taken);
    return 0;
}
