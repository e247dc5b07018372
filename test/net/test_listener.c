/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a server could not say why it does not listen, would die or spin when accepting
 * fails, or would lose the connections that wait (G8, hazards 25 and 35). */
#include "support/baseline.h"
#include "support/faults.h"
#include "support/fd_limit.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int pauses[64];
static unsigned pause_count;

static void on_accept_pause(struct peal_server *server, int error, void *user)
{
    (void)server;
    (void)user;
    assert_true(pause_count < 64);
    pauses[pause_count++] = error;
}

static void open_rig(struct rig *rig)
{
    pause_count = 0;
    rig_open(rig, &(struct peal_server_options){.accept_retry_ms = 30,
                                                .on_accept_pause = on_accept_pause});
}

static struct peal_server_stats stats_of(const struct rig *rig)
{
    struct peal_server_stats stats;
    peal_server_get_stats(rig->server, &stats);
    return stats;
}

static void errors_have_sentences(void **state)
{
    static const struct {
        const char *address;
        int error;
        const char *words;
    } bad[] = {
        {"nonsense", -EINVAL, ""},
        {"127.0.0.1", -EINVAL, ""},
        {"127.0.0.1:99999", -EINVAL, ""},
        {"192.0.2.1:0", -EADDRNOTAVAIL, "does not belong to this machine"},
        {"fd:9999", -EBADF, "not a listening socket"},
        {"fd:0", 0, "not a listening socket"},
    };
    struct rig rig;
    const char *why;
    (void)state;
    open_rig(&rig);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        why = NULL;
        int result = peal_server_listen(rig.server, bad[i].address, &why);
        assert_true(result < 0);
        assert_true(bad[i].error == 0 || result == bad[i].error);
        assert_non_null(why);
        assert_non_null(strstr(why, bad[i].words));
        assert_true(peal_server_listen(rig.server, bad[i].address, NULL) < 0);
    }
    char taken[PEAL_ADDR_TEXT_MAX];
    struct peal_addr address;
    peal_addr_format(&rig.address, taken, sizeof taken);
    assert_int_equal(peal_server_listen(rig.server, taken, &why), -EADDRINUSE);
    assert_non_null(strstr(why, "listens on that address already"));
    int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(taken, sizeof taken, "fd:%d", plain);
    assert_int_equal(peal_server_listen(rig.server, taken, &why), -EINVAL);
    assert_non_null(strstr(why, "not a listening socket"));
    raw_close(plain); /* it is still ours */
    assert_int_equal(peal_server_address(rig.server, 1, &address), -ENOENT);
    rig_close(&rig);
}

static void every_step_of_listening_may_fail(void **state)
{
    struct rig rig;
    struct peal_addr address;
    (void)state;
    open_rig(&rig);
    unsigned fds = baseline_open_fds();
    for (char kind = 'a'; kind == 'a' || kind == 's'; kind = (char)(kind + 's' - 'a')) {
        for (unsigned n = 1;; n++) {
            const char *why = NULL;
            faults_start((struct faults){.kind = kind, .nth = n, .error = ENOBUFS});
            int result = peal_server_listen(rig.server, "127.0.0.1:0", &why);
            if (faults_stop() == 0) {
                assert_int_equal(result, 0);
                fds++;
                break;
            }
            assert_int_equal(result, kind == 'a' ? -ENOMEM : -ENOBUFS);
            assert_non_null(why);
            rig_turns(&rig, 1);
            assert_int_equal(baseline_open_fds(), fds);
        }
    }
    assert_int_equal(peal_server_address(rig.server, 2, &address), 0);
    assert_int_equal(peal_server_address(rig.server, 3, &address), -ENOENT);
    rig_close(&rig);
}

