/* SPDX-License-Identifier: BSD-2-Clause */
/* peal_serve: a loop, a server and two signals, for the program of ten lines. What it does is what
 * such a program would write with the public interface, and it uses nothing else; each step undoes
 * the ones before it when it fails. */
#include <peal/serve.h>

#include <peal/error.h>
#include <peal/loop.h>
#include <peal/signal.h>

#include "base/log.h"

#include <signal.h>

struct serving {
    struct peal_loop *loop;
    struct peal_server *server;
    bool stopping;
};

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    char text[PEAL_DRAIN_TEXT_MAX];
    (void)user;
    pl_log(PEAL_LOG_INFO, "%s", peal_drain_report_format(report, text, sizeof text));
    peal_loop_quit(peal_server_loop(server));
}

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    struct serving *serving = user;
    (void)signal;
    (void)number;
    peal_server_stop(serving->server, serving->stopping ? 0 : 10 * 1000);
    serving->stopping = true;
}

static int run(struct serving *serving, const char *address)
{
    struct peal_signal *interrupt = NULL, *terminate = NULL;
    const char *why = NULL;
    int result = peal_signal_open(serving->loop, SIGINT, on_signal, serving, &interrupt);
    if (result == 0) {
        result = peal_signal_open(serving->loop, SIGTERM, on_signal, serving, &terminate);
    }
    if (result == 0) {
        result = peal_server_listen(serving->server, address, &why);
    }
    if (result == 0) {
        result = peal_loop_run(serving->loop);
    } else {
        pl_log(PEAL_LOG_ERROR, "cannot serve on \"%s\": %s", address,
               why ? why : peal_strerror(result));
    }
    peal_signal_close(interrupt);
    peal_signal_close(terminate);
    return result;
}

int peal_serve(const char *address, const struct peal_conn_ops *ops)
{
    struct serving serving = {0};
    int result = peal_loop_new(NULL, &serving.loop);
    if (result < 0) {
        return result;
    }
    /* ops see a user of NULL; the server's own callbacks need none. */
    struct peal_server_options options = {.ops = ops, .on_stopped = on_stopped};
    result = peal_server_new(serving.loop, &options, &serving.server);
    if (result == 0) {
        result = run(&serving, address);
    }
    peal_server_unref(serving.server);
    peal_loop_free(serving.loop);
    return result;
}
