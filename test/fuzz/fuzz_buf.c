/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes in a buffer would be lost, doubled or moved: whatever is done to it, it holds what a plain
 * array holds to which the same was done. */
#include "fuzz.h"

#include <peal/buf.h>

enum { MODEL_MAX = 1 << 16, STEPS_MAX = 300 };

struct model {
    struct peal_buf buf;
    uint8_t bytes[MODEL_MAX];
    size_t size;
};

static void check_same(const struct model *model)
{
    FUZZ_CHECK(peal_buf_size(&model->buf) == model->size);
    FUZZ_CHECK(model->size == 0 ||
               memcmp(peal_buf_data(&model->buf), model->bytes, model->size) == 0);
}

static void add(struct model *model, struct fuzz_input *input, bool in_front)
{
    size_t size;
    const uint8_t *bytes = fuzz_bytes(input, (size_t)fuzz_below(input, 200), &size);
    if (size > MODEL_MAX - model->size) {
        return;
    }
    if (in_front) {
        FUZZ_CHECK(peal_buf_prepend(&model->buf, bytes, size) == 0);
        memmove(model->bytes + size, model->bytes, model->size);
        memcpy(model->bytes, bytes, size);
    } else {
        FUZZ_CHECK(peal_buf_append(&model->buf, bytes, size) == 0);
        memcpy(model->bytes + model->size, bytes, size);
    }
    model->size += size;
}

static void consume(struct model *model, size_t size)
{
    size = size < model->size ? size : model->size;
    peal_buf_consume(&model->buf, size);
    memmove(model->bytes, model->bytes + size, model->size - size);
    model->size -= size;
}

static void reserve(struct model *model, struct fuzz_input *input)
{
    void *room;
    size_t size = (size_t)fuzz_below(input, 3000), used = (size_t)fuzz_below(input, size + 1);
    if (size > MODEL_MAX - model->size) {
        return;
    }
    FUZZ_CHECK(peal_buf_reserve(&model->buf, size, &room) == 0);
    FUZZ_CHECK(peal_buf_room(&model->buf) >= size);
    memset(room, 0x5a, size);
    peal_buf_commit(&model->buf, used);
    memset(model->bytes + model->size, 0x5a, used);
    model->size += used;
}

static void find(const struct model *model, struct fuzz_input *input)
{
    size_t at = (size_t)fuzz_below(input, 300);
    uint8_t byte = (uint8_t)fuzz_below(input, 256), pair[2] = {byte, 0x5a};
    ssize_t found = -1, found_pair = -1;
    for (size_t i = at; i < model->size && (found < 0 || found_pair < 0); i++) {
        found = found < 0 && model->bytes[i] == byte ? (ssize_t)i : found;
        found_pair = found_pair < 0 && i + 1 < model->size && memcmp(model->bytes + i, pair, 2) == 0
                         ? (ssize_t)i
                         : found_pair;
    }
    FUZZ_CHECK(peal_buf_find_from(&model->buf, at, byte) == found);
    FUZZ_CHECK(peal_buf_find_bytes_from(&model->buf, at, pair, 2) == found_pair);
}

static void integers(struct model *model, struct fuzz_input *input)
{
    uint32_t value = (uint32_t)fuzz_below(input, UINT32_MAX), big;
    uint16_t little;
    if (model->size + 4 > MODEL_MAX) {
        return;
    }
    FUZZ_CHECK(peal_buf_prepend_u32be(&model->buf, value) == 0);
    FUZZ_CHECK(peal_buf_peek_u32be(&model->buf, 0, &big) && big == value);
    FUZZ_CHECK(peal_buf_take_u32be(&model->buf, &big) && big == value);
    bool is_there = model->size >= 2;
    FUZZ_CHECK(peal_buf_take_u16le(&model->buf, &little) == is_there);
    if (is_there) {
        FUZZ_CHECK(little == (uint16_t)(model->bytes[0] | model->bytes[1] << 8));
        memmove(model->bytes, model->bytes + 2, model->size -= 2);
    }
}

static void step(struct model *model, struct fuzz_input *input)
{
    switch (fuzz_below(input, 9)) {
    case 0:
    case 1:
        add(model, input, false);
        break;
    case 2:
        add(model, input, true);
        break;
    case 3:
        consume(model, (size_t)fuzz_below(input, 400));
        break;
    case 4:
        reserve(model, input);
        break;
    case 5:
        find(model, input);
        break;
    case 6:
        integers(model, input);
        break;
    case 7:
        peal_buf_shrink(&model->buf);
        break;
    default:
        if (fuzz_below(input, 8) == 7) {
            peal_buf_clear(&model->buf);
            model->size = 0;
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model a, b;
    struct fuzz_input input = {data, size};
    peal_buf_init(&a.buf);
    peal_buf_init(&b.buf);
    a.size = b.size = 0;
    for (unsigned steps = 0; steps < STEPS_MAX && input.size > 0; steps++) {
        uint64_t which = fuzz_below(&input, 16);
        step(which < 8 ? &a : &b, &input);
        if (which == 15) {
            FUZZ_CHECK(peal_buf_swap(&a.buf, &b.buf) == 0);
            static struct model other;
            memcpy(other.bytes, a.bytes, a.size);
            size_t other_size = a.size;
            memcpy(a.bytes, b.bytes, a.size = b.size);
            memcpy(b.bytes, other.bytes, b.size = other_size);
        }
        check_same(&a);
        check_same(&b);
    }
    peal_buf_deinit(&a.buf);
    peal_buf_deinit(&b.buf);
    return 0;
}
