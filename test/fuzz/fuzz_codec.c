/* SPDX-License-Identifier: BSD-2-Clause */
/* A peer's bytes would be taken for other messages than it sent: a stream gives the same messages
 * however it is cut, and what is read of one is what its prefix says. */
#include "fuzz.h"

#include <peal/codec.h>
#include <peal/error.h>

enum { MESSAGES_MAX = 64 };

struct heard {
    size_t count, sizes[MESSAGES_MAX];
    uint64_t sums[MESSAGES_MAX];
    int result;
};

static void hear(const struct peal_codec *codec, struct peal_buf *buf, struct heard *heard)
{
    const void *message;
    size_t size;
    while (heard->count < MESSAGES_MAX &&
           (heard->result = peal_codec_next(codec, buf, &message, &size)) > 0) {
        uint64_t sum = 0;
        for (size_t i = 0; i < size; i++) {
            sum = sum * 31 + ((const uint8_t *)message)[i];
        }
        FUZZ_CHECK(size <= codec->size_max);
        heard->sizes[heard->count] = size;
        heard->sums[heard->count++] = sum;
    }
}

/* The prefix that the codec itself writes for what it has read is understood again. */
static void check_prefix(const struct peal_codec *codec, size_t size)
{
    unsigned char prefix[PEAL_CODEC_PREFIX_MAX];
    ssize_t length = peal_codec_prefix(codec, size, prefix);
    struct peal_buf buf;
    const void *message;
    size_t again;
    FUZZ_CHECK(length > 0 && length <= PEAL_CODEC_PREFIX_MAX);
    peal_buf_init(&buf);
    uint8_t *body = calloc(1, size + 1);
    FUZZ_CHECK(body && peal_buf_append(&buf, prefix, (size_t)length) == 0 &&
               peal_buf_append(&buf, body, size) == 0);
    FUZZ_CHECK(peal_codec_next(codec, &buf, &message, &again) == 1 && again == size);
    FUZZ_CHECK(peal_buf_size(&buf) == 0);
    free(body);
    peal_buf_deinit(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 5000) {
        return 0;
    }
    struct peal_codec codec = {.prefix = (enum peal_prefix)(data[0] % 6),
                               .size_max = 1 + (size_t)data[1] * 16};
    size_t cut = 1 + data[2] % 32;
    struct heard whole = {0}, cut_up = {0};
    struct peal_buf buf;
    data += 3;
    size -= 3;
    peal_buf_init(&buf);
    FUZZ_CHECK(peal_buf_append(&buf, data, size) == 0);
    hear(&codec, &buf, &whole);
    peal_buf_deinit(&buf);
    for (size_t at = 0; at < size && cut_up.result >= 0; at += cut) {
        size_t piece = cut < size - at ? cut : size - at;
        FUZZ_CHECK(peal_buf_append(&buf, data + at, piece) == 0);
        hear(&codec, &buf, &cut_up);
    }
    peal_buf_deinit(&buf);
    FUZZ_CHECK(whole.count == cut_up.count);
    FUZZ_CHECK(whole.count == MESSAGES_MAX || whole.result == cut_up.result);
    for (size_t i = 0; i < whole.count; i++) {
        FUZZ_CHECK(whole.sizes[i] == cut_up.sizes[i] && whole.sums[i] == cut_up.sums[i]);
        check_prefix(&codec, whole.sizes[i]);
    }
    return 0;
}
