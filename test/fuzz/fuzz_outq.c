/* SPDX-License-Identifier: BSD-2-Clause */
/* Accepted bytes would leave in another order, twice or not at all: the output queue gives out what
 * was put in, whether copied, shared or gathered, and counts it right. */
#include "fuzz.h"

#include "net/outq.h"

#include <peal/loop.h>

enum { MODEL_MAX = 1 << 18, STEPS_MAX = 200, IOV = 5 };

struct model {
    struct pl_outq queue;
    struct peal_loop *loop;
    uint8_t bytes[MODEL_MAX];
    size_t size, next;
};

static void fill(struct model *model, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(model->next * 7 + (model->next >> 8));
        model->next++;
    }
    memcpy(model->bytes + model->size, bytes, size);
    model->size += size;
}

static void append(struct model *model, struct fuzz_input *input, bool shared)
{
    static uint8_t bytes[40000];
    static const size_t most[] = {10, 200, 9000, 39000};
    size_t size = 1 + (size_t)fuzz_below(input, most[fuzz_below(input, 4)]);
    size_t skip = (size_t)fuzz_below(input, 30), half = size / 2;
    if (skip + size > sizeof bytes || size > MODEL_MAX - model->size) {
        return;
    }
    memset(bytes, 0xee, skip);
    fill(model, bytes + skip, size);
    if (shared) {
        struct peal_blob *blob;
        FUZZ_CHECK(peal_blob_copy(bytes, skip + size, &blob) == 0);
        FUZZ_CHECK(pl_outq_append_blob(&model->queue, blob, skip) == 0);
        peal_blob_unref(blob);
    } else {
        const struct iovec parts[] = {{bytes, half}, {NULL, 0}, {bytes + half, skip + size - half}};
        FUZZ_CHECK(pl_outq_append(&model->queue, model->loop, parts, 3, size, skip) == 0);
    }
}

static void gather(struct model *model, struct fuzz_input *input)
{
    struct iovec iov[IOV];
    size_t size, at = 0;
    int count = pl_outq_gather(&model->queue, iov, IOV, &size);
    FUZZ_CHECK(size <= model->size && (size > 0) == (model->size > 0));
    for (int i = 0; i < count; i++) {
        FUZZ_CHECK(iov[i].iov_len > 0 && at + iov[i].iov_len <= size);
        FUZZ_CHECK(memcmp(model->bytes + at, iov[i].iov_base, iov[i].iov_len) == 0);
        at += iov[i].iov_len;
    }
    FUZZ_CHECK(at == size);
    size_t taken = (size_t)fuzz_below(input, size + 1);
    pl_outq_consume(&model->queue, model->loop, taken);
    memmove(model->bytes, model->bytes + taken, model->size - taken);
    model->size -= taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model model;
    struct fuzz_input input = {data, size};
    if (!model.loop) { /* one for all inputs: it lends spare chunks */
        FUZZ_CHECK(peal_loop_new(&(struct peal_loop_options){.engine = "epoll"}, &model.loop) == 0);
    }
    model.size = model.next = 0;
    for (unsigned steps = 0; steps < STEPS_MAX && input.size > 0; steps++) {
        uint64_t what = fuzz_below(&input, 8);
        if (what < 5) {
            append(&model, &input, what == 4);
        } else {
            gather(&model, &input);
        }
        FUZZ_CHECK(pl_outq_bytes(&model.queue) == model.size);
        FUZZ_CHECK(pl_outq_memory_bytes(&model.queue) == model.size);
        FUZZ_CHECK(pl_outq_is_empty(&model.queue) == (model.size == 0));
    }
    pl_outq_consume_all(&model.queue, model.loop);
    FUZZ_CHECK(pl_outq_is_empty(&model.queue));
    return 0;
}
