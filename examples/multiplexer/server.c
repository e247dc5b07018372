/* SPDX-License-Identifier: BSD-2-Clause */
/* multiplexer: many clients over one connection to a backend.
 *
 *     size of 8 bits · id of 16 bits, little-endian · so many bytes      a frame, either way
 *
 * A client's bytes go to the backend in frames with its id, and the backend's frames go to the
 * client with that id. Id 0 is nobody's: by it the backend is told "CONN 5 FROM 127.0.0.1:1234 IS
 * UP" and "... DOWN", with CR LF. What the backend says to id 0, or to an id that has gone, is
 * dropped.
 *
 * Model. The backend's connection lives on the home loop, clients on any. Both name each other by
 * connection ids only, which any thread may send to at any time; a send is taken whole or not at
 * all, so frames of several loops do not mix. The table of client ids is under a mutex.
 *
 *  1. An id is given again only when its DOWN has been sent. A client that has gone while the
 *     backlog was full leaves its last frames and its DOWN in a list, sent when there is room.
 *  2. A client belongs to the backend's connection that was there when it came. When that ends, so
 *     do its clients; while there is none, clients are closed at once. The backend is connected to
 *     again and again.
 *  3. Backpressure towards the backend: its connection refuses what would take it over --backlog.
 *     The client whose frames were refused keeps them (its UP, or one read) and is not read, until
 *     the backlog has drained and they are taken.
 *  4. Towards a client there is none, as the others share its way: one that does not read is cut
 *     off at --output-cap. */
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <peal/client.h>

enum { BODY_MAX_BYTES = 255, IDS = 65536 };

/* A client of the backend's, until its DOWN has been sent. */
struct member {
    struct member *next; /* of those that have gone */
    uint16_t id;         /* 0: it has none, and is being closed */
    uint64_t backend;
    struct peal_buf rest; /* frames that the backend's connection refused; it is not read then */
};

static const char *to = "127.0.0.1:9999";
static uint64_t ids_max = 1000, backlog = 4 << 20, output_cap = 4 << 20;
static struct peal_server *server;
static struct peal_client *client;
static atomic_uint_fast64_t backend_now; /* its connection's id; 0: there is none */

static struct {
    pthread_mutex_t mutex;
    uint64_t conns[IDS]; /* by id; 0: free */
    uint16_t last;       /* given; the next search begins behind it */
    struct member *gone; /* whose last frames were refused */
} table = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- ids */

/* 0: all are given. */
static uint16_t take_id(uint64_t conn_id)
{
    uint16_t id = 0;
    pthread_mutex_lock(&table.mutex);
    for (uint64_t i = 0; i < ids_max && id == 0; i++) {
        table.last = (uint16_t)(table.last % ids_max + 1);
        if (table.conns[table.last] == 0) {
            id = table.last;
            table.conns[id] = conn_id;
        }
    }
    pthread_mutex_unlock(&table.mutex);
    return id;
}

static uint64_t conn_of(uint16_t id)
{
    pthread_mutex_lock(&table.mutex);
    uint64_t conn_id = table.conns[id];
    pthread_mutex_unlock(&table.mutex);
    return conn_id;
}

static void give_id_back(uint16_t id)
{
    pthread_mutex_lock(&table.mutex);
    table.conns[id] = 0;
    pthread_mutex_unlock(&table.mutex);
}

/* ---- towards the backend */

static int append_frames(struct peal_buf *frames, uint16_t id, const void *data, size_t size)
{
    const unsigned char *at = data;
    while (size > 0) {
        size_t part = size < BODY_MAX_BYTES ? size : BODY_MAX_BYTES;
        if (peal_buf_append_u8(frames, (uint8_t)part) < 0 ||
            peal_buf_append_u16le(frames, id) < 0 || peal_buf_append(frames, at, part) < 0) {
            return -ENOMEM;
        }
        at += part;
        size -= part;
    }
    return 0;
}

