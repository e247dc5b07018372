/* SPDX-License-Identifier: BSD-2-Clause */
/* Names to addresses, off the loop. A resolver is a table of two functions, so that another one (an
 * asynchronous DNS library) can take the place of the threads that call getaddrinfo(3). */
#ifndef PL_RESOLVER_H
#define PL_RESOLVER_H

#include <peal/addr.h>

struct peal_loop;
struct pl_resolve; /* a request; each resolver's own structure */

/* What came of a request: error 0 and at least one address, in the resolver's order of preference;
 * or error a negative errno or PEAL_ERR_RESOLVE, no address, and why, the resolver's words for it.
 * All of it is valid during the call; so is the request, which is gone after it. On the loop's
 * thread, at top level. */
struct pl_resolved {
    int error;
    const char *why; /* never NULL; static storage or the request's */
    const struct peal_addr *addrs;
    size_t count;
};
typedef void (*pl_resolved_fn)(const struct pl_resolved *resolved, void *user);

struct pl_resolver_ops {
    const char *name;

    /* Begins to look host up (copied). fn comes once, never from inside this call, unless the
     * request is cancelled or the loop ends. The loop's thread. Errors: -EINVAL (the host is longer
     * than PEAL_HOST_MAX), -ENOMEM, or what starting a thread says; fn is then not called. */
    int (*start)(struct peal_loop *loop, const char *host, uint16_t port, pl_resolved_fn fn,
                 void *user, struct pl_resolve **ret_request);

    /* Forgets a request: fn is not called any more, and the memory goes when the resolver has done
     * with it. At any moment before fn was called, on the loop's thread; allocates nothing. Also
     * what the owner must do when the loop ends. */
    void (*cancel)(struct pl_resolve *request);
};

/* getaddrinfo in threads of the process. */
extern const struct pl_resolver_ops pl_resolver_threads;

/* The one that clients use. Tests set another while no client is there. */
extern const struct pl_resolver_ops *pl_resolver;

/* At most so many lookups at once; the rest waits its turn. */
enum { PL_RESOLVER_THREADS_MAX = 4 };

/* Worker threads that there are now. Any thread; for tests. */
unsigned pl_resolver_thread_count(void);

#endif
