/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a connection could last or grow without bound, or a slow but living peer would be
 * cut off (G9). */
#include "support/baseline.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include "net/conn.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { MIB = 1024 * 1024 };

static void open_with(struct rig *rig, const struct peal_conn_limits *limits,
                      const struct peal_conn_ops *ops)
{
    rig_open(rig, &(struct peal_server_options){.ops = ops, .limits = *limits});
}

static void expect_end(struct rig *rig, enum peal_cause cause, enum peal_conn_state state,
                       int error)
{
    rig_until(rig, rig->witness.closed == rig->witness.opened);
    assert_int_equal(rig->witness.record.cause, cause);
    assert_int_equal(rig->witness.record.state, state);
    assert_int_equal(rig->witness.record.error, error);
}

static void idle_closes_gracefully(void **state)
{
    struct rig rig;
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.idle_ms = 80}, NULL);
    int peer = rig_connect(&rig);
    for (int i = 0; i < 6; i++) { /* bytes now and then keep it alive */
        rig_turn_ms(&rig, 20);
        raw_send(peer, "x", 1);
    }
    assert_int_equal(rig.witness.closed, 0);
    for (int i = 0; i < 6; i++) { /* in either direction */
        rig_turn_ms(&rig, 20);
        assert_int_equal(peal_conn_send(rig.witness.conn, "y", 1), 1);
    }
    assert_int_equal(rig.witness.closed, 0);
    rig_until(&rig, peal_conn_state(rig.witness.conn) == PEAL_CONN_LINGERING);
    raw_expect(peer, "yyyyyy");
    raw_expect_fin(peer); /* a FIN, not a reset */
    raw_close(peer);
    expect_end(&rig, PEAL_CAUSE_IDLE_TIMEOUT, PEAL_CONN_LINGERING, 0);
    assert_true(rig.witness.record.clean);
    rig_close(&rig);
}

/* The first reason stays the cause, though it is the linger that ends it. */
/* A quarter of it would be no time at all. */
static void even_a_very_short_limit_is_kept(void **state)
{
    struct rig rig;
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.idle_ms = 3, .linger_ms = 3}, NULL);
    int peer = rig_connect(&rig);
    rig_until(&rig, rig.witness.closed == 1);
    expect_end(&rig, PEAL_CAUSE_IDLE_TIMEOUT, PEAL_CONN_LINGERING, 0);
    raw_expect_fin(peer);
    raw_close(peer);
    rig_close(&rig);
}

static void an_idle_peer_that_ignores_the_fin_is_idle_still(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.limits = {.idle_ms = 40, .linger_ms = 40}});
    int peer = rig_connect(&rig);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_IDLE_TIMEOUT);
    assert_int_equal(rig.witness.record.state, PEAL_CONN_LINGERING);
    assert_false(rig.witness.record.clean);
    raw_close(peer);
    rig_close(&rig);
}

static void output_without_progress_is_cut(void **state)
{
    struct rig rig;
    unsigned char *bytes = calloc(1, 16 * MIB);
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.flush_ms = 100}, NULL);
    for (int closing = 0; closing < 2; closing++) {
        int peer = raw_connect_small(&rig.address, 4096);
        rig_until(&rig, rig.witness.conn != NULL);
        assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 16 * MIB), 16 * MIB);
        if (closing) {
            peal_conn_close(rig.witness.conn);
        }
        expect_end(&rig, PEAL_CAUSE_FLUSH_TIMEOUT, closing ? PEAL_CONN_CLOSING : PEAL_CONN_OPEN,
                   -ETIMEDOUT);
        assert_true(rig.witness.record.bytes_unsent > 0);
        assert_true(rig.witness.record.bytes_unacked > 0);
        raw_expect_reset(peer);
        raw_close(peer);
    }
    free(bytes);
    rig_close(&rig);
}

/* The peer takes a little, less often than flush_ms/4 and more often than flush_ms, for many times
 * flush_ms; our own kernel's buffer, far from empty, takes nothing new meanwhile. */
