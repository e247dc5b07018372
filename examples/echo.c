/* SPDX-License-Identifier: BSD-2-Clause */
/* The smallest server: what comes is sent back, until SIGINT or SIGTERM.
 *
 *     build/examples/echo &
 *     echo hello | nc -N 127.0.0.1 2007
 *
 * There is no on_eof, so a peer that ends its side gets all of its reply, then our end. */
#include <peal.h>

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
}

static const struct peal_conn_ops ops = {.on_data = on_data};

int main(int argc, char **argv)
{
    peal_log_set(peal_log_to_stderr, NULL); /* says why, if it cannot start */
    return peal_serve(argc > 1 ? argv[1] : "127.0.0.1:2007", &ops) < 0;
}
