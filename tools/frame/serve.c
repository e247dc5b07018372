/* SPDX-License-Identifier: BSD-2-Clause */
/* The frame of the small servers: everything about them but what they say.
 *
 * The main thread runs the home loop: listeners, signals and reports live there, and with one
 * thread the connections too. With more, a pool's loops serve the connections, and the home loop
 * only accepts.
 *
 *     parse → signals → pool → server → listen → port file → run ─SIGTERM─► drain → report → end
 *
 * Rules:
 *  1. Signals are opened before the pool's threads start, so that those inherit the mask and none
 *     is ever taken by a thread that does not expect it.
 *  2. The port file appears whole or not at all: it is written under another name and renamed,
 *     after every listener listens. Who sees it can connect.
 *  3. The first SIGTERM or SIGINT drains within --drain seconds; the second cuts that short. Either
 *     way the process ends only through on_stopped, with the report printed.
 *  4. Common options stand behind those of the service, which the help tells first.
 *  5. A service's operations are those of its table; --verbose puts its own on_open and on_close in
 *     front of them, so that a server without it pays nothing for it.
 */
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <peal/error.h>
#include <peal/log.h>
#include <peal/loop.h>
#include <peal/pool.h>
#include <peal/refs.h>
#include <peal/signal.h>
#include <peal/stats.h>

#include "args.h"
#include "common.h"

enum { SIGNAL_COUNT = 3, FDS_MAX = 1 << 20 };
static const int signal_numbers[SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGUSR1};

struct serve_options {
    struct arg_texts listen;
    uint64_t threads;
    const char *engine;
    uint64_t busy_poll_us;
    const char *balance;
    uint64_t conns_max;
    uint64_t conns_per_addr_max;
    uint32_t idle_ms;
    uint32_t drain_ms;
    const char *port_file;
    bool track_refs;
    bool verbose;
};

struct serve_own {
    struct serve_options options;
    struct peal_conn_ops ops; /* the service's, or the verbose ones in front of them */
    bool running;             /* all is set up */
    bool stopping;
};

/* Connections are logged from the threads of several loops; a service's own on_open needs no state
 * of ours, so this is the one way by which those callbacks find the service. */
static const struct peal_conn_ops *verbose_inner;

/* ---- reports */

static void print_line(const char *text, void *user)
{
    (void)user;
    printf("  %s\n", text);
}

static void print_loop(const struct peal_loop *loop)
{
    struct peal_loop_stats stats;

    peal_loop_get_stats(loop, &stats);
    printf("loop %s (%s): connections_now %" PRIu64, peal_loop_name(loop), peal_loop_engine(loop),
           stats.connections_now);
#define PRINT_FIELD(name, sentence) printf(", " #name " %" PRIu64, stats.name);
    PEAL_LOOP_STATS(PRINT_FIELD)
#undef PRINT_FIELD
    printf("\n");
}

