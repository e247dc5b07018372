/* SPDX-License-Identifier: BSD-2-Clause */
/* ttcp-client: sends records to a ttcp server, each when the one before it was acknowledged, and
 * prints the throughput. The wire is told in server.c.
 *
 * The record is made once, a blob with its length in front, and sent by reference: nothing is
 * copied for any of them. */
#include "dial.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <peal/blob.h>

static uint64_t number = 8192, length = 65536;
static uint64_t acknowledged;
static struct peal_blob *record_blob;
static uint64_t began_ns, ended_ns;

static void put_u32be(unsigned char *to, uint64_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (unsigned char)(value >> (24 - 8 * i));
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    unsigned char announcement[8];
    (void)user;
    began_ns = peal_loop_now_ns(peal_conn_loop(conn));
    put_u32be(announcement, number);
    put_u32be(announcement + 4, length);
    peal_conn_send(conn, announcement, sizeof announcement);
    if (number > 0) {
        peal_conn_send_ref(conn, record_blob);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    uint32_t size;
    (void)user;
    while (peal_buf_take_u32be(input, &size)) {
        if (size != length || acknowledged == number) {
            fprintf(stderr, "ttcp-client: the server acknowledged what was not sent\n");
            peal_conn_abort(conn);
            return;
        }
        if (++acknowledged < number) {
            peal_conn_send_ref(conn, record_blob);
        } else {
            peal_conn_shutdown(conn);
        }
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)record;
    (void)user;
    ended_ns = peal_loop_now_ns(peal_conn_loop(conn));
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static int start(struct dialing *dialing)
{
    unsigned char *text = malloc(4 + length);
    (void)dialing;
    if (text == NULL) {
        return -ENOMEM;
    }
    put_u32be(text, length);
    for (uint64_t i = 0; i < length; i++) {
        text[4 + i] = (unsigned char)"0123456789ABCDEF"[i % 16];
    }
    int error = peal_blob_copy(text, 4 + length, &record_blob);
    free(text);
    return error;
}

static int end(const struct dialing *dialing, bool all_well)
{
    double seconds = (double)(ended_ns - began_ns) / 1e9;
    double mib = (double)(acknowledged * length) / 1048576;
    (void)dialing;
    (void)all_well;
    peal_blob_unref(record_blob);
    printf("%" PRIu64 " of %" PRIu64 " records of %" PRIu64 " bytes acknowledged: %.3f MiB in "
           "%.3f s, %.3f MiB/s\n",
           acknowledged, number, length, mib, seconds, mib / (seconds > 0 ? seconds : 1e-9));
    return acknowledged == number ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"number", "N", "records (8192)", ARG_COUNT, .into = &number, .max = INT32_MAX},
        {"length", "SIZE", "bytes of each (64K)", ARG_SIZE, .into = &length, .min = 1,
         .max = 64 << 20},
        {0},
    };
    static const struct dialler dialler = {
        .name = "ttcp-client",
        .about = "Sends records to a ttcp server, and prints the throughput.",
        .address = "127.0.0.1:5001",
        .ops = &ops,
        .args = args,
        .start = start,
        .end = end,
    };
    return dial(&dialler, argc, argv);
}
