/* SPDX-License-Identifier: BSD-2-Clause */
/* A table of words: the binary tree of libc, whose nodes are words with their text behind them. */
#include "words.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

int word_compare(const void *a, const void *b)
{
    const struct word *one = a, *other = b;
    size_t shorter = one->size < other->size ? one->size : other->size;
    int order = memcmp(one->text, other->text, shorter);
    return order != 0 ? order : (one->size > other->size) - (one->size < other->size);
}

static struct word *new_word(const char *text, size_t size)
{
    struct word *word = malloc(sizeof *word + size);
    if (word != NULL) {
        memcpy(word + 1, text, size);
        *word = (struct word){.size = size, .text = (const char *)(word + 1)};
    }
    return word;
}

int words_add(struct words *words, const char *text, size_t size, uint64_t count)
{
    const struct word key = {.size = size, .text = text};
    void *node = tfind(&key, &words->root, word_compare);
    if (node == NULL) {
        struct word *word = new_word(text, size);
        if (word == NULL || (node = tsearch(word, &words->root, word_compare)) == NULL) {
            free(word);
            return -ENOMEM;
        }
        words->count++;
        words->bytes += size + sizeof "\t\r\n" + COUNT_MAX_BYTES;
    }
    struct word *word = *(struct word **)node;
    if (__builtin_add_overflow(word->count, count, &word->count)) {
        word->count = UINT64_MAX;
    }
    return 0;
}

struct visit {
    void (*fn)(const struct word *word, void *user);
    void *user;
};

static void visit_node(const void *node, VISIT when, void *closure)
{
    const struct visit *visit = closure;
    if (when == postorder || when == leaf) {
        visit->fn(*(struct word *const *)node, visit->user);
    }
}

void words_each(const struct words *words, void (*fn)(const struct word *word, void *user),
                void *user)
{
    twalk_r(words->root, visit_node, &(struct visit){fn, user});
}

void words_clear(struct words *words)
{
    tdestroy(words->root, free);
    *words = (struct words){0};
}
