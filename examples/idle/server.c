/* SPDX-License-Identifier: BSD-2-Clause */
/* idle: an echo that ends connections on which nothing has moved for eight seconds, or for --idle.
 *
 * The library does it: .idle_ms is the whole of it, whatever the number of connections. The end is
 * a graceful one, so the peer gets what was on its way, and then an end of stream. */
#include "serve.h"

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
}

static const struct peal_conn_ops ops = {.on_data = on_data};

int main(int argc, char **argv)
{
    static const struct service service = {
        .name = "idle",
        .about = "Sends back what it gets, and ends connections on which nothing moves (after 8 s, "
                 "unless --idle\nsays otherwise).",
        .address = "127.0.0.1:2007",
        .ops = &ops,
        .limits = {.pause_reading_at_high = true},
        .idle_ms = 8000,
    };
    return serve(&service, argc, argv);
}
