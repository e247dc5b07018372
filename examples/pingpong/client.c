/* SPDX-License-Identifier: BSD-2-Clause */
/* pingpong-client: bounces a block of bytes on each of many connections to and fro, for some
 * seconds, and prints how much that was.
 *
 * Each connection sends one block when it is open, and from then on whatever comes: so there is
 * always one block on its way, in as many pieces as the two kernels make of it. All begin to count
 * when all are open, and stop at one moment: a timer on the main loop ends them.
 *
 * A message is a call of on_data, as the average size that is printed tells. */
#include "dial.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <peal/timer.h>

static uint64_t block_bytes = 16384;
static uint32_t time_ms = 5000;
static char *block;
static struct peal_timer deadline;
static uint64_t began_ns, ended_ns;

static atomic_uint_fast64_t open_now, bytes, messages;
static atomic_bool over;

/* What one connection has counted; added up when it closes. */
struct count {
    uint64_t bytes, messages;
};

static void all_are_open(void *user)
{
    struct dialing *dialing = user;
    began_ns = peal_loop_now_ns(dialing->loop);
    peal_timer_start(&deadline, time_ms, 0);
}

static void on_deadline(struct peal_timer *timer, void *user)
{
    struct dialing *dialing = user;
    (void)timer;
    atomic_store(&over, true);
    ended_ns = peal_loop_now_ns(dialing->loop);
    dial_stop(dialing);
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct dialled *one = user;
    one->mine = calloc(1, sizeof(struct count));
    if (one->mine == NULL || peal_conn_send(conn, block, block_bytes) < 0) {
        peal_conn_abort(conn);
        return;
    }
    if (atomic_fetch_add(&open_now, 1) + 1 == one->dialing->conns &&
        peal_loop_post(one->dialing->loop, all_are_open, one->dialing) < 0) {
        dial_stop(one->dialing);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct count *count = ((struct dialled *)user)->mine;
    if (!atomic_load_explicit(&over, memory_order_relaxed)) {
        count->bytes += peal_buf_size(input);
        count->messages++;
        peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    }
    peal_buf_clear(input);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct count *count = ((struct dialled *)user)->mine;
    (void)conn;
    (void)record;
    if (count != NULL) {
        atomic_fetch_add(&bytes, count->bytes);
        atomic_fetch_add(&messages, count->messages);
        free(count);
    }
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static int start(struct dialing *dialing)
{
    block = malloc(block_bytes);
    if (block == NULL) {
        return -1;
    }
    for (uint64_t i = 0; i < block_bytes; i++) {
        block[i] = (char)(i % 128);
    }
    peal_timer_init(&deadline, dialing->loop, on_deadline, dialing);
    return 0;
}

static void stop(struct dialing *dialing)
{
    peal_timer_cancel(&deadline);
    if (!atomic_exchange(&over, true)) {
        ended_ns = peal_loop_now_ns(dialing->loop);
    }
}

static int end(const struct dialing *dialing, bool all_well)
{
    double seconds = (double)(ended_ns - began_ns) / 1e9;
    double mib = (double)atomic_load(&bytes) / 1048576;
    uint64_t count = atomic_load(&messages);
    (void)all_well;
    free(block);
    if (began_ns == 0 || count == 0 || seconds <= 0) {
        fprintf(stderr, "pingpong-client: it ended before all connections were open\n");
        return 1;
    }
    printf("%" PRIu64 " connections, blocks of %" PRIu64 " bytes, %.3f s\n", dialing->conns,
           block_bytes, seconds);
    printf("%.3f MiB/s throughput\n", mib / seconds);
    printf("%" PRIu64 " messages, %.0f messages/s, %.1f bytes on average\n", count,
           (double)count / seconds, mib * 1048576 / (double)count);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"block", "SIZE", "bytes on their way on each connection (16K)", ARG_SIZE,
         .into = &block_bytes, .min = 1, .max = 64 << 20},
        {"seconds", "SECONDS", "once all connections are open (5)", ARG_TIME, .into = &time_ms,
         .min = 1},
        {0},
    };
    static const struct dialler dialler = {
        .name = "pingpong-client",
        .about = "Bounces a block of bytes on each connection, and prints the throughput.",
        .address = "127.0.0.1:3007",
        .ops = &ops,
        .args = args,
        .many = true,
        .start = start,
        .stop = stop,
        .end = end,
    };
    return dial(&dialler, argc, argv);
}
