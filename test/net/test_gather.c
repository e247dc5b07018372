/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, what a callback sends in small pieces would leave out of order, late or twice, or
 * be missing from the accounts, once something else comes between it and the callback's end. */
#include "support/baseline.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct rig rig;
static int peer;

/* A loop has its chunk to gather in from the first send on: without one before, nothing gathers. */
static void warm_up(void)
{
    peer = rig_connect(&rig);
    rig.witness.echo = true;
    raw_send(peer, "warm", 4);
    rig_until(&rig, rig.witness.data_calls == 1);
    raw_expect(peer, "warm");
    rig_turns(&rig, 1);
    rig.witness.echo = false;
    rig.witness.data_calls = 0;
}

static void begin(void (*also_data)(struct peal_conn *, struct peal_buf *, struct witness *),
                  const struct peal_conn_limits *limits)
{
    struct peal_server_options options = {0};
    if (limits) {
        options.limits = *limits;
    }
    rig_open(&rig, &options);
    warm_up();
    rig.witness.also_data = also_data;
    raw_send(peer, "go", 2);
    rig_until(&rig, rig.witness.data_calls == 1);
}

static void finish(void)
{
    raw_close(peer);
    rig_close(&rig);
}

static void expect_bytes(const void *expected, size_t size)
{
    unsigned char *got = malloc(size);
    for (size_t have = 0; have < size;) {
        ssize_t n = recv(peer, got + have, size - have, 0);
        assert_true(n > 0);
        have += (size_t)n;
    }
    assert_memory_equal(got, expected, size);
    free(got);
}

static void send_text(struct peal_conn *conn, const char *text)
{
    assert_int_equal(peal_conn_send(conn, text, strlen(text)), strlen(text));
}

static void all_kinds(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    static char large[10000];
    struct iovec parts[2] = {{(char[]){"c"}, 1}, {(char[]){"d"}, 1}};
    struct peal_blob *blob;
    int file = fileno(witness->tag);
    (void)input;
    memset(large, '-', sizeof large);
    send_text(conn, "a");
    send_text(conn, "b");
    assert_int_equal(peal_conn_output_bytes(conn), 2);
    assert_int_equal(peal_conn_sendv(conn, parts, 2), 2);
    assert_int_equal(peal_conn_output_bytes(conn), 4);
    send_text(conn, "e");
    assert_int_equal(peal_blob_copy("f", 1, &blob), 0);
    assert_int_equal(peal_conn_send_ref(conn, blob), 1);
    peal_blob_unref(blob);
    send_text(conn, "g");
    assert_int_equal(peal_conn_send_file(conn, file, 0, 1), 1);
    send_text(conn, "i");
    assert_int_equal(peal_conn_send(conn, large, sizeof large), sizeof large);
    send_text(conn, "j");
}

static void mixes_with_every_other_send(void **state)
{
    char *expected = malloc(10011);
    (void)state;
    memcpy(expected, "abcdefghi", 9);
    memset(expected + 9, '-', 10000);
    memcpy(expected + 10009, "j", 2);
    FILE *file = tmpfile();
    assert_int_equal(fputs("h", file), 1);
    fflush(file);
    rig_open(&rig, NULL);
    warm_up();
    rig.witness.tag = file;
    rig.witness.also_data = all_kinds;
    raw_send(peer, "go", 2);
    rig_until(&rig, rig.witness.data_calls == 1);
    rig_turns(&rig, 2);
    expect_bytes(expected, 10010);
    finish();
    fclose(file);
    free(expected);
}

static void then_closes(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    (void)witness;
    send_text(conn, "last");
    peal_conn_close(conn);
    assert_int_equal(peal_conn_send(conn, "x", 1), -EPIPE);
    assert_int_equal(peal_conn_output_bytes(conn), 4);
}

static void close_flushes_what_was_gathered(void **state)
{
    (void)state;
    begin(then_closes, NULL);
    raw_expect(peer, "last");
    raw_expect_fin(peer);
    raw_fin(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_taken, sizeof "warm" - 1 + 4);
    finish();
}

static void then_shuts_down(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    (void)witness;
    send_text(conn, "last");
    peal_conn_shutdown(conn);
    assert_int_equal(peal_conn_send(conn, "x", 1), -EPIPE);
}

static void shutdown_flushes_what_was_gathered(void **state)
{
    (void)state;
    begin(then_shuts_down, NULL);
    raw_expect(peer, "last");
    raw_expect_fin(peer);
    finish();
}

