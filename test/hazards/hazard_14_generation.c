/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 14: a handle names another connection after its own has gone. If this broke, a message by
 * id would reach a stranger.
 *
 * An id has 32 bits of generation, which grow with each use of a slot; a slot whose generations are
 * used up is retired, and a table that goes to another loop goes on counting (src/net/handle.c,
 * G10). A churned slot is the worst case: it is used again at once. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROUNDS = 3000 };

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void old_ids_stay_stale(void **state)
{
    struct rig rig;
    uint64_t *ids = calloc(ROUNDS, sizeof *ids);
    (void)state;
    assert_non_null(ids);
    rig_open(&rig, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct peal_conn *conn = NULL;
        int peer = rig_connect(&rig);
        ids[i] = peal_conn_id(rig.witness.conn);
        assert_int_equal(peal_conn_find(ids[i], &conn), 0);
        assert_ptr_equal(conn, rig.witness.conn);
        peal_conn_unref(conn);
        peal_conn_abort(rig.witness.conn);
        rig_until(&rig, rig.witness.closed == i + 1);
        raw_close(peer);
    }
    int peer = rig_connect(&rig);
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_int_equal(peal_conn_send_to_id(ids[i], "x", 1), -ESTALE);
        assert_int_equal(peal_conn_abort_id(ids[i]), -ESTALE);
    }
    qsort(ids, ROUNDS, sizeof *ids, compare);
    for (unsigned i = 1; i < ROUNDS; i++) {
        assert_true(ids[i] != ids[i - 1]);
    }
    assert_int_equal(rig.witness.closed, ROUNDS);
    raw_close(peer);
    free(ids);
    rig_close(&rig);
}

static void ids_of_an_ended_loop_stay_stale(void **state)
{
    uint64_t before = 0;
    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        int peer = rig_connect(&rig);
        uint64_t id = peal_conn_id(rig.witness.conn);
        assert_true(id != before && id != 0);
        assert_int_equal(before ? peal_conn_abort_id(before) : -ESTALE, -ESTALE);
        before = id;
        raw_close(peer);
        rig_close(&rig);
    }
    assert_int_equal(peal_conn_abort_id(before), -ESTALE);
    assert_int_equal(peal_conn_abort_id(0), -ESTALE);
    assert_int_equal(peal_conn_abort_id(UINT64_MAX), -ESTALE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(old_ids_stay_stale),
        TEST(ids_of_an_ended_loop_stay_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