static void slow_but_steady_is_never_cut(void **state)
{
    enum { FLUSH_MS = 900, SIPS = 12 }; /* long enough for a machine that is busy */
    struct rig rig;
    unsigned char *bytes = calloc(1, 16 * MIB), *sip = malloc(65536);
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.flush_ms = FLUSH_MS, .linger_ms = FLUSH_MS}, NULL);
    int peer = raw_connect_small(&rig.address, 4096);
    rig_until(&rig, rig.witness.conn != NULL);
    int send_bytes = 4 * MIB; /* the size of a buffer that takes long to drain */
    setsockopt(peal_conn_fd(rig.witness.conn), SOL_SOCKET, SO_SNDBUF, &send_bytes,
               sizeof send_bytes);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 16 * MIB), 16 * MIB);
    peal_conn_close(rig.witness.conn);
    rig_turns(&rig, 3);
    size_t unsent = peal_conn_output_bytes(rig.witness.conn);
    for (int i = 0; i < SIPS; i++) {
        rig_turn_ms(&rig, FLUSH_MS / 3);
        assert_true(recv(peer, sip, 65536, MSG_DONTWAIT) > 0);
        assert_int_equal(rig.witness.closed, 0);
    }
    assert_int_equal(peal_conn_output_bytes(rig.witness.conn),
                     unsent); /* hence only the peer moved */
    free(bytes);
    free(sip);
    expect_end(&rig, PEAL_CAUSE_FLUSH_TIMEOUT, PEAL_CONN_CLOSING, -ETIMEDOUT); /* it stops: cut */
    raw_close(peer);
    rig_close(&rig);
}

/* The same when all is in the kernel and the FIN behind it: linger_ms counts from the last
 * progress. */
static void lingering_waits_for_a_slow_peer(void **state)
{
    enum { LINGER_MS = 900, SIPS = 12 };
    struct rig rig;
    unsigned char *bytes = calloc(1, MIB), *sip = malloc(65536);
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.linger_ms = LINGER_MS}, NULL);
    int peer = raw_connect_small(&rig.address, 4096);
    rig_until(&rig, rig.witness.conn != NULL);
    int send_bytes = 4 * MIB;
    setsockopt(peal_conn_fd(rig.witness.conn), SOL_SOCKET, SO_SNDBUF, &send_bytes,
               sizeof send_bytes);
    size_t size = 200 * 1024;
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, size), size);
    peal_conn_close(rig.witness.conn);
    rig_until(&rig, peal_conn_state(rig.witness.conn) == PEAL_CONN_LINGERING);
    size_t got = 0;
    for (int i = 0; i < SIPS; i++) {
        rig_turn_ms(&rig, LINGER_MS / 3);
        ssize_t n = recv(peer, sip, 65536, MSG_DONTWAIT);
        assert_true(n > 0);
        got += (size_t)n;
        assert_int_equal(rig.witness.closed, 0);
    }
    while (got < size) {
        ssize_t n = recv(peer, sip, 65536, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        rig_turns(&rig, 1);
    }
    assert_int_equal(got, size);
    raw_expect_fin(peer);
    expect_end(&rig, PEAL_CAUSE_LINGER_TIMEOUT, PEAL_CONN_LINGERING,
               0); /* it never ends its side */
    assert_int_equal(rig.witness.record.bytes_unacked, 0);
    raw_close(peer);
    free(bytes);
    free(sip);
    rig_close(&rig);
}

/* Our kernel has it all and goes on delivering: no reset takes it from a peer that reads late. */
static void what_a_linger_leaves_behind_arrives(void **state)
{
    static unsigned char bytes[100 * 1024], got[sizeof bytes];
    struct rig rig;
    (void)state;
    raw_pattern(bytes, sizeof bytes, 0);
    open_with(&rig, &(struct peal_conn_limits){.linger_ms = 30}, NULL);
    int peer = raw_connect_small(&rig.address, 4096);
    rig_until(&rig, rig.witness.conn != NULL);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, sizeof bytes), sizeof bytes);
    peal_conn_close(rig.witness.conn);
    expect_end(&rig, PEAL_CAUSE_LINGER_TIMEOUT, PEAL_CONN_LINGERING, 0);
    assert_true(rig.witness.record.bytes_unacked > 0);
    assert_int_equal(recv(peer, got, sizeof got, MSG_WAITALL), sizeof got);
    assert_memory_equal(got, bytes, sizeof bytes);
    raw_expect_fin(peer);
    raw_close(peer);
    rig_close(&rig);
}

/* What there was to send has been sent before it is closed. */
static void lingering_is_bounded_behind_a_shutdown(void **state)
{
    struct rig rig;
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.linger_ms = 100}, NULL);
    int peer = rig_connect(&rig);
    peal_conn_shutdown(rig.witness.conn);
    rig_turns(&rig, 2);
    raw_expect_fin(peer);
    peal_conn_close(rig.witness.conn);
    expect_end(&rig, PEAL_CAUSE_LINGER_TIMEOUT, PEAL_CONN_LINGERING, 0);
    raw_close(peer);
    rig_close(&rig);
}

