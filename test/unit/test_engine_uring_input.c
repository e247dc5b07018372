/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, input would be lost, doubled or out of order on io_uring: when the buffers run
 * out, when a reader pauses with a receive under way, and when either side ends meanwhile. */
#include "loop/engine_uring.h"
#include "support/baseline.h"
#include "support/faults.h"
#include "support/io_probe.h"
#include "support/on_uring.h"
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

/* ---- the shared buffers run out */

enum { MANY = BUFFERS_A_BLOCK + BUFFERS_A_BLOCK / 2, PIECE = 1000 };

struct crowd {
    struct peal_loop *loop;
    struct probe probes[MANY];
    int peers[MANY];
};

static struct crowd *crowd_open(void)
{
    struct peal_loop *loop = on_uring_loop();
    struct crowd *crowd = calloc(1, sizeof *crowd);
    assert_non_null(crowd);
    crowd->loop = loop;
    for (unsigned i = 0; i < MANY; i++) {
        int fds[2];
        raw_pair(fds);
        crowd->peers[i] = fds[1];
        probe_attach(&crowd->probes[i], loop, fds[0], 0);
        crowd->probes[i].recv_pattern = true;
    }
    return crowd;
}

static void crowd_close(struct crowd *crowd)
{
    for (unsigned i = 0; i < MANY; i++) {
        probe_end(&crowd->probes[i]);
        raw_close(crowd->probes[i].io.fd);
        raw_close(crowd->peers[i]);
    }
    peal_loop_free(crowd->loop);
    free(crowd);
}

static void crowd_sends(struct crowd *crowd, size_t offset)
{
    char data[PIECE];
    raw_pattern(data, PIECE, offset);
    for (unsigned i = 0; i < MANY; i++) {
        raw_send(crowd->peers[i], data, PIECE);
    }
}

static void crowd_has_received(struct crowd *crowd, size_t size)
{
    for (unsigned i = 0; i < MANY; i++) {
        while (crowd->probes[i].recv_all < size) {
            assert_int_equal(peal_loop_turn(crowd->loop, 10), 1);
        }
        assert_int_equal(crowd->probes[i].recv_all, size);
        assert_false(crowd->probes[i].recv_wrong);
        assert_null(strchr(crowd->probes[i].history, 'e'));
    }
}

/* All receives begin in one turn with bytes there already: the kernel wants a buffer for each. */
static void crowd_wants_buffers(struct crowd *crowd)
{
    crowd_sends(crowd, 0);
    for (unsigned i = 0; i < MANY; i++) {
        probe_recv_start(&crowd->probes[i]);
    }
    crowd_has_received(crowd, PIECE);
    for (size_t round = 1; round < 5; round++) { /* and all goes on as ever */
        crowd_sends(crowd, round * PIECE);
        crowd_has_received(crowd, (round + 1) * PIECE);
    }
}

static void more_buffers_are_provided_when_they_run_out(void **state)
{
    struct crowd *crowd = crowd_open();
    (void)state;
    assert_int_equal(crowd->loop->engine->blocks_count, 1);
    crowd_wants_buffers(crowd);
    assert_int_equal(crowd->loop->engine->blocks_count, 2); /* however many had to go without one */
    crowd_close(crowd);
}

static void without_memory_for_more_those_there_are_go_round(void **state)
{
    struct crowd *crowd = crowd_open();
    (void)state;
    faults_start((struct faults){.kind = 'a', .nth = 1, .for_ever = true, .error = ENOMEM});
    crowd_wants_buffers(crowd);
    assert_true(faults_stop() > 0); /* they did run out */
    assert_int_equal(crowd->loop->engine->blocks_count, 1);
    crowd_close(crowd);
}

/* ---- paused with a receive under way */

static struct peal_loop *loop;
static struct probe probe;
static int peer;

static void open_pair(uint8_t flags)
{
    int fds[2];
    loop = on_uring_loop();
    raw_pair(fds);
    peer = fds[1];
    probe_attach(&probe, loop, fds[0], flags);
    probe.recv_pattern = true;
}

static void close_pair(void)
{
    probe_end(&probe);
    raw_close(probe.io.fd);
    if (peer >= 0) {
        raw_close(peer);
    }
    peal_loop_free(loop);
}

static void turns(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(peal_loop_turn(loop, 2), 1);
    }
}

static void send_pattern(size_t size, size_t offset)
{
    char data[4096];
    assert_true(size <= sizeof data);
    raw_pattern(data, size, offset);
    raw_send(peer, data, size);
}

