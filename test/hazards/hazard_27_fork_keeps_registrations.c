/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 27: a child, or a dup, that holds a copy of a socket would keep its registration alive
 * after Peal closed its own fd: epoll would go on reporting events for a connection that is gone,
 * and the peer would wait for a FIN that close(2) no longer sends.
 *
 * Peal removes a registration itself before it closes the fd, never by closing it, and ends the
 * stream with shutdown(2), which works on the connection and not on the fd. So copies change
 * nothing: the graceful close arrives, on_close comes once, and the loop hears no more (G1, G3,
 * G8). All fds are close-on-exec, so only a child that does not exec has copies at all. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct holder {
    pid_t pid;
    int leash; /* closed: the child goes */
};

static struct holder hold_copies(void)
{
    int ends[2];
    struct holder holder;
    char byte;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    holder.pid = fork();
    assert_true(holder.pid >= 0);
    if (holder.pid == 0) {
        close(ends[1]);
        ssize_t n = read(ends[0], &byte, 1);
        _exit(n != 0);
    }
    close(ends[0]);
    holder.leash = ends[1];
    return holder;
}

static void let_go(struct holder *holder)
{
    int status;
    close(holder->leash);
    assert_int_equal(waitpid(holder->pid, &status, 0), holder->pid);
    assert_int_equal(status, 0);
}

/* Whatever the peer does now, the loop is told nothing: turns find nothing to do. */
static void loop_hears_nothing(struct rig *rig)
{
    struct peal_loop_stats before, after;
    rig_turns(rig, 2);
    peal_loop_get_stats(rig->loop, &before);
    rig_turn_ms(rig, 50);
    peal_loop_get_stats(rig->loop, &after);
    assert_int_equal(after.events, before.events);
}

static void a_graceful_close_arrives_past_a_child(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct holder child = hold_copies();
    assert_int_equal(peal_conn_send(rig.witness.conn, "good bye", 8), 8);
    peal_conn_close(rig.witness.conn);
    rig_turns(&rig, 2);
    raw_expect(peer, "good bye");
    raw_expect_fin(peer);
    raw_fin(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_true(rig.witness.record.clean);
    loop_hears_nothing(&rig); /* both sides have ended: EPOLLHUP, for ever, if it listened */
    let_go(&child);
    raw_close(peer);
    rig_close(&rig);
}

static void no_event_of_an_aborted_connection_is_heard(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    int fd = peal_conn_fd(rig.witness.conn);
    struct holder child = hold_copies();
    peal_conn_abort(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* G3 */
    raw_expect_reset(peer);                   /* now, not when the child goes */
    loop_hears_nothing(&rig);

    /* The fd's number comes again, for a connection that the old one has nothing to do with. */
    int place = dup(0);
    int second = raw_connect(&rig.address);
    raw_close(place);
    rig_until(&rig, rig.witness.opened == 2);
    assert_int_equal(place, fd);
    assert_int_equal(peal_conn_fd(rig.witness.conn), fd);
    raw_send(second, "me", 2);
    rig_until(&rig, rig.witness.bytes == 2);
    assert_int_equal(rig.witness.closed, 1);
    let_go(&child);
    raw_close(peer);
    raw_close(second);
    rig_close(&rig);
}

static void nor_of_one_that_the_program_duplicated(void **state)
{
    struct rig rig;
    char text[5];
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    int copy = dup(peal_conn_fd(rig.witness.conn));
    assert_true(copy >= 0);
    raw_fin(peer);
    rig_until(&rig, rig.witness.closed == 1);
    raw_expect_fin(peer);
    loop_hears_nothing(&rig);
    assert_int_equal(read(copy, text, sizeof text), 0);
    raw_close(copy);
    raw_close(peer);
    rig_close(&rig);
}

/* The listener: who connects while only a child has it is nobody's connection here. */
static void nor_of_a_listener_that_a_child_holds(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    struct holder child = hold_copies();
    peal_server_stop(rig.server, 0);
    rig_until(&rig, rig.stopped == 1);
    int peer = raw_connect(&rig.address); /* the kernel's queue is the child's now */
    loop_hears_nothing(&rig);
    assert_int_equal(rig.witness.opened, 0);
    let_go(&child);
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_graceful_close_arrives_past_a_child),
        TEST(no_event_of_an_aborted_connection_is_heard),
        TEST(nor_of_one_that_the_program_duplicated),
        TEST(nor_of_a_listener_that_a_child_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
