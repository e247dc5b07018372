/* SPDX-License-Identifier: BSD-2-Clause */
/* frames: --pipeline frames are in flight on each connection; for each answer one more is sent, for
 * all answers of a read with one write. So the server gets its requests gathered, and what differs
 * is how it sends its answers. The time of a frame is from the write that sent it to the read that
 * completed its answer.
 *
 * All that a connection sends is a stream of frames in turn out of one ring, in which each has
 * other bytes; the answers are that same stream, so the offset in it says what must come next and
 * frames that change places are found out. The ring is written twice in a row, so that what is to
 * be sent, and what is to be compared, is always in one piece. --size is the body of a frame,
 * without its prefix of four bytes; bytes counts both. */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>

#define PREFIX 4

static size_t frame_bytes;
static size_t ring_bytes;

static void prepare(struct load *load)
{
    size_t frames = load->pipeline;
    while (frames * (load->size + PREFIX) < LOAD_SCRATCH_BYTES) {
        frames++;
    }
    frame_bytes = load->size + PREFIX;
    ring_bytes = frames * frame_bytes;
    load->pattern = load_need(2 * ring_bytes);
    for (size_t i = 0; i < 2 * frames; i++) {
        unsigned char *frame = load->pattern + i * frame_bytes;
        for (size_t at = 0; at < PREFIX; at++) {
            frame[at] = (unsigned char)(load->size >> (8 * (PREFIX - 1 - at)));
        }
        for (size_t at = PREFIX; at < frame_bytes; at++) {
            frame[at] = (unsigned char)(i % frames * 31 + at * 7);
        }
    }
    for (uint32_t i = 0; i < load->conns_count; i++) {
        load->conns[i].times_ns = load_need(load->pipeline * sizeof(uint64_t));
    }
}

/* conn->number frames have been begun; writes what of them has not been sent. */
static void push(struct load *load, struct load_conn *conn)
{
    size_t size = (size_t)((uint64_t)conn->number * frame_bytes - conn->sent);
    ssize_t sent = load_send(load, conn, load->pattern + conn->sent % ring_bytes, size);
    if (sent >= 0) {
        conn->sent += (uint64_t)sent;
        load_wait_for(load, conn, (size_t)sent < size ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void begin(struct load *load, struct load_conn *conn, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        conn->times_ns[conn->number++ % load->pipeline] = load->now_ns;
    }
    push(load, conn);
}

static void start(struct load *load, struct load_conn *conn)
{
    (void)load_clock(load);
    conn->number = 0;
    conn->sent = 0;
    conn->got = 0;
    load_set_busy(load, conn, true);
    begin(load, conn, load->pipeline);
}

static void count(struct load *load, struct load_conn *conn, size_t got)
{
    uint64_t first = conn->got / frame_bytes;
    conn->got += got;
    uint64_t end = conn->got / frame_bytes;
    (void)load_clock(load);
    for (uint64_t frame = first; frame < end; frame++) {
        load_hist_add(&load->hist, load->now_ns - conn->times_ns[frame % load->pipeline], 1);
    }
    load->messages += end - first;
    load->bytes += (end - first) * frame_bytes;
    if (!load->over && end > first) {
        begin(load, conn, (unsigned)(end - first));
    } else if (end == conn->number) {
        load_set_busy(load, conn, false);
    }
}

static void pull(struct load *load, struct load_conn *conn)
{
    size_t most = ring_bytes < LOAD_SCRATCH_BYTES ? ring_bytes : LOAD_SCRATCH_BYTES;
    ssize_t got = load_read(load, conn, most);
    if (got < 0) {
        return;
    }
    const unsigned char *expected = load->pattern + conn->got % ring_bytes;
    if (got == 0) {
        load_fail(load, conn, "the server closed it", 0);
    } else if (conn->got + (size_t)got > conn->sent) {
        load_fail(load, conn, "more came back than was sent", 0);
    } else if (!load_same(load, load->scratch, expected, (size_t)got)) {
        load_fail(load, conn, "other bytes came back than were sent", 0);
    } else {
        count(load, conn, (size_t)got);
    }
}

static void event(struct load *load, struct load_conn *conn, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && conn->sent < (uint64_t)conn->number * frame_bytes) {
        push(load, conn);
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && conn->fd >= 0) {
        pull(load, conn);
    }
}

const struct load_case load_frames = {
    .name = "frames",
    .persistent = true,
    .size_default = 64,
    .pipeline_default = 32,
    .prepare = prepare,
    .start = start,
    .event = event,
};
