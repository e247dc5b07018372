/* SPDX-License-Identifier: BSD-2-Clause */
/* A run that fails leaves its threads wherever they are, so it has a process to itself. The child
 * writes the sentence into a pipe, with a first byte that says that it has got so far. */
#include "apart.h"

#include "sys/sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { HANG_S = 60 };

/* In a build that measures coverage, what the child ran counts. */
#ifdef TEST_COVERAGE
void __gcov_dump(void);
#else
#define __gcov_dump() ((void)0)
#endif

static int told;

static void tell(const char *sentence)
{
    char text[1024];
    int size = snprintf(text, sizeof text, ".%s", sentence);
    ssize_t written = write(told, text, (size_t)size);
    __gcov_dump();
    _exit(written == size ? 0 : 1);
}

static void live(void (*fn)(void))
{
    alarm(HANG_S);
    pl_sim_forked();
    pl_choice_init_seed(&pl_sim.choice, 1);
    pl_sim.on_fail = tell;
    pl_sim_begin();
    fn();
    pl_sim_end();
    tell("");
}

const char *run_apart(void (*fn)(void))
{
    static char text[1024];
    int ends[2], status = -1;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        told = ends[1];
        live(fn);
    }
    assert_true(pid > 0);
    close(ends[1]);
    memset(text, 0, sizeof text);
    size_t size = 0;
    for (ssize_t n; (n = read(ends[0], text + size, sizeof text - 1 - size)) > 0;) {
        size += (size_t)n;
    }
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(text[0], '.');
    return text + 1;
}
