/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, accepting would starve what is open or spin for want of fds (hazard 25), and a
 * connect would be told twice, from inside its own call, as the opposite of what it was (hazard
 * 26), or not at all. */
#include "loop/engine.h"
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"
#include "support/io_probe.h"
#include "support/raw.h"

#include <peal.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct peal_loop *loop;

static int setup(void **state)
{
    baseline_setup(state);
    return peal_loop_new(&(struct peal_loop_options){.engine = getenv("PEAL_ENGINE")}, &loop);
}

static int teardown(void **state)
{
    peal_loop_free(loop);
    return baseline_teardown(state);
}

static void turn(void)
{
    assert_int_equal(peal_loop_turn(loop, 10), 1);
}

/* An abstract unix address of this process and number: connecting there is decided at once. */
static socklen_t unix_address(struct sockaddr_un *address, unsigned number)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "peal-test-%d-%u",
                          (int)getpid(), number);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static int unix_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    return fd;
}

static int unix_listen(int backlog)
{
    struct sockaddr_un address;
    socklen_t size = unix_address(&address, 0);
    int fd = unix_socket();
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static int unix_connect(void)
{
    struct sockaddr_un address;
    socklen_t size = unix_address(&address, 0);
    int fd = unix_socket();
    assert_int_equal(connect(fd, (struct sockaddr *)&address, size), 0);
    return fd;
}

/* ---- accepting */

enum { CLIENTS = PL_ACCEPT_BATCH + 36 };

struct hall {
    struct probe probe; /* the first member */
    int listener;
    int clients[CLIENTS];
};

static void hall_open(struct hall *hall, uint8_t flags)
{
    hall->listener = unix_listen(CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        hall->clients[i] = unix_connect();
    }
    probe_attach(&hall->probe, loop, hall->listener, flags);
}

static void hall_close(struct hall *hall)
{
    probe_detach(&hall->probe);
    close(hall->listener);
    for (unsigned i = 0; i < CLIENTS; i++) {
        close(hall->clients[i]);
    }
    for (unsigned i = 0; i < hall->probe.accepted_count; i++) {
        close(hall->probe.accepted[i]);
    }
}

static void accepting_is_bounded_a_turn(void **state)
{
    struct hall hall;
    (void)state;
    hall_open(&hall, PL_IO_ACCEPT);
    turn();
    assert_int_equal(hall.probe.accepted_count, PL_ACCEPT_BATCH);
    turn();
    assert_int_equal(hall.probe.accepted_count, CLIENTS);
    assert_int_equal(probe_events_of_turns(loop, 5), 0);
    hall_close(&hall);
}

static void stop_after_five(struct probe *probe, char what)
{
    if (what == 'a' && probe->accepted_count == 5) {
        assert_int_equal(loop->ops->accept_stop(loop->engine, &probe->io), 0);
    }
}

static void accepting_can_be_stopped_in_the_midst_of_a_batch(void **state)
{
    struct hall hall;
    (void)state;
    hall_open(&hall, PL_IO_ACCEPT);
    hall.probe.also = stop_after_five;
    turn();
    assert_int_equal(hall.probe.accepted_count, 5);
    assert_true(probe_events_of_turns(loop, 5) <= 1);
    assert_int_equal(probe_events_of_turns(loop, 5), 0);
    assert_int_equal(hall.probe.accepted_count, 5);
    assert_int_equal(loop->ops->accept_start(loop->engine, &hall.probe.io), 0);
    turn();
    assert_int_equal(hall.probe.accepted_count, 5 + PL_ACCEPT_BATCH);
    hall_close(&hall);
}

static void a_listener_that_never_started_is_quiet(void **state)
{
    struct hall hall;
    (void)state;
    hall_open(&hall, 0);
    assert_true(probe_events_of_turns(loop, 5) <= 1);
    assert_int_equal(probe_events_of_turns(loop, 5), 0);
    assert_int_equal(hall.probe.accepted_count, 0);
    hall_close(&hall);
}

static void a_want_of_fds_ends_the_batch(void **state)
{
    static const int wants[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    struct hall hall;
    (void)state;
    hall_open(&hall, PL_IO_ACCEPT);
    for (unsigned i = 0; i < 4; i++) {
        faults_start(
            (struct faults){.name = "accept4", .nth = 1, .for_ever = true, .error = wants[i]});
        turn();
        assert_int_equal(faults_stop(), 1); /* told once a turn, not once a connection */
        assert_int_equal(hall.probe.error, -wants[i]);
        assert_int_equal(strlen(hall.probe.history), i + 1);
    }
    turn();
    assert_int_equal(hall.probe.accepted_count, PL_ACCEPT_BATCH); /* none was lost */
    hall_close(&hall);
}

static void a_failure_of_one_goes_on_with_the_next(void **state)
{
    struct hall hall;
    (void)state;
    hall_open(&hall, PL_IO_ACCEPT);
    faults_start((struct faults){.name = "accept4", .nth = 3, .error = ECONNABORTED});
    turn();
    faults_stop();
    assert_int_equal(hall.probe.accepted_count, PL_ACCEPT_BATCH - 1);
    assert_memory_equal(hall.probe.history, "aaxaaa", 6);
    assert_int_equal(hall.probe.error, -ECONNABORTED);
    hall.probe.error = 0;
    faults_start((struct faults){.name = "accept4", .nth = 3, .error = EINTR});
    turn();
    faults_stop();
    assert_int_equal(hall.probe.error, 0); /* an interruption is no error */
    assert_int_equal(hall.probe.accepted_count, CLIENTS);
    hall_close(&hall);
}

static void detach_at_third(struct probe *probe, char what)
{
    (void)what;
    if (probe->accepted_count == 3) {
        probe_detach(probe);
    }
}

static void a_listener_may_go_in_the_midst_of_a_batch(void **state)
{
    struct hall hall;
    (void)state;
    hall_open(&hall, PL_IO_ACCEPT);
    hall.probe.also = detach_at_third;
    turn();
    turn();
    assert_int_equal(hall.probe.accepted_count, 3);
    hall_close(&hall); /* a second detach does nothing */
}

/* ---- connecting */

static void start_connect(struct probe *probe, int fd, const struct sockaddr *address,
                          socklen_t size)
{
    probe_init(probe, loop, fd);
    assert_int_equal(loop->ops->connect(loop->engine, &probe->io, address, size), 0);
    assert_string_equal(probe->history, ""); /* never from inside the call */
}

static void start_unix_connect(struct probe *probe, unsigned number)
{
    struct sockaddr_un address;
    socklen_t size = unix_address(&address, number);
    start_connect(probe, unix_socket(), (struct sockaddr *)&address, size);
}

static void probe_close(struct probe *probe)
{
    probe_detach(probe);
    close(probe->io.fd);
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    return fd;
}

static void a_connect_is_told_once(void **state)
{
    struct peal_addr address;
    struct probe probe;
    socklen_t size;
    (void)state;
    int listener = raw_listen(&address, 1);
    const struct sockaddr *socket_address = peal_addr_sockaddr(&address, &size);
    start_connect(&probe, tcp_socket(), socket_address, size);
    probe_until(&probe, 1);
    assert_string_equal(probe.history, "c");
    int peer = raw_accept(listener);
    assert_true(probe_events_of_turns(loop, 5) <= 1);
    assert_int_equal(probe_events_of_turns(loop, 5), 0);
    probe_recv_start(&probe);
    assert_int_equal(probe_send(&probe, "there", 5), 5);
    raw_expect(peer, "there");
    raw_send(peer, "back", 4);
    probe_until(&probe, 2);
    assert_string_equal(probe.history, "cr");
    probe_close(&probe);
    raw_close(peer);
    raw_close(listener);
}

static void a_refusal_is_told_as_such(void **state)
{
    struct peal_addr address;
    struct probe probe;
    socklen_t size;
    (void)state;
    int listener = raw_listen(&address, 1);
    raw_close(listener); /* nobody listens there now */
    const struct sockaddr *socket_address = peal_addr_sockaddr(&address, &size);
    start_connect(&probe, tcp_socket(), socket_address, size);
    probe_until(&probe, 1);
    assert_string_equal(probe.history, "y");
    assert_int_equal(probe.error, -ECONNREFUSED);
    probe_close(&probe);
}

static void one_decided_at_once_is_told_from_the_next_wait(void **state)
{
    struct probe good, bad;
    (void)state;
    int listener = unix_listen(4);
    start_unix_connect(&good, 0);
    start_unix_connect(&bad, 1);
    assert_int_equal(peal_loop_turn(loop, -1), 1); /* does not sleep over it */
    turn();
    assert_string_equal(good.history, "c");
    assert_string_equal(bad.history, "y");
    assert_int_equal(bad.error, -ECONNREFUSED);
    int peer = accept(listener, NULL, NULL);
    assert_int_equal(write(peer, "hello", 5), 5);
    probe_recv_start(&good);
    probe_until(&good, 2);
    assert_int_equal(good.recv_all, 5);
    probe_close(&good);
    probe_close(&bad);
    close(peer);
    close(listener);
}

static void one_decided_at_once_and_left_alone_learns_of_a_reset(void **state)
{
    struct probe probe;
    (void)state;
    int listener = unix_listen(4);
    start_unix_connect(&probe, 0);
    probe_until(&probe, 1);
    int peer = accept(listener, NULL, NULL);
    assert_int_equal(probe_send(&probe, "unread", 6), 6);
    close(peer); /* with unread data: a reset, on a unix socket too */
    probe_until(&probe, 2);
    assert_string_equal(probe.history, "ce"); /* E2: though it does not read */
    assert_int_equal(probe.error, -ECONNRESET);
    assert_int_equal(probe_events_of_turns(loop, 10), 0);
    probe_close(&probe);
    close(listener);
}

static void one_that_cannot_be_watched_is_told_so_after_its_connect(void **state)
{
    struct probe probe;
    (void)state;
    int listener = unix_listen(4);
    start_unix_connect(&probe, 0);
    faults_start((struct faults){.name = "epoll_ctl", .nth = 1, .error = ENOSPC});
    probe_until(&probe, 2);
    assert_int_equal(faults_stop(), 1);
    assert_string_equal(probe.history, "ce");
    assert_int_equal(probe.error, -ENOSPC);
    probe_close(&probe);
    close(listener);
}

static void one_given_up_is_not_told(void **state)
{
    struct probe decided, under_way;
    struct peal_addr address;
    socklen_t size;
    (void)state;
    int unix_listener = unix_listen(4), listener = raw_listen(&address, 1);
    const struct sockaddr *socket_address = peal_addr_sockaddr(&address, &size);
    start_unix_connect(&decided, 0);
    start_connect(&under_way, tcp_socket(), socket_address, size);
    probe_close(&decided);
    probe_close(&under_way);
    turn();
    turn();
    assert_string_equal(decided.history, "");
    assert_string_equal(under_way.history, "");
    close(unix_listener);
    raw_close(listener);
}

static void an_io_that_was_detached_can_connect_anew(void **state)
{
    struct sockaddr_un address;
    struct probe probe;
    (void)state;
    int listener = unix_listen(4);
    start_unix_connect(&probe, 1);
    probe_until(&probe, 1);
    probe_close(&probe);
    turn();
    socklen_t size = unix_address(&address, 0);
    probe.io.fd = unix_socket();
    assert_int_equal(loop->ops->connect(loop->engine, &probe.io, (struct sockaddr *)&address, size),
                     0);
    probe_until(&probe, 2);
    assert_string_equal(probe.history, "yc");
    probe_close(&probe);
    close(listener);
}

/* ---- many that are decided at once */

enum { MANY = 20 };

static struct probe many[MANY], sequel;

static void give_up_the_others(struct probe *probe, char what)
{
    assert_int_equal(what, 'y');
    for (unsigned i = 0; i < MANY; i++) {
        if (&many[i] != probe) {
            probe_detach(&many[i]);
        }
    }
    start_unix_connect(&sequel, 2); /* from inside the telling: the next wait tells it */
}

static void many_are_told_in_one_turn(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        start_unix_connect(&many[i], 1);
    }
    assert_int_equal(probe_events_of_turns(loop, 1), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_string_equal(many[i].history, "y");
        probe_close(&many[i]);
    }
}

static void one_may_give_up_the_others_and_connect_anew(void **state)
{
    unsigned told = 0;
    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        start_unix_connect(&many[i], 1);
        many[i].also = give_up_the_others;
    }
    turn();
    assert_string_equal(sequel.history, "");
    turn();
    assert_string_equal(sequel.history, "y");
    for (unsigned i = 0; i < MANY; i++) {
        told += many[i].history[0] == 'y';
        probe_close(&many[i]);
    }
    assert_int_equal(told, 1);
    probe_close(&sequel);
}

