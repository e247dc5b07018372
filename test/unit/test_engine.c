/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, bytes would be lost between the kernel and a connection, a reset would pass
 * unnoticed, or the loop would spin: the engine's contract for streams, E1 to E7 of engine.h. */
#include "loop/engine.h"
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"
#include "support/io_probe.h"
#include "support/raw.h"

#include <peal.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 1 << 20 };

static struct peal_loop *loop;
static struct probe probe;
static int peer; /* the other end: a raw, blocking socket */

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

/* A TCP connection: the probe at one end, with recv on or off. */
static void open_pair(uint8_t flags)
{
    int fds[2];
    raw_pair(fds);
    peer = fds[1];
    probe_attach(&probe, loop, fds[0], flags);
}

static void close_pair(void)
{
    probe_detach(&probe);
    raw_close(probe.io.fd);
    if (peer >= 0) {
        raw_close(peer);
    }
}

static void turn(void)
{
    assert_int_equal(peal_loop_turn(loop, 10), 1);
}

/* Nothing spins: an engine may be told once or twice what nobody wants, and then no more (E7). */
static void expect_quiet(void)
{
    assert_true(probe_events_of_turns(loop, 5) <= 2);
    assert_int_equal(probe_events_of_turns(loop, 10), 0);
}

/* ---- E1: receiving */

static void data_then_fin_once_and_then_rest(void **state)
{
    (void)state;
    open_pair(PL_IO_RECV);
    turn();
    assert_string_equal(probe.history, "");
    raw_send(peer, "hello", 5);
    probe_until(&probe, 1);
    assert_int_equal(probe.recv_all, 5);
    raw_fin(peer);
    probe_until(&probe, 2);
    assert_string_equal(probe.history, "rf");
    assert_int_equal(probe.io.flags & PL_IO_RECV, 0);
    expect_quiet();
    close_pair();
}

