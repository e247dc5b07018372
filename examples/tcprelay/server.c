/* SPDX-License-Identifier: BSD-2-Clause */
/* tcprelay: what comes in goes to another place, and what comes from there goes back.
 *
 * All of it is in the relay of the frame (relay.c): backpressure, half-close, and how ends are
 * passed on. Here is only where to. */
#include "relay.h"
#include "serve.h"

static const char *to;
static uint32_t connect_ms = 10000;

static void on_open(struct peal_conn *conn, void *user)
{
    static const struct relay_ops relay_ops = {0};
    struct relay *relay = relay_begin(conn, NULL, &relay_ops, connect_ms);
    (void)user;
    peal_conn_set_user(conn, relay);
    if (relay == NULL || relay_try(relay, to) < 0) {
        peal_conn_abort(conn);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)conn;
    relay_on_data(user, input);
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)conn;
    (void)input;
    relay_on_eof(user);
}

static void on_drain(struct peal_conn *conn, void *user)
{
    (void)conn;
    relay_on_drain(user);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    if (user != NULL) {
        relay_on_close(user, record);
    }
}

static const struct peal_conn_ops ops = {.on_open = on_open,
                                         .on_data = on_data,
                                         .on_eof = on_eof,
                                         .on_drain = on_drain,
                                         .on_close = on_close};

static int check(const struct arg_command *command)
{
    return to != NULL ? -1 : args_mistake(command, "--to ADDRESS is missing: where to?");
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"to", "ADDRESS", "where connections are passed on to, such as localhost:80", ARG_TEXT,
         .into = &to},
        {"connect", "SECONDS", "what connecting there may take (10)", ARG_TIME, .into = &connect_ms,
         .min = 1},
        {0},
    };
    static const struct service service = {
        .name = "tcprelay",
        .about = "Passes connections on to another place.",
        .address = "127.0.0.1:3014",
        .ops = &ops,
        .args = args,
        .check = check,
    };
    return serve(&service, argc, argv);
}
