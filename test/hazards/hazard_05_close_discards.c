/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 5: close discards queued writes. If this broke, a reply followed by a close would arrive
 * in part.
 *
 * Closing gracefully is a state, not a moment: CLOSING lasts until the kernel has taken the last
 * byte, and only then comes the FIN (G5). */
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

static void reply_and_close(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    assert_int_equal(peal_conn_send(conn, witness->tag, SIZE), SIZE);
    peal_conn_close(conn);
}

static void all_of_a_reply_arrives(void **state)
{
    struct rig rig;
    unsigned char *reply = make_reply();
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_data = reply_and_close;
    rig.witness.tag = reply;
    int peer = rig_connect(&rig);
    raw_send(peer, "?", 1);
    assert_int_equal(read_all(&rig, peer), SIZE);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_true(rig.witness.record.clean);
    assert_int_equal(rig.witness.record.bytes_accepted, SIZE);
    assert_int_equal(rig.witness.record.bytes_taken, SIZE);
    free(reply);
    rig_close(&rig);
}

static void many_small_sends_arrive(void **state)
{
    struct rig rig;
    unsigned char *reply = make_reply();
    size_t sent = 0;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    while (sent < SIZE) {
        size_t piece = 1 + sent % 1500;
        piece = piece < SIZE - sent ? piece : SIZE - sent;
        assert_int_equal(peal_conn_send(rig.witness.conn, reply + sent, piece), piece);
        sent += piece;
    }
    peal_conn_close(rig.witness.conn);
    assert_int_equal(read_all(&rig, peer), SIZE);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    free(reply);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(all_of_a_reply_arrives),
        TEST(many_small_sends_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
