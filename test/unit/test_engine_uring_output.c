/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, output that io_uring gathers would be lost, doubled or counted wrong: sends that
 * the kernel takes in part or refuses, and sends whose connection ends before they are made. */
#include "loop/engine_uring.h"
#include "support/baseline.h"
#include "support/faults.h"
#include "support/io_probe.h"
#include "support/on_uring.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { PIECE = 16 * 1024 };

static struct peal_loop *loop;
static struct probe probe;
static int peer;

static void open_pair(void)
{
    int fds[2];
    loop = on_uring_loop();
    raw_pair(fds);
    peer = fds[1];
    probe_attach(&probe, loop, fds[0], PL_IO_RECV);
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

static void turn(void)
{
    assert_int_equal(peal_loop_turn(loop, 10), 1);
}

/* As in a turn that brought many events, where gathering pays. */
static void send_queued(struct probe *which, const char *data, size_t size)
{
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    which->io.loop->engine->batch = 100;
    assert_int_equal(which->io.loop->ops->send(which->io.loop->engine, &which->io, &piece, 1, 0),
                     0);
    assert_true(which->io.flags & PL_IO_QUEUED);
}

static void set_send_buffer(int fd, int bytes)
{
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
}

/* ---- whole, in part, refused */

static void a_queued_send_is_told_when_it_was_made(void **state)
{
    (void)state;
    open_pair();
    send_queued(&probe, "hello", 5);
    assert_string_equal(probe.history, "");
    probe_until(&probe, 1);
    assert_string_equal(probe.history, "s");
    assert_int_equal(probe.sent_all, 5);
    assert_int_equal(probe.io.flags & (PL_IO_QUEUED | PL_IO_SEND), 0);
    raw_expect(peer, "hello");
    close_pair();
}

static void short_queued_sends_go_on_where_they_were(void **state)
{
    enum { SIZE = 64 * PIECE };
    char *data = malloc(SIZE), *got = malloc(SIZE);
    size_t received = 0;
    unsigned shorts = 0;
    (void)state;
    assert_true(data && got);
    raw_pattern(data, SIZE, 0);
    open_pair();
    set_send_buffer(probe.io.fd, 4096);
    assert_int_equal(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    for (unsigned i = 0; received < SIZE; i++) {
        if (!(probe.io.flags & (PL_IO_QUEUED | PL_IO_SEND)) && probe.sent_all < SIZE) {
            size_t left = SIZE - (size_t)probe.sent_all;
            send_queued(&probe, data + probe.sent_all, left < PIECE ? left : PIECE);
        }
        assert_int_equal(peal_loop_turn(loop, 1), 1);
        shorts += probe.io.flags & PL_IO_SEND ? 1 : 0;
        if (i % 4 == 3) {
            ssize_t n = recv(peer, got + received, SIZE - received, 0);
            received += n > 0 ? (size_t)n : 0;
        }
        probe.history[0] = '\0';
    }
    assert_memory_equal(got, data, SIZE);
    assert_int_equal(probe.sent_all, SIZE);
    assert_true(shorts > 0);
    close_pair();
    free(data);
    free(got);
}

/* One failed, one in part and the others whole, in any order of the queue: each is told its own. */
enum { MANY = 60 };

/* Found by the simulated kernel: there was room all along, so no edge told of it. */
static void a_send_that_was_interrupted_goes_on(void **state)
{
    FILE *file = tmpfile();
    bool file_error = false;
    (void)state;
    assert_non_null(file);
    assert_true(fputs("hello", file) >= 0 && fflush(file) == 0);
    open_pair();
    struct pl_engine *engine = loop->engine;
    assert_int_equal(uring_start_stream_poll(engine, &probe.io), 0);
    turn();
    turn();
    faults_start((struct faults){.kind = 's', .name = "sendfile", .nth = 1, .error = EINTR});
    assert_int_equal(loop->ops->send_file(engine, &probe.io, fileno(file), 0, 5, &file_error), 0);
    assert_int_equal(faults_stop(), 1);
    probe_until(&probe, 1);
    assert_string_equal(probe.history, "s");
    assert_int_equal(loop->ops->send_file(engine, &probe.io, fileno(file), 0, 5, &file_error), 5);
    assert_false(file_error);
    raw_expect(peer, "hello");
    fclose(file);
    close_pair();
}

static void each_send_of_a_batch_is_told_its_own_result(void **state)
{
    struct probe *probes = calloc(MANY, sizeof *probes);
    int peers[MANY];
    char *data = malloc(PIECE);
    (void)state;
    assert_true(probes && data);
    memset(data, 'x', PIECE);
    loop = on_uring_loop();
    for (unsigned i = 0; i < MANY; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        peers[i] = fds[1];
        probe_attach(&probes[i], loop, fds[0], 0);
        if (i % 3 == 1) {
            set_send_buffer(fds[0], 4096);
        } else if (i % 3 == 2) {
            assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
        }
    }
    for (unsigned i = 0; i < MANY; i++) {
        send_queued(&probes[i], data, i % 3 == 0 ? 1000 : PIECE);
    }
    turn();
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(probes[i].history[0], 's');
        if (i % 3 == 0) {
            assert_int_equal(probes[i].sent_all, 1000);
        } else if (i % 3 == 1) {
            assert_in_range(probes[i].sent_all, 0, PIECE - 1);
        } else {
            assert_int_equal(probes[i].error, -EPIPE);
        }
        probe_end(&probes[i]);
        raw_close(probes[i].io.fd);
        assert_int_equal(raw_drain(peers[i], &(int){0}), probes[i].sent_all);
        raw_close(peers[i]);
    }
    peal_loop_free(loop);
    free(probes);
    free(data);
}

/* ---- queues that are full */

/* No-ops for nobody: takes places in the queue, which is submitted whenever it is full. */
static void fill_queue(struct pl_engine *engine, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = uring_sqe_new(engine);
        assert_non_null(sqe);
        sqe->opcode = IORING_OP_NOP;
        sqe->user_data = OP_NONE;
    }
}

