/* SPDX-License-Identifier: BSD-2-Clause */
/* pingpong: the one of two that sends back what it gets. Throughput is measured at the other,
 * pingpong-client. */
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
        .name = "pingpong",
        .about = "Sends back what it gets, for pingpong-client.",
        .address = "127.0.0.1:3007",
        .ops = &ops,
        .limits = {.pause_reading_at_high = true},
    };
    return serve(&service, argc, argv);
}
