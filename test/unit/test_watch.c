/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a foreign fd would be deaf, make the loop spin (G8), or be called for events of
 * another that had its number (hazard 13) or of one that is closed (hazard 27). */
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"

#include <peal.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct peal_loop *loop;

/* A watch that notes what it is told, and does what it is told to. */
struct eye {
    struct peal_watch *watch;
    unsigned calls;
    uint32_t last, all; /* events: of the last call, of all of them */
    void (*also)(struct eye *eye);
    struct eye *other;
};

static void on_events(struct peal_watch *watch, uint32_t events, void *user)
{
    struct eye *eye = user;
    assert_ptr_equal(watch, eye->watch);
    assert_ptr_equal(peal_loop_current(), loop);
    assert_true(events != 0);
    eye->calls++;
    eye->last = events;
    eye->all |= events;
    if (eye->also) {
        eye->also(eye);
    }
}

static void eye_open(struct eye *eye, int fd, uint32_t events)
{
    memset(eye, 0, sizeof *eye);
    assert_int_equal(peal_watch_open(loop, fd, events, on_events, eye, &eye->watch), 0);
    assert_int_equal(peal_watch_fd(eye->watch), fd);
}

static void eye_close(struct eye *eye)
{
    eye->watch = peal_watch_close(eye->watch);
    assert_null(eye->watch);
}

static void turn(void)
{
    assert_int_equal(peal_loop_turn(loop, 10), 1);
}

static uint64_t events_so_far(void)
{
    struct peal_loop_stats stats;
    peal_loop_get_stats(loop, &stats);
    return stats.events;
}

static int new_eventfd(unsigned value)
{
    int fd = eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

static int setup(void **state)
{
    baseline_setup(state);
    return peal_loop_new(NULL, &loop);
}

static int teardown(void **state)
{
    peal_loop_free(loop);
    return baseline_teardown(state);
}

/* ---- what is told */

static void a_pipe_is_told_readable_and_then_hung_up(void **state)
{
    struct eye eye;
    int ends[2];
    char byte;
    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    eye_open(&eye, ends[0], PEAL_READABLE);
    turn();
    assert_int_equal(eye.calls, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    turn();
    turn(); /* level triggered: as long as it is not read */
    assert_int_equal(eye.calls, 2);
    assert_int_equal(eye.last, PEAL_READABLE);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    turn();
    assert_int_equal(eye.calls, 2);
    close(ends[1]);
    turn();
    assert_int_equal(eye.calls, 3);
    assert_int_equal(eye.last, PEAL_HANGUP);
    eye_close(&eye);
    close(ends[0]);
}

static void the_writing_end_of_a_pipe_is_told_its_fault(void **state)
{
    struct eye eye;
    int ends[2];
    char block[4096] = {0};
    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    eye_open(&eye, ends[1], PEAL_WRITABLE);
    turn();
    assert_int_equal(eye.last, PEAL_WRITABLE);
    while (write(ends[1], block, sizeof block) > 0) {
    }
    eye.calls = 0;
    turn();
    assert_int_equal(eye.calls, 0); /* full */
    close(ends[0]);
    turn();
    assert_true(eye.last & PEAL_FAULT);
    eye_close(&eye);
    close(ends[1]);
}

static void a_socket_is_told_all_that_was_asked_for(void **state)
{
    struct eye eye;
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    eye_open(&eye, ends[0], PEAL_READABLE | PEAL_WRITABLE);
    turn();
    assert_int_equal(eye.last, PEAL_WRITABLE);
    assert_int_equal(write(ends[1], "x", 1), 1);
    turn();
    assert_int_equal(eye.last, PEAL_READABLE | PEAL_WRITABLE);
    assert_int_equal(peal_watch_set(eye.watch, PEAL_READABLE), 0);
    turn();
    assert_int_equal(eye.last, PEAL_READABLE);
    shutdown(ends[1], SHUT_WR); /* one side only: no hang-up */
    turn();
    assert_int_equal(eye.last, PEAL_READABLE);
    close(ends[1]);
    turn();
    assert_true(eye.last & PEAL_HANGUP);
    eye_close(&eye);
    close(ends[0]);
}

/* ---- nothing asked for */

static void nothing_asked_for_is_nothing_told_and_does_not_spin(void **state)
{
    struct eye eye;
    int ends[2];
    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    eye_open(&eye, ends[0], PEAL_READABLE);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(peal_watch_set(eye.watch, 0), 0);
    turn();
    assert_int_equal(eye.calls, 0);
    close(ends[1]); /* a hang-up cannot be turned off in the kernel */
    uint64_t events = events_so_far();
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(peal_loop_turn(loop, 2), 1);
    }
    assert_int_equal(eye.calls, 0);
    assert_true(events_so_far() - events <= 1);
    assert_int_equal(peal_watch_set(eye.watch, 0), 0);
    assert_int_equal(peal_watch_set(eye.watch, PEAL_READABLE), 0);
    turn();
    assert_int_equal(eye.last, PEAL_READABLE | PEAL_HANGUP); /* nothing was lost meanwhile */
    eye_close(&eye);
    close(ends[0]);
}

static void ask_for_nothing(struct eye *eye)
{
    assert_int_equal(peal_watch_set(eye->watch, 0), 0);
}

static void a_callback_may_ask_for_nothing(void **state)
{
    struct eye eye;
    int fd = new_eventfd(1);
    (void)state;
    eye_open(&eye, fd, PEAL_READABLE);
    eye.also = ask_for_nothing;
    turn();
    turn();
    assert_int_equal(eye.calls, 1);
    assert_int_equal(peal_watch_set(eye.watch, PEAL_READABLE), 0);
    turn();
    assert_int_equal(eye.calls, 2);
    eye_close(&eye);
    close(fd);
}

/* ---- closing in callbacks, stale events */

static void close_self(struct eye *eye)
{
    int fd = peal_watch_fd(eye->watch);
    struct peal_watch *watch = eye->watch;
    eye_close(eye);
    assert_int_equal(peal_watch_set(watch, PEAL_WRITABLE), 0); /* its memory stays for the turn */
    close(fd);
}

static void a_watch_may_be_closed_in_its_own_callback(void **state)
{
    struct eye eye;
    (void)state;
    eye_open(&eye, new_eventfd(1), PEAL_READABLE);
    eye.also = close_self;
    turn();
    turn();
    assert_int_equal(eye.calls, 1);
}

static void close_both(struct eye *eye)
{
    struct eye *other = eye->other;
    close_self(eye);
    close_self(other);
}

static void one_closed_in_its_own_batch_is_not_told(void **state)
{
    struct eye eyes[2];
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        eye_open(&eyes[i], new_eventfd(1), PEAL_READABLE);
        eyes[i].also = close_both;
        eyes[i].other = &eyes[1 - i];
    }
    turn();
    turn();
    assert_int_equal(eyes[0].calls + eyes[1].calls, 1);
}

