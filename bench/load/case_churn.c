/* SPDX-License-Identifier: BSD-2-Clause */
/* churn: connect, send one byte, read it back, send FIN, read the server's FIN, close; then the
 * next. The time of a message is that of the whole life, from connect to the server's FIN.
 *
 * The side that sends its FIN first keeps the port for a minute (TIME_WAIT). That is this side, and
 * at tens of thousands of connections a second one source address would run out of ports, so they
 * are spread over 127.0.0.1 to 127.0.0.250.
 *
 * A connect over loopback is done when the call returns, though it says EINPROGRESS, so the byte is
 * tried at once; where that is too early the socket becomes writable later. */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum phase { CONNECTING, SENT, ENDED };

static unsigned char byte_of(const struct load_conn *conn)
{
    return (unsigned char)(conn->number * 7 + conn->index);
}

static void say(struct load *load, struct load_conn *conn)
{
    unsigned char byte = byte_of(conn);
    ssize_t sent = load_send(load, conn, &byte, 1);
    if (sent >= 0) {
        conn->phase = sent == 1 ? SENT : CONNECTING;
        load_wait_for(load, conn, sent == 1 ? EPOLLIN : EPOLLOUT);
    }
}

static void start(struct load *load, struct load_conn *conn)
{
    conn->number++;
    conn->began_ns = load_clock(load);
    int error = load_connect(load, conn, true, EPOLLIN);
    if (error < 0) {
        load_fail(load, conn, "connect", -error);
        return;
    }
    load_set_busy(load, conn, true);
    say(load, conn);
}

static void finish(struct load *load, struct load_conn *conn)
{
    load_hist_add(&load->hist, load_clock(load) - conn->began_ns, 1);
    load->messages++;
    load->bytes++;
    load_close(load, conn);
    if (!load->over) {
        start(load, conn);
    }
}

static void listen_to(struct load *load, struct load_conn *conn)
{
    ssize_t got = load_read(load, conn, 16);
    if (got < 0) {
        return;
    }
    if (conn->phase == ENDED) {
        if (got == 0) {
            finish(load, conn);
        } else {
            load_fail(load, conn, "more came back than was sent", 0);
        }
    } else if (got != 1 || load->scratch[0] != byte_of(conn)) {
        load_fail(load, conn, got == 0 ? "the server closed it" : "another byte came back", 0);
    } else if (shutdown(conn->fd, SHUT_WR) < 0) {
        load_fail(load, conn, "shutdown", errno);
    } else {
        conn->phase = ENDED;
    }
}

static void event(struct load *load, struct load_conn *conn, uint32_t events)
{
    (void)events;
    if (conn->phase == CONNECTING) {
        say(load, conn);
    } else {
        listen_to(load, conn);
    }
}

const struct load_case load_churn = {
    .name = "churn",
    .persistent = false,
    .size_default = 1,
    .pipeline_default = 1,
    .start = start,
    .event = event,
};
