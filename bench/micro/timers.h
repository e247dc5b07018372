/* SPDX-License-Identifier: BSD-2-Clause */
/* What a timer costs, with 10, 10,000 and 1,000,000 of them armed. Included by a program that has
 * defined, for its library:
 *
 *   timers_of                       its title
 *   TIMERS_TARGET(ns)               ns if it is ours, else 0
 *   timers_open(count)              a loop, and so many timers, none armed
 *   timers_start(i, ms)             arms timer i, which is not armed
 *   timers_move(i, ms)              arms timer i again, which is armed: what its users do when a
 *                                   connection was heard of
 *   timers_cancel(i)
 *   timers_inside(fn)               one turn without waiting, which calls fn from a callback
 *   timers_close()
 *
 * and whose callback of a timer counts in timers_fired.
 *
 * Cancel and add: one of those armed, by chance, is cancelled and armed for another moment between
 * one and two minutes ahead. Moved: all are armed for a minute ahead, and one of them, by chance,
 * is armed again for a minute from now. Both in batches of 4096 from a callback, where libraries
 * know the time without asking; a batch is timed with the turn around it, the median of the batches
 * counts. Added and fired: all are armed for random moments, and when the last is due the loop is
 * turned until all have fired. */
#ifndef TIMERS_H
#define TIMERS_H

#include "micro.h"

enum { TIMERS_BATCH = 4096, TIMERS_SAMPLES = 4096 };

static size_t timers_count;

static uint32_t timers_any_delay_ms(void)
{
    return 60000 + (uint32_t)(micro_random() % 60000);
}

static void timers_arm_all(void)
{
    for (size_t i = 0; i < timers_count; i++) {
        timers_start(i, timers_any_delay_ms());
    }
}

static void timers_cancel_all(void)
{
    for (size_t i = 0; i < timers_count; i++) {
        timers_cancel(i);
    }
}

static void timers_cancel_and_add(void)
{
    for (int n = 0; n < TIMERS_BATCH; n++) {
        uint64_t i = micro_random() % timers_count;
        timers_cancel(i);
        timers_start(i, timers_any_delay_ms());
    }
}

static void timers_move_some(void)
{
    for (int n = 0; n < TIMERS_BATCH; n++) {
        timers_move(micro_random() % timers_count, 60000);
    }
}

/* As time-outs are that have been moved before. */
static void timers_move_all(void)
{
    for (size_t i = 0; i < timers_count; i++) {
        timers_move(i, 60000);
    }
}

static double timers_batches(void (*batch)(void))
{
    static double samples[TIMERS_SAMPLES];
    size_t taken = 0;
    uint64_t end = micro_now_ns() + (micro_quick ? 30u : 400u) * UINT64_C(1000000);
    uint64_t before;
    timers_inside(batch);
    do {
        before = micro_now_ns();
        timers_inside(batch);
        samples[taken++] = (double)(micro_now_ns() - before) / TIMERS_BATCH;
    } while (before < end && taken < TIMERS_SAMPLES);
    return micro_median(samples, taken);
}

static uint64_t timers_ahead_ms; /* none may be due before all are armed */
static uint64_t timers_spread_ms;

static void timers_arm_soon(void)
{
    for (size_t i = 0; i < timers_count; i++) {
        timers_start(i, (uint32_t)(timers_ahead_ms + micro_random() % timers_spread_ms));
    }
}

static void timers_nothing(void)
{
}

static void timers_fire(double *ret_armed_ns, double *ret_fired_ns)
{
    enum { ROUNDS_MAX = 64 };
    double armed[ROUNDS_MAX] = {0};
    double fired[ROUNDS_MAX] = {0};
    size_t rounds = timers_count < 100 ? ROUNDS_MAX : timers_count < 100000 ? 8 : 1;
    timers_spread_ms = timers_count < 100 ? 2 : timers_count < 100000 ? 50 : 1000;
    timers_ahead_ms = timers_count < 100 ? 1 : timers_count < 100000 ? 20 : 3000;
    for (size_t round = 0; round < rounds; round++) {
        uint64_t before = micro_now_ns();
        timers_fired = 0;
        timers_inside(timers_arm_soon);
        armed[round] = (double)(micro_now_ns() - before);
        micro_sleep_us((timers_ahead_ms + timers_spread_ms + 3) * 1000);
        before = micro_now_ns();
        while (timers_fired < timers_count) {
            timers_inside(timers_nothing);
        }
        fired[round] = (double)(micro_now_ns() - before);
    }
    *ret_armed_ns = micro_median(armed, rounds) / (double)timers_count;
    *ret_fired_ns = micro_median(fired, rounds) / (double)timers_count;
}

static const size_t timers_counts[] = {10, 10000, 1000000};
static const char *const timers_numbers[] = {"10", "10,000", "1,000,000"};

static size_t timers_sizes(void)
{
    return micro_quick ? 2 : 3;
}

static void timers_emit(const char *what, const char *number, double ns, double target_ns)
{
    char figure[96];
    (void)snprintf(figure, sizeof(figure), "timer %s, %s armed", what, number);
    micro_emit(figure, timers_of, ns, "ns", TIMERS_TARGET(target_ns));
}

static void timers_run(void)
{
    for (size_t i = 0; i < timers_sizes(); i++) {
        double armed_ns;
        double fired_ns;
        const char *const *numbers = timers_numbers;
        timers_count = timers_counts[i];
        timers_open(timers_count);
        timers_inside(timers_arm_all);
        timers_emit("cancelled and added", numbers[i], timers_batches(timers_cancel_and_add), 50);
        timers_inside(timers_move_all);
        timers_emit("moved", numbers[i], timers_batches(timers_move_some), 50);
        timers_inside(timers_cancel_all);
        timers_fire(&armed_ns, &fired_ns);
        timers_emit("added and fired", numbers[i], armed_ns + fired_ns, i > 0 ? 150 : 0);
        timers_emit("fired", numbers[i], fired_ns, i > 0 ? 100 : 0);
        timers_close();
    }
}

#endif
