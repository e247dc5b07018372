/* SPDX-License-Identifier: BSD-2-Clause */
/* The frame of the clients: everything about them but what they say.
 *
 * The main thread's loop has the signals, and with one thread the connections too. With more, a
 * pool's loops have the connections, and the main loop only waits for their ends.
 *
 *     parse → signals → pool → start → a peal_client for each connection, made on its own loop
 *                                            │ opened … on_close, or the one on_fail
 *                                            └─► left - 1; at 0 the main loop quits → end
 *
 * Rules:
 *  1. Each client makes one attempt, so it ends in exactly one way: a failure to connect, the close
 *     of its connection, or a cancel by the stop before it had connected. Each counts `left` down
 *     once, whichever thread it comes on.
 *  2. A stop goes to each client on its own loop, behind the task that made it. Where a connection
 *     is open it is closed gracefully; where none is, the client is cancelled and counted there.
 *  3. A second signal does not wait: the loops end, and with them what they have.
 */
#include "dial.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <peal/error.h>
#include <peal/log.h>
#include <peal/signal.h>

#include "common.h"

enum { FDS_MAX = 1 << 20 };

struct dial_own {
    struct peal_conn_ops ops; /* the program's, with our on_close before its own */
    struct dialled *all;
    atomic_uint_fast64_t left; /* not over yet */
    atomic_bool has_failed;
    bool stopping;
    struct arg_texts addresses; /* of --connect; one, unless dialler->several */
    uint64_t threads;
    const char *engine;
};

static int fail(const struct dialing *dialing, const char *what, int error)
{
    fprintf(stderr, "%s: %s: %s\n", dialing->dialler->name, what, peal_strerror(error));
    return error;
}

/* ---- ends */

static void over(struct dialled *one)
{
    if (!one->is_over) {
        one->is_over = true;
        if (atomic_fetch_sub(&one->dialing->own->left, 1) == 1) {
            peal_loop_quit(one->dialing->loop);
        }
    }
}

static void could_not(struct dialled *one)
{
    atomic_store(&one->dialing->own->has_failed, true);
    over(one);
    if (one->dialing->dialler->several) {
        dial_stop(one->dialing);
    }
}

static bool is_well(const struct peal_close_record *record)
{
    return record->bytes_unsent == 0 &&
           (record->cause == PEAL_CAUSE_PEER_CLOSED || record->cause == PEAL_CAUSE_LOCAL_CLOSE ||
            record->cause == PEAL_CAUSE_LOCAL_ABORT);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct dialled *one = user;
    struct dialing *dialing = one->dialing;
    char text[PEAL_CLOSE_TEXT_MAX];

    if (!is_well(record)) {
        fprintf(stderr, "%s: the connection broke: %s\n", dialing->dialler->name,
                peal_close_record_format(record, text, sizeof(text)));
        atomic_store(&dialing->own->has_failed, true);
    }
    if (dialing->dialler->ops->on_close != NULL) {
        dialing->dialler->ops->on_close(conn, record, user);
    }
    over(one);
}

static void on_fail(struct peal_client *client, const struct peal_connect_failure *failure,
                    void *user)
{
    struct dialled *one = user;

    (void)client;
    fprintf(stderr, "%s: cannot connect to %s: %s\n", one->dialing->dialler->name, one->address,
            failure->why);
    could_not(one);
}

static void stop_one(void *user)
{
    struct dialled *one = user;
    struct peal_conn *conn = one->client != NULL ? peal_client_conn(one->client) : NULL;

    if (conn != NULL) {
        peal_conn_close(conn);
        return;
    }
    one->client = peal_client_unref(one->client); /* and cancelled: no callback comes */
    over(one);
}

static void stop_all(void *user)
{
    struct dialing *dialing = user;

    if (dialing->own->stopping) {
        return;
    }
    dialing->own->stopping = true;
    if (dialing->dialler->stop != NULL) {
        dialing->dialler->stop(dialing);
    }
    for (uint64_t i = 0; i < dialing->conns; i++) {
        if (peal_loop_post(dialing->own->all[i].loop, stop_one, &dialing->own->all[i]) < 0) {
            peal_loop_quit(dialing->loop); /* for want of memory: then at once */
        }
    }
}

void dial_stop(struct dialing *dialing)
{
    if (peal_loop_post(dialing->loop, stop_all, dialing) < 0) {
        peal_loop_quit(dialing->loop);
    }
}

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    struct dialing *dialing = user;

    (void)signal;
    (void)number;
    if (dialing->own->stopping) {
        peal_loop_quit(dialing->loop);
        return;
    }
    stop_all(dialing);
}

/* ---- beginnings */

static void dial_one(void *user)
{
    struct dialled *one = user;
    const struct dialing *dialing = one->dialing;
    struct peal_client_options options = {
        .to = one->address,
        .ops = &dialing->own->ops,
        .user = one,
        .limits = dialing->dialler->limits,
        .on_fail = on_fail,
    };

    int error = peal_client_new(one->loop, &options, &one->client);
    if (error < 0) {
        fail(dialing, one->address, error);
        could_not(one);
        return;
    }
    peal_client_connect(one->client);
}

