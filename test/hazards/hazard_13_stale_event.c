/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 13: an event reaches whoever has the fd or the memory now. If this broke, a new connection
 * would get the events of an old one.
 *
 * An io is freed, and its fd closed, in reap only, when no event of the batch is left; a detached
 * io in the same batch is passed over (src/loop/engine.h, E6). Here both connections have events in
 * one batch, and whichever comes first ends the other and opens fds. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct peal_conn *conns[3]; /* a third comes when one has ended */
static int fds[16];

static void remember(struct peal_conn *conn, struct witness *witness)
{
    if (witness->opened <= 2) { /* the third comes when all is over */
        conns[witness->opened - 1] = conn;
    }
}

static void end_the_other(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    assert_int_equal(witness->data_calls, 1); /* the other's event must not come */
    peal_conn_abort(conns[conns[0] == conn]);
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

static void one_ends_the_other_in_the_same_batch(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct rig rig;
        rig_open(&rig, NULL);
        rig.witness.also_open = remember;
        rig.witness.also_data = end_the_other;
        int first = rig_connect(&rig);
        int second = rig_connect(&rig);
        raw_send(first, "x", 1);
        raw_send(second, "x", 1);
        rig_until(&rig, rig.witness.closed == 1);
        assert_int_equal(rig.witness.data_calls, 1);
        assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_ABORT);
        for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
            assert_int_equal(close(fds[i]), 0);
        }
        rig.witness.also_data = NULL;
        int third =
            rig_connect(&rig); /* gets the fd, and maybe the memory, of the one that ended */
        rig_turns(&rig, 3);
        assert_int_equal(rig.witness.data_calls, 1);
        raw_send(third, "y", 1);
        rig_until(&rig, rig.witness.data_calls == 2);
        assert_string_equal(rig.witness.last, "y");
        raw_close(first);
        raw_close(second);
        raw_close(third);
        rig_close(&rig);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_ends_the_other_in_the_same_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
