/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a forgotten reference would keep a socket, a given-back one would not free the
 * memory, or the report could not say who it was (G3, G4, hazards 16 and 30). */
#include <peal/refs.h>

#include "support/baseline.h"
#include "support/caller.h"
#include "support/child.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char lines[32][400];
static unsigned line_count;

static void note_line(const char *text, void *user)
{
    assert_ptr_equal(user, lines);
    assert_true(line_count < 32);
    snprintf(lines[line_count++], sizeof lines[0], "%s", text);
}

static size_t read_report(void)
{
    line_count = 0;
    return peal_refs_report(note_line, lines);
}

/* What was noted while tracking was on is forgotten with the connection, also if nobody says so. */
static void sites_go_with_the_connection(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    peal_refs_track(true);
    int peer = rig_connect(&rig);
    struct peal_conn *held = peal_conn_ref(rig.witness.conn);
    peal_conn_ref(held);
    peal_refs_track(false);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    peal_conn_unref(held);
    peal_conn_unref(held);
    assert_int_equal(read_report(), 0);
    rig_close(&rig); /* the baseline counts the memory of the sites */
}

static void count_sites(const char *text, void *user)
{
    *(unsigned *)user += strstr(text, "taken at ") != NULL;
}

/* More of them than the table of sites has places, so that some meet. */
static void each_of_very_many_is_told_by_its_own_site(void **state)
{
    enum { CONNS = 1100 };
    static struct peal_conn *held[CONNS];
    struct rig rig;
    unsigned sites = 0;
    (void)state;
    rig_open(&rig, NULL);
    peal_refs_track(true);
    for (unsigned i = 0; i < CONNS; i++) {
        int peer = rig_connect(&rig);
        held[i] = peal_conn_ref(rig.witness.conn);
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == i + 1);
    }
    assert_int_equal(peal_refs_report(count_sites, &sites), CONNS);
    assert_int_equal(sites, CONNS);
    for (unsigned i = 0; i < CONNS; i += 2) { /* from elsewhere than they were taken, as it were */
        peal_conn_unref_at(held[i], "another.c", 1);
    }
    sites = 0;
    assert_int_equal(peal_refs_report(count_sites, &sites), CONNS / 2);
    assert_int_equal(sites, CONNS / 2);
    for (unsigned i = 1; i < CONNS; i += 2) {
        peal_conn_unref(held[i]);
    }
    assert_int_equal(peal_refs_report(count_sites, &sites), 0);
    peal_refs_track(false);
    rig_close(&rig);
}

static void a_reference_keeps_memory_not_the_socket(void **state)
{
    struct rig rig;
    struct peal_addr peer_addr;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct peal_conn *held = peal_conn_ref(rig.witness.conn);
    int fd = peal_conn_fd(held);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    struct sockaddr_in its_own;
    socklen_t its_size = sizeof its_own;
    assert_int_equal(getsockname(peer, (struct sockaddr *)&its_own, &its_size), 0);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed, whoever holds what */
    assert_int_equal(peal_conn_fd(held), -1);
    assert_int_equal(peal_conn_state(held), PEAL_CONN_CLOSED);
    assert_true(peal_conn_id(held) != 0);
    assert_ptr_equal(peal_conn_loop(held), rig.loop);
    assert_ptr_equal(peal_conn_user(held), &rig.witness);
    assert_int_equal(peal_conn_output_bytes(held), 0);
    assert_null(peal_conn_server(held));
    peal_conn_peer(held, &peer_addr);
    assert_int_equal(peal_addr_kind(&peer_addr), PEAL_ADDR_IPV4);
    assert_int_equal(peal_addr_port(&peer_addr), ntohs(its_own.sin_port));
    assert_true(peal_addr_is_loopback(&peer_addr));
    assert_int_equal(peal_conn_local(held, &peer_addr), -ENOTCONN);
    peal_conn_close(held);
    peal_conn_shutdown(held);
    peal_conn_abort(held);
    peal_conn_pause_reading(held);
    peal_conn_resume_reading(held);
    peal_conn_flush(held);
    peal_conn_want_drain(held);
    peal_conn_set_user(held, NULL);
    rig_turns(&rig, 2);
    assert_int_equal(rig.witness.closed, 1);
    uint64_t allocations, bytes, after_allocations, after_bytes;
    struct baseline before = baseline_take();
    allocations = before.allocations;
    bytes = before.bytes;
    assert_null(peal_conn_unref(held));
    struct baseline after = baseline_take();
    after_allocations = after.allocations;
    after_bytes = after.bytes;
    assert_int_equal(after_allocations, allocations - 1); /* the memory went with it */
    assert_true(after_bytes < bytes);
    assert_null(peal_conn_unref(NULL));
    rig_close(&rig);
}

