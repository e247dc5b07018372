/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 29: a program that cannot tell a peer's FIN from its reset, a time-out, a limit or a
 * violation of the protocol, because all come as "read returned 0 or failed".
 *
 * Each end has a cause of its own in the close record, in its one line of text and in the server's
 * counters, with the errno where one was behind it (G1). Here each cause that a peer, the program
 * or a limit can bring about is brought about, and the record is compared in full. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { SHORT_MS = 60, CAP = 4 * 1024 * 1024 };

struct end {
    enum peal_cause cause;
    int error;
    bool clean;
    enum peal_conn_state state;
    struct peal_conn_limits limits;
    void (*bring_about)(struct rig *rig, int peer);
};

static void peer_fin(struct rig *rig, int peer)
{
    (void)rig;
    raw_fin(peer);
}

static void peer_reset(struct rig *rig, int peer)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)rig;
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    assert_int_equal(connect(peer, &nowhere, sizeof nowhere), 0); /* resets, and keeps the fd */
}

static void until_lingering(struct rig *rig)
{
    rig_until(rig, peal_conn_state(rig->witness.conn) == PEAL_CONN_LINGERING);
}

static void be_idle(struct rig *rig, int peer)
{
    until_lingering(rig); /* idle connections are closed gracefully */
    raw_fin(peer);
}

static void local_close(struct rig *rig, int peer)
{
    peal_conn_close(rig->witness.conn);
    until_lingering(rig);
    raw_fin(peer);
}

static void local_abort(struct rig *rig, int peer)
{
    (void)peer;
    peal_conn_abort(rig->witness.conn);
}

static void send_much(struct rig *rig, int peer)
{
    static const char much[CAP];
    (void)peer;
    peal_conn_send(rig->witness.conn, much, sizeof much);
    peal_conn_send(rig->witness.conn, much, sizeof much);
    peal_conn_send(rig->witness.conn, much, sizeof much);
}

static void send_much_and_close(struct rig *rig, int peer)
{
    send_much(rig, peer);
    peal_conn_close(rig->witness.conn);
}

static void half_close(struct rig *rig, int peer)
{
    (void)peer;
    peal_conn_shutdown(rig->witness.conn);
}

static void close_only(struct rig *rig, int peer)
{
    (void)peer;
    peal_conn_close(rig->witness.conn);
}

static void talk_after_close(struct rig *rig, int peer)
{
    peal_conn_close(rig->witness.conn);
    until_lingering(rig);
    raw_send(peer, "one thing and then another", 26);
}

static void hoard(struct rig *rig, int peer)
{
    rig->witness.keep_input = true;
    raw_send(peer, "more than eight bytes", 21);
}

static void next_message(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    const struct peal_codec codec = {.prefix = PEAL_PREFIX_U32BE, .size_max = 100};
    const void *message;
    size_t size;
    (void)witness;
    assert_int_equal(peal_conn_next_message(conn, &codec, input, &message, &size),
                     PEAL_ERR_OVERSIZE);
}

static void violate(struct rig *rig, int peer)
{
    rig->witness.also_data = next_message;
    raw_send(peer, "\xff\xff\xff\xff", 4);
}

static void stop(struct rig *rig, int peer)
{
    peal_server_stop(rig->server, 10000);
    until_lingering(rig);
    raw_fin(peer);
}

