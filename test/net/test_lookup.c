/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a resolver of the program's own would be asked when it has gone, or its answer
 * would reach a client that has: a use after free, or an attempt that ends twice or never. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/child.h"
#include "support/faults.h"

#include <peal/resolver.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A resolver that does in its hooks what the test says, and keeps its lookups meanwhile. */
struct book {
    struct peal_resolver resolver;
    struct rig rig;
    struct caller caller;
    struct peal_lookup *lookups[8];
    unsigned asked, cancelled;
    bool gone;
    struct peal_timer timer;
    void (*also_resolve)(struct book *book, struct peal_lookup *lookup);
    void (*also_cancel)(struct book *book, struct peal_lookup *lookup);
    struct peal_addr addrs[4];
    size_t addr_count;
};

static void resolve(struct peal_lookup *lookup, void *user)
{
    struct book *book = user;
    assert_false(book->gone);
    assert_true(book->asked < 8);
    assert_ptr_equal(peal_loop_current(), book->rig.loop);
    assert_ptr_equal(peal_lookup_loop(lookup), book->rig.loop);
    assert_string_equal(peal_lookup_host(lookup), "service.example");
    assert_null(peal_lookup_user(lookup));
    peal_lookup_set_user(lookup, book);
    book->lookups[book->asked++] = lookup;
    if (book->also_resolve) {
        book->also_resolve(book, lookup);
    }
}

static void cancel(struct peal_lookup *lookup, void *user)
{
    struct book *book = user;
    assert_false(book->gone);
    assert_ptr_equal(peal_loop_current(), book->rig.loop);
    assert_ptr_equal(peal_lookup_user(lookup), book);
    assert_ptr_equal(lookup, book->lookups[book->asked - 1]);
    book->cancelled++;
    if (book->also_cancel) {
        book->also_cancel(book, lookup);
    }
}

static void answer(struct book *book, struct peal_lookup *lookup)
{
    peal_lookup_answer(lookup, book->addrs, book->addr_count);
}

static void book_open(struct book *book, const struct peal_client_options *options)
{
    struct peal_client_options own = *options;
    memset(book, 0, sizeof *book);
    book->resolver = (struct peal_resolver){.resolve = resolve, .cancel = cancel, .user = book};
    rig_open(&book->rig, NULL);
    book->addrs[0] = book->rig.address;
    book->addr_count = 1;
    own.to = own.to ? own.to : "service.example:7";
    own.resolver = &book->resolver;
    caller_open(&book->caller, book->rig.loop, &own);
}

static void book_close(struct book *book)
{
    book->caller.client = peal_client_unref(book->caller.client);
    rig_close(&book->rig);
    assert_int_equal(book->caller.witness.opened, book->caller.witness.closed);
}

/* ---- answers */

static void answer_at_once(void **state)
{
    struct book book;
    (void)state;
    book_open(&book, &(struct peal_client_options){0});
    book.also_resolve = answer;
    peal_client_connect(book.caller.client);
    assert_int_equal(book.asked, 0); /* G2 */
    rig_until(&book.rig, book.caller.witness.opened == 1);
    assert_int_equal(book.asked, 1);
    assert_int_equal(book.cancelled, 0);
    book_close(&book);
}

static void answer_later(void **state)
{
    struct book book;
    (void)state;
    book_open(&book, &(struct peal_client_options){0});
    peal_client_connect(book.caller.client);
    rig_until(&book.rig, book.asked == 1);
    rig_turn_ms(&book.rig, 5);
    answer(&book, book.lookups[0]);
    memset(book.addrs, 0xff, sizeof book.addrs); /* they were copied */
    rig_until(&book.rig, book.caller.witness.opened == 1);
    book_close(&book);
}

static void *answer_elsewhere(void *user)
{
    struct book *book = user;
    answer(book, book->lookups[0]);
    return NULL;
}