static void half_closed_by_us_is_bounded(void **state)
{
    struct rig rig;
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.half_close_ms = 100}, NULL);
    int peer = rig_connect(&rig);
    peal_conn_shutdown(rig.witness.conn);
    for (int i = 0; i < 8; i++) { /* bytes that move keep it */
        rig_turn_ms(&rig, 30);
        raw_send(peer, "x", 1);
    }
    assert_int_equal(rig.witness.closed, 0);
    expect_end(&rig, PEAL_CAUSE_HALF_CLOSE_TIMEOUT, PEAL_CONN_OPEN, -ETIMEDOUT);
    assert_int_equal(rig.witness.bytes, 8);
    raw_close(peer);
    rig_close(&rig);
}

static void half_closed_by_the_peer_is_bounded(void **state)
{
    struct rig rig;
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.half_close_ms = 500}, &witness_eof_ops);
    int peer = rig_connect(&rig);
    raw_fin(peer);
    rig_until(&rig, rig.witness.eofs == 1);
    for (int i = 0; i < 8; i++) {
        rig_turn_ms(&rig, 100); /* a busy machine may take longer */
        assert_int_equal(peal_conn_send(rig.witness.conn, "x", 1), 1);
    }
    assert_int_equal(rig.witness.closed, 0);
    expect_end(&rig, PEAL_CAUSE_HALF_CLOSE_TIMEOUT, PEAL_CONN_OPEN, -ETIMEDOUT);
    raw_close(peer);
    rig_close(&rig);
}

static void a_peer_that_goes_on_sending_is_cut(void **state)
{
    struct rig rig;
    char bytes[4096] = {0};
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.linger_bytes_max = 100 * 1024}, NULL);
    int peer = rig_connect(&rig);
    peal_conn_close(rig.witness.conn);
    rig_until(&rig, peal_conn_state(rig.witness.conn) == PEAL_CONN_LINGERING);
    size_t sent = 0;
    while (rig.witness.closed == 0) {
        ssize_t n = send(peer, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        rig_turns(&rig, 1);
    }
    expect_end(&rig, PEAL_CAUSE_LINGER_LIMIT, PEAL_CONN_LINGERING, 0);
    assert_true(rig.witness.record.bytes_discarded > 100 * 1024);
    assert_true(rig.witness.record.bytes_discarded <= sent);
    assert_int_equal(rig.witness.bytes, 0);
    raw_close(peer);
    rig_close(&rig);
}

static void the_output_cap_aborts(void **state)
{
    struct rig rig;
    unsigned char *bytes = calloc(1, 16 * MIB);
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.output_bytes_max = 8 * MIB}, NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 8 * MIB), 8 * MIB);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 8 * MIB), -ENOBUFS);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 1), -EPIPE);
    assert_int_equal(rig.witness.closed, 0); /* G2 */
    expect_end(&rig, PEAL_CAUSE_OUTPUT_CAP, PEAL_CONN_OPEN, -ENOBUFS);
    assert_int_equal(rig.witness.record.bytes_accepted, 8 * MIB);
    raw_expect_reset(peer);
    raw_close(peer);
    free(bytes);
    rig_close(&rig);
}

static void the_output_cap_refuses(void **state)
{
    struct rig rig;
    struct peal_blob *blob;
    unsigned char *bytes = malloc(8 * MIB);
    (void)state;
    raw_pattern(bytes, 8 * MIB, 0);
    open_with(&rig,
              &(struct peal_conn_limits){.output_bytes_max = 8 * MIB, .output_cap_refuses = true},
              NULL);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_blob_copy(bytes, 8 * MIB, &blob), 0);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 8 * MIB), 8 * MIB);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 8 * MIB), -ENOBUFS);
    assert_int_equal(peal_conn_send_ref(rig.witness.conn, blob), -ENOBUFS);
    size_t room = 8 * MIB - peal_conn_output_bytes(rig.witness.conn);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, room + 1), -ENOBUFS);
    size_t got = 0;
    while (got < 8 * MIB) { /* it lives, and what was accepted arrives */
        static unsigned char data[65536];
        ssize_t n = recv(peer, data, sizeof data, MSG_DONTWAIT);
        assert_true(n <= 0 || memcmp(data, bytes + got, (size_t)n) == 0);
        got += n > 0 ? (size_t)n : 0;
        rig_turns(&rig, n <= 0);
    }
    assert_int_equal(peal_conn_send(rig.witness.conn, "again", 5), 5);
    rig_turns(&rig, 2);
    raw_expect(peer, "again");
    raw_close(peer);
    expect_end(&rig, PEAL_CAUSE_PEER_CLOSED, PEAL_CONN_CLOSING, 0);
    peal_blob_unref(blob);
    free(bytes);
    rig_close(&rig);
}

