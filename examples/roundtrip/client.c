/* SPDX-License-Identifier: BSD-2-Clause */
/* roundtrip-client: asks a roundtrip server for its time, again and again, and prints how far its
 * clock is from ours and how long asking took.
 *
 * With a way there and back of equal length, the server's clock said `theirs` when ours said the
 * middle of `sent` and `back`: the difference of the two is the error of one of them. */
#include "dial.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <peal/timer.h>

static uint32_t interval_ms = 200;
static uint64_t count; /* 0: until a signal comes */
static uint64_t answers;

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void ask(struct peal_timer *timer, void *user)
{
    const int64_t times[2] = {now_us(), 0};

    (void)timer;
    peal_conn_send(user, times, sizeof(times));
}

static struct peal_timer timer;

static void on_open(struct peal_conn *conn, void *user)
{
    (void)user;
    peal_timer_init(&timer, peal_conn_loop(conn), ask, conn);
    peal_timer_start(&timer, 0, interval_ms);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    int64_t times[2];

    (void)user;
    while (peal_buf_size(input) >= sizeof(times) && (count == 0 || answers < count)) {
        memcpy(times, peal_buf_data(input), sizeof(times));
        peal_buf_consume(input, sizeof(times));
        int64_t back = now_us(), sent = times[0], theirs = times[1];
        printf("round trip %" PRId64 " us, clock error %" PRId64 " us\n", back - sent,
               theirs - (sent + back) / 2);
        fflush(stdout);
        if (++answers == count) {
            peal_conn_close(conn);
        }
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)record;
    (void)user;
    peal_timer_deinit(&timer);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static int end(const struct dialing *dialing, bool all_well)
{
    (void)dialing;
    return all_well && answers >= count ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"interval", "SECONDS", "between two questions (0.2)", ARG_TIME, .into = &interval_ms,
         .min = 1},
        {"count", "N", "answers, then end (until a signal comes)", ARG_COUNT, .into = &count},
        {0},
    };
    static const struct dialler dialler = {
        .name = "roundtrip-client",
        .about = "Measures how far a roundtrip server's clock is from ours, and the way there and "
                 "back.",
        .address = "127.0.0.1:3001",
        .ops = &ops,
        .args = args,
        .end = end,
    };
    return dial(&dialler, argc, argv);
}