static void send_again_behind_a_full_queue(struct probe *which, char what)
{
    if (what == 's' && strlen(which->history) == 1) {
        struct pl_engine *engine = which->io.loop->engine;
        assert_int_equal(shutdown(which->io.fd, SHUT_WR), 0);
        send_queued(which, "lost", 4);
        fill_queue(engine, engine->ring.sq_mask + 2);
        assert_true(sys_uring_unsubmitted(&engine->ring) < engine->ring.sq_mask);
    }
}

/* The outcome of a send comes while those before it are still being told. */
static void a_send_submitted_early_is_told_its_failure(void **state)
{
    (void)state;
    open_pair();
    probe.also = send_again_behind_a_full_queue;
    send_queued(&probe, "first", 5);
    probe_until(&probe, 2);
    assert_true(strncmp(probe.history, "ss", 2) == 0);
    assert_int_equal(probe.sent_all, 5);
    assert_int_equal(probe.error, -EPIPE);
    close_pair();
}

/* More completions than the queue of completions has room for. */
static void a_failure_is_told_also_after_an_overflow(void **state)
{
    (void)state;
    open_pair();
    struct pl_engine *engine = loop->engine;
    turn();
    fill_queue(engine, 10);
    assert_int_equal(shutdown(probe.io.fd, SHUT_WR), 0);
    send_queued(&probe, "lost", 4);
    fill_queue(engine, engine->ring.cq_mask + 100);
    probe_until(&probe, 1);
    assert_int_equal(probe.history[0], 's');
    assert_int_equal(probe.sent_all, 0);
    assert_int_equal(probe.error, -EPIPE);
    close_pair();
}

static void one_that_did_not_fit_is_told_too(void **state)
{
    (void)state;
    open_pair();
    struct pl_engine *engine = loop->engine;
    turn();
    fill_queue(engine, engine->ring.cq_mask + 100);
    assert_int_equal(shutdown(probe.io.fd, SHUT_WR), 0);
    send_queued(&probe, "lost", 4);
    probe_until(&probe, 1);
    assert_int_equal(probe.sent_all, 0);
    assert_int_equal(probe.error, -EPIPE);
    close_pair();
}

/* ---- ended with a send in the queue */

