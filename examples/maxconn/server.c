/* SPDX-License-Identifier: BSD-2-Clause */
/* maxconn: an echo for ten connections at once, or for --max-conns; one more is refused.
 *
 * A listening socket cannot refuse one peer and take the next, so the one too many is accepted and
 * closed at once. That needs a free fd, and where the program has none left accepting pauses until
 * there is one: a server without a limit is told by on_accept_pause when it has met that of the
 * system. --max-per-addr counts the connections of each peer's address apart. */
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
        .name = "maxconn",
        .about = "Sends back what it gets, on so many connections at once (10, unless --max-conns "
                 "says otherwise).",
        .address = "127.0.0.1:2007",
        .ops = &ops,
        .limits = {.pause_reading_at_high = true},
        .conns_max = 10,
    };
    return serve(&service, argc, argv);
}