static int start(struct dialing *dialing)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    struct dial_own *own = dialing->own;
    struct peal_loop_options loop = {.name = "main", .engine = own->engine};
    struct peal_pool_options pool = {.threads = (unsigned)own->threads, .engine = own->engine};

    int error = peal_loop_new(&loop, &dialing->loop);
    if (error < 0) {
        return fail(dialing, "creating the loop", error);
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct peal_signal *signal; /* the loop closes it when it ends */
        error = peal_signal_open(dialing->loop, numbers[i], on_signal, dialing, &signal);
        if (error < 0) {
            return fail(dialing, "waiting for signals", error);
        }
    }
    if (own->threads > 1) {
        error = peal_pool_new(&pool, &dialing->pool);
        if (error < 0) {
            return fail(dialing, "starting the threads", error);
        }
    }
    own->all = calloc(dialing->conns, sizeof(*own->all));
    if (own->all == NULL) {
        return fail(dialing, "preparing the connections", -ENOMEM);
    }
    if (dialing->dialler->start != NULL) {
        error = dialing->dialler->start(dialing);
        if (error < 0) {
            return fail(dialing, "starting", error);
        }
    }
    for (uint64_t i = 0; i < dialing->conns; i++) {
        struct dialled *one = &own->all[i];
        one->dialing = dialing;
        one->index = i;
        one->address = own->addresses.items[i % own->addresses.count];
        one->loop = dialing->pool != NULL ? peal_pool_next(dialing->pool) : dialing->loop;
        error = peal_loop_post(one->loop, dial_one, one);
        if (error < 0) {
            return fail(dialing, "connecting", error);
        }
    }
    return 0;
}

static void finish(struct dialing *dialing)
{
    dialing->pool = peal_pool_free(dialing->pool);
    dialing->loop = peal_loop_free(dialing->loop);
    for (uint64_t i = 0; dialing->own->all != NULL && i < dialing->conns; i++) {
        peal_client_unref(dialing->own->all[i].client);
    }
    free(dialing->own->all);
}

static int parse(struct dialing *dialing, int argc, char **argv)
{
    const struct dialler *dialler = dialing->dialler;
    struct arg all[ARGS_MAX];
    struct arg_texts operands = {.count = 0};
    const char *address = dialler->address;
    char connect_help[112], synopsis[128];
    const struct arg common[] = {
        {"connect", "ADDRESS", connect_help, dialler->several ? ARG_TEXTS : ARG_TEXT,
         .into = dialler->several ? (void *)&dialing->own->addresses : (void *)&address},
        {"engine", "NAME", "how loops wait: epoll or io_uring (PEAL_ENGINE, or epoll)", ARG_CHOICE,
         .into = &dialing->own->engine, .choices = "epoll io_uring"},
        {0},
    };
    const struct arg of_many[] = {
        {"conns", "N", "connections (1)", ARG_COUNT, .into = &dialing->conns, .min = 1,
         .max = FDS_MAX},
        {"threads", "N", "connect from N loops, each on a thread of its own (1)", ARG_COUNT,
         .into = &dialing->own->threads, .min = 1, .max = 1024},
        {0},
    };
    struct arg both[ARGS_MAX];

    snprintf(synopsis, sizeof(synopsis), "[OPTION]…%s%s", dialler->synopsis != NULL ? " " : "",
             dialler->synopsis != NULL ? dialler->synopsis : "");
    snprintf(connect_help, sizeof(connect_help), "such as localhost:80, [::1]:80, unix:PATH%s (%s)",
             dialler->several ? "; repeatable" : "", dialler->address);
    const struct arg_command command = {
        dialler->name, synopsis, dialler->about,
        args_join(dialler->args, dialler->many ? args_join(of_many, common, both) : common, all),
        dialler->notes};
    int exit_code = args_parse(&command, argc, argv, dialler->synopsis != NULL ? &operands : NULL);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (dialing->own->addresses.count == 0) {
        dialing->own->addresses = (struct arg_texts){{address}, 1};
    }
    if (dialler->several) {
        dialing->conns = dialing->own->addresses.count;
    }
    return dialler->check != NULL ? dialler->check(&command, &operands) : -1;
}

int dial(const struct dialler *dialler, int argc, char **argv)
{
    struct dial_own own = {.threads = 1};
    struct dialing dialing = {.dialler = dialler, .conns = 1, .own = &own};

    int exit_code = parse(&dialing, argc, argv);
    if (exit_code >= 0) {
        return exit_code;
    }
    own.ops = *dialler->ops; /* which check may have chosen */
    own.ops.on_close = on_close;
    atomic_store(&own.left, dialing.conns);
    peal_log_set(peal_log_to_stderr, NULL);
    common_raise_fd_limit(FDS_MAX);
    signal(SIGPIPE, SIG_IGN); /* a reader of our output that goes away must not end a client */

    int error = start(&dialing);
    if (error == 0) {
        error = peal_loop_run(dialing.loop);
        if (error < 0) {
            fail(&dialing, "waiting for events", error);
        }
    }
    finish(&dialing);
    bool all_well = error == 0 && !atomic_load(&own.has_failed);
    exit_code = error == 0 && dialler->end != NULL ? dialler->end(&dialing, all_well) : 0;
    return all_well ? exit_code : 1;
}
