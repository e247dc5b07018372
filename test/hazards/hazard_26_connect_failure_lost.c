/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 26: a failure to connect taken for success, or told to nobody.
 *
 * An attempt ends in one on_open or one on_fail, whatever of it fails: each allocation and each
 * system call in turn, once and for ever after. And what opens is connected: bytes come through. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/faults.h"
#include "support/raw.h"
#include "sys/sys.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct fault {
    unsigned after, met;
    bool for_ever;
    int error;
    bool paused; /* what the peer and the test do is not to fail */
    const char *only;
};

static int inject(char kind, const char *name, void *user)
{
    struct fault *fault = user;
    (void)kind;
    if (fault->paused || (fault->only && strcmp(name, fault->only) != 0) || faults_is_wait(name) ||
        strcmp(name, "close") == 0) {
        return 0; /* without waiting there is no loop; close(2) has no failure that keeps the fd */
    }
    unsigned met = fault->met++;
    return met == fault->after || (fault->for_ever && met > fault->after) ? fault->error : 0;
}

/* One attempt at a raw listener. Returns whether a call failed. */
static bool attempt(struct fault *fault, int listener, const struct peal_addr *address)
{
    struct rig rig = {0};
    struct caller caller;
    memset(&caller, 0, sizeof caller);
    assert_int_equal(peal_loop_new(NULL, &rig.loop), 0);
    const struct peal_client_options options =
        caller_options(&caller, &(struct peal_client_options){.addrs = address, .addr_count = 1});
    sys_set_fault_hook(inject, fault);
    int result = peal_client_new(rig.loop, &options, &caller.client);
    if (result < 0) {
        assert_int_equal(result, -ENOMEM);
    } else {
        assert_int_equal(peal_client_connect(caller.client), 0);
        rig_until(&rig, caller.fails + caller.witness.opened > 0);
    }
    fault->paused = true;
    sys_set_fault_hook(NULL, NULL);
    rig_turn_ms(&rig, 2);
    assert_true(result < 0 || caller.fails + caller.witness.opened == 1);
    assert_true(caller.fails == 0 || !caller.failure.will_retry);
    if (caller.witness.conn) {
        int peer = raw_accept(listener);
        assert_int_equal(peal_conn_send(caller.witness.conn, "hello", 5), 5);
        rig_turn_once(&rig);
        raw_expect(peer, "hello");
        raw_send(peer, "hello", 5);
        rig_until(&rig, caller.witness.bytes == 5);
        raw_close(peer);
        rig_until(&rig, caller.witness.closed == 1);
    }
    assert_int_equal(caller.witness.opened, caller.witness.closed);
    peal_client_unref(caller.client);
    peal_loop_free(rig.loop);
    return fault->met > fault->after;
}

static void torture(bool for_ever, int error)
{
    struct peal_addr address;
    int listener = raw_listen(&address, 64);
    struct baseline before = baseline_take();
    for (unsigned n = 0;; n++) {
        struct fault fault = {.after = n, .for_ever = for_ever, .error = error};
        bool failed = attempt(&fault, listener, &address);
        baseline_check(&before);
        /* What connected and was given up again is still in the listener's queue; away with it. */
        raw_close(listener);
        listener = raw_listen(&address, 64);
        if (!failed) {
            assert_true(n > 10);
            break;
        }
    }
    raw_close(listener);
}

static void any_call_fails_once(void **state)
{
    static const int errors[] = {ENOMEM, EINTR, EMFILE, ENOBUFS, EINVAL};
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        torture(false, errors[i]);
    }
}

static void all_calls_fail_from_some_point(void **state)
{
    (void)state;
    torture(true, ENOMEM);
    torture(true, EMFILE);
}

/* connect(2) that was interrupted before it began leaves a socket that epoll calls writable and
 * SO_ERROR calls well. */
static void interrupted_connect_is_no_success(void **state)
{
    struct peal_addr address;
    struct fault fault = {.error = EINTR, .only = "connect"};
    (void)state;
    int listener = raw_listen(&address, 4);
    assert_true(attempt(&fault, listener, &address));
    raw_close(listener);
}

static void each_failure_of_connect_is_told_as_it_is(void **state)
{
    static const int errors[] = {ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL,
                                 EACCES,       EAGAIN,      ETIMEDOUT};
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct rig rig;
        struct caller caller;
        struct fault fault = {.error = errors[i], .only = "connect"};
        rig_open(&rig, NULL);
        caller_open(&caller, rig.loop,
                    &(struct peal_client_options){.addrs = &rig.address, .addr_count = 1});
        sys_set_fault_hook(inject, &fault);
        peal_client_connect(caller.client);
        rig_until(&rig, caller.fails == 1);
        sys_set_fault_hook(NULL, NULL);
        assert_int_equal(caller.failure.error, -errors[i]);
        assert_non_null(strstr(caller.text, peal_strerror(-errors[i])));
        peal_client_unref(caller.client);
        rig_close(&rig);
    }
}

/* A peer that resets at once: either the attempt fails, or a connection opens and closes; never
 * neither, never both. */
static void reset_at_once_is_one_or_the_other(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        struct rig rig = {0};
        struct caller caller;
        struct peal_addr address;
        int listener = raw_listen(&address, 4);
        assert_int_equal(peal_loop_new(NULL, &rig.loop), 0);
        caller_open(&caller, rig.loop,
                    &(struct peal_client_options){.addrs = &address, .addr_count = 1});
        peal_client_connect(caller.client);
        if (round % 2) {
            rig_turn_once(&rig); /* connect(2) has been called; its outcome has not been seen */
            raw_reset(raw_accept(listener));
        } else {
            rig_until(&rig, caller.witness.opened == 1);
            raw_reset(raw_accept(listener));
        }
        rig_until(&rig, caller.fails == 1 || caller.witness.closed == 1);
        rig_turn_ms(&rig, 2);
        assert_int_equal(caller.fails + caller.witness.opened, 1);
        assert_int_equal(caller.witness.closed, caller.witness.opened);
        peal_client_unref(caller.client);
        peal_loop_free(rig.loop);
        raw_close(listener);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_call_fails_once),
        TEST(all_calls_fail_from_some_point),
        TEST(interrupted_connect_is_no_success),
        TEST(each_failure_of_connect_is_told_as_it_is),
        TEST(reset_at_once_is_one_or_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