static void print_counters(struct serving *serving)
{
    struct peal_server_stats stats;

    peal_server_get_stats(serving->server, &stats);
    printf("%-16s %12" PRIu64 "  connections open now\n", "connections_now", stats.connections_now);
#define PRINT_FIELD(name, sentence)                                                                \
    printf("%-16s %12" PRIu64 "  " sentence "\n", #name, stats.name);
    PEAL_SERVER_STATS(PRINT_FIELD)
#undef PRINT_FIELD
    for (int cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
        if (stats.closed_by_cause[cause] != 0) {
            printf("%-16s %12" PRIu64 "  of those closed\n",
                   peal_cause_text((enum peal_cause)cause), stats.closed_by_cause[cause]);
        }
    }
    print_loop(serving->loop);
    for (unsigned i = 0; serving->pool != NULL && i < peal_pool_size(serving->pool); i++) {
        print_loop(peal_pool_loop(serving->pool, i));
    }
    if (serving->service->print != NULL) {
        serving->service->print(serving);
    }
    fflush(stdout);
}

/* ---- callbacks */

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    struct serving *serving = user;

    (void)signal;
    if (number == SIGUSR1) {
        print_counters(serving);
    } else if (!serving->own->stopping) {
        serving->own->stopping = true;
        printf("%s: draining %zu connections, for %.3g s at most\n", serving->service->name,
               peal_server_connections(serving->server),
               (double)serving->own->options.drain_ms / 1000);
        fflush(stdout);
        if (serving->service->stop == NULL || !serving->service->stop(serving)) {
            peal_server_stop(serving->server, serving->own->options.drain_ms);
        }
    } else {
        printf("%s: the drain is cut short\n", serving->service->name);
        fflush(stdout);
        peal_server_stop(serving->server, 0);
    }
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    struct serving *serving = user;
    char text[PEAL_DRAIN_TEXT_MAX];

    (void)server;
    if (!serving->own->running) {
        return; /* it could not start, which was told */
    }
    printf("%s: stopped: %s\n", serving->service->name,
           peal_drain_report_format(report, text, sizeof(text)));
    if (report->references_held > 0) {
        peal_refs_report(print_line, NULL);
    }
    fflush(stdout);
    peal_loop_quit(serving->loop);
}

static void on_accept_pause(struct peal_server *server, int error, void *user)
{
    struct serving *serving = user;

    (void)server;
    if (error != 0) {
        fprintf(stderr, "%s: accepting pauses: %s\n", serving->service->name, peal_strerror(error));
    } else {
        fprintf(stderr, "%s: accepting goes on\n", serving->service->name);
    }
}

static void verbose_open(struct peal_conn *conn, void *user)
{
    struct peal_addr peer;
    char text[PEAL_ADDR_TEXT_MAX];

    peal_conn_peer(conn, &peer);
    peal_addr_format(&peer, text, sizeof(text));
    printf("%016" PRIx64 " opened by %s on %s\n", peal_conn_id(conn), text,
           peal_loop_name(peal_conn_loop(conn)));
    fflush(stdout);
    if (verbose_inner->on_open != NULL) {
        verbose_inner->on_open(conn, user);
    }
}

static void verbose_close(struct peal_conn *conn, const struct peal_close_record *record,
                          void *user)
{
    char text[PEAL_CLOSE_TEXT_MAX];

    printf("%016" PRIx64 " closed: %s\n", peal_conn_id(conn),
           peal_close_record_format(record, text, sizeof(text)));
    fflush(stdout);
    if (verbose_inner->on_close != NULL) {
        verbose_inner->on_close(conn, record, user);
    }
}

/* ---- setting up */

static int fail(const struct serving *serving, const char *what, int error)
{
    fprintf(stderr, "%s: %s: %s\n", serving->service->name, what, peal_strerror(error));
    return error;
}

static int open_signals(struct serving *serving)
{
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct peal_signal *signal; /* the loop closes it when it ends */
        int error = peal_signal_open(serving->loop, signal_numbers[i], on_signal, serving, &signal);
        if (error < 0) {
            return fail(serving, "waiting for signals", error);
        }
    }
    return 0;
}

static enum peal_balance balance_of(const char *text)
{
    if (strcmp(text, "least") == 0) {
        return PEAL_BALANCE_LEAST;
    }
    return strcmp(text, "reuseport") == 0 ? PEAL_BALANCE_REUSEPORT : PEAL_BALANCE_ROUND_ROBIN;
}

static int new_server(struct serving *serving)
{
    const struct serve_options *options = &serving->own->options;
    struct peal_server_options server = {
        .ops = &serving->own->ops,
        .user = serving,
        .name = serving->service->name,
        .pool = serving->pool,
        .balance = balance_of(options->balance),
        .limits = serving->service->limits,
        .conns_max = options->conns_max,
        .conns_per_addr_max = options->conns_per_addr_max,
        .drain_ms = options->drain_ms,
        .on_accept_pause = on_accept_pause,
        .on_stopped = on_stopped,
    };
    server.limits.idle_ms = options->idle_ms;

    int error = peal_server_new(serving->loop, &server, &serving->server);
    return error < 0 ? fail(serving, "creating the server", error) : 0;
}

