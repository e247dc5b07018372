/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 25: out of fds, a listener that stays readable would make the loop spin at full speed, and
 * those who wait in its queue would be lost or forgotten.
 *
 * Accepting pauses for accept_retry_ms after EMFILE and is then tried again, so a shortage costs a
 * bounded number of turns and calls a second (G8), what is open is served meanwhile, and who
 * waits in the kernel's queue is taken when there are fds again. The limit of this process is
 * really lowered here; one case is a shortage of the whole machine, by the fault hook. */
#include "support/baseline.h"
#include "support/faults.h"
#include "support/fd_limit.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { PEERS = 30, SPARE_FDS = 3, RETRY_MS = 20, STARVE_MS = 400 };

static unsigned pauses, resumes;

static void on_accept_pause(struct peal_server *server, int error, void *user)
{
    (void)server;
    (void)user;
    assert_true(error == 0 || error == -EMFILE || error == -ENFILE);
    pauses += error < 0;
    resumes += error == 0;
}

static const struct peal_server_options options = {.accept_retry_ms = RETRY_MS,
                                                   .on_accept_pause = on_accept_pause};

/* Lets the loop sleep as long as it likes, and counts how often it does not. */
static void starve(struct rig *rig)
{
    uint64_t began_ms = rig_now_ms(), elapsed_ms;
    unsigned turns = 0, pauses_before = pauses;
    faults_start((struct faults){.kind = 's', .name = "accept4"});
    do {
        assert_int_equal(peal_loop_turn(rig->loop, STARVE_MS), 1);
        turns++;
        elapsed_ms = rig_now_ms() - began_ms;
        /* a slow machine (or valgrind) may need longer to come to its second pause */
    } while (elapsed_ms < STARVE_MS || (pauses - pauses_before < 2 && elapsed_ms < 20 * 1000));
    unsigned accepts = faults_seen();
    faults_stop();
    uint64_t retries_max = elapsed_ms / RETRY_MS + 2;
    assert_true(pauses - pauses_before >= 2); /* it does try again */
    assert_true(pauses - pauses_before <= retries_max);
    assert_true(turns <= 4 * retries_max + 50);
    assert_true(accepts <= 4 * retries_max + 50);
}

static void is_served(struct rig *rig, int peer)
{
    uint64_t bytes = rig->witness.bytes;
    raw_send(peer, "hello", 5);
    rig_until(rig, rig->witness.bytes == bytes + 5);
    raw_expect(peer, "hello");
}

static void a_storm_costs_little_and_everyone_is_served_after_it(void **state)
{
    struct rig rig;
    int peers[PEERS];
    (void)state;
    if (baseline_fds_are_shared()) {
        skip();
    }
    pauses = resumes = 0;
    rig_open(&rig, &options);
    rig.witness.echo = true;
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = raw_connect(&rig.address); /* into the kernel's queue */
    }
    fd_limit_start(SPARE_FDS);
    rig_until(&rig, rig.witness.opened == SPARE_FDS && pauses == 1);
    starve(&rig);
    assert_int_equal(rig.witness.opened, SPARE_FDS);
    is_served(&rig, peers[0]);

    /* As connections close, those that wait take their places. */
    for (unsigned i = 0; i < SPARE_FDS; i++) {
        peal_conn_abort(rig.witness.conn);
        rig_until(&rig, rig.witness.closed == i + 1 && rig.witness.opened == SPARE_FDS + i + 1);
    }
    starve(&rig);

    /* With fds for all there is room for all. */
    fd_limit_end();
    rig_until(&rig, rig.witness.opened == PEERS);
    for (unsigned i = PEERS - 5; i < PEERS; i++) {
        is_served(&rig, peers[i]);
    }
    assert_true(resumes >= 1 && resumes <= pauses);
    for (unsigned i = 0; i < PEERS; i++) {
        raw_close(peers[i]);
    }
    rig_until(&rig, rig.witness.closed == PEERS);
    rig_close(&rig);
}

/* A server that is stopped while it starves stops, and asks no more. */
static void a_starving_server_stops(void **state)
{
    struct rig rig;
    (void)state;
    pauses = resumes = 0;
    rig_open(&rig, &options);
    int peer = raw_connect(&rig.address);
    fd_limit_start(0);
    rig_until(&rig, pauses >= 1);
    assert_int_equal(rig.witness.opened, 0);
    peal_server_stop(rig.server, 0);
    rig_until(&rig, rig.stopped == 1);
    unsigned seen = pauses;
    rig_turn_ms(&rig, 3 * RETRY_MS);
    assert_int_equal(pauses, seen);
    assert_int_equal(rig.witness.opened, 0);
    fd_limit_end();
    raw_close(peer);
    rig_close(&rig);
}

/* The same by ENFILE, and for a program that resumes by hand what starves. */
static void nor_does_a_full_machine_make_it_spin(void **state)
{
    struct rig rig;
    (void)state;
    rig_skip_unless_accept_is_called();
    pauses = resumes = 0;
    rig_open(&rig, &options);
    rig.witness.echo = true;
    int peer = raw_connect(&rig.address);
    faults_start((struct faults){.name = "accept4", .nth = 1, .for_ever = true, .error = ENFILE});
    for (unsigned i = 0; i < 5; i++) {
        peal_server_pause_accept(rig.server);
        peal_server_resume_accept(rig.server);
        rig_turn_ms(&rig, 2 * RETRY_MS);
    }
    assert_true(faults_seen() >= 3 && faults_seen() < 100);
    faults_stop();
    rig_until(&rig, rig.witness.opened == 1);
    is_served(&rig, peer);
    assert_int_equal(resumes, 1);
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_storm_costs_little_and_everyone_is_served_after_it),
        TEST(a_starving_server_stops),
        TEST(nor_does_a_full_machine_make_it_spin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