static void then_aborts(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    (void)witness;
    send_text(conn, "lost");
    peal_conn_abort(conn);
}

static void abort_counts_what_was_gathered_as_unsent(void **state)
{
    (void)state;
    begin(then_aborts, NULL);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_accepted, 4 + 4);
    assert_int_equal(rig.witness.record.bytes_unsent, 4);
    assert_int_equal(rig.witness.record.bytes_taken, 4); /* of the warm-up */
    finish();
}

static void then_flushes(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    char text[2] = {0};
    (void)input;
    send_text(conn, "a");
    peal_conn_flush(conn);
    assert_int_equal(peal_conn_output_bytes(conn), 0);
    if (strcmp(peal_loop_engine(rig.loop), "epoll") == 0) {
        assert_int_equal(recv(peer, text, 1, MSG_DONTWAIT), 1); /* it has left already */
        assert_string_equal(text, "a");
        witness->tag = conn;
    }
    send_text(conn, "b");
}

static void flush_writes_what_was_gathered(void **state)
{
    (void)state;
    begin(then_flushes, NULL);
    rig_turns(&rig, 2);
    raw_expect(peer, rig.witness.tag ? "b" : "ab");
    finish();
}

static void then_wants_drain(struct peal_conn *conn, struct peal_buf *input,
                             struct witness *witness)
{
    (void)input;
    (void)witness;
    send_text(conn, "a");
    peal_conn_want_drain(conn);
    send_text(conn, "b");
}

static void drain_comes_after_what_was_gathered(void **state)
{
    (void)state;
    begin(then_wants_drain, NULL);
    rig_until(&rig, rig.witness.drains == 1);
    raw_expect(peer, "ab");
    finish();
}

static void passes_marks(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    (void)witness;
    send_text(conn, "1234567890");
    send_text(conn, "1234567890");
}

static void marks_count_what_was_gathered(void **state)
{
    (void)state;
    begin(passes_marks, &(struct peal_conn_limits){.output_high_bytes = 15, .output_low_bytes = 5});
    rig_until(&rig, rig.witness.drains == 1);
    raw_expect(peer, "12345678901234567890");
    finish();
}

static void meets_cap(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    (void)witness;
    send_text(conn, "1234567890");
    assert_int_equal(peal_conn_send(conn, "123456", 6), -ENOBUFS);
    send_text(conn, "12345");
}

static void cap_counts_what_was_gathered(void **state)
{
    (void)state;
    begin(meets_cap,
          &(struct peal_conn_limits){.output_bytes_max = 15, .output_cap_refuses = true});
    raw_expect(peer, "123456789012345");
    finish();
}

static void sends_frames(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    unsigned char frame[700];
    (void)input;
    (void)witness;
    for (size_t i = 0; i < 60; i++) { /* 42,000 bytes: more than the gather chunk holds */
        raw_pattern(frame, sizeof frame, i * sizeof frame);
        assert_int_equal(peal_conn_send(conn, frame, sizeof frame), sizeof frame);
    }
}

static void more_than_a_chunk_keeps_its_order(void **state)
{
    unsigned char expected[60 * 700];
    (void)state;
    raw_pattern(expected, sizeof expected, 0);
    begin(sends_frames, NULL);
    rig_turns(&rig, 2);
    expect_bytes(expected, sizeof expected);
    finish();
}

/* The other connection's bytes are queued from outside of its callbacks; its own reply comes after
 * them. */
static struct peal_conn *first;
static char sent_to_first[3];

static void send_to_first(const char *text)
{
    send_text(first, text);
    strcat(sent_to_first, text);
}

static void sends_to_the_other(struct peal_conn *conn, struct peal_buf *input,
                               struct witness *witness)
{
    (void)input;
    (void)witness;
    if (conn != first) {
        send_text(conn, "1");
        send_to_first("2");
        send_text(conn, "3");
    } else {
        send_to_first("4");
    }
}

static void pieces_for_another_stay_apart(void **state)
{
    (void)state;
    rig_open(&rig, NULL);
    warm_up();
    rig.witness.also_data = sends_to_the_other;
    first = rig.witness.conn;
    sent_to_first[0] = '\0';
    int other = rig_connect(&rig);
    raw_send(other, "go", 2);
    raw_send(peer, "go", 2);
    rig_until(&rig, rig.witness.data_calls == 2);
    rig_turns(&rig, 2);
    raw_expect(peer, sent_to_first);
    raw_expect(other, "13");
    raw_close(other);
    finish();
}

