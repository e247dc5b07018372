/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, looking up a name would block the loop, answer twice or never, or leave threads
 * and memory behind. */
#include "net/resolver.h"
#include "support/baseline.h"
#include "support/caller.h"
#include "support/rig.h"
#include "sys/sys.h"

#include <peal/error.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct answer {
    struct rig rig; /* only its loop is used */
    unsigned calls;
    int error;
    char why[256];
    size_t count;
    struct peal_addr addrs[8];
};

static void note(const struct pl_resolved *resolved, void *user)
{
    struct answer *answer = user;
    assert_true(peal_loop_is_mine(answer->rig.loop));
    assert_int_equal(resolved->error == 0, resolved->count > 0);
    answer->calls++;
    answer->error = resolved->error;
    answer->count = resolved->count;
    strncpy(answer->why, resolved->why, sizeof answer->why - 1);
    for (size_t i = 0; i < resolved->count && i < 8; i++) {
        answer->addrs[i] = resolved->addrs[i];
    }
}

static void open_loop(struct answer *answer)
{
    memset(answer, 0, sizeof *answer);
    assert_int_equal(peal_loop_new(NULL, &answer->rig.loop), 0);
}

static void look_up(struct answer *answer, const char *host)
{
    struct pl_resolve *request;
    assert_int_equal(pl_resolver_threads.start(answer->rig.loop, host, 80, note, answer, &request),
                     0);
    assert_int_equal(answer->calls, 0);
    rig_until(&answer->rig, answer->calls == 1);
}

static void wait_for_threads(void)
{
    for (uint64_t limit = rig_now_ms() + 20000; pl_resolver_thread_count() > 0;) {
        assert_true(rig_now_ms() < limit);
        sys_thread_yield();
    }
}

static void finds_the_machine_itself(void **state)
{
    struct answer answer;
    (void)state;
    open_loop(&answer);
    look_up(&answer, "localhost");
    assert_int_equal(answer.error, 0);
    for (size_t i = 0; i < answer.count; i++) {
        assert_true(peal_addr_is_loopback(&answer.addrs[i]));
        assert_int_equal(peal_addr_port(&answer.addrs[i]), 80);
        for (size_t j = 0; j < i; j++) {
            assert_false(peal_addr_equal(&answer.addrs[i], &answer.addrs[j]));
        }
    }
    peal_loop_free(answer.rig.loop);
}

static void says_why_a_name_has_no_address(void **state)
{
    struct answer answer;
    (void)state;
    open_loop(&answer);
    look_up(&answer, "no..name"); /* no server need be asked to refuse this */
    assert_int_equal(answer.error, PEAL_ERR_RESOLVE);
    assert_true(strlen(answer.why) > 0);
    peal_loop_free(answer.rig.loop);
}

static void digits_never_reach_a_thread(void **state)
{
    static const struct {
        const char *host;
        const char *text;
    } cases[] = {{"127.0.0.1", "127.0.0.1:80"}, {"::1", "[::1]:80"}, {"2001:db8::2", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer answer;
        struct pl_resolve *request;
        open_loop(&answer);
        assert_int_equal(
            pl_resolver_threads.start(answer.rig.loop, cases[i].host, 80, note, &answer, &request),
            0);
        assert_int_equal(pl_resolver_thread_count(), 0);
        assert_int_equal(answer.calls, 0); /* G2 */
        rig_turn_once(&answer.rig);
        assert_int_equal(answer.calls, 1);
        assert_int_equal(answer.count, 1);
        if (cases[i].text) {
            char text[PEAL_ADDR_TEXT_MAX];
            assert_true(peal_addr_format(&answer.addrs[0], text, sizeof text) > 0);
            assert_string_equal(text, cases[i].text);
        }
        peal_loop_free(answer.rig.loop);
    }
}

static void cancelled_requests_never_answer(void **state)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "no..name"};
    struct answer answer;
    (void)state;
    open_loop(&answer);
    for (unsigned round = 0; round < 50; round++) {
        struct pl_resolve *requests[12]; /* more than there are threads: some are still queued */
        for (size_t i = 0; i < 12; i++) {
            assert_int_equal(pl_resolver_threads.start(answer.rig.loop, hosts[i % 3], 80, note,
                                                       &answer, &requests[i]),
                             0);
            assert_true(pl_resolver_thread_count() <= PL_RESOLVER_THREADS_MAX);
        }
        for (size_t i = 12; i > 0; i--) {
            pl_resolver_threads.cancel(requests[i - 1]);
        }
        rig_turn_once(&answer.rig);
    }
    wait_for_threads();
    rig_turns(&answer.rig, 2);
    assert_int_equal(answer.calls, 0);
    peal_loop_free(answer.rig.loop);
}