static struct eye successor;

/* Closes the other one and its fd, and watches a new fd of the same number. */
static void replace_other(struct eye *eye)
{
    struct eye *other = eye->other;
    int number = peal_watch_fd(other->watch);
    close_self(other);
    int fd = new_eventfd(0);
    if (fd != number) {
        assert_int_equal(dup3(fd, number, O_CLOEXEC), number);
        close(fd);
    }
    eye_open(&successor, number, PEAL_READABLE);
    close_self(eye);
}

static void an_event_of_a_former_fd_does_not_reach_its_successor(void **state)
{
    struct eye eyes[2];
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        eye_open(&eyes[i], new_eventfd(1), PEAL_READABLE);
        eyes[i].also = replace_other;
        eyes[i].other = &eyes[1 - i];
    }
    turn();
    turn();
    assert_int_equal(eyes[0].calls + eyes[1].calls, 1);
    assert_int_equal(successor.calls, 0);
    int fd = peal_watch_fd(successor.watch);
    const uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof one), sizeof one);
    turn();
    assert_int_equal(successor.calls, 1);
    eye_close(&successor);
    close(fd);
}

static void a_duplicate_keeps_no_registration(void **state)
{
    struct eye eye;
    int fd = new_eventfd(0), duplicate = dup(fd);
    const uint64_t one = 1;
    (void)state;
    eye_open(&eye, fd, PEAL_READABLE);
    turn();
    eye_close(&eye);
    close(fd);
    turn();
    uint64_t events = events_so_far();
    assert_int_equal(write(duplicate, &one, sizeof one), sizeof one);
    turn();
    turn();
    assert_int_equal(eye.calls, 0);
    assert_int_equal(events_so_far(), events);
    close(duplicate);
}

/* ---- refusals and failures */

static bool on_epoll(void)
{
    return strcmp(peal_loop_engine(loop), "epoll") == 0;
}

