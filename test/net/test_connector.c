/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, connecting would try addresses in a wrong order, hang on one that does not answer,
 * take a failure for success, or leave sockets behind. */
#include "net/connector.h"
#include "support/baseline.h"
#include "support/faults.h"
#include "support/caller.h"
#include "support/raw.h"
#include "sys/sys.h"

#include <peal/error.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct race {
    struct rig rig; /* only its loop is used */
    struct pl_connector *connector;
    unsigned calls;
    int fd; /* or the error */
    struct peal_addr addr;
    bool cancel_inside;
};

static void on_done(struct pl_connector *connector, int fd, const struct peal_addr *addr,
                    void *user)
{
    struct race *race = user;
    assert_ptr_equal(connector, race->connector);
    assert_true(peal_loop_current() == race->rig.loop);
    race->calls++;
    race->fd = fd;
    race->addr = *addr;
    if (race->cancel_inside) {
        assert_null(pl_connector_cancel(connector));
    }
    race->connector = NULL;
}

static void open_loop(struct race *race)
{
    memset(race, 0, sizeof *race);
    assert_int_equal(peal_loop_new(NULL, &race->rig.loop), 0);
}

static void start(struct race *race, const struct peal_addr *addrs, size_t count,
                  uint32_t timeout_ms, uint32_t stagger_ms)
{
    const struct pl_connector_options options = {
        .loop = race->rig.loop,
        .addrs = addrs,
        .count = count,
        .timeout_ms = timeout_ms,
        .stagger_ms = stagger_ms,
        .fn = on_done,
        .user = race,
    };
    unsigned calls = race->calls;
    assert_int_equal(pl_connector_start(&options, &race->connector), 0);
    assert_int_equal(race->calls, calls); /* never from inside */
}

static struct peal_addr parse(const char *text)
{
    struct peal_addr addr;
    assert_int_equal(peal_addr_parse(text, &addr, NULL), 0);
    return addr;
}

/* ---- order */

static void families_take_turns(void **state)
{
    /* digits: IPv6 addresses, letters: IPv4 */
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"", ""},       {"1", "1"},         {"a", "a"},         {"12ab", "1a2b"}, {"ab12", "a1b2"},
        {"123", "123"}, {"123a", "1a23"},   {"1abc", "1abc"},   {"a123", "a123"}, {"a1", "a1"},
        {"1a2", "1a2"}, {"abc12", "a1b2c"}, {"12a3b", "1a2b3"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peal_addr from[8], to[8];
        char found[8] = "";
        size_t count = strlen(cases[i].from);
        for (size_t j = 0; j < count; j++) {
            char c = cases[i].from[j];
            from[j] = parse(c >= 'a' ? "127.0.0.1:1" : "[::1]:1");
            assert_int_equal(peal_addr_set_port(&from[j], (uint16_t)c), 0);
        }
        pl_connector_order(from, count, to);
        for (size_t j = 0; j < count; j++) {
            found[j] = (char)peal_addr_port(&to[j]);
        }
        assert_string_equal(found, cases[i].to);
    }
}

/* ---- outcomes */

/* Of two that fail, the one that is further down the list is told, also if it failed first. */
static void the_later_address_is_told_also_if_it_failed_first(void **state)
{
    struct race race;
    struct black_hole hole;
    (void)state;
    black_hole_open(&hole);
    const struct peal_addr addrs[] = {hole.address, refusing_address()};
    open_loop(&race);
    start(&race, addrs, 2, 20000, 10);
    rig_turn_ms(&race.rig, 200); /* the second is refused, the first is still trying */
    assert_int_equal(race.calls, 0);
    black_hole_close(&hole); /* its next attempt is refused, too */
    rig_until(&race.rig, race.calls == 1);
    assert_int_equal(race.fd, -ECONNREFUSED);
    assert_true(peal_addr_equal(&race.addr, &addrs[1]));
    peal_loop_free(race.rig.loop);
}

