/* SPDX-License-Identifier: BSD-2-Clause */
/* Blobs: bytes that do not change, with an atomic count of references.
 *
 * A copy is one allocation, the bytes behind the header; a wrap is a header that points to the
 * caller's bytes. Nobody writes to the bytes after the blob exists, so threads read them without a
 * lock; the thread that creates a blob passes it on through something that synchronises (a task, a
 * server's broadcast).
 *
 * Invariants:
 *  1. references >= 1 as long as anyone may call. Going beyond the maximum is a leak that would end
 *     in a use after free, hence an assertion.
 *  2. Every drop releases and the last one acquires, so that release() sees all that any holder did
 *     before it let go. Both are said on the one fetch_sub; a separate fence would save an acquire
 *     for all but the last and blind the thread sanitizer.
 *  3. release is called once, after which nothing of the blob is touched but its own memory.
 *
 * Rejected: a static blob without a count. It would save an atomic operation for each send, and
 * cost a branch and a second kind of lifetime everywhere. */
#include <peal/blob.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "sys/sys.h"

struct peal_blob {
    _Atomic uint32_t references;
    const void *data;
    size_t size;
    peal_release_fn release;
    void *user;
    unsigned char bytes[]; /* of a copy */
};

static struct peal_blob *blob_new(size_t bytes_size)
{
    size_t size;
    if (__builtin_add_overflow(sizeof(struct peal_blob), bytes_size, &size) || size > PTRDIFF_MAX) {
        return NULL;
    }
    struct peal_blob *blob = sys_malloc(size);
    if (blob) {
        atomic_init(&blob->references, 1);
    }
    return blob;
}

int peal_blob_copy(const void *data, size_t size, struct peal_blob **ret_blob)
{
    struct peal_blob *blob = blob_new(size);
    if (!blob) {
        return -ENOMEM;
    }
    if (size != 0) {
        memcpy(blob->bytes, data, size);
    }
    blob->data = blob->bytes;
    blob->size = size;
    blob->release = NULL;
    blob->user = NULL;
    *ret_blob = blob;
    return 0;
}

int peal_blob_wrap(void *data, size_t size, peal_release_fn release, void *user,
                   struct peal_blob **ret_blob)
{
    struct peal_blob *blob = blob_new(0);
    if (!blob) {
        return -ENOMEM;
    }
    blob->data = data;
    blob->size = size;
    blob->release = release;
    blob->user = user;
    *ret_blob = blob;
    return 0;
}

struct peal_blob *peal_blob_ref(struct peal_blob *blob)
{
    uint32_t before = atomic_fetch_add_explicit(&blob->references, 1, memory_order_relaxed);
    pl_assert(before > 0 && before < UINT32_MAX);
    return blob;
}

struct peal_blob *peal_blob_unref(struct peal_blob *blob)
{
    if (!blob) {
        return NULL;
    }
    uint32_t before = atomic_fetch_sub_explicit(&blob->references, 1, memory_order_acq_rel);
    pl_assert(before > 0);
    if (before == 1) {
        if (blob->release) {
            /* The bytes are the caller's again, who passed them as writable. */
            blob->release((void *)(uintptr_t)blob->data, blob->size, blob->user);
        }
        sys_free(blob);
    }
    return NULL;
}

const void *peal_blob_data(const struct peal_blob *blob)
{
    return blob->data;
}

size_t peal_blob_size(const struct peal_blob *blob)
{
    return blob->size;
}