static void answer_from_another_thread(void **state)
{
    struct book book;
    pthread_t thread;
    (void)state;
    book_open(&book, &(struct peal_client_options){0});
    peal_client_connect(book.caller.client);
    rig_until(&book.rig, book.asked == 1);
    assert_int_equal(pthread_create(&thread, NULL, answer_elsewhere, &book), 0);
    rig_until(&book.rig, book.caller.witness.opened == 1);
    pthread_join(thread, NULL);
    book_close(&book);
}

/* The client's port where the resolver gave none, the resolver's where it did; what cannot be
 * connected to is passed over. */
static void ports_and_useless_addresses(void **state)
{
    struct book book;
    char to[64];
    (void)state;
    for (int own_port = 0; own_port <= 1; own_port++) {
        book_open(&book, &(struct peal_client_options){0});
        peal_client_unref(book.caller.client);
        snprintf(to, sizeof to, "service.example:%u",
                 own_port ? 1U : (unsigned)peal_addr_port(&book.rig.address));
        caller_open(&book.caller, book.rig.loop,
                    &(struct peal_client_options){.to = to, .resolver = &book.resolver});
        book.addrs[0] = (struct peal_addr){0};
        assert_int_equal(peal_addr_parse("fd:3", &book.addrs[1], NULL), 0);
        book.addrs[2] = book.rig.address;
        if (!own_port) {
            assert_int_equal(peal_addr_set_port(&book.addrs[2], 0), 0);
        }
        book.addr_count = 3;
        book.also_resolve = answer;
        peal_client_connect(book.caller.client);
        rig_until(&book.rig, book.caller.witness.opened == 1);
        assert_int_equal(book.caller.fails, 0);
        book_close(&book);
    }
}

/* ---- failures */

static void fail_in_words(struct book *book, struct peal_lookup *lookup)
{
    (void)book;
    char why[200];
    memset(why, 'x', sizeof why);
    memcpy(why, "no such service", 15);
    why[sizeof why - 1] = '\0';
    peal_lookup_fail(lookup, PEAL_ERR_RESOLVE, why);
    memset(why, 0, sizeof why); /* it was copied */
}

static void fail_in_two_lines(struct book *book, struct peal_lookup *lookup)
{
    (void)book;
    peal_lookup_fail(lookup, PEAL_ERR_RESOLVE, "first\nsecond\033[31m");
}

static void fail_without_words(struct book *book, struct peal_lookup *lookup)
{
    (void)book;
    peal_lookup_fail(lookup, -ENETDOWN, NULL);
}

static void fail_without_error(struct book *book, struct peal_lookup *lookup)
{
    (void)book;
    peal_lookup_fail(lookup, 0, "none");
}

static void answer_nothing(struct book *book, struct peal_lookup *lookup)
{
    (void)book;
    peal_lookup_answer(lookup, NULL, 0);
}

static void answer_nothing_of_use(struct book *book, struct peal_lookup *lookup)
{
    struct peal_addr addr = {0};
    (void)book;
    peal_lookup_answer(lookup, &addr, 1);
}

static void answer_without_memory(struct book *book, struct peal_lookup *lookup)
{
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    answer(book, lookup);
    assert_int_equal(faults_stop(), 1);
}

