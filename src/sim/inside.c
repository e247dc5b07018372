/* SPDX-License-Identifier: BSD-2-Clause */
/* What a scenario may call: thin words for the simulated system. */
#include <peal/sim.h>

#include "sys/sim/sim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t peal_sim_below(uint64_t limit)
{
    return pl_choice_below(&pl_sim.choice, limit);
}

bool peal_sim_chance(unsigned percent)
{
    percent = percent < 100 ? percent : 100;
    return percent > 0 && pl_choice_below(&pl_sim.choice, 100) >= 100 - percent;
}

void peal_sim_begin_step(const char *label)
{
    TRACE("## %s", label);
    pl_choice_begin(&pl_sim.choice, label);
}

void peal_sim_end_step(void)
{
    pl_choice_end(&pl_sim.choice);
}

void peal_sim_fail(const char *format, ...)
{
    char text[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pl_sim_fail("%s", text);
}

void peal_sim_note(const char *format, ...)
{
    if (pl_sim.is_traced) {
        char text[900];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        pl_sim_trace("## %s", text);
    }
}

void peal_sim_calm(void)
{
    TRACE("-- calm: nothing fails any more");
    pl_sim.is_calm = true;
}

void peal_sim_explore(bool on)
{
    pl_sim.is_exploring = on;
    pl_sim.choice.lists_draws = on && pl_sim.schedule == PL_SIM_EVERY;
}

uint64_t peal_sim_now_ms(void)
{
    return pl_sim.now_ns / 1000000u;
}

void peal_sim_sleep_ms(uint64_t ms)
{
    static const char nothing; /* nobody wakes it */
    uint64_t until_ns = pl_sim_after(ms < UINT64_MAX / 1000000u ? ms * 1000000u : PL_SIM_NEVER);
    pl_sim_point();
    while (pl_sim.now_ns < until_ns) {
        pl_sim_wait(&nothing, until_ns);
    }
}

void peal_sim_yield(void)
{
    pl_sim_point();
}

/* ---- threads */

struct peal_sim_thread {
    struct sys_thread thread;
    void (*fn)(void *user);
    void *user;
};

static void *thread_main(void *arg)
{
    struct peal_sim_thread *thread = arg;
    pl_sim_is_exempt = false;
    thread->fn(thread->user);
    return NULL;
}

struct peal_sim_thread *peal_sim_thread_start(const char *name, void (*fn)(void *user), void *user)
{
    struct peal_sim_thread *thread = pl_sim_take(sizeof *thread);
    bool was_exempt = pl_sim_is_exempt;
    thread->fn = fn;
    thread->user = user;
    pl_sim_is_exempt = true;
    int result = sys_thread_start(&thread->thread, name, thread_main, thread);
    pl_sim_is_exempt = was_exempt;
    if (result < 0) {
        pl_sim_fail("more than %d threads at once", PL_SIM_THREADS_MAX);
    }
    return thread;
}

void peal_sim_thread_join(struct peal_sim_thread *thread)
{
    sys_thread_join(&thread->thread);
    free(thread);
}

/* ---- the system */

void peal_sim_raise(int number)
{
    pl_sim_raise(number);
    pl_sim_point();
}

void peal_sim_add_host(const char *name, const char *address, uint64_t delay_ms)
{
    pl_sim_add_host(name, address, delay_ms * 1000000u);
}

void peal_sim_limit_fds(unsigned count)
{
    pl_sim.fds_max = count < PL_SIM_FDS_MAX ? count : PL_SIM_FDS_MAX - 1;
}

int peal_sim_open_file(const char *path)
{
    bool was_exempt = pl_sim_is_exempt;
    pl_sim_is_exempt = true;
    int fd = sys_open(path, O_RDWR | O_CREAT, 0600);
    pl_sim_is_exempt = was_exempt;
    return fd;
}

void peal_sim_close_file(int fd)
{
    sys_close(fd);
}

void peal_sim_write_file(const char *path, const void *data, size_t size)
{
    int fd = peal_sim_open_file(path);
    bool was_exempt = pl_sim_is_exempt;
    pl_sim_is_exempt = true;
    sys_write(fd, data, size);
    pl_sim_is_exempt = was_exempt;
    sys_close(fd);
}
