/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 22: a drain that cannot end: peers that never read, never close, or go on sending would
 * keep a stopping server for as long as they like.
 *
 * A stop closes gracefully and has a deadline, at which whatever is left is aborted, whichever
 * state it is in; the report says how many were cut off and what was lost (G7). Limits of a
 * connection (flush_ms, linger_ms) may end it earlier, and none can prolong it: here all of them
 * are off. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { SIZE = 16 * 1024 * 1024, DEADLINE_MS = 150 };

static const struct peal_server_options endless = {.limits = {.idle_ms = PEAL_NEVER,
                                                              .flush_ms = PEAL_NEVER,
                                                              .half_close_ms = PEAL_NEVER,
                                                              .linger_ms = PEAL_NEVER,
                                                              .linger_bytes_max = PEAL_UNLIMITED}};

static void send_much(struct peal_conn *conn)
{
    unsigned char *data = calloc(1, SIZE);
    assert_non_null(data);
    assert_int_equal(peal_conn_send(conn, data, SIZE), SIZE);
    free(data);
}

static void stop_and_wait(struct rig *rig)
{
    uint64_t began_ms = rig_now_ms();
    peal_server_stop(rig->server, DEADLINE_MS);
    rig_until(rig, rig->stopped == 1);
    assert_true(rig_now_ms() - began_ms >= DEADLINE_MS - 1); /* nobody was cut off early */
    assert_true(rig->report.took_ns >= (DEADLINE_MS - 1) * 1000000ull);
    assert_int_equal(rig->witness.opened, rig->witness.closed);
    assert_int_equal(peal_server_connections(rig->server), 0);
}

/* One peer for each way of not ending; none of them closes. */
static void silent_peers_are_cut_off_at_the_deadline(void **state)
{
    struct rig rig;
    int peers[4];
    (void)state;
    rig_open(&rig, &endless);
    peers[0] = rig_connect(&rig); /* does nothing */
    peers[1] = rig_connect(&rig); /* does not read what there is for it */
    send_much(rig.witness.conn);
    peers[2] = rig_connect(&rig); /* the same, and the close was under way */
    send_much(rig.witness.conn);
    peal_conn_close(rig.witness.conn);
    peers[3] = rig_connect(&rig); /* was told FIN and does not end its side */
    struct peal_conn *lingering = rig.witness.conn;
    peal_conn_close(lingering);
    rig_until(&rig, peal_conn_state(lingering) == PEAL_CONN_LINGERING);
    stop_and_wait(&rig);
    assert_int_equal(rig.report.connections, 4);
    assert_int_equal(rig.report.cut_off, 4);
    assert_int_equal(rig.report.closed_clean + rig.report.closed_otherwise, 0);
    assert_true(rig.report.bytes_unsent > 0 && rig.report.bytes_unsent < 2 * SIZE);
    raw_expect_fin(peers[0]);   /* had been told all there was before it was cut off */
    raw_expect_reset(peers[1]); /* a cut stream does not look whole */
    raw_expect_reset(peers[2]);
    for (unsigned i = 0; i < 4; i++) {
        raw_close(peers[i]);
    }
    rig_close(&rig);
}

/* Peers that are always about to be done: one takes a byte now and then, one goes on sending. */
static void busy_peers_are_cut_off_at_the_deadline(void **state)
{
    struct rig rig;
    char byte;
    (void)state;
    rig_open(&rig, &endless);
    int slow = rig_connect(&rig);
    send_much(rig.witness.conn);
    int talker = rig_connect(&rig);
    peal_server_stop(rig.server, DEADLINE_MS);
    uint64_t limit_ms = rig_now_ms() + 20 * 1000;
    while (rig.stopped == 0 && rig_now_ms() < limit_ms) {
        recv(slow, &byte, 1, MSG_DONTWAIT);
        send(talker, "and another thing", 17, MSG_DONTWAIT | MSG_NOSIGNAL);
        rig_turn_once(&rig);
    }
    assert_int_equal(rig.stopped, 1);
    assert_int_equal(rig.report.cut_off, 2);
    raw_close(slow);
    raw_close(talker);
    rig_close(&rig);
}

/* A later, shorter deadline counts, so even a stop without end can be ended. */
static void a_stop_without_deadline_can_be_given_one(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &endless);
    int peer = rig_connect(&rig);
    peal_server_stop(rig.server, PEAL_NEVER);
    rig_turn_ms(&rig, 50);
    assert_int_equal(rig.stopped, 0);
    stop_and_wait(&rig);
    assert_int_equal(rig.report.cut_off, 1);
    raw_close(peer);
    rig_close(&rig);
}

/* Who plays along is not cut off, however many do not. */
static void a_peer_that_ends_is_counted_clean(void **state)
{
    struct rig rig;
    char text[PEAL_DRAIN_TEXT_MAX];
    (void)state;
    rig_open(&rig, &endless);
    int silent = rig_connect(&rig);
    int good = rig_connect(&rig);
    raw_fin(good);
    stop_and_wait(&rig);
    raw_expect_fin(good);
    assert_int_equal(rig.report.closed_clean, 1);
    assert_int_equal(rig.report.cut_off, 1);
    peal_drain_report_format(&rig.report, text, sizeof text);
    assert_non_null(strstr(text, "1 clean, 0 otherwise, 1 cut off"));
    raw_close(good);
    raw_close(silent);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(silent_peers_are_cut_off_at_the_deadline),
        TEST(busy_peers_are_cut_off_at_the_deadline),
        TEST(a_stop_without_deadline_can_be_given_one),
        TEST(a_peer_that_ends_is_counted_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
