/* SPDX-License-Identifier: BSD-2-Clause */
/* Code that is expected to end the process, run in a forked child: what it wrote to standard error
 * and how it ended are what is tested. */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include <stddef.h>

/* Runs fn(arg) in a child, and returns its wait status (0 if fn returned). text: what it wrote to
 * standard error, as a string. Call it while this process has one thread. */
int child_run(void (*fn)(void *arg), void *arg, char *text, size_t size);

/* For children that tests fork by themselves: before _exit, which would lose what coverage has
 * counted. */
void child_note_coverage(void);

/* The child must abort, and what it wrote must contain the words. */
void child_expect_abort(void (*fn)(void *arg), void *arg, const char *words);

#endif
