/* SPDX-License-Identifier: BSD-2-Clause */
/* peal load: puts an echo server under load, with clients of the library.
 *
 * The main thread turns a home loop that holds the clock and the signals; the connections live on
 * the loops of a pool, one worker each (load_worker.c). Workers share nothing while they run: each
 * has counters and a histogram of its own, and they are added up when all is over.
 *
 *     start workers → time, SIGINT or SIGTERM → stop workers → each is done → report
 *
 * It ends, whatever the server does: time is limited, stopping is bounded by the workers' patience,
 * and a second signal ends the home loop at once, which takes the pool and all connections with it.
 *
 * Exits 1 if a connection could not be made, or if bytes came back that were not sent.
 */
#include "load.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <peal/error.h>
#include <peal/pool.h>
#include <peal/signal.h>

#include "commands.h"
#include "common.h"
#include "load_series.h"
#include "plot.h"

enum { FDS_MAX = 1 << 20 };

struct load {
    struct load_options options;
    struct peal_loop *home;
    struct peal_pool *pool;
    struct peal_timer timer;
    struct load_series series;
    unsigned char *payload;
    struct load_worker *workers;
    unsigned running; /* workers that have not said that they are done */
    bool stopping;
    uint64_t began_ns, ended_ns;
};

/* ---- running */

static void stop(struct load *load)
{
    load->stopping = true;
    load->ended_ns = load_now_ns();
    load_series_stop(&load->series);
    for (unsigned i = 0; i < peal_pool_size(load->pool); i++) {
        if (peal_loop_post(load->workers[i].loop, load_worker_stop, &load->workers[i]) < 0) {
            peal_loop_quit(load->home); /* then its loop's end closes what it has */
        }
    }
}

static void on_time(struct peal_timer *timer, void *user)
{
    struct load *load = user;

    (void)timer;
    if (!load->stopping) {
        stop(load);
    }
}

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    struct load *load = user;

    (void)signal;
    (void)number;
    if (load->stopping) {
        peal_loop_quit(load->home);
    } else {
        stop(load);
    }
}

static void one_is_done(void *user)
{
    struct load *load = user;

    load->running--;
    if (load->running == 0) {
        peal_loop_quit(load->home);
    }
}

/* On a worker's thread. */
static void on_worker_done(void *user)
{
    struct load *load = user;

    if (peal_loop_post(load->home, one_is_done, load) < 0) {
        peal_loop_quit(load->home);
    }
}

/* ---- setting up */

static int make_payload(struct load *load)
{
    uint32_t number = 1;

    load->payload = malloc(load->options.size);
    if (load->payload == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < load->options.size; i++) {
        number = number * 1664525 + 1013904223;
        load->payload[i] = (unsigned char)(number >> 24);
    }
    return 0;
}

static int start_workers(struct load *load)
{
    const struct load_options *options = &load->options;
    unsigned threads = peal_pool_size(load->pool);

    load->workers = calloc(threads, sizeof(*load->workers));
    if (load->workers == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < threads; i++) {
        struct load_worker *worker = &load->workers[i];
        worker->options = options;
        worker->loop = peal_pool_loop(load->pool, i);
        worker->payload = load->payload;
        worker->began_ns = load->began_ns;
        worker->number = i;
        worker->step = threads;
        worker->conn_count =
            (unsigned)(options->conns / threads + (i < options->conns % threads ? 1 : 0));
        worker->done = on_worker_done;
        worker->user = load;
    }
    int error =
        load_series_begin(&load->series, load->home, load->workers, threads, load->began_ns);
    for (unsigned i = 0; i < threads && error == 0; i++) {
        error = peal_loop_post(load->workers[i].loop, load_worker_start, &load->workers[i]);
        load->running++;
    }
    return error;
}

static int start(struct load *load)
{
    static const int numbers[2] = {SIGINT, SIGTERM};
    const struct peal_pool_options pool = {.threads = (unsigned)load->options.threads,
                                           .name = "load"};

    int error = peal_loop_new(NULL, &load->home);
    for (int i = 0; i < 2 && error == 0; i++) {
        struct peal_signal *signal; /* the loop closes it when it ends */
        error = peal_signal_open(load->home, numbers[i], on_signal, load, &signal);
    }
    if (error == 0) {
        error = peal_pool_new(&pool, &load->pool);
    }
    if (error == 0) {
        error = make_payload(load);
    }
    load->began_ns = load_now_ns();
    if (error == 0) {
        error = start_workers(load);
    }
    if (error == 0) {
        peal_timer_init(&load->timer, load->home, on_time, load);
        peal_timer_start(&load->timer, load->options.time_ms, 0);
    }
    return error;
}

/* Returns 0, or -EIO if the CSV file could not be written. */
static int finish(struct load *load)
{
    unsigned threads = load->pool != NULL ? peal_pool_size(load->pool) : 0;

    peal_timer_deinit(&load->timer);
    load->pool = peal_pool_free(load->pool);
    load->home = peal_loop_free(load->home);
    int error = load_series_deinit(&load->series, load->ended_ns);
    for (unsigned i = 1; load->workers != NULL && i < threads; i++) {
        load_merge(&load->workers[0].counts, &load->workers[i].counts);
    }
    for (unsigned i = 0; load->workers != NULL && i < threads; i++) {
        load_worker_deinit(&load->workers[i]);
    }
    free(load->payload);
    return error;
}

static bool plot(const struct load_options *options, const struct histogram *latency_ns)
{
    char title[512];

    if (!options->plot.given || (options->plot.text == NULL && latency_ns->count == 0)) {
        return true;
    }
    if (options->plot.text == NULL) {
        printf("\n");
        plot_print(stdout, latency_ns, common_terminal_width(STDOUT_FILENO));
        fflush(stdout);
        return true;
    }
    snprintf(title, sizeof(title), "peal load %s, %s", options->mode_name, options->connect);
    int error = plot_png(options->plot.text, title, latency_ns);
    if (error < 0) {
        fprintf(stderr, "peal load: --plot %s: %s\n", options->plot.text,
                error == -ENODATA ? "no message came back, so there is nothing to draw"
                                  : "gnuplot could not draw it");
    }
    return error == 0;
}

static int run(const struct load_options *options)
{
    struct load load = {.options = *options};

    common_raise_fd_limit(FDS_MAX);
    int error = load_series_init(&load.series, &load.options);
    if (error < 0) {
        fprintf(stderr, "peal load: --csv %s: %s\n", options->csv_path, peal_strerror(error));
        return 2;
    }
    error = start(&load);
    if (error == 0) {
        error = peal_loop_run(load.home);
    }
    int csv_error = finish(&load);
    bool good = false;
    if (error < 0) {
        fprintf(stderr, "peal load: %s\n", peal_strerror(error));
    } else {
        const struct load_counts *counts = &load.workers[0].counts;
        load_report(options, counts, (double)(load.ended_ns - load.began_ns) / 1e9);
        good = counts->wrong == 0 && counts->errors[0].count == 0;
        good = plot(options, &counts->latency_ns) && good;
    }
    if (csv_error < 0) {
        fprintf(stderr, "peal load: --csv %s: it could not be written whole\n", options->csv_path);
        good = false;
    }
    free(load.workers);
    return good ? 0 : 1;
}

int load_main(int argc, char **argv)
{
    struct load_options options;
    int exit_code = load_options_read(argc, argv, &options);

    return exit_code >= 0 ? exit_code : run(&options);
}
