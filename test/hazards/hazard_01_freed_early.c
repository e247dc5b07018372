/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 1: a connection is freed before its final callback. If this broke, a program that drops
 * every reference it has inside a callback would make the library touch freed memory.
 *
 * The loop holds a reference of its own from open to the end of reap, so what the program does with
 * its own references decides only when the memory goes after that (G4). Run under a sanitizer or
 * valgrind, any mistake here is loud; without one, the poisoned user pointer and the counts still
 * tell. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct peal_conn *held;

static void take(struct peal_conn *conn, struct witness *witness)
{
    (void)witness;
    held = peal_conn_ref(conn);
}

static void drop_in_data(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    (void)witness;
    peal_conn_abort(conn);
    held = peal_conn_unref(held);
}

static void dropped_inside_on_data(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_open = take;
    rig.witness.also_data = drop_in_data;
    int peer = rig_connect(&rig);
    raw_send(peer, "x", 1);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_ABORT);
    raw_close(peer);
    rig_close(&rig);
}

static void drop_in_close(struct peal_conn *conn, const struct peal_close_record *record,
                          struct witness *witness)
{
    (void)record;
    (void)witness;
    held = peal_conn_unref(held);
    assert_int_equal(peal_conn_state(conn),
                     PEAL_CONN_CLOSED); /* the loop's reference is still there */
}

static void dropped_inside_on_close(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_open = take;
    rig.witness.also_close = drop_in_close;
    int peer = rig_connect(&rig);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_null(held);
    rig_close(&rig);
}

static void *drop_there(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        peal_conn_unref(peal_conn_ref(arg));
    }
    return peal_conn_unref(arg);
}

static void dropped_by_another_thread_during_reap(void **state)
{
    enum { ROUNDS = 50 };
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        pthread_t thread;
        int peer = rig_connect(&rig);
        struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
        assert_int_equal(pthread_create(&thread, NULL, drop_there, conn), 0);
        peal_conn_abort(rig.witness.conn);
        rig_until(&rig, rig.witness.closed == i + 1);
        assert_int_equal(pthread_join(thread, NULL), 0);
        raw_close(peer);
    }
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(dropped_inside_on_data),
        TEST(dropped_inside_on_close),
        TEST(dropped_by_another_thread_during_reap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
