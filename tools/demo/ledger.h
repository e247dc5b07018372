/* SPDX-License-Identifier: BSD-2-Clause */
/* How many bytes of heap are in use: the allocator's word, not the library's. */
#ifndef PEAL_DEMO_LEDGER_H
#define PEAL_DEMO_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

/* Begins to count. Before that allocations cost one test of a flag more than they do anyway. */
void ledger_start(void);

/* False where neither our own allocator functions nor a sanitizer's are in place (another library's
 * malloc, valgrind): then there is nothing to measure. After ledger_start. */
bool ledger_works(void);

/* Bytes in use now, as a difference from the start: it can be negative. Any thread. */
int64_t ledger_bytes(void);

/* What may be left over without anybody having lost it: 0, but with a sanitizer a little, because
 * its runtime allocates for itself. */
int64_t ledger_slack_bytes(void);

#endif