static int listen_on_all(struct serving *serving)
{
    const struct serve_options *options = &serving->own->options;

    for (size_t i = 0; i < options->listen.count; i++) {
        const char *why = NULL;
        int error = peal_server_listen(serving->server, options->listen.items[i], &why);
        if (error < 0) {
            fprintf(stderr, "%s: cannot listen on %s: %s\n", serving->service->name,
                    options->listen.items[i], why != NULL ? why : peal_strerror(error));
            return error;
        }
    }
    return 0;
}

static int write_port_file(const struct serving *serving)
{
    const char *path = serving->own->options.port_file;
    struct peal_addr address;
    char text[PEAL_ADDR_TEXT_MAX];
    char other[4096];

    if ((size_t)snprintf(other, sizeof(other), "%s.%ld", path, (long)getpid()) >= sizeof(other)) {
        return fail(serving, path, -ENAMETOOLONG);
    }
    FILE *file = fopen(other, "we");
    if (file == NULL) {
        return fail(serving, other, -errno);
    }
    for (size_t i = 0; peal_server_address(serving->server, i, &address) == 0; i++) {
        if (peal_addr_port(&address) != 0) {
            fprintf(file, "%u\n", (unsigned)peal_addr_port(&address));
        } else {
            peal_addr_format(&address, text, sizeof(text));
            fprintf(file, "%s\n", text);
        }
    }
    bool written = !ferror(file);
    if (fclose(file) != 0 || !written || rename(other, path) < 0) {
        int error = -errno;
        unlink(other);
        return fail(serving, path, error);
    }
    return 0;
}

static int tell_addresses(const struct serving *serving)
{
    struct peal_addr address;
    char text[PEAL_ADDR_TEXT_MAX];

    for (size_t i = 0; peal_server_address(serving->server, i, &address) == 0; i++) {
        peal_addr_format(&address, text, sizeof(text));
        printf("%s: listening on %s\n", serving->service->name, text);
    }
    fflush(stdout);
    return serving->own->options.port_file != NULL ? write_port_file(serving) : 0;
}

static int start(struct serving *serving)
{
    const struct serve_options *options = &serving->own->options;
    struct peal_loop_options loop = {
        .name = "home", .engine = options->engine, .busy_poll_us = (uint32_t)options->busy_poll_us};
    struct peal_pool_options pool = {.threads = (unsigned)options->threads,
                                     .engine = options->engine,
                                     .busy_poll_us = (uint32_t)options->busy_poll_us};

    int error = peal_loop_new(&loop, &serving->loop);
    if (error < 0) {
        return fail(serving, "creating the loop", error);
    }
    error = open_signals(serving);
    if (error == 0 && options->threads > 1) {
        error = peal_pool_new(&pool, &serving->pool);
        if (error < 0) {
            return fail(serving, "starting the threads", error);
        }
    }
    if (error == 0) {
        error = new_server(serving);
    }
    if (error == 0 && serving->service->start != NULL) {
        error = serving->service->start(serving);
        if (error < 0) {
            return fail(serving, "starting", error);
        }
    }
    if (error == 0) {
        error = listen_on_all(serving);
    }
    return error == 0 ? tell_addresses(serving) : error;
}

static void finish(struct serving *serving)
{
    serving->server = peal_server_unref(serving->server);
    serving->pool = peal_pool_free(serving->pool);
    serving->loop = peal_loop_free(serving->loop);
    if (serving->service->end != NULL) {
        serving->service->end();
    }
}