static int append_news(struct member *member, const struct peal_conn *conn, const char *what)
{
    struct peal_addr peer;
    char from[PEAL_ADDR_TEXT_MAX], text[BODY_MAX_BYTES];
    peal_conn_peer(conn, &peer);
    peal_addr_format(&peer, from, sizeof from);
    int size = snprintf(text, sizeof text, "CONN %u FROM %s IS %s\r\n", member->id, from, what);
    return append_frames(&member->rest, 0, text,
                         (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

static void send_of_gone(void);

static void want_drain(void *user)
{
    struct peal_conn *backend;
    if (peal_conn_find((uintptr_t)user, &backend) == 0) {
        peal_conn_want_drain(backend);
        peal_conn_unref(backend);
    } else {
        send_of_gone(); /* to nobody: their ids are free now */
    }
}

/* Calls backend_drain when there is room, or send_of_gone if there is no such backend any more. */
static int ask_for_room(uint64_t backend)
{
    return peal_loop_post(peal_server_loop(server), want_drain, (void *)(uintptr_t)backend);
}

/* 0, or a negative errno; the rest is kept if it was refused: -ENOBUFS. */
static int send_rest(struct member *member)
{
    ssize_t n = peal_conn_send_to_id(member->backend, peal_buf_data(&member->rest),
                                     peal_buf_size(&member->rest));
    if (n != -ENOBUFS) {
        peal_buf_deinit(&member->rest);
    }
    return n < 0 ? (int)n : 0;
}

/* ---- clients that have gone */

/* The backend would be wrong about who is there from now on: all begin anew. */
static void give_backend_up(uint64_t backend)
{
    peal_conn_abort_id(backend);
}

/* In the list before room is asked for, which may come at once. */
static void keep_gone(struct member *member)
{
    uint64_t backend = member->backend;
    pthread_mutex_lock(&table.mutex);
    member->next = table.gone;
    table.gone = member;
    pthread_mutex_unlock(&table.mutex);
    if (ask_for_room(backend) < 0) {
        give_backend_up(backend);
    }
}

/* The client's connection has ended. Frees the member when all of it has been sent. */
static void go(struct member *member)
{
    int error = send_rest(member);
    if (error == -ENOBUFS) {
        keep_gone(member);
        return;
    }
    if (error == -ENOMEM) {
        give_backend_up(member->backend);
    }
    give_id_back(member->id);
    free(member);
}

static void send_of_gone(void)
{
    pthread_mutex_lock(&table.mutex);
    struct member *gone = table.gone;
    table.gone = NULL;
    pthread_mutex_unlock(&table.mutex);
    while (gone != NULL) {
        struct member *member = gone;
        gone = member->next;
        go(member);
    }
}

/* ---- clients */

/* True: the rest was taken, or there is no hope of that and the client is being ended. */
static bool send_or_ask(struct peal_conn *conn, struct member *member)
{
    int error = send_rest(member);
    if (error == -ENOBUFS) {
        error = ask_for_room(member->backend);
        if (error == 0) {
            return false;
        }
    }
    if (error < 0) {
        peal_conn_abort(conn);
    }
    return true;
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct member *member = calloc(1, sizeof *member);
    (void)user;
    peal_conn_set_user(conn, member);
    uint64_t backend = atomic_load(&backend_now);
    if (member == NULL || backend == 0 || (member->id = take_id(peal_conn_id(conn))) == 0) {
        peal_conn_close(conn);
        return;
    }
    member->backend = backend;
    if (append_news(member, conn, "UP") < 0) {
        peal_conn_abort(conn);
    } else if (!send_or_ask(conn, member)) {
        peal_conn_pause_reading(conn);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct member *member = user;
    if (append_frames(&member->rest, member->id, peal_buf_data(input), peal_buf_size(input)) < 0) {
        peal_conn_abort(conn);
    } else if (!send_or_ask(conn, member)) {
        peal_conn_pause_reading(conn);
    }
    peal_buf_clear(input);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct member *member = user;
    (void)record;
    if (member == NULL || member->id == 0) {
        free(member);
        return;
    }
    if (append_news(member, conn, "DOWN") < 0) {
        give_backend_up(member->backend);
    }
    go(member);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

/* ---- the backend, on the home loop */

static void backend_open(struct peal_conn *conn, void *user)
{
    (void)user;
    atomic_store(&backend_now, peal_conn_id(conn));
}

static void backend_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)conn;
    (void)user;
    for (;;) {
        const unsigned char *frame = peal_buf_data(input);
        if (peal_buf_size(input) < 3 || peal_buf_size(input) < 3u + frame[0]) {
            return;
        }
        uint64_t conn_id = conn_of((uint16_t)(frame[1] | frame[2] << 8));
        if (conn_id != 0) {
            peal_conn_send_to_id(conn_id, frame + 3, frame[0]);
        }
        peal_buf_consume(input, 3u + frame[0]);
    }
}

static void go_on(struct peal_conn *conn, void *user)
{
    struct member *member = peal_conn_user(conn);
    (void)user;
    if (member != NULL && peal_buf_size(&member->rest) > 0 && send_or_ask(conn, member)) {
        peal_conn_resume_reading(conn);
    }
}

static void backend_drain(struct peal_conn *conn, void *user)
{
    (void)user;
    send_of_gone();
    if (peal_server_for_each(server, go_on, NULL, NULL) == -ENOMEM) {
        peal_conn_abort(conn); /* those that wait would wait for ever */
    }
}

static void close_if_its(struct peal_conn *conn, void *user)
{
    const struct member *member = peal_conn_user(conn);
    if (member != NULL && member->backend == (uintptr_t)user) {
        peal_conn_close(conn);
    }
}

static void backend_close(struct peal_conn *conn, const struct peal_close_record *record,
                          void *user)
{
    char text[PEAL_CLOSE_TEXT_MAX];
    (void)user;
    atomic_store(&backend_now, 0);
    send_of_gone();
    if (peal_server_for_each(server, close_if_its, NULL, (void *)(uintptr_t)peal_conn_id(conn)) ==
        0) {
        fprintf(stderr, "multiplexer: the backend has gone, and its clients: %s\n",
                peal_close_record_format(record, text, sizeof text));
    }
}

static void backend_fail(struct peal_client *unused, const struct peal_connect_failure *failure,
                         void *user)
{
    (void)unused;
    (void)user;
    fprintf(stderr, "multiplexer: %s: %s\n", to, failure->why);
}

static const struct peal_conn_ops backend_ops = {.on_open = backend_open,
                                                 .on_data = backend_data,
                                                 .on_drain = backend_drain,
                                                 .on_close = backend_close};

static int start(const struct serving *serving)
{
    struct peal_client_options options = {
        .to = to,
        .ops = &backend_ops,
        .reconnect = true,
        .retry_min_ms = 200,
        .retry_max_ms = 5000,
        .limits = {.output_bytes_max = backlog,
                   .output_high_bytes = backlog,
                   .output_low_bytes = backlog / 4,
                   .output_cap_refuses = true},
        .on_fail = backend_fail,
    };
    server = serving->server;
    int error = peal_client_new(serving->loop, &options, &client);
    if (error == 0) {
        peal_client_connect(client);
    }
    return error;
}

static bool stop(const struct serving *serving)
{
    (void)serving;
    client = peal_client_unref(client); /* it does not come back */
    return false;
}

static void end(void)
{
    while (table.gone != NULL) {
        struct member *member = table.gone;
        table.gone = member->next;
        peal_buf_deinit(&member->rest);
        free(member);
    }
    peal_client_unref(client);
}

static struct service service = {
    .name = "multiplexer",
    .about = "Joins many clients into one connection to a backend.",
    .address = "127.0.0.1:3333",
    .ops = &ops,
    .start = start,
    .stop = stop,
    .end = end,
};

static int check(const struct arg_command *command)
{
    (void)command;
    service.limits.output_bytes_max = output_cap;
    return -1;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"to", "ADDRESS", "the backend (127.0.0.1:9999)", ARG_TEXT, .into = &to},
        {"clients", "N", "at once; more are closed (1000)", ARG_COUNT, .into = &ids_max, .min = 1,
         .max = IDS - 1},
        {"backlog", "SIZE", "pending for the backend before clients are not read (4M)", ARG_SIZE,
         .into = &backlog, .min = 1 << 20},
        {"output-cap", "SIZE", "pending bytes at which a client that does not read is cut off (4M)",
         ARG_SIZE, .into = &output_cap, .min = 1024},
        {0},
    };
    service.args = args;
    service.check = check;
    return serve(&service, argc, argv);
}
