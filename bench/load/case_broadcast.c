/* SPDX-License-Identifier: BSD-2-Clause */
/* broadcast: the last connection sends a byte, the server sends a block of 1 KiB to every one, and
 * when all have it the next byte is sent (with --pipeline K: K of them are on their way). A message
 * is one block received by one connection, and its time is from the byte that asked for it.
 *
 * It is the last connection that asks because connections are accepted in the order in which they
 * were opened: a server that has read its byte has accepted all others. (One that was asked by
 * the first could rightly leave out those that still wait to be accepted. With several listeners
 * there is no such order, so broadcast is for servers of one loop.)
 *
 * A run: every connection is busy until it has had all blocks that were asked for; the one that
 * asks learns that a block is everywhere from the number of connections which have had it. A
 * connection that fails can not be waited for: the run then goes on with the others. Each block is
 * compared with the beginning of the stream that load.h tells. */
#include "load.h"

#include <sys/epoll.h>

static uint64_t asked;         /* blocks that each connection is to get in this run */
static uint64_t *times_ns;     /* when each of those on their way was asked for */
static uint32_t *arrived;      /* at how many connections each of them is, whole */
static uint64_t everywhere;    /* blocks that all connections have had */
static struct load_conn *asks; /* the connection that asks: the last to be started */

static void prepare(struct load *load)
{
    times_ns = load_need(load->pipeline * sizeof(*times_ns));
    arrived = load_need(load->pipeline * sizeof(*arrived));
    load->pattern = load_need(2 * LOAD_SCRATCH_BYTES);
    for (size_t i = 0; i < 2 * LOAD_SCRATCH_BYTES; i += LOAD_BLOCK_BYTES) {
        load_fill_stream(load->pattern + i, LOAD_BLOCK_BYTES);
    }
}

static void ask(struct load *load)
{
    static const unsigned char byte = 'b';
    times_ns[asked % load->pipeline] = load_clock(load);
    arrived[asked % load->pipeline] = 0;
    ssize_t sent = load_send(load, asks, &byte, 1);
    if (sent == 1) {
        asked++;
    } else if (sent == 0) {
        load_fail(load, asks, "no room to ask with one byte", 0);
    }
}

static void start(struct load *load, struct load_conn *conn)
{
    conn->got = 0;
    load_set_busy(load, conn, true);
    asked = 0;
    everywhere = 0;
    asks = conn;
    if (load->busy == load->alive) {
        while (asks->fd >= 0 && asked < load->pipeline) {
            ask(load);
        }
    }
}

/* The run is over for those that have had all that was asked for. */
static void rest(struct load *load)
{
    for (uint32_t i = 0; i < load->conns_count; i++) {
        struct load_conn *conn = &load->conns[i];
        if (conn->busy && conn->got == asked * LOAD_BLOCK_BYTES) {
            load_set_busy(load, conn, false);
        }
    }
}

static void count(struct load *load, struct load_conn *conn, size_t got)
{
    uint64_t first = conn->got / LOAD_BLOCK_BYTES;
    conn->got += got;
    uint64_t end = conn->got / LOAD_BLOCK_BYTES;
    (void)load_clock(load);
    for (uint64_t block = first; block < end; block++) {
        size_t slot = (size_t)(block % load->pipeline);
        load_hist_add(&load->hist, load->now_ns - times_ns[slot], 1);
        arrived[slot]++;
    }
    load->messages += end - first;
    load->bytes += (end - first) * LOAD_BLOCK_BYTES;
    while (everywhere < asked && arrived[everywhere % load->pipeline] >= load->alive) {
        everywhere++;
        if (!load->over && asks->fd >= 0) {
            ask(load);
        }
    }
    if (everywhere == asked) {
        rest(load);
    }
}

static void event(struct load *load, struct load_conn *conn, uint32_t events)
{
    ssize_t got = load_read(load, conn, LOAD_SCRATCH_BYTES);
    (void)events;
    if (got < 0) {
        return;
    }
    const unsigned char *expected = load->pattern + conn->got % LOAD_BLOCK_BYTES;
    if (got == 0) {
        load_fail(load, conn, "the server closed it", 0);
    } else if (conn->got + (size_t)got > asked * LOAD_BLOCK_BYTES) {
        load_fail(load, conn, "more came than was asked for", 0);
    } else if (!load_same(load, load->scratch, expected, (size_t)got)) {
        load_fail(load, conn, "other bytes came than those of the block", 0);
    } else {
        count(load, conn, (size_t)got);
    }
}

const struct load_case load_broadcast = {
    .name = "broadcast",
    .persistent = true,
    .size_default = LOAD_BLOCK_BYTES,
    .pipeline_default = 1,
    .prepare = prepare,
    .start = start,
    .event = event,
};
