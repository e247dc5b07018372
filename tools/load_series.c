/* SPDX-License-Identifier: BSD-2-Clause */
/* How a load goes on, second by second: rows of a CSV file, and one line on the terminal.
 *
 *     home: tick → post to each worker     worker: swap buffers → post back     home: add up → tell
 *
 * A worker counts latencies twice, into the histogram of the whole and into that of the second. It
 * has two of the latter: one gathers while the other is handed over, so nothing is copied, nothing
 * is locked, and no message falls between two seconds.
 *
 * Rules:
 *  1. The rows add up to the report: messages, errors, and histograms. What is left when time is up
 *     makes a last row, which is as long as it is; a tick just before the end gives way to it.
 *  2. A row's time is when it was asked for. If a worker has not answered by the next tick, that
 *     tick is passed over, and the row after covers both.
 *  3. The line on the terminal exists only where it can be taken back: standard error is a terminal
 *     that knows how. It is cut at the terminal's width, and gone before anything else is printed.
 *
 * The file is RFC 4180: a header, CRLF, a dot as the decimal point. Latencies of a second without
 * messages are empty, not zero. Each row is flushed, so that the file can be followed.
 */
#include "load_series.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

enum { PERIOD_MS = 1000, LAST_ROW_NS = 100000000 };

static bool is_lively(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

int load_series_init(struct load_series *series, const struct load_options *options)
{
    *series = (struct load_series){.options = options, .live = is_lively()};
    if (options->csv_path == NULL) {
        return 0;
    }
    series->csv = fopen(options->csv_path, "wbe");
    if (series->csv == NULL) {
        return -errno;
    }
    fprintf(series->csv, "time_s,connections,messages,messages_per_s,p50_us,p99_us,p99_9_us,max_us,"
                         "errors\r\n");
    fflush(series->csv);
    return 0;
}

/* ---- telling */

static void write_time(FILE *csv, const struct histogram *latency_ns, double share)
{
    uint64_t time_ns = histogram_at(latency_ns, share);

    if (latency_ns->count == 0) {
        fputc(',', csv);
    } else {
        fprintf(csv, ",%" PRIu64 ".%03u", time_ns / 1000, (unsigned)(time_ns % 1000));
    }
}

static void write_row(struct load_series *series, double time_s, const struct load_row *row)
{
    const struct histogram *latency_ns = &series->sum->latency_ns;

    fprintf(series->csv, "%.3f,%u,%" PRIu64 ",%.1f", time_s, row->open, row->messages,
            row->messages_per_s);
    write_time(series->csv, latency_ns, 0.5);
    write_time(series->csv, latency_ns, 0.99);
    write_time(series->csv, latency_ns, 0.999);
    write_time(series->csv, latency_ns, 1);
    fprintf(series->csv, ",%" PRIu64 "\r\n", row->errors);
    fflush(series->csv);
}

static void show_line(struct load_series *series, double time_s, const struct load_row *row)
{
    const struct load_options *options = series->options;
    const struct histogram *latency_ns = &series->sum->latency_ns;
    char times[3][32];
    char line[256];

    int length = snprintf(line, sizeof(line), "%.0f/%.7g s  %u open", time_s,
                          options->time_ms / 1e3, row->open);
    if (options->mode != LOAD_IDLE) {
        length +=
            snprintf(line + length, sizeof(line) - (size_t)length, "  %.0f/s", row->messages_per_s);
    }
    if (row->behind_ns > LOAD_BEHIND_TOLD_NS) {
        length += snprintf(line + length, sizeof(line) - (size_t)length, "  %.1f s behind",
                           (double)row->behind_ns / 1e9);
    }
    if (latency_ns->count > 0) {
        load_time_text(times[0], histogram_at(latency_ns, 0.5));
        load_time_text(times[1], histogram_at(latency_ns, 0.99));
        load_time_text(times[2], latency_ns->max);
        length += snprintf(line + length, sizeof(line) - (size_t)length, "  p50 %s  p99 %s  max %s",
                           times[0], times[1], times[2]);
    }
    snprintf(line + length, sizeof(line) - (size_t)length, "  errors %" PRIu64,
             series->errors_told);
    size_t width = common_terminal_width(STDERR_FILENO) - 1;
    line[width < sizeof(line) ? width : sizeof(line) - 1] = '\0';
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    series->line_stands = true;
}

static void take_line_back(struct load_series *series)
{
    if (series->line_stands) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
        series->line_stands = false;
    }
}

/* ---- adding up */

