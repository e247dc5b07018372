/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, what other threads send would be lost, doubled, reordered or counted wrongly, or
 * their closing would race with the loop's (G4, G5). */
#include "net/conn.h"
#include "support/baseline.h"
#include "support/caller.h"
#include "support/child.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 12 };

/* ---- one thread, in order */

struct stream {
    struct peal_conn *conn; /* with a reference */
    size_t size;
    bool ok;
};

static void *send_a_stream(void *arg)
{
    static unsigned char bytes[70 * 1000];
    struct stream *stream = arg;
    unsigned random = 3;
    stream->ok = true;
    for (size_t at = 0; at < stream->size && stream->ok;) {
        random = random * 1103515245u + 12345u;
        size_t size = 1 + (random >> 8) % ((random >> 4) % 4 ? 200 : sizeof bytes);
        size = size < stream->size - at ? size : stream->size - at;
        raw_pattern(bytes, size, at);
        struct peal_blob *blob;
        const struct iovec parts[3] = {
            {bytes, size / 2}, {NULL, 0}, {bytes + size / 2, size - size / 2}};
        ssize_t n;
        if (random >> 28 == 0 && peal_blob_copy(bytes, size, &blob) == 0) {
            n = peal_conn_send_ref(stream->conn, blob);
            peal_blob_unref(blob);
        } else if (random >> 28 == 1) {
            n = peal_conn_send_to_id(peal_conn_id(stream->conn), bytes, size);
        } else {
            n = random >> 28 < 8 ? peal_conn_sendv(stream->conn, parts, 3)
                                 : peal_conn_send(stream->conn, bytes, size);
        }
        stream->ok = n == (ssize_t)size;
        at += size;
    }
    peal_conn_close(stream->conn);
    stream->ok = stream->ok && peal_conn_send(stream->conn, "x", 1) == -EPIPE;
    return NULL;
}