static void input_that_nobody_consumes_is_capped(void **state)
{
    struct rig rig;
    char bytes[1000] = {0};
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){.input_bytes_max = 10 * 1000}, NULL);
    rig.witness.keep_input = true;
    int peer = rig_connect(&rig);
    for (int i = 0; i < 10; i++) {
        raw_send(peer, bytes, sizeof bytes);
        rig_turns(&rig, 1);
    }
    rig_turns(&rig, 2);
    assert_int_equal(rig.witness.closed, 0);
    raw_send(peer, bytes, 1);
    expect_end(&rig, PEAL_CAUSE_INPUT_CAP, PEAL_CONN_OPEN, -ENOBUFS);
    raw_expect_reset(peer);
    raw_close(peer);
    rig_close(&rig);
}

static void keeping_input_needs_memory(void **state)
{
    struct rig rig;
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){0}, NULL);
    rig.witness.keep_input = true;
    for (unsigned n = 1;; n++) { /* the bytes, the buffer, then its growth */
        int peer = rig_connect(&rig);
        unsigned calls = rig.witness.data_calls;
        faults_start((struct faults){.kind = 'a', .nth = n, .error = ENOMEM});
        raw_send(peer, "left", 4);
        rig_until(&rig, rig.witness.data_calls > calls);
        static char more[60000];
        assert_true(send(peer, more, sizeof more, MSG_NOSIGNAL) != 0); /* it may be gone */
        rig_turns(&rig, 4);
        if (faults_stop() == 0) {
            assert_true(n > 2);
            raw_close(peer);
            break;
        }
        expect_end(&rig, PEAL_CAUSE_NO_MEMORY, PEAL_CONN_OPEN, -ENOMEM);
        raw_close(peer);
    }
    rig_close(&rig);
}

static void an_odd_limit_is_refused(void **state)
{
    struct rig rig;
    struct peal_server *server = NULL;
    const struct peal_conn_limits odd = {.output_high_bytes = 10, .output_low_bytes = 11};
    const struct peal_conn_limits above_default = {.output_low_bytes = 2 * MIB};
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){0}, NULL);
    struct peal_server_options options = {.ops = &witness_ops, .limits = odd};
    assert_int_equal(peal_server_new(rig.loop, &options, &server), -EINVAL);
    assert_null(server);
    int peer = rig_connect(&rig);
    struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
    assert_int_equal(peal_conn_set_limits(conn, &odd), -EINVAL);
    assert_int_equal(peal_conn_set_limits(conn, &above_default), -EINVAL);
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    assert_int_equal(peal_conn_set_limits(conn, &(struct peal_conn_limits){0}), -ENOMEM);
    faults_stop();
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(peal_conn_set_limits(conn, &(struct peal_conn_limits){0}), -EPIPE);
    peal_conn_unref(conn);
    rig_close(&rig);
}

static ssize_t result_of_thread;

static void *send_a_byte(void *conn)
{
    result_of_thread = peal_conn_send(conn, "x", 1);
    return NULL;
}

static ssize_t send_from_a_thread(struct peal_conn *conn)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_a_byte, conn), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return result_of_thread;
}

static void limits_change_in_flight(void **state)
{
    struct rig rig;
    unsigned char *bytes = calloc(1, 16 * MIB);
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){0}, NULL);
    int idle = rig_connect(&rig);
    struct peal_conn *first = rig.witness.conn;
    rig_turn_ms(&rig, 20);
    assert_int_equal(peal_conn_set_limits(first, &(struct peal_conn_limits){.idle_ms = 60}), 0);
    rig_until(&rig, peal_conn_state(first) == PEAL_CONN_LINGERING);
    raw_close(idle);
    expect_end(&rig, PEAL_CAUSE_IDLE_TIMEOUT, PEAL_CONN_LINGERING, 0);
    int stuck = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 16 * MIB), 16 * MIB);
    rig_turns(&rig, 3);
    assert_int_equal(
        peal_conn_set_limits(rig.witness.conn, &(struct peal_conn_limits){.flush_ms = 60}), 0);
    expect_end(&rig, PEAL_CAUSE_FLUSH_TIMEOUT, PEAL_CONN_OPEN, -ETIMEDOUT);
    raw_close(stuck);
    int capped = rig_connect(&rig);
    struct peal_conn_limits cap = {.output_bytes_max = 10, .output_cap_refuses = true};
    assert_int_equal(peal_conn_set_limits(rig.witness.conn, &cap), 0);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 11), -ENOBUFS);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 10), 10);
    /* By default again, also for other threads, which ask for the cap by themselves. */
    assert_int_equal(peal_conn_set_limits(rig.witness.conn, &(struct peal_conn_limits){0}), 0);
    assert_int_equal(send_from_a_thread(rig.witness.conn), 1);
    struct peal_conn_limits never = {.flush_ms = PEAL_NEVER,
                                     .linger_ms = PEAL_NEVER,
                                     .half_close_ms = PEAL_NEVER,
                                     .idle_ms = PEAL_NEVER,
                                     .linger_bytes_max = PEAL_UNLIMITED,
                                     .output_bytes_max = PEAL_UNLIMITED};
    assert_int_equal(peal_conn_set_limits(rig.witness.conn, &never), 0);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 16 * MIB), 16 * MIB);
    peal_conn_close(rig.witness.conn);
    rig_turn_ms(&rig, 100);
    assert_int_equal(peal_conn_state(rig.witness.conn), PEAL_CONN_CLOSING);
    raw_close(capped);
    rig_until(&rig, rig.witness.closed == 3);
    free(bytes);
    rig_close(&rig);
}

