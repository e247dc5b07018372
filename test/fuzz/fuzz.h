/* SPDX-License-Identifier: BSD-2-Clause */
/* What all fuzz targets share. A target is one function, LLVMFuzzerTestOneInput (the name is
 * libFuzzer's); it is linked with libFuzzer by scripts/fuzz.sh, and with replay.c, which feeds it
 * the kept corpus, as an ordinary test. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The input as a row of decisions; beyond its end every answer is 0. */
struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

static inline uint64_t fuzz_below(struct fuzz_input *input, uint64_t limit)
{
    uint64_t value = 0;
    for (uint64_t most = limit - 1; most > 0; most >>= 8) {
        value <<= 8;
        if (input->size > 0) {
            value |= *input->data++;
            input->size--;
        }
    }
    return value % limit;
}

static inline const uint8_t *fuzz_bytes(struct fuzz_input *input, size_t size, size_t *ret_size)
{
    const uint8_t *bytes = input->data;
    *ret_size = size < input->size ? size : input->size;
    input->data += *ret_size;
    input->size -= *ret_size;
    return bytes;
}

#endif
