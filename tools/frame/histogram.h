/* SPDX-License-Identifier: BSD-2-Clause */
/* A log-linear histogram of times: equal steps within each power of two, so that every value is
 * kept to three significant digits, from a nanosecond to eighteen minutes, in 248 KiB.
 *
 * A plain value for one thread; add up those of several threads with histogram_merge.
 */
#ifndef PEAL_TOOLS_HISTOGRAM_H
#define PEAL_TOOLS_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 10, /* 1,024 steps in each power of two: off by less than 0.1 % */
    HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS,
    HISTOGRAM_VALUE_BITS = 40, /* values above 2^40 ns, 18 minutes, count as just that */
    HISTOGRAM_SLOTS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) * HISTOGRAM_STEPS
};

struct histogram {
    uint64_t slots[HISTOGRAM_SLOTS];
    uint64_t count;
    uint64_t max; /* exact */
};

/* Zeroed storage is an empty histogram. */
void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
void histogram_clear(struct histogram *histogram);

/* The value that share (0 to 1) of all values do not exceed: the upper edge of its step, and never
 * above the maximum. 0 if there are none. */
uint64_t histogram_at(const struct histogram *histogram, double share);

#endif