static void a_bounded_number_of_reads_a_turn(void **state)
{
    char *data = malloc(LARGE);
    int large = LARGE;
    size_t sent = 0;
    (void)state;
    assert_non_null(data);
    open_pair(0);
    assert_int_equal(setsockopt(probe.io.fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof large), 0);
    raw_pattern(data, LARGE, 0);
    while (sent <
           6 * PL_SCRATCH_BYTES) { /* as much as fits in the buffers, and more than a turn's */
        ssize_t n = send(peer, data + sent, LARGE / 2 - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    probe.recv_pattern = true;
    probe_recv_start(&probe);
    unsigned turns = 0;
    for (size_t reads = 0; probe.recv_all < sent; reads = strlen(probe.history)) {
        turn();
        turns++;
        assert_in_range(strlen(probe.history), reads + 1, reads + 4);
        assert_true(probe.recv_last <= PL_SCRATCH_BYTES);
    }
    assert_false(probe.recv_wrong);
    assert_true(turns >= 2);
    close_pair();
    free(data);
}

static void interruptions_do_not_reach_the_owner(void **state)
{
    static const int errors[] = {EAGAIN, EINTR};
    (void)state;
    open_pair(PL_IO_RECV);
    for (unsigned i = 0; i < 2; i++) {
        raw_send(peer, "x", 1);
        faults_start((struct faults){.name = "recv", .nth = 1, .error = errors[i]});
        turn();
        assert_int_equal(strlen(probe.history), i);
        assert_int_equal(faults_stop(), 1);
        turn();
        assert_int_equal(strlen(probe.history), i + 1); /* level triggered: it comes again */
    }
    assert_string_equal(probe.history, "rr");
    struct peal_loop_stats stats;
    peal_loop_get_stats(loop, &stats);
    assert_int_equal(stats.recv_again, 1);
    close_pair();
}

static void what_came_before_a_reset_is_told_before_it(void **state)
{
    (void)state;
    open_pair(PL_IO_RECV);
    raw_send(peer, "last words", 10);
    raw_reset(peer);
    peer = -1;
    probe_until(&probe, 2);
    assert_string_equal(probe.history, "re");
    assert_int_equal(probe.recv_all, 10);
    assert_int_equal(probe.error, -ECONNRESET);
    expect_quiet(); /* E7 */
    close_pair();
}

/* ---- E2 and E7: paused */

static void nothing_is_read_while_stopped(void **state)
{
    (void)state;
    open_pair(PL_IO_RECV);
    probe_recv_stop(&probe);
    raw_send(peer, "hello", 5);
    expect_quiet();
    raw_fin(peer);
    expect_quiet();
    assert_string_equal(probe.history, "");
    probe_recv_start(&probe);
    probe_until(&probe, 2);
    assert_string_equal(probe.history, "rf");
    close_pair();
}

static void stop_after_data(struct probe *which, char what)
{
    if (what == 'r') {
        probe_recv_stop(which);
    }
}

static void a_handler_may_stop_reading(void **state)
{
    (void)state;
    open_pair(PL_IO_RECV);
    probe.also = stop_after_data;
    raw_send(peer, "one", 3);
    probe_until(&probe, 1);
    raw_send(peer, "two", 3);
    expect_quiet();
    assert_int_equal(probe.recv_all, 3);
    probe_recv_start(&probe);
    probe_until(&probe, 2);
    assert_int_equal(probe.recv_all, 6);
    close_pair();
}

static void a_reset_is_told_while_stopped_and_once(void **state)
{
    (void)state;
    open_pair(0);
    raw_send(peer, "unread", 6);
    raw_reset(peer);
    peer = -1;
    probe_until(&probe, 1);
    assert_string_equal(probe.history, "e");
    assert_int_equal(probe.error, -ECONNRESET);
    assert_int_equal(probe.recv_all, 0);
    expect_quiet();
    assert_string_equal(probe.history, "e");
    close_pair();
}

static void a_hang_up_while_stopped_parks_the_fd(void **state)
{
    (void)state;
    open_pair(0);
    raw_send(peer, "unread", 6);
    raw_fin(peer);
    assert_int_equal(shutdown(probe.io.fd, SHUT_WR), 0); /* both sides: EPOLLHUP, for ever */
    raw_expect_fin(peer);
    expect_quiet();
    assert_string_equal(probe.history, "");
    probe_recv_start(&probe);
    probe_until(&probe, 2);
    assert_string_equal(probe.history, "rf"); /* nothing was lost */
    expect_quiet();                           /* and parked again after its FIN */
    close_pair();
}

/* ---- E3: sending */

static size_t fill(struct probe *which, const char *data)
{
    size_t sent = 0;
    for (;;) {
        ssize_t n = probe_send(which, data + sent, LARGE);
        assert_true(n >= 0);
        sent += (size_t)n;
        if (n < LARGE) {
            assert_true(which->io.flags & PL_IO_SEND);
            return sent;
        }
        assert_true(sent < 16 * LARGE);
    }
}

static void a_blocked_send_is_told_once_when_it_may_go_on(void **state)
{
    char *data = malloc(32 * (size_t)LARGE), *got = malloc(65536), expected[4096];
    (void)state;
    assert_true(data && got);
    raw_pattern(data, 32 * (size_t)LARGE, 0);
    open_pair(PL_IO_RECV);
    size_t sent = fill(&probe, data), received = 0;
    expect_quiet(); /* full */
    while (received < sent) {
        size_t n = raw_recv(peer, got, 65536);
        assert_true(n > 0);
        received += n;
        turn();
    }
    assert_string_equal(probe.history, "s");
    assert_int_equal(probe.error, 0);
    assert_int_equal(probe.io.flags & PL_IO_SEND, 0);
    expect_quiet(); /* writable is not asked for any more */
    assert_int_equal(probe_send(&probe, data, 4096), 4096);
    raw_recv_exactly(peer, got, 4096);
    raw_pattern(expected, sizeof expected, 0);
    assert_memory_equal(got, expected, 4096);
    close_pair();
    free(data);
    free(got);
}

static void pieces_are_sent_in_one(void **state)
{
    const struct iovec pieces[3] = {{.iov_base = (char[]){'a', 'b'}, .iov_len = 2},
                                    {.iov_base = NULL, .iov_len = 0},
                                    {.iov_base = (char[]){'c', 'd', 'e'}, .iov_len = 3}};
    (void)state;
    open_pair(0);
    faults_start((struct faults){.kind = 's'});
    assert_int_equal(loop->ops->send(loop->engine, &probe.io, pieces, 3, PL_SEND_NOW), 5);
    assert_int_equal(faults_seen(), 1);
    faults_stop();
    raw_expect(peer, "abcde");
    assert_int_equal(probe.io.flags & PL_IO_SEND, 0);
    close_pair();
}

static void interrupted_sends_are_tried_again(void **state)
{
    (void)state;
    open_pair(0);
    faults_start((struct faults){.name = "send", .nth = 1, .error = EINTR});
    assert_int_equal(probe_send(&probe, "hello", 5), 5);
    faults_stop();
    faults_start((struct faults){.name = "send", .nth = 1, .for_ever = true, .error = EINTR});
    assert_int_equal(probe_send(&probe, "x", 1), 0); /* not for ever */
    assert_true(faults_stop() < 100);
    probe_until(&probe, 1);
    assert_string_equal(probe.history, "s");
    raw_expect(peer, "hello");
    close_pair();
}

static void sending_to_a_dead_peer_is_an_error_and_no_signal(void **state)
{
    ssize_t n = 0;
    (void)state;
    open_pair(0);
    assert_int_equal(shutdown(probe.io.fd, SHUT_WR), 0);
    n = probe_send(&probe, "x", 1);
    assert_int_equal(n, -EPIPE); /* SIGPIPE would have ended the test */
    close_pair();
}

static void a_kernel_that_will_not_watch_is_an_error(void **state)
{
    char *data = malloc(32 * (size_t)LARGE);
    ssize_t n;
    (void)state;
    assert_non_null(data);
    memset(data, 'x', 32 * (size_t)LARGE);
    open_pair(0);
    faults_start((struct faults){.name = "epoll_ctl", .nth = 1, .error = ENOSPC});
    do {
        n = probe_send(&probe, data, LARGE);
    } while (n == LARGE);
    assert_int_equal(faults_stop(), 1);
    assert_true(probe.io.flags & PL_IO_REFUSED ? n > 0
                                               : n == -ENOSPC); /* a part was taken, or none */
    close_pair();
    free(data);
}

static void one_that_will_not_stop_watching_is_one_too(void **state)
{
    (void)state;
    open_pair(PL_IO_RECV);
    probe_recv_stop(&probe);
    raw_send(peer, "in vain", 7);
    faults_start((struct faults){.name = "epoll_ctl", .nth = 1, .error = ENOMEM});
    probe_until(&probe, 1);
    assert_int_equal(faults_stop(), 1);
    assert_string_equal(probe.history, "e");
    assert_int_equal(probe.error, -ENOMEM);
    close_pair();
}

static void detach_on_sent(struct probe *which, char what)
{
    if (what == 's') {
        probe_detach(which);
    }
}

static void after_detach_nothing_is_told(void **state)
{
    char *data = malloc(32 * (size_t)LARGE);
    int error;
    (void)state;
    assert_non_null(data);
    memset(data, 'x', 32 * (size_t)LARGE);
    open_pair(PL_IO_RECV);
    probe.also = detach_on_sent;
    fill(&probe, data);
    raw_send(peer, "both readable and writable", 26);
    raw_fin(peer);
    assert_int_equal(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    raw_drain(peer, &error);
    probe_until(&probe, 1);
    while (strchr(probe.history, 's') == NULL) { /* readable may have come a turn before */
        raw_drain(peer, &error);
        turn();
    }
    size_t told = strlen(probe.history);
    assert_int_equal(probe.history[told - 1], 's');
    expect_quiet();
    assert_int_equal(strlen(probe.history), told);
    raw_close(probe.io.fd);
    raw_close(peer);
    free(data);
}

/* ---- E4: files */

static FILE *file_of_pattern(size_t size)
{
    FILE *file = tmpfile();
    char *data = malloc(size);
    assert_true(file && data);
    raw_pattern(data, size, 0);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fflush(file), 0);
    free(data);
    return file;
}

static ssize_t send_file(int fd, off_t offset, size_t size, bool *ret_file_error)
{
    *ret_file_error = false;
    return loop->ops->send_file(loop->engine, &probe.io, fd, offset, size, ret_file_error);
}

static void files_are_sent_from_their_offset(void **state)
{
    enum { SIZE = 30000 };
    char got[SIZE], expected[SIZE];
    bool file_error;
    FILE *file = file_of_pattern(SIZE);
    (void)state;
    open_pair(0);
    assert_int_equal(send_file(fileno(file), 1000, SIZE - 1000, &file_error), SIZE - 1000);
    raw_recv_exactly(peer, got, SIZE - 1000);
    raw_pattern(expected, SIZE - 1000, 1000);
    assert_memory_equal(got, expected, SIZE - 1000);
    assert_false(file_error);
    assert_int_equal(send_file(fileno(file), SIZE, 10, &file_error), -ENODATA); /* cut short */
    assert_true(file_error);
    assert_int_equal(send_file(900, 0, 10, &file_error), -EBADF);
    assert_true(file_error);
    close_pair();
    fclose(file);
}

static void a_file_that_blocks_goes_on_where_it_was(void **state)
{
    enum { SIZE = 12 * LARGE };
    bool file_error;
    FILE *file = file_of_pattern(SIZE);
    off_t sent = 0;
    size_t received = 0;
    char *got = malloc(65536), *expected = malloc(65536);
    (void)state;
    assert_true(got && expected);
    open_pair(0);
    assert_int_equal(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    while (received < SIZE) {
        if (sent < SIZE && !(probe.io.flags & PL_IO_SEND)) {
            ssize_t n = send_file(fileno(file), sent, (size_t)(SIZE - sent), &file_error);
            assert_true(n >= 0);
            sent += n;
        }
        ssize_t n = recv(peer, got, 65536, 0);
        if (n > 0) {
            raw_pattern(expected, (size_t)n, received);
            assert_memory_equal(got, expected, (size_t)n);
            received += (size_t)n;
        }
        assert_int_equal(peal_loop_turn(loop, 0), 1);
    }
    assert_int_equal(sent, SIZE);
    assert_true(strlen(probe.history) > 0); /* it did block */
    close_pair();
    fclose(file);
    free(got);
    free(expected);
}

static void what_sendfile_cannot_do_is_told_apart(void **state)
{
    int ends[2];
    bool file_error;
    (void)state;
    open_pair(0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(send_file(ends[0], 0, 10, &file_error), -EOPNOTSUPP);
    assert_false(file_error);
    close(ends[0]);
    close(ends[1]);
    close_pair();
}

static bool pipe_signal_is_pending(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
}

static void a_file_to_a_dead_peer_is_an_error_and_no_signal(void **state)
{
    const struct timespec at_once = {0};
    FILE *file = file_of_pattern(100);
    bool file_error;
    sigset_t set, old, now;
    (void)state;
    open_pair(0);
    assert_int_equal(shutdown(probe.io.fd, SHUT_WR), 0);
    assert_int_equal(send_file(fileno(file), 0, 100, &file_error), -EPIPE);
    assert_false(file_error);
    assert_false(pipe_signal_is_pending());
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    assert_false(sigismember(&now, SIGPIPE));
    /* The program has blocked it, and one of its own is pending: both stay so. */
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
    assert_int_equal(send_file(fileno(file), 0, 100, &file_error), -EPIPE);
    assert_false(pipe_signal_is_pending());
    assert_int_equal(kill(getpid(), SIGPIPE), 0);
    assert_int_equal(send_file(fileno(file), 0, 100, &file_error), -EPIPE);
    assert_true(pipe_signal_is_pending());
    assert_int_equal(sigtimedwait(&set, NULL, &at_once), SIGPIPE);
    while (sigtimedwait(&set, NULL, &at_once) == SIGPIPE) { /* the kernel's own may be there too */
    }
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    assert_true(sigismember(&now, SIGPIPE));
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
    close_pair();
    fclose(file);
}

/* ---- the rest before the end */

static bool stop_never(struct pl_io *io)
{
    (void)io;
    return false;
}

static bool stop_after_one(struct pl_io *io)
{
    return ((struct probe *)(void *)io)->recv_all > 0;
}

struct rest {
    struct pl_job job; /* the first member */
    size_t bytes_max;
    bool (*stop_if)(struct pl_io *io);
};

static void take_rest(struct pl_job *job)
{
    struct rest *rest = (struct rest *)(void *)job;
    loop->ops->recv_rest(loop->engine, &probe.io, rest->bytes_max, rest->stop_if);
}

static void rest_of(size_t bytes_max, bool (*stop_if)(struct pl_io *io))
{
    struct rest rest = {.job.run = take_rest, .bytes_max = bytes_max, .stop_if = stop_if};
    pl_job_init(&rest.job);
    pl_loop_reap_later(loop, &rest.job);
    turn();
}

static void what_has_arrived_can_be_taken_at_the_end(void **state)
{
    (void)state;
    open_pair(0);
    rest_of(1000, stop_never); /* nothing there: does not wait */
    raw_send(peer, "0123456789", 10);
    raw_fin(peer);
    turn();
    rest_of(4, stop_never);
    assert_int_equal(probe.recv_all, 4);
    rest_of(1000, stop_after_one);
    assert_int_equal(probe.recv_all, 4);
    faults_start((struct faults){.name = "recv", .nth = 1, .error = EINTR});
    rest_of(1000, stop_never);
    faults_stop();
    assert_int_equal(probe.recv_all, 10);
    assert_string_equal(probe.history, "rr"); /* the FIN is not told */
    close_pair();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(data_then_fin_once_and_then_rest),
        TEST(a_bounded_number_of_reads_a_turn),
        TEST(interruptions_do_not_reach_the_owner),
        TEST(what_came_before_a_reset_is_told_before_it),
        TEST(nothing_is_read_while_stopped),
        TEST(a_handler_may_stop_reading),
        TEST(a_reset_is_told_while_stopped_and_once),
        TEST(a_hang_up_while_stopped_parks_the_fd),
        TEST(a_blocked_send_is_told_once_when_it_may_go_on),
        TEST(pieces_are_sent_in_one),
        TEST(interrupted_sends_are_tried_again),
        TEST(sending_to_a_dead_peer_is_an_error_and_no_signal),
        TEST(a_kernel_that_will_not_watch_is_an_error),
        TEST(one_that_will_not_stop_watching_is_one_too),
        TEST(after_detach_nothing_is_told),
        TEST(files_are_sent_from_their_offset),
        TEST(a_file_that_blocks_goes_on_where_it_was),
        TEST(what_sendfile_cannot_do_is_told_apart),
        TEST(a_file_to_a_dead_peer_is_an_error_and_no_signal),
        TEST(what_has_arrived_can_be_taken_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
