/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker: the connections that one loop drives against an echo server.
 *
 *     start → connect, a few hundred at a time → messages → stop → close all → done
 *
 * A message is the same bytes each time; what comes back is compared with them as it comes, in
 * whatever pieces. The time of sending is kept in a ring of as many places as messages can be under
 * way; echoes come back in order, so the oldest is always the one that has come. With a rate, it is
 * the time when the message should have been sent (load_schedule.c).
 *
 * Rules:
 *  1. Only what is complete when time is up counts as a message: what is drained after that would
 *     flatter the rate.
 *  2. A connection that fails to open is an error and is not tried again, except by churn, which
 *     waits a little first: a server that is gone must not turn the load into a spin.
 *  3. Bytes that were not asked for are wrong bytes, and no message.
 *  4. Stopping is bounded: connections are closed gracefully and, when patience is over, aborted.
 *     Then done is called, whatever the server does.
 *
 * The clock is read for each message, not taken from the loop's turn: the turn's time is older than
 * the message by what the loop did meanwhile, which is just what is to be measured.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONNECTING_MAX = 256, PATIENCE_MS = 3000, CHURN_RETRY_MS = 50 };

uint64_t load_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void load_count_error(struct load_counts *counts, int error, uint64_t times)
{
    int i = 0;

    while (i < LOAD_ERRORS_MAX - 1 && counts->errors[i].count > 0 &&
           counts->errors[i].error != error) {
        i++; /* the last place takes what is left over */
    }
    counts->errors[i].error = error;
    counts->errors[i].count += times;
}

void load_merge(struct load_counts *into, const struct load_counts *from)
{
    into->messages += from->messages;
    into->opened += from->opened;
    into->closed += from->closed;
    into->still_open += from->still_open;
    into->wrong += from->wrong;
    for (int cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
        into->causes[cause] += from->causes[cause];
    }
    for (int i = 0; i < LOAD_ERRORS_MAX; i++) {
        if (from->errors[i].count > 0) {
            load_count_error(into, from->errors[i].error, from->errors[i].count);
        }
    }
    into->due += from->due;
    into->not_sent += from->not_sent;
    into->unanswered += from->unanswered;
    into->behind_ns = from->behind_ns > into->behind_ns ? from->behind_ns : into->behind_ns;
    into->late_ns = from->late_ns > into->late_ns ? from->late_ns : into->late_ns;
    histogram_merge(&into->latency_ns, &from->latency_ns);
}

/* ---- beginning and end of connections */

static void connect_more(struct load_worker *worker);

static void check_done(struct load_worker *worker)
{
    if (worker->stopping && worker->open == 0 && !worker->over) {
        worker->over = true;
        peal_timer_cancel(&worker->patience);
        worker->done(worker->user);
    }
}

/* When the message that is to be sent now counts from. */
static uint64_t sending_ns(const struct load_conn *load)
{
    return load->worker->options->rate > 0 ? load_schedule_due_ns(load, load->sent) : load_now_ns();
}

static bool send_message(struct load_conn *load)
{
    const struct load_options *options = load->worker->options;

    load->sent_ns[load->sent % options->depth] = sending_ns(load);
    if (peal_conn_send(load->conn, load->worker->payload, options->size) <= 0) {
        return false;
    }
    load->sent++;
    return true;
}

static void begin(struct load_conn *load)
{
    struct load_worker *worker = load->worker;

    worker->connecting++;
    if (worker->options->mode == LOAD_CHURN) {
        load->sent_ns[0] = sending_ns(load); /* a cycle counts from its connect on */
        load->sent++;
        load->cycling = true;
    }
    int error = peal_client_connect(load->client);
    if (error < 0) {
        load_count_error(&worker->counts, error, 1);
        worker->connecting--;
    }
}

