/* SPDX-License-Identifier: BSD-2-Clause */
/* The choice stream of a simulated run: see choice.c for the model and its invariants. */
#ifndef PL_SIM_CHOICE_H
#define PL_SIM_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stretch of the recorded bytes that one decision of the scenario drew, spans within it too. */
struct pl_choice_span {
    const char *label; /* of static storage */
    size_t begin, end; /* bytes of the record: [begin, end) */
    unsigned depth;    /* 0: outermost */
};

/* One answer that was drawn: bytes [at, at + width) of the record, and below limit. */
struct pl_choice_draw {
    uint64_t limit;
    uint32_t at, width;
};

/* Marks: whose questions were answered by a byte of the record. 0 is the scenario and all that has
 * no other. PL_CHOICE_SWITCH_OFF with a mark is a question whose 0 keeps that one from asking. */
enum { PL_CHOICE_MARKS = 128, PL_CHOICE_SWITCH_OFF = 0x80 };

struct pl_choice {
    uint64_t state; /* of the generator; unused when replaying */
    const uint8_t *replayed;
    size_t replayed_size, replayed_at;
    bool is_replay;
    uint8_t *bytes; /* all that was drawn */
    uint8_t *marks; /* of each byte; may be behind, then the rest is 0 */
    size_t size, capacity, marks_size, marks_capacity;
    struct pl_choice_span *spans; /* in the order in which they began */
    size_t spans_count, spans_capacity;
    bool lists_draws; /* set: each is put down, for those who want to try the next answer */
    struct pl_choice_draw *draws;
    size_t draws_count, draws_capacity;
    size_t open; /* 1 + the innermost open span; 0: none is open */
};

void pl_choice_init_seed(struct pl_choice *choice, uint64_t seed);
/* The bytes are borrowed until deinit. */
void pl_choice_init_replay(struct pl_choice *choice, const void *bytes, size_t size);
void pl_choice_deinit(struct pl_choice *choice);

/* 0 <= result < limit. A limit of 0 or 1 leaves no choice and draws nothing. */
uint64_t pl_choice_below(struct pl_choice *choice, uint64_t limit);
/* True in about `share` of 65536 cases. 0 and 65536 leave no choice and draw nothing. */
bool pl_choice_chance(struct pl_choice *choice, uint32_t share);

/* Marks what was drawn since the record had `from` bytes. */
void pl_choice_mark(struct pl_choice *choice, size_t from, uint8_t mark);

void pl_choice_begin(struct pl_choice *choice, const char *label);
void pl_choice_end(struct pl_choice *choice);

#endif
