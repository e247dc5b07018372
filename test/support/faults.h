/* SPDX-License-Identifier: BSD-2-Clause */
/* Faults on demand, through the seam's hook: the n-th allocation or system call of the library
 * fails, once or from then on. A torture is a scenario run with n = 1, 2, … until none is left to
 * fail:
 *
 *     for (unsigned n = 1; ; n++) {
 *         faults_start((struct faults){.nth = n, .error = ENOMEM});
 *         scenario();
 *         if (faults_stop() == 0) {
 *             break;
 *         }
 *     }
 */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <stdbool.h>

struct faults {
    char kind;        /* 'a': allocations, 's': system calls, 0: both */
    const char *name; /* of the system call or allocator function; NULL: any */
    unsigned nth;     /* the first that fails, from 1; 0: none does, they are only counted */
    bool for_ever;    /* and all after it */
    int error;        /* a positive errno */
};

/* Whether the system call is what an engine waits with: without it there is no loop. */
bool faults_is_wait(const char *name);

/* Start while no other thread is inside the library. Calls of any thread count. */
void faults_start(struct faults faults);
unsigned faults_seen(void); /* that matched kind and name, since start */
unsigned faults_stop(void); /* Returns how many were made to fail. */

#endif
