/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, input would be shown twice, not at all, or after the end, messages would depend on
 * how the network cut them, and a paused reader would hang or spin (G6, G8). */
#include "support/baseline.h"
#include "support/child.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- messages */

static char messages[4096];
static int last_result;

static void read_messages(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    const void *message;
    size_t size;
    while ((last_result = peal_conn_next_message(conn, witness->tag, input, &message, &size)) > 0) {
        strncat(messages, message, size);
        strcat(messages, "|");
    }
}

static void a_message_cut_anywhere_is_whole(void **state)
{
    static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U16BE, .size_max = 100};
    static const char stream[] = "\0\3abc\0\0\0\1x\0\12halloechen";
    enum { SIZE = sizeof stream - 1 };
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_data = read_messages;
    rig.witness.keep_input = true;
    rig.witness.tag = (void *)(uintptr_t)&codec;
    int peer = rig_connect(&rig);
    for (size_t split = 0; split <= SIZE; split++) {
        messages[0] = '\0';
        raw_send(peer, stream, split);
        rig_turns(&rig, split > 0);
        raw_send(peer, stream + split, SIZE - split);
        rig_until(&rig, strcmp(messages, "abc||x|halloechen|") == 0);
    }
    messages[0] = '\0';
    for (size_t i = 0; i < SIZE; i++) { /* byte by byte */
        raw_send(peer, stream + i, 1);
        rig_turns(&rig, 1);
    }
    rig_until(&rig, strcmp(messages, "abc||x|halloechen|") == 0);
    raw_close(peer);
    rig_close(&rig);
}

static void send_message_is_what_next_message_takes(void **state)
{
    static const struct peal_codec codec = {.prefix = PEAL_PREFIX_VARINT, .size_max = 300};
    struct rig rig;
    char text[300], found[302];
    (void)state;
    memset(text, 'm', sizeof text);
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send_message(rig.witness.conn, &codec, text, 300), 302);
    rig_turns(&rig, 2);
    raw_recv_exactly(peer, found, sizeof found);
    assert_int_equal(found[2], 'm');
    rig.witness.also_data = read_messages;
    rig.witness.keep_input = true;
    rig.witness.tag = (void *)(uintptr_t)&codec;
    messages[0] = '\0';
    raw_send(peer, found, sizeof found);
    rig_until(&rig, strlen(messages) == 301);
    raw_close(peer);
    rig_close(&rig);
}

static void what_is_no_message_ends_it(void **state)
{
    static const struct peal_codec codecs[2] = {{.prefix = PEAL_PREFIX_U8, .size_max = 3},
                                                {.prefix = PEAL_PREFIX_VARINT}};
    static const char *const bytes[2] = {"\4", "\377\377\377\377\377"};
    static const int errors[2] = {PEAL_ERR_OVERSIZE, PEAL_ERR_MALFORMED};
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_data = read_messages;
    rig.witness.keep_input = true;
    for (unsigned i = 0; i < 2; i++) {
        rig.witness.tag = (void *)(uintptr_t)&codecs[i];
        int peer = rig_connect(&rig);
        raw_send(peer, bytes[i], strlen(bytes[i]));
        rig_until(&rig, rig.witness.closed == i + 1);
        assert_int_equal(last_result, errors[i]);
        assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PROTOCOL);
        assert_int_equal(rig.witness.record.error, errors[i]);
        raw_expect_reset(peer);
        raw_close(peer);
    }
    rig_close(&rig);
}

static void close_and_ask_again(struct peal_conn *conn, struct peal_buf *input,
                                struct witness *witness)
{
    const void *message;
    size_t size;
    assert_int_equal(peal_conn_next_message(conn, witness->tag, input, &message, &size), 1);
    peal_conn_close(conn);
    last_result = peal_conn_next_message(conn, witness->tag, input, &message, &size);
}

