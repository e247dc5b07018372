/* SPDX-License-Identifier: BSD-2-Clause */
/* c-ares as the resolver of a loop's clients: DNS in the loop itself, without a thread.
 *
 * Take this pair of files into your program as it is.
 *
 *     peal_cares_new(loop, NULL, &cares);
 *     struct peal_client_options options = {
 *         .to = "example.org:80", .resolver = peal_cares_resolver(cares), .ops = &ops};
 *     ...
 *     client = peal_client_unref(client);
 *     cares = peal_cares_free(cares);     // after its clients, before peal_loop_free
 */
#ifndef PEAL_CARES_H
#define PEAL_CARES_H

#include <peal/loop.h>
#include <peal/resolver.h>

struct peal_cares;

/* servers: those to ask, as "127.0.0.1:53,[::1]:5353"; NULL: those of the system's configuration.
 * The loop's thread, as all calls here. ares_library_init is the program's matter. Errors: -EINVAL
 * (servers), -ENOMEM, -EIO (c-ares could not read the system's configuration). */
int peal_cares_new(struct peal_loop *loop, const char *servers, struct peal_cares **ret_cares);

/* For clients of this loop; those of another one are told -EINVAL. */
const struct peal_resolver *peal_cares_resolver(struct peal_cares *cares);

/* Fails what is under way. Its clients have been released or cancelled by now, or their loop has
 * ended; inside any callback. NULL is allowed. Returns NULL. */
struct peal_cares *peal_cares_free(struct peal_cares *cares);

#endif
