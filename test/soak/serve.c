/* SPDX-License-Identifier: BSD-2-Clause */
/* The server of the soak: two loops that serve, a home loop that accepts, over TCP and a unix
 * socket, with a limit on connections that some batches exceed.
 *
 * It keeps nothing of its own for a connection: a request that has not come whole stays in the
 * connection's input, and whether it was answered is what the user pointer says. So all memory that
 * grows is the library's. */
#include "soak/soak.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static struct soak_server *server; /* there is one a process */
static char answered; /* the user pointer of a connection that was answered points here */

static void on_open(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
    atomic_fetch_add_explicit(&server->opened, 1, memory_order_relaxed);
}

static void end(struct peal_conn *conn, uint8_t word)
{
    const struct peal_conn_limits limits = {.idle_ms = 20};
    switch (word) {
    case SOAK_CLOSE:
        peal_conn_close(conn);
        break;
    case SOAK_SHUTDOWN:
        peal_conn_shutdown(conn);
        break;
    case SOAK_ABORT:
        peal_conn_abort(conn);
        break;
    case SOAK_IDLE:
        if (peal_conn_set_limits(conn, &limits) < 0) {
            soak_die("limits could not be set");
        }
        break;
    default:
        break;
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    uint8_t word;
    uint32_t size;
    if (user == &answered) {
        peal_buf_clear(input);
        return;
    }
    if (!peal_buf_peek_u8(input, 0, &word) || !peal_buf_peek_u32be(input, 1, &size) ||
        peal_buf_size(input) < SOAK_HEAD_BYTES + size) {
        return;
    }
    peal_buf_consume(input, SOAK_HEAD_BYTES);
    /* The peer may have reset the connection by now: then nobody reads the answer. */
    ssize_t sent = peal_conn_send(conn, peal_buf_data(input), size);
    if (sent < 0 && sent != -EPIPE) {
        soak_die("an answer was refused: %s", peal_strerror((int)sent));
    }
    peal_buf_clear(input);
    peal_conn_set_user(conn, &answered);
    end(conn, word);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)user;
    if (record->bytes_accepted != record->bytes_taken + record->bytes_unsent) {
        atomic_fetch_add_explicit(&server->bad_records, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&server->closed, 1, memory_order_relaxed);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static void on_stopped(struct peal_server *stopped, const struct peal_drain_report *report,
                       void *user)
{
    (void)stopped;
    (void)report;
    peal_loop_quit(user);
}

void soak_serve(struct soak_server *to, struct peal_loop *home)
{
    char local[64];
    const char *why = "";
    server = to;
    if (peal_pool_new(&(struct peal_pool_options){.threads = 2, .name = "soak"}, &to->pool) < 0) {
        soak_die("the pool could not be made");
    }
    const struct peal_server_options options = {
        .ops = &ops,
        .user = home,
        .on_stopped = on_stopped,
        .pool = to->pool,
        .conns_max = SOAK_CONNS_MAX,
        .limits = {.half_close_ms = 20000, .linger_ms = 20000},
    };
    if (peal_server_new(home, &options, &to->server) < 0) {
        soak_die("the server could not be made");
    }
    snprintf(local, sizeof local, "unix:@peal-soak-%ld", (long)getpid());
    if (peal_server_listen(to->server, "*:0", &why) < 0 ||
        peal_server_listen(to->server, local, &why) < 0) {
        soak_die("%s", why);
    }
    peal_server_address(to->server, 0, &to->tcp);
    peal_server_address(to->server, 1, &to->local);
}

void soak_serve_end(struct soak_server *to)
{
    to->server = peal_server_unref(to->server);
    to->pool = peal_pool_free(to->pool);
}