static void a_queued_send_outlives_its_detach(void **state)
{
    char *data = malloc(PIECE);
    (void)state;
    assert_non_null(data);
    raw_pattern(data, PIECE, 0);
    open_pair();
    turn();
    send_queued(&probe, data, PIECE);
    assert_false(loop->ops->detach(loop->engine, &probe.io));
    raw_send(peer, "too late", 8);
    raw_fin(peer);
    while (!probe.detached) {
        turn();
    }
    assert_string_equal(probe.history, "s"); /* and nothing of what came */
    assert_int_equal(probe.sent_all, PIECE);
    memset(data, 0, PIECE); /* it was taken: the memory is not needed any more */
    assert_int_equal(shutdown(probe.io.fd, SHUT_WR), 0);
    assert_int_equal(raw_drain_pattern(peer), PIECE);
    raw_close(probe.io.fd);
    raw_close(peer);
    peal_loop_free(loop);
    free(data);
}

/* A connection whose callback sends a reply that is queued, and ends the connection at once. */
static void reply_and(struct peal_conn *conn, struct witness *witness,
                      void (*end)(struct peal_conn *conn))
{
    struct pl_engine *engine = peal_conn_loop(conn)->engine;
    engine->batch = 100;
    assert_int_equal(peal_conn_send(conn, witness->tag, strlen(witness->tag)),
                     strlen(witness->tag));
    peal_conn_flush(conn);
    end(conn);
}

static void reply_and_abort(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    reply_and(conn, witness, peal_conn_abort);
}

static void reply_and_close(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    (void)input;
    reply_and(conn, witness, peal_conn_close);
}

static void a_close_after_a_queued_send_delivers_it(void **state)
{
    struct rig rig;
    char reply[] = "the last answer";
    (void)state;
    on_uring_or_skip();
    rig_open(&rig, NULL);
    rig.witness.also_data = reply_and_close;
    rig.witness.tag = reply;
    int raw = rig_connect(&rig);
    raw_send(raw, "?", 1);
    rig_until(&rig, rig.witness.bytes == 1);
    rig_turns(&rig, 3);
    raw_expect(raw, reply);
    raw_expect_fin(raw);
    raw_fin(raw);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_taken, strlen(reply));
    assert_int_equal(rig.witness.record.bytes_unsent, 0);
    assert_true(rig.witness.record.clean);
    raw_close(raw);
    rig_close(&rig);
}

static void an_abort_after_a_queued_send_counts_what_was_taken(void **state)
{
    struct rig rig;
    char reply[] = "the last answer";
    (void)state;
    on_uring_or_skip();
    rig_open(&rig, NULL);
    rig.witness.also_data = reply_and_abort;
    rig.witness.tag = reply;
    int raw = rig_connect(&rig);
    raw_send(raw, "?", 1);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_ABORT);
    assert_int_equal(rig.witness.record.bytes_accepted, strlen(reply));
    assert_int_equal(rig.witness.record.bytes_taken, strlen(reply));
    raw_expect_reset(raw);
    raw_close(raw);
    rig_close(&rig);
}

/* The kernel has no room for it: accepted and never taken. */
static void an_abort_counts_what_a_full_kernel_did_not_take(void **state)
{
    enum { SIZE = 8 * 1024 * 1024 };
    struct rig rig;
    char *large = calloc(1, SIZE), reply[] = "the last answer";
    (void)state;
    assert_non_null(large);
    on_uring_or_skip();
    rig_open(&rig, NULL);
    rig.witness.also_data = reply_and_abort;
    rig.witness.tag = reply;
    int raw = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, large, SIZE), SIZE);
    rig_turns(&rig, 2);
    raw_send(raw, "?", 1);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_accepted, SIZE + strlen(reply));
    assert_true(rig.witness.record.bytes_taken < SIZE);
    assert_true(raw_drain(raw, &(int){0}) <= rig.witness.record.bytes_taken);
    raw_close(raw);
    rig_close(&rig);
    free(large);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_queued_send_is_told_when_it_was_made),
        TEST(short_queued_sends_go_on_where_they_were),
        TEST(a_send_that_was_interrupted_goes_on),
        TEST(each_send_of_a_batch_is_told_its_own_result),
        TEST(a_send_submitted_early_is_told_its_failure),
        TEST(a_failure_is_told_also_after_an_overflow),
        TEST(one_that_did_not_fit_is_told_too),
        TEST(a_queued_send_outlives_its_detach),
        TEST(a_close_after_a_queued_send_delivers_it),
        TEST(an_abort_after_a_queued_send_counts_what_was_taken),
        TEST(an_abort_counts_what_a_full_kernel_did_not_take),
    };
    on_uring_ask();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