static void several_addresses_and_port_0(void **state)
{
    struct rig rig;
    struct peal_addr addresses[3];
    (void)state;
    open_rig(&rig);
    assert_int_equal(peal_server_listen(rig.server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(peal_server_listen(rig.server, "127.0.0.2:0", NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(peal_server_address(rig.server, i, &addresses[i]), 0);
        assert_true(peal_addr_port(&addresses[i]) != 0);
        rig.address = addresses[i];
        struct peal_addr local;
        int peer = rig_connect(&rig);
        assert_int_equal(peal_conn_local(rig.witness.conn, &local), 0);
        assert_true(peal_addr_equal(&local, &addresses[i]));
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == i + 1);
    }
    rig_close(&rig);
}

static void ipv6_and_both(void **state)
{
    struct rig rig;
    struct peal_addr six, both;
    (void)state;
    open_rig(&rig);
    if (peal_server_listen(rig.server, "[::1]:0", NULL) < 0) {
        print_message("skipped: this machine has no IPv6 loopback\n");
        rig_close(&rig);
        skip();
    }
    assert_int_equal(peal_server_address(rig.server, 1, &six), 0);
    rig.address = six;
    raw_close(rig_connect(&rig));
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(peal_server_listen(rig.server, ":0", NULL), 0);
    assert_int_equal(peal_server_address(rig.server, 2, &both), 0);
    char text[64];
    snprintf(text, sizeof text, "127.0.0.1:%u", peal_addr_port(&both));
    assert_int_equal(peal_addr_parse(text, &rig.address, NULL), 0);
    raw_close(rig_connect(&rig)); /* IPv4 by the one socket */
    rig_until(&rig, rig.witness.closed == 2);
    rig_close(&rig);
}

static void takes_over_an_inherited_socket(void **state)
{
    struct rig rig;
    struct peal_addr address;
    char text[16];
    (void)state;
    int listener = raw_listen(&address, 5);
    snprintf(text, sizeof text, "fd:%d", listener);
    open_rig(&rig);
    assert_int_equal(peal_server_listen(rig.server, text, NULL), 0);
    assert_int_equal(peal_server_address(rig.server, 1, &rig.address), 0);
    assert_true(peal_addr_equal(&rig.address, &address));
    raw_close(rig_connect(&rig));
    rig_until(&rig, rig.witness.closed == 1);
    rig_close(&rig);
    assert_int_equal(fcntl(listener, F_GETFD), -1); /* it was the server's, and went with it */
}

static void options_reach_the_connections(void **state)
{
    struct rig rig;
    (void)state;
    for (int plain = 0; plain < 2; plain++) {
        rig_open(&rig, &(struct peal_server_options){.delay = plain, .no_keepalive = plain});
        int peer = rig_connect(&rig), value = 9;
        socklen_t size = sizeof value;
        int fd = peal_conn_fd(rig.witness.conn);
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
        assert_int_equal(value != 0, !plain);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &size), 0);
        assert_int_equal(value != 0, !plain);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        raw_close(peer);
        rig_close(&rig);
    }
}

static void defer_accept_waits_for_data(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){.defer_accept_s = 5});
    int peer = raw_connect(&rig.address);
    rig_turns(&rig, 3);
    assert_int_equal(rig.witness.opened, 0);
    raw_send(peer, "now", 3);
    rig_until(&rig, rig.witness.bytes == 3);
    raw_close(peer);
    rig_close(&rig);
}

/* ---- accepting fails */

static void one_lost_connection_costs_nothing_else(void **state)
{
    static const int errors[] = {ECONNABORTED, EPROTO,     ENETDOWN,   EPERM,
                                 EHOSTDOWN,    EOPNOTSUPP, ENETUNREACH};
    struct rig rig;
    (void)state;
    rig_skip_unless_accept_is_called();
    open_rig(&rig);
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        faults_start((struct faults){.name = "accept4", .nth = 1, .error = errors[i]});
        int peer = rig_connect(&rig); /* the next try takes it */
        assert_int_equal(faults_stop(), 1);
        assert_int_equal(stats_of(&rig).accept_errors, i + 1);
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == i + 1);
    }
    unsigned errors_before = (unsigned)stats_of(&rig).accept_errors;
    faults_start((struct faults){.name = "accept4", .nth = 1, .error = EINTR});
    raw_close(rig_connect(&rig)); /* lost nothing: it is not even counted */
    assert_int_equal(faults_stop(), 1);
    assert_int_equal(stats_of(&rig).accept_errors, errors_before);
    assert_int_equal(pause_count, 0);
    assert_int_equal(stats_of(&rig).accept_pauses, 0);
    rig_close(&rig);
}

static void nothing_but_lost_connections_pause_it(void **state)
{
    struct rig rig;
    (void)state;
    rig_skip_unless_accept_is_called();
    open_rig(&rig);
    faults_start(
        (struct faults){.name = "accept4", .nth = 1, .for_ever = true, .error = ECONNABORTED});
    int peer = raw_connect(&rig.address);
    rig_turn_ms(&rig, 200);
    unsigned tries = faults_stop();
    assert_true(tries < 1000); /* at most a batch for each of the seven tries that fit, G8 */
    assert_true(pause_count >= 1);
    assert_int_equal(pauses[0], -ECONNABORTED);
    rig_until(&rig, rig.witness.opened == 1);
    assert_int_equal(pauses[pause_count - 1], 0);
    raw_close(peer);
    rig_close(&rig);
}