/* From the sums since the beginning, which sum holds, to what came since the row before. */
static void tell(struct load_series *series, uint64_t now_ns)
{
    const struct load_sample *sum = series->sum;
    double time_s = (double)(now_ns - series->began_ns) / 1e9;
    const struct load_row row = {
        .open = sum->open,
        .messages = sum->messages - series->messages_told,
        .messages_per_s = (double)(sum->messages - series->messages_told) * 1e9 /
                          (double)(now_ns - series->told_ns),
        .errors = sum->errors - series->errors_told,
        .behind_ns = sum->behind_ns,
    };

    series->messages_told = sum->messages;
    series->errors_told = sum->errors;
    series->told_ns = now_ns;
    if (series->csv != NULL) {
        write_row(series, time_s, &row);
    }
    if (series->live) {
        show_line(series, time_s, &row);
    }
}

static void add(struct load_sample *sum, struct load_sample *sample)
{
    sum->messages += sample->messages;
    sum->errors += sample->errors;
    sum->open += sample->open;
    sum->behind_ns = sample->behind_ns > sum->behind_ns ? sample->behind_ns : sum->behind_ns;
    histogram_merge(&sum->latency_ns, &sample->latency_ns);
    histogram_clear(&sample->latency_ns);
}

/* On the home loop: one worker has handed over. */
static void on_handed(void *user)
{
    struct load_series *series = user;

    series->waiting--;
    if (series->waiting > 0) {
        return;
    }
    memset(series->sum, 0, sizeof(*series->sum));
    for (unsigned i = 0; i < series->worker_count; i++) {
        add(series->sum, series->workers[i].handed);
    }
    tell(series, series->asked_ns);
}

/* On a worker's loop. */
static void on_sampled(void *user)
{
    struct load_series *series = user;

    if (peal_loop_post(series->home, on_handed, series) < 0) {
        return; /* then no row comes any more but the last */
    }
}

static void on_tick(struct peal_timer *timer, void *user)
{
    struct load_series *series = user;
    uint64_t now_ns = load_now_ns();
    uint64_t end_ns = series->began_ns + (uint64_t)series->options->time_ms * 1000000;

    (void)timer;
    if (series->waiting > 0 || now_ns + LAST_ROW_NS > end_ns) {
        return;
    }
    series->asked_ns = now_ns;
    for (unsigned i = 0; i < series->worker_count; i++) {
        if (peal_loop_post(series->workers[i].loop, load_worker_sample, &series->workers[i]) == 0) {
            series->waiting++;
        }
    }
}

/* ---- life */

int load_series_begin(struct load_series *series, struct peal_loop *home,
                      struct load_worker *workers, unsigned worker_count, uint64_t began_ns)
{
    if (series->csv == NULL && !series->live) {
        return 0;
    }
    series->home = home;
    series->workers = workers;
    series->worker_count = worker_count;
    series->began_ns = series->told_ns = began_ns;
    series->samples = calloc(2 * worker_count + 1, sizeof(*series->samples));
    if (series->samples == NULL) {
        return -ENOMEM;
    }
    series->sum = &series->samples[2 * worker_count];
    for (unsigned i = 0; i < worker_count; i++) {
        workers[i].gathering = &series->samples[2 * i];
        workers[i].handed = &series->samples[2 * i + 1];
        workers[i].sampled = on_sampled;
        workers[i].sampled_user = series;
    }
    peal_timer_init(&series->timer, home, on_tick, series);
    peal_timer_start(&series->timer, PERIOD_MS, PERIOD_MS);
    return 0;
}

void load_series_stop(struct load_series *series)
{
    peal_timer_cancel(&series->timer);
}

int load_series_deinit(struct load_series *series, uint64_t ended_ns)
{
    bool good = true;

    series->live = false;
    take_line_back(series);
    if (series->samples != NULL && series->csv != NULL && ended_ns > series->told_ns) {
        memset(series->sum, 0, sizeof(*series->sum));
        for (unsigned i = 0; i < series->worker_count; i++) {
            struct load_worker *worker = &series->workers[i];
            histogram_merge(&series->sum->latency_ns, &worker->handed->latency_ns);
            load_worker_fill(worker);
            worker->gathering->open = (unsigned)worker->counts.still_open;
            add(series->sum, worker->gathering);
        }
        tell(series, ended_ns);
    }
    if (series->csv != NULL) {
        good = ferror(series->csv) == 0;
        good = fclose(series->csv) == 0 && good;
    }
    free(series->samples);
    *series = (struct load_series){.options = series->options};
    return good ? 0 : -EIO;
}
