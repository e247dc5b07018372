/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a loop would fail where io_uring is forbidden, hang or leak when the kernel ends a
 * ring under it, go deaf after more came at once than the ring has room for, or keep buffers of
 * connections that have ended. */
#include "loop/engine_uring.h"
#include "support/baseline.h"
#include "support/faults.h"
#include "support/io_probe.h"
#include "support/on_uring.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- where the system does not give a ring */

struct log {
    unsigned warnings;
    char last[512];
};

static void on_log(enum peal_log_level level, const char *text, void *user)
{
    struct log *log = user;
    log->warnings += level == PEAL_LOG_WARNING ? 1 : 0;
    strncpy(log->last, text, sizeof log->last - 1);
}

static void count_task(void *user)
{
    ++*(unsigned *)user;
}

/* A loop that asks for io_uring while the n-th call of that name fails. */
static int loop_with_fault(const char *name, unsigned nth, int error, struct log *log,
                           struct peal_loop **ret_loop)
{
    memset(log, 0, sizeof *log);
    peal_log_set(on_log, log);
    faults_start((struct faults){.name = name, .nth = nth, .error = error});
    int result = peal_loop_new(&(struct peal_loop_options){.engine = "io_uring"}, ret_loop);
    assert_int_equal(faults_stop(), 1);
    peal_log_set(NULL, NULL);
    return result;
}

static void expect_works(struct peal_loop *loop)
{
    unsigned ran = 0;
    assert_int_equal(peal_loop_post(loop, count_task, &ran), 0);
    assert_int_equal(peal_loop_turn(loop, 10), 1);
    assert_int_equal(ran, 1);
    peal_loop_free(loop);
}

static void where_it_is_forbidden_or_unknown_the_loop_runs_on_epoll(void **state)
{
    static const int errors[] = {EPERM, EACCES, ENOSYS, EINVAL};
    (void)state;
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct peal_loop *loop;
        struct log log;
        assert_int_equal(loop_with_fault("io_uring_setup", 1, errors[i], &log, &loop), 0);
        assert_string_equal(peal_loop_engine(loop), "epoll");
        assert_int_equal(log.warnings, 1);
        assert_non_null(strstr(log.last, "io_uring"));
        assert_non_null(strstr(log.last, peal_strerror(-errors[i])));
        expect_works(loop);
    }
}

/* What would hinder epoll as well is no reason to try it. */
static void a_shortage_is_an_error_and_no_reason_for_epoll(void **state)
{
    static const int errors[] = {ENOMEM, EMFILE, ENFILE};
    (void)state;
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct peal_loop *loop = NULL;
        struct log log;
        assert_int_equal(loop_with_fault("io_uring_setup", 1, errors[i], &log, &loop), -errors[i]);
        assert_null(loop);
        assert_int_equal(log.warnings, 0);
    }
}

static void a_kernel_without_buffer_rings_means_epoll(void **state)
{
    struct peal_loop *loop;
    struct log log;
    (void)state;
    on_uring_or_skip();
    assert_int_equal(loop_with_fault("io_uring_register", 2, EINVAL, &log, &loop), 0);
    assert_string_equal(peal_loop_engine(loop), "epoll");
    assert_int_equal(log.warnings, 1);
    expect_works(loop);
}

static void a_ring_that_cannot_be_registered_serves_by_its_fd(void **state)
{
    struct peal_loop *loop;
    struct log log;
    (void)state;
    on_uring_or_skip();
    assert_int_equal(loop_with_fault("io_uring_register", 1, EBUSY, &log, &loop), 0);
    assert_string_equal(peal_loop_engine(loop), "io_uring");
    assert_int_equal(log.warnings, 0);
    expect_works(loop);
}

static void an_engine_that_nobody_knows_is_refused(void **state)
{
    struct peal_loop *loop = NULL;
    (void)state;
    assert_int_equal(peal_loop_new(&(struct peal_loop_options){.engine = "kqueue"}, &loop),
                     -EINVAL);
    assert_null(loop);
}

/* ---- an enter that fails */

