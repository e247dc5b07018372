/* SPDX-License-Identifier: BSD-2-Clause */
/* filetransfer-client: writes what a filetransfer server sends to a file, or to standard output.
 *
 * The wire has no size in front, so that only the way in which the connection ended tells whether
 * the file is whole: an end of stream is, a reset is not. What was written of a file that is not
 * whole stays, and the exit code is 1. */
#include "dial.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *path;
static FILE *file;
static int write_error;
static uint64_t bytes, began_ns, ended_ns;

static void on_open(struct peal_conn *conn, void *user)
{
    (void)user;
    began_ns = peal_loop_now_ns(peal_conn_loop(conn));
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    bytes += peal_buf_size(input);
    if (fwrite(peal_buf_data(input), 1, peal_buf_size(input), file) < peal_buf_size(input)) {
        write_error = errno;
        peal_conn_abort(conn);
    }
    peal_buf_clear(input);
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
    (void)dialing;
    file = stdout;
    if (path != NULL && (file = fopen(path, "wbe")) == NULL) {
        fprintf(stderr, "filetransfer-client: %s: %s\n", path, strerror(errno));
        return -errno;
    }
    return 0;
}

static int end(const struct dialing *dialing, bool all_well)
{
    double seconds = (double)(ended_ns - began_ns) / 1e9;
    (void)dialing;
    if (fflush(file) != 0 && write_error == 0) {
        write_error = errno;
    }
    if (path != NULL && fclose(file) != 0 && write_error == 0) {
        write_error = errno;
    }
    if (write_error != 0) {
        fprintf(stderr, "filetransfer-client: %s: %s\n", path != NULL ? path : "standard output",
                strerror(write_error));
        return 1;
    }
    fprintf(stderr, "%" PRIu64 " bytes in %.3f s, %.3f MiB/s\n", bytes, seconds,
            (double)bytes / 1048576 / (seconds > 0 ? seconds : 1e-9));
    return all_well ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"output", "FILE", "where to write it (standard output)", ARG_TEXT, .into = &path},
        {0},
    };
    static const struct dialler dialler = {
        .name = "filetransfer-client",
        .about = "Receives what a filetransfer server sends.",
        .address = "127.0.0.1:2021",
        .ops = &ops,
        .args = args,
        .start = start,
        .end = end,
    };
    return dial(&dialler, argc, argv);
}