static void what_cannot_be_watched_is_refused(void **state)
{
    struct peal_watch *untouched = (struct peal_watch *)(void *)&loop, *watch = untouched;
    struct eye eye;
    FILE *file = tmpfile();
    int fd = new_eventfd(0);
    (void)state;
    assert_non_null(file);
    assert_int_equal(peal_watch_open(loop, fileno(file), PEAL_READABLE, on_events, NULL, &watch),
                     -EPERM);
    assert_int_equal(peal_watch_open(loop, 900, PEAL_READABLE, on_events, NULL, &watch), -EBADF);
    assert_int_equal(peal_watch_open(loop, -1, PEAL_READABLE, on_events, NULL, &watch), -EINVAL);
    assert_int_equal(peal_watch_open(loop, fd, PEAL_READABLE, NULL, NULL, &watch), -EINVAL);
    assert_int_equal(peal_watch_open(loop, fd, PEAL_HANGUP, on_events, NULL, &watch), -EINVAL);
    eye_open(&eye, fd, 0);
    if (on_epoll()) {
        assert_int_equal(peal_watch_open(loop, fd, PEAL_READABLE, on_events, NULL, &watch),
                         -EEXIST);
    }
    assert_int_equal(peal_watch_set(eye.watch, PEAL_FAULT), -EINVAL);
    assert_ptr_equal(watch, untouched);
    assert_null(peal_watch_close(NULL));
    eye_close(&eye);
    fclose(file);
    close(fd);
}

static void failures_leave_things_as_they_were(void **state)
{
    struct eye eye;
    int fd = new_eventfd(1);
    unsigned failures = 0;
    (void)state;
    for (unsigned nth = 1;; nth++) {
        struct baseline before = baseline_take();
        faults_start((struct faults){.nth = nth, .error = ENOMEM});
        int result = peal_watch_open(loop, fd, PEAL_READABLE, on_events, &eye, &eye.watch);
        if (faults_stop() == 0) {
            assert_int_equal(result, 0);
            peal_watch_close(eye.watch);
            turn();
            break;
        }
        assert_int_equal(result, -ENOMEM);
        baseline_check(&before);
        failures++;
    }
    assert_int_equal(failures, 2); /* the memory, the kernel */
    eye_open(&eye, fd, PEAL_READABLE);
    faults_start((struct faults){.kind = 's', .nth = 1, .error = ENOMEM});
    int result = peal_watch_set(eye.watch, PEAL_WRITABLE);
    assert_int_equal(result, faults_stop() ? -ENOMEM : 0); /* not every engine makes a call */
    for (int turns = 0; eye.last == 0 && turns < 5; turns++) {
        turn();
    }
    assert_int_equal(eye.last, result < 0 ? PEAL_READABLE : PEAL_WRITABLE);
    eye_close(&eye);
    close(fd);
}

/* ---- the end of the loop */

static int refused_in_drop;

static void open_in_drop(void *user)
{
    struct eye *eye = user;
    refused_in_drop = peal_watch_open(loop, 0, PEAL_READABLE, on_events, eye, &eye->watch);
    assert_int_equal(peal_watch_set(eye->watch, PEAL_READABLE), PEAL_ERR_LOOP_ENDED);
}

static void a_loop_that_ends_lets_go_of_its_watches(void **state)
{
    struct peal_loop *outer = loop;
    struct eye eye, closed_in_time;
    struct peal_watch *watch;
    int fd = new_eventfd(1), other_fd = new_eventfd(1);
    (void)state;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    eye_open(&eye, fd, PEAL_READABLE);
    eye_open(&closed_in_time, other_fd, PEAL_READABLE);
    eye_close(&closed_in_time); /* reaped by the end */
    assert_int_equal(peal_loop_post_or_drop(loop, open_in_drop, open_in_drop, &eye), 0);
    peal_loop_free(loop);
    assert_int_equal(refused_in_drop, PEAL_ERR_LOOP_ENDED);
    assert_int_equal(peal_watch_set(eye.watch, PEAL_READABLE), PEAL_ERR_LOOP_ENDED);
    assert_int_equal(eye.calls, 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC); /* the fd is not the loop's to close */
    watch = eye.watch;
    loop = outer;
    peal_watch_close(watch);
    close(fd);
    close(other_fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_pipe_is_told_readable_and_then_hung_up),
        TEST(the_writing_end_of_a_pipe_is_told_its_fault),
        TEST(a_socket_is_told_all_that_was_asked_for),
        TEST(nothing_asked_for_is_nothing_told_and_does_not_spin),
        TEST(a_callback_may_ask_for_nothing),
        TEST(a_watch_may_be_closed_in_its_own_callback),
        TEST(one_closed_in_its_own_batch_is_not_told),
        TEST(an_event_of_a_former_fd_does_not_reach_its_successor),
        TEST(a_duplicate_keeps_no_registration),
        TEST(what_cannot_be_watched_is_refused),
        TEST(failures_leave_things_as_they_were),
        TEST(a_loop_that_ends_lets_go_of_its_watches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
