/* SPDX-License-Identifier: BSD-2-Clause */
/* Words and how often they were met. No lock: a table is its owner's. */
#ifndef WORDCOUNT_WORDS_H
#define WORDCOUNT_WORDS_H

#include <stddef.h>
#include <stdint.h>

enum {
    WORD_MAX_BYTES = 4096,
    COUNT_MAX_BYTES = 20,                                 /* digits of a uint64_t */
    LINE_MAX_BYTES = WORD_MAX_BYTES + 1 + COUNT_MAX_BYTES /* word, tab, count; then CR LF */
};

struct word {
    uint64_t count;
    size_t size;
    const char *text; /* any bytes, without a zero at the end */
};

/* All zero: empty. */
struct words {
    void *root; /* of tsearch(3) */
    size_t count;
    size_t bytes; /* at least as many as the words' lines have */
};

/* 0 or -ENOMEM; then the table is as it was. A sum that is too large stays at the largest. */
int words_add(struct words *words, const char *text, size_t size, uint64_t count);

/* By their bytes; as qsort(3) has it. */
int word_compare(const void *a, const void *b);

/* In that order. */
void words_each(const struct words *words, void (*fn)(const struct word *word, void *user),
                void *user);

/* Frees all; the table is empty then. */
void words_clear(struct words *words);

#endif