static void cap_and_send(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    static const struct peal_conn_limits cap = {.output_bytes_max = 10, .output_cap_refuses = true};
    (void)input;
    (void)witness;
    assert_int_equal(peal_conn_send(conn, "before", 6), 6);
    assert_int_equal(peal_conn_set_limits(conn, &cap), 0);
    assert_int_equal(peal_conn_send(conn, "five!", 5), -ENOBUFS); /* six of ten are taken */
    assert_int_equal(peal_conn_send(conn, "four", 4), 4);
}

static void send_under_the_cap(struct peal_conn *conn, struct peal_buf *input,
                               struct witness *witness)
{
    (void)input;
    (void)witness;
    assert_int_equal(peal_conn_send(conn, "eleven byte", 11), -ENOBUFS);
    assert_int_equal(peal_conn_send(conn, "ten bytes!", 10), 10);
}

/* Also where what is sent is gathered until the callback is over. */
static void limits_change_in_a_callback(void **state)
{
    struct rig rig;
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){0}, NULL);
    int peer = rig_connect(&rig);
    rig.witness.also_data = cap_and_send;
    raw_send(peer, "x", 1);
    rig_until(&rig, rig.witness.bytes == 1);
    raw_expect(peer, "beforefour");
    rig.witness.also_data = send_under_the_cap; /* which it has from the last callback */
    raw_send(peer, "x", 1);
    rig_until(&rig, rig.witness.bytes == 2);
    raw_expect(peer, "ten bytes!");
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    rig_close(&rig);
}

/* As peal/conn.h and the guide have them. */
static void the_defaults_are_what_is_promised(void **state)
{
    struct rig rig;
    (void)state;
    open_with(&rig, &(struct peal_conn_limits){0}, NULL);
    int peer = rig_connect(&rig);
    const struct peal_conn_limits *values = &rig.witness.conn->limits->values;
    assert_int_equal(values->idle_ms, PEAL_NEVER);
    assert_int_equal(values->flush_ms, 60000);
    assert_int_equal(values->half_close_ms, 60000);
    assert_int_equal(values->linger_ms, 10000);
    assert_int_equal(values->linger_bytes_max, 64 * MIB);
    assert_int_equal(values->output_high_bytes, MIB);
    assert_int_equal(values->output_low_bytes, MIB / 4);
    assert_int_equal(values->output_bytes_max, 256 * MIB);
    assert_int_equal(values->input_bytes_max, 16 * MIB);
    assert_false(values->output_cap_refuses);
    assert_false(values->pause_reading_at_high);
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(idle_closes_gracefully),
        TEST(even_a_very_short_limit_is_kept),
        TEST(an_idle_peer_that_ignores_the_fin_is_idle_still),
        TEST(output_without_progress_is_cut),
        TEST(slow_but_steady_is_never_cut),
        TEST(lingering_waits_for_a_slow_peer),
        TEST(what_a_linger_leaves_behind_arrives),
        TEST(lingering_is_bounded_behind_a_shutdown),
        TEST(half_closed_by_us_is_bounded),
        TEST(half_closed_by_the_peer_is_bounded),
        TEST(a_peer_that_goes_on_sending_is_cut),
        TEST(the_output_cap_aborts),
        TEST(the_output_cap_refuses),
        TEST(input_that_nobody_consumes_is_capped),
        TEST(keeping_input_needs_memory),
        TEST(an_odd_limit_is_refused),
        TEST(limits_change_in_flight),
        TEST(limits_change_in_a_callback),
        TEST(the_defaults_are_what_is_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
