/* SPDX-License-Identifier: BSD-2-Clause */
/* Lookups: what a client asks of a resolver of the program's own (peal/resolver.h). */
#ifndef PL_LOOKUP_H
#define PL_LOOKUP_H

#include "net/resolver.h"

#include <peal/resolver.h>

/* Asks. fn comes once, never from inside, unless the lookup is cancelled or the loop ends. The
 * loop's thread, at top level. Errors: -ENOMEM; nothing was then asked. */
int pl_lookup_start(const struct peal_resolver *resolver, struct peal_loop *loop, const char *host,
                    uint16_t port, pl_resolved_fn fn, void *user, struct peal_lookup **ret_lookup);

/* Waits no more: fn is not called. Before fn was called, on the loop's thread, at top level; also
 * what the owner must do when the loop ends. Allocates nothing. */
void pl_lookup_cancel(struct peal_lookup *lookup);

#endif
