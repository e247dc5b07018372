/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 35: a listener that gives up for ever, or takes the program down, because accept(2) failed
 * once: for want of fds or memory, or by an error of one connection that Linux hands to whoever
 * accepts it.
 *
 * No error of accept ends a listener. Those of one connection are counted and the next is taken;
 * those of want, and any other, pause accepting for accept_retry_ms and are tried again (G8, G9).
 * The errors are injected here at the seam: once, for a while, and by turns; each time those who
 * connect are served in the end. */
#include "support/baseline.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { PEERS = 5, RETRY_MS = 5 };

static const struct failure {
    int error;
    enum { NONE, ONE, WANT } costs; /* nothing; one connection; a pause of accepting */
} failures[] = {
    {ECONNABORTED, ONE}, {EPROTO, ONE},     {EPERM, ONE},        {EINTR, NONE},
    {ENETDOWN, ONE},     {EHOSTDOWN, ONE},  {EHOSTUNREACH, ONE}, {ENETUNREACH, ONE},
    {ENOPROTOOPT, ONE},  {EOPNOTSUPP, ONE}, {ENONET, ONE},       {ETIMEDOUT, ONE},
    {EMFILE, WANT},      {ENFILE, WANT},    {ENOBUFS, WANT},     {ENOMEM, WANT},
    {EIO, WANT},         {EINVAL, WANT},    {ENOSR, WANT},
};
enum { FAILURES = sizeof failures / sizeof failures[0] };

static unsigned pauses, resumes;
static int expected;

static void on_accept_pause(struct peal_server *server, int error, void *user)
{
    (void)server;
    (void)user;
    assert_true(error == 0 || error == -expected);
    pauses += error < 0;
    resumes += error == 0;
}

static void open_with_peers(struct rig *rig, int peers[PEERS], int error)
{
    pauses = resumes = 0;
    expected = error;
    rig_open(rig, &(struct peal_server_options){.accept_retry_ms = RETRY_MS,
                                                .on_accept_pause = on_accept_pause});
    rig->witness.echo = true;
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = raw_connect(&rig->address);
    }
}

static void all_are_served(struct rig *rig, int peers[PEERS])
{
    rig_until(rig, rig->witness.opened == PEERS);
    for (unsigned i = 0; i < PEERS; i++) {
        raw_send(peers[i], "hello", 5);
    }
    rig_until(rig, rig->witness.bytes == PEERS * 5);
    for (unsigned i = 0; i < PEERS; i++) {
        raw_expect(peers[i], "hello");
        raw_close(peers[i]);
    }
    rig_until(rig, rig->witness.closed == PEERS);
}

static struct peal_server_stats stats_of(const struct rig *rig)
{
    struct peal_server_stats stats;
    peal_server_get_stats(rig->server, &stats);
    return stats;
}

/* The injected failure comes before accept(2), which takes nobody from the queue: all get in. */
static void one_failure_costs_nobody_anything(void **state)
{
    (void)state;
    rig_skip_unless_accept_is_called();
    for (unsigned i = 0; i < FAILURES; i++) {
        struct rig rig;
        int peers[PEERS];
        open_with_peers(&rig, peers, failures[i].error);
        faults_start((struct faults){.name = "accept4", .nth = 3, .error = failures[i].error});
        all_are_served(&rig, peers);
        assert_int_equal(faults_stop(), 1);
        struct peal_server_stats stats = stats_of(&rig);
        assert_int_equal(stats.accepted, PEERS);
        assert_int_equal(stats.accept_errors, failures[i].costs == ONE);
        assert_int_equal(stats.accept_pauses, failures[i].costs == WANT);
        assert_int_equal(pauses, failures[i].costs == WANT);
        assert_int_equal(resumes, pauses);
        rig_close(&rig);
    }
}

/* It fails again and again; then whatever it was is over. */
static void a_while_of_failures_is_outlived(void **state)
{
    (void)state;
    rig_skip_unless_accept_is_called();
    for (unsigned i = 0; i < FAILURES; i++) {
        struct rig rig;
        int peers[PEERS];
        if (failures[i].costs == NONE) {
            continue; /* there is a signal now and then, not always */
        }
        open_with_peers(&rig, peers, failures[i].error);
        faults_start((struct faults){
            .name = "accept4", .nth = 1, .for_ever = true, .error = failures[i].error});
        rig_until(&rig, pauses >= 2); /* even errors of one connection do not make it spin */
        assert_int_equal(rig.witness.opened, 0);
        faults_stop();
        all_are_served(&rig, peers);
        assert_int_equal(resumes, 1);
        rig_close(&rig);
    }
}

/* A connection that cannot be taken in, for want of memory, ends alone: the peer is told, and the
 * next is served. */
static void want_of_memory_behind_accept_ends_one_connection(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct rig rig;
        rig_open(&rig, NULL);
        rig.witness.echo = true;
        int unlucky = raw_connect(&rig.address);
        faults_start((struct faults){.kind = 'a', .nth = n, .error = ENOMEM});
        rig_until(&rig, stats_of(&rig).accepted == 1);
        rig_turns(&rig, 1);
        unsigned failed = faults_stop();
        assert_true(failed == 0 || rig.witness.opened == 0);
        if (failed) {
            int error;
            raw_drain(unlucky, &error); /* does not hang */
        }
        int peer = rig_connect(&rig);
        raw_send(peer, "hello", 5);
        rig_until(&rig, rig.witness.bytes == 5);
        raw_expect(peer, "hello");
        raw_close(peer);
        raw_close(unlucky);
        rig_close(&rig);
        if (!failed) {
            assert_true(n > 1);
            break;
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_failure_costs_nobody_anything),
        TEST(a_while_of_failures_is_outlived),
        TEST(want_of_memory_behind_accept_ends_one_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