static void connects(void **state)
{
    struct race race;
    struct peal_addr address;
    int on = 0;
    socklen_t size = sizeof on;
    (void)state;
    int listener = raw_listen(&address, 4);
    open_loop(&race);
    start(&race, &address, 1, 10000, 250);
    rig_until(&race.rig, race.calls == 1);
    assert_true(race.fd >= 0);
    assert_true(peal_addr_equal(&race.addr, &address));
    assert_int_equal(getsockopt(race.fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    assert_int_equal(on, 1);
    assert_int_equal(getsockopt(race.fd, SOL_SOCKET, SO_KEEPALIVE, &on, &size), 0);
    assert_int_equal(on, 1);
    int peer = raw_accept(listener);
    raw_send(peer, "x", 1);
    raw_expect(race.fd, "x");
    raw_close(race.fd);
    raw_close(peer);
    raw_close(listener);
    peal_loop_free(race.rig.loop);
}

static void refused_addresses_give_way_at_once(void **state)
{
    struct race race;
    struct peal_addr addrs[3] = {refusing_address(), refusing_address()};
    (void)state;
    int listener = raw_listen(&addrs[2], 4);
    open_loop(&race);
    start(&race, addrs, 3, PEAL_NEVER, PEAL_NEVER); /* no timer helps */
    rig_until(&race.rig, race.calls == 1);
    assert_true(race.fd >= 0);
    assert_true(peal_addr_equal(&race.addr, &addrs[2]));
    raw_close(race.fd);
    raw_close(listener);
    peal_loop_free(race.rig.loop);
}

static void silent_address_loses_its_head_start(void **state)
{
    struct race race;
    struct black_hole hole;
    struct peal_addr addrs[2];
    (void)state;
    black_hole_open(&hole);
    addrs[0] = hole.address;
    int listener = raw_listen(&addrs[1], 4);
    open_loop(&race);
    unsigned fds = baseline_open_fds();
    start(&race, addrs, 2, 15000, 20);
    rig_until(&race.rig, race.calls == 1);
    assert_true(race.fd >= 0);
    assert_true(peal_addr_equal(&race.addr, &addrs[1]));
    raw_close(race.fd);
    rig_until(&race.rig, baseline_open_fds() == fds); /* the loser is closed at once */
    raw_close(listener);
    black_hole_close(&hole);
    peal_loop_free(race.rig.loop);
}

static void all_failures_give_the_last(void **state)
{
    struct race race;
    struct peal_addr addrs[3] = {refusing_address(), refusing_address(),
                                 parse("unix:/nonexistent/socket")};
    (void)state;
    open_loop(&race);
    start(&race, addrs, 3, 10000, 250);
    rig_until(&race.rig, race.calls == 1);
    /* The unix socket is of the other family, so it was the second. */
    assert_int_equal(race.fd, -ECONNREFUSED);
    assert_true(peal_addr_equal(&race.addr, &addrs[1]));
    start(&race, &addrs[2], 1, 10000, 250);
    rig_until(&race.rig, race.calls == 2);
    assert_int_equal(race.fd, -ENOENT);
    assert_true(peal_addr_equal(&race.addr, &addrs[2]));
    peal_loop_free(race.rig.loop);
}

static void times_out_on_silence(void **state)
{
    struct race race;
    struct black_hole hole;
    struct peal_addr addrs[2] = {refusing_address()};
    (void)state;
    black_hole_open(&hole);
    addrs[1] = hole.address;
    open_loop(&race);
    start(&race, addrs, 2, 50, 10);
    rig_until(&race.rig, race.calls == 1);
    assert_int_equal(race.fd, -ETIMEDOUT);
    assert_true(peal_addr_equal(&race.addr, &hole.address));
    addrs[0] = hole.address; /* the silent one first: it is what was waited for */
    addrs[1] = refusing_address();
    start(&race, addrs, 2, 50, 10);
    rig_until(&race.rig, race.calls == 2);
    assert_int_equal(race.fd, -ETIMEDOUT);
    assert_true(peal_addr_equal(&race.addr, &hole.address));
    black_hole_close(&hole);
    peal_loop_free(race.rig.loop);
}

static void unix_sockets_connect(void **state)
{
    struct race race;
    struct peal_addr address;
    char text[64];
    socklen_t size;
    (void)state;
    snprintf(text, sizeof text, "unix:@peal-test-%ld", (long)getpid());
    address = parse(text);
    const struct sockaddr *name = peal_addr_sockaddr(&address, &size);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, name, size), 0);
    assert_int_equal(listen(listener, 4), 0);
    open_loop(&race);
    start(&race, &address, 1, 10000, 250);
    rig_until(&race.rig, race.calls == 1);
    assert_true(race.fd >= 0);
    raw_close(race.fd);
    raw_close(listener);
    peal_loop_free(race.rig.loop);
}

