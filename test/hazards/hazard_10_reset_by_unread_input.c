/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 10: input that is unread at close turns the close into a reset. If this broke, the last
 * bytes of a reply would be destroyed on their way.
 *
 * Linux sends a reset when a socket is closed with unread input, and when input comes after. Peal
 * reads and discards in CLOSING and LINGERING until the peer's FIN, so that neither happens to a
 * peer that plays by the rules (G5). */
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

enum { SIZE = 1024 * 1024 };

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

static void input_before_and_after_the_close(void **state)
{
    struct rig rig;
    unsigned char *reply = make_reply();
    char noise[32 * 1024] = {0};
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_pause_reading(rig.witness.conn); /* so that it is unread when the close comes */
    raw_send(peer, noise, sizeof noise);
    rig_turns(&rig, 2);
    assert_int_equal(peal_conn_send(rig.witness.conn, reply, SIZE), SIZE);
    peal_conn_close(rig.witness.conn);
    rig_turns(&rig, 2);
    raw_send(peer, noise, sizeof noise);
    assert_int_equal(read_all(&rig, peer), SIZE); /* checks that the end is a FIN */
    raw_send(peer, noise, sizeof noise);
    rig_turns(&rig, 2);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_CLOSE);
    assert_true(rig.witness.record.clean);
    assert_int_equal(rig.witness.record.bytes_discarded, 3 * sizeof noise);
    free(reply);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(input_before_and_after_the_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
