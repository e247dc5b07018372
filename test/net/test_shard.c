/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, on_stopped would be called from inside peal_server_adopt, or never, when loops end
 * while a socket is on its way to them (G2, G7). The orders come from models/server.pml. */
#include "support/baseline.h"
#include "support/caller.h"

#include "net/server.h"

#include <peal.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

static unsigned stopped;

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    (void)server;
    (void)user;
    assert_int_equal(report->connections, 0);
    stopped++;
}

static const struct peal_conn_ops ops = {0};

static void open_server(struct peal_loop *loop, struct peal_pool *pool,
                        struct peal_server **ret_server)
{
    stopped = 0;
    struct peal_server_options options = {.ops = &ops, .on_stopped = on_stopped, .pool = pool};
    assert_int_equal(peal_server_new(loop, &options, ret_server), 0);
}

/* Another thread is inside peal_server_adopt: it has raised incoming, and has not posted yet. */
static void the_end_does_not_wait_for_a_sender(void **state)
{
    struct peal_loop *loop;
    struct peal_pool *pool;
    struct peal_server *server;
    (void)state;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 1}, &pool), 0);
    open_server(loop, pool, &server);
    pl_server_hold(server);
    atomic_fetch_add(&server->shards[1]->incoming, 1);
    peal_pool_free(pool);
    peal_loop_free(loop);
    assert_int_equal(stopped, 1);

    atomic_fetch_sub(&server->shards[1]->incoming, 1); /* it is refused, and was the last */
    pl_server_release(server);
    peal_server_unref(server);
    assert_int_equal(stopped, 1);
}

static void on_loops_that_have_ended(void **state)
{
    struct peal_loop *loop;
    struct peal_pool *pool;
    struct peal_server *server;
    (void)state;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 2}, &pool), 0);
    peal_pool_quit(pool);
    for (unsigned i = 0; i < 2; i++) {
        while (atomic_load(&peal_pool_loop(pool, i)->life) != PL_LOOP_ENDED) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    open_server(loop, pool, &server);
    assert_int_equal(peal_loop_turn(loop, 0), 1);
    assert_int_equal(stopped, 0);
    peal_server_stop(server, 0);
    for (int i = 0; i < 4 && stopped == 0; i++) {
        assert_int_equal(peal_loop_turn(loop, 0), 1);
    }
    assert_int_equal(stopped, 1);
    peal_server_unref(server);
    peal_pool_free(pool);
    peal_loop_free(loop);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_end_does_not_wait_for_a_sender),
        TEST(on_loops_that_have_ended),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
