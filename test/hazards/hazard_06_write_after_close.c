/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 6: a write is accepted after close. If this broke, send would say that bytes are on their
 * way that can never leave.
 *
 * One bit of peal_conn.remote says that the output side has ended. Every ending call sets it before
 * it returns, on whichever thread, and every send looks at it in the same atomic step that accepts
 * (src/net/conn_remote.c). */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void (*const ends[])(struct peal_conn *conn) = {peal_conn_close, peal_conn_shutdown,
                                                       peal_conn_abort};

static void refused_from_the_moment_of_the_call(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct rig rig;
        char byte = 'x';
        struct iovec part = {.iov_base = &byte, .iov_len = 1};
        struct peal_blob *blob;
        rig_open(&rig, NULL);
        int peer = rig_connect(&rig);
        struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
        assert_int_equal(peal_blob_copy("x", 1, &blob), 0);
        ends[i](conn);
        assert_int_equal(peal_conn_send(conn, "x", 1), -EPIPE);
        assert_int_equal(peal_conn_send(conn, "", 0), -EPIPE);
        assert_int_equal(peal_conn_sendv(conn, &part, 1), -EPIPE);
        assert_int_equal(peal_conn_send_ref(conn, blob), -EPIPE);
        assert_int_equal(peal_conn_send_file(conn, peer, 0, 1), -EPIPE);
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == 1);
        assert_int_equal(peal_conn_send(conn, "x", 1), -EPIPE);
        assert_int_equal(rig.witness.record.bytes_accepted, 0);
        peal_blob_unref(blob);
        peal_conn_unref(conn);
        rig_close(&rig);
    }
}

struct ending {
    struct peal_conn *conn;
    void (*end)(struct peal_conn *conn);
};

static void *end_and_send(void *arg)
{
    struct ending *ending = arg;
    ending->end(ending->conn);
    assert_int_equal(peal_conn_send(ending->conn, "x", 1), -EPIPE);
    return NULL;
}

static void another_thread_s_call_counts_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct rig rig;
        pthread_t thread;
        rig_open(&rig, NULL);
        int peer = rig_connect(&rig);
        struct ending ending = {peal_conn_ref(rig.witness.conn), ends[i]};
        assert_int_equal(pthread_create(&thread, NULL, end_and_send, &ending), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(rig.witness.closed, 0);
        assert_int_equal(peal_conn_send(ending.conn, "x", 1),
                         -EPIPE); /* before the loop has heard of it */
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == 1);
        assert_int_equal(rig.witness.record.bytes_accepted, 0);
        peal_conn_unref(ending.conn);
        rig_close(&rig);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(refused_from_the_moment_of_the_call),
        TEST(another_thread_s_call_counts_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