static const struct end ends[] = {
    {PEAL_CAUSE_PEER_CLOSED, 0, true, PEAL_CONN_CLOSING, {0}, peer_fin},
    {PEAL_CAUSE_PEER_RESET, -ECONNRESET, false, PEAL_CONN_OPEN, {0}, peer_reset},
    {PEAL_CAUSE_LOCAL_CLOSE, 0, true, PEAL_CONN_LINGERING, {0}, local_close},
    {PEAL_CAUSE_LOCAL_ABORT, 0, false, PEAL_CONN_OPEN, {0}, local_abort},
    {PEAL_CAUSE_IDLE_TIMEOUT, 0, true, PEAL_CONN_LINGERING, {.idle_ms = SHORT_MS}, be_idle},
    {PEAL_CAUSE_FLUSH_TIMEOUT,
     -ETIMEDOUT,
     false,
     PEAL_CONN_OPEN,
     {.flush_ms = SHORT_MS},
     send_much},
    {PEAL_CAUSE_FLUSH_TIMEOUT,
     -ETIMEDOUT,
     false,
     PEAL_CONN_CLOSING,
     {.flush_ms = SHORT_MS},
     send_much_and_close},
    {PEAL_CAUSE_HALF_CLOSE_TIMEOUT,
     -ETIMEDOUT,
     false,
     PEAL_CONN_OPEN,
     {.half_close_ms = SHORT_MS},
     half_close},
    {PEAL_CAUSE_LINGER_TIMEOUT, 0, false, PEAL_CONN_LINGERING, {.linger_ms = SHORT_MS}, close_only},
    {PEAL_CAUSE_LINGER_LIMIT,
     0,
     false,
     PEAL_CONN_LINGERING,
     {.linger_bytes_max = 8},
     talk_after_close},
    {PEAL_CAUSE_OUTPUT_CAP, -ENOBUFS, false, PEAL_CONN_OPEN, {.output_bytes_max = CAP}, send_much},
    {PEAL_CAUSE_INPUT_CAP, -ENOBUFS, false, PEAL_CONN_OPEN, {.input_bytes_max = 8}, hoard},
    {PEAL_CAUSE_PROTOCOL, PEAL_ERR_OVERSIZE, false, PEAL_CONN_OPEN, {0}, violate},
    {PEAL_CAUSE_SERVER_STOP, 0, true, PEAL_CONN_LINGERING, {0}, stop},
};

static void check_counters(const struct rig *rig, enum peal_cause cause)
{
    struct peal_server_stats stats;
    peal_server_get_stats(rig->server, &stats);
    for (unsigned i = 0; i < PEAL_CAUSE_COUNT; i++) {
        assert_int_equal(stats.closed_by_cause[i], i == cause);
        assert_int_equal(rig->witness.causes[i], i == cause);
    }
}

static void each_end_has_its_cause(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        const struct end *end = &ends[i];
        struct rig rig;
        char text[PEAL_CLOSE_TEXT_MAX];
        rig_open(&rig, &(struct peal_server_options){.limits = end->limits});
        int peer = rig_connect(&rig);
        end->bring_about(&rig, peer);
        rig_until(&rig, rig.witness.closed == 1);
        const struct peal_close_record *record = &rig.witness.record;
        peal_close_record_format(record, text, sizeof text);
        print_message("%s\n", text);
        assert_int_equal(record->cause, end->cause);
        assert_int_equal(record->error, end->error);
        assert_int_equal(record->clean, end->clean);
        assert_int_equal(record->state, end->state);
        assert_non_null(strstr(text, peal_cause_text(end->cause)));
        check_counters(&rig, end->cause);
        raw_close(peer);
        rig_close(&rig);
    }
}

/* An end of the loop is no fault of the peer's either. */
static void so_has_the_end_of_the_loop(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    rig.server = peal_server_unref(rig.server);
    peal_loop_quit(rig.loop);
    rig_close(&rig);
    assert_int_equal(rig.witness.causes[PEAL_CAUSE_LOOP_ENDED], 1);
    assert_false(rig.witness.record.clean);
    raw_close(peer);
}

static void no_two_causes_read_alike(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PEAL_CAUSE_COUNT; i++) {
        for (unsigned j = i + 1; j < PEAL_CAUSE_COUNT; j++) {
            assert_string_not_equal(peal_cause_text((enum peal_cause)i),
                                    peal_cause_text((enum peal_cause)j));
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_end_has_its_cause),
        TEST(so_has_the_end_of_the_loop),
        TEST(no_two_causes_read_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
