/* SPDX-License-Identifier: BSD-2-Clause */
/* Curves of percentiles.
 *
 * What matters in latencies is the tail, and a histogram's tail is too thin to see. So the curve
 * runs over percentiles, and gives each further nine as much room as the one before:
 *
 *     x = -log10(1 - share)      0 is the minimum, 1 is 90 %, 2 is 99 %, 3 is 99.9 % …
 *
 * up to where a single value is all that is left (log10 of the count); the last column is the
 * maximum. Upwards the text has the steps 1, 2, 5, 10 …, each of the same number of rows, so that
 * every label stands for the upper edge of its row and is exact; within a step the scale is
 * logarithmic. A column is filled to its value in eighths of a row, and by one eighth at least.
 *
 * gnuplot gets its script and its data through its standard input. Its file names are quoted with
 * single quotes, within which only the quote itself has a meaning; it is doubled. A name with a
 * control character is refused, since it could end the line.
 */
#include "plot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LABEL_WIDTH = 9, /* of times, left of the axis */
    WIDTH_MIN = 30,
    WIDTH_MAX = 200,
    ROWS_WANTED = 12,
    PNG_POINTS = 500
};

static const double nines_min = 1, nines_max = 7;
static const double time_max_ns = 1e13; /* what is longer is drawn as that: 10,000 s */

/* How far to the right the curve goes. */
static double nines_of(const struct histogram *times_ns)
{
    double nines = log10((double)times_ns->count);

    return nines < nines_min ? nines_min : nines > nines_max ? nines_max : nines;
}

static double value_at(const struct histogram *times_ns, double nines)
{
    uint64_t value = histogram_at(times_ns, 1 - pow(10, -nines));

    return value > 0 ? (double)value : 1; /* for the logarithm's sake */
}

/* ---- steps: 1, 2, 5, 10, 20, … counted from 0 */

static double step_value(int step)
{
    static const double digits[3] = {1, 2, 5};

    return digits[step % 3] * pow(10, step / 3);
}

/* The step at or below a value of 1 or more. */
static int step_below(double value)
{
    int step = 0;

    while (step_value(step + 1) <= value) {
        step++;
    }
    return step;
}

/* A value as a number of steps, with what is between two of them. */
static double steps_of(double value)
{
    int step = step_below(value);
    double from = step_value(step);

    return step + log10(value / from) / log10(step_value(step + 1) / from);
}

static void print_label(FILE *to, int step)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    unsigned unit = step < 9 ? 0 : step < 18 ? 1 : step < 27 ? 2 : 3;
    char text[32];

    snprintf(text, sizeof(text), "%.0f %s", step_value(step - 9 * (int)unit), units[unit]);
    fprintf(to, "%*s ", LABEL_WIDTH, text);
}

/* ---- as text */

static void print_row(FILE *to, const int *eighths, size_t columns, int row)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    size_t used = columns;

    while (used > 0 && eighths[used - 1] <= row * 8) {
        used--; /* no spaces at the end of a line */
    }
    for (size_t i = 0; i < used; i++) {
        int level = eighths[i] - row * 8;
        fputs(blocks[level < 0 ? 0 : level > 8 ? 8 : level], to);
    }
    fputc('\n', to);
}

/* The axis with its ticks, and what they mean below. */
static void print_shares(FILE *to, size_t columns, double nines)
{
    static const char *const names[] = {"50%",    "90%",     "99%",     "99.9%",
                                        "99.99%", "99.999%", "99.9999%"};
    char line[WIDTH_MAX + 1];
    bool ticks[WIDTH_MAX] = {true};
    size_t end = 3; /* of what is written; "max" stands at the right */

    memset(line, ' ', columns);
    line[columns] = '\0';
    memcpy(line, "min", 3);
    memcpy(line + columns - 3, "max", 3);
    ticks[columns - 1] = true;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        double at = i == 0 ? log10(2) : (double)i;
        size_t length = strlen(names[i]);
        size_t column = (size_t)(at / nines * (double)(columns - 1) + 0.5);
        size_t start = column - (column < length / 2 ? column : length / 2);
        if (at <= nines && start > end && start + length + 4 < columns) {
            memcpy(line + start, names[i], length);
            ticks[column] = true;
            end = start + length;
        }
    }
    for (size_t i = 0; i < columns; i++) {
        fputs(ticks[i] ? "┬" : "─", to);
    }
    fprintf(to, "\n%*s%s\n", LABEL_WIDTH + 2, "", line);
}

