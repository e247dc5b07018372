/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 12: a write error hides readable data. If this broke, what a peer said before it went,
 * often the reason why, would be lost.
 *
 * A write that fails ends the output side and marks the connection FAILED; it ends in reap, after
 * what the kernel still holds of the input was shown (G6). */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void the_last_words_are_heard(void **state)
{
    struct rig rig;
    char large[64 * 1024] = {0};
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    raw_send(peer, "error: go away", 14);
    raw_reset(peer);
    /* The reset is in, and nothing has been read. The write is the first to meet it. */
    assert_int_equal(peal_conn_send(rig.witness.conn, large, sizeof large), -EPIPE);
    rig_until(&rig, rig.witness.closed == 1);
    assert_string_equal(rig.witness.last, "error: go away");
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
    rig_close(&rig);
}

static void also_while_output_was_blocked(void **state)
{
    struct rig rig;
    static char large[16 * 1024 * 1024];
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_pause_reading(rig.witness.conn);
    assert_int_equal(peal_conn_send(rig.witness.conn, large, sizeof large), sizeof large);
    rig_turns(&rig, 2);
    raw_send(peer, "error: go away", 14);
    raw_reset(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_string_equal(rig.witness.last, "error: go away");
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
    assert_true(rig.witness.record.bytes_unsent > 0);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_last_words_are_heard),
        TEST(also_while_output_was_blocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
