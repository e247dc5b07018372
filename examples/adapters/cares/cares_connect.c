/* SPDX-License-Identifier: BSD-2-Clause */
/* cares-connect: connects to each name that it is given, all at once, and says which of its
 * addresses answered first.
 *
 *     cares-connect example.org:80 localhost:22
 *     cares-connect --servers 127.0.0.1:5353 example.org:80
 *
 * One line for each, as it ends: the name and the address, or the name and why not. The exit code
 * is 0 when all were reached. Names are resolved by c-ares, which is at home on the loop by
 * peal_cares.c; the rest is what any client does. */
#include "args.h"
#include "peal_cares.h"

#include <peal.h>

#include <ares.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct target {
    const char *name;
    struct peal_client *client;
};

static const char *servers;
static uint32_t timeout_ms = 10000;

static struct peal_loop *loop;
static struct target targets[ARG_TEXTS_MAX];
static size_t target_count, ended, reached;

static void end_one(void)
{
    if (++ended == target_count) {
        peal_loop_quit(loop);
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    const struct target *target = user;
    char text[PEAL_ADDR_TEXT_MAX];
    struct peal_addr addr;

    peal_conn_peer(conn, &addr);
    peal_addr_format(&addr, text, sizeof(text));
    printf("%s %s\n", target->name, text);
    reached++;
    peal_conn_abort(conn); /* that it answered is all we wanted to know */
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)record;
    (void)user;
    end_one();
}

static void on_fail(struct peal_client *client, const struct peal_connect_failure *failure,
                    void *user)
{
    const struct target *target = user;

    (void)client;
    printf("%s: %s\n", target->name, failure->why);
    end_one();
}

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    (void)signal;
    (void)number;
    (void)user;
    peal_loop_quit(loop);
}

static int begin(struct target *target, const struct peal_resolver *resolver)
{
    static const struct peal_conn_ops ops = {.on_open = on_open, .on_close = on_close};
    const struct peal_client_options options = {
        .to = target->name,
        .resolver = resolver,
        .ops = &ops,
        .user = target,
        .connect_ms = timeout_ms,
        .on_fail = on_fail,
    };
    int result = peal_client_new(loop, &options, &target->client);
    if (result < 0) {
        printf("%s: %s\n", target->name, peal_strerror(result));
        end_one();
        return 0;
    }
    return peal_client_connect(target->client);
}

static int connect_all(void)
{
    struct peal_signal *on_int = NULL, *on_term = NULL;
    struct peal_cares *cares = NULL;
    int result = peal_cares_new(loop, servers, &cares);

    if (result == 0) {
        result = peal_signal_open(loop, SIGINT, on_signal, NULL, &on_int);
    }
    if (result == 0) {
        result = peal_signal_open(loop, SIGTERM, on_signal, NULL, &on_term);
    }
    for (size_t i = 0; result == 0 && i < target_count; i++) {
        result = begin(&targets[i], peal_cares_resolver(cares));
    }
    if (result == 0) {
        result = peal_loop_run(loop);
    }
    for (size_t i = 0; i < target_count; i++) {
        peal_client_unref(targets[i].client);
    }
    peal_cares_free(cares);
    peal_signal_close(on_int);
    peal_signal_close(on_term);
    return result;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"servers", "LIST", "DNS servers, as 127.0.0.1:53,[::1]:53 (the system's)", ARG_TEXT,
         .into = &servers},
        {"timeout", "SECONDS", "for each name and its connection together (10)", ARG_TIME,
         .into = &timeout_ms, .min = 1},
        {0},
    };
    static const struct arg_command command = {
        .name = "cares-connect",
        .synopsis = "[OPTION]… HOST:PORT…",
        .about = "Connects to each name, resolved by c-ares on Peal's loop.",
        .args = args,
    };
    struct arg_texts operands = {0};
    int exit_code = args_parse(&command, argc, argv, &operands);

    if (exit_code >= 0) {
        return exit_code;
    }
    if (operands.count == 0) {
        return args_mistake(&command, "no name is given");
    }
    for (size_t i = 0; i < operands.count; i++) {
        targets[target_count++].name = operands.items[i];
    }
    ares_library_init(ARES_LIB_INIT_ALL);
    int result = peal_loop_new(NULL, &loop);
    if (result == 0) {
        result = connect_all();
        loop = peal_loop_free(loop);
    }
    ares_library_cleanup();
    if (result < 0) {
        fprintf(stderr, "cares-connect: %s\n", peal_strerror(result));
    }
    return result < 0 || reached < target_count ? 1 : 0;
}
