/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 4: a second close during a flush drops data. If this broke, calling close again, to be
 * sure, would cut off the reply.
 *
 * A graceful end can only be begun once; the calls after it find CLOSING and do nothing
 * (src/net/moves.def has no move for them). Only abort cuts it short, which is what abort is for.
 */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { SIZE = 8 * 1024 * 1024 };

/* Reads until FIN while the loop turns, checking the pattern. */
static size_t read_all(struct rig *rig, int peer)
{
    static unsigned char data[65536], expected[65536];
    size_t got = 0;
    for (;;) {
        ssize_t n = recv(peer, data, sizeof data, MSG_DONTWAIT);
        if (n == 0) {
            return got;
        }
        if (n > 0) {
            raw_pattern(expected, (size_t)n, got);
            assert_memory_equal(data, expected, (size_t)n);
            got += (size_t)n;
        } else {
            assert_int_equal(errno, EAGAIN);
            rig_turns(rig, 1);
        }
    }
}

static unsigned char *make_reply(void)
{
    unsigned char *reply = malloc(SIZE);
    assert_non_null(reply);
    raw_pattern(reply, SIZE, 0);
    return reply;
}

static void close_many_times(void **state)
{
    struct rig rig;
    unsigned char *reply = make_reply();
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, reply, SIZE), SIZE);
    for (int i = 0; i < 5; i++) {
        peal_conn_close(rig.witness.conn);
        peal_conn_shutdown(rig.witness.conn);
        rig_turns(&rig, 1);
        assert_int_equal(peal_conn_state(rig.witness.conn), PEAL_CONN_CLOSING);
    }
    assert_int_equal(read_all(&rig, peer), SIZE);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_taken, SIZE);
    assert_true(rig.witness.record.clean);
    free(reply);
    rig_close(&rig);
}

static void shutdown_then_close(void **state)
{
    struct rig rig;
    unsigned char *reply = make_reply();
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, reply, SIZE), SIZE);
    peal_conn_shutdown(rig.witness.conn);
    rig_turns(&rig, 1);
    peal_conn_close(rig.witness.conn);
    assert_int_equal(read_all(&rig, peer), SIZE);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_unsent, 0);
    free(reply);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(close_many_times),
        TEST(shutdown_then_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
