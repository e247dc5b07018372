/* SPDX-License-Identifier: BSD-2-Clause */
/* A client that comes back: it connects to a name, says hello, prints what it hears, and connects
 * again, after a pause that grows, whenever it fails or the connection ends.
 *
 *     build/examples/reconnect localhost:2007
 *
 * Each attempt ends in exactly one of on_open and on_fail. A second argument bounds the failures in
 * a row; when they are used up the last on_fail says will_retry false, and the program ends. */
#include <peal.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "reconnect: %s: %s\n", what, peal_strerror(result));
        exit(1);
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct peal_addr peer;
    char text[PEAL_ADDR_TEXT_MAX];
    (void)user;
    peal_conn_peer(conn, &peer);
    peal_addr_format(&peer, text, sizeof text);
    printf("connected to %s\n", text);
    peal_conn_send(conn, "hello\n", 6);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)conn;
    (void)user;
    printf("heard %.*s", (int)peal_buf_size(input), (const char *)peal_buf_data(input));
    peal_buf_clear(input);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    char text[PEAL_CLOSE_TEXT_MAX];
    (void)conn;
    (void)user;
    printf("%s\n", peal_close_record_format(record, text, sizeof text));
}

static void on_fail(struct peal_client *client, const struct peal_connect_failure *failure,
                    void *user)
{
    (void)client;
    printf("attempt %u failed: %s\n", failure->attempt, failure->why);
    if (failure->will_retry) {
        printf("again in %u ms\n", failure->retry_ms);
    } else {
        peal_loop_quit(user);
    }
}

static const struct peal_conn_ops ops = {
    .on_open = on_open,
    .on_data = on_data,
    .on_close = on_close,
};

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    (void)signal;
    (void)number;
    peal_loop_quit(user); /* the loop closes what it still has before it returns */
}

int main(int argc, char **argv)
{
    struct peal_loop *loop;
    struct peal_signal *interrupt, *terminate;
    struct peal_client *client;

    setvbuf(stdout, NULL, _IOLBF, 0);
    must(peal_loop_new(NULL, &loop), "loop");
    must(peal_signal_open(loop, SIGINT, on_signal, loop, &interrupt), "SIGINT");
    must(peal_signal_open(loop, SIGTERM, on_signal, loop, &terminate), "SIGTERM");
    struct peal_client_options options = {
        .to = argc > 1 ? argv[1] : "localhost:2007",
        .ops = &ops,
        .user = loop,
        .reconnect = true,
        .attempts_max = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0,
        .retry_min_ms = 100,
        .retry_max_ms = 5000,
        .on_fail = on_fail,
    };
    must(peal_client_new(loop, &options, &client), options.to);
    must(peal_client_connect(client), "connect");
    peal_loop_run(loop);
    peal_client_unref(client);
    peal_signal_close(interrupt);
    peal_signal_close(terminate);
    peal_loop_free(loop);
    return 0;
}
