/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a server would never finish stopping, finish twice, or report something else than
 * what happened to its connections (G7). */
#include "support/baseline.h"
#include "support/caller.h"
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

#include <cmocka.h>

enum { MIB = 1024 * 1024 };

static void expect_report(const struct rig *rig, unsigned connections, unsigned clean,
                          unsigned otherwise, unsigned cut)
{
    assert_int_equal(rig->stopped, 1);
    assert_int_equal(rig->report.connections, connections);
    assert_int_equal(rig->report.closed_clean, clean);
    assert_int_equal(rig->report.closed_otherwise, otherwise);
    assert_int_equal(rig->report.cut_off, cut);
}

static void an_empty_server_stops_at_once(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    peal_server_stop(rig.server, PEAL_NEVER);
    assert_int_equal(rig.stopped, 0); /* G2 */
    rig_until(&rig, rig.stopped == 1);
    expect_report(&rig, 0, 0, 0, 0);
    peal_server_stop(rig.server, 0);
    rig_turns(&rig, 3);
    assert_int_equal(rig.stopped, 1);
    const char *why = NULL;
    assert_int_equal(peal_server_listen(rig.server, "127.0.0.1:0", &why), PEAL_ERR_STOPPED);
    assert_non_null(why);
    rig_close(&rig);
}

static void without_ever_listening(void **state)
{
    struct rig rig = {0};
    struct peal_server *server;
    (void)state;
    assert_int_equal(peal_loop_new(NULL, &rig.loop), 0);
    for (int i = 0; i < 3; i++) { /* stopped, released, or left to the loop's end */
        struct peal_server_options options = {.ops = &witness_ops};
        assert_int_equal(peal_server_new(rig.loop, &options, &server), 0);
        if (i == 0) {
            peal_server_stop(server, 100);
            rig_turns(&rig, 2);
        }
        if (i < 2) {
            peal_server_unref(server);
        }
    }
    peal_loop_free(rig.loop);
    peal_server_unref(server);
}

static void clean_when_the_peers_agree(void **state)
{
    enum { PEERS = 5 };
    struct rig rig;
    int peers[PEERS];
    (void)state;
    rig_open(&rig, NULL);
    for (int i = 0; i < PEERS; i++) {
        peers[i] = rig_connect(&rig);
        assert_int_equal(peal_conn_send(rig.witness.conn, "bye", 3), 3);
    }
    peal_server_stop(rig.server, 10 * 1000);
    rig_turns(&rig, 3);
    for (int i = 0; i < PEERS; i++) {
        raw_expect(peers[i], "bye");
        raw_expect_fin(peers[i]);
        assert_int_equal(rig.stopped, 0);
        raw_close(peers[i]);
    }
    rig_until(&rig, rig.stopped == 1);
    expect_report(&rig, PEERS, PEERS, 0, 0);
    assert_int_equal(rig.witness.causes[PEAL_CAUSE_SERVER_STOP], PEERS);
    char text[PEAL_DRAIN_TEXT_MAX];
    assert_ptr_equal(peal_drain_report_format(&rig.report, text, sizeof text), text);
    assert_non_null(strstr(text, "drained 5 connections"));
    assert_non_null(strstr(text, "5 clean, 0 otherwise, 0 cut off"));
    rig_close(&rig);
}

static void the_report_as_one_line(void **state)
{
    const struct peal_drain_report report = {.connections = 21,
                                             .closed_clean = 1,
                                             .closed_otherwise = 3,
                                             .cut_off = 17,
                                             .bytes_unsent = 1ull << 40,
                                             .references_held = 2,
                                             .took_ns = 61009999999u};
    char text[PEAL_DRAIN_TEXT_MAX];
    (void)state;
    assert_string_equal(peal_drain_report_format(&report, text, sizeof text),
                        "drained 21 connections in 61.009 s: 1 clean, 3 otherwise, 17 cut off, "
                        "1099511627776 bytes unsent, 2 still referenced");
    assert_string_equal(peal_drain_report_format(&report, text, 8), "drained");
}

/* One of each: idle, half-open, flushing, lingering, its peer gone. */
static void every_state_ends_by_the_deadline(void **state)
{
    struct rig rig;
    unsigned char *bytes = calloc(1, 16 * MIB);
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.ops = &witness_eof_ops});
    int idle = rig_connect(&rig);
    int half = rig_connect(&rig);
    raw_fin(half);
    rig_until(&rig, rig.witness.eofs == 1);
    int shut = rig_connect(&rig);
    peal_conn_shutdown(rig.witness.conn);
    int flushing = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, 16 * MIB), 16 * MIB);
    peal_conn_close(rig.witness.conn);
    int lingering = rig_connect(&rig);
    peal_conn_close(rig.witness.conn);
    rig_turns(&rig, 3);
    uint64_t began_ms = rig_now_ms();
    peal_server_stop(rig.server, 150);
    rig_until(&rig, rig.stopped == 1);
    assert_true(rig_now_ms() - began_ms >= 150);
    expect_report(&rig, 5, 1, 0, 4); /* the half-open one needed only our FIN */
    assert_true(rig.report.bytes_unsent > 0);
    assert_true(rig.report.took_ns >= 150 * 1000000ull);
    raw_close(idle);
    raw_close(half);
    raw_close(shut);
    raw_close(flushing);
    raw_close(lingering);
    free(bytes);
    rig_close(&rig);
}

