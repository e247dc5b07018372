/* SPDX-License-Identifier: BSD-2-Clause */
/* The bytes of a connection where the program moves them itself, with read(2) and write(2): under
 * raw_epoll and libev, which differ in what waits.
 *
 * What is to be sent is written at once; what the kernel does not take is kept, in memory that is
 * freed when it has gone. While plain_waits, the connection is to be waited for to become writable,
 * and not be read: a peer that does not read is not read either. What is read lands in a scratch
 * buffer that all connections of a thread share; only the beginning of a frame that is not yet
 * whole is kept, and the next read goes behind it. Functions that return false found the connection
 * broken, or ended. */
#ifndef PLAIN_H
#define PLAIN_H

#include "bench.h"

struct plain {
    int fd;
    size_t out_begin;
    size_t out_size; /* kept for the kernel, of out */
    size_t out_capacity;
    unsigned char *out;
    unsigned char *part; /* frames, source: the beginning of what is not yet whole */
    size_t part_size;
    uint64_t left; /* source: bytes still to be sent */
};

static inline void *plain_need(void *memory)
{
    if (memory == NULL) {
        bench_die("memory", ENOMEM);
    }
    return memory;
}

static inline void plain_close(struct plain *p)
{
    close(p->fd);
    free(p->out);
    free(p->part);
}

static inline bool plain_waits(const struct plain *p)
{
    return p->out_size > 0 || p->left > 0;
}

static inline void plain_keep(struct plain *p, const unsigned char *data, size_t size)
{
    if (p->out_begin + p->out_size + size > p->out_capacity) {
        unsigned char *larger = (unsigned char *)plain_need(malloc((p->out_size + size) * 2));
        if (p->out_size > 0) {
            memcpy(larger, p->out + p->out_begin, p->out_size);
        }
        free(p->out);
        p->out = larger;
        p->out_begin = 0;
        p->out_capacity = (p->out_size + size) * 2;
    }
    memcpy(p->out + p->out_begin + p->out_size, data, size);
    p->out_size += size;
}

static inline bool plain_send(struct plain *p, const unsigned char *data, size_t size)
{
    if (p->out_size == 0) {
        ssize_t sent = write(p->fd, data, size);
        if (sent == (ssize_t)size) {
            return true;
        }
        if (sent < 0) {
            if (errno != EAGAIN) {
                return false;
            }
            sent = 0;
        }
        data += sent;
        size -= (size_t)sent;
    }
    plain_keep(p, data, size);
    return true;
}

/* source: one piece a time, so that others get their turn. */
static inline bool plain_send_source(struct plain *p)
{
    size_t at = (BENCH_PIECE_BYTES - p->left % BENCH_PIECE_BYTES) % BENCH_PIECE_BYTES;
    ssize_t sent = write(p->fd, bench_piece + at, BENCH_PIECE_BYTES - at);
    if (sent < 0) {
        return errno == EAGAIN;
    }
    p->left -= (uint64_t)sent;
    return p->left > 0;
}

/* When it is writable. */
static inline bool plain_on_writable(struct plain *p)
{
    if (p->left > 0) {
        return plain_send_source(p);
    }
    ssize_t sent = write(p->fd, p->out + p->out_begin, p->out_size);
    if (sent < 0) {
        return errno == EAGAIN;
    }
    p->out_begin += (size_t)sent;
    p->out_size -= (size_t)sent;
    if (p->out_size == 0) {
        free(p->out);
        p->out = NULL;
        p->out_begin = p->out_capacity = 0;
    }
    return true;
}

/* Answers the frames that are whole: each with a write of its own, or with gather all at once.
 * Their bytes, or -1. */
static inline ssize_t plain_answer(struct plain *p, const unsigned char *data, size_t size,
                                   bool gather)
{
    size_t done = 0;
    while (size - done >= 4) {
        uint32_t body = bench_u32be(data + done);
        if (body > BENCH_FRAME_MAX) {
            return -1;
        }
        if (size - done - 4 < body) {
            break;
        }
        if (!gather && !plain_send(p, data + done, body + 4)) {
            return -1;
        }
        done += body + 4;
    }
    if (gather && done > 0 && !plain_send(p, data, done)) {
        return -1;
    }
    return (ssize_t)done;
}

static inline bool plain_take_frames(struct plain *p, const unsigned char *data, size_t size,
                                     bool gather)
{
    ssize_t done = plain_answer(p, data, size, gather);
    if (done < 0) {
        return false;
    }
    size -= (size_t)done;
    if (size > 0) {
        if (p->part == NULL) {
            p->part = (unsigned char *)plain_need(malloc(BENCH_READ_BYTES));
        }
        memmove(p->part, data + done, size);
    }
    p->part_size = size;
    return true;
}

static inline bool plain_take_count(struct plain *p, const unsigned char *data, size_t size)
{
    p->part = p->part == NULL ? (unsigned char *)plain_need(malloc(8)) : p->part;
    size = size < 8 - p->part_size ? size : 8 - p->part_size;
    memcpy(p->part + p->part_size, data, size);
    p->part_size += size;
    if (p->part_size < 8) {
        return true;
    }
    p->left = bench_u64be(p->part) * BENCH_PIECE_BYTES;
    return p->left > 0 && plain_send_source(p);
}

/* When it is readable: one read, and what the mode makes of it. broadcast is not done here: its
 * messages are counted in ret_messages. */
static inline bool plain_on_readable(struct plain *p, enum bench_mode mode, unsigned char *scratch,
                                     bool gather, size_t *ret_messages)
{
    size_t kept = mode == BENCH_FRAMES ? p->part_size : 0;
    unsigned char *data = kept > 0 ? p->part : scratch;
    ssize_t size = read(p->fd, data + kept, BENCH_READ_BYTES - kept);
    if (size <= 0) {
        if (size == 0 && mode == BENCH_SINK) {
            (void)plain_send(p, bench_piece, 1);
        }
        return size < 0 && errno == EAGAIN;
    }
    switch (mode) {
    case BENCH_ECHO:
        return plain_send(p, data, (size_t)size);
    case BENCH_FRAMES:
        return plain_take_frames(p, data, kept + (size_t)size, gather);
    case BENCH_SOURCE:
        return plain_take_count(p, data, (size_t)size);
    case BENCH_BROADCAST:
        *ret_messages = (size_t)size;
        return true;
    default:
        return true;
    }
}

#endif
