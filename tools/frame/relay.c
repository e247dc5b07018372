/* SPDX-License-Identifier: BSD-2-Clause */
/* Two connections joined.
 *
 *                 front                     relay                      back
 *     bytes ───► on_data ─────────────────► send ───────────────────────────► bytes
 *                pause_reading ◄─ output above HIGH · on_drain ─► resume_reading
 *     FIN ─────► on_eof ──────────────────► shutdown ───────────────────────► FIN, behind the bytes
 *     RST ─────► on_close ────────────────► abort ──────────────────────────► RST
 *
 * and the same from back to front. Both live on one loop, so there is no lock.
 *
 *  1. Memory is bounded: whoever gives is paused while the one who takes has more than HIGH
 *     pending. A read that was shown already is passed on whole, so what is pending is HIGH and a
 *     read.
 *  2. Each direction ends by itself. When both have, each connection has sent and received a FIN,
 *     and closes without a further word from here.
 *  3. An end that is not of the stream (a reset, an error, a time-out, a cap) is passed on as a
 *     reset: nobody takes a part for the whole. One by our own wish (the server stops, the loop
 *     ends, nothing moved for long) is passed on gracefully.
 *  4. The relay is freed when neither side is there and no client connects. A side is there from
 *     its on_open (the front: relay_begin) to its on_close, which comes exactly once; so the last
 *     of the two frees it, whatever their order.
 *  5. A client whose front has gone is released, and no callback of it comes after that.
 *
 * While the back is being connected the front is paused; its FIN and its bytes wait in the kernel,
 * and its reset is told all the same. */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>

enum { HIGH_BYTES = 256 * 1024, LOW_BYTES = 64 * 1024 };

static void free_if_over(struct relay *relay)
{
    if (relay->front == NULL && relay->back == NULL && relay->client == NULL) {
        peal_buf_deinit(&relay->early);
        free(relay);
    }
}

/* ---- both directions */

static void pass_on(struct peal_conn *from, struct peal_conn *to, struct peal_buf *input,
                    bool *inout_waits)
{
    /* If the other side has ended, that is passed on in its on_close, and these bytes are lost with
     * it as they would be on the way. Of a lack of memory nobody else would tell. */
    if (to != NULL && peal_conn_send(to, peal_buf_data(input), peal_buf_size(input)) == -ENOMEM) {
        peal_conn_abort(from);
        peal_conn_abort(to);
    }
    peal_buf_clear(input);
    if (to != NULL && !*inout_waits && peal_conn_output_bytes(to) > HIGH_BYTES) {
        *inout_waits = true;
        peal_conn_pause_reading(from);
        peal_conn_want_drain(to);
    }
}

static void go_on(struct peal_conn *from, bool *inout_waits)
{
    if (*inout_waits) {
        *inout_waits = false;
        if (from != NULL) {
            peal_conn_resume_reading(from);
        }
    }
}

static void pass_end_on(struct peal_conn *other, const struct peal_close_record *record)
{
    if (other == NULL) {
        return;
    }
    switch (record->cause) {
    case PEAL_CAUSE_PEER_CLOSED:
    case PEAL_CAUSE_LOCAL_CLOSE:
    case PEAL_CAUSE_SERVER_STOP:
    case PEAL_CAUSE_LOOP_ENDED:
    case PEAL_CAUSE_IDLE_TIMEOUT:
        if (record->clean || record->cause != PEAL_CAUSE_LOCAL_CLOSE) {
            peal_conn_close(other);
            return;
        }
        peal_conn_abort(other);
        return;
    default:
        peal_conn_abort(other);
    }
}

/* ---- the back */

static void back_open(struct peal_conn *conn, void *user)
{
    struct relay *relay = user;
    relay->back = conn;
    relay->client = peal_client_unref(relay->client);
    if (relay->ops->on_up != NULL) {
        relay->ops->on_up(relay);
    }
    if (peal_buf_size(&relay->early) > 0) {
        peal_conn_send(conn, peal_buf_data(&relay->early), peal_buf_size(&relay->early));
        peal_buf_deinit(&relay->early);
    }
    peal_conn_resume_reading(relay->front);
}

static void back_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct relay *relay = user;
    pass_on(conn, relay->front, input, &relay->back_waits);
}

static void back_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const struct relay *relay = user;
    (void)conn;
    (void)input;
    if (relay->front != NULL) {
        peal_conn_shutdown(relay->front);
    }
}

static void back_drain(struct peal_conn *conn, void *user)
{
    struct relay *relay = user;
    (void)conn;
    go_on(relay->front, &relay->front_waits);
}

static void back_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct relay *relay = user;
    (void)conn;
    relay->back = NULL;
    pass_end_on(relay->front, record);
    free_if_over(relay);
}

static const struct peal_conn_ops back_ops = {.on_open = back_open,
                                              .on_data = back_data,
                                              .on_eof = back_eof,
                                              .on_drain = back_drain,
                                              .on_close = back_close};

static void back_fail(struct peal_client *client, const struct peal_connect_failure *failure,
                      void *user)
{
    struct relay *relay = user;
    relay->client = NULL;
    if (relay->ops->on_fail != NULL) {
        relay->ops->on_fail(relay, failure);
    } else {
        peal_conn_abort(relay->front);
    }
    peal_client_unref(client); /* behind the call: what it was told is the client's */
}

/* ---- for programs */

struct relay *relay_begin(struct peal_conn *front, struct peal_buf *input,
                          const struct relay_ops *ops, uint32_t connect_ms)
{
    struct relay *relay = calloc(1, sizeof *relay);
    if (relay == NULL) {
        return NULL;
    }
    if (input != NULL && peal_buf_move(&relay->early, input) < 0) {
        free(relay);
        return NULL;
    }
    relay->front = front;
    relay->ops = ops;
    relay->connect_ms = connect_ms;
    peal_conn_pause_reading(front);
    return relay;
}

int relay_try(struct relay *relay, const char *to)
{
    struct peal_client_options options = {
        .to = to,
        .ops = &back_ops,
        .user = relay,
        .connect_ms = relay->connect_ms,
        .limits = {.output_low_bytes = LOW_BYTES, .output_high_bytes = HIGH_BYTES},
        .on_fail = back_fail,
    };
    int error = peal_client_new(peal_conn_loop(relay->front), &options, &relay->client);
    if (error < 0) {
        relay->client = NULL;
        return error;
    }
    relay->tries++;
    peal_client_connect(relay->client);
    return 0;
}

void relay_on_data(struct relay *relay, struct peal_buf *input)
{
    pass_on(relay->front, relay->back, input, &relay->front_waits);
}

void relay_on_eof(struct relay *relay)
{
    if (relay->back != NULL) {
        peal_conn_shutdown(relay->back);
    }
}

void relay_on_drain(struct relay *relay)
{
    go_on(relay->back, &relay->back_waits);
}

void relay_on_close(struct relay *relay, const struct peal_close_record *record)
{
    relay->front = NULL;
    relay->client = peal_client_unref(relay->client);
    pass_end_on(relay->back, record);
    free_if_over(relay);
}
