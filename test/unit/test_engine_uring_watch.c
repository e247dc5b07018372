/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a watch on io_uring would be told what it no longer asks for, or miss what it
 * does, or be told after it has closed; a listener would lose sockets that the kernel accepted
 * while it stopped; a connect would be told wrong, or leave a stream that hears of no error. */
#include "loop/engine_uring.h"
#include "support/baseline.h"
#include "support/io_probe.h"
#include "support/on_uring.h"
#include "support/raw.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct peal_loop *loop;

static void turns(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(peal_loop_turn(loop, 2), 1);
    }
}

/* ---- watches */

/* One end of a socket pair: always writable, readable when the other end has sent. */
struct eye {
    struct peal_watch *watch;
    int fd, other;
    uint32_t asked;
    unsigned calls;
    uint32_t last;
    bool closes;
};

static void on_events(struct peal_watch *watch, uint32_t events, void *user)
{
    struct eye *eye = user;
    assert_ptr_equal(watch, eye->watch);
    assert_int_equal(events & ~eye->asked, 0);
    assert_true(events != 0);
    eye->calls++;
    eye->last = events;
    if (eye->closes) {
        eye->watch = peal_watch_close(eye->watch);
        close(eye->fd);
        eye->fd = -1;
    }
}

static void eye_open(struct eye *eye, uint32_t events)
{
    int fds[2];
    loop = on_uring_loop();
    memset(eye, 0, sizeof *eye);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    eye->fd = fds[0];
    eye->other = fds[1];
    eye->asked = events;
    assert_int_equal(peal_watch_open(loop, eye->fd, events, on_events, eye, &eye->watch), 0);
}

static void eye_ask(struct eye *eye, uint32_t events)
{
    eye->asked = events;
    assert_int_equal(peal_watch_set(eye->watch, events), 0);
}

static void eye_close(struct eye *eye)
{
    eye->watch = peal_watch_close(eye->watch);
    if (eye->fd >= 0) {
        close(eye->fd);
    }
    close(eye->other);
    peal_loop_free(loop);
}

/* Runs what has come in, so that completions wait to be looked at. */
static void let_complete(void)
{
    assert_int_equal(sys_uring_enter(&loop->engine->ring, 0, 0), 0);
}

static void what_is_ready_is_told_in_each_turn_until_it_is_not(void **state)
{
    struct eye eye;
    char byte;
    (void)state;
    eye_open(&eye, PEAL_READABLE);
    turns(3);
    assert_int_equal(eye.calls, 0);
    raw_send(eye.other, "x", 1);
    for (unsigned i = 1; i <= 5; i++) {
        turns(1);
        assert_int_equal(eye.calls, i);
    }
    assert_int_equal(read(eye.fd, &byte, 1), 1);
    unsigned calls = eye.calls;
    turns(5);
    assert_true(eye.calls <= calls + 1);
    calls = eye.calls;
    turns(5);
    assert_int_equal(eye.calls, calls);
    raw_send(eye.other, "y", 1);
    turns(2);
    assert_true(eye.calls > calls);
    eye_close(&eye);
}

/* on_events checks that nothing is told that was not asked for when it was told. */
static void what_is_asked_may_change_while_completions_wait(void **state)
{
    static const uint32_t asks[] = {PEAL_READABLE, 0, PEAL_WRITABLE, PEAL_READABLE | PEAL_WRITABLE};
    struct eye eye;
    char bytes[64];
    (void)state;
    eye_open(&eye, PEAL_READABLE);
    for (unsigned i = 0; i < 600; i++) {
        if (i % 3 == 0) {
            raw_send(eye.other, "x", 1);
        }
        if (i % 7 < 3) {
            let_complete();
        }
        eye_ask(&eye, asks[(i * 5 + i / 4) % 4]);
        if (i % 5 == 0) {
            let_complete();
            eye_ask(&eye, asks[i % 4]);
        }
        if (i % 2 == 0) {
            assert_int_equal(peal_loop_turn(loop, 0), 1);
        }
        if (i % 11 == 0) {
            assert_true(read(eye.fd, bytes, sizeof bytes) != 0);
        }
    }
    raw_send(eye.other, "x", 1);
    for (unsigned i = 0; i < 4; i++) { /* and in the end it hears all that it asks for */
        eye_ask(&eye, asks[i]);
        turns(2);
        eye.calls = 0;
        eye.last = 0;
        turns(3);
        assert_int_equal(eye.last, asks[i]);
        assert_int_equal(eye.calls, asks[i] ? 3 : 0);
    }
    eye_close(&eye);
}

static void a_closed_watch_hears_nothing_of_what_had_completed(void **state)
{
    struct eye eye;
    (void)state;
    eye_open(&eye, PEAL_READABLE);
    turns(1);
    raw_send(eye.other, "x", 1);
    let_complete();
    eye.watch = peal_watch_close(eye.watch);
    turns(3);
    assert_int_equal(eye.calls, 0);
    eye_close(&eye);
}

