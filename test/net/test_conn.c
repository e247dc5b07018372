/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a connection would not open once, close once, say why, or deliver what it accepted
 * (G1 to G6). */
#include "support/baseline.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static void echoes_and_closes_on_peer_fin(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.echo = true;
    int peer = rig_connect(&rig);
    raw_send(peer, "hello", 5);
    rig_until(&rig, rig.witness.bytes == 5);
    raw_expect(peer, "hello");
    raw_fin(peer);
    rig_until(&rig, rig.witness.closed == 1);
    raw_expect_fin(peer);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_CLOSED);
    assert_int_equal(rig.witness.record.bytes_received, 5);
    assert_int_equal(rig.witness.record.bytes_taken, 5);
    assert_true(rig.witness.record.clean);
    raw_close(peer);
    rig_close(&rig);
}

static void peer_reset_is_told_as_such(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    raw_send(peer, "last words", 10);
    raw_reset(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
    assert_int_equal(rig.witness.record.error, -ECONNRESET);
    assert_int_equal(rig.witness.bytes, 10); /* G6 */
    assert_false(rig.witness.record.clean);
    rig_close(&rig);
}

static void reset_while_paused_shows_what_came_before(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_pause_reading(rig.witness.conn);
    raw_send(peer, "last words", 10);
    rig_turns(&rig, 3);
    assert_int_equal(rig.witness.bytes, 0);
    raw_reset(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
    assert_int_equal(rig.witness.bytes, 10);
    rig_close(&rig);
}

/* The write meets the reset first; what had arrived is still in the kernel (hazard 12). */
static void write_error_does_not_hide_unread_input(void **state)
{
    struct rig rig;
    char large[64 * 1024] = {0};
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_pause_reading(rig.witness.conn);
    raw_send(peer, "last words", 10);
    raw_reset(peer);
    assert_int_equal(peal_conn_send(rig.witness.conn, large, sizeof large), -EPIPE);
    assert_int_equal(rig.witness.closed, 0); /* G2 */
    assert_int_equal(peal_conn_state(rig.witness.conn), PEAL_CONN_OPEN);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.bytes, 10); /* G6 */
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
    assert_int_equal(rig.witness.record.bytes_accepted, 0);
    rig_close(&rig);
}

static void graceful_close_delivers_all(void **state)
{
    enum { SIZE = 8 * 1024 * 1024 };
    struct rig rig;
    unsigned char *reply = malloc(SIZE);
    (void)state;
    assert_non_null(reply);
    raw_pattern(reply, SIZE, 0);
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    raw_send(peer, "unread input that must not turn the close into a reset", 54);
    assert_int_equal(peal_conn_send(rig.witness.conn, reply, SIZE), SIZE);
    peal_conn_close(rig.witness.conn);
    assert_int_equal(peal_conn_send(rig.witness.conn, "x", 1), -EPIPE);
    assert_int_equal(peal_conn_state(rig.witness.conn), PEAL_CONN_CLOSING);
    size_t got = 0;
    while (got < SIZE) { /* the raw peer and the loop share a thread */
        unsigned char data[65536], expected[65536];
        rig_turns(&rig, 1);
        ssize_t n = recv(peer, data, sizeof data, MSG_DONTWAIT);
        if (n > 0) {
            raw_pattern(expected, (size_t)n, got);
            assert_memory_equal(data, expected, (size_t)n);
            got += (size_t)n;
        }
        assert_true(n > 0 || errno == EAGAIN);
    }
    rig_until(&rig, peal_conn_state(rig.witness.conn) == PEAL_CONN_LINGERING);
    raw_expect_fin(peer);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_CLOSE);
    assert_true(rig.witness.record.clean);
    assert_int_equal(rig.witness.record.bytes_taken, SIZE);
    assert_int_equal(rig.witness.record.bytes_discarded, 54);
    free(reply);
    rig_close(&rig);
}

static void abort_resets(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_abort(rig.witness.conn);
    peal_conn_abort(rig.witness.conn);
    peal_conn_close(rig.witness.conn);
    assert_int_equal(rig.witness.closed, 0); /* G2 */
    rig_until(&rig, rig.witness.closed == 1);
    raw_expect_reset(peer);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_ABORT);
    raw_close(peer);
    rig_close(&rig);
}

static void shutdown_goes_on_reading(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, "bye", 3), 3);
    peal_conn_shutdown(rig.witness.conn);
    assert_int_equal(peal_conn_send(rig.witness.conn, "x", 1), -EPIPE);
    rig_turns(&rig, 2);
    raw_expect(peer, "bye");
    raw_expect_fin(peer);
    raw_send(peer, "still here", 10);
    rig_until(&rig, rig.witness.bytes == 10);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_CLOSE);
    assert_true(rig.witness.record.clean);
    rig_close(&rig);
}

enum { PENDING_BYTES = 8 * 1024 * 1024 };