static int parse(struct serving *serving, int argc, char **argv)
{
    struct serve_options *options = &serving->own->options;
    char listen_help[96];
    struct arg all[ARGS_MAX];
    const struct arg args[] = {
        {"listen", "ADDRESS", listen_help, ARG_TEXTS, .into = &options->listen},
        {"threads", "N", "serve on N loops, each on a thread of its own (1)", ARG_COUNT,
         .into = &options->threads, .min = 1, .max = 1024},
        {"engine", "NAME", "how loops wait: epoll or io_uring (PEAL_ENGINE, or epoll)", ARG_CHOICE,
         .into = &options->engine, .choices = "epoll io_uring"},
        {"busy-poll-us", "N", "spin for so many microseconds before sleeping, while it pays (0)",
         ARG_COUNT, .into = &options->busy_poll_us, .max = 1000000},
        {"balance", "HOW", "round-robin, least or reuseport: how loops share (round-robin)",
         ARG_CHOICE, .into = &options->balance, .choices = "round-robin least reuseport"},
        {"max-conns", "N", "connections open at once (no limit)", ARG_COUNT,
         .into = &options->conns_max, .min = 1},
        {"max-per-addr", "N", "connections of one IP address open at once (no limit)", ARG_COUNT,
         .into = &options->conns_per_addr_max, .min = 1},
        {"idle", "SECONDS", "end connections on which nothing moves for so long (never)", ARG_TIME,
         .into = &options->idle_ms, .min = 1},
        {"drain", "SECONDS", "what SIGTERM leaves connections to end in (10)", ARG_TIME,
         .into = &options->drain_ms, .min = 1},
        {"port-file", "FILE", "write the port here once listening, a line for each --listen",
         ARG_TEXT, .into = &options->port_file},
        {"track-refs", NULL, "note who takes references, for the report at the end", ARG_FLAG,
         .into = &options->track_refs},
        {"verbose", NULL, "print each connection's beginning and end", ARG_FLAG,
         .into = &options->verbose},
        {0},
    };
    const struct arg_command command = {
        serving->service->name, "[OPTION]…", serving->service->about,
        args_join(serving->service->args, args, all), serving->service->notes};

    snprintf(listen_help, sizeof(listen_help),
             "such as 127.0.0.1:80, [::1]:80, :80, unix:PATH; "
             "repeatable (%s)",
             serving->service->address);
    int exit_code = args_parse(&command, argc, argv, NULL);
    if (exit_code >= 0) {
        return exit_code;
    }
    for (size_t i = 0; i < options->listen.count; i++) {
        struct peal_addr address;
        const char *why = NULL;
        if (peal_addr_parse(options->listen.items[i], &address, &why) < 0) {
            return args_mistake(&command, "--listen %s: %s", options->listen.items[i], why);
        }
    }
    if (options->listen.count == 0) {
        options->listen.items[options->listen.count++] = serving->service->address;
    }
    return serving->service->check != NULL ? serving->service->check(&command) : -1;
}

int serve(const struct service *service, int argc, char **argv)
{
    struct serve_own own = {
        .options = {.threads = service->threads != 0 ? service->threads : 1,
                    .balance = "round-robin",
                    .conns_max = service->conns_max,
                    .idle_ms = service->idle_ms,
                    .drain_ms = 10000},
        .ops = *service->ops,
    };
    struct serving serving = {.service = service, .own = &own};

    int exit_code = parse(&serving, argc, argv);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (own.options.verbose) {
        verbose_inner = service->ops;
        own.ops.on_open = verbose_open;
        own.ops.on_close = verbose_close;
        peal_log_set_level(PEAL_LOG_INFO);
    }
    peal_log_set(peal_log_to_stderr, NULL);
    if (own.options.track_refs) {
        peal_refs_track(true);
    }
    common_raise_fd_limit(FDS_MAX);
    serving.drain_ms = own.options.drain_ms;
    signal(SIGPIPE, SIG_IGN); /* a reader of our output that goes away must not end a server */

    int error = start(&serving);
    if (error == 0) {
        own.running = true;
        error = peal_loop_run(serving.loop);
        if (error < 0) {
            fail(&serving, "waiting for events", error);
        }
    }
    finish(&serving);
    return error < 0 ? 1 : 0;
}
