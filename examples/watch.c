/* SPDX-License-Identifier: BSD-2-Clause */
/* A foreign fd on the loop: each line that is typed goes to every connection.
 *
 *     build/examples/watch        (and type; in another terminal: nc 127.0.0.1 2013)
 *
 * Standard input is not Peal's: it is watched, and read, by the program. It must be something that
 * can be waited for: a terminal, a pipe, a socket. (A plain file is always ready; peal_watch_open
 * answers -EPERM.) The end of the input stops the server. */
#include <peal.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct peal_conn_ops ops = {0}; /* nothing is asked of the listeners */

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "watch: %s: %s\n", what, peal_strerror(result));
        exit(1);
    }
}

static void on_input(struct peal_watch *watch, uint32_t events, void *user)
{
    struct peal_server *server = user;
    struct peal_blob *blob;
    char line[4096];
    (void)events;
    ssize_t size = read(peal_watch_fd(watch), line, sizeof line);
    if (size > 0 && peal_blob_copy(line, (size_t)size, &blob) == 0) {
        must(peal_server_broadcast(server, blob, NULL, NULL, NULL), "broadcast");
        peal_blob_unref(blob);
    } else if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
        must(peal_watch_set(watch, 0), "input"); /* it would be readable for ever */
        peal_server_stop(server, 1000);
    }
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
    struct peal_server *server;
    struct peal_watch *watch;
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:2013", *why;

    must(peal_loop_new(NULL, &loop), "loop");
    struct peal_server_options options = {.ops = &ops, .on_stopped = on_stopped};
    must(peal_server_new(loop, &options, &server), "server");
    if (peal_server_listen(server, address, &why) < 0) {
        fprintf(stderr, "watch: %s: %s\n", address, why);
        return 1;
    }
    must(peal_watch_open(loop, STDIN_FILENO, PEAL_READABLE, on_input, server, &watch),
         "standard input");
    peal_loop_run(loop);
    peal_watch_close(watch);
    peal_server_unref(server);
    peal_loop_free(loop);
    return 0;
}
