/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 19: a task queued for a server would run after the server had gone, and use freed memory.
 *
 * Every task of Peal's own that needs a server holds its memory (pl_server_hold), so for_each and
 * broadcast may be under way when the program lets go of the server, or of the loops: each visit
 * still ends in exactly one done, on connections that live (G1, G4, G7). Threads release and visit
 * at the same time here; a sanitizer build would name any use after the end. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/raw.h"
#include "support/rig.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

enum { PEERS = 4, VISITS = 50 };

static _Atomic unsigned visited, finished, stopped;

static void visit(struct peal_conn *conn, void *user)
{
    (void)user;
    if (peal_conn_state(conn) != PEAL_CONN_OPEN || !peal_loop_is_mine(peal_conn_loop(conn))) {
        fail_msg("a connection was visited that is not open, or not on its thread");
    }
    atomic_fetch_add(&visited, 1);
}

static void done(void *user)
{
    atomic_fetch_add((_Atomic unsigned *)user, 1);
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    (void)server;
    (void)report;
    (void)user;
    atomic_fetch_add(&stopped, 1);
}

/* Returns how many visits were accepted. */
static unsigned queue_visits(struct peal_server *server)
{
    unsigned accepted = 0;
    struct peal_blob *blob;
    assert_int_equal(peal_blob_copy("hello", 5, &blob), 0);
    for (unsigned i = 0; i < VISITS; i++) {
        int result = peal_server_for_each(server, visit, done, &finished);
        assert_true(result == 0 || result == PEAL_ERR_STOPPED);
        accepted += result == 0;
        result = peal_server_broadcast(server, blob, NULL, NULL, NULL);
        assert_true(result == 0 || result == PEAL_ERR_STOPPED);
    }
    peal_blob_unref(blob);
    return accepted;
}

/* All on one loop: the visits are in the queue when the last reference goes. */
static void queued_when_the_server_is_released(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 3; way++) {
        struct rig rig;
        int peers[PEERS];
        visited = finished = 0;
        rig_open(&rig, NULL);
        for (unsigned i = 0; i < PEERS; i++) {
            peers[i] = rig_connect(&rig);
        }
        assert_int_equal(queue_visits(rig.server), VISITS);
        assert_int_equal(visited + finished, 0); /* G2 */
        if (way > 0) {
            peal_server_stop(rig.server, 0);
        }
        rig.server = peal_server_unref(rig.server);
        if (way < 2) {
            rig_until(&rig, finished == VISITS);
            assert_int_equal(visited, VISITS * PEERS); /* they came before the stop */
            peal_loop_quit(rig.loop);
        }
        rig_close(&rig); /* with way 2 every visit is dropped, and done all the same */
        assert_int_equal(finished, VISITS);
        assert_int_equal(rig.stopped, 1);
        for (unsigned i = 0; i < PEERS; i++) {
            raw_close(peers[i]);
        }
    }
}

/* ---- several threads, several loops */

struct visitor {
    pthread_t thread;
    struct peal_server *server; /* its own reference */
    unsigned accepted;
};

static void *visit_and_release(void *arg)
{
    struct visitor *visitor = arg;
    visitor->accepted = queue_visits(visitor->server);
    peal_server_unref(visitor->server);
    return NULL;
}

static void play(unsigned round)
{
    static const struct peal_conn_ops no_ops = {0};
    struct rig rig = {0};
    struct visitor visitors[3];
    struct peal_pool *pool;
    int peers[PEERS];
    unsigned accepted = 0;
    visited = finished = stopped = 0;
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 2}, &pool), 0);
    assert_int_equal(peal_loop_new(NULL, &rig.loop), 0);
    const struct peal_server_options options = {
        .ops = &no_ops, .pool = pool, .drain_ms = 1, .on_stopped = on_stopped};
    assert_int_equal(peal_server_new(rig.loop, &options, &rig.server), 0);
    assert_int_equal(peal_server_listen(rig.server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(peal_server_address(rig.server, 0, &rig.address), 0);
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = raw_connect(&rig.address);
    }
    rig_until(&rig, peal_server_connections(rig.server) == PEERS);
    for (unsigned i = 0; i < 3; i++) {
        visitors[i].server = peal_server_ref(rig.server);
        assert_int_equal(pthread_create(&visitors[i].thread, NULL, visit_and_release, &visitors[i]),
                         0);
    }
    rig.server = peal_server_unref(rig.server);
    if (round % 3 == 1) {
        pool = peal_pool_free(pool); /* the loops that serve end first */
    }
    if (round % 3 != 2) {
        rig_until(&rig, stopped == 1);
    }
    rig.loop = peal_loop_free(rig.loop);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(visitors[i].thread, NULL), 0);
        accepted += visitors[i].accepted;
    }
    peal_pool_free(pool);
    assert_int_equal(finished, accepted);
    assert_int_equal(stopped, 1);
    for (unsigned i = 0; i < PEERS; i++) {
        raw_close(peers[i]);
    }
}

static void queued_by_threads_while_server_and_loops_go(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 12; round++) {
        play(round);
    }
}

/* ---- the visit that comes last of all: its server would be gone, if it did not hold it */

static _Atomic bool gate_open, marked;

static void wait_at_gate(void *user)
{
    atomic_store(&marked, true);
    while (!atomic_load((_Atomic bool *)user)) {
        sched_yield();
    }
}

static void a_visit_that_comes_after_the_end_of_its_server(void **state)
{
    static const struct peal_conn_ops no_ops = {0};
    struct rig rig = {0};
    struct peal_pool *pool;
    (void)state;
    visited = finished = stopped = 0;
    gate_open = marked = false;
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 1}, &pool), 0);
    assert_int_equal(peal_loop_new(NULL, &rig.loop), 0);
    const struct peal_server_options options = {
        .ops = &no_ops, .pool = pool, .on_stopped = on_stopped};
    assert_int_equal(peal_server_new(rig.loop, &options, &rig.server), 0);
    peal_server_stop(rig.server, 0);
    assert_int_equal(peal_loop_post(peal_pool_loop(pool, 0), wait_at_gate, &gate_open), 0);
    while (!atomic_load(&marked)) { /* from here on the pool's part of the server has stopped */
        sched_yield();
    }
    assert_int_equal(peal_server_for_each(rig.server, visit, done, &finished), 0);
    rig.server = peal_server_unref(rig.server);
    rig_until(&rig, stopped == 1);
    atomic_store(&gate_open, true);
    rig_until(&rig, finished == 1);
    assert_int_equal(visited, 0);
    peal_pool_free(pool);
    rig.loop = peal_loop_free(rig.loop);
    assert_int_equal(finished, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(queued_when_the_server_is_released),
        TEST(a_visit_that_comes_after_the_end_of_its_server),
        TEST(queued_by_threads_while_server_and_loops_go),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
