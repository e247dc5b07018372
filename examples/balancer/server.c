/* SPDX-License-Identifier: BSD-2-Clause */
/* balancer: passes connections on to several places in turn.
 *
 * A place that cannot be connected to is passed over for --retry seconds, and the connection goes
 * to the next; its client notices nothing but the delay. When no place takes it, it ends by a
 * reset, as where nobody listens. If all are being passed over, all are tried again. What the
 * balancer itself lacks (descriptors, memory) is no place's fault: that ends the connection, and
 * none is passed over for it. What is passed on, and how ends are, is the relay's (relay.c of the
 * frame).
 *
 * The loops share one counter for the turns and a time for each place; either is a number that any
 * thread may read and write, and a turn more or less does no harm. */
#include "relay.h"
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

static struct arg_texts places;
static uint32_t connect_ms = 3000, retry_ms = 5000;
static atomic_uint turn;

static struct {
    atomic_uint_fast64_t passed_over_until_ns;
    atomic_uint_fast64_t connections, failures;
} records[ARG_TEXTS_MAX];
static atomic_uint_fast64_t own_failures;

/* The next place that is not passed over; if there is none, the next. */
static unsigned choose(uint64_t now_ns)
{
    unsigned first = atomic_fetch_add(&turn, 1) % (unsigned)places.count;
    for (unsigned i = 0; i < places.count; i++) {
        unsigned place = (first + i) % (unsigned)places.count;
        if (atomic_load(&records[place].passed_over_until_ns) <= now_ns) {
            return place;
        }
    }
    return first;
}

static bool try_place(struct relay *relay)
{
    unsigned place = choose(peal_loop_now_ns(peal_conn_loop(relay->front)));
    relay->mine = (void *)(uintptr_t)place;
    return relay_try(relay, places.items[place]) == 0;
}

static void on_up(struct relay *relay)
{
    unsigned place = (unsigned)(uintptr_t)relay->mine;
    atomic_fetch_add(&records[place].connections, 1);
    atomic_store(&records[place].passed_over_until_ns, 0);
}

static bool is_our_own(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

static void on_fail(struct relay *relay, const struct peal_connect_failure *failure)
{
    if (is_our_own(failure->error)) {
        if (atomic_fetch_add(&own_failures, 1) == 0) {
            fprintf(stderr, "balancer: a connection was ended: %s\n", failure->why);
        }
        peal_conn_abort(relay->front);
        return;
    }
    unsigned place = (unsigned)(uintptr_t)relay->mine;
    uint64_t now_ns = peal_loop_now_ns(peal_conn_loop(relay->front));
    if (atomic_exchange(&records[place].passed_over_until_ns,
                        now_ns + (uint64_t)retry_ms * 1000000) <= now_ns) {
        fprintf(stderr, "balancer: %s is passed over for a while: %s\n", places.items[place],
                failure->why);
    }
    atomic_fetch_add(&records[place].failures, 1);
    if (relay->tries >= places.count || !try_place(relay)) {
        peal_conn_abort(relay->front);
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    static const struct relay_ops relay_ops = {.on_up = on_up, .on_fail = on_fail};
    struct relay *relay = relay_begin(conn, NULL, &relay_ops, connect_ms);
    (void)user;
    peal_conn_set_user(conn, relay);
    if (relay == NULL || !try_place(relay)) {
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
    return places.count > 0 ? -1 : args_mistake(command, "--to ADDRESS is missing: where to?");
}

static void print(const struct serving *serving)
{
    (void)serving;
    for (size_t i = 0; i < places.count; i++) {
        printf("%-24s %12" PRIu64 " connections, %" PRIu64 " failures\n", places.items[i],
               (uint64_t)atomic_load(&records[i].connections),
               (uint64_t)atomic_load(&records[i].failures));
    }
    if (atomic_load(&own_failures) > 0) {
        printf("%" PRIu64 " connections ended, as the balancer lacked descriptors or memory\n",
               (uint64_t)atomic_load(&own_failures));
    }
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"to", "ADDRESS", "a place for connections; repeatable, and all have their turn", ARG_TEXTS,
         .into = &places},
        {"connect", "SECONDS", "what connecting to one may take (3)", ARG_TIME, .into = &connect_ms,
         .min = 1},
        {"retry", "SECONDS", "how long a place that failed is passed over (5)", ARG_TIME,
         .into = &retry_ms, .min = 1},
        {0},
    };
    static const struct service service = {
        .name = "balancer",
        .about = "Passes connections on to several places in turn.",
        .address = "127.0.0.1:3015",
        .ops = &ops,
        .args = args,
        .check = check,
        .print = print,
    };
    return serve(&service, argc, argv);
}