/* ---- cancelling */

static void cancelled_never_calls(void **state)
{
    struct black_hole hole;
    (void)state;
    black_hole_open(&hole);
    for (unsigned turns = 0; turns < 4; turns++) {
        struct race race;
        struct peal_addr addrs[3] = {hole.address, hole.address, hole.address};
        open_loop(&race);
        unsigned fds = baseline_open_fds();
        start(&race, addrs, 3, 10000, 1);
        rig_turns(&race.rig, turns); /* not begun; one attempt; some */
        race.connector = pl_connector_cancel(race.connector);
        rig_turn_ms(&race.rig, 2);
        assert_int_equal(race.calls, 0);
        assert_int_equal(baseline_open_fds(), fds);
        start(&race, addrs, 3, 10000, 1);
        rig_turns(&race.rig, turns);
        race.connector = pl_connector_cancel(race.connector); /* and the loop ends before reap */
        peal_loop_free(race.rig.loop);
        assert_int_equal(race.calls, 0);
    }
    assert_null(pl_connector_cancel(NULL));
    black_hole_close(&hole);
}

static void may_be_cancelled_inside_its_own_call(void **state)
{
    struct race race;
    struct peal_addr address, refusing = refusing_address();
    (void)state;
    int listener = raw_listen(&address, 4);
    open_loop(&race);
    race.cancel_inside = true;
    start(&race, &address, 1, 10000, 250);
    rig_until(&race.rig, race.calls == 1);
    assert_true(race.fd >= 0); /* it is ours all the same */
    raw_close(race.fd);
    start(&race, &refusing, 1, 10000, 250);
    rig_until(&race.rig, race.calls == 2);
    assert_int_equal(race.fd, -ECONNREFUSED);
    raw_close(listener);
    peal_loop_free(race.rig.loop);
}

/* ---- itself */

static void sees_a_socket_connected_to_itself(void **state)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof own;
    int fds[2], fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    assert_int_equal(pl_connector_verify(fd), -ENOTCONN);
    assert_int_equal(bind(fd, (struct sockaddr *)&own, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &size), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&own, size), 0); /* a simultaneous open */
    assert_int_equal(pl_connector_verify(fd), PEAL_ERR_SELF_CONNECT);
    raw_reset(fd);
    raw_pair(fds);
    assert_int_equal(pl_connector_verify(fds[0]), 0);
    assert_int_equal(pl_connector_verify(fds[1]), 0);
    raw_reset(fds[1]);
    for (uint64_t limit = rig_now_ms() + 10000; pl_connector_verify(fds[0]) == 0;) {
        assert_true(rig_now_ms() < limit);
    }
    raw_close(fds[0]);
}

static int only_local_port(int fd, uint16_t port)
{
    struct sockaddr_in own = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(fd, (struct sockaddr *)&own, sizeof own);
}

/* The kernel is made to choose the very port that is connected to: the socket is bound to it just
 * before connect(2). */
