/* SPDX-License-Identifier: BSD-2-Clause */
/* The histogram: a value's slot is made of the position of its highest bit and of the ten bits that
 * follow.
 *
 *     value < 1024              slot = value                        each value has its own
 *     2^e <= value < 2^(e+1)    slot = (e - 9) * 1024 + the ten bits below the highest
 *
 * The two meet without a gap: 1,024 is the first value of the second row. Adding is a count of
 * leading zeros and an increment, cheap enough to do for every message. Percentiles walk the slots,
 * which is done once, or once a second.
 */
#include "histogram.h"

#include <string.h>

static unsigned slot_of(uint64_t value)
{
    const uint64_t value_max = ((uint64_t)1 << HISTOGRAM_VALUE_BITS) - 1;

    value = value < value_max ? value : value_max;
    if (value < HISTOGRAM_STEPS) {
        return (unsigned)value;
    }
    unsigned high = 63u - (unsigned)__builtin_clzll(value);
    unsigned shift = high - HISTOGRAM_STEP_BITS;
    return (shift + 1) * HISTOGRAM_STEPS + (unsigned)(value >> shift) - HISTOGRAM_STEPS;
}

/* The greatest value of a slot. */
static uint64_t edge_of(unsigned slot)
{
    if (slot < HISTOGRAM_STEPS) {
        return slot;
    }
    unsigned shift = slot / HISTOGRAM_STEPS - 1;
    uint64_t step = slot % HISTOGRAM_STEPS + HISTOGRAM_STEPS;
    return ((step + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->slots[slot_of(value)]++;
    histogram->count++;
    histogram->max = value > histogram->max ? value : histogram->max;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
        into->slots[slot] += from->slots[slot];
    }
    into->count += from->count;
    into->max = from->max > into->max ? from->max : into->max;
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;

    for (unsigned slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
        seen += histogram->slots[slot];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t edge = edge_of(slot);
            return edge < histogram->max ? edge : histogram->max;
        }
    }
    return histogram->max;
}
