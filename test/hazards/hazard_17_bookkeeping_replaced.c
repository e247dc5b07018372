/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 17: a user's callback replaces internal bookkeeping. If this broke, setting a callback
 * would make the server lose its connections.
 *
 * The hooks by which a server and a client hear of the end are members of the owner (struct
 * pl_conn_owner), which the public interface cannot reach; the callbacks that a program sets are
 * called besides them, never instead. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct peal_conn_ops nothing_set;

static void all_callbacks_taken_away(void **state)
{
    struct rig rig;
    struct peal_server_stats stats;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_set_ops(rig.witness.conn, &nothing_set);
    peal_conn_set_user(rig.witness.conn, NULL);
    raw_send(peer, "nobody listens", 14);
    raw_fin(peer);
    rig_until(&rig, peal_server_connections(rig.server) == 0);
    raw_expect_fin(peer);
    peal_server_get_stats(rig.server, &stats);
    assert_int_equal(stats.opened, 1);
    assert_int_equal(stats.closed, 1);
    assert_int_equal(stats.closed_by_cause[PEAL_CAUSE_PEER_CLOSED], 1);
    assert_int_equal(stats.bytes_received, 14);
    assert_int_equal(rig.witness.closed, 0); /* it was asked not to be called */
    rig.witness.closed = 1;                  /* for the rig's own book */
    raw_close(peer);
    rig_close(&rig);
}

static unsigned other_closes;

static void other_on_close(struct peal_conn *conn, const struct peal_close_record *record,
                           void *user)
{
    (void)conn;
    (void)user;
    rig_check_record(record);
    other_closes++;
}

static const struct peal_conn_ops other_ops = {.on_close = other_on_close};

static void callbacks_replaced_in_flight(void **state)
{
    struct rig rig;
    (void)state;
    other_closes = 0;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_set_ops(rig.witness.conn, &other_ops);
    raw_close(peer);
    rig_until(&rig, other_closes == 1);
    assert_int_equal(rig.witness.closed, 0);
    assert_int_equal(peal_server_connections(rig.server), 0);
    rig.witness.closed = 1;
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(all_callbacks_taken_away),
        TEST(callbacks_replaced_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
