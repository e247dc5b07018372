/* SPDX-License-Identifier: BSD-2-Clause */
/* latency-client: sends messages to a latency server, one at a time on each connection, and prints
 * how long they took to come back.
 *
 * Each message carries its number; an answer that is not what was asked ends the program with an
 * error. With one message on its way there is nothing to wait behind, so what is measured is the
 * way there and back and the two programs' work. (For a server under a given load: peal load
 * --rate.)
 *
 * Each connection has a histogram of its own (a quarter of a megabyte), and adds it to the total
 * when it has ended. */
#include "dial.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <peal/codec.h>

#include "histogram.h"

static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U32BE, .size_max = 65536};
static uint64_t message_bytes = 64, count = 10000;
static atomic_bool is_wrong;

/* One connection. */
struct asker {
    uint64_t asked; /* the number of the message that is on its way, from 1 */
    uint64_t sent_ns;
    struct histogram times;
    unsigned char message[];
};

static struct histogram total;
static atomic_flag adding = ATOMIC_FLAG_INIT;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void ask(struct peal_conn *conn, struct asker *asker)
{
    asker->asked++;
    memcpy(asker->message, &asker->asked,
           message_bytes < sizeof asker->asked ? message_bytes : sizeof asker->asked);
    asker->sent_ns = now_ns();
    peal_conn_send_message(conn, &codec, asker->message, message_bytes);
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct dialled *one = user;
    struct asker *asker = calloc(1, sizeof *asker + message_bytes);
    one->mine = asker;
    if (asker == NULL) {
        peal_conn_abort(conn);
        return;
    }
    ask(conn, asker);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct asker *asker = ((struct dialled *)user)->mine;
    const void *message;
    size_t size;
    while (peal_conn_next_message(conn, &codec, input, &message, &size) > 0) {
        if (size != message_bytes || memcmp(message, asker->message, size) != 0) {
            atomic_store(&is_wrong, true);
            peal_conn_abort(conn);
            return;
        }
        histogram_add(&asker->times, now_ns() - asker->sent_ns);
        if (asker->asked == count) {
            peal_conn_close(conn);
            return;
        }
        ask(conn, asker);
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct asker *asker = ((struct dialled *)user)->mine;
    (void)conn;
    (void)record;
    if (asker == NULL) {
        return;
    }
    while (atomic_flag_test_and_set(&adding)) {
    }
    histogram_merge(&total, &asker->times);
    atomic_flag_clear(&adding);
    free(asker);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static int end(const struct dialing *dialing, bool all_well)
{
    (void)all_well;
    if (atomic_load(&is_wrong)) {
        fprintf(stderr, "latency-client: an answer was not what had been sent\n");
        return 1;
    }
    printf("%" PRIu64 " messages of %" PRIu64 " bytes on %" PRIu64 " connections\n", total.count,
           message_bytes, dialing->conns);
    printf("us: p50 %.1f, p90 %.1f, p99 %.1f, p99.9 %.1f, max %.1f\n",
           (double)histogram_at(&total, 0.5) / 1000, (double)histogram_at(&total, 0.9) / 1000,
           (double)histogram_at(&total, 0.99) / 1000, (double)histogram_at(&total, 0.999) / 1000,
           (double)total.max / 1000);
    return total.count == count * dialing->conns ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"size", "SIZE", "bytes of a message (64)", ARG_SIZE, .into = &message_bytes, .min = 1,
         .max = 65536},
        {"count", "N", "messages on each connection (10000)", ARG_COUNT, .into = &count, .min = 1},
        {0},
    };
    static const struct dialler dialler = {
        .name = "latency-client",
        .about = "Sends messages to a latency server, and prints how long they took to come back.",
        .address = "127.0.0.1:3008",
        .ops = &ops,
        .args = args,
        .many = true,
        .end = end,
    };
    return dial(&dialler, argc, argv);
}
