/* SPDX-License-Identifier: BSD-2-Clause */
/* memcached: keeps values under keys, in memory, for as long as there is room.
 *
 *     connection ─► session ─► text or binary protocol ─► store (shared by all loops)
 *
 * The first byte of a connection says which protocol it speaks: 0x80 is the magic number of a
 * binary request, and begins no line. From then on a session goes on in steps, each of which takes
 * something from the input: a command, a key of a get, a piece of a value. Steps end when there is
 * not enough input for one more.
 *
 * They also end when the peer does not read: a get of a few bytes asks for up to a mebibyte, so
 * what one read brought could ask for gigabytes. Above OUTPUT_HIGH pending bytes no command is
 * begun; the input that is left moves to the session, reading pauses, and on_drain goes on where
 * it was. So a connection holds at most OUTPUT_HIGH, one reply more, one value on its way in, and
 * what one read brought.
 *
 * Invariants:
 *  1. Replies come in the order of the commands, also when they had to wait.
 *  2. While is_waiting, reading is paused once. What is shown all the same, because the peer has
 *     reset the connection, goes behind what waits and is dropped with it: who resets cannot tell
 *     what was done before.
 *  3. A peer that ends its side gets the answers to all that it sent whole; then we end ours. */
#include "server_session.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum { BINARY_MAGIC = 0x80, SHARDS_PER_LOOP = 8 };

uint64_t memory_bytes = 64 << 20, value_max_bytes = 1 << 20, started_ms;
_Atomic uint64_t flushes;
static struct store *store;

static bool step(struct session *session, struct peal_buf *input)
{
    if (session->step == NULL) {
        const unsigned char *first = peal_buf_data(input);
        session->step = *first == BINARY_MAGIC ? binary_step : text_step;
    }
    return session->step(session, input);
}

/* Takes as many steps as input and the peer's reading allow. True if input has to wait. */
static bool run(struct session *session, struct peal_buf *input)
{
    session->now = peal_loop_now_ns(peal_conn_loop(session->conn)) / 1000000;
    while (!session->ended && (peal_buf_size(input) > 0 || session_is_owed_nothing(session))) {
        if (peal_conn_output_bytes(session->conn) > OUTPUT_HIGH) {
            return true;
        }
        if (!step(session, input)) {
            break;
        }
    }
    return false;
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct session *session = calloc(1, sizeof(*session));

    peal_conn_set_user(conn, session);
    if (session == NULL) {
        peal_conn_abort(conn);
        return;
    }
    session->serving = user;
    session->store = store;
    session->conn = conn;
}

/* Goes on with input, which is the connection's or what waits. */
static void go_on(struct session *session, struct peal_buf *input)
{
    struct peal_conn *conn = session->conn;

    if (run(session, input)) {
        if (input != &session->waiting && peal_buf_move(&session->waiting, input) < 0) {
            peal_conn_abort(conn);
            return;
        }
        if (!session->is_waiting) {
            session->is_waiting = true;
            peal_conn_pause_reading(conn);
        }
        peal_conn_want_drain(conn);
        return;
    }
    if (peal_buf_size(&session->waiting) == 0) {
        peal_buf_deinit(&session->waiting);
    }
    if (session->is_waiting) {
        session->is_waiting = false;
        peal_conn_resume_reading(conn);
    }
    if (session->peer_ended) {
        peal_conn_close(conn);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct session *session = user;

    if (peal_buf_size(&session->waiting) > 0) { /* or the beginning of a command that has */
        if (peal_buf_append(&session->waiting, peal_buf_data(input), peal_buf_size(input)) < 0) {
            peal_conn_abort(conn);
            return;
        }
        peal_buf_clear(input);
        input = &session->waiting;
    }
    if (!session->is_waiting) {
        go_on(session, input);
    }
}

static void on_drain(struct peal_conn *conn, void *user)
{
    struct session *session = user;

    (void)conn;
    if (session->is_waiting) {
        go_on(session, &session->waiting);
    }
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct session *session = user;

    (void)input; /* a part of a command, which will never be whole */
    session->peer_ended = true;
    if (!session->is_waiting) {
        peal_conn_close(conn);
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct session *session = user;

    (void)conn;
    (void)record;
    if (session != NULL) {
        item_unref(session->item);
        peal_buf_deinit(&session->waiting);
        free(session);
    }
}

static const struct peal_conn_ops ops = {.on_open = on_open,
                                         .on_data = on_data,
                                         .on_eof = on_eof,
                                         .on_drain = on_drain,
                                         .on_close = on_close};

static int check(const struct arg_command *command)
{
    if (memory_bytes / 2 < value_max_bytes) {
        return args_mistake(command, "--memory must be at least twice --value-max");
    }
    return -1;
}

static int start(const struct serving *serving)
{
    unsigned loops = serving->pool != NULL ? peal_pool_size(serving->pool) : 1;

    started_ms = peal_loop_now_ns(serving->loop) / 1000000;
    store = store_new(memory_bytes, value_max_bytes, loops > 1 ? loops * SHARDS_PER_LOOP : 1);
    return store != NULL ? 0 : -ENOMEM;
}

static void end(void)
{
    store = store_free(store);
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"memory", "SIZE", "for all items together, what has not been used for longest goes (64M)",
         ARG_SIZE, .into = &memory_bytes, .min = 1 << 20},
        {"value-max", "SIZE", "of one value (1M)", ARG_SIZE, .into = &value_max_bytes,
         .min = 1 << 10, .max = 1 << 30},
        {0},
    };
    static const struct service service = {
        .name = "memcached",
        .about = "Keeps values under keys, in memory, for memcached's clients: text and binary.",
        .address = "127.0.0.1:11211",
        .ops = &ops,
        .args = args,
        .check = check,
        .start = start,
        .end = end,
    };
    return serve(&service, argc, argv);
}
