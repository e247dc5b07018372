/* SPDX-License-Identifier: BSD-2-Clause */
/* Latencies, counted in slots that are 1/64 of a power of two wide: below 64 ns each value has its
 * own, above that a value's slot is its six bits after the leading one, next to those of its power.
 * So a quantile is right to 1.6% at any scale, adding one costs a few instructions, and no sample
 * is ever thrown away. What lies above 2^40 ns (18 minutes) counts as that.
 *
 * Invariant: count is the sum of all slots. A quantile is the upper edge of its slot, but never
 * more than the largest value seen, so that p99.9 of ten samples is the largest of them. */
#include "load.h"

#include <string.h>

static size_t slot_of(uint64_t value)
{
    if (value < LOAD_STEPS) {
        return (size_t)value;
    }
    unsigned power = 63U - (unsigned)__builtin_clzll(value); /* 6 or more */
    size_t slot = (power - 5) * LOAD_STEPS + (size_t)(value >> (power - 6)) % LOAD_STEPS;
    return slot < LOAD_HIST_SLOTS ? slot : LOAD_HIST_SLOTS - 1;
}

/* The largest value of a slot. */
static uint64_t edge_of(size_t slot)
{
    if (slot < LOAD_STEPS) {
        return slot;
    }
    unsigned power = (unsigned)(slot / LOAD_STEPS) + 5;
    return ((uint64_t)(LOAD_STEPS + slot % LOAD_STEPS + 1) << (power - 6)) - 1;
}

void load_hist_reset(struct load_hist *hist)
{
    memset(hist, 0, sizeof(*hist));
}

void load_hist_add(struct load_hist *hist, uint64_t value, uint64_t times)
{
    hist->slots[slot_of(value)] += times;
    hist->count += times;
    if (value > hist->max) {
        hist->max = value;
    }
}

uint64_t load_hist_at(const struct load_hist *hist, double share)
{
    uint64_t rank = (uint64_t)(share * (double)hist->count);
    uint64_t seen = 0;
    for (size_t slot = 0; slot < LOAD_HIST_SLOTS; slot++) {
        seen += hist->slots[slot];
        if (seen > rank) {
            return edge_of(slot) < hist->max ? edge_of(slot) : hist->max;
        }
    }
    return hist->max;
}