void plot_print(FILE *to, const struct histogram *times_ns, size_t width)
{
    int eighths[WIDTH_MAX];

    if (times_ns->count == 0) {
        return;
    }
    width = width < WIDTH_MIN ? WIDTH_MIN : width > WIDTH_MAX ? WIDTH_MAX : width;
    size_t columns = width - LABEL_WIDTH - 2;
    double nines = nines_of(times_ns);
    double max = times_ns->max > 0 ? fmin((double)times_ns->max, time_max_ns) : 1;
    int low = step_below(value_at(times_ns, 0));
    int high = (int)ceil(steps_of(max));
    high = high > low ? high : low + 1;
    int rows_per_step = high - low < ROWS_WANTED ? ROWS_WANTED / (high - low) : 1;

    for (size_t i = 0; i < columns; i++) {
        double share = (double)i / (double)(columns - 1);
        double value = i == columns - 1 ? max : value_at(times_ns, nines * share);
        int level = (int)((steps_of(value) - low) * rows_per_step * 8 + 0.5);
        eighths[i] = level < 1 ? 1 : level;
    }
    for (int row = (high - low) * rows_per_step - 1; row >= 0; row--) {
        if ((row + 1) % rows_per_step == 0) {
            print_label(to, low + (row + 1) / rows_per_step);
            fputs("┤", to);
        } else {
            fprintf(to, "%*s│", LABEL_WIDTH + 1, "");
        }
        print_row(to, eighths, columns, row);
    }
    print_label(to, low);
    fputs("└", to);
    print_shares(to, columns, nines);
}

/* ---- by gnuplot */

bool plot_png_is_possible(void)
{
    const char *path = getenv("PATH");
    char name[4096];

    while (path != NULL && *path != '\0') {
        int length = (int)strcspn(path, ":");
        int size = snprintf(name, sizeof(name), "%.*s/gnuplot", length, path);
        if (size > 0 && (size_t)size < sizeof(name) && access(name, X_OK) == 0) {
            return true;
        }
        path += length + (path[length] == ':');
    }
    return false;
}

int plot_png_check(const char *path)
{
    for (const char *at = path; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ') {
            return -EINVAL;
        }
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) {
        close(fd);
        unlink(path);
    } else if (errno != EEXIST || access(path, W_OK) < 0) {
        return -errno;
    }
    return 0;
}

static void quote(FILE *to, const char *text)
{
    fputc('\'', to);
    for (; *text != '\0'; text++) {
        fputs(*text == '\'' ? "''" : (const char[]){*text, '\0'}, to);
    }
    fputc('\'', to);
}

/* A per cent sign in a label is written twice, for gnuplot as for printf. */
static void write_ticks(FILE *to, double nines)
{
    fprintf(to, "set xtics ('min' 1, '50%%%%' 2, '90%%%%' 10");
    for (int i = 2; i < nines - 0.25; i++) {
        fprintf(to, ", '%.*f%%%%' 1e%d", i - 2, 100 - pow(10, 2 - i), i);
    }
    if (nines > nines_min) {
        fprintf(to, ", 'max' %.9g", pow(10, nines));
    }
    fprintf(to, ")\n");
}

int plot_png(const char *path, const char *title, const struct histogram *times_ns)
{
    if (times_ns->count == 0) {
        return -ENODATA;
    }
    FILE *gnuplot = popen("gnuplot", "we");
    if (gnuplot == NULL) {
        return -EIO;
    }
    double nines = nines_of(times_ns);
    fprintf(gnuplot, "if (strstrt(GPVAL_TERMINALS, 'pngcairo') > 0) {\n"
                     "set terminal pngcairo noenhanced size 1000,600 font ',12'\n"
                     "} else {\nset terminal png noenhanced size 1000,600\n}\nset output ");
    quote(gnuplot, path);
    fprintf(gnuplot, "\nset title ");
    quote(gnuplot, title);
    fprintf(gnuplot, "\nset logscale xy\nset grid\nset key off\nset xlabel 'percentile'\n"
                     "set ylabel 'latency'\nset format y '%%.0s %%cs'\n");
    write_ticks(gnuplot, nines);
    fprintf(gnuplot, "set xrange [1:%.9g]\nplot '-' using 1:2 with lines linewidth 2\n",
            pow(10, nines));
    for (int i = 0; i < PNG_POINTS; i++) {
        double at = nines * i / PNG_POINTS;
        fprintf(gnuplot, "%.9g %.9g\n", pow(10, at), value_at(times_ns, at) / 1e9);
    }
    fprintf(gnuplot, "%.9g %.9g\ne\n", pow(10, nines), (double)times_ns->max / 1e9);
    bool good = fflush(gnuplot) == 0;
    return pclose(gnuplot) == 0 && good ? 0 : -EIO;
}
