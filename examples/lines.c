/* SPDX-License-Identifier: BSD-2-Clause */
/* A server that reads until the peer's end and answers then, as sort(1) or wc(1) must.
 *
 *     build/examples/lines &
 *     printf 'one\ntwo\nthree' | nc -N 127.0.0.1 2011
 *
 * The peer ends its side (FIN) and goes on reading: it is half closed. on_eof makes that an event
 * of its own, with what the peer sent after its last newline still in the buffer. Each connection
 * has a structure of the program's: made in on_open, freed in on_close, which comes once whatever
 * happens between. */
#include <peal.h>

#include <stdio.h>
#include <stdlib.h>

struct count {
    unsigned lines;
    size_t longest_bytes;
};

static void on_open(struct peal_conn *conn, void *user)
{
    struct count *count = calloc(1, sizeof *count);
    (void)user;
    peal_conn_set_user(conn, count);
    if (!count) {
        peal_conn_abort(conn); /* no on_data will come, but on_close will */
    }
}

static void add_line(struct count *count, size_t size)
{
    count->lines++;
    count->longest_bytes = size > count->longest_bytes ? size : count->longest_bytes;
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    ssize_t end;
    (void)conn;
    while ((end = peal_buf_find(input, '\n')) >= 0) {
        add_line(user, (size_t)end);
        peal_buf_consume(input, (size_t)end + 1);
    }
    /* What is left is the beginning of a line. It is shown again, together with what comes next. */
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct count *count = user;
    char reply[80];
    if (peal_buf_size(input) > 0) {
        add_line(count, peal_buf_size(input));
        peal_buf_clear(input); /* else the record counts it as discarded */
    }
    int size = snprintf(reply, sizeof reply, "%u lines, the longest has %zu bytes\n", count->lines,
                        count->longest_bytes);
    peal_conn_send(conn, reply, (size_t)size);
    peal_conn_close(conn); /* after what was sent */
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    char text[PEAL_CLOSE_TEXT_MAX];
    (void)conn;
    fprintf(stderr, "%s\n", peal_close_record_format(record, text, sizeof text));
    free(user);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_close = on_close,
};

int main(int argc, char **argv)
{
    peal_log_set(peal_log_to_stderr, NULL);
    return peal_serve(argc > 1 ? argv[1] : "127.0.0.1:2011", &ops) < 0;
}
