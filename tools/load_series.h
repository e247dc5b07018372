/* SPDX-License-Identifier: BSD-2-Clause */
/* What a load tells each second, while it goes on. The main thread's, and its loop's. */
#ifndef PEAL_TOOLS_LOAD_SERIES_H
#define PEAL_TOOLS_LOAD_SERIES_H

#include <stdio.h>

#include "load.h"

/* A second, or what the last row has of one. */
struct load_row {
    unsigned open;
    uint64_t messages, errors;
    double messages_per_s;
    uint64_t behind_ns;
};

struct load_series {
    const struct load_options *options;
    FILE *csv; /* or NULL */
    bool live;
    bool line_stands; /* on the terminal */
    struct peal_loop *home;
    struct load_worker *workers;
    unsigned worker_count;
    struct peal_timer timer;
    struct load_sample *samples; /* two for each worker, and the sum */
    struct load_sample *sum;
    unsigned waiting; /* workers that were asked and have not handed over */
    uint64_t began_ns, asked_ns, told_ns;
    uint64_t messages_told, errors_told;
};

/* Opens the file, before anything else is done. A negative errno says why that is impossible. */
int load_series_init(struct load_series *series, const struct load_options *options);

/* Before the workers start. */
int load_series_begin(struct load_series *series, struct peal_loop *home,
                      struct load_worker *workers, unsigned worker_count, uint64_t began_ns);

/* Time is up. */
void load_series_stop(struct load_series *series);

/* After the loops have ended, while the workers are still there. Writes the last row, and says
 * whether the whole file was written: 0 or -EIO. */
int load_series_deinit(struct load_series *series, uint64_t ended_ns);

#endif
