/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of what only the io_uring engine does: they ask for it, whatever PEAL_ENGINE says, and
 * are skipped with a word where the system has or allows none. Their programs are of no suite of
 * engines, so they run once. */
#ifndef TEST_ON_URING_H
#define TEST_ON_URING_H

#include <peal.h>

/* The loops of this program run on io_uring from now on. For main. */
void on_uring_ask(void);

/* A loop on io_uring; skips the test, with nothing left open, where it cannot be had. */
struct peal_loop *on_uring_loop(void);

/* The same, for tests that make their loops in other ways. */
void on_uring_or_skip(void);

#endif