static void deadline_0_aborts(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_server_stop(rig.server, 0);
    rig_until(&rig, rig.stopped == 1);
    raw_expect_reset(peer);
    expect_report(&rig, 1, 0, 0, 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_SERVER_STOP);
    raw_close(peer);
    rig_close(&rig);
}

static void a_shorter_deadline_counts_a_longer_does_not(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    peal_server_stop(rig.server, PEAL_NEVER);
    rig_turn_ms(&rig, 50);
    assert_int_equal(rig.stopped, 0);
    peal_server_stop(rig.server, 60);
    peal_server_stop(rig.server, 60 * 1000);
    rig_until(&rig, rig.stopped == 1);
    expect_report(&rig, 1, 0, 0, 1);
    raw_close(peer);
    rig_close(&rig);
}

static void those_that_end_by_themselves(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.limits = {.linger_ms = 60}});
    int reset = rig_connect(&rig), silent = rig_connect(&rig);
    peal_server_stop(rig.server, 10 * 1000);
    rig_turns(&rig, 2);
    raw_reset(reset);
    rig_until(&rig, rig.stopped == 1); /* the silent one by its own limit */
    expect_report(&rig, 2, 0, 2, 0);
    assert_int_equal(rig.witness.causes[PEAL_CAUSE_PEER_RESET], 1);
    assert_int_equal(rig.witness.causes[PEAL_CAUSE_SERVER_STOP], 1); /* why it was closed */
    raw_close(silent);
    rig_close(&rig);
}

static void the_report_counts_held_references(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int early = rig_connect(&rig);
    struct peal_conn *first = peal_conn_ref(rig.witness.conn);
    raw_close(early);
    rig_until(&rig, rig.witness.closed == 1);
    int late = rig_connect(&rig);
    struct peal_conn *second = peal_conn_ref(rig.witness.conn);
    peal_server_stop(rig.server, 0);
    rig_until(&rig, rig.stopped == 1);
    assert_int_equal(rig.report.references_held, 2);
    assert_int_equal(peal_refs_report(NULL, NULL), 2);
    peal_conn_unref(first);
    peal_conn_unref(second);
    assert_int_equal(peal_refs_report(NULL, NULL), 0);
    raw_close(late);
    rig_close(&rig);
}

/* ---- with a pool */

static _Atomic unsigned opened, closed, stopped;
static struct peal_drain_report report;

static void on_open(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
    atomic_fetch_add(&opened, 1);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)user;
    (void)record;
    atomic_fetch_add(&closed, 1);
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *drained,
                       void *user)
{
    (void)server;
    (void)user;
    report = *drained;
    atomic_fetch_add(&stopped, 1);
}

static const struct peal_conn_ops ops = {.on_open = on_open, .on_close = on_close};

struct crowd {
    struct rig rig; /* only its loop is used */
    struct peal_pool *pool;
    struct peal_server *server;
    int peers[40];
};

static void crowd_open(struct crowd *crowd)
{
    memset(crowd, 0, sizeof *crowd);
    opened = closed = stopped = 0;
    struct peal_server_options options = {.ops = &ops, .on_stopped = on_stopped};
    assert_int_equal(peal_loop_new(NULL, &crowd->rig.loop), 0);
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 3}, &crowd->pool), 0);
    options.pool = crowd->pool;
    assert_int_equal(peal_server_new(crowd->rig.loop, &options, &crowd->server), 0);
    assert_int_equal(peal_server_listen(crowd->server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(peal_server_address(crowd->server, 0, &crowd->rig.address), 0);
    for (int i = 0; i < 40; i++) {
        crowd->peers[i] = raw_connect(&crowd->rig.address);
    }
}

static void crowd_close(struct crowd *crowd)
{
    crowd->server = peal_server_unref(crowd->server);
    peal_pool_free(crowd->pool);
    peal_loop_free(crowd->rig.loop);
    for (int i = 0; i < 40; i++) {
        raw_close(crowd->peers[i]);
    }
    assert_int_equal(opened, closed);
    assert_int_equal(stopped, 1);
    assert_int_equal(report.connections,
                     report.closed_clean + report.closed_otherwise + report.cut_off);
}

static void *stop_from_outside(void *arg)
{
    for (uint32_t i = 0; i < 50; i++) {
        peal_server_stop(arg, 500 - i * 10);
    }
    return NULL;
}

static void twice_from_two_threads(void **state)
{
    struct crowd crowd;
    pthread_t threads[2];
    (void)state;
    crowd_open(&crowd);
    rig_until(&crowd.rig, opened == 40);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, stop_from_outside, crowd.server), 0);
    }
    rig_until(&crowd.rig, stopped == 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(report.connections, 40);
    crowd_close(&crowd);
}

