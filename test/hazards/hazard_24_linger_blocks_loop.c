/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 24: waiting for the last bytes of one connection to leave (SO_LINGER, or a close that
 * reads until the peer ends) would block the loop, and all others with it.
 *
 * Lingering is a state of the machine, not a wait: FIN is sent, input is read and discarded as it
 * comes, and the loop goes on meanwhile (G5, G8). SO_LINGER is used for one thing, to reset at
 * once; it is never set to wait. The peers here are
 * on the loop's own thread, and do what would end a wait only after the loop has turned. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { LINGERERS = 20, SIZE = 8 * 1024 * 1024 };

static const struct peal_server_options patient = {
    .limits = {.linger_ms = PEAL_NEVER, .flush_ms = PEAL_NEVER}};

static void is_served(struct rig *rig)
{
    uint64_t bytes = rig->witness.bytes;
    rig->witness.echo = true;
    int peer = rig_connect(rig);
    raw_send(peer, "hello", 5);
    rig_until(rig, rig->witness.bytes == bytes + 5);
    raw_expect(peer, "hello");
    unsigned closed = rig->witness.closed;
    raw_fin(peer);
    rig_until(rig, rig->witness.closed == closed + 1);
    raw_expect_fin(peer);
    raw_close(peer);
}

static void others_are_served_while_some_linger(void **state)
{
    struct rig rig;
    int peers[LINGERERS];
    struct peal_conn *conns[LINGERERS];
    (void)state;
    rig_open(&rig, &patient);
    for (unsigned i = 0; i < LINGERERS; i++) {
        peers[i] = rig_connect(&rig);
        conns[i] = rig.witness.conn;
        peal_conn_close(conns[i]);
    }
    is_served(&rig);
    for (unsigned i = 0; i < LINGERERS; i++) {
        struct linger linger;
        socklen_t size = sizeof linger;
        int fd = peal_conn_fd(conns[i]);
        assert_int_equal(peal_conn_state(conns[i]), PEAL_CONN_LINGERING);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size), 0);
        assert_int_equal(linger.l_onoff, 0);
    }
    for (unsigned i = 0; i < LINGERERS; i++) {
        raw_fin(peers[i]);
    }
    rig_until(&rig, rig.witness.closed == LINGERERS + 1);
    assert_int_equal(rig.witness.causes[PEAL_CAUSE_LOCAL_CLOSE], LINGERERS);
    for (unsigned i = 0; i < LINGERERS; i++) {
        raw_close(peers[i]);
    }
    rig_close(&rig);
}

/* A flush that the peer holds up, then cut short: neither the wait nor the cut blocks. */
static void nor_does_a_flush_or_its_abort_block(void **state)
{
    struct rig rig;
    unsigned char *data = calloc(1, SIZE);
    (void)state;
    assert_non_null(data);
    rig_open(&rig, &patient);
    int deaf = rig_connect(&rig);
    struct peal_conn *conn = rig.witness.conn;
    assert_int_equal(peal_conn_send(conn, data, SIZE), SIZE);
    peal_conn_close(conn);
    is_served(&rig);
    assert_int_equal(peal_conn_state(conn), PEAL_CONN_CLOSING);
    assert_true(peal_conn_output_bytes(conn) > 0);
    peal_conn_abort(conn);
    rig_until(&rig, rig.witness.causes[PEAL_CAUSE_LOCAL_ABORT] == 1);
    raw_expect_reset(deaf);
    is_served(&rig);
    raw_close(deaf);
    free(data);
    rig_close(&rig);
}

/* Who talks on while its end is awaited costs reads, and holds nobody up. */
static void a_talking_peer_is_read_in_passing(void **state)
{
    struct rig rig;
    unsigned char *data = calloc(1, SIZE);
    size_t sent = 0;
    (void)state;
    assert_non_null(data);
    rig_open(&rig, &patient);
    int talker = rig_connect(&rig);
    peal_conn_close(rig.witness.conn);
    while (sent < SIZE) {
        ssize_t n = send(talker, data, SIZE - sent, MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        rig_turn_once(&rig);
        if (n < 0) {
            is_served(&rig);
        }
    }
    is_served(&rig);
    raw_fin(talker);
    rig_until(&rig, rig.witness.causes[PEAL_CAUSE_LOCAL_CLOSE] == 1);
    assert_int_equal(rig.witness.record.bytes_discarded, SIZE);
    assert_true(rig.witness.record.clean);
    raw_expect_fin(talker);
    raw_close(talker);
    free(data);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(others_are_served_while_some_linger),
        TEST(nor_does_a_flush_or_its_abort_block),
        TEST(a_talking_peer_is_read_in_passing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
