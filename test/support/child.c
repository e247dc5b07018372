/* SPDX-License-Identifier: BSD-2-Clause */
/* A child with its standard error in a pipe. It leaves no core file, an alarm ends it if it hangs,
 * and it leaves by _exit, so that nothing of the parent's is flushed or checked twice. */
#include "support/child.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { HANG_S = 60 };

/* In a build that measures coverage: what the child ran counts, however it ends. */
#ifdef TEST_COVERAGE
enum { COVERAGE = 1 };
void __gcov_dump(void); /* not a weak one: that alone would not bring it from its archive */
#else
enum { COVERAGE = 0 };
#define __gcov_dump() ((void)0)
#endif

void child_note_coverage(void)
{
    __gcov_dump();
}

static void on_abort(int number)
{
    (void)number;
    child_note_coverage();
    signal(SIGABRT, SIG_DFL);
}

static _Noreturn void be_child(void (*fn)(void *arg), void *arg, int error_fd)
{
    const struct rlimit none = {0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGALRM, SIG_DFL);
    alarm(HANG_S);
    if (COVERAGE) {
        signal(SIGABRT, on_abort); /* abort(3) raises it again when this returns */
    }
    dup2(error_fd, STDERR_FILENO);
    fn(arg);
    child_note_coverage();
    _exit(0);
}

int child_run(void (*fn)(void *arg), void *arg, char *text, size_t size)
{
    int ends[2], status = -1;
    size_t length = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        be_child(fn, arg, ends[1]);
    }
    close(ends[1]);
    while (length < size - 1) {
        ssize_t n = read(ends[0], text + length, size - 1 - length);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        length += (size_t)n;
    }
    text[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

void child_expect_abort(void (*fn)(void *arg), void *arg, const char *words)
{
    static char text[64 * 1024];
    int status = child_run(fn, arg, text, sizeof text);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) {
        fail_msg("the child did not abort (status %#x) and wrote: %s", (unsigned)status, text);
    }
    if (!strstr(text, words)) {
        fail_msg("the child wrote \"%s\" and should have said \"%s\"", text, words);
    }
}