/* Sockets are on their way from the listener to the pool's loops while it stops. */
static void during_hand_over(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct crowd crowd;
        crowd_open(&crowd);
        if (i % 2) {
            rig_turns(&crowd.rig, 1);
        }
        peal_server_stop(crowd.server, 0);
        rig_until(&crowd.rig, stopped == 1);
        /* What was accepted last may still be on its way: none of it is lost. */
        struct peal_server_stats stats;
        do {
            rig_turns(&crowd.rig, 1);
            peal_server_get_stats(crowd.server, &stats);
        } while (stats.opened + stats.handover_lost < stats.accepted);
        assert_int_equal(stats.opened, opened);
        assert_int_equal(stats.opened + stats.handover_lost, stats.accepted);
        rig_until(&crowd.rig, peal_server_connections(crowd.server) == 0);
        crowd_close(&crowd);
    }
}

static void the_pool_ends_first(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    rig_until(&crowd.rig, opened == 40);
    crowd.pool = peal_pool_free(crowd.pool);
    assert_int_equal(closed, 40);
    assert_int_equal(stopped, 0); /* it can still be asked */
    peal_server_stop(crowd.server, PEAL_NEVER);
    rig_until(&crowd.rig, stopped == 1);
    assert_int_equal(report.cut_off, 40);
    crowd_close(&crowd);
}

static void the_pool_ends_while_it_stops(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    rig_until(&crowd.rig, opened == 40);
    peal_server_stop(crowd.server, PEAL_NEVER);
    rig_turns(&crowd.rig, 1);
    crowd.pool = peal_pool_free(crowd.pool);
    rig_until(&crowd.rig, stopped == 1);
    assert_int_equal(report.connections, 40);
    crowd_close(&crowd);
}

/* on_stopped then comes on the thread of the loop that finished last. */
static void the_home_loop_ends_first(void **state)
{
    for (int released = 0; released < 2; released++) {
        struct crowd crowd;
        (void)state;
        crowd_open(&crowd);
        rig_until(&crowd.rig, opened == 40);
        crowd.rig.loop = peal_loop_free(crowd.rig.loop);
        if (released) {
            crowd.server = peal_server_unref(crowd.server); /* stops it, with ten seconds */
        } else {
            peal_server_stop(crowd.server, 100);
        }
        for (int i = 0; i < 40; i++) {
            shutdown(crowd.peers[i], SHUT_WR);
        }
        for (int i = 0; i < 2000 && stopped == 0; i++) {
            struct timespec pause = {.tv_nsec = 10 * 1000000};
            nanosleep(&pause, NULL);
        }
        assert_int_equal(stopped, 1);
        assert_int_equal(report.connections, 40);
        crowd_close(&crowd);
    }
}

static void nobody_stops_it(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    rig_until(&crowd.rig, opened == 40);
    crowd.pool = peal_pool_free(crowd.pool);
    crowd.rig.loop = peal_loop_free(crowd.rig.loop); /* that all its loops ended is a stop */
    assert_int_equal(stopped, 1);
    assert_int_equal(report.cut_off, 40);
    crowd_close(&crowd);
}

static void released_with_all_its_connections(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    rig_until(&crowd.rig, opened == 40);
    crowd.server = peal_server_unref(crowd.server);
    for (int i = 0; i < 40; i++) {
        shutdown(crowd.peers[i], SHUT_WR);
    }
    rig_until(&crowd.rig, stopped == 1);
    assert_int_equal(report.closed_clean, 40);
    crowd_close(&crowd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_server_stops_at_once),
        TEST(without_ever_listening),
        TEST(clean_when_the_peers_agree),
        TEST(the_report_as_one_line),
        TEST(every_state_ends_by_the_deadline),
        TEST(deadline_0_aborts),
        TEST(a_shorter_deadline_counts_a_longer_does_not),
        TEST(those_that_end_by_themselves),
        TEST(the_report_counts_held_references),
        TEST(twice_from_two_threads),
        TEST(during_hand_over),
        TEST(the_pool_ends_first),
        TEST(the_pool_ends_while_it_stops),
        TEST(the_home_loop_ends_first),
        TEST(nobody_stops_it),
        TEST(released_with_all_its_connections),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
