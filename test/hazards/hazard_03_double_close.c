/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 3: an fd is closed twice. If this broke, the second close would hit whatever the process
 * has opened under that number since.
 *
 * finish() in src/net/conn.c is the one place that closes a connection's fd, and runs once; all
 * calls that end a connection only ask for it (G3). The number is taken again at once by the test,
 * and must stay open. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static int taken[64];
static unsigned taken_count;

/* Opens fds until the number that has just become free must be among them. */
static void take_numbers(void)
{
    for (taken_count = 0; taken_count < 8; taken_count++) {
        taken[taken_count] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(taken[taken_count] >= 0);
    }
}

static void end_in_every_way(struct peal_conn *conn)
{
    peal_conn_close(conn);
    peal_conn_shutdown(conn);
    peal_conn_abort(conn);
    peal_conn_abort(conn);
    peal_conn_close(conn);
}

static void end_again(struct peal_conn *conn, const struct peal_close_record *record,
                      struct witness *witness)
{
    (void)record;
    (void)witness;
    end_in_every_way(conn);
}

static void the_number_stays_with_its_new_owner(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_close = end_again;
    int peer = rig_connect(&rig);
    struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
    int fd = peal_conn_fd(conn);
    end_in_every_way(conn);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(peal_conn_fd(conn), -1);
    take_numbers();
    end_in_every_way(conn);
    rig_turns(&rig, 3);
    bool reused = false;
    for (unsigned i = 0; i < taken_count; i++) {
        reused = reused || taken[i] == fd;
        assert_true(fcntl(taken[i], F_GETFD) >= 0);
        close(taken[i]);
    }
    assert_true(reused);
    peal_conn_unref(conn);
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_number_stays_with_its_new_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
