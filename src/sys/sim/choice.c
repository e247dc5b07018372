/* SPDX-License-Identifier: BSD-2-Clause */
/* The choice stream: every decision of a simulated run that is not forced, as a row of bytes.
 *
 * Model. A run asks "a number below limit?" again and again: which thread goes on, does this call
 * fail, how many bytes. The answers come from a generator that starts at a seed, or from bytes kept
 * of an earlier run, and in both cases what was answered is recorded. So a seed, a failure to be
 * replayed, a thing to be shrunk and an input of a fuzzer are one and the same: bytes.
 *
 * A draw takes the fewest of 1, 2, 4 or 8 bytes (little endian) that hold limit - 1. What is
 * recorded is the answer, not what the generator gave, so that a byte means the same to a reader, a
 * shrinker and a replay.
 *
 * Invariants
 *  1. The record of a run, replayed with the same questions, gives the same answers and the same
 *     record.
 *  2. Beyond the end of replayed bytes every answer is 0. Users order their answers so that 0 is
 *     the simplest: no fault, the same thread goes on, all of the bytes. Cutting a stream short
 *     hence makes a run simpler, never invalid.
 *  3. Any row of bytes is a valid stream: too large a number is taken modulo the limit.
 *  4. A question with only one answer draws nothing, whatever the source.
 *  5. Spans nest; one that is open has end == begin until it ends. Spans and marks take no part in
 *     the answers: they only tell a shrinker which bytes belong together.
 *
 * Failure modes. This is the test's own memory, not the seam's: if there is none, the run cannot be
 * told apart from another and the process ends. Ending a span that was never begun does the same.
 *
 * Rejected: bits instead of bytes (shorter, but neither a fuzzer's mutations nor a deletion keep
 * what follows aligned); rejecting numbers beyond the limit instead of the modulo (no bias, but
 * a question would draw a varying number of bytes). The bias of the modulo is at most limit / 256
 * for a byte; the generator avoids it by reducing 64 bits. */
#include "sys/sim/choice.h"

#include <stdlib.h>
#include <string.h>

enum { CHANCES = 65536 };

static void *grown(void *items, size_t *inout_capacity, size_t item_size)
{
    size_t capacity = *inout_capacity > 0 ? *inout_capacity * 2 : 256;
    void *more = realloc(items, capacity * item_size);
    if (more == NULL) {
        abort();
    }
    *inout_capacity = capacity;
    return more;
}

void pl_choice_init_seed(struct pl_choice *choice, uint64_t seed)
{
    *choice = (struct pl_choice){.state = seed};
}

void pl_choice_init_replay(struct pl_choice *choice, const void *bytes, size_t size)
{
    *choice = (struct pl_choice){.replayed = bytes, .replayed_size = size, .is_replay = true};
}

void pl_choice_deinit(struct pl_choice *choice)
{
    free(choice->bytes);
    free(choice->marks);
    free(choice->spans);
    free(choice->draws);
    *choice = (struct pl_choice){0};
}

/* splitmix64: neighbouring seeds give unrelated rows, which a row of seeds 1, 2, 3 ... needs. */
static uint64_t generated(struct pl_choice *choice)
{
    uint64_t x = choice->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static size_t width_of(uint64_t limit)
{
    uint64_t most = limit - 1;
    return most <= UINT8_MAX ? 1 : most <= UINT16_MAX ? 2 : most <= UINT32_MAX ? 4 : 8;
}

static uint64_t replayed(struct pl_choice *choice, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width && choice->replayed_at < choice->replayed_size; i++) {
        value |= (uint64_t)choice->replayed[choice->replayed_at++] << (8 * i);
    }
    return value;
}

static void record(struct pl_choice *choice, uint64_t value, size_t width)
{
    while (choice->capacity - choice->size < width) {
        choice->bytes = grown(choice->bytes, &choice->capacity, 1);
    }
    for (size_t i = 0; i < width; i++) {
        choice->bytes[choice->size++] = (uint8_t)(value >> (8 * i));
    }
}

uint64_t pl_choice_below(struct pl_choice *choice, uint64_t limit)
{
    if (limit <= 1) {
        return 0;
    }
    size_t width = width_of(limit);
    if (choice->lists_draws) {
        if (choice->draws_count == choice->draws_capacity) {
            choice->draws = grown(choice->draws, &choice->draws_capacity, sizeof *choice->draws);
        }
        choice->draws[choice->draws_count++] =
            (struct pl_choice_draw){limit, (uint32_t)choice->size, (uint32_t)width};
    }
    uint64_t value = (choice->is_replay ? replayed(choice, width) : generated(choice)) % limit;
    record(choice, value, width);
    return value;
}

bool pl_choice_chance(struct pl_choice *choice, uint32_t share)
{
    if (share == 0 || share >= CHANCES) {
        return share != 0;
    }
    return pl_choice_below(choice, CHANCES) >= CHANCES - share; /* 0 is "no" */
}

void pl_choice_mark(struct pl_choice *choice, size_t from, uint8_t mark)
{
    if (from == choice->size) {
        return;
    }
    while (choice->marks_capacity < choice->size) {
        choice->marks = grown(choice->marks, &choice->marks_capacity, 1);
    }
    if (choice->marks_size < choice->size) {
        memset(choice->marks + choice->marks_size, 0, choice->size - choice->marks_size);
        choice->marks_size = choice->size;
    }
    memset(choice->marks + from, mark, choice->size - from);
}

void pl_choice_begin(struct pl_choice *choice, const char *label)
{
    if (choice->spans_count == choice->spans_capacity) {
        choice->spans = grown(choice->spans, &choice->spans_capacity, sizeof *choice->spans);
    }
    unsigned depth = choice->open > 0 ? choice->spans[choice->open - 1].depth + 1 : 0;
    choice->spans[choice->spans_count++] =
        (struct pl_choice_span){label, choice->size, choice->size, depth};
    choice->open = choice->spans_count;
}

void pl_choice_end(struct pl_choice *choice)
{
    if (choice->open == 0) {
        abort();
    }
    struct pl_choice_span *span = &choice->spans[choice->open - 1];
    span->end = choice->size;
    unsigned depth = span->depth;
    if (depth == 0) {
        choice->open = 0;
        return;
    }
    do { /* the one around it: the last before it that is less deep */
        choice->open--;
    } while (choice->spans[choice->open - 1].depth >= depth);
}
