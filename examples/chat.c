/* SPDX-License-Identifier: BSD-2-Clause */
/* A chat: each message of anybody goes to everybody, on every loop.
 *
 * A message is four bytes of size, big-endian, and so many bytes of text. Each is made into one
 * blob, and peal_server_broadcast hands that blob by reference to all connections: a thousand
 * listeners cost one copy, not a thousand. A message over 64 KiB ends its sender's connection with
 * cause PROTOCOL; a listener that does not read ends with cause OUTPUT_CAP after 4 MiB. */
#include <peal.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U32BE, .size_max = 64 * 1024};

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "chat: %s: %s\n", what, peal_strerror(result));
        exit(1);
    }
}

static void tell_everybody(struct peal_server *server, const void *message, size_t size)
{
    struct peal_buf frame;
    struct peal_blob *blob;
    peal_buf_init(&frame);
    if (peal_buf_append_u32be(&frame, (uint32_t)size) == 0 &&
        peal_buf_append(&frame, message, size) == 0 &&
        peal_blob_copy(peal_buf_data(&frame), peal_buf_size(&frame), &blob) == 0) {
        if (peal_server_broadcast(server, blob, NULL, NULL) < 0) {
            fprintf(stderr, "chat: a message could not be passed on\n");
        }
        peal_blob_unref(blob); /* the connections have references of their own */
    }
    peal_buf_deinit(&frame);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const void *message;
    size_t size;
    (void)user;
    while (peal_conn_next_message(conn, &codec, input, &message, &size) > 0) {
        tell_everybody(peal_conn_server(conn), message, size);
    }
}

static const struct peal_conn_ops ops = {.on_data = on_data};

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    (void)signal;
    (void)number;
    peal_server_stop(*(struct peal_server **)user, 2000);
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    (void)report;
    (void)user;
    peal_loop_quit(peal_server_loop(server));
}

int main(int argc, char **argv)
{
    struct peal_loop *loop;
    struct peal_pool *pool;
    struct peal_server *server;
    struct peal_signal *interrupt, *terminate;
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:2008", *why;

    must(peal_loop_new(NULL, &loop), "loop");
    /* Before there are threads: they inherit that the signals are blocked. */
    must(peal_signal_open(loop, SIGINT, on_signal, &server, &interrupt), "SIGINT");
    must(peal_signal_open(loop, SIGTERM, on_signal, &server, &terminate), "SIGTERM");
    must(peal_pool_new(&(struct peal_pool_options){.threads = 2}, &pool), "pool");
    struct peal_server_options options = {
        .ops = &ops,
        .pool = pool,
        .limits = {.output_bytes_max = 4 * 1024 * 1024},
        .on_stopped = on_stopped,
    };
    must(peal_server_new(loop, &options, &server), "server");
    if (peal_server_listen(server, address, &why) < 0) {
        fprintf(stderr, "chat: %s: %s\n", address, why);
        return 1;
    }
    peal_loop_run(loop);
    peal_signal_close(interrupt);
    peal_signal_close(terminate);
    peal_server_unref(server);
    peal_pool_free(pool);
    peal_loop_free(loop);
    return 0;
}