static void what_one_thread_sends_arrives_in_order_before_its_fin(void **state)
{
    enum { SIZE = 6 * 1000 * 1000 };
    struct rig rig;
    pthread_t thread;
    unsigned char *data = malloc(65536), *expected = malloc(65536);
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct stream stream = {.conn = peal_conn_ref(rig.witness.conn), .size = SIZE};
    assert_int_equal(pthread_create(&thread, NULL, send_a_stream, &stream), 0);
    for (size_t got = 0; got < SIZE;) {
        ssize_t n = recv(peer, data, 65536, MSG_DONTWAIT);
        if (n > 0) {
            raw_pattern(expected, (size_t)n, got);
            assert_memory_equal(data, expected, (size_t)n);
            got += (size_t)n;
        } else {
            assert_true(n < 0 && errno == EAGAIN);
            rig_turns(&rig, 1);
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(stream.ok);
    rig_until(&rig, peal_conn_state(stream.conn) == PEAL_CONN_LINGERING);
    raw_expect_fin(peer);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_accepted, SIZE);
    assert_int_equal(rig.witness.record.bytes_taken, SIZE);
    assert_true(rig.witness.record.clean);
    peal_conn_unref(stream.conn);
    free(data);
    free(expected);
    rig_close(&rig);
}

/* ---- many threads, everything at once */

struct mob {
    struct peal_conn *conn; /* with a reference for each thread */
    _Atomic uint64_t accepted;
    _Atomic unsigned strange; /* results that should not be */
    _Atomic unsigned next_seed;
    unsigned ends; /* one in so many calls ends it */
};

static void end_somehow(struct peal_conn *conn, unsigned how)
{
    switch (how % 6) {
    case 0:
        peal_conn_abort(conn);
        break;
    case 1:
        peal_conn_abort_id(peal_conn_id(conn));
        break;
    case 2:
        peal_conn_shutdown(conn);
        break;
    default:
        peal_conn_close(conn);
        break;
    }
}

static void *one_of_the_mob(void *arg)
{
    struct mob *mob = arg;
    static const unsigned char bytes[20 * 1000];
    unsigned random = (atomic_fetch_add(&mob->next_seed, 1) + 1) * 2654435761u;
    for (int i = 0; i < 400; i++) {
        random = random * 1103515245u + 12345u;
        size_t size = (random >> 8) % ((random >> 5) % 8 ? 100 : sizeof bytes);
        ssize_t n = peal_conn_send(mob->conn, bytes, size);
        if (n >= 0) {
            atomic_fetch_add(&mob->accepted, (uint64_t)n);
        }
        atomic_fetch_add(&mob->strange, n != (ssize_t)size && n != -EPIPE);
        if ((random >> 12) % mob->ends == 0) {
            end_somehow(mob->conn, random >> 20);
        }
        struct peal_conn *found;
        if (peal_conn_find(peal_conn_id(mob->conn), &found) == 0) {
            atomic_fetch_add(&mob->strange, found != mob->conn);
            peal_conn_unref(found);
        }
        (void)peal_conn_state(mob->conn);
    }
    peal_conn_unref(mob->conn);
    return NULL;
}

static void play_mob(struct rig *rig, unsigned round)
{
    pthread_t threads[THREADS];
    char *data = malloc(65536);
    uint64_t arrived = 0;
    unsigned closed = rig->witness.closed;
    int peer = rig_connect(rig), error = 0;
    struct mob mob = {
        .conn = rig->witness.conn, .next_seed = round * THREADS, .ends = round % 3 ? 500 : 5000};
    for (int i = 0; i < THREADS; i++) {
        peal_conn_ref(mob.conn);
        assert_int_equal(pthread_create(&threads[i], NULL, one_of_the_mob, &mob), 0);
    }
    bool asked = false;
    for (int turns = 0; rig->witness.closed == closed; turns++) {
        assert_true(peal_loop_turn(rig->loop, 1) > 0);
        ssize_t n = recv(peer, data, 65536, MSG_DONTWAIT);
        arrived += n > 0 ? (uint64_t)n : 0;
        if (n == 0) {
            shutdown(peer, SHUT_WR);
        }
        error = n < 0 && errno != EAGAIN ? errno : error;
        if (turns > 300 && !asked) { /* nobody happened to end it */
            asked = true;
            peal_conn_close(mob.conn);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    rig_turns(rig, 1);
    assert_int_equal(mob.strange, 0);
    assert_int_equal(rig->witness.record.bytes_accepted, mob.accepted);
    if (rig->witness.record.clean) {
        assert_int_equal(rig->witness.record.bytes_taken, mob.accepted);
        for (ssize_t n; (n = recv(peer, data, 65536, MSG_DONTWAIT)) > 0;) {
            arrived += (uint64_t)n;
        }
        assert_int_equal(arrived, mob.accepted);
    } else {
        assert_true(arrived <= rig->witness.record.bytes_taken);
    }
    raw_close(peer);
    free(data);
}

static void many_threads_at_once_and_every_byte_is_accounted_for(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    for (unsigned round = 0; round < 20; round++) {
        play_mob(&rig, round);
    }
    assert_true(rig.witness.causes[PEAL_CAUSE_LOCAL_ABORT] > 0);
    assert_true(rig.witness.causes[PEAL_CAUSE_LOCAL_CLOSE] > 0);
    rig_close(&rig);
}

static void the_loop_ends_under_them(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        struct rig rig;
        pthread_t threads[THREADS];
        rig_open(&rig, NULL);
        int peer = rig_connect(&rig);
        struct mob mob = {.conn = rig.witness.conn, .next_seed = round, .ends = 1u << 30};
        for (int i = 0; i < THREADS; i++) {
            peal_conn_ref(mob.conn);
            assert_int_equal(pthread_create(&threads[i], NULL, one_of_the_mob, &mob), 0);
        }
        for (unsigned i = 0; i < round; i++) {
            assert_true(peal_loop_turn(rig.loop, 1) > 0);
        }
        rig.loop = peal_loop_free(rig.loop);
        assert_int_equal(rig.witness.causes[PEAL_CAUSE_LOOP_ENDED], 1);
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        assert_int_equal(mob.strange, 0);
        assert_int_equal(rig.witness.record.bytes_accepted, mob.accepted);
        assert_int_equal(rig.stopped, 1);
        peal_server_unref(rig.server);
        raw_close(peer);
    }
}

/* ---- single calls from another thread */

struct order {
    struct peal_conn *conn;
    void (*fn)(struct order *order);
    ssize_t result;
};

static void *obey(void *arg)
{
    struct order *order = arg;
    order->fn(order);
    return NULL;
}

static ssize_t elsewhere_with(struct peal_conn *conn, void (*fn)(struct order *order),
                              ssize_t argument)
{
    pthread_t thread;
    struct order order = {.conn = conn, .fn = fn, .result = argument};
    assert_int_equal(pthread_create(&thread, NULL, obey, &order), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return order.result;
}

static ssize_t elsewhere(struct peal_conn *conn, void (*fn)(struct order *order))
{
    return elsewhere_with(conn, fn, 0);
}

static char block[100];
static void send_block(struct order *order)
{
    order->result = peal_conn_send(order->conn, block, sizeof block);
}
static void send_nothing(struct order *order)
{
    order->result = peal_conn_send(order->conn, NULL, 0);
}
static void send_null(struct order *order)
{
    order->result = peal_conn_send(order->conn, NULL, 1);
}
/* The n-th allocation fails, if n is not 0: the order's result. */
static void send_blob(struct order *order)
{
    struct peal_blob *blob;
    if (peal_blob_copy(block, sizeof block, &blob) < 0) {
        abort();
    }
    faults_start((struct faults){.kind = 'a', .nth = (unsigned)order->result, .error = ENOMEM});
    order->result = peal_conn_send_ref(order->conn, blob);
    faults_stop();
    peal_blob_unref(blob);
}
static void send_empty_blob(struct order *order)
{
    struct peal_blob *blob;
    if (peal_blob_copy("", 0, &blob) < 0) {
        abort();
    }
    order->result = peal_conn_send_ref(order->conn, blob);
    peal_blob_unref(blob);
}
static void send_small_blob(struct order *order)
{
    struct peal_blob *blob;
    if (peal_blob_copy("!", 1, &blob) < 0) {
        abort();
    }
    order->result = peal_conn_send_ref(order->conn, blob);
    peal_blob_unref(blob);
}
static void shut_down(struct order *order)
{
    peal_conn_shutdown(order->conn);
}

static void other_threads_meet_the_same_answers(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
    assert_int_equal(elsewhere(conn, send_nothing), 0);
    assert_int_equal(elsewhere(conn, send_null), -EINVAL);
    assert_int_equal(elsewhere(conn, send_empty_blob), 0);
    assert_int_equal(elsewhere(conn, send_small_blob), 1);
    assert_int_equal(elsewhere(conn, send_block), sizeof block);
    assert_int_equal(elsewhere(conn, send_blob), sizeof block);
    for (unsigned n = 1; n <= 2; n++) { /* the blob's chunk, and the task */
        assert_int_equal(elsewhere_with(conn, send_blob, (ssize_t)n), -ENOMEM);
    }
    for (unsigned n = 1; n <= 2; n++) { /* the chunk, and the task */
        faults_start((struct faults){.kind = 'a', .nth = n, .error = ENOMEM});
        ssize_t result = elsewhere(conn, send_block);
        assert_int_equal(faults_stop(), 1);
        assert_int_equal(result, -ENOMEM);
    }
    elsewhere(conn, shut_down);
    assert_int_equal(elsewhere(conn, send_block), -EPIPE);
    assert_int_equal(elsewhere(conn, send_nothing), -EPIPE);
    assert_int_equal(elsewhere(conn, send_empty_blob), -EPIPE);
    assert_int_equal(peal_conn_send(conn, "x", 1), -EPIPE); /* here too, before the task came */
    rig_turns(&rig, 3);
    char found[1 + 2 * sizeof block];
    raw_recv_exactly(peer, found, sizeof found);
    raw_expect_fin(peer);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(found[0], '!');
    assert_int_equal(rig.witness.record.bytes_accepted, 1 + 2 * sizeof block);
    assert_int_equal(elsewhere(conn, send_block), -EPIPE);
    peal_conn_unref(conn);
    rig_close(&rig);
}

static void the_cap_holds_for_other_threads(void **state)
{
    (void)state;
    for (int refuses = 0; refuses < 2; refuses++) {
        struct rig rig;
        rig_open(&rig, &(struct peal_server_options){
                           .limits = {.output_bytes_max = 250, .output_cap_refuses = refuses}});
        int peer = rig_connect(&rig);
        assert_int_equal(elsewhere(rig.witness.conn, send_block), 100);
        assert_int_equal(elsewhere(rig.witness.conn, send_block), 100);
        assert_int_equal(elsewhere(rig.witness.conn, send_block), -ENOBUFS);
        rig_turns(&rig, 3);
        if (refuses) {
            assert_int_equal(elsewhere(rig.witness.conn, send_block), 100);
            raw_close(peer);
            rig_until(&rig, rig.witness.closed == 1);
            assert_int_equal(rig.witness.record.bytes_accepted, 300);
        } else {
            assert_int_equal(rig.witness.causes[PEAL_CAUSE_OUTPUT_CAP], 1);
            assert_int_equal(rig.witness.record.error, -ENOBUFS);
            assert_int_equal(rig.witness.record.bytes_accepted, 200);
            raw_close(peer);
        }
        rig_close(&rig);
    }
}

/* Between queueing a piece and taking it off the count of those on the way, the loop has it on both
 * sides. That moment is made to last here; another thread that then sends must not be refused. */
static void what_is_being_queued_is_not_counted_twice(void **state)
{
    struct rig rig;
    pthread_t thread;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.limits = {.output_bytes_max = 250}});
    int peer = rig_connect(&rig);
    struct peal_conn *conn = rig.witness.conn;
    struct order order = {.conn = conn, .fn = send_block};
    assert_int_equal(elsewhere(conn, send_block), 100); /* on its way: 100 of 250 */
    atomic_fetch_or(&conn->remote, PL_REMOTE_MOVING);
    atomic_store(&conn->output_seen, 100);
    assert_int_equal(pthread_create(&thread, NULL, obey, &order), 0);
    usleep(30 * 1000);
    atomic_store(&conn->output_seen, 0);
    atomic_fetch_sub(&conn->remote, PL_REMOTE_MOVING);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(order.result, 100);
    rig_turns(&rig, 3);
    char found[200];
    raw_recv_exactly(peer, found, sizeof found);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_accepted, 200);
    assert_int_equal(rig.witness.causes[PEAL_CAUSE_OUTPUT_CAP], 0);
    rig_close(&rig);
}