static uint16_t self_port;
static int bind_before_connect(char kind, const char *name, void *user)
{
    (void)user;
    if (kind == 's' && strcmp(name, "connect") == 0) {
        int newest = dup(0); /* the socket has the highest number below the next free one */
        assert_int_equal(only_local_port(newest - 1, self_port), 0);
        close(newest);
    }
    return 0;
}

static void self_connection_is_a_failure_and_leaves_the_port_free(void **state)
{
    struct race race;
    struct peal_addr address = refusing_address();
    (void)state;
    self_port = peal_addr_port(&address);
    open_loop(&race);
    start(&race, &address, 1, 10000, 250);
    sys_set_fault_hook(bind_before_connect, NULL);
    rig_until(&race.rig, race.calls == 1);
    sys_set_fault_hook(NULL, NULL);
    assert_int_equal(race.fd, PEAL_ERR_SELF_CONNECT);
    rig_turn_once(&race.rig);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(only_local_port(fd, self_port), 0); /* without SO_REUSEADDR: no TIME_WAIT */
    raw_close(fd);
    peal_loop_free(race.rig.loop);
}

/* ---- faults */

struct fault {
    unsigned after, met;
    bool for_ever;
    int error;
};

static int inject(char kind, const char *name, void *user)
{
    struct fault *fault = user;
    (void)kind;
    if (faults_is_wait(name) || strcmp(name, "write") == 0 || strcmp(name, "close") == 0) {
        return 0; /* the loop's own */
    }
    unsigned met = fault->met++;
    return met == fault->after || (fault->for_ever && met > fault->after) ? fault->error : 0;
}

/* Each call in turn fails: the connector still ends with one call, and a socket only if it is
 * connected. */
static void torture(bool for_ever, int error)
{
    struct peal_addr addrs[2];
    int listener = raw_listen(&addrs[1], 64);
    for (unsigned n = 0;; n++) {
        struct race race;
        struct fault fault = {.after = n, .for_ever = for_ever, .error = error};
        addrs[0] = refusing_address();
        open_loop(&race);
        unsigned fds = baseline_open_fds();
        const struct pl_connector_options options = {.loop = race.rig.loop,
                                                     .addrs = addrs,
                                                     .count = 2,
                                                     .timeout_ms = 10000,
                                                     .stagger_ms = 5,
                                                     .fn = on_done,
                                                     .user = &race};
        sys_set_fault_hook(inject, &fault);
        int result = pl_connector_start(&options, &race.connector);
        if (result == 0) {
            rig_until(&race.rig, race.calls == 1);
        } else {
            assert_int_equal(result, -ENOMEM);
        }
        sys_set_fault_hook(NULL, NULL);
        if (result == 0 && race.fd >= 0) {
            assert_int_equal(pl_connector_verify(race.fd), 0);
            raw_close(race.fd);
            raw_close(raw_accept(listener));
        }
        rig_turn_once(&race.rig);
        assert_int_equal(baseline_open_fds(), fds);
        peal_loop_free(race.rig.loop);
        if (fault.met <= n) {
            assert_true(n > 8);
            break;
        }
    }
    raw_close(listener);
}

static void every_call_may_fail_once(void **state)
{
    (void)state;
    torture(false, ENOMEM);
    torture(false, EINTR);
    torture(false, EMFILE);
}

static void every_call_may_fail_for_ever(void **state)
{
    (void)state;
    torture(true, ENOMEM);
    torture(true, EINTR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(families_take_turns),
        TEST(the_later_address_is_told_also_if_it_failed_first),
        TEST(connects),
        TEST(refused_addresses_give_way_at_once),
        TEST(silent_address_loses_its_head_start),
        TEST(all_failures_give_the_last),
        TEST(times_out_on_silence),
        TEST(unix_sockets_connect),
        TEST(cancelled_never_calls),
        TEST(may_be_cancelled_inside_its_own_call),
        TEST(sees_a_socket_connected_to_itself),
        TEST(self_connection_is_a_failure_and_leaves_the_port_free),
        TEST(every_call_may_fail_once),
        TEST(every_call_may_fail_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
