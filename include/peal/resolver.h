/* SPDX-License-Identifier: BSD-2-Clause */
/* A resolver of the program's own: names to addresses for its clients, in place of the built-in one
 * (getaddrinfo(3) in threads). For a DNS library that runs on the loop, a registry of services, a
 * table.
 *
 * A client asks with a lookup. From then on the lookup is the resolver's, until it ends it: exactly
 * once, now or later, on any thread. Nothing takes it away before: what comes of a lookup whose
 * client was cancelled or released or ran out of time, or whose loop has ended, is dropped. So a
 * resolver holds no lookup that has gone, and has no race to win.
 *
 *     static void resolve(struct peal_lookup *lookup, void *user) {
 *         struct peal_addr addr;
 *         if (peal_addr_parse(user, &addr, NULL) == 0) {
 *             peal_lookup_answer(lookup, &addr, 1);
 *         } else {
 *             peal_lookup_fail(lookup, PEAL_ERR_RESOLVE, "its place is not known");
 *         }
 *     }
 *
 *     static const struct peal_resolver here = {.resolve = resolve, .user = (char *)"127.0.0.1:0"};
 *
 *     struct peal_client_options options = {.to = "billing:80", .resolver = &here, .ops = &ops};
 */
#ifndef PEAL_RESOLVER_H
#define PEAL_RESOLVER_H

#include <peal/addr.h>

PEAL_BEGIN

struct peal_loop;
struct peal_lookup;

/* The program's, which keeps it while a client may ask it and while a lookup is not ended. Once the
 * loop's thread has called peal_client_cancel or the last peal_client_unref, or the loop has ended,
 * the client asks no more. */
struct peal_resolver {
    /* Takes a lookup, which may be ended inside already. The loop's thread, at top level: it must
     * not block. Must be set. */
    void (*resolve)(struct peal_lookup *lookup, void *user);

    /* Nobody waits for this lookup any more: an occasion to end it soon, with whatever, inside if
     * that is easy. At most once, on the loop's thread, at top level; not after the lookup has been
     * ended, unless another thread is just doing that. May be NULL. */
    void (*cancel)(struct peal_lookup *lookup, void *user);

    void *user;
};

/* What is asked for, valid until the lookup is ended: the host, as written in the client's "to",
 * and the loop of the client. The port is the client's affair. Any thread. */
PEAL_API const char *peal_lookup_host(const struct peal_lookup *lookup);
PEAL_API struct peal_loop *peal_lookup_loop(const struct peal_lookup *lookup);

/* For what the resolver keeps with a lookup; NULL at first. Guarded by nothing. */
PEAL_API void peal_lookup_set_user(struct peal_lookup *lookup, void *user);
PEAL_API void *peal_lookup_user(const struct peal_lookup *lookup);

/* Ends a lookup with its addresses, in order of preference; copied. Port 0 stands for the port that
 * the client was given, any other is taken as it is. What cannot be connected to is left out; if
 * that leaves nothing, the lookup has failed with PEAL_ERR_RESOLVE. The client hears of it in a
 * task of its loop, never inside (G2). Any thread. */
PEAL_API void peal_lookup_answer(struct peal_lookup *lookup, const struct peal_addr *addrs,
                                 size_t count);

/* Ends a lookup without an address. error: negative, such as PEAL_ERR_RESOLVE. why: a few words,
 * copied (of at most 127 bytes); they become a part of peal_connect_failure.why. NULL: those of
 * peal_strerror. Any thread. */
PEAL_API void peal_lookup_fail(struct peal_lookup *lookup, int error, const char *why);

PEAL_END
#endif