/* ---- resuming */

static void resume_twice(struct order *order)
{
    peal_conn_resume_reading(order->conn);
    order->result = peal_conn_resume_reading_id(peal_conn_id(order->conn));
}

static void any_thread_resumes_reading(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    uint64_t id = peal_conn_id(rig.witness.conn);
    for (unsigned round = 1; round <= 3; round++) {
        struct peal_conn *conn = rig.witness.conn;
        peal_conn_pause_reading(conn);
        peal_conn_pause_reading(conn);
        peal_conn_pause_reading(conn);
        raw_send(peer, "wait", 4);
        assert_int_equal(elsewhere(conn, resume_twice), 0);
        rig_turns(&rig, 3);
        assert_int_equal(rig.witness.bytes, 4 * (round - 1)); /* one pause is left */
        peal_conn_pause_reading(conn);
        assert_int_equal(elsewhere(conn, resume_twice), 0);
        rig_until(&rig, rig.witness.bytes == 4 * round);
        assert_int_equal(peal_conn_send(conn, "open", 4), 4); /* it has ended nothing */
        rig_turns(&rig, 1);
        raw_expect(peer, "open");
    }
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(peal_conn_resume_reading_id(id), -ESTALE);
    rig_close(&rig);
}

static void resume_with_the_last_reference(struct order *order)
{
    peal_conn_resume_reading(order->conn);
    peal_conn_unref(order->conn);
}

