/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 2: a callback runs after on_close. If this broke, a program would be called about a
 * connection that it has been told is gone.
 *
 * on_close runs in reap, when no event of the turn is left; the timer is taken off, tasks under way
 * find the connection CLOSED, and a drain that was due is off its list (G1). Everything that could
 * call is set up here before the end comes. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool gone;

static void note_gone(struct peal_conn *conn, const struct peal_close_record *record,
                      struct witness *witness)
{
    (void)conn;
    (void)record;
    (void)witness;
    gone = true;
}

static void must_not_be_gone_data(struct peal_conn *conn, struct peal_buf *input,
                                  struct witness *witness)
{
    (void)conn;
    (void)input;
    (void)witness;
    assert_false(gone);
}

static void must_not_be_gone(struct peal_conn *conn, struct witness *witness)
{
    (void)conn;
    (void)witness;
    assert_false(gone);
}

static void nothing_comes_after_on_close(void **state)
{
    struct rig rig;
    char large[4096];
    (void)state;
    gone = false;
    memset(large, 'x', sizeof large);
    rig_open(&rig, &(struct peal_server_options){.ops = &witness_eof_ops, .limits.idle_ms = 20});
    rig.witness.also_close = note_gone;
    rig.witness.also_data = must_not_be_gone_data;
    rig.witness.also_drain = must_not_be_gone;
    rig.witness.also_eof = must_not_be_gone;
    int peer = rig_connect(&rig);
    struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
    raw_send(peer, "data, then an end, in the same turn as the abort", 48);
    raw_fin(peer);
    peal_conn_send(conn, large, sizeof large);
    peal_conn_want_drain(conn);
    peal_conn_pause_reading(conn);
    peal_conn_resume_reading(conn);
    peal_conn_abort(conn);
    rig_until(&rig, gone);
    unsigned data_calls = rig.witness.data_calls;
    peal_conn_want_drain(conn); /* harmless on a closed one (G4) */
    rig_turn_ms(&rig, 60);      /* past the idle time-out */
    assert_int_equal(rig.witness.closed, 1);
    assert_int_equal(rig.witness.data_calls, data_calls);
    assert_int_equal(rig.witness.drains, 0);
    assert_int_equal(rig.witness.eofs, 0);
    peal_conn_unref(conn);
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_comes_after_on_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