static void each_failure_is_told_once(void **state)
{
    static const struct {
        void (*fn)(struct book *book, struct peal_lookup *lookup);
        int error;
        const char *words;
    } cases[] = {
        {fail_in_words, PEAL_ERR_RESOLVE,
         "service.example could not be resolved: no such servicex"},
        {fail_in_two_lines, PEAL_ERR_RESOLVE, "resolved: first?second?[31m"},
        {fail_without_words, -ENETDOWN, "Network is down"},
        {fail_without_error, PEAL_ERR_RESOLVE, "none"},
        {answer_nothing, PEAL_ERR_RESOLVE, "no address"},
        {answer_nothing_of_use, PEAL_ERR_RESOLVE, "no address"},
        {answer_without_memory, -ENOMEM, "memory"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct book book;
        book_open(&book, &(struct peal_client_options){0});
        book.also_resolve = cases[i].fn;
        peal_client_connect(book.caller.client);
        rig_until(&book.rig, book.caller.fails == 1);
        assert_int_equal(book.caller.failure.error, cases[i].error);
        assert_int_equal(peal_addr_kind(&book.caller.failure.addr), PEAL_ADDR_NONE);
        assert_non_null(strstr(book.caller.text, cases[i].words));
        rig_turns(&book.rig, 3);
        assert_int_equal(book.caller.fails, 1);
        assert_int_equal(book.cancelled, 0);
        book_close(&book);
    }
}

static void no_memory_to_ask(void **state)
{
    struct book book;
    (void)state;
    book_open(&book, &(struct peal_client_options){0});
    peal_client_connect(book.caller.client);
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    rig_until(&book.rig, book.caller.fails == 1);
    assert_int_equal(faults_stop(), 1);
    assert_int_equal(book.caller.failure.error, -ENOMEM);
    assert_int_equal(book.asked, 0);
    book_close(&book);
}

/* ---- ends while it is pending */

static void by_cancel(struct book *book)
{
    peal_client_cancel(book->caller.client);
}

static void by_release(struct book *book)
{
    book->caller.client = peal_client_unref(book->caller.client);
}

/* Answered in the hook, right after it, when the client has long forgotten, or before the client
 * knows of its own end. */
static void an_answer_to_nobody(void **state)
{
    static void (*const ends[])(struct book * book) = {by_cancel, by_release};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (unsigned when = 0; when < 4; when++) {
            struct book book;
            book_open(&book, &(struct peal_client_options){.retry = true});
            book.also_cancel = when == 0 ? answer : NULL;
            peal_client_connect(book.caller.client);
            rig_until(&book.rig, book.asked == 1);
            ends[i](&book);
            if (when == 1) {
                answer(&book, book.lookups[0]);
            }
            rig_turn_ms(&book.rig, 5);
            assert_int_equal(book.cancelled, when == 1 ? 0 : 1);
            if (when == 2) {
                answer(&book, book.lookups[0]);
            }
            rig_turn_ms(&book.rig, 5);
            if (when == 3) {
                peal_lookup_fail(book.lookups[0], PEAL_ERR_RESOLVE, "late");
            }
            rig_turn_ms(&book.rig, 5);
            assert_int_equal(book.caller.witness.opened, 0);
            assert_int_equal(book.caller.fails, 0);
            assert_int_equal(book.asked, 1);
            book_close(&book);
        }
    }
}

static void release_inside(struct book *book, struct peal_lookup *lookup)
{
    book->caller.client = peal_client_unref(book->caller.client);
    answer(book, lookup);
}

static void client_released_inside_resolve(void **state)
{
    struct book book;
    (void)state;
    book_open(&book, &(struct peal_client_options){.retry = true});
    book.also_resolve = release_inside;
    peal_client_connect(book.caller.client);
    rig_until(&book.rig, book.asked == 1);
    rig_turn_ms(&book.rig, 5);
    assert_int_equal(book.caller.witness.opened, 0);
    assert_int_equal(book.caller.fails, 0);
    book_close(&book);
}

/* Without a cancel hook; each attempt has a lookup of its own, and late answers go to none. */
static void time_runs_out(void **state)
{
    struct book book;
    (void)state;
    book_open(&book, &(struct peal_client_options){
                         .connect_ms = 10, .retry = true, .retry_min_ms = 1, .retry_max_ms = 1});
    book.resolver.cancel = NULL;
    peal_client_connect(book.caller.client);
    rig_until(&book.rig, book.caller.fails == 2 && book.asked == 3);
    assert_int_equal(book.caller.failure.error, -ETIMEDOUT);
    answer(&book, book.lookups[0]);
    answer(&book, book.lookups[1]);
    assert_ptr_not_equal(book.lookups[1], book.lookups[2]);
    by_cancel(&book);
    rig_turn_ms(&book.rig, 5);
    assert_int_equal(book.caller.witness.opened, 0);
    answer(&book, book.lookups[2]);
    book_close(&book);
}