static void more_requests_than_threads_are_all_answered(void **state)
{
    struct answer answer;
    (void)state;
    open_loop(&answer);
    for (size_t i = 0; i < 40; i++) {
        struct pl_resolve *request;
        assert_int_equal(pl_resolver_threads.start(answer.rig.loop,
                                                   i % 2 ? "localhost" : "no..name", 80, note,
                                                   &answer, &request),
                         0);
    }
    rig_until(&answer.rig, answer.calls == 40);
    peal_loop_free(answer.rig.loop);
}

static void outlives_its_loop(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        struct answer answer;
        struct pl_resolve *requests[6];
        open_loop(&answer);
        for (size_t i = 0; i < 6; i++) {
            assert_int_equal(pl_resolver_threads.start(answer.rig.loop, "localhost", 80, note,
                                                       &answer, &requests[i]),
                             0);
        }
        for (size_t i = 0; i < 6; i++) {
            pl_resolver_threads.cancel(requests[i]);
        }
        peal_loop_free(answer.rig.loop); /* lookups may still be going on */
        assert_int_equal(answer.calls, 0);
    }
}

static void bad_hosts_are_refused(void **state)
{
    struct answer answer;
    struct pl_resolve *request;
    char host[PEAL_HOST_MAX + 1];
    (void)state;
    open_loop(&answer);
    memset(host, 'a', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    assert_int_equal(pl_resolver_threads.start(answer.rig.loop, host, 80, note, &answer, &request),
                     -EINVAL);
    peal_loop_free(answer.rig.loop);
}

/* ---- faults */

struct fault {
    const char *name; /* NULL: any */
    unsigned after;   /* let so many pass */
    unsigned met;
    int error;
};

static int inject(char kind, const char *name, void *user)
{
    struct fault *fault = user;
    (void)kind;
    if (fault->name && strcmp(name, fault->name) != 0) {
        return 0;
    }
    return fault->met++ >= fault->after ? fault->error : 0;
}

static void without_a_thread_start_says_so(void **state)
{
    struct answer answer;
    struct pl_resolve *request;
    struct fault fault = {.name = "pthread_create", .error = EAGAIN};
    (void)state;
    open_loop(&answer);
    sys_set_fault_hook(inject, &fault);
    int result =
        pl_resolver_threads.start(answer.rig.loop, "localhost", 80, note, &answer, &request);
    sys_set_fault_hook(NULL, NULL);
    assert_int_equal(fault.met, 1);
    assert_int_equal(result, -EAGAIN);
    assert_int_equal(pl_resolver_thread_count(), 0);
    rig_turn_once(&answer.rig);
    assert_int_equal(answer.calls, 0);
    look_up(&answer, "localhost"); /* nothing was left behind that would be in its way */
    peal_loop_free(answer.rig.loop);
}

static void without_memory_it_answers_so(void **state)
{
    (void)state;
    for (unsigned n = 0;; n++) {
        struct answer answer;
        struct pl_resolve *request;
        struct fault fault = {.name = "calloc", .after = n, .error = ENOMEM};
        open_loop(&answer);
        sys_set_fault_hook(inject, &fault);
        int result =
            pl_resolver_threads.start(answer.rig.loop, "localhost", 80, note, &answer, &request);
        wait_for_threads(); /* before the hook may be changed */
        sys_set_fault_hook(NULL, NULL);
        if (result == 0) {
            rig_until(&answer.rig, answer.calls == 1);
            assert_int_equal(answer.error, fault.met > n ? -ENOMEM : 0);
        } else {
            assert_int_equal(result, -ENOMEM);
        }
        peal_loop_free(answer.rig.loop);
        if (fault.met <= n) {
            assert_true(n >= 2); /* the request, and the list */
            return;
        }
    }
}

static void a_name_server_that_fails_is_reported(void **state)
{
    struct answer answer;
    struct pl_resolve *request;
    struct fault fault = {.name = "getaddrinfo", .error = EAGAIN};
    (void)state;
    open_loop(&answer);
    sys_set_fault_hook(inject, &fault);
    assert_int_equal(
        pl_resolver_threads.start(answer.rig.loop, "localhost", 80, note, &answer, &request), 0);
    wait_for_threads();
    sys_set_fault_hook(NULL, NULL);
    rig_until(&answer.rig, answer.calls == 1);
    assert_int_equal(answer.error, PEAL_ERR_RESOLVE);
    peal_loop_free(answer.rig.loop);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(finds_the_machine_itself),
        TEST(says_why_a_name_has_no_address),
        TEST(digits_never_reach_a_thread),
        TEST(cancelled_requests_never_answer),
        TEST(more_requests_than_threads_are_all_answered),
        TEST(outlives_its_loop),
        TEST(bad_hosts_are_refused),
        TEST(without_a_thread_start_says_so),
        TEST(without_memory_it_answers_so),
        TEST(a_name_server_that_fails_is_reported),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
