/* SPDX-License-Identifier: BSD-2-Clause */
/* The caller's callbacks only note what they are told, and check what must hold of every failure:
 * the loop's thread, a sentence, an error, a pause where there is a next attempt and none where
 * there is not. */
#include "support/caller.h"

#include "support/raw.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void on_fail(struct peal_client *client, const struct peal_connect_failure *failure,
                    void *user)
{
    struct caller *caller = user;
    assert_non_null(peal_loop_current());
    assert_true(failure->error < 0);
    assert_true(failure->attempt > 0);
    assert_true(strlen(failure->why) > 10);
    assert_true(failure->will_retry || failure->retry_ms == 0);
    assert_null(peal_client_conn(client));
    if (caller->fails < sizeof caller->pauses_ms / sizeof caller->pauses_ms[0]) {
        caller->pauses_ms[caller->fails] = failure->retry_ms;
    }
    caller->fails++;
    caller->failure = *failure;
    snprintf(caller->text, sizeof caller->text, "%s", failure->why);
    caller->failure.why = caller->text;
    if (caller->also_fail) {
        caller->also_fail(caller, failure);
    }
}

struct peal_client_options caller_options(struct caller *caller,
                                          const struct peal_client_options *options)
{
    struct peal_client_options own = *options;
    own.ops = own.ops ? own.ops : &witness_ops;
    own.user = &caller->witness;
    own.on_fail = on_fail;
    return own;
}

void caller_open(struct caller *caller, struct peal_loop *loop,
                 const struct peal_client_options *options)
{
    memset(caller, 0, sizeof *caller);
    struct peal_client_options own = caller_options(caller, options);
    assert_int_equal(peal_client_new(loop, &own, &caller->client), 0);
}

void black_hole_open(struct black_hole *hole)
{
    hole->listener = raw_listen(&hole->address, 0);
    for (size_t i = 0; i < sizeof hole->fillers / sizeof hole->fillers[0]; i++) {
        socklen_t size;
        const struct sockaddr *address = peal_addr_sockaddr(&hole->address, &size);
        hole->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(hole->fillers[i] >= 0);
        assert_int_equal(connect(hole->fillers[i], address, size), -1);
        assert_int_equal(errno, EINPROGRESS);
    }
}

void black_hole_close(struct black_hole *hole)
{
    for (size_t i = 0; i < sizeof hole->fillers / sizeof hole->fillers[0]; i++) {
        raw_close(hole->fillers[i]);
    }
    raw_close(hole->listener);
}

struct peal_addr refusing_address(void)
{
    struct peal_addr address;
    raw_close(raw_listen(&address, 1));
    return address;
}

/* ---- the slow resolver */

unsigned slow_resolver_started, slow_resolver_cancelled;
bool slow_resolver_waiting;
static struct peal_loop *slow_loop;
static pl_resolved_fn slow_fn;
static void *slow_user;

static int slow_start(struct peal_loop *loop, const char *host, uint16_t port, pl_resolved_fn fn,
                      void *user, struct pl_resolve **ret_request)
{
    static char request;
    (void)host;
    (void)port;
    assert_false(slow_resolver_waiting);
    slow_resolver_started++;
    slow_resolver_waiting = true;
    slow_loop = loop;
    slow_fn = fn;
    slow_user = user;
    *ret_request = (struct pl_resolve *)(void *)&request;
    return 0;
}

static void slow_cancel(struct pl_resolve *request)
{
    (void)request;
    assert_true(slow_resolver_waiting);
    slow_resolver_waiting = false;
    slow_resolver_cancelled++;
}

static void answer(void *resolved)
{
    if (slow_resolver_waiting) {
        slow_resolver_waiting = false;
        slow_fn(resolved, slow_user);
    }
}

void slow_resolver_answer(struct pl_resolved *resolved)
{
    assert_true(slow_resolver_waiting);
    assert_int_equal(peal_loop_post(slow_loop, answer, resolved), 0);
}

const struct pl_resolver_ops slow_resolver = {
    .name = "slow", .start = slow_start, .cancel = slow_cancel};

static void *nothing(void *arg)
{
    return arg;
}

int first_thread(void **state)
{
    pthread_t thread;
    (void)state;
    return pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0;
}
