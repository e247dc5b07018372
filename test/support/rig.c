/* SPDX-License-Identifier: BSD-2-Clause */
/* The rig: see rig.h. The witness checks by itself, in every test that uses it, what must hold for
 * every connection: callbacks on the loop's thread, on_close once for each on_open and last, and
 * records that add up (G1, G5). */
#include "support/rig.h"

#include "support/raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void check_callback(struct peal_conn *conn, enum peal_conn_state state)
{
    assert_true(peal_loop_is_mine(peal_conn_loop(conn)));
    assert_int_equal(peal_conn_state(conn), state);
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct witness *witness = user;
    check_callback(conn, PEAL_CONN_OPEN);
    witness->opened++;
    witness->conn = conn;
    if (witness->also_open) {
        witness->also_open(conn, witness);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct witness *witness = user;
    size_t size = peal_buf_size(input);
    check_callback(conn, PEAL_CONN_OPEN);
    assert_true(size > 0);
    witness->data_calls++;
    size_t shown = size < sizeof witness->last - 1 ? size : sizeof witness->last - 1;
    memcpy(witness->last, (const char *)peal_buf_data(input) + size - shown, shown);
    witness->last[shown] = '\0';
    if (witness->echo) {
        assert_int_equal(peal_conn_send(conn, peal_buf_data(input), size), size);
    }
    if (witness->also_data) {
        witness->also_data(conn, input, witness);
    }
    if (!witness->keep_input) {
        witness->bytes += peal_buf_size(input);
        peal_buf_clear(input);
    }
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct witness *witness = user;
    (void)input;
    check_callback(conn, PEAL_CONN_OPEN);
    witness->eofs++;
    if (witness->also_eof) {
        witness->also_eof(conn, witness);
    }
}

static void on_drain(struct peal_conn *conn, void *user)
{
    struct witness *witness = user;
    check_callback(conn, PEAL_CONN_OPEN);
    witness->drains++;
    if (witness->also_drain) {
        witness->also_drain(conn, witness);
    }
}

void rig_skip_unless_accept_is_called(void)
{
    struct peal_loop *loop;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    bool is_called = strcmp(peal_loop_engine(loop), "epoll") == 0;
    peal_loop_free(loop);
    if (!is_called) {
        print_message("skipped: the kernel accepts by itself on this engine\n");
        skip();
    }
}

void rig_check_record(const struct peal_close_record *record)
{
    assert_int_equal(record->bytes_accepted, record->bytes_taken + record->bytes_unsent);
    assert_true(record->bytes_unacked <= record->bytes_taken + 1); /* a FIN counts as one */
    assert_true(record->cause != PEAL_CAUSE_NONE);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct witness *witness = user;
    check_callback(conn, PEAL_CONN_CLOSED);
    rig_check_record(record);
    witness->closed++;
    assert_true(witness->closed <= witness->opened);
    witness->causes[record->cause]++;
    witness->record = *record;
    if (witness->conn == conn) {
        witness->conn = NULL;
    }
    if (witness->also_close) {
        witness->also_close(conn, record, witness);
    }
}

const struct peal_conn_ops witness_ops = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close};
const struct peal_conn_ops witness_eof_ops = {.on_open = on_open,
                                              .on_data = on_data,
                                              .on_eof = on_eof,
                                              .on_drain = on_drain,
                                              .on_close = on_close};

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    struct rig *rig = (struct rig *)(void *)((char *)user - offsetof(struct rig, witness));
    (void)server;
    rig->stopped++;
    rig->report = *report;
}

void rig_open(struct rig *rig, const struct peal_server_options *options)
{
    struct peal_server_options own = {0};
    memset(rig, 0, sizeof *rig);
    if (options) {
        own = *options;
    }
    if (!own.ops) {
        own.ops = &witness_ops;
    }
    own.user = &rig->witness;
    own.on_stopped = on_stopped;
    assert_int_equal(peal_loop_new(NULL, &rig->loop), 0);
    assert_int_equal(peal_server_new(rig->loop, &own, &rig->server), 0);
    assert_int_equal(peal_server_listen(rig->server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(peal_server_address(rig->server, 0, &rig->address), 0);
}

void rig_close(struct rig *rig)
{
    if (rig->server) {
        peal_server_stop(rig->server, 0);
        rig_until(rig, rig->stopped == 1);
        peal_server_unref(rig->server);
    }
    peal_loop_free(rig->loop);
    assert_int_equal(rig->witness.opened, rig->witness.closed);
    assert_true(rig->stopped <= 1);
}

int rig_connect(struct rig *rig)
{
    unsigned opened = rig->witness.opened;
    int peer = raw_connect(&rig->address);
    rig_until(rig, rig->witness.opened == opened + 1);
    return peer;
}

uint64_t rig_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void rig_turn_once(struct rig *rig)
{
    assert_true(peal_loop_turn(rig->loop, 20) >= 0);
}

void rig_turns(struct rig *rig, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        rig_turn_once(rig);
    }
}

void rig_turn_ms(struct rig *rig, unsigned duration_ms)
{
    uint64_t until_ms = rig_now_ms() + duration_ms;
    while (rig_now_ms() < until_ms) {
        assert_true(peal_loop_turn(rig->loop, 5) >= 0);
    }
}