void load_go(struct load_conn *load)
{
    const struct load_options *options = load->worker->options;

    if (options->mode == LOAD_CHURN) {
        if (!load->cycling && load->due > load->sent) {
            begin(load);
        }
        return;
    }
    while (load->conn != NULL && load->due > load->sent &&
           load->sent - load->echoed < options->depth) {
        if (!send_message(load)) {
            return; /* it is closing: what is due is taken account of when it has closed */
        }
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct load_conn *load = user;
    struct load_worker *worker = load->worker;

    load->conn = conn;
    worker->connecting--;
    worker->open++;
    worker->counts.opened++;
    if (worker->stopping) {
        peal_conn_abort(conn);
        return;
    }
    load->message_bytes = 0;
    load->message_wrong = false;
    if (worker->options->mode == LOAD_CHURN) {
        peal_conn_send(conn, worker->payload, worker->options->size);
    } else if (worker->options->rate > 0) {
        load_schedule_join(load);
    } else if (worker->options->mode != LOAD_IDLE) {
        for (uint64_t i = 0; i < worker->options->depth; i++) {
            send_message(load);
        }
    }
    connect_more(worker);
}

/* A cycle of churn has ended. */
static void begin_again(void *user)
{
    struct load_conn *load = user;

    if (load->worker->stopping) {
        return;
    }
    load->cycling = false;
    if (load->worker->options->rate > 0) {
        load_go(load);
    } else {
        begin(load);
    }
}

/* The connection of a cycle of churn has closed, or was not made. */
static void count_unanswered(struct load_conn *load)
{
    load->worker->counts.unanswered += load->sent - load->echoed;
    load->echoed = load->sent;
}

static void on_retry(struct peal_timer *timer, void *user)
{
    (void)timer;
    begin_again(user);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct load_conn *load = user;
    struct load_worker *worker = load->worker;

    (void)conn;
    load->conn = NULL;
    worker->open--;
    worker->counts.closed++;
    worker->counts.causes[record->cause]++;
    if (worker->options->mode != LOAD_CHURN) {
        load_schedule_leave(load);
    } else if (!worker->stopping) {
        count_unanswered(load);
        /* not here: the client still counts this connection as open */
        int error = peal_loop_post(worker->loop, begin_again, load);
        if (error < 0) {
            load_count_error(&worker->counts, error, 1);
        }
    }
    check_done(worker);
}

static void on_fail(struct peal_client *client, const struct peal_connect_failure *failure,
                    void *user)
{
    struct load_conn *load = user;
    struct load_worker *worker = load->worker;

    (void)client;
    worker->connecting--;
    load_count_error(&worker->counts, failure->error, 1);
    if (worker->options->mode != LOAD_CHURN) {
        load_schedule_leave(load);
    } else if (!worker->stopping) {
        count_unanswered(load);
        peal_timer_start(&load->retry, CHURN_RETRY_MS, 0);
    }
    connect_more(worker);
}

/* ---- messages */

static void on_message(struct load_conn *load)
{
    struct load_worker *worker = load->worker;
    const struct load_options *options = worker->options;
    uint64_t sent_ns = load->sent_ns[load->echoed % options->depth];

    if (load->message_wrong) {
        load->message_wrong = false;
        worker->counts.wrong++;
    }
    if (worker->stopping || load->echoed == load->sent) {
        return;
    }
    load->echoed++;
    worker->counts.messages++;
    uint64_t latency_ns = load_now_ns() - sent_ns;
    histogram_add(&worker->counts.latency_ns, latency_ns);
    if (worker->gathering != NULL) {
        histogram_add(&worker->gathering->latency_ns, latency_ns);
    }
    if (options->mode != LOAD_CHURN && options->rate > 0) {
        load_go(load);
    } else if (options->mode != LOAD_CHURN) {
        send_message(load);
    } else if (options->reset) {
        peal_conn_abort(load->conn);
    } else {
        peal_conn_close(load->conn);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct load_conn *load = user;
    struct load_worker *worker = load->worker;
    const unsigned char *from = peal_buf_data(input);
    size_t left = peal_buf_size(input);

    (void)conn;
    while (left > 0) {
        size_t missing = worker->options->size - load->message_bytes;
        size_t size = left < missing ? left : missing;
        if (load->echoed == load->sent ||
            memcmp(from, worker->payload + load->message_bytes, size) != 0) {
            load->message_wrong = true;
        }
        from += size;
        left -= size;
        load->message_bytes += size;
        if (load->message_bytes == worker->options->size) {
            load->message_bytes = 0;
            on_message(load);
        }
    }
    peal_buf_clear(input);
}

/* ---- the worker */

static const struct peal_conn_ops load_ops = {
    .on_open = on_open,
    .on_data = on_data,
    .on_close = on_close,
};

static int make_conn(struct load_worker *worker, struct load_conn *load)
{
    const struct peal_client_options client = {
        .to = worker->options->connect,
        .ops = &load_ops,
        .user = load,
        .on_fail = on_fail,
    };

    load->worker = worker;
    load->sent_ns = calloc(worker->options->depth, sizeof(*load->sent_ns));
    peal_timer_init(&load->retry, worker->loop, on_retry, load);
    return load->sent_ns == NULL ? -ENOMEM : peal_client_new(worker->loop, &client, &load->client);
}

/* Number n of all connections begins at n parts of the ramp. */
static uint64_t ramp_ns(const struct load_worker *worker, unsigned place)
{
    const struct load_options *options = worker->options;
    uint64_t number = worker->number + (uint64_t)place * worker->step;

    return worker->began_ns + (uint64_t)options->ramp_ms * 1000000 / options->conns * number;
}

static void connect_more(struct load_worker *worker)
{
    uint64_t now_ns = load_now_ns();

    while (!worker->stopping && worker->connecting < CONNECTING_MAX &&
           worker->started < worker->conn_count) {
        uint64_t due_ns = ramp_ns(worker, worker->started);
        if (due_ns > now_ns) {
            peal_timer_start(&worker->ramp, (due_ns - now_ns) / 1000000 + 1, 0);
            return;
        }
        struct load_conn *load = &worker->conns[worker->started++];
        int error = make_conn(worker, load);
        if (error < 0) {
            load_count_error(&worker->counts, error, 1);
            load_schedule_leave(load);
        } else if (worker->options->mode == LOAD_CHURN && worker->options->rate > 0) {
            load_schedule_join(load);
        } else {
            begin(load);
        }
    }
}

static void on_ramp(struct peal_timer *timer, void *user)
{
    (void)timer;
    connect_more(user);
}

static void on_patience(struct peal_timer *timer, void *user)
{
    struct load_worker *worker = user;

    (void)timer;
    for (unsigned i = 0; i < worker->started; i++) {
        if (worker->conns[i].conn != NULL) {
            peal_conn_abort(worker->conns[i].conn);
        }
    }
}

void load_worker_start(void *user)
{
    struct load_worker *worker = user;

    peal_timer_init(&worker->patience, worker->loop, on_patience, worker);
    peal_timer_init(&worker->ramp, worker->loop, on_ramp, worker);
    worker->conns = calloc(worker->conn_count, sizeof(*worker->conns));
    if (worker->conns == NULL) {
        load_count_error(&worker->counts, -ENOMEM, worker->conn_count);
        return;
    }
    int error = load_schedule_open(worker);
    if (error < 0) {
        load_count_error(&worker->counts, error, 1);
        return;
    }
    connect_more(worker);
}

void load_worker_stop(void *user)
{
    struct load_worker *worker = user;

    if (worker->stopping) {
        return;
    }
    load_schedule_close(worker);
    worker->stopping = true;
    peal_timer_cancel(&worker->ramp);
    worker->counts.still_open = worker->open;
    for (unsigned i = 0; i < worker->started; i++) {
        struct load_conn *load = &worker->conns[i];
        peal_timer_deinit(&load->retry);
        load->client = peal_client_unref(load->client);
        if (load->conn != NULL) {
            peal_conn_close(load->conn);
        }
    }
    peal_timer_start(&worker->patience, PATIENCE_MS, 0);
    check_done(worker);
}

void load_worker_fill(struct load_worker *worker)
{
    struct load_sample *sample = worker->gathering;

    sample->messages = worker->counts.messages;
    sample->errors = worker->counts.wrong;
    for (int i = 0; i < LOAD_ERRORS_MAX; i++) {
        sample->errors += worker->counts.errors[i].count;
    }
    sample->open = worker->open;
    sample->behind_ns = load_schedule_behind_ns(worker, load_now_ns());
}

void load_worker_sample(void *user)
{
    struct load_worker *worker = user;
    struct load_sample *full = worker->gathering;

    load_worker_fill(worker);
    worker->gathering = worker->handed;
    worker->handed = full;
    worker->sampled(worker->sampled_user);
}

void load_worker_deinit(struct load_worker *worker)
{
    for (unsigned i = 0; i < worker->started; i++) {
        free(worker->conns[i].sent_ns);
    }
    free(worker->conns);
}