/* Paused with a receive in flight, which then takes bytes that nobody wants. */
static void open_with_kept_bytes(size_t size)
{
    open_pair(PL_IO_RECV);
    turns(1);
    probe_recv_stop(&probe);
    send_pattern(size, 0);
    while (!probe.io.engine_data) {
        turns(1);
    }
    assert_string_equal(probe.history, "");
}

static void kept_bytes_come_first_when_reading_goes_on(void **state)
{
    (void)state;
    open_with_kept_bytes(100);
    send_pattern(200, 100);
    turns(3);
    send_pattern(300, 300);
    assert_int_equal(probe.recv_all, 0);
    probe_recv_start(&probe);
    while (probe.recv_all < 600) {
        turns(1);
    }
    assert_int_equal(probe.recv_all, 600);
    assert_false(probe.recv_wrong);
    assert_null(probe.io.engine_data);
    close_pair();
}

static void many_pieces_are_kept_in_their_order(void **state)
{
    enum { SIZE = 4 * BUFFER_BYTES };
    int room = 2 * SIZE;
    char *data = malloc(SIZE);
    (void)state;
    assert_non_null(data);
    raw_pattern(data, SIZE, 0);
    open_pair(PL_IO_RECV);
    assert_int_equal(setsockopt(probe.io.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    turns(1);
    probe_recv_stop(&probe);
    raw_send(peer, data, SIZE);
    while (!probe.io.engine_data) {
        turns(1);
    }
    probe_recv_start(&probe);
    while (probe.recv_all < SIZE) {
        turns(1);
    }
    assert_false(probe.recv_wrong);
    close_pair();
    free(data);
}

static void pausing_and_resuming_at_every_moment_loses_nothing(void **state)
{
    size_t sent = 0;
    (void)state;
    open_pair(PL_IO_RECV);
    for (unsigned i = 0; i < 400; i++) {
        if (i % 3 != 2) {
            send_pattern(i + 1, sent);
            sent += i + 1;
        }
        if (i % 2 == 0) {
            probe_recv_stop(&probe);
        }
        if (i % 5 < 2) {
            assert_int_equal(peal_loop_turn(loop, 0), 1);
        }
        if (i % 7 != 0) {
            probe_recv_start(&probe);
        }
        if (i % 4 == 0) {
            assert_int_equal(peal_loop_turn(loop, 0), 1);
        }
        probe.history[0] = '\0';
    }
    probe_recv_start(&probe);
    while (probe.recv_all < sent) {
        turns(1);
    }
    assert_int_equal(probe.recv_all, sent);
    assert_false(probe.recv_wrong);
    close_pair();
}

static void stop_again(struct probe *which, char what)
{
    if (what == 'r') {
        probe_recv_stop(which);
    }
}

static void a_reader_may_pause_again_with_the_first_piece(void **state)
{
    (void)state;
    open_with_kept_bytes(100);
    send_pattern(200, 100);
    turns(3);
    probe.also = stop_again;
    size_t before = 0;
    while (probe.recv_all < 300) {
        probe_recv_start(&probe);
        turns(5);
        assert_true(probe.recv_all > before); /* one piece for each start */
        before = probe.recv_all;
    }
    assert_false(probe.recv_wrong);
    close_pair();
}

static void a_fin_while_paused_comes_after_what_is_kept(void **state)
{
    (void)state;
    open_with_kept_bytes(100);
    send_pattern(200, 100);
    raw_fin(peer);
    turns(5);
    assert_string_equal(probe.history, "");
    probe_recv_start(&probe);
    while (!strchr(probe.history, 'f')) {
        turns(1);
    }
    assert_int_equal(probe.recv_all, 300);
    assert_false(probe.recv_wrong);
    turns(5);
    assert_int_equal(probe.history[strlen(probe.history) - 1], 'f'); /* last, and once */
    assert_ptr_equal(strchr(probe.history, 'f'), strrchr(probe.history, 'f'));
    close_pair();
}

static void a_fin_alone_while_paused_waits_for_the_reader(void **state)
{
    (void)state;
    open_pair(PL_IO_RECV);
    turns(1);
    probe_recv_stop(&probe);
    raw_fin(peer);
    turns(5);
    assert_string_equal(probe.history, "");
    assert_int_equal(probe_events_of_turns(loop, 10), 0); /* E7 */
    probe_recv_start(&probe);
    probe_until(&probe, 1);
    assert_string_equal(probe.history, "f");
    assert_int_equal(probe_events_of_turns(loop, 10), 0);
    close_pair();
}

static void detaching_drops_what_is_kept(void **state)
{
    (void)state;
    open_with_kept_bytes(100);
    close_pair(); /* the baseline counts the memory */
    assert_string_equal(probe.history, "");
}

/* A stream whose reading is stopped, and 100 bytes that came and could not be kept. */
static void open_with_lost_bytes(void)
{
    open_pair(PL_IO_RECV);
    turns(1);
    probe_recv_stop(&probe);
    send_pattern(100, 0);
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    while (probe.history[0] == '\0') {
        turns(1);
    }
    assert_int_equal(faults_stop(), 1);
    assert_string_equal(probe.history, "e");
    assert_int_equal(probe.error, -ENOMEM);
}

static void without_memory_to_keep_bytes_that_is_told(void **state)
{
    (void)state;
    open_with_lost_bytes();
    close_pair();
}

static bool never(struct pl_io *io)
{
    (void)io;
    return false;
}

/* Found by the simulated kernel: the rest before the end was told behind a gap. */
static void what_came_after_lost_bytes_is_never_told(void **state)
{
    (void)state;
    open_with_lost_bytes();
    send_pattern(100, 100);
    loop->ops->recv_rest(loop->engine, &probe.io, 1000, never);
    assert_string_equal(probe.history, "e");
    turns(3);
    assert_string_equal(probe.history, "e");
    close_pair();
}

/* ---- the same, seen by a program */

static void pause_with_kept(struct rig *rig, int *ret_peer)
{
    on_uring_or_skip();
    rig_open(rig, NULL);
    *ret_peer = rig_connect(rig);
    rig_turns(rig, 1);
    peal_conn_pause_reading(rig->witness.conn);
    raw_send(*ret_peer, "first ", 6);
    rig_turns(rig, 3);
    raw_send(*ret_peer, "second", 6);
    rig_turns(rig, 3);
    assert_int_equal(rig->witness.bytes, 0);
}

static void a_reset_while_paused_shows_kept_and_unread_bytes(void **state)
{
    struct rig rig;
    int raw;
    (void)state;
    pause_with_kept(&rig, &raw);
    raw_reset(raw);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.bytes, 12);
    assert_int_equal(rig.witness.record.bytes_received, 12);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
    rig_close(&rig);
}

static void a_close_while_paused_counts_kept_and_unread_bytes(void **state)
{
    struct rig rig;
    int raw;
    (void)state;
    pause_with_kept(&rig, &raw);
    peal_conn_close(rig.witness.conn);
    rig_turns(&rig, 3);
    raw_expect_fin(raw);
    raw_fin(raw);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.bytes, 0);
    assert_int_equal(rig.witness.record.bytes_received, 12);
    assert_int_equal(rig.witness.record.bytes_discarded, 12);
    assert_true(rig.witness.record.clean);
    raw_close(raw);
    rig_close(&rig);
}