static void want_pauses_and_goes_on(void **state)
{
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    struct rig rig;
    (void)state;
    rig_skip_unless_accept_is_called();
    open_rig(&rig);
    for (unsigned i = 0; i < 4; i++) {
        pause_count = 0;
        faults_start(
            (struct faults){.name = "accept4", .nth = 1, .for_ever = true, .error = errors[i]});
        int peer = raw_connect(&rig.address);
        rig_turn_ms(&rig, 200);
        unsigned tries = faults_seen();
        faults_stop();
        assert_true(tries >= 2);  /* it is tried again, */
        assert_true(tries <= 10); /* but every 30 ms only */
        assert_int_equal(pause_count, tries);
        assert_int_equal(pauses[0], -errors[i]);
        rig_until(&rig, rig.witness.opened == i + 1);
        assert_int_equal(pauses[pause_count - 1], 0);
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == i + 1);
    }
    assert_true(stats_of(&rig).accept_pauses >= 8);
    rig_close(&rig);
}

static void a_real_shortage_of_fds(void **state)
{
    enum { PEERS = 20 };
    struct rig rig;
    int peers[PEERS];
    (void)state;
    if (baseline_fds_are_shared()) {
        skip();
    }
    open_rig(&rig);
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = raw_connect(&rig.address);
    }
    fd_limit_start(5); /* room for five of the twenty */
    rig_turn_ms(&rig, 150);
    unsigned opened = rig.witness.opened, paused = pause_count;
    fd_limit_end();
    assert_int_equal(opened, 5);
    assert_true(paused >= 1 && paused <= 10);
    assert_int_equal(pauses[0], -EMFILE);
    rig_until(&rig, rig.witness.opened == PEERS); /* those that waited are served */
    assert_int_equal(pauses[pause_count - 1], 0);
    for (unsigned i = 0; i < PEERS; i++) {
        raw_close(peers[i]);
    }
    rig_until(&rig, rig.witness.closed == PEERS);
    rig_close(&rig);
}

static void pause_by_hand(struct peal_conn *conn, struct witness *witness)
{
    if (witness->opened == 1) {
        peal_server_pause_accept(peal_conn_server(conn));
    }
}

static void paused_while_starved_it_stays_so(void **state)
{
    struct rig rig;
    (void)state;
    if (baseline_fds_are_shared()) {
        skip();
    }
    open_rig(&rig);
    int peer = raw_connect(&rig.address);
    fd_limit_start(0);
    rig_until(&rig, pause_count == 1);
    fd_limit_end();
    peal_server_pause_accept(rig.server);
    rig_turn_ms(&rig, 80); /* the retry comes and finds it held back */
    assert_int_equal(rig.witness.opened, 0);
    peal_server_resume_accept(rig.server);
    rig_until(&rig, rig.witness.opened == 1);
    raw_close(peer);
    rig_close(&rig);
}

static void paused_in_on_open_the_batch_ends(void **state)
{
    enum { PEERS = 10 };
    struct rig rig;
    int peers[PEERS];
    (void)state;
    open_rig(&rig);
    rig.witness.also_open = pause_by_hand;
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = raw_connect(&rig.address);
    }
    rig_turns(&rig, 3);
    unsigned opened = rig.witness.opened; /* more than one if the kernel accepts by itself */
    if (strcmp(peal_loop_engine(rig.loop), "epoll") == 0) {
        assert_int_equal(opened, 1);
    }
    int late = raw_connect(&rig.address);
    rig_turns(&rig, 3);
    assert_int_equal(rig.witness.opened, opened);
    peal_server_resume_accept(rig.server);
    rig_until(&rig, rig.witness.opened == PEERS + 1);
    for (unsigned i = 0; i < PEERS; i++) {
        raw_close(peers[i]);
    }
    raw_close(late);
    rig_close(&rig);
}

static void closed_while_starved(void **state)
{
    struct rig rig;
    (void)state;
    if (baseline_fds_are_shared()) {
        skip();
    }
    open_rig(&rig);
    int peer = raw_connect(&rig.address);
    fd_limit_start(0);
    rig_until(&rig, pause_count >= 1);
    rig_close(&rig);
    fd_limit_end();
    raw_close(peer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(errors_have_sentences),
        TEST(every_step_of_listening_may_fail),
        TEST(several_addresses_and_port_0),
        TEST(ipv6_and_both),
        TEST(takes_over_an_inherited_socket),
        TEST(options_reach_the_connections),
        TEST(defer_accept_waits_for_data),
        TEST(one_lost_connection_costs_nothing_else),
        TEST(nothing_but_lost_connections_pause_it),
        TEST(want_pauses_and_goes_on),
        TEST(a_real_shortage_of_fds),
        TEST(paused_while_starved_it_stays_so),
        TEST(paused_in_on_open_the_batch_ends),
        TEST(closed_while_starved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
