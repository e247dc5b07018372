/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 15: another thread's write reaches a reused fd. If this broke, bytes meant for one
 * connection would appear in the stream of another.
 *
 * No thread but the loop's ever touches an fd. Others hand their bytes to the connection object, or
 * to an id that is checked when they do, and the loop writes them if that connection is still there
 * (src/net/conn_remote.c). Each connection is sent its own number only; the peers read what they
 * are sent. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { WRITERS = 3, ROUNDS = 400 };

static _Atomic uint64_t newest;
static _Atomic bool over;

static void publish(struct peal_conn *conn, struct witness *witness)
{
    (void)witness;
    atomic_store(&newest, peal_conn_id(conn));
}

static void *write_by_id(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        char text[17];
        uint64_t id = atomic_load(&newest);
        snprintf(text, sizeof text, "%016llx", (unsigned long long)id);
        if (peal_conn_send_to_id(id, text, 16) < 0) { /* stale, or full */
            sched_yield(); /* where threads take turns, valgrind's, it is the loop's */
        }
    }
    return NULL;
}

static void nothing_reaches_another(void **state)
{
    struct rig rig;
    pthread_t writers[WRITERS];
    (void)state;
    atomic_store(&over, false);
    atomic_store(&newest, 0);
    /* A bound: writers must not outrun the loop for ever. */
    rig_open(&rig, &(struct peal_server_options){
                       .limits = {.output_bytes_max = 64 * 1024, .output_cap_refuses = true}});
    rig.witness.also_open = publish;
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, write_by_id, NULL), 0);
    }
    unsigned checked = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char own[17], got[17] = {0};
        int peer = rig_connect(&rig);
        snprintf(own, sizeof own, "%016llx", (unsigned long long)peal_conn_id(rig.witness.conn));
        rig_turns(&rig, 1);
        peal_conn_close(rig.witness.conn);
        rig_turns(&rig, 1);
        for (int piece = 0; piece < 8; piece++) {
            ssize_t size = 0; /* the FIN may be some turns away: what was accepted goes first */
            rig_until(&rig,
                      (size = recv(peer, got, 16, MSG_PEEK | MSG_DONTWAIT)) == 16 || size == 0);
            if (size == 0) {
                break;
            }
            raw_recv_exactly(peer, got, 16);
            assert_string_equal(got, own);
            checked++;
        }
        raw_reset(peer);
        rig_until(&rig, rig.witness.closed == i + 1);
    }
    atomic_store(&over, true);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(writers[i], NULL), 0);
    }
    assert_true(checked > 0);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_reaches_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