static void answer_the_dead(struct book *book)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, answer_elsewhere, book), 0);
    pthread_join(thread, NULL);
}

static void the_loop_ends(void **state)
{
    (void)state;
    for (unsigned when = 0; when < 3; when++) {
        struct book book;
        book_open(&book, &(struct peal_client_options){.retry = true});
        book.also_cancel = when == 0 ? answer : NULL;
        peal_client_connect(book.caller.client);
        rig_until(&book.rig, book.asked == 1);
        if (when == 1) { /* the task with the answer is dropped */
            answer(&book, book.lookups[0]);
        }
        peal_server_unref(book.rig.server);
        peal_loop_free(book.rig.loop);
        assert_int_equal(book.cancelled, when == 1 ? 0 : 1);
        if (when == 2) {
            answer_the_dead(&book);
        }
        assert_int_equal(book.caller.witness.opened, 0);
        assert_int_equal(book.caller.fails, 0);
        peal_client_unref(book.caller.client);
    }
}

/* ---- a resolver that goes after its client */

static void release_and_go(struct peal_timer *timer, void *user)
{
    struct book *book = user;
    (void)timer;
    by_release(book);
    book->gone = true;
}

static void go_soon(struct caller *caller, const struct peal_connect_failure *failure)
{
    struct book *book = (struct book *)(void *)((char *)caller - offsetof(struct book, caller));
    assert_true(failure->retry_ms >= 100);
    peal_timer_start(&book->timer, 1, 0);
}

static void a_resolver_that_has_gone_is_not_asked(void **state)
{
    struct book book;
    (void)state;
    book_open(&book, &(struct peal_client_options){
                         .retry = true, .retry_min_ms = 200, .retry_max_ms = 200});
    peal_timer_init(&book.timer, book.rig.loop, release_and_go, &book);
    book.also_resolve = fail_without_words;
    book.caller.also_fail = go_soon;
    peal_client_connect(book.caller.client);
    rig_until(&book.rig, book.caller.fails == 1);
    usleep(210 * 1000); /* so that the timer and the client's pause are due in one batch */
    rig_turn_ms(&book.rig, 5);
    assert_true(book.gone);
    assert_int_equal(book.asked, 1);
    peal_timer_deinit(&book.timer);
    book_close(&book);
}

/* ---- mistakes */

static void a_resolver_must_resolve(void **state)
{
    struct rig rig;
    struct caller caller;
    struct peal_client *client;
    struct peal_resolver none = {0};
    (void)state;
    rig_open(&rig, NULL);
    struct peal_client_options options = caller_options(
        &caller, &(struct peal_client_options){.to = "service.example:7", .resolver = &none});
    assert_int_equal(peal_client_new(rig.loop, &options, &client), -EINVAL);
    rig_close(&rig);
}

static void answer_and_fail(struct book *book, struct peal_lookup *lookup)
{
    answer(book, lookup);
    peal_lookup_fail(lookup, PEAL_ERR_RESOLVE, "again");
}

static void end_twice(void *arg)
{
    struct book book;
    (void)arg;
    book_open(&book, &(struct peal_client_options){0});
    book.also_resolve = answer_and_fail;
    peal_client_connect(book.caller.client);
    rig_until(&book.rig, book.caller.witness.opened == 1);
}

static void ending_twice_stops_the_program(void **state)
{
    (void)state;
    child_expect_abort(end_twice, NULL,
                       "peal_lookup_fail: the lookup of service.example was ended");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answer_at_once),
        TEST(answer_later),
        TEST(answer_from_another_thread),
        TEST(ports_and_useless_addresses),
        TEST(each_failure_is_told_once),
        TEST(no_memory_to_ask),
        TEST(an_answer_to_nobody),
        TEST(client_released_inside_resolve),
        TEST(time_runs_out),
        TEST(the_loop_ends),
        TEST(a_resolver_that_has_gone_is_not_asked),
        TEST(a_resolver_must_resolve),
        TEST(ending_twice_stops_the_program),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
