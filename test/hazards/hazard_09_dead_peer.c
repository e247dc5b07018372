/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 9: ending towards a dead peer never ends. If this broke, a peer that neither reads nor
 * closes would hold a connection, and its server's stop, for ever.
 *
 * Every state that waits for the peer has a limit: CLOSING the flush time-out (no progress at the
 * peer), LINGERING the linger time-out. A dead peer is one that does nothing: here it simply never
 * reads nor closes. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 32 * 1024 * 1024 };

static void a_flush_to_one_that_never_reads(void **state)
{
    struct rig rig;
    char *reply = calloc(1, SIZE);
    (void)state;
    assert_non_null(reply);
    rig_open(&rig, &(struct peal_server_options){.limits.flush_ms = 100});
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, reply, SIZE), SIZE);
    peal_conn_close(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_FLUSH_TIMEOUT);
    assert_int_equal(rig.witness.record.state, PEAL_CONN_CLOSING);
    assert_true(rig.witness.record.bytes_unsent > 0);
    raw_close(peer);
    free(reply);
    rig_close(&rig);
}

static void a_shutdown_to_one_that_never_reads(void **state)
{
    struct rig rig;
    char *reply = calloc(1, SIZE);
    (void)state;
    assert_non_null(reply);
    rig_open(&rig, &(struct peal_server_options){.limits.flush_ms = 100});
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, reply, SIZE), SIZE);
    peal_conn_shutdown(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_FLUSH_TIMEOUT);
    raw_expect_reset(peer); /* it can tell that the stream was cut */
    raw_close(peer);
    free(reply);
    rig_close(&rig);
}

static void a_linger_to_one_that_never_closes(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.limits.linger_ms = 60});
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, "bye", 3), 3);
    peal_conn_close(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LINGER_TIMEOUT);
    assert_int_equal(rig.witness.record.bytes_unsent, 0);
    raw_expect(peer, "bye");
    raw_expect_fin(peer); /* all of it had been said: no reset */
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_flush_to_one_that_never_reads),
        TEST(a_shutdown_to_one_that_never_reads),
        TEST(a_linger_to_one_that_never_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