static void no_message_after_the_end(void **state)
{
    static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U8};
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_data = close_and_ask_again;
    rig.witness.tag = (void *)(uintptr_t)&codec;
    rig.witness.keep_input = true;
    int peer = rig_connect(&rig);
    last_result = 99;
    raw_send(peer, "\1a\1b", 4);
    rig_until(&rig, last_result != 99);
    assert_int_equal(last_result, 0);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_CLOSE);
    rig_close(&rig);
}

/* ---- pieces */

static size_t eaten;
static void eat_a_third(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    static unsigned char expected[4 * 1024 * 1024];
    size_t size = peal_buf_size(input);
    (void)conn;
    (void)witness;
    raw_pattern(expected, size, eaten);
    assert_memory_equal(peal_buf_data(input), expected, size);
    size_t piece = size < 3 ? size : size / 3;
    peal_buf_consume(input, piece);
    eaten += piece;
}

static void input_is_kept_and_consumed_in_pieces(void **state)
{
    enum { SIZE = 3 * 1000 * 1000 };
    struct rig rig;
    unsigned char *bytes = malloc(SIZE);
    (void)state;
    raw_pattern(bytes, SIZE, 0);
    eaten = 0;
    rig_open(&rig, NULL);
    rig.witness.also_data = eat_a_third;
    rig.witness.keep_input = true;
    int peer = rig_connect(&rig);
    for (size_t sent = 0; sent < SIZE;) {
        size_t piece = SIZE - sent < 30011 ? SIZE - sent : 30011;
        raw_send(peer, bytes + sent, piece);
        sent += piece;
        rig_turns(&rig, 1);
    }
    raw_fin(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_received, SIZE);
    assert_true(eaten > SIZE / 2);
    raw_close(peer);
    free(bytes);
    rig_close(&rig);
}

static char at_eof[64];
static void take_the_rest(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    snprintf(at_eof, sizeof at_eof, "%.*s", (int)peal_buf_size(input),
             peal_buf_size(input) ? (const char *)peal_buf_data(input) : "");
    peal_conn_close(conn);
}

static void input_that_was_consumed_takes_no_memory(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    rig_turns(&rig, 2);
    struct baseline before = baseline_take();
    rig.witness.keep_input = true;
    raw_send(peer, "half", 4);
    rig_until(&rig, rig.witness.data_calls == 1);
    assert_true(baseline_take().bytes > before.bytes);
    rig.witness.keep_input = false;
    raw_send(peer, "whole", 5);
    rig_until(&rig, rig.witness.bytes == 9);
    assert_int_equal(baseline_take().allocations, before.allocations);
    raw_close(peer);
    rig_close(&rig);
}

/* It may linger for long after that. */
static void a_close_gives_back_what_was_kept(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    rig_turns(&rig, 2);
    struct baseline before = baseline_take();
    rig.witness.keep_input = true;
    raw_send(peer, "half", 4);
    rig_until(&rig, rig.witness.data_calls == 1);
    assert_true(baseline_take().bytes > before.bytes);
    peal_conn_close(rig.witness.conn);
    assert_int_equal(baseline_take().bytes, before.bytes);
    rig_until(&rig, peal_conn_state(rig.witness.conn) == PEAL_CONN_LINGERING);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    rig_close(&rig);
}

/* It may send for long after that. */
static void the_end_of_input_gives_back_what_was_kept(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.ops = &witness_eof_ops});
    int peer = rig_connect(&rig);
    rig_turns(&rig, 2);
    struct baseline before = baseline_take();
    rig.witness.keep_input = true;
    raw_send(peer, "half", 4);
    rig_until(&rig, rig.witness.data_calls == 1);
    assert_true(baseline_take().bytes > before.bytes);
    raw_fin(peer);
    rig_until(&rig, rig.witness.eofs == 1);
    assert_int_equal(baseline_take().bytes, before.bytes);
    peal_conn_close(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    raw_close(peer);
    rig_close(&rig);
}

static void close_and_take_the_rest(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    peal_conn_close(conn);
    take_the_rest(conn, input, user);
}

