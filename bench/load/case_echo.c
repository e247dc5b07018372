/* SPDX-License-Identifier: BSD-2-Clause */
/* echo: each connection sends a message, waits for all of it to come back, and sends the next; one
 * in flight on each, so the server sets the pace. The time of a message is from its send to the
 * read that completed it.
 *
 * Messages are windows into one pattern of random bytes, moved for each message and each
 * connection, so that an answer that belongs to another message or another connection is not taken
 * for right. A message that the socket does not take at once goes on while its answer is read
 * already. */
#include "load.h"

#include <sys/epoll.h>

#define SHIFTS 61

static const unsigned char *message_of(const struct load *load, const struct load_conn *conn)
{
    return load->pattern + (conn->number * 7 + conn->index) % SHIFTS;
}

static void prepare(struct load *load)
{
    uint32_t random = 2463534242;
    load->pattern = load_need(load->size + SHIFTS);
    for (size_t i = 0; i < load->size + SHIFTS; i++) {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        load->pattern[i] = (unsigned char)(random >> 11);
    }
}

static void push(struct load *load, struct load_conn *conn)
{
    const unsigned char *message = message_of(load, conn);
    ssize_t sent = load_send(load, conn, message + conn->sent, load->size - conn->sent);
    if (sent >= 0) {
        conn->sent += (uint64_t)sent;
        load_wait_for(load, conn, conn->sent < load->size ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void start(struct load *load, struct load_conn *conn)
{
    conn->number++;
    conn->sent = 0;
    conn->got = 0;
    conn->began_ns = load_clock(load);
    load_set_busy(load, conn, true);
    push(load, conn);
}

static void finish(struct load *load, struct load_conn *conn)
{
    load_hist_add(&load->hist, load_clock(load) - conn->began_ns, 1);
    load->messages++;
    load->bytes += load->size;
    if (load->over) {
        load_set_busy(load, conn, false);
    } else {
        start(load, conn);
    }
}

static void pull(struct load *load, struct load_conn *conn)
{
    ssize_t got = load_read(load, conn, LOAD_SCRATCH_BYTES);
    if (got < 0) {
        return;
    }
    if (got == 0) {
        load_fail(load, conn, "the server closed it", 0);
    } else if (conn->got + (size_t)got > load->size) {
        load_fail(load, conn, "more came back than was sent", 0);
    } else if (!load_same(load, load->scratch, message_of(load, conn) + conn->got, (size_t)got)) {
        load_fail(load, conn, "other bytes came back than were sent", 0);
    } else {
        conn->got += (uint64_t)got;
        if (conn->got == load->size) {
            finish(load, conn);
        }
    }
}

static void event(struct load *load, struct load_conn *conn, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && conn->sent < load->size) {
        push(load, conn);
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && conn->fd >= 0) {
        pull(load, conn);
    }
}

const struct load_case load_echo = {
    .name = "echo",
    .persistent = true,
    .size_default = 64,
    .pipeline_default = 1,
    .prepare = prepare,
    .start = start,
    .event = event,
};