static void failures_of_connecting_leave_nothing(void **state)
{
    struct sockaddr_un address;
    struct peal_addr listening;
    struct probe probe;
    socklen_t size = unix_address(&address, 1);
    (void)state;
    probe_init(&probe, loop, unix_socket());
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    assert_int_equal(loop->ops->connect(loop->engine, &probe.io, (struct sockaddr *)&address, size),
                     -ENOMEM);
    assert_int_equal(faults_stop(), 1);
    probe_close(&probe);
    int listener = raw_listen(&listening, 1);
    const struct sockaddr *socket_address = peal_addr_sockaddr(&listening, &size);
    probe_init(&probe, loop, tcp_socket());
    faults_start((struct faults){.name = "epoll_ctl", .nth = 1, .error = ENOSPC});
    assert_int_equal(loop->ops->connect(loop->engine, &probe.io, socket_address, size), -ENOSPC);
    assert_int_equal(faults_stop(), 1);
    probe_close(&probe);
    turn();
    assert_string_equal(probe.history, "");
    raw_close(listener);
}

/* ---- more than a batch */

static void count_event(struct peal_watch *watch, uint32_t events, void *user)
{
    (void)watch;
    (void)events;
    (*(unsigned *)user)++;
}

static void more_events_than_a_batch_holds_all_get_their_turn(void **state)
{
    enum { COUNT = 600 };
    static struct peal_watch *watches[COUNT];
    static unsigned calls[COUNT];
    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        int fd = eventfd(1, EFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(
            peal_watch_open(loop, fd, PEAL_READABLE, count_event, &calls[i], &watches[i]), 0);
    }
    for (unsigned i = 0; i < 9; i++) {
        turn();
    }
    for (unsigned i = 0; i < COUNT; i++) {
        int fd = peal_watch_fd(watches[i]);
        assert_true(calls[i] >= 3 && calls[i] <= 4); /* 9 batches of 256 for 600 */
        peal_watch_close(watches[i]);
        close(fd);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(accepting_is_bounded_a_turn),
        TEST(accepting_can_be_stopped_in_the_midst_of_a_batch),
        TEST(a_listener_that_never_started_is_quiet),
        TEST(a_want_of_fds_ends_the_batch),
        TEST(a_failure_of_one_goes_on_with_the_next),
        TEST(a_listener_may_go_in_the_midst_of_a_batch),
        TEST(a_connect_is_told_once),
        TEST(a_refusal_is_told_as_such),
        TEST(one_decided_at_once_is_told_from_the_next_wait),
        TEST(one_decided_at_once_and_left_alone_learns_of_a_reset),
        TEST(one_that_cannot_be_watched_is_told_so_after_its_connect),
        TEST(one_given_up_is_not_told),
        TEST(an_io_that_was_detached_can_connect_anew),
        TEST(many_are_told_in_one_turn),
        TEST(one_may_give_up_the_others_and_connect_anew),
        TEST(failures_of_connecting_leave_nothing),
        TEST(more_events_than_a_batch_holds_all_get_their_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
