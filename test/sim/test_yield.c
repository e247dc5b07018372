/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that yields to another would never give way once the choice stream is used up, and a run
 * that is replayed from a short stream would be called a spin of the program's. */
#include "sys/sim/sim.h"
#include "sys/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static atomic_bool is_set;

static void *set(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

/* The stream is empty: every draw gives 0, which is "no thread is interrupted". */
static void yield_until_set(enum pl_sim_schedule schedule)
{
    struct sys_thread thread;
    pl_choice_init_replay(&pl_sim.choice, NULL, 0);
    pl_sim_begin();
    pl_sim.schedule = schedule;
    pl_sim.switch_share = 100;
    atomic_store(&is_set, false);
    assert_int_equal(sys_thread_start(&thread, "setter", set, &is_set), 0);
    assert_false(atomic_load(&is_set)); /* else this tests nothing */
    while (!atomic_load(&is_set)) {
        sys_thread_yield();
    }
    sys_thread_join(&thread);
    pl_sim_end();
    pl_choice_deinit(&pl_sim.choice);
}

static void yields_at_random(void **state)
{
    (void)state;
    yield_until_set(PL_SIM_RANDOM);
}

static void yields_by_priority(void **state)
{
    (void)state;
    yield_until_set(PL_SIM_PRIORITIES);
}

static void yields_when_exploring(void **state)
{
    (void)state;
    yield_until_set(PL_SIM_EVERY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yields_at_random),
        cmocka_unit_test(yields_by_priority),
        cmocka_unit_test(yields_when_exploring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
