/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 20: a post to a loop that is ending would vanish: said to be accepted, and then neither
 * run nor dropped, so that whoever waits for it waits for ever and what it carries leaks.
 *
 * The queue has a last entry: a loop that ends takes everything queued and closes the queue in one
 * atomic step, so each post lies before it (it is run, or dropped on the loop's thread) or after it
 * (it is refused, and nothing of it is called). Nor is a connection's close told twice or not at
 * all when threads send to it while its loop ends (G1, G4). */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { THREADS = 3, ROUNDS = 30, QUEUED_MAX = 100 };

struct parcel { /* what a task carries: run or drop frees it, else a leak is found */
    struct poster *poster;
};

struct poster {
    pthread_t thread;
    struct peal_loop *loop; /* its own reference */
    _Atomic unsigned *begun;
    unsigned accepted, wrong;
    _Atomic unsigned run, dropped;
};

static void deliver(struct parcel *parcel, _Atomic unsigned *count)
{
    if (!peal_loop_is_mine(parcel->poster->loop)) {
        abort();
    }
    atomic_fetch_add(count, 1);
    free(parcel);
}

static void run(void *user)
{
    deliver(user, &((struct parcel *)user)->poster->run);
}

static void drop(void *user)
{
    deliver(user, &((struct parcel *)user)->poster->dropped);
}

static void *post_until_refused(void *arg)
{
    struct poster *poster = arg;
    int result = 0;
    atomic_fetch_add(poster->begun, 1);
    while (result == 0) {
        struct parcel *parcel = malloc(sizeof *parcel);
        parcel->poster = poster;
        result = peal_loop_post_or_drop(poster->loop, run, drop, parcel);
        if (result == 0) {
            poster->accepted++;
            while (poster->accepted - atomic_load(&poster->run) - atomic_load(&poster->dropped) >
                   QUEUED_MAX) {
                sched_yield();
            }
        } else {
            free(parcel);
        }
    }
    poster->wrong = result != PEAL_ERR_LOOP_ENDED;
    return NULL;
}

static void start(struct poster *posters, struct peal_loop *loop, _Atomic unsigned *begun)
{
    atomic_init(begun, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){.loop = peal_loop_ref(loop), .begun = begun};
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_until_refused, &posters[i]),
                         0);
    }
}

/* After the loop has ended. */
static void settle(struct poster *posters)
{
    for (unsigned i = 0; i < THREADS; i++) {
        struct poster *poster = &posters[i];
        assert_int_equal(pthread_join(poster->thread, NULL), 0);
        assert_int_equal(poster->wrong, 0);
        assert_int_equal(poster->accepted, poster->run + poster->dropped);
        assert_true(poster->accepted > 0);
        assert_int_equal(peal_loop_post(poster->loop, run, NULL), PEAL_ERR_LOOP_ENDED);
        peal_loop_unref(poster->loop);
    }
}

static void quit(void *user)
{
    peal_loop_quit(user);
}

/* The loop ends in the way the round says while all threads post. */
static void each_post_to_an_ending_loop_is_settled(void **state)
{
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct poster posters[THREADS];
        struct peal_loop *loop;
        _Atomic unsigned begun;
        assert_int_equal(peal_loop_new(NULL, &loop), 0);
        start(posters, loop, &begun);
        while (atomic_load(&begun) < THREADS) {
            assert_int_equal(peal_loop_turn(loop, 1), 1);
        }
        for (unsigned i = 0; i < THREADS; i++) { /* one post of each at least */
            while (atomic_load(&posters[i].run) == 0) {
                assert_int_equal(peal_loop_turn(loop, 1), 1);
            }
        }
        switch (round % 3) {
        case 0:
            break; /* freed as it is, its tasks in the queue */
        case 1:
            assert_int_equal(peal_loop_post(loop, quit, loop), 0);
            assert_int_equal(peal_loop_run(loop), 0);
            break;
        default:
            peal_loop_quit(loop);
            assert_int_equal(peal_loop_run(loop), 0);
            break;
        }
        peal_loop_free(loop);
        settle(posters);
    }
}

/* The same with a pool, whose loops end on their own threads. */
static void each_post_to_an_ending_pool_is_settled(void **state)
{
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct poster posters[2][THREADS];
        struct peal_pool *pool;
        _Atomic unsigned begun[2];
        assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 2}, &pool), 0);
        start(posters[0], peal_pool_loop(pool, 0), &begun[0]);
        start(posters[1], peal_pool_loop(pool, 1), &begun[1]);
        for (unsigned i = 0; i < 2; i++) {
            for (unsigned j = 0; j < THREADS; j++) {
                while (atomic_load(&posters[i][j].run) == 0) {
                    sched_yield();
                }
            }
        }
        if (round % 2) {
            peal_pool_quit(pool);
        }
        peal_pool_free(pool);
        settle(posters[0]);
        settle(posters[1]);
    }
}

/* ---- sends from another thread are such posts, too */

struct sender {
    pthread_t thread;
    struct peal_conn *conn;
    uint64_t accepted;
    ssize_t last;
};

static void *send_until_refused(void *arg)
{
    struct sender *sender = arg;
    while ((sender->last = peal_conn_send(sender->conn, "some bytes", 10)) > 0) {
        sender->accepted += (uint64_t)sender->last;
        sched_yield();
    }
    peal_conn_unref(sender->conn);
    return NULL;
}

static void sends_while_the_loop_ends_are_counted_or_refused(void **state)
{
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct rig rig;
        struct sender sender = {0};
        rig_open(&rig, NULL);
        int peer = rig_connect(&rig);
        sender.conn = peal_conn_ref(rig.witness.conn);
        assert_int_equal(pthread_create(&sender.thread, NULL, send_until_refused, &sender), 0);
        rig_turn_ms(&rig, 1 + round % 3);
        rig.server = peal_server_unref(rig.server);
        rig_close(&rig);
        assert_int_equal(pthread_join(sender.thread, NULL), 0);
        assert_int_equal(sender.last, -EPIPE);
        assert_int_equal(rig.witness.closed, 1);
        assert_true(rig.witness.record.bytes_accepted <= sender.accepted);
        raw_close(peer);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_post_to_an_ending_loop_is_settled),
        TEST(each_post_to_an_ending_pool_is_settled),
        TEST(sends_while_the_loop_ends_are_counted_or_refused),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
