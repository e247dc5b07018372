/* SPDX-License-Identifier: BSD-2-Clause */
/* roundtrip: tells clients what the time is here, so that they can tell how far apart two clocks
 * are and how long a message takes.
 *
 * A message is two whole numbers of 64 bits in the host's own order, microseconds since 1970: when
 * the client sent it, which comes back as it is, and when the server had it, which the server fills
 * in. So both machines have to be of one byte order. Messages have no borders but their size; what
 * is left of a message when the peer ends its side is nobody's, and dropped with it. */
#include "serve.h"

#include <string.h>
#include <time.h>

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    int64_t times[2];

    (void)user;
    while (peal_buf_size(input) >= sizeof(times)) {
        memcpy(times, peal_buf_data(input), sizeof(times));
        peal_buf_consume(input, sizeof(times));
        times[1] = now_us();
        peal_conn_send(conn, times, sizeof(times));
    }
}

static const struct peal_conn_ops ops = {.on_data = on_data};

int main(int argc, char **argv)
{
    static const struct service service = {
        .name = "roundtrip",
        .about = "Answers each message of 16 bytes with the time at which it came.",
        .address = "127.0.0.1:3001",
        .ops = &ops,
        .limits = {.pause_reading_at_high = true},
    };
    return serve(&service, argc, argv);
}
