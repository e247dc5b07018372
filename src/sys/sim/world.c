/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulated system: everything behind the seam (sys/sys.h) without a kernel.
 *
 * Model. The library is linked with this folder instead of sys_linux.c, and is otherwise byte for
 * byte the same. There is one world in a process, the variable pl_sim: clock, threads, fds,
 * sockets, names, memory, faults. What a program does in it depends on nothing but the program and
 * the choice stream (choice.c), so a run can be repeated, shrunk and kept.
 *
 *   choice.c   every decision, as a row of bytes        sched.c   threads under a baton, the clock
 *   fault.c    what strikes, when                       file.c    fds, eventfd, signalfd, files
 *   heap.c     memory that fails, and is kept back      epoll.c   events of files
 *   socket.c   the calls on sockets                     tcp.c, unix.c   what the other end notices
 *   names.c    hosts, interfaces, environment           uring*.c  io_uring: queues and operations
 *   world.c    begin, end, fail; text
 *
 * Without a run the world is there too, with one thread, no faults and usual buffers: that is how
 * the conformance scripts see it. A run (pl_sim_begin to pl_sim_end) is strict: a call on an fd
 * that is not open, a mutex unlocked by a stranger, memory written after it was freed, and anything
 * left at the end are failures. The first failure ends the run, and with it the process: threads
 * may be in the midst of anything. So a runner puts runs into a process of their own.
 *
 * True to Linux. What the calls answer is checked against the real kernel by test/conform, which
 * runs the same scripts on both. Beyond that the simulation is freer than the kernel where the
 * manual pages are: errors come at calls where they may come, not only where a given version makes
 * them.
 *
 * Not simulated: datagrams, urgent data, edge-triggered epoll, fork, a second process. */
#include "sys/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 1024 };
#define START_NS    1000000000000u
#define REALTIME_NS 1750000000000000000u

struct pl_sim pl_sim = {.now_ns = START_NS, .began_ns = START_NS};

void pl_sim_begin(void)
{
    struct pl_choice choice = pl_sim.choice;
    bool is_traced = pl_sim.is_traced;
    void (*on_fail)(const char *text) = pl_sim.on_fail;
    void (*on_fault)(enum pl_sim_fault kind) = pl_sim.on_fault;
    memset(&pl_sim, 0, sizeof pl_sim);
    pl_sim.on_fault = on_fault;
    pl_sim.choice = choice;
    pl_sim.is_traced = is_traced;
    pl_sim.on_fail = on_fail;
    pl_sim.now_ns = pl_sim.began_ns = START_NS;
    pl_sim.is_strict = true;
    sigemptyset(&pl_sim.signals);
    pl_sim_threads_begin();
}

void pl_sim_end(void)
{
    pl_sim.is_calm = true;
    pl_sim_threads_end();
    pl_sim_files_end();
    pl_sim_heap_end();
    pl_sim_network_end();
    pl_sim_hosts_end();
    pl_sim.is_strict = false;
}

void pl_sim_fail(const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (pl_sim.on_fail) {
        pl_sim.on_fail(text);
    }
    fprintf(stderr, "simulation: %s\n", text);
    abort();
}

void pl_sim_trace(const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    uint64_t us = (pl_sim.now_ns - pl_sim.began_ns) / 1000;
    fprintf(stderr, "%7llu %10llu.%03llu ms  %-10s %s\n", (unsigned long long)pl_sim.steps,
            (unsigned long long)(us / 1000), (unsigned long long)(us % 1000), pl_sim_thread_name(),
            text);
}

/* ---- clocks and chance */

uint64_t sys_monotonic_ns(void)
{
    return pl_sim.now_ns;
}

uint64_t sys_realtime_ns(void)
{
    return REALTIME_NS + pl_sim.now_ns;
}

/* Seeded once a run from the choice stream: a program that asks often costs the stream nothing. */
uint64_t sys_random(void)
{
    if (pl_sim.random_state == 0) {
        pl_sim.random_state = 1 + pl_choice_below(&pl_sim.choice, 1u << 16);
    }
    uint64_t x = pl_sim.random_state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
    return x ^ (x >> 32);
}

/* ---- the last resort */

void sys_write_stderr(const char *text, size_t size)
{
    if (pl_sim.is_strict && pl_sim.on_fail) {
        /* The first line is the reason; what comes after it (the recorder) is told elsewhere. */
        size_t used = strlen(pl_sim.first_words), room = sizeof pl_sim.first_words - used - 1;
        if (used > 0 && pl_sim.first_words[used - 1] == '\n') {
            return;
        }
        const char *end = memchr(text, '\n', size);
        size = end ? (size_t)(end - text) + 1 : size;
        size = size < room ? size : room;
        memcpy(pl_sim.first_words + used, text, size);
        pl_sim.first_words[used + size] = '\0';
        return;
    }
    if (write(STDERR_FILENO, text, size) < 0) {
        return;
    }
}

_Noreturn void sys_abort(void)
{
    if (pl_sim.is_strict && pl_sim.on_fail) {
        pl_sim.first_words[strcspn(pl_sim.first_words, "\n")] = '\0';
        pl_sim_fail("the library aborted: %s", pl_sim.first_words);
    }
    abort();
}
