/* SPDX-License-Identifier: BSD-2-Clause */
/* One c-ares channel, driven by a loop.
 *
 * c-ares says what it waits for: on_state, which sockets and for what, each of which has a watch
 * here; ares_timeout, its next moment, which is the one timer, set anew after each call that may
 * have changed it.
 *
 *  1. A query's callback does nothing but end its lookup, and that runs nothing of the program's
 *     (peal/resolver.h). So no call of c-ares is made from inside another, and the channel is never
 *     destroyed under one.
 *  2. c-ares calls back once for each query, whatever happens, ares_destroy included; just so often
 *     does a lookup have to be ended. A lookup is therefore all that a query needs to know, and a
 *     cancelled one is left to come to its end: c-ares has no way to cancel one query.
 *  3. on_state(0, 0) comes before c-ares closes a socket, and the watch is closed then and there.
 *  4. A socket that could not be watched is one that never answers: c-ares runs into its time-out,
 *     and asks the next server or gives up. */
#include "peal_cares.h"

#include <peal/error.h>
#include <peal/timer.h>
#include <peal/watch.h>

#include <ares.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/time.h>

enum { ADDRS_MAX = 32 }; /* of one name; the client races no more of them than that */

struct watched {
    struct watched *next;
    struct peal_watch *watch;
};

struct peal_cares {
    struct peal_loop *loop;
    struct peal_resolver resolver;
    struct peal_timer timer;
    struct watched *sockets; /* a few: those to each server that is being asked */
    ares_channel channel;
};

/* ---- driving it */

static void set_timer(struct peal_cares *cares)
{
    struct timeval left;

    if (ares_timeout(cares->channel, NULL, &left)) {
        peal_timer_start(&cares->timer,
                         (uint64_t)left.tv_sec * 1000 + ((uint64_t)left.tv_usec + 999) / 1000, 0);
    } else {
        peal_timer_cancel(&cares->timer);
    }
}

static void on_due(struct peal_timer *timer, void *user)
{
    struct peal_cares *cares = user;

    (void)timer;
    ares_process_fd(cares->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(cares);
}

static void on_ready(struct peal_watch *watch, uint32_t events, void *user)
{
    struct peal_cares *cares = user;
    int fd = peal_watch_fd(watch);

    ares_process_fd(cares->channel, events & ~(uint32_t)PEAL_WRITABLE ? fd : ARES_SOCKET_BAD,
                    events & PEAL_WRITABLE ? fd : ARES_SOCKET_BAD);
    set_timer(cares);
}

static void watch_socket(struct peal_cares *cares, int fd, uint32_t events)
{
    struct watched *watched = malloc(sizeof(*watched));

    if (!watched ||
        peal_watch_open(cares->loop, fd, events, on_ready, cares, &watched->watch) < 0) {
        free(watched);
        return;
    }
    watched->next = cares->sockets;
    cares->sockets = watched;
}

static void on_state(void *user, ares_socket_t fd, int readable, int writable)
{
    struct peal_cares *cares = user;
    uint32_t events = (readable ? PEAL_READABLE : 0U) | (writable ? PEAL_WRITABLE : 0U);
    struct watched **at = &cares->sockets;

    while (*at && peal_watch_fd((*at)->watch) != fd) {
        at = &(*at)->next;
    }
    struct watched *watched = *at;
    if (!watched) {
        if (events != 0) {
            watch_socket(cares, fd, events);
        }
    } else if (events == 0 || peal_watch_set(watched->watch, events) < 0) {
        *at = watched->next;
        peal_watch_close(watched->watch);
        free(watched);
    }
}

/* ---- looking up */

static void on_result(void *user, int status, int timeouts, struct ares_addrinfo *result)
{
    struct peal_lookup *lookup = user;
    struct peal_addr addrs[ADDRS_MAX];
    size_t count = 0;

    (void)timeouts;
    if (status != ARES_SUCCESS) {
        peal_lookup_fail(lookup, status == ARES_ENOMEM ? -ENOMEM : PEAL_ERR_RESOLVE,
                         ares_strerror(status));
        return;
    }
    for (const struct ares_addrinfo_node *node = result->nodes; node && count < ADDRS_MAX;
         node = node->ai_next) {
        if (peal_addr_from_sockaddr(node->ai_addr, node->ai_addrlen, &addrs[count]) == 0) {
            count++;
        }
    }
    ares_freeaddrinfo(result);
    peal_lookup_answer(lookup, addrs, count);
}

static void resolve(struct peal_lookup *lookup, void *user)
{
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                                     .ai_socktype = SOCK_STREAM};
    struct peal_cares *cares = user;

    if (peal_lookup_loop(lookup) != cares->loop) {
        peal_lookup_fail(lookup, -EINVAL, "its c-ares is on another loop");
        return;
    }
    ares_getaddrinfo(cares->channel, peal_lookup_host(lookup), NULL, &hints, on_result, lookup);
    set_timer(cares);
}

/* ---- called by the program */

static int open_channel(struct peal_cares *cares, const char *servers)
{
    struct ares_options options = {.sock_state_cb = on_state, .sock_state_cb_data = cares};
    int status = ares_init_options(&cares->channel, &options, ARES_OPT_SOCK_STATE_CB);

    if (status != ARES_SUCCESS) {
        return status == ARES_ENOMEM ? -ENOMEM : -EIO;
    }
    if (servers) {
        status = ares_set_servers_ports_csv(cares->channel, servers);
        if (status != ARES_SUCCESS) {
            ares_destroy(cares->channel);
            return status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
        }
    }
    return 0;
}

int peal_cares_new(struct peal_loop *loop, const char *servers, struct peal_cares **ret_cares)
{
    struct peal_cares *cares = calloc(1, sizeof(*cares));

    if (!cares) {
        return -ENOMEM;
    }
    cares->loop = loop;
    cares->resolver = (struct peal_resolver){.resolve = resolve, .user = cares};
    int result = open_channel(cares, servers);
    if (result < 0) {
        free(cares);
        return result;
    }
    peal_timer_init(&cares->timer, loop, on_due, cares);
    *ret_cares = cares;
    return 0;
}

const struct peal_resolver *peal_cares_resolver(struct peal_cares *cares)
{
    return &cares->resolver;
}

struct peal_cares *peal_cares_free(struct peal_cares *cares)
{
    if (cares) {
        ares_destroy(cares->channel); /* ends its lookups, and its sockets with their watches */
        peal_timer_deinit(&cares->timer);
        free(cares);
    }
    return NULL;
}
