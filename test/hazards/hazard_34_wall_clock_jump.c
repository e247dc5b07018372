/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 34: somebody sets the clock, and timers fire in a storm, or not for a year; connections
 * idle out at once, or never.
 *
 * Timers, limits and deadlines are reckoned on CLOCK_MONOTONIC, which nobody can set; the wall
 * clock is not even read by a loop (G7, G8: a deadline is a duration). Here clock_gettime(2) is
 * this program's own: it counts who reads which clock, and makes either jump. So what follows a
 * jump, and what does not, is seen and not guessed. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"
#include "sys/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { HOUR_MS = 3600 * 1000, YEAR_S = 365 * 24 * 3600 };

static _Atomic long wall_jump_s, monotonic_jump_s;
static _Atomic unsigned wall_reads, monotonic_reads;

/* In place of libc's, for everything in this program. */
int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    long result = syscall(SYS_clock_gettime, clock, ret_now);
    bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    atomic_fetch_add(is_wall ? &wall_reads : &monotonic_reads, 1);
    ret_now->tv_sec += is_wall ? wall_jump_s : monotonic_jump_s;
    return (int)result;
}

time_t time(time_t *ret_now)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_now) {
        *ret_now = now.tv_sec;
    }
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret_now, void *restrict zone)
{
    (void)zone;
    ret_now->tv_sec = time(NULL);
    ret_now->tv_usec = 0;
    return 0;
}

static void reset_clocks(void)
{
    wall_jump_s = monotonic_jump_s = 0;
    wall_reads = monotonic_reads = 0;
}

/* The library reads its clocks through the functions above; else the other tests mean nothing. */
static void the_jump_reaches_the_library(void **state)
{
    (void)state;
    reset_clocks();
    uint64_t wall_ns = sys_realtime_ns(), monotonic_ns = sys_monotonic_ns();
    wall_jump_s = YEAR_S;
    monotonic_jump_s = HOUR_MS / 1000;
    assert_true(sys_realtime_ns() - wall_ns >= YEAR_S * 1000000000ull);
    assert_true(sys_monotonic_ns() - monotonic_ns >= HOUR_MS * 1000000ull);
    assert_int_equal(wall_reads, 2);
    assert_int_equal(monotonic_reads, 2);
}

static void count(struct peal_timer *timer, void *user)
{
    (void)timer;
    ++*(unsigned *)user;
}

static void timers_do_not_see_the_wall_clock_jump(void **state)
{
    static const long jumps_s[] = {-10L * YEAR_S, 10L * YEAR_S, -1, 1, -3600, 3600};
    struct rig rig;
    struct peal_timer soon, late, tick;
    unsigned soon_fired = 0, late_fired = 0, ticks = 0;
    (void)state;
    reset_clocks();
    rig_open(&rig, NULL);
    peal_timer_init(&soon, rig.loop, count, &soon_fired);
    peal_timer_init(&late, rig.loop, count, &late_fired);
    peal_timer_init(&tick, rig.loop, count, &ticks);
    peal_timer_start(&late, HOUR_MS, 0);
    peal_timer_start(&tick, 5, 5);
    for (unsigned i = 0; i < sizeof jumps_s / sizeof jumps_s[0]; i++) {
        uint64_t began_ms = rig_now_ms();
        unsigned ticks_before = ticks;
        peal_timer_start(&soon, 20, 0);
        wall_jump_s = jumps_s[i];
        rig_until(&rig, soon_fired == i + 1);
        uint64_t elapsed_ms = rig_now_ms() - began_ms;
        assert_true(elapsed_ms >= 20);
        assert_true(ticks - ticks_before <= elapsed_ms / 5 + 2); /* no storm */
        assert_int_equal(late_fired, 0);
    }
    assert_true(ticks > 0);

    /* It is the other clock that they follow. */
    monotonic_jump_s = HOUR_MS / 1000;
    rig_until(&rig, late_fired == 1);
    assert_int_equal(wall_reads, 0);
    peal_timer_deinit(&tick);
    rig_close(&rig);
    assert_int_equal(wall_reads, 0);
}

static void nor_do_limits_and_deadlines(void **state)
{
    const struct peal_server_options options = {.limits = {.idle_ms = HOUR_MS}};
    struct rig rig;
    (void)state;
    reset_clocks();
    rig_open(&rig, &options);
    int idle = rig_connect(&rig);
    wall_jump_s = YEAR_S;
    rig_turn_ms(&rig, 20);
    assert_int_equal(peal_conn_state(rig.witness.conn), PEAL_CONN_OPEN);
    wall_jump_s = -YEAR_S;
    rig_turn_ms(&rig, 20);
    assert_int_equal(peal_conn_state(rig.witness.conn), PEAL_CONN_OPEN);

    /* A stop with an hour to go is not cut short by a year, and not prolonged. */
    peal_server_stop(rig.server, HOUR_MS);
    wall_jump_s = YEAR_S;
    rig_turn_ms(&rig, 20);
    assert_int_equal(rig.stopped, 0);
    peal_server_stop(rig.server, 30);
    wall_jump_s = -YEAR_S;
    rig_until(&rig, rig.stopped == 1);
    assert_int_equal(rig.report.cut_off, 1);
    assert_true(rig.report.took_ns < HOUR_MS * 1000000ull);
    assert_true(rig.witness.record.lifetime_ns < HOUR_MS * 1000000ull);
    raw_close(idle);
    rig_close(&rig);
    assert_int_equal(wall_reads, 0);
    assert_true(monotonic_reads > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_jump_reaches_the_library),
        TEST(timers_do_not_see_the_wall_clock_jump),
        TEST(nor_do_limits_and_deadlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