static void an_abort_while_paused_resets(void **state)
{
    struct rig rig;
    int raw;
    (void)state;
    pause_with_kept(&rig, &raw);
    peal_conn_abort(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    raw_expect_reset(raw);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_ABORT);
    raw_close(raw);
    rig_close(&rig);
}

static void send_on(struct peal_conn *conn, struct witness *witness)
{
    (void)witness;
    assert_int_equal(peal_conn_send(conn, "answer", 6), 6);
}

/* Reading is over with the FIN, and the connection stays open for the program's own bytes. */
static void a_reset_after_the_peers_fin_is_told(void **state)
{
    struct rig rig;
    (void)state;
    on_uring_or_skip();
    rig_open(&rig, &(struct peal_server_options){.ops = &witness_eof_ops});
    rig.witness.also_eof = send_on;
    int raw = rig_connect(&rig);
    raw_fin(raw);
    rig_until(&rig, rig.witness.eofs == 1);
    rig_turns(&rig, 3);
    raw_reset(raw);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
    assert_int_equal(rig.witness.record.bytes_taken, 6);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(more_buffers_are_provided_when_they_run_out),
        TEST(without_memory_for_more_those_there_are_go_round),
        TEST(kept_bytes_come_first_when_reading_goes_on),
        TEST(many_pieces_are_kept_in_their_order),
        TEST(pausing_and_resuming_at_every_moment_loses_nothing),
        TEST(a_reader_may_pause_again_with_the_first_piece),
        TEST(a_fin_while_paused_comes_after_what_is_kept),
        TEST(a_fin_alone_while_paused_waits_for_the_reader),
        TEST(detaching_drops_what_is_kept),
        TEST(without_memory_to_keep_bytes_that_is_told),
        TEST(what_came_after_lost_bytes_is_never_told),
        TEST(a_reset_while_paused_shows_kept_and_unread_bytes),
        TEST(a_close_while_paused_counts_kept_and_unread_bytes),
        TEST(an_abort_while_paused_resets),
        TEST(a_reset_after_the_peers_fin_is_told),
    };
    on_uring_ask();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
