/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs of the simulated system in a process of their own, for tests in which a run is to fail. */
#ifndef TEST_SIM_APART_H
#define TEST_SIM_APART_H

/* Begins a run, calls fn in it, ends it: all in a child. Returns the sentence with which the run
 * failed, "" if it passed; it stays until the next call. A child that ends otherwise fails the
 * test. */
const char *run_apart(void (*fn)(void));

#endif
