/* SPDX-License-Identifier: BSD-2-Clause */
/* Latencies by percentile, drawn: as text, or by gnuplot as a PNG. */
#ifndef PEAL_TOOLS_PLOT_H
#define PEAL_TOOLS_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "histogram.h"

/* Draws within so many columns. Of nanoseconds. Draws nothing if the histogram is empty. */
void plot_print(FILE *to, const struct histogram *times_ns, size_t width);

/* Whether there is a gnuplot. */
bool plot_png_is_possible(void);

/* Whether the file can be written, asked before there is anything to plot: 0 or a negative errno.
 * Leaves no file behind that was not there. */
int plot_png_check(const char *path);

/* 0, -ENODATA if the histogram is empty, or -EIO if gnuplot did not do it; it has then said why on
 * standard error. */
int plot_png(const char *path, const char *title, const struct histogram *times_ns);

#endif