static void on_eof_may_close_first_and_look_then(void **state)
{
    struct rig rig;
    struct peal_conn_ops ops = witness_ops;
    (void)state;
    ops.on_eof = close_and_take_the_rest;
    rig_open(&rig, &(struct peal_server_options){.ops = &ops});
    rig.witness.keep_input = true;
    int peer = rig_connect(&rig);
    raw_send(peer, "left over, and all there", 24);
    raw_fin(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_string_equal(at_eof, "left over, and all there");
    raw_close(peer);
    rig_close(&rig);
}

static void on_eof_gets_what_was_left(void **state)
{
    struct rig rig;
    struct peal_conn_ops ops = witness_ops;
    (void)state;
    ops.on_eof = take_the_rest;
    rig_open(&rig, &(struct peal_server_options){.ops = &ops});
    rig.witness.keep_input = true;
    for (unsigned i = 0; i < 2; i++) {
        int peer = rig_connect(&rig);
        raw_send(peer, "left over", i ? 9 : 0);
        raw_fin(peer);
        rig_until(&rig, rig.witness.closed == i + 1);
        assert_string_equal(at_eof, i ? "left over" : "");
        assert_true(rig.witness.record.clean);
        raw_expect_fin(peer);
        raw_close(peer);
    }
    rig_close(&rig);
}

/* ---- pausing */

static void pauses_count(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    assert_false(peal_conn_is_paused(rig.witness.conn));
    peal_conn_pause_reading(rig.witness.conn);
    peal_conn_pause_reading(rig.witness.conn);
    raw_send(peer, "wait", 4);
    rig_turns(&rig, 3);
    peal_conn_resume_reading(rig.witness.conn);
    assert_true(peal_conn_is_paused(rig.witness.conn));
    rig_turns(&rig, 3);
    assert_int_equal(rig.witness.bytes, 0);
    peal_conn_resume_reading(rig.witness.conn);
    assert_false(peal_conn_is_paused(rig.witness.conn));
    rig_until(&rig, rig.witness.bytes == 4);
    peal_conn_pause_reading(rig.witness.conn);
    peal_conn_close(rig.witness.conn); /* from here on it reads to discard, paused or not */
    rig_until(&rig, peal_conn_state(rig.witness.conn) == PEAL_CONN_LINGERING);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_true(rig.witness.record.clean);
    rig_close(&rig);
}

static void resume_too_often(void *arg)
{
    struct rig rig;
    (void)arg;
    rig_open(&rig, NULL);
    rig_connect(&rig);
    peal_conn_resume_reading(rig.witness.conn);
}

static void one_resume_too_many_stops_the_program(void **state)
{
    (void)state;
    child_expect_abort(resume_too_often, NULL, "more often than peal_conn_pause_reading");
}

static void pause_too_often(void *arg)
{
    struct rig rig;
    (void)arg;
    rig_open(&rig, NULL);
    rig_connect(&rig);
    for (int i = 0; i < 65535; i++) {
        peal_conn_pause_reading(rig.witness.conn);
    }
    for (int i = 0; i < 65535; i++) {
        peal_conn_resume_reading(rig.witness.conn);
    }
    for (int i = 0; i < 65535; i++) {
        peal_conn_pause_reading(rig.witness.conn);
    }
    fputs("so far all is well; ", stderr);
    peal_conn_pause_reading(rig.witness.conn);
}

static void so_many_pauses_are_a_mistake(void **state)
{
    (void)state;
    child_expect_abort(pause_too_often, NULL,
                       "so far all is well; peal: peal_conn_pause_reading was called 65,536 times");
}

/* Input that waits, a peer that hung up: neither may wake a paused loop again and again. */
static void paused_it_does_not_spin(void **state)
{
    struct rig rig;
    struct peal_loop_stats before, after;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_conn_pause_reading(rig.witness.conn);
    raw_send(peer, "wait", 4);
    raw_fin(peer);
    rig_turns(&rig, 3);
    peal_conn_shutdown(rig.witness.conn); /* both FINs have passed: EPOLLHUP for ever */
    rig_turns(&rig, 3);
    peal_loop_get_stats(rig.loop, &before);
    for (int i = 0; i < 10; i++) {
        rig_turn_once(&rig);
    }
    peal_loop_get_stats(rig.loop, &after);
    assert_true(after.events - before.events <= 2);
    peal_conn_resume_reading(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.bytes, 4);
    assert_true(rig.witness.record.clean);
    raw_close(peer);
    rig_close(&rig);
}

static void pause_after_one(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    (void)witness;
    peal_conn_pause_reading(conn);
}

static void paused_in_on_data_it_is_silent(void **state)
{
    enum { SIZE = 500 * 1000 };
    struct rig rig;
    char *bytes = calloc(1, SIZE);
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_data = pause_after_one;
    int peer = rig_connect(&rig);
    raw_send(peer, bytes, SIZE);
    for (unsigned calls = 1; rig.witness.bytes < SIZE; calls++) {
        rig_until(&rig, rig.witness.data_calls == calls);
        rig_turns(&rig, 1);
        assert_int_equal(rig.witness.data_calls, calls);
        peal_conn_resume_reading(rig.witness.conn);
    }
    free(bytes);
    raw_close(peer);
    rig_close(&rig);
}

/* ---- what the program may change */

static unsigned second_calls;
static void second_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    assert_ptr_equal(user, &second_calls);
    assert_ptr_equal(peal_conn_user(conn), &second_calls);
    second_calls++;
    peal_buf_clear(input);
}