static void a_watch_may_close_in_its_callback(void **state)
{
    struct eye eye;
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        eye_open(&eye, i % 2 ? PEAL_READABLE : PEAL_READABLE | PEAL_WRITABLE);
        eye.closes = true;
        raw_send(eye.other, "x", 1);
        turns(4);
        assert_int_equal(eye.calls, 1);
        assert_null(eye.watch);
        assert_int_equal(read(eye.other, &(char){0}, 1), -1); /* the fd is closed indeed: reset */
        assert_int_equal(errno, ECONNRESET);
        eye_close(&eye);
    }
}

/* ---- listeners */

enum { CLIENTS = 20 };

static void connect_some(const struct peal_addr *address, int clients[CLIENTS])
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = raw_connect(address);
    }
}

static void close_some(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
    }
}

static void sockets_accepted_before_a_stop_are_handed_over(void **state)
{
    struct probe probe;
    struct peal_addr address;
    int clients[CLIENTS];
    (void)state;
    loop = on_uring_loop();
    int listener = raw_listen(&address, CLIENTS * 2);
    probe_attach(&probe, loop, listener, PL_IO_ACCEPT);
    turns(1);
    for (unsigned round = 1; round <= 3; round++) {
        connect_some(&address, clients);
        let_complete();
        assert_int_equal(loop->ops->accept_stop(loop->engine, &probe.io), 0);
        if (round % 2) {
            turns(3);
        }
        assert_int_equal(loop->ops->accept_start(loop->engine, &probe.io), 0);
        while (probe.accepted_count < round * CLIENTS) {
            turns(1);
        }
        close_some(clients, CLIENTS);
    }
    assert_null(strchr(probe.history, 'x'));
    probe_end(&probe);
    close_some(probe.accepted, probe.accepted_count);
    close(listener);
    peal_loop_free(loop);
}

static void sockets_accepted_for_nobody_are_closed(void **state)
{
    struct probe probe;
    struct peal_addr address;
    int clients[CLIENTS];
    (void)state;
    loop = on_uring_loop();
    int listener = raw_listen(&address, CLIENTS);
    probe_attach(&probe, loop, listener, PL_IO_ACCEPT);
    turns(1);
    connect_some(&address, clients);
    let_complete(); /* the kernel has accepted, and nobody has looked */
    probe_end(&probe);
    assert_int_equal(probe.accepted_count, 0);
    close(listener);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(raw_drain(clients[i], &(int){0}), 0); /* each has ended */
        raw_close(clients[i]);
    }
    peal_loop_free(loop);
}

/* ---- connects */

static void connect_to(struct probe *probe, const struct peal_addr *address)
{
    socklen_t size;
    const struct sockaddr *to = peal_addr_sockaddr(address, &size);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    probe_init(probe, loop, fd);
    assert_int_equal(loop->ops->connect(loop->engine, &probe->io, to, size), 0);
}

static void send_queued(struct probe *probe, char what)
{
    if (what == 'c') {
        static char hello[] = "hello";
        const struct iovec piece = {.iov_base = hello, .iov_len = 5};
        loop->engine->batch = 100;
        assert_int_equal(loop->ops->send(loop->engine, &probe->io, &piece, 1, 0), 0);
        assert_true(probe->io.flags & PL_IO_QUEUED);
    }
}

/* A send is in flight when the connect has been told: the stream hears of errors all the same. */
static void a_stream_that_sends_when_it_is_connected_hears_of_a_reset(void **state)
{
    struct probe probe;
    struct peal_addr address;
    (void)state;
    loop = on_uring_loop();
    int listener = raw_listen(&address, 1);
    connect_to(&probe, &address);
    probe.also = send_queued;
    int peer = raw_accept(listener);
    probe_until(&probe, 2);
    assert_string_equal(probe.history, "cs");
    raw_expect(peer, "hello");
    raw_reset(peer);
    probe_until(&probe, 3);
    assert_string_equal(probe.history, "cse");
    assert_int_equal(probe.error, -ECONNRESET);
    probe_end(&probe);
    close(probe.io.fd);
    close(listener);
    peal_loop_free(loop);
}

static void a_connect_that_is_given_up_is_not_told(void **state)
{
    (void)state;
    loop = on_uring_loop();
    for (unsigned i = 0; i < 20; i++) {
        struct probe probe;
        struct peal_addr address;
        int listener = raw_listen(&address, 1);
        if (i % 4 < 2) { /* it will be refused */
            close(listener);
        }
        connect_to(&probe, &address);
        if (i % 2) {
            let_complete();
        }
        probe_end(&probe);
        assert_string_equal(probe.history, "");
        close(probe.io.fd);
        if (i % 4 >= 2) {
            close(listener);
        }
    }
    peal_loop_free(loop);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_ready_is_told_in_each_turn_until_it_is_not),
        TEST(what_is_asked_may_change_while_completions_wait),
        TEST(a_closed_watch_hears_nothing_of_what_had_completed),
        TEST(a_watch_may_close_in_its_callback),
        TEST(sockets_accepted_before_a_stop_are_handed_over),
        TEST(sockets_accepted_for_nobody_are_closed),
        TEST(a_stream_that_sends_when_it_is_connected_hears_of_a_reset),
        TEST(a_connect_that_is_given_up_is_not_told),
    };
    on_uring_ask();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
