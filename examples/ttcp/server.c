/* SPDX-License-Identifier: BSD-2-Clause */
/* ttcp: the receiving end of a test of throughput in which every record is acknowledged.
 *
 *     the client: a number N of records, and their length L     two int32, big-endian
 *     N times:    a length L, and so many bytes                 int32, big-endian
 *     the server: L, when a record is whole                     int32, big-endian
 *
 * Records are counted as they come and never put together, so their length is bounded by its 31
 * bits and costs no memory. A number or a length that is negative, and a record whose length is not
 * the announced one, end the connection at once. After the last record the server closes. */
#include "serve.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session {
    bool is_announced;
    int32_t records; /* still to come */
    int32_t length;  /* of each */
    int32_t left;    /* of the one that is under way; -1: its length comes next */
    uint64_t bytes, began_ns;
};

static void on_open(struct peal_conn *conn, void *user)
{
    struct session *session = calloc(1, sizeof *session);
    (void)user;
    peal_conn_set_user(conn, session);
    if (session == NULL) {
        peal_conn_abort(conn);
        return;
    }
    session->left = -1;
    session->began_ns = peal_loop_now_ns(peal_conn_loop(conn));
}

static bool take_i32(struct peal_buf *input, int32_t *ret_value)
{
    uint32_t value;
    if (!peal_buf_take_u32be(input, &value)) {
        return false;
    }
    *ret_value = (int32_t)value;
    return true;
}

/* False: the rest has to come first, or there is none. */
static bool go_on(struct peal_conn *conn, struct session *session, struct peal_buf *input)
{
    if (!session->is_announced) {
        if (peal_buf_size(input) < 8) {
            return false;
        }
        session->is_announced = true;
        take_i32(input, &session->records);
        take_i32(input, &session->length);
        if (session->records < 0 || session->length < 0) {
            peal_conn_abort(conn);
            return false;
        }
    } else if (session->left < 0) {
        if (!take_i32(input, &session->left)) {
            return false;
        }
        if (session->left != session->length) {
            peal_conn_abort(conn);
            return false;
        }
    }
    if (session->left > 0) {
        size_t size = peal_buf_size(input) < (size_t)session->left ? peal_buf_size(input)
                                                                   : (size_t)session->left;
        peal_buf_consume(input, size);
        session->bytes += size;
        session->left -= (int32_t)size;
    }
    if (session->left == 0) {
        const uint32_t length = (uint32_t)session->length;
        const unsigned char reply[4] = {(unsigned char)(length >> 24),
                                        (unsigned char)(length >> 16), (unsigned char)(length >> 8),
                                        (unsigned char)length};
        peal_conn_send(conn, reply, sizeof reply);
        session->left = -1;
        session->records--;
    }
    if (session->records == 0) {
        peal_conn_close(conn);
        return false;
    }
    return peal_buf_size(input) > 0;
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    while (go_on(conn, user, input)) {
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct session *session = user;
    if (session != NULL && session->bytes > 0) {
        double seconds = (double)(peal_loop_now_ns(peal_conn_loop(conn)) - session->began_ns) / 1e9;
        printf("ttcp: %" PRIu64 " bytes in %.3f s, %.3f MiB/s (%s)\n", session->bytes, seconds,
               (double)session->bytes / 1048576 / (seconds > 0 ? seconds : 1e-9),
               peal_cause_text(record->cause));
        fflush(stdout);
    }
    free(session);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

int main(int argc, char **argv)
{
    static const struct service service = {
        .name = "ttcp",
        .about = "Receives records, acknowledges each, and prints the throughput.",
        .address = "127.0.0.1:5001",
        .ops = &ops,
        .limits = {.pause_reading_at_high = true},
    };
    return serve(&service, argc, argv);
}
