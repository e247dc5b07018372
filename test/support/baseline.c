/* SPDX-License-Identifier: BSD-2-Clause */
/* Counting what a process holds: /proc/self/fd, /proc/self/task, and the ledger of the seam. The
 * ledger is switched on by the first call, so that all counts are differences from there. Threads
 * are given time to end, because a detached one goes a moment after its last visible act; fds and
 * allocations are expected to be right at once, but are read again while threads are still ending.
 */
#include "support/baseline.h"

#include "sys/sys.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned count_entries(const char *path)
{
    unsigned count = 0;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

unsigned baseline_open_fds(void)
{
    return count_entries("/proc/self/fd") - 3; /* ".", ".." and the folder's own */
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* The first thread of a process makes the thread sanitizer start one of its own, which stays: that
 * one is to be in every count. */
static void start_first_thread(void)
{
    static bool started;
    if (!started) {
        pthread_t thread;
        started = true;
        assert_int_equal(pthread_create(&thread, NULL, do_nothing, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

bool baseline_fds_are_shared(void)
{
    const char *preload = getenv("LD_PRELOAD");
    bool shared = preload && strstr(preload, "vgpreload");
    if (shared) {
        print_message("skipped: valgrind keeps fds of its own below the limit\n");
    }
    return shared;
}

struct baseline baseline_take(void)
{
    struct baseline now;
    start_first_thread();
    now.fds = baseline_open_fds();
    now.threads = count_entries("/proc/self/task") - 2;
    sys_ledger(&now.allocations, &now.bytes);
    return now;
}

static int differs(const struct baseline *a, const struct baseline *b)
{
    return a->fds != b->fds || a->threads != b->threads || a->allocations != b->allocations ||
           a->bytes != b->bytes;
}

void baseline_check(const struct baseline *before)
{
    struct baseline after = baseline_take();
    for (int i = 0; i < 1000 && differs(before, &after); i++) {
        usleep(10 * 1000);
        after = baseline_take();
    }
    assert_int_equal(after.fds, before->fds);
    assert_int_equal(after.threads, before->threads);
    assert_int_equal(after.allocations, before->allocations);
    assert_int_equal(after.bytes, before->bytes);
}

static struct baseline at_setup;

int baseline_setup(void **state)
{
    (void)state;
    at_setup = baseline_take();
    return 0;
}

int baseline_teardown(void **state)
{
    (void)state;
    baseline_check(&at_setup);
    return 0;
}