static void what_has_closed_is_resumed_without_harm(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
    peal_conn_pause_reading(conn);
    peal_conn_abort(conn);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    elsewhere(conn, resume_with_the_last_reference);
    rig_turns(&rig, 3);
    rig_close(&rig);
}

/* ---- what belongs to the loop's thread */

static void pause_it(struct order *order)
{
    peal_conn_pause_reading(order->conn);
}
static void want_drain(struct order *order)
{
    peal_conn_want_drain(order->conn);
}
static void flush_it(struct order *order)
{
    peal_conn_flush(order->conn);
}
static void set_limits(struct order *order)
{
    order->result = peal_conn_set_limits(order->conn, &(struct peal_conn_limits){0});
}
static void send_file(struct order *order)
{
    order->result = peal_conn_send_file(order->conn, 0, 0, 1);
}

static void next_message(struct order *order)
{
    struct peal_buf none;
    const void *message;
    size_t size;
    peal_buf_init(&none);
    order->result = peal_conn_next_message(order->conn, NULL, &none, &message, &size);
}
static void tell_output(struct order *order)
{
    order->result = (ssize_t)peal_conn_output_bytes(order->conn);
}
static void tell_local(struct order *order)
{
    struct peal_addr address;
    order->result = peal_conn_local(order->conn, &address);
}
static void tell_fd(struct order *order)
{
    order->result = peal_conn_fd(order->conn);
}
static void set_user(struct order *order)
{
    peal_conn_set_user(order->conn, NULL);
}
static void set_ops(struct order *order)
{
    peal_conn_set_ops(order->conn, &witness_ops);
}
static void tell_server(struct order *order)
{
    order->result = peal_conn_server(order->conn) != NULL;
}
static void tell_client(struct order *order)
{
    order->result = peal_conn_client(order->conn) != NULL;
}