/* A client that has said all it has to say still gets the whole reply (hazard 7). */
static void peer_fin_while_output_is_pending_delivers_all(void **state)
{
    struct rig rig;
    unsigned char *reply = malloc(PENDING_BYTES), *data = malloc(65536);
    (void)state;
    raw_pattern(reply, PENDING_BYTES, 0);
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, reply, PENDING_BYTES), PENDING_BYTES);
    raw_fin(peer);
    rig_turns(&rig, 2);
    assert_int_equal(peal_conn_state(rig.witness.conn), PEAL_CONN_CLOSING);
    for (size_t got = 0; got < PENDING_BYTES;) {
        ssize_t n = recv(peer, data, 65536, MSG_DONTWAIT);
        if (n > 0) {
            assert_memory_equal(data, reply + got, (size_t)n);
            got += (size_t)n;
        } else {
            assert_int_equal(errno, EAGAIN);
            rig_turns(&rig, 1);
        }
    }
    rig_until(&rig, rig.witness.closed == 1);
    raw_expect_fin(peer);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_CLOSED);
    assert_true(rig.witness.record.clean);
    raw_close(peer);
    free(reply);
    free(data);
    rig_close(&rig);
}

static void reset_while_output_is_pending_is_counted(void **state)
{
    struct rig rig;
    unsigned char *reply = calloc(1, PENDING_BYTES);
    (void)state;
    rig_open(&rig, NULL);
    for (int paused = 0; paused < 2; paused++) {
        int peer = rig_connect(&rig);
        if (paused) {
            peal_conn_pause_reading(rig.witness.conn);
        }
        assert_int_equal(peal_conn_send(rig.witness.conn, reply, PENDING_BYTES), PENDING_BYTES);
        raw_send(peer, "last words", 10);
        rig_turns(&rig, paused ? 2 : 0);
        raw_reset(peer);
        rig_until(&rig, rig.witness.closed == rig.witness.opened);
        assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
        assert_int_equal(rig.witness.record.bytes_accepted, PENDING_BYTES);
        assert_true(rig.witness.record.bytes_unsent > 0);
        assert_int_equal(rig.witness.bytes, 10 * (paused + 1)); /* G6 */
    }
    free(reply);
    rig_close(&rig);
}

static void note_eof(struct peal_conn *conn, struct witness *witness)
{
    (void)conn;
    (*(unsigned *)witness->tag)++;
}

/* on_eof need not close: with the peer's end both have passed. */
static void the_peers_fin_after_ours_closes_also_with_on_eof(void **state)
{
    struct rig rig;
    unsigned ends = 0;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.ops = &witness_eof_ops});
    rig.witness.also_eof = note_eof;
    rig.witness.tag = &ends;
    int peer = rig_connect(&rig);
    peal_conn_shutdown(rig.witness.conn);
    rig_turns(&rig, 2);
    raw_expect_fin(peer);
    raw_send(peer, "more", 4);
    raw_fin(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(ends, 1);
    assert_int_equal(rig.witness.bytes, 4);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_CLOSE);
    assert_true(rig.witness.record.clean);
    raw_close(peer);
    rig_close(&rig);
}

/* The engine cannot go on reading: there is an end, with the reason, and not a connection that is
 * paused for ever. */
static void a_resume_that_the_kernel_refuses_ends_it(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    if (strcmp(peal_loop_engine(rig.loop), "epoll") != 0) { /* io_uring asks nobody */
        rig_close(&rig);
        skip();
    }
    int peer = rig_connect(&rig);
    peal_conn_pause_reading(rig.witness.conn);
    raw_send(peer, "x", 1);
    rig_turns(&rig, 2); /* the news that nobody wants makes the engine look away */
    faults_start((struct faults){.name = "epoll_ctl", .nth = 1, .error = ENOMEM});
    peal_conn_resume_reading(rig.witness.conn);
    assert_int_equal(faults_stop(), 1);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.error, -ENOMEM);
    assert_int_equal(rig.witness.bytes, 1); /* what had come is shown (G6) */
    assert_false(rig.witness.record.clean);
    raw_close(peer);
    rig_close(&rig);
}

/* Input was kept for an on_data that is not there any more. */
static void what_a_new_table_has_no_wish_for_is_discarded(void **state)
{
    static const struct peal_conn_ops deaf = {0};
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.keep_input = true;
    int peer = rig_connect(&rig);
    struct peal_conn *held = peal_conn_ref(rig.witness.conn);
    raw_send(peer, "kept", 4);
    rig_until(&rig, rig.witness.data_calls == 1);
    struct peal_conn_ops rest = deaf;
    rest.on_close = witness_ops.on_close;
    peal_conn_set_ops(held, &rest);
    raw_send(peer, "unwanted", 8);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_received, 12);
    assert_int_equal(rig.witness.record.bytes_discarded, 8);
    peal_conn_unref(held);
    rig_close(&rig);
}