static void the_report_names_file_and_line(void **state)
{
    struct rig rig;
    char expected[64];
    (void)state;
    peal_refs_track(true);
    assert_true(peal_refs_tracked());
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct peal_conn *first = peal_conn_ref(rig.witness.conn);
    int line = __LINE__ - 1;
    struct peal_conn *second = NULL;
    assert_int_equal(peal_conn_find(peal_conn_id(first), &second), 0);
    peal_conn_ref_at(first, "elsewhere.c", 7);
    assert_int_equal(read_report(), 0); /* it is open: nobody forgot anything yet */
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(read_report(), 1);
    assert_int_equal(line_count, 4);
    assert_non_null(strstr(lines[0], "is still held by 3 references"));
    assert_non_null(strstr(lines[0], "127.0.0.1:"));
    assert_non_null(strstr(lines[0], "peer closed"));
    assert_non_null(strstr(lines[1], "taken at elsewhere.c:7")); /* newest first */
    snprintf(expected, sizeof expected, "test_refs.c:%d, ", line);
    assert_non_null(strstr(lines[3], expected));
    peal_conn_unref(second); /* the newest of this file */
    read_report();
    assert_int_equal(line_count, 3);
    assert_non_null(strstr(lines[2], expected));
    peal_conn_unref_at(first, "nowhere.c", 1); /* none of its own: the oldest */
    read_report();
    assert_int_equal(line_count, 2);
    assert_non_null(strstr(lines[0], "is still held by 1 reference"));
    assert_non_null(strstr(lines[1], "elsewhere.c:7"));
    peal_conn_unref_at(first, "elsewhere.c", 8);
    assert_int_equal(read_report(), 0);
    assert_int_equal(line_count, 0);
    rig_close(&rig);
    peal_refs_track(false);
    assert_false(peal_refs_tracked());
}

static void untracked_ones_are_counted_too(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct peal_conn *held = peal_conn_ref(rig.witness.conn);
    peal_refs_track(true);
    peal_conn_ref(held);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(read_report(), 1);
    assert_int_equal(line_count, 2);
    assert_non_null(strstr(lines[0], "held by 2 references"));
    assert_int_equal(peal_refs_report(NULL, NULL), 1);
    peal_conn_unref(held);
    peal_conn_unref(held);
    peal_refs_track(false);
    rig_close(&rig);
}

static void held_beyond_the_loop_and_the_server(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct peal_conn *held = peal_conn_ref(rig.witness.conn);
    rig_close(&rig);
    assert_int_equal(rig.witness.causes[PEAL_CAUSE_SERVER_STOP], 1);
    assert_int_equal(peal_conn_send(held, "x", 1), -EPIPE);
    peal_conn_abort(held);
    assert_int_equal(peal_refs_report(NULL, NULL), 1);
    peal_conn_unref(held);
    raw_close(peer);
}

static void *unref_elsewhere(void *arg)
{
    struct peal_conn *conn = arg;
    assert_int_equal(peal_conn_state(conn), PEAL_CONN_CLOSED);
    return peal_conn_unref(conn);
}

static void *take_and_give(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        peal_conn_ref((struct peal_conn *)arg);
        peal_conn_unref(arg);
    }
    return peal_conn_unref(arg);
}

static void the_last_one_goes_on_any_thread(void **state)
{
    struct rig rig;
    pthread_t thread, threads[4];
    (void)state;
    rig_open(&rig, NULL);
    raw_close(rig_connect(&rig));
    struct peal_conn *held = peal_conn_ref(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(pthread_create(&thread, NULL, unref_elsewhere, held), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(peal_refs_report(NULL, NULL), 0);
    peal_refs_track(true);
    for (int tracked = 0; tracked < 2; tracked++) { /* while it closes */
        int peer = rig_connect(&rig);
        for (int i = 0; i < 4; i++) {
            struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
            assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, conn), 0);
        }
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == rig.witness.opened);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        assert_int_equal(peal_refs_report(NULL, NULL), 0);
        peal_refs_track(false);
    }
    rig_close(&rig);
}

static void ask_the_environment(void *arg)
{
    setenv("PEAL_TRACK_REFS", arg, 1);
    if (peal_refs_tracked() != (strcmp(arg, "1") == 0)) {
        abort();
    }
}

/* First of all: nobody has asked yet, and there is one thread. */
static void the_environment_switches_it_on(void **state)
{
    char text[256];
    (void)state;
    assert_int_equal(child_run(ask_the_environment, (char[]){"1"}, text, sizeof text), 0);
    assert_int_equal(child_run(ask_the_environment, (char[]){"0"}, text, sizeof text), 0);
    assert_int_equal(child_run(ask_the_environment, (char[]){""}, text, sizeof text), 0);
    first_thread(NULL);
    peal_refs_track(false);
    setenv("PEAL_TRACK_REFS", "1", 1);
    assert_false(peal_refs_tracked()); /* it is asked once; what the program says counts */
    unsetenv("PEAL_TRACK_REFS");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_switches_it_on),
        TEST(a_reference_keeps_memory_not_the_socket),
        TEST(sites_go_with_the_connection),
        TEST(each_of_very_many_is_told_by_its_own_site),
        TEST(the_report_names_file_and_line),
        TEST(untracked_ones_are_counted_too),
        TEST(held_beyond_the_loop_and_the_server),
        TEST(the_last_one_goes_on_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
