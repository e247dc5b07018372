/* SPDX-License-Identifier: BSD-2-Clause */
/* latency: sends back messages, for latency-client. A message is its size, 32 bits big-endian, and
 * so many bytes, 65,536 at most. A larger one ends the connection with cause PROTOCOL. */
#include "serve.h"

static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U32BE, .size_max = 65536};

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const void *message;
    size_t size;
    (void)user;
    while (peal_conn_next_message(conn, &codec, input, &message, &size) > 0) {
        peal_conn_send_message(conn, &codec, message, size);
    }
}

static const struct peal_conn_ops ops = {.on_data = on_data};

int main(int argc, char **argv)
{
    static const struct service service = {
        .name = "latency",
        .about = "Sends back messages of at most 65,536 bytes, each with its size in front.",
        .address = "127.0.0.1:3008",
        .ops = &ops,
        .limits = {.pause_reading_at_high = true},
    };
    return serve(&service, argc, argv);
}
