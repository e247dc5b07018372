/* SPDX-License-Identifier: BSD-2-Clause */
/* Peal, as its headers and examples have it, through the public interface alone. The engine is the
 * one that PEAL_ENGINE names in the environment. BENCH_BUSY_POLL_US there makes the loop spin
 * before it sleeps; only the case that is about wake-ups is measured with it.
 *
 * echo is examples/echo.c. frames takes each message with the codec and sends its answer with
 * peal_conn_send_message; the library gathers what one callback sends. sink has no on_data, so
 * input is discarded, and answers in on_eof. source sends the one piece by reference and asks for
 * on_drain, in which it sends the next: one at a time, so that it is still in the cache when the
 * peer reads it. broadcast sends one blob to all with peal_server_broadcast. Default limits; only
 * keepalive is off, which no other server here has on.
 *
 * One loop serves on the main thread. With LOOPS there is a pool of so many, with one SO_REUSEPORT
 * listener each, and the main thread only waits for SIGTERM. */
#include "bench.h"

#include <peal.h>

static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U32BE, .size_max = BENCH_FRAME_MAX};
static struct peal_blob *piece;
static struct peal_blob *block;

static void on_data_echo(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
}

static void on_data_frames(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const void *message;
    size_t size;
    (void)user;
    while (peal_conn_next_message(conn, &codec, input, &message, &size) > 0) {
        peal_conn_send_message(conn, &codec, message, size);
    }
}

/* The other servers have it from their listener. */
static void on_open_sink(struct peal_conn *conn, void *user)
{
    (void)user;
    (void)bench_bound_receive(peal_conn_fd(conn));
}

static void on_eof_sink(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)input;
    (void)user;
    peal_conn_send(conn, "", 1);
    peal_conn_close(conn);
}

/* user counts the pieces that are still to be sent. */
static void on_drain_source(struct peal_conn *conn, void *user)
{
    uint64_t left = (uint64_t)(uintptr_t)user;
    if (left == 0) {
        peal_conn_close(conn);
        return;
    }
    peal_conn_set_user(conn, (void *)(uintptr_t)(left - 1));
    peal_conn_send_ref(conn, piece);
    peal_conn_want_drain(conn);
}

static void on_data_source(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    uint64_t count;
    (void)user;
    if (peal_buf_take_u64be(input, &count)) {
        on_drain_source(conn, (void *)(uintptr_t)count);
    }
}

static void on_data_broadcast(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct peal_server *server = peal_conn_server(conn);
    (void)user;
    for (size_t left = peal_buf_size(input); left > 0; left--) {
        int error = peal_server_broadcast(server, block, NULL, NULL, NULL);
        if (error < 0) {
            bench_die("peal_server_broadcast", error);
        }
    }
    peal_buf_clear(input);
}

static const struct peal_conn_ops mode_ops[] = {
    [BENCH_ECHO] = {.on_data = on_data_echo},
    [BENCH_FRAMES] = {.on_data = on_data_frames},
    [BENCH_SINK] = {.on_open = on_open_sink, .on_eof = on_eof_sink},
    [BENCH_SOURCE] = {.on_data = on_data_source, .on_drain = on_drain_source},
    [BENCH_BROADCAST] = {.on_data = on_data_broadcast},
};

static void on_term(struct peal_signal *signal, int number, void *user)
{
    (void)signal;
    (void)number;
    peal_loop_quit(user);
}

static void need(const char *what, int error)
{
    if (error < 0) {
        fprintf(stderr, "%s: %s\n", what, peal_strerror(error));
        exit(1);
    }
}

static struct peal_server *listen_on(struct peal_loop *loop, struct peal_pool *pool,
                                     const struct bench_args *args)
{
    struct peal_server *server;
    struct peal_addr address;
    char text[32];
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", args->port);
    need("server", peal_server_new(loop,
                                   &(struct peal_server_options){
                                       .ops = &mode_ops[args->mode],
                                       .pool = pool,
                                       .balance = PEAL_BALANCE_REUSEPORT,
                                       .backlog = BENCH_BACKLOG,
                                       .no_keepalive = true,
                                   },
                                   &server));
    need("listen", peal_server_listen(server, text, NULL));
    need("address", peal_server_address(server, 0, &address));
    bench_ready(peal_addr_port(&address));
    return server;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    struct peal_loop *loop;
    struct peal_pool *pool = NULL;
    struct peal_signal *term;
    bench_begin(argc, argv, "peal " PEAL_VERSION, &args);
    need("blob", peal_blob_wrap(bench_piece, BENCH_PIECE_BYTES, NULL, NULL, &piece));
    need("blob", peal_blob_wrap(bench_piece, BENCH_BLOCK_BYTES, NULL, NULL, &block));
    const char *busy_poll_us = getenv("BENCH_BUSY_POLL_US");
    struct peal_loop_options options = {
        .busy_poll_us = busy_poll_us ? (uint32_t)strtoul(busy_poll_us, NULL, 10) : 0};
    need("loop", peal_loop_new(&options, &loop));
    need("signal", peal_signal_open(loop, SIGTERM, on_term, loop, &term));
    if (args.loops > 1) {
        need("pool",
             peal_pool_new(&(struct peal_pool_options){.threads = (unsigned)args.loops}, &pool));
    }
    struct peal_server *server = listen_on(loop, pool, &args);
    int result = peal_loop_run(loop);
    peal_pool_free(pool);
    peal_server_unref(server);
    peal_signal_close(term);
    peal_loop_free(loop);
    peal_blob_unref(piece);
    peal_blob_unref(block);
    return result < 0;
}
