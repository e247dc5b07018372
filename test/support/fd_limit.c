/* SPDX-License-Identifier: BSD-2-Clause */
/* The soft limit is a bound on the number of an fd, so it is set to the lowest number that is free
 * after the given count of them was taken. */
#include "support/fd_limit.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

enum { LEFT_MAX = 64 };

static struct rlimit before;

void fd_limit_start(unsigned left)
{
    int fds[LEFT_MAX + 1];
    assert_true(left <= LEFT_MAX);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (unsigned i = 0; i <= left; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fds[i] >= 0);
    }
    struct rlimit limit = {.rlim_cur = (rlim_t)fds[left], .rlim_max = before.rlim_max};
    for (unsigned i = 0; i <= left; i++) {
        close(fds[i]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

void fd_limit_end(void)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}