static struct rig rig_of_another;
static void new_server(struct order *order)
{
    struct peal_server *server;
    order->result = peal_server_new(rig_of_another.loop,
                                    &(struct peal_server_options){.ops = &witness_ops}, &server);
}
static void listen_there(struct order *order)
{
    order->result = peal_server_listen(rig_of_another.server, "127.0.0.1:0", NULL);
}
static void tell_address(struct order *order)
{
    struct peal_addr address;
    order->result = peal_server_address(rig_of_another.server, 0, &address);
}
static void pause_accept(struct order *order)
{
    (void)order;
    peal_server_pause_accept(rig_of_another.server);
}
static void resume_accept(struct order *order)
{
    (void)order;
    peal_server_resume_accept(rig_of_another.server);
}
static void new_client(struct order *order)
{
    struct peal_client *client;
    order->result = peal_client_new(
        rig_of_another.loop,
        &(struct peal_client_options){.to = "127.0.0.1:1", .ops = &witness_ops}, &client);
}

static void from_elsewhere(void *arg)
{
    rig_open(&rig_of_another, NULL);
    rig_connect(&rig_of_another);
    elsewhere(rig_of_another.witness.conn, *(void (**)(struct order *))arg);
}

static void the_wrong_thread_is_told(void **state)
{
    static const struct {
        void (*fn)(struct order *order);
        const char *words;
    } wrong[] = {
        {pause_it, "peal_conn_pause_reading was called from a thread"},
        {want_drain, "peal_conn_want_drain was called from a thread"},
        {flush_it, "peal_conn_flush was called from a thread"},
        {set_limits, "peal_conn_set_limits was called from a thread"},
        {send_file, "peal_conn_send_file was called from a thread"},
        {next_message, "peal_conn_next_message was called from a thread"},
        {tell_output, "peal_conn_output_bytes was called from a thread"},
        {tell_local, "peal_conn_local was called from a thread"},
        {tell_fd, "peal_conn_fd was called from a thread"},
        {set_user, "peal_conn_set_user was called from a thread"},
        {set_ops, "peal_conn_set_ops was called from a thread"},
        {tell_server, "peal_conn_server was called from a thread"},
        {tell_client, "peal_conn_client was called from a thread"},
        {new_server, "peal_server_new was called from a thread"},
        {listen_there, "peal_server_listen_addr was called from a thread"},
        {tell_address, "peal_server_address was called from a thread"},
        {pause_accept, "peal_server_pause_accept was called from a thread"},
        {resume_accept, "peal_server_resume_accept was called from a thread"},
        {new_client, "peal_client_new was called from a thread"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        void (*fn)(struct order *) = wrong[i].fn;
        child_expect_abort(from_elsewhere, (void *)&fn, wrong[i].words);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_wrong_thread_is_told), /* forks: before there are threads */
        TEST(what_one_thread_sends_arrives_in_order_before_its_fin),
        TEST(many_threads_at_once_and_every_byte_is_accounted_for),
        TEST(the_loop_ends_under_them),
        TEST(other_threads_meet_the_same_answers),
        TEST(the_cap_holds_for_other_threads),
        TEST(what_is_being_queued_is_not_counted_twice),
        TEST(any_thread_resumes_reading),
        TEST(what_has_closed_is_resumed_without_harm),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
