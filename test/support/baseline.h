/* SPDX-License-Identifier: BSD-2-Clause */
/* What must be the same after a test as before it: open fds, threads, and live allocations of the
 * library. */
#ifndef TEST_BASELINE_H
#define TEST_BASELINE_H

#include <stdbool.h>
#include <stdint.h>

struct baseline {
    unsigned fds, threads;
    uint64_t allocations, bytes;
};

struct baseline baseline_take(void);

/* Fails the test (cmocka) with what is left over. Threads that are just ending are waited for, up
 * to ten seconds. */
void baseline_check(const struct baseline *before);

/* The same as a cmocka setup and teardown pair: cmocka_unit_test_setup_teardown(test,
 * baseline_setup, baseline_teardown). */
int baseline_setup(void **state);
int baseline_teardown(void **state);

unsigned baseline_open_fds(void);

/* True under valgrind, which keeps fds of its own below RLIMIT_NOFILE: a real shortage of them
 * cannot be made there. Says so, for the caller to skip(). */
bool baseline_fds_are_shared(void);

#endif