static void failures_that_pass_are_not_told(void **state)
{
    static const int errors[] = {EINTR, EAGAIN, EBUSY, ENOMEM};
    struct rig rig;
    (void)state;
    on_uring_or_skip();
    rig_open(&rig, NULL);
    rig.witness.echo = true;
    int raw = rig_connect(&rig);
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        for (unsigned nth = 1; nth <= 3; nth++) {
            uint64_t before = rig.witness.bytes;
            raw_send(raw, "hello", 5);
            faults_start((struct faults){.name = "io_uring_enter", .nth = nth, .error = errors[i]});
            rig_until(&rig, rig.witness.bytes == before + 5);
            rig_turns(&rig, 3);
            assert_int_equal(faults_stop(), 1);
            raw_expect(raw, "hello");
        }
    }
    raw_close(raw);
    rig_close(&rig);
}

/* What has come already is told before the kernel is asked for more. */
static int turn_until_error(struct peal_loop *loop)
{
    int result = 1;
    for (unsigned i = 0; result == 1 && i < 10000; i++) {
        result = peal_loop_turn(loop, 10);
    }
    return result;
}

static void nothing(struct peal_watch *watch, uint32_t events, void *user)
{
    (void)watch;
    (void)events;
    (void)user;
}

/* All kinds of things are under way when the kernel ends it: connections that read, that are
 * paused with bytes kept, that are blocked, that have a send in the queue and that are closing, a
 * listener and a watch. */
static void break_a_busy_loop(int error)
{
    enum { CONNS = 5, SIZE = 8 * 1024 * 1024 };
    struct rig rig;
    struct peal_conn *conns[CONNS];
    struct peal_watch *watch;
    int raws[CONNS];
    char *large = calloc(1, SIZE);
    assert_non_null(large);
    rig_open(&rig, NULL);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(peal_watch_open(rig.loop, fd, PEAL_READABLE, nothing, NULL, &watch), 0);
    for (unsigned i = 0; i < CONNS; i++) {
        raws[i] = rig_connect(&rig);
        conns[i] = rig.witness.conn;
    }
    peal_conn_pause_reading(conns[1]);
    raw_send(raws[1], "kept", 4);
    assert_int_equal(peal_conn_send(conns[2], large, SIZE), SIZE);
    peal_conn_close(conns[3]);
    rig_turns(&rig, 3);
    rig.loop->engine->batch = 100;
    assert_int_equal(peal_conn_send(conns[4], "never sent", 10), 10);
    faults_start(
        (struct faults){.name = "io_uring_enter", .nth = 1, .for_ever = true, .error = error});
    assert_int_equal(turn_until_error(rig.loop), -error);
    assert_int_equal(rig.witness.closed, 0); /* what the error means is the owner's to say */
    assert_int_equal(peal_loop_run(rig.loop), -error);
    peal_loop_free(rig.loop);
    assert_true(faults_stop() >= 2);
    assert_int_equal(rig.witness.opened, CONNS);
    assert_int_equal(rig.witness.closed, CONNS);
    assert_int_equal(rig.witness.causes[PEAL_CAUSE_LOOP_ENDED], CONNS);
    peal_server_unref(rig.server);
    peal_watch_close(watch);
    close(fd);
    for (unsigned i = 0; i < CONNS; i++) {
        raw_drain(raws[i], &(int){0}); /* each ends */
        raw_close(raws[i]);
    }
    free(large);
}

static void a_broken_ring_is_told_and_everything_still_ends(void **state)
{
    (void)state;
    on_uring_or_skip();
    break_a_busy_loop(EBADF);
    break_a_busy_loop(ENXIO);
    break_a_busy_loop(EPERM);
}

/* A short write on a ring that has broken: the rest cannot be awaited, but what was taken is
 * taken. */
static void what_was_taken_counts_on_a_broken_ring(void **state)
{
    enum { SIZE = 8 << 20 };
    struct rig rig;
    (void)state;
    on_uring_or_skip();
    rig_open(&rig, NULL);
    int raw = rig_connect(&rig);
    unsigned char *bytes = calloc(1, SIZE);
    rig.loop->engine->broken = -EBADF;
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, SIZE), SIZE);
    peal_loop_free(rig.loop);
    const struct peal_close_record *record = &rig.witness.record;
    assert_int_equal(record->error, -EBADF);
    assert_int_equal(record->bytes_accepted, SIZE);
    assert_true(record->bytes_taken > 0 && record->bytes_unsent > 0);
    peal_server_unref(rig.server);
    raw_close(raw);
    free(bytes);
}

