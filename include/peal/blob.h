/* SPDX-License-Identifier: BSD-2-Clause */
/* A blob: bytes that do not change, shared by reference between connections and threads. One blob
 * broadcast to 5,000 connections is one allocation.
 *
 *     struct peal_blob *blob;
 *     if (peal_blob_copy(text, size, &blob) == 0) {
 *         peal_server_broadcast(server, blob, NULL, NULL, NULL);
 *         peal_blob_unref(blob);
 *     }
 */
#ifndef PEAL_BLOB_H
#define PEAL_BLOB_H

#include <peal/base.h>

PEAL_BEGIN

struct peal_blob;

typedef void (*peal_release_fn)(void *data, size_t size, void *user);

/* A blob with a copy of the bytes, in one allocation. Error: -ENOMEM. Any thread, as all calls
 * here. */
PEAL_API PEAL_MUST_USE int peal_blob_copy(const void *data, size_t size,
                                          struct peal_blob **ret_blob);

/* A blob around the caller's bytes, which must not change until release(data, size, user) is
 * called: with the last reference, on whichever thread drops it. release may be NULL (static data).
 * On error the bytes stay the caller's. */
PEAL_API PEAL_MUST_USE int peal_blob_wrap(void *data, size_t size, peal_release_fn release,
                                          void *user, struct peal_blob **ret_blob);

PEAL_API struct peal_blob *peal_blob_ref(struct peal_blob *blob);
PEAL_API struct peal_blob *
peal_blob_unref(struct peal_blob *blob); /* NULL is allowed. Returns NULL. */
PEAL_API const void *peal_blob_data(const struct peal_blob *blob);
PEAL_API size_t peal_blob_size(const struct peal_blob *blob);

PEAL_END
#endif
