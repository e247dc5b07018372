/* SPDX-License-Identifier: BSD-2-Clause */
/* Stopping with a report: what was open, what ended well, what had to be cut off, and who still
 * holds on to what.
 *
 *     build/examples/drain &
 *     nc 127.0.0.1 2012 &
 *     kill -INT %1        (the first signal waits for up to three seconds, a second one does not)
 *
 * The server greets each connection and keeps the latest one by reference, and forgets to give that
 * back before the report: references_held is then 1, and peal_refs_report says which line took it.
 * The connection's socket is closed all the same. */
#include <peal.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static struct peal_conn *latest;

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "drain: %s: %s\n", what, peal_strerror(result));
        exit(1);
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    (void)user;
    peal_conn_unref(latest);
    latest = peal_conn_ref(conn);
    peal_conn_send(conn, "hello\n", 6);
}

static const struct peal_conn_ops ops = {.on_open = on_open};

struct stopper {
    struct peal_server *server;
    bool stopping;
};

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    struct stopper *stopper = user;
    (void)signal;
    (void)number;
    peal_server_stop(stopper->server, stopper->stopping ? 0 : 3000);
    stopper->stopping = true;
}

static void print_line(const char *text, void *user)
{
    (void)user;
    printf("  %s\n", text);
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    char text[PEAL_DRAIN_TEXT_MAX];
    struct peal_server_stats stats;
    (void)user;
    printf("%s\n", peal_drain_report_format(report, text, sizeof text));
    peal_server_get_stats(server, &stats);
    for (int cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
        if (stats.closed_by_cause[cause] > 0) {
            printf("  %s: %llu\n", peal_cause_text((enum peal_cause)cause),
                   (unsigned long long)stats.closed_by_cause[cause]);
        }
    }
    peal_refs_report(print_line, NULL);
    peal_loop_quit(peal_server_loop(server));
}

int main(int argc, char **argv)
{
    struct peal_loop *loop;
    struct peal_signal *interrupt, *terminate;
    struct stopper stopper = {0};
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:2012", *why;

    peal_refs_track(true);
    must(peal_loop_new(NULL, &loop), "loop");
    struct peal_server_options options = {.ops = &ops, .on_stopped = on_stopped};
    must(peal_server_new(loop, &options, &stopper.server), "server");
    must(peal_signal_open(loop, SIGINT, on_signal, &stopper, &interrupt), "SIGINT");
    must(peal_signal_open(loop, SIGTERM, on_signal, &stopper, &terminate), "SIGTERM");
    if (peal_server_listen(stopper.server, address, &why) < 0) {
        fprintf(stderr, "drain: %s: %s\n", address, why);
        return 1;
    }
    peal_loop_run(loop);
    peal_signal_close(interrupt);
    peal_signal_close(terminate);
    peal_server_unref(stopper.server);
    latest = peal_conn_unref(latest);
    peal_loop_free(loop);
    return 0;
}