static void shortage_for_ever_is_told_in_the_end(void **state)
{
    struct rig rig;
    (void)state;
    on_uring_or_skip();
    rig_open(&rig, NULL);
    int raw = rig_connect(&rig);
    faults_start(
        (struct faults){.name = "io_uring_enter", .nth = 1, .for_ever = true, .error = EAGAIN});
    assert_int_equal(turn_until_error(rig.loop), -EAGAIN);
    assert_true(faults_seen() > 100);
    peal_loop_free(rig.loop);
    faults_stop();
    assert_int_equal(rig.witness.closed, 1);
    peal_server_unref(rig.server);
    raw_close(raw);
}

/* No-ops for nobody. */
static bool fill_queue(struct pl_engine *engine, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = uring_sqe_new(engine);
        if (!sqe) {
            return false;
        }
        sqe->opcode = IORING_OP_NOP;
        sqe->user_data = OP_NONE;
    }
    return true;
}

static void break_inside(struct probe *probe, char what)
{
    struct pl_engine *engine = probe->io.loop->engine;
    if (what == 'r') {
        faults_start(
            (struct faults){.name = "io_uring_enter", .nth = 1, .for_ever = true, .error = EBADF});
        assert_false(fill_queue(engine, engine->ring.sq_mask + 2));
        faults_stop();
    }
}

/* The queue must be submitted in the midst of a handler, and the kernel refuses. */
static void a_ring_may_break_inside_a_handler(void **state)
{
    struct probe probe;
    int fds[2];
    (void)state;
    struct peal_loop *loop = on_uring_loop();
    raw_pair(fds);
    probe_attach(&probe, loop, fds[0], PL_IO_RECV);
    probe.also = break_inside;
    raw_send(fds[1], "hello", 5);
    assert_int_equal(turn_until_error(loop), -EBADF);
    assert_int_equal(probe.recv_all, 5);
    assert_int_equal(peal_loop_turn(loop, 10), -EBADF); /* from then on */
    probe_detach(&probe);                               /* nothing is in flight any more */
    raw_close(fds[0]);
    raw_close(fds[1]);
    peal_loop_free(loop);
}

/* ---- more completions at once than there is room for */

static void overflow(struct peal_loop *loop)
{
    struct pl_engine *engine = loop->engine;
    assert_true(fill_queue(engine, engine->ring.cq_mask + 100));
}

/* What was received meanwhile has no room either: the receives, the accept and the wake-up end
 * without being asked, and start anew. */
static void after_an_overflow_all_goes_on(void **state)
{
    enum { CONNS = 20, ROUNDS = 4 };
    struct rig rig;
    int raws[ROUNDS * CONNS];
    unsigned ran = 0;
    (void)state;
    on_uring_or_skip();
    rig_open(&rig, NULL);
    rig.witness.echo = true;
    for (unsigned round = 0; round < ROUNDS; round++) {
        overflow(rig.loop);
        unsigned count = (round + 1) * CONNS;
        for (unsigned i = round * CONNS; i < count; i++) {
            raws[i] = raw_connect(&rig.address);
        }
        uint64_t before = rig.witness.bytes;
        for (unsigned i = 0; i < count; i++) {
            raw_send(raws[i], "hello", 5);
        }
        assert_int_equal(peal_loop_post(rig.loop, count_task, &ran), 0);
        rig_until(&rig, rig.witness.bytes == before + 5 * (uint64_t)count);
        rig_turns(&rig, 3);
        assert_int_equal(rig.witness.opened, count);
        for (unsigned i = 0; i < count; i++) {
            raw_expect(raws[i], "hello");
        }
    }
    assert_int_equal(ran, ROUNDS);
    for (unsigned i = 0; i < ROUNDS * CONNS; i++) {
        raw_close(raws[i]);
    }
    rig_close(&rig);
}

