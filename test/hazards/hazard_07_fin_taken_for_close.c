/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 7: the peer's FIN is taken for a full close. If this broke, a client that ends its side
 * and waits for the answer, as muduo's do, would lose what was pending.
 *
 * A FIN says that the peer will send no more, not that it has stopped reading. Without on_eof the
 * connection flushes what was accepted before it ends its own side; with on_eof the program decides
 * (G5). */
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

static void reply(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    assert_int_equal(peal_conn_send(conn, witness->tag, SIZE), SIZE);
}

static void pending_output_arrives_after_the_fin(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_data = reply;
    rig.witness.tag = make_reply();
    int peer = rig_connect(&rig);
    raw_send(peer, "?", 1);
    raw_fin(peer);
    rig_until(&rig, peal_conn_state(rig.witness.conn) == PEAL_CONN_CLOSING);
    assert_int_equal(read_all(&rig, peer), SIZE);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_CLOSED);
    assert_int_equal(rig.witness.record.bytes_taken, SIZE);
    raw_close(peer);
    free(rig.witness.tag);
    rig_close(&rig);
}

static void reply_then_close(struct peal_conn *conn, struct witness *witness)
{
    assert_int_equal(peal_conn_send(conn, witness->tag, SIZE), SIZE);
    peal_conn_close(conn);
}

static void a_program_may_answer_the_fin(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.ops = &witness_eof_ops});
    rig.witness.also_eof = reply_then_close;
    rig.witness.tag = make_reply();
    int peer = rig_connect(&rig);
    raw_fin(peer);
    assert_int_equal(read_all(&rig, peer), SIZE);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.eofs, 1);
    assert_true(rig.witness.record.clean);
    raw_close(peer);
    free(rig.witness.tag);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(pending_output_arrives_after_the_fin),
        TEST(a_program_may_answer_the_fin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
