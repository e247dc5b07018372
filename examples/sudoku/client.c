/* SPDX-License-Identifier: BSD-2-Clause */
/* sudoku-client: asks a sudoku server at a fixed rate, checks each answer, and prints how long they
 * took.
 *
 * The rate is kept whatever the server does: a question is due at its moment, and its time counts
 * from then, also if it was sent later. So a server that stands still for a second shows that
 * second in every question that fell into it, and not in one only. Each connection has its own
 * clock of dues, a ring of those without an answer, and its own count; totals are made as
 * connections end. */
#include "dial.h"
#include "solver.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <peal/timer.h>

#include "histogram.h"

enum { OPEN_MAX = 1 << 16 };

static const char *const puzzles[] = {
    "530070000600195000098000060800060003400803001700020006060000280000419005000080079",
    "000000010400000000020000000000050407008000300001090000300400200050100000000806000",
    "800000000003600000070090200050007000000045700000100030001000068008500010090000400",
    "100007090030020008009600500005300900010080002600004000300000010040000007007000300",
    "000000907000420180000705026100904000050000040000507009920108000034059000507000000",
};
enum { PUZZLES = sizeof puzzles / sizeof puzzles[0] };

static uint64_t rate = 1000; /* a second, over all connections */
static uint32_t time_ms = 5000;

struct count {
    uint64_t asked, answered, too_busy, wrong;
    struct histogram times;
};

struct asker {
    struct peal_conn *conn;
    struct peal_timer timer;
    uint64_t began_ns, questions; /* in all that this connection asks */
    double interval_ns;
    struct count count;
};

static struct count total;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of total */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t due_ns(const struct asker *asker, uint64_t question)
{
    return asker->began_ns + (uint64_t)((double)question * asker->interval_ns);
}

static void ask(struct peal_timer *timer, void *user)
{
    struct asker *asker = user;
    struct count *count = &asker->count;
    char line[128];
    while (count->asked < asker->questions && due_ns(asker, count->asked) <= now_ns() &&
           count->asked - count->answered < OPEN_MAX) {
        int size = snprintf(line, sizeof line, "%" PRIu64 ":%s\r\n", count->asked,
                            puzzles[count->asked % PUZZLES]);
        peal_conn_send(asker->conn, line, (size_t)size);
        count->asked++;
    }
    if (count->asked == asker->questions) {
        peal_timer_cancel(timer);
        peal_conn_shutdown(
            asker->conn); /* the answers that are open come before the server's end */
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct dialled *one = user;
    struct asker *asker = calloc(1, sizeof *asker);
    one->mine = asker;
    if (asker == NULL) {
        peal_conn_abort(conn);
        return;
    }
    uint64_t conns = one->dialing->conns;
    asker->conn = conn;
    asker->interval_ns = 1e9 * (double)conns / (double)rate;
    asker->questions = (uint64_t)((double)time_ms * 1e6 / asker->interval_ns);
    asker->began_ns =
        now_ns() + (uint64_t)(asker->interval_ns * (double)one->index / (double)conns);
    peal_timer_init(&asker->timer, peal_conn_loop(conn), ask, asker);
    peal_timer_start(&asker->timer, 0, 1);
}

static void take_answer(struct asker *asker, const char *line, size_t size)
{
    struct count *count = &asker->count;
    const char *colon = memchr(line, ':', size);
    uint64_t question = strtoull(line, NULL, 10);
    size_t rest = colon != NULL ? (size_t)(line + size - colon - 1) : 0;
    count->answered++;
    if (colon != NULL && rest == 13 && memcmp(colon + 1, "ServerTooBusy", 13) == 0) {
        count->too_busy++;
    } else if (colon == NULL || question >= count->asked || rest != SUDOKU_CELLS ||
               !sudoku_is_solution(puzzles[question % PUZZLES], colon + 1)) {
        count->wrong++;
    } else {
        histogram_add(&count->times, now_ns() - due_ns(asker, question));
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct asker *asker = ((struct dialled *)user)->mine;
    ssize_t end;
    (void)conn;
    while ((end = peal_buf_find_crlf(input)) >= 0) {
        take_answer(asker, peal_buf_data(input), (size_t)end);
        peal_buf_consume(input, (size_t)end + 2);
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
    peal_timer_deinit(&asker->timer);
    pthread_mutex_lock(&mutex);
    total.asked += asker->count.asked;
    total.answered += asker->count.answered;
    total.too_busy += asker->count.too_busy;
    total.wrong += asker->count.wrong;
    histogram_merge(&total.times, &asker->count.times);
    pthread_mutex_unlock(&mutex);
    free(asker);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static int end(const struct dialing *dialing, bool all_well)
{
    const struct histogram *times = &total.times;
    (void)dialing;
    (void)all_well;
    printf("%" PRIu64 " asked, %" PRIu64 " answered, of which %" PRIu64 " too busy, %" PRIu64
           " wrong\n",
           total.asked, total.answered, total.too_busy, total.wrong);
    printf("us from when it was due: p50 %.0f, p90 %.0f, p99 %.0f, p99.9 %.0f, max %.0f\n",
           (double)histogram_at(times, 0.5) / 1000, (double)histogram_at(times, 0.9) / 1000,
           (double)histogram_at(times, 0.99) / 1000, (double)histogram_at(times, 0.999) / 1000,
           (double)times->max / 1000);
    return total.asked > 0 && total.wrong == 0 && total.answered == total.asked ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"rate", "N", "questions a second, over all connections (1000)", ARG_COUNT, .into = &rate,
         .min = 1, .max = 10000000},
        {"seconds", "SECONDS", "for so long (5)", ARG_TIME, .into = &time_ms, .min = 1},
        {0},
    };
    static const struct dialler dialler = {
        .name = "sudoku-client",
        .about = "Asks a sudoku server at a fixed rate, and prints how long the answers took.",
        .address = "127.0.0.1:9981",
        .ops = &ops,
        .args = args,
        .many = true,
        .end = end,
    };
    return dial(&dialler, argc, argv);
}