static void a_wake_up_without_room_is_not_the_last(void **state)
{
    (void)state;
    struct peal_loop *loop = on_uring_loop();
    assert_int_equal(peal_loop_turn(loop, 0), 1);
    overflow(loop);
    loop->ops->wake(loop->engine);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(peal_loop_turn(loop, 0), 1);
    }
    for (unsigned i = 0; i < 3; i++) {
        loop->ops->wake(loop->engine);
        assert_int_equal(peal_loop_turn(loop, -1), 1); /* or it sleeps for ever */
    }
    peal_loop_free(loop);
}

/* ---- cancelled and done at the same time */

static void bytes_that_race_with_a_detach_cost_no_buffer(void **state)
{
    (void)state;
    struct peal_loop *loop = on_uring_loop();
    for (unsigned i = 0; i < 3 * BUFFERS_A_BLOCK; i++) {
        struct probe probe;
        int fds[2];
        raw_pair(fds);
        probe_attach(&probe, loop, fds[0], PL_IO_RECV);
        if (i % 3 != 0) {
            assert_int_equal(peal_loop_turn(loop, 0), 1);
        }
        raw_send(fds[1], "too late", 8);
        if (i % 2 == 0) {
            (void)sys_uring_enter(&loop->engine->ring, 0, 0); /* the completion is there already */
        }
        probe_end(&probe);
        assert_string_equal(probe.history, "");
        assert_true(probe.detached);
        raw_close(fds[0]);
        raw_close(fds[1]);
    }
    assert_int_equal(loop->engine->blocks_count, 1);
    peal_loop_free(loop);
}

static void end_one_way_or_another(struct peal_conn *conn, struct witness *witness)
{
    switch (witness->opened % 4) {
    case 0:
        peal_conn_abort(conn);
        return;
    case 1:
        peal_conn_close(conn);
        return;
    case 2:
        peal_conn_shutdown(conn);
        return;
    default: /* its peer ends it */
        return;
    }
}

static void many_connections_leave_nothing_behind(void **state)
{
    enum { CONNS = 400, ROUNDS = 5 };
    struct rig rig;
    struct baseline after_first = {0};
    int raws[CONNS];
    (void)state;
    on_uring_or_skip();
    rig_open(&rig, NULL);
    rig.witness.also_open = end_one_way_or_another;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < CONNS; i++) {
            raws[i] = raw_connect(&rig.address);
            (void)send(raws[i], "hello", 5, MSG_NOSIGNAL); /* may be reset already */
            if (i % 50 == 0) {
                rig_turns(&rig, 1);
            }
        }
        rig_until(&rig, rig.witness.opened == round * CONNS);
        for (unsigned i = 0; i < CONNS; i++) {
            if (i % 3 == 0) {
                raw_reset(raws[i]);
            } else {
                raw_close(raws[i]);
            }
        }
        rig_until(&rig, rig.witness.closed == rig.witness.opened);
        rig_turns(&rig, 2);
        if (round == 1) {
            after_first = baseline_take();
        }
    }
    struct baseline after_all = baseline_take(); /* spare buffers come and go, a bounded number */
    assert_int_equal(after_all.fds, after_first.fds);
    assert_true(after_all.allocations < after_first.allocations + CONNS / 4);
    rig_close(&rig);
}

static int teardown(void **state)
{
    faults_stop(); /* one test's failure is not to be the next one's */
    peal_log_set(NULL, NULL);
    return baseline_teardown(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(where_it_is_forbidden_or_unknown_the_loop_runs_on_epoll),
        TEST(a_shortage_is_an_error_and_no_reason_for_epoll),
        TEST(a_kernel_without_buffer_rings_means_epoll),
        TEST(a_ring_that_cannot_be_registered_serves_by_its_fd),
        TEST(an_engine_that_nobody_knows_is_refused),
        TEST(failures_that_pass_are_not_told),
        TEST(a_broken_ring_is_told_and_everything_still_ends),
        TEST(what_was_taken_counts_on_a_broken_ring),
        TEST(shortage_for_ever_is_told_in_the_end),
        TEST(a_ring_may_break_inside_a_handler),
        TEST(after_an_overflow_all_goes_on),
        TEST(a_wake_up_without_room_is_not_the_last),
        TEST(bytes_that_race_with_a_detach_cost_no_buffer),
        TEST(many_connections_leave_nothing_behind),
    };
    on_uring_ask();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
