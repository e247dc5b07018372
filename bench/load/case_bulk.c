/* SPDX-License-Identifier: BSD-2-Clause */
/* sink and source: as many bytes as go in one direction, in pieces of 256 KiB.
 *
 * sink: each connection sends pieces (of --size) until the deadline, then FIN, and waits for the
 * one byte with which the server says that it has read all of it. So the seconds of the run are
 * those that the server needed, whatever the buffers between the two hold. The time of a message is
 * that between two pieces taken whole by the socket.
 *
 * source: each connection asks for --pipeline pieces, reads them to the server's FIN, and opens the
 * next until the deadline; too few or too many bytes are errors. The time of a message is that of a
 * whole download, though messages counts its pieces.
 *
 * Both end each connection with FIN, so they open them anew in each run, the cost of which is lost
 * in that of megabytes. The bytes are those of the stream that load.h tells; what is received is
 * compared with it. What is sent is not: the server throws it away. */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define RECEIVE_BYTES 212992 /* what an unconfigured kernel allows */

enum phase { RUNNING, ENDED };

static void prepare(struct load *load)
{
    size_t stream = LOAD_SCRATCH_BYTES + 65536; /* a whole read from any offset modulo 64 KiB */
    size_t size = load->size > stream ? load->size : stream;
    load->pattern = load_need(size);
    load_fill_stream(load->pattern, size);
}

static bool open_one(struct load *load, struct load_conn *conn)
{
    conn->began_ns = load_clock(load);
    int error = load_connect(load, conn, true, EPOLLOUT | EPOLLIN);
    if (error < 0) {
        load_fail(load, conn, "connect", -error);
        return false;
    }
    load_set_busy(load, conn, true);
    return true;
}

static void start_sink(struct load *load, struct load_conn *conn)
{
    (void)open_one(load, conn);
}

static void push_sink(struct load *load, struct load_conn *conn)
{
    ssize_t sent =
        load_send(load, conn, load->pattern + conn->sent, load->size - (size_t)conn->sent);
    if (sent < 0) {
        return;
    }
    conn->sent += (uint64_t)sent;
    load->bytes += (uint64_t)sent;
    (void)load_clock(load);
    if (conn->sent == load->size) {
        load_hist_add(&load->hist, load->now_ns - conn->began_ns, 1);
        load->messages++;
        conn->began_ns = load->now_ns;
        conn->sent = 0;
    }
    if (load->over && conn->sent == 0) {
        conn->phase = ENDED;
        if (shutdown(conn->fd, SHUT_WR) < 0) {
            load_fail(load, conn, "shutdown", errno);
        } else {
            load_wait_for(load, conn, EPOLLIN);
        }
    }
}

static void event_sink(struct load *load, struct load_conn *conn, uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        ssize_t got = load_read(load, conn, 16);
        if (got > 0) {
            conn->got += (uint64_t)got;
        } else if (got == 0 && conn->phase == ENDED && conn->got == 1) {
            load_close(load, conn);
        } else if (got == 0) {
            load_fail(load, conn, "the server closed it without its one byte", 0);
        }
    }
    if ((events & EPOLLOUT) != 0 && conn->fd >= 0 && conn->phase == RUNNING) {
        push_sink(load, conn);
    }
}

/* A receive buffer of a fixed size: one that the kernel sizes by itself grows, or does not, by
 * chance to what no cache holds. */
static void start_source(struct load *load, struct load_conn *conn)
{
    int bytes = RECEIVE_BYTES;
    if (open_one(load, conn)) {
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
        conn->number = load->pipeline;
    }
}

static void ask(struct load *load, struct load_conn *conn)
{
    unsigned char count[8] = {0};
    for (size_t i = 4; i < 8; i++) {
        count[i] = (unsigned char)(conn->number >> (8 * (7 - i)));
    }
    ssize_t sent = load_send(load, conn, count + conn->sent, 8 - (size_t)conn->sent);
    if (sent >= 0) {
        conn->sent += (uint64_t)sent;
        load_wait_for(load, conn, conn->sent < 8 ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void finish_source(struct load *load, struct load_conn *conn)
{
    if (conn->got != (uint64_t)conn->number * LOAD_PIECE_BYTES) {
        load_fail(load, conn, "the server's FIN came too early", 0);
        return;
    }
    load_hist_add(&load->hist, load_clock(load) - conn->began_ns, 1);
    load->messages += conn->number;
    load_close(load, conn);
    if (!load->over) {
        start_source(load, conn);
    }
}

static void pull_source(struct load *load, struct load_conn *conn)
{
    ssize_t got = load_read(load, conn, LOAD_SCRATCH_BYTES);
    if (got < 0) {
        return;
    }
    if (got == 0) {
        finish_source(load, conn);
    } else if (conn->got + (size_t)got > (uint64_t)conn->number * LOAD_PIECE_BYTES) {
        load_fail(load, conn, "more came than was asked for", 0);
    } else if (!load_same(load, load->scratch, load->pattern + conn->got % 65536, (size_t)got)) {
        load_fail(load, conn, "other bytes came than those of the stream", 0);
    } else {
        conn->got += (uint64_t)got;
        load->bytes += (uint64_t)got;
    }
}

static void event_source(struct load *load, struct load_conn *conn, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && conn->sent < 8) {
        ask(load, conn);
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && conn->fd >= 0) {
        pull_source(load, conn);
    }
}

const struct load_case load_sink = {
    .name = "sink",
    .persistent = false,
    .size_default = LOAD_PIECE_BYTES,
    .pipeline_default = 1,
    .prepare = prepare,
    .start = start_sink,
    .event = event_sink,
};

const struct load_case load_source = {
    .name = "source",
    .persistent = false,
    .size_default = LOAD_PIECE_BYTES,
    .pipeline_default = 64,
    .prepare = prepare,
    .start = start_source,
    .event = event_source,
};
