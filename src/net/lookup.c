/* SPDX-License-Identifier: BSD-2-Clause */
/* Lookups by a resolver of the program's own.
 *
 * Asynchronous resolvers have a history of use after free: a request is cancelled while its answer
 * is on the way, or answered while its owner goes. Here nobody but the resolver's own end of a
 * lookup can make it go:
 *
 *     client ──start──► the resolver's ──answer or fail──► the loop's tasks ──loop──► fn, and freed
 *                                                             └─ the loop has ended: freed there
 *
 * Cancelling only takes the client out of it: the lookup then goes the same way and nobody is told.
 *
 * Invariants:
 *  1. ended is set once, by whichever call ends the lookup; a second one stops the program, as long
 *     as the memory is there to tell. What it ends with (error, why, addrs) is written after that
 *     and before the post, by the same thread, and read by the task.
 *  2. fn is read and written on the loop's thread alone. NULL: nobody waits.
 *  3. fn is called by the task and nowhere else. So resolve may answer at once, and cancel may end
 *     the lookup, without anything of the client running inside.
 *  4. A lookup holds a reference to its loop, and who ends it one of its own while it posts: once
 *     posted, the lookup may be freed before the post has returned.
 *  5. The resolver is only touched to ask it, and to cancel what it has not ended; a resolver that
 *     has ended all it has may go, once no client asks it any more. When a loop ends, its clients
 *     cancel while its queue still takes tasks, so a lookup is there as long as cancel runs.
 *
 * Rejected: the resolver's own request type, with a cancel that frees, as inside the library
 * (net/resolver.h). Each resolver would have to get the race of cancelling against answering right
 * by itself; c-ares cannot cancel a single query at all. */
#include "net/lookup.h"

#include "base/assert.h"
#include "loop/loop.h"
#include "net/client.h"

#include <peal/error.h>

#include <errno.h>
#include <string.h>

enum { WHY_MAX = 128 };

struct peal_lookup {
    struct pl_task task;
    struct peal_loop *loop;
    const struct peal_resolver *resolver;
    pl_resolved_fn fn;
    void *user;          /* for fn */
    void *resolver_user; /* peal_lookup_set_user */
    _Atomic bool ended;
    uint16_t port;
    int error;
    size_t count;
    struct peal_addr *addrs;
    char why[WHY_MAX];
    char host[PEAL_HOST_MAX];
};

static void lookup_free(struct peal_lookup *lookup)
{
    peal_loop_unref(lookup->loop);
    sys_free(lookup->addrs);
    sys_free(lookup);
}

static void on_task(struct pl_task *task, bool dropped)
{
    struct peal_lookup *lookup = pl_container(task, struct peal_lookup, task);
    if (!dropped && lookup->fn) {
        const struct pl_resolved resolved = {
            .error = lookup->error,
            .why = lookup->why,
            .addrs = lookup->addrs,
            .count = lookup->count,
        };
        lookup->fn(&resolved, lookup->user);
    }
    lookup_free(lookup);
}

/* ---- the client's side */

int pl_lookup_start(const struct peal_resolver *resolver, struct peal_loop *loop, const char *host,
                    uint16_t port, pl_resolved_fn fn, void *user, struct peal_lookup **ret_lookup)
{
    size_t size = strlen(host) + 1;
    pl_assert(size <= PEAL_HOST_MAX);
    struct peal_lookup *lookup = sys_calloc(1, sizeof *lookup);
    if (!lookup) {
        return -ENOMEM;
    }
    lookup->task.fn = on_task;
    lookup->loop = peal_loop_ref(loop);
    lookup->resolver = resolver;
    lookup->fn = fn;
    lookup->user = user;
    lookup->port = port;
    memcpy(lookup->host, host, size);
    *ret_lookup = lookup;
    resolver->resolve(lookup, resolver->user); /* freed in a task at the earliest */
    return 0;
}

void pl_lookup_cancel(struct peal_lookup *lookup)
{
    pl_assert(lookup->fn);
    lookup->fn = NULL;
    if (!atomic_load_explicit(&lookup->ended, memory_order_acquire) && lookup->resolver->cancel) {
        lookup->resolver->cancel(lookup, lookup->resolver->user);
    }
}

/* ---- the resolver's side */

const char *peal_lookup_host(const struct peal_lookup *lookup)
{
    return lookup->host;
}

struct peal_loop *peal_lookup_loop(const struct peal_lookup *lookup)
{
    return lookup->loop;
}

void peal_lookup_set_user(struct peal_lookup *lookup, void *user)
{
    lookup->resolver_user = user;
}

void *peal_lookup_user(const struct peal_lookup *lookup)
{
    return lookup->resolver_user;
}

static void end_once(struct peal_lookup *lookup, const char *what)
{
    if (atomic_exchange_explicit(&lookup->ended, true, memory_order_acq_rel)) {
        pl_misuse("%s: the lookup of %s was ended already", what, lookup->host);
    }
}

static void deliver(struct peal_lookup *lookup)
{
    struct peal_loop *loop = peal_loop_ref(lookup->loop);
    if (!pl_loop_post_task(loop, &lookup->task)) {
        lookup_free(lookup);
    }
    peal_loop_unref(loop);
}

static void set_failure(struct peal_lookup *lookup, int error, const char *why)
{
    lookup->error = error < 0 ? error : PEAL_ERR_RESOLVE;
    sys_format(lookup->why, WHY_MAX, "%s", why ? why : peal_strerror(lookup->error));
}

static void take_addrs(struct peal_lookup *lookup, const struct peal_addr *addrs, size_t count)
{
    if (count > 0) {
        lookup->addrs = sys_calloc(count, sizeof *addrs);
        if (!lookup->addrs) {
            set_failure(lookup, -ENOMEM, NULL);
            return;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct peal_addr addr = addrs[i];
        if (peal_addr_port(&addr) == 0 && peal_addr_kind(&addr) != PEAL_ADDR_UNIX) {
            (void)peal_addr_set_port(&addr, lookup->port); /* of what has none: it is left out */
        }
        if (pl_client_can_reach(&addr)) {
            lookup->addrs[lookup->count++] = addr;
        }
    }
    if (lookup->count == 0) {
        set_failure(lookup, PEAL_ERR_RESOLVE, "the name has no address");
    }
}

void peal_lookup_answer(struct peal_lookup *lookup, const struct peal_addr *addrs, size_t count)
{
    end_once(lookup, "peal_lookup_answer");
    take_addrs(lookup, addrs, count);
    deliver(lookup);
}

void peal_lookup_fail(struct peal_lookup *lookup, int error, const char *why)
{
    end_once(lookup, "peal_lookup_fail");
    set_failure(lookup, error, why);
    deliver(lookup);
}