static void sends_three_at_once(struct peal_conn *conn, struct witness *witness)
{
    (void)witness;
    send_text(conn, "1");
    send_text(conn, "2");
    send_text(conn, "3");
}

static void closes(struct peal_conn *conn, struct witness *witness)
{
    (void)witness;
    peal_conn_close(conn);
}

static void sends_three_and_closes(struct peal_conn *conn, struct witness *witness)
{
    sends_three_at_once(conn, witness);
    peal_conn_close(conn);
}

/* A greeting, a last word. */
static void what_on_open_and_on_eof_send_is_one_write(void **state)
{
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.ops = &witness_eof_ops});
    rig.witness.also_eof = closes;
    warm_up();
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    for (unsigned i = 0; i < 2; i++) {
        rig.witness.also_open = i == 0 ? sends_three_at_once : NULL;
        rig.witness.also_eof = i == 1 ? sends_three_and_closes : closes;
        faults_start((struct faults){.kind = 's', .name = "send"});
        peer = rig_connect(&rig);
        raw_fin(peer);
        rig_until(&rig, rig.witness.closed == 2 + i);
        assert_int_equal(faults_seen(), 1);
        faults_stop();
        expect_bytes("123", 3);
        raw_close(peer);
    }
    rig_close(&rig);
}

static void sends_and_fails_to(struct peal_conn *conn, struct peal_buf *input,
                               struct witness *witness)
{
    (void)input;
    send_text(conn, "first");
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    assert_int_equal(peal_conn_send_ref(conn, witness->tag), -ENOMEM);
    assert_int_equal(faults_stop(), 1);
}

static void leaves_though_what_would_follow_was_refused(void **state)
{
    struct peal_blob *blob;
    (void)state;
    assert_int_equal(peal_blob_copy("second", 6, &blob), 0);
    rig_open(&rig, NULL);
    warm_up();
    rig.witness.tag = blob;
    rig.witness.also_data = sends_and_fails_to;
    raw_send(peer, "go", 2);
    rig_until(&rig, rig.witness.data_calls == 1);
    rig_turns(&rig, 2);
    expect_bytes("first", 5);
    peal_blob_unref(blob);
    finish();
}

static size_t accepted;
static void sends_what_it_can(struct peal_conn *conn, struct peal_buf *input,
                              struct witness *witness)
{
    (void)input;
    (void)witness;
    for (int i = 0; i < 2; i++) {
        ssize_t n = peal_conn_send(conn, "1234567890", 10);
        assert_true(n == 10 || n == -ENOMEM || n == -EPIPE);
        accepted += n > 0 ? (size_t)n : 0;
    }
}

/* Whichever call fails: bytes that were accepted arrive, or are counted as unsent. */
static void every_fault_is_accounted_for(void **state)
{
    static const struct {
        char kind;
        int error;
    } faults[] = {{'s', EAGAIN}, {'s', EINTR}, {'s', ECONNRESET}, {'s', ENOBUFS}, {'a', ENOMEM}};
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        bool met = true;
        for (unsigned n = 1; met && n < 100; n++) {
            rig_open(&rig, NULL);
            accepted = 0;
            rig.witness.also_data = sends_what_it_can;
            peer = rig_connect(&rig);
            raw_send(peer, "go", 2);
            faults_start(
                (struct faults){.kind = faults[i].kind, .nth = n, .error = faults[i].error});
            for (int turn = 0; turn < 4; turn++) { /* an error of the wait itself ends the turn */
                int result = peal_loop_turn(rig.loop, 0);
                assert_true(result == 1 || result == -faults[i].error);
            }
            met = faults_stop() > 0;
            rig_turns(&rig, 2);
            if (rig.witness.closed == 0) {
                assert_int_equal(rig.witness.data_calls, 1);
                expect_bytes("12345678901234567890", accepted);
            } else {
                rig_check_record(&rig.witness.record);
            }
            finish();
        }
        assert_false(met);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(mixes_with_every_other_send),
        TEST(close_flushes_what_was_gathered),
        TEST(shutdown_flushes_what_was_gathered),
        TEST(abort_counts_what_was_gathered_as_unsent),
        TEST(flush_writes_what_was_gathered),
        TEST(drain_comes_after_what_was_gathered),
        TEST(marks_count_what_was_gathered),
        TEST(cap_counts_what_was_gathered),
        TEST(more_than_a_chunk_keeps_its_order),
        TEST(pieces_for_another_stay_apart),
        TEST(what_on_open_and_on_eof_send_is_one_write),
        TEST(every_fault_is_accounted_for),
        TEST(leaves_though_what_would_follow_was_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
