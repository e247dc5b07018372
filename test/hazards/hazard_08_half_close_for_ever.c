/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 8: a half-closed connection has no deadline. If this broke, each peer that ends its side
 * and goes away silently would be kept for ever.
 *
 * half_close_ms counts from the last byte that moved in either direction, so it ends connections
 * that are forgotten, and none in which something still happens. The cause is its own. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static const struct peal_conn_limits limits = {.half_close_ms = 60};

static void a_program_that_forgets_to_close(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.ops = &witness_eof_ops, .limits = limits});
    int peer = rig_connect(&rig);
    raw_fin(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.eofs, 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_HALF_CLOSE_TIMEOUT);
    raw_close(peer);
    rig_close(&rig);
}

static void a_peer_that_never_answers_our_fin(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.limits = limits});
    int peer = rig_connect(&rig);
    peal_conn_shutdown(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_HALF_CLOSE_TIMEOUT);
    raw_close(peer);
    rig_close(&rig);
}

static void one_that_goes_on_sending_is_kept(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.limits.half_close_ms = 400});
    int peer = rig_connect(&rig);
    peal_conn_shutdown(rig.witness.conn);
    for (unsigned i = 0; i < 30; i++) { /* well past the time-out in all */
        raw_send(peer, "x", 1);
        rig_turn_ms(&rig, 30);
        assert_int_equal(rig.witness.closed, 0);
    }
    assert_int_equal(rig.witness.bytes, 30);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_CLOSE);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_program_that_forgets_to_close),
        TEST(a_peer_that_never_answers_our_fin),
        TEST(one_that_goes_on_sending_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