static void its_own_address_may_be_refused(void **state)
{
    struct rig rig;
    struct peal_addr local;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_local(rig.witness.conn, &local), 0);
    assert_true(peal_addr_equal(&local, &rig.address));
    faults_start((struct faults){.name = "getsockname", .nth = 1, .error = ENOBUFS});
    assert_int_equal(peal_conn_local(rig.witness.conn, &local), -ENOBUFS);
    assert_int_equal(faults_stop(), 1);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    rig_close(&rig);
}

static void send_nonsense(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U8};
    (void)input;
    (void)witness;
    assert_int_equal(peal_conn_send(conn, NULL, 5), -EINVAL);
    assert_int_equal(peal_conn_send_message(conn, &codec, NULL, 5), -EINVAL);
    assert_int_equal(peal_conn_send_message(conn, &codec, NULL, 0), 1); /* an empty message */
    assert_int_equal(peal_conn_send_message(conn, &codec, "ab", 2), 3);
}

static void nothing_is_a_message_and_nowhere_is_none(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_data = send_nonsense;
    int peer = rig_connect(&rig);
    raw_send(peer, "x", 1);
    rig_until(&rig, rig.witness.bytes == 1);
    char found[4];
    raw_recv_exactly(peer, found, sizeof found);
    assert_memory_equal(found, "\0\2ab", sizeof found);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    rig_close(&rig);
}

static void the_loop_counts_what_its_connections_do(void **state)
{
    struct rig rig;
    struct peal_loop_stats before, after;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.echo = true;
    peal_loop_get_stats(rig.loop, &before);
    int peer = rig_connect(&rig);
    peal_loop_get_stats(rig.loop, &after);
    assert_int_equal(after.connections_now, 1);
    raw_send(peer, "hello", 5);
    rig_until(&rig, rig.witness.bytes == 5);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    peal_loop_get_stats(rig.loop, &after);
    assert_int_equal(after.opened - before.opened, 1);
    assert_int_equal(after.closed - before.closed, 1);
    assert_int_equal(after.bytes_received - before.bytes_received, 5);
    assert_int_equal(after.bytes_taken - before.bytes_taken, 5);
    assert_int_equal(after.connections_now, 0);
    rig_close(&rig);
}

static char recorded[16384];
static void record_line(const char *line, void *user)
{
    (void)user;
    strcat(strcat(recorded, line), "\n");
}

/* What one reads of it after the fact. */
static void the_recorder_tells_its_life(void **state)
{
    static const char *const lines[] = {"connection moved: CONNECTING, opened -> OPEN\n",
                                        "close called\n",
                                        "connection moved: OPEN, close -> CLOSING\n",
                                        "connection moved: CLOSING, flushed -> LINGERING\n",
                                        "connection moved: LINGERING, both ended -> CLOSED\n",
                                        "fd closed: "};
    struct rig rig;
    char accepted[32], subject[32];
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    snprintf(accepted, sizeof accepted, "accepted: %d\n", peal_conn_fd(rig.witness.conn));
    snprintf(subject, sizeof subject, "%016" PRIx64, peal_conn_id(rig.witness.conn));
    peal_conn_close(rig.witness.conn);
    rig_turns(&rig, 2);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    recorded[0] = '\0';
    peal_loop_print_recorder(rig.loop, record_line, NULL);
    const char *at = strstr(recorded, accepted);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_non_null(at);
        at = strstr(at, subject);
        assert_non_null(at);
        assert_memory_equal(at + 18, lines[i], strlen(lines[i]));
        at += 18;
    }
    rig_close(&rig);
}

static void the_recorder_tells_what_was_called(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_shutdown(rig.witness.conn);
    peal_conn_abort(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    recorded[0] = '\0';
    peal_loop_print_recorder(rig.loop, record_line, NULL);
    const char *shutdown_called = strstr(recorded, "shutdown called\n");
    assert_non_null(shutdown_called);
    assert_non_null(strstr(shutdown_called, "abort called\n"));
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(echoes_and_closes_on_peer_fin),
        TEST(peer_reset_is_told_as_such),
        TEST(reset_while_paused_shows_what_came_before),
        TEST(write_error_does_not_hide_unread_input),
        TEST(graceful_close_delivers_all),
        TEST(abort_resets),
        TEST(shutdown_goes_on_reading),
        TEST(peer_fin_while_output_is_pending_delivers_all),
        TEST(reset_while_output_is_pending_is_counted),
        TEST(the_peers_fin_after_ours_closes_also_with_on_eof),
        TEST(a_resume_that_the_kernel_refuses_ends_it),
        TEST(what_a_new_table_has_no_wish_for_is_discarded),
        TEST(its_own_address_may_be_refused),
        TEST(nothing_is_a_message_and_nowhere_is_none),
        TEST(the_loop_counts_what_its_connections_do),
        TEST(the_recorder_tells_its_life),
        TEST(the_recorder_tells_what_was_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