static struct witness *closing_witness;
static void second_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)user;
    peal_conn_set_user(conn, closing_witness);
    witness_ops.on_close(conn, record, closing_witness);
}

static const struct peal_conn_ops second_ops = {.on_data = second_data, .on_close = second_close};

static void switch_ops(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    closing_witness = witness;
    peal_conn_set_ops(conn, &second_ops);
    peal_conn_set_user(conn, &second_calls);
}

static void ops_and_user_change_in_flight(void **state)
{
    struct rig rig;
    (void)state;
    second_calls = 0;
    rig_open(&rig, NULL);
    rig.witness.also_data = switch_ops;
    int peer = rig_connect(&rig);
    raw_send(peer, "one", 3);
    rig_until(&rig, rig.witness.data_calls == 1);
    raw_send(peer, "two", 3);
    rig_until(&rig, second_calls == 1);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.data_calls, 1);
    rig_close(&rig);
}

static void without_ops_input_is_discarded(void **state)
{
    static const struct peal_conn_ops silent = {0};
    struct rig rig;
    struct peal_server_stats stats;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.ops = &silent});
    int peer = raw_connect(&rig.address);
    raw_send(peer, "nobody hears this", 17);
    raw_fin(peer);
    do {
        rig_turns(&rig, 1);
        peal_server_get_stats(rig.server, &stats);
    } while (stats.closed == 0);
    raw_expect_fin(peer);
    assert_int_equal(stats.bytes_received, 17);
    assert_int_equal(stats.closed_by_cause[PEAL_CAUSE_PEER_CLOSED], 1);
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_message_cut_anywhere_is_whole),
        TEST(send_message_is_what_next_message_takes),
        TEST(what_is_no_message_ends_it),
        TEST(no_message_after_the_end),
        TEST(input_is_kept_and_consumed_in_pieces),
        TEST(input_that_was_consumed_takes_no_memory),
        TEST(a_close_gives_back_what_was_kept),
        TEST(the_end_of_input_gives_back_what_was_kept),
        TEST(on_eof_may_close_first_and_look_then),
        TEST(on_eof_gets_what_was_left),
        TEST(pauses_count),
        TEST(one_resume_too_many_stops_the_program),
        TEST(so_many_pauses_are_a_mistake),
        TEST(paused_it_does_not_spin),
        TEST(paused_in_on_data_it_is_silent),
        TEST(ops_and_user_change_in_flight),
        TEST(without_ops_input_is_discarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
