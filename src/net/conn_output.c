/* SPDX-License-Identifier: BSD-2-Clause */
/* Output: from the program to the kernel.
 *
 * What a callback sends is gathered and written once, when the callback has returned; what is sent
 * from elsewhere on the loop's thread is queued and written in the turn's flush phase. The straight
 * way is that of a plain connection (PL_CONN_PLAIN) whose callback sends small pieces: they gather
 * in a chunk of the loop's, one write takes them, and the connection's queue is not touched. As
 * soon as anything else comes in between (a mark, a blob, a close) the gathered bytes are put into
 * the queue, and all goes on from there. A large piece that meets a kernel with room is written at
 * once, together with what had gathered, so that it is not copied. What the kernel does not take
 * stays queued until the engine says that it takes more.
 *
 * Invariants:
 *  1. Bytes are accepted whole or not at all; accepted bytes leave in order (G5).
 *  2. While BLOCKED, no send is made, and the memory at the head of the queue does not change.
 *  3. on_drain is called from the flush phase only, at most once a turn: a program that pumps from
 *     on_drain shares the loop with the others.
 *  4. One connection writes at most about FLUSH_TURN_BYTES a turn, for the same reason.
 *
 * A write error does not end the connection here: input that arrived before it is shown first
 * (pl_conn_fail, G6). */
#include "net/conn.h"

#include "base/assert.h"

#include <errno.h>
#include <limits.h>

enum { IOV_MAX_A_WRITE = 64, DIRECT_PARTS_MAX = 16, FLUSH_TURN_BYTES = 1024 * 1024 };

static inline bool output_has_ended(const struct peal_conn *conn)
{
    return (atomic_load_explicit(&conn->remote, memory_order_relaxed) & PL_REMOTE_ENDED) != 0;
}

/* ---- accounts */

static void took(struct peal_conn *conn, size_t n)
{
    struct peal_loop *loop = conn->io.loop;
    conn->taken += n;
    conn->active_ms = conn->progress_ms = (uint32_t)loop->now_ms;
    pl_count(&loop->counters.bytes_taken, n);
}

/* After the queue has become longer or shorter. */
static void note_level(struct peal_conn *conn)
{
    const struct peal_conn_limits *limits = &conn->limits->values;
    atomic_store_explicit(&conn->output_seen, pl_outq_memory_bytes(&conn->output),
                          memory_order_release);
    if (__builtin_expect(pl_outq_bytes(&conn->output) > limits->output_high_bytes, 0)) {
        if (!pl_conn_has(conn, PL_CONN_HIGH)) {
            conn->flags |= PL_CONN_HIGH | PL_CONN_DRAIN_WANTED;
            pl_conn_update_recv(conn);
        }
    } else if (pl_conn_has(conn, PL_CONN_HIGH) &&
               pl_outq_bytes(&conn->output) <= limits->output_low_bytes) {
        conn->flags &= ~(uint32_t)PL_CONN_HIGH;
        pl_conn_update_recv(conn);
    }
}

static void took_some(struct peal_conn *conn, size_t n)
{
    if (n > 0) {
        pl_outq_consume(&conn->output, conn->io.loop, n);
        took(conn, n);
        note_level(conn);
    }
}

/* After bytes were put into the queue: they are written when the callback returns, or in the flush
 * phase. */
static void queued(struct peal_conn *conn)
{
    conn->flags |= PL_CONN_QUEUED;
    note_level(conn);
    pl_conn_flush_soon(conn);
}

static bool drain_is_due(const struct peal_conn *conn)
{
    return pl_conn_has(conn, PL_CONN_DRAIN_WANTED) && pl_conn_state(conn) == PEAL_CONN_OPEN &&
           !pl_conn_has(conn, PL_CONN_FAILED) && /* a closed one has no limits any more */
           pl_outq_bytes(&conn->output) <= conn->limits->values.output_low_bytes;
}

/* The engine has not taken all: it writes later in the turn, or the kernel has no room (or the rest
 * cannot even be awaited). */
static void blocked(struct peal_conn *conn)
{
    conn->flags |= PL_CONN_BLOCKED;
    if (conn->io.flags & PL_IO_QUEUED) {
        return;
    }
    if (conn->io.flags & PL_IO_REFUSED) {
        pl_conn_fail(conn, pl_io_refusal(&conn->io), true);
        return;
    }
    pl_count(&conn->io.loop->counters.short_writes, 1);
    if (!pl_conn_has(conn, PL_CONN_WATCHED)) {
        conn->flags |= PL_CONN_WATCHED;
        conn->progress_ms = pl_conn_now_ms(conn);
        pl_conn_arm_timer(conn);
    }
}

/* ---- flushing */

/* The file at the head. Returns bytes taken, 0 with *ret_again when it was moved to memory instead,
 * or a negative errno. */
static ssize_t write_file(struct peal_conn *conn, size_t *ret_wanted, bool *ret_again)
{
    struct peal_loop *loop = conn->io.loop;
    struct pl_chunk *chunk = conn->output.head;
    bool file_error = false;
    size_t size = chunk->end - chunk->begin;
    size = size < FLUSH_TURN_BYTES ? size : FLUSH_TURN_BYTES;
    ssize_t n = loop->ops->send_file(loop->engine, &conn->io, chunk->file.fd,
                                     chunk->file.offset + (off_t)chunk->begin, size, &file_error);
    *ret_wanted = size;
    if (n == -EOPNOTSUPP) {
        n = pl_outq_read_file(&conn->output, loop);
        *ret_again = n > 0;
        file_error = true;
    }
    if (n < 0 && file_error) { /* the socket is well, but the stream cannot be completed */
        pl_conn_break(conn, n == -ENOMEM ? PEAL_CAUSE_NO_MEMORY : PEAL_CAUSE_IO_ERROR, (int)n);
    } else if (n < 0) {
        pl_conn_fail(conn, (int)n, true);
    }
    return n;
}

static ssize_t write_memory(struct peal_conn *conn, size_t *ret_wanted)
{
    struct peal_loop *loop = conn->io.loop;
    struct iovec iov[IOV_MAX_A_WRITE];
    int count = pl_outq_gather(&conn->output, iov, IOV_MAX_A_WRITE, ret_wanted);
    ssize_t n = loop->ops->send(loop->engine, &conn->io, iov, count, 0);
    if (n < 0) {
        pl_conn_fail(conn, (int)n, true);
    }
    return n;
}

static bool can_write(const struct peal_conn *conn)
{
    return pl_conn_state(conn) != PEAL_CONN_CLOSED &&
           !pl_conn_has(conn, PL_CONN_BLOCKED | PL_CONN_FAILED);
}

static void write_all(struct peal_conn *conn);

static void flush_job(struct pl_job *job)
{
    struct peal_conn *conn = pl_container(job, struct peal_conn, job);
    write_all(conn);
    if (drain_is_due(conn)) {
        conn->flags &= ~(uint32_t)PL_CONN_DRAIN_WANTED;
        if (conn->ops->on_drain) {
            pl_conn_enter(conn);
            conn->ops->on_drain(conn, conn->user);
            pl_conn_leave(conn);
        }
    }
}

static void flush_later(struct peal_conn *conn)
{
    if (pl_conn_state(conn) != PEAL_CONN_CLOSED && !pl_conn_has(conn, PL_CONN_FAILED)) {
        conn->job.run = flush_job;
        pl_loop_flush_later(conn->io.loop, &conn->job);
    }
}

void pl_conn_flush_soon(struct peal_conn *conn)
{
    if (pl_conn_has(conn, PL_CONN_IN_CALLBACK)) {
        conn->flags |= PL_CONN_FLUSH_DUE;
    } else {
        flush_later(conn);
    }
}

/* The kernel took only a part of what was gathered, or nothing, or says why not; or the engine has
 * queued it. */
__attribute__((noinline)) void pl_conn_sent_in_part(struct peal_conn *conn, ssize_t n)
{
    struct peal_loop *loop = conn->io.loop;
    size_t size = loop->gather->end;
    pl_outq_append_gathered(&conn->output, loop);
    pl_gather_renew(loop);
    if (conn->io.flags & PL_IO_QUEUED) { /* of a plain one, so no mark and no cap is near */
        conn->flags |= PL_CONN_QUEUED | PL_CONN_BLOCKED;
        atomic_store_explicit(&conn->output_seen, size, memory_order_release);
        return;
    }
    conn->flags |= PL_CONN_QUEUED;
    if (loop->ops->tried) {
        n = loop->ops->tried(loop->engine, &conn->io, n, size);
    }
    if (n > 0) {
        pl_outq_consume(&conn->output, loop, (size_t)n);
        took(conn, (size_t)n);
    }
    note_level(conn);
    if (n < 0) {
        pl_conn_fail(conn, (int)n, true);
    } else {
        blocked(conn);
    }
}

void pl_conn_stop_gathering(struct peal_conn *conn)
{
    if (pl_conn_has(conn, PL_CONN_GATHERING)) {
        conn->flags &= ~(uint32_t)PL_CONN_GATHERING;
        if (conn->io.loop->gather->end > 0) {
            pl_outq_append_gathered(&conn->output, conn->io.loop);
            queued(conn);
        }
    }
}

static void flush_queue(struct peal_conn *conn)
{
    size_t budget = FLUSH_TURN_BYTES;
    while (can_write(conn) && !pl_outq_is_empty(&conn->output)) {
        if (budget == 0) {
            flush_later(conn);
            return;
        }
        size_t wanted = 0;
        bool again = false;
        ssize_t n = conn->output.head->kind == PL_CHUNK_FILE ? write_file(conn, &wanted, &again)
                                                             : write_memory(conn, &wanted);
        if (n < 0) {
            return;
        }
        if (again) {
            continue;
        }
        took_some(conn, (size_t)n);
        if ((size_t)n < wanted) {
            blocked(conn);
        }
        budget -= (size_t)n < budget ? (size_t)n : budget;
    }
}

static void write_all(struct peal_conn *conn)
{
    pl_conn_stop_gathering(conn);
    flush_queue(conn);
    if (can_write(conn) && pl_outq_is_empty(&conn->output)) {
        conn->flags &= ~(uint32_t)(PL_CONN_WATCHED | PL_CONN_QUEUED);
        pl_conn_output_empty(conn);
    }
}

/* on_drain, if it is due, comes in the flush phase: not from here, where the program may be
 * above. */
void pl_conn_flush(struct peal_conn *conn)
{
    write_all(conn);
    if (drain_is_due(conn)) {
        flush_later(conn);
    }
}

void pl_conn_on_sent(struct pl_io *io, ssize_t n)
{
    struct peal_conn *conn = pl_conn_of_io(io);
    if (pl_conn_state(conn) == PEAL_CONN_CLOSED) {
        if (n > 0) { /* queued before it ended: the close record counts it */
            pl_outq_consume(&conn->output, io->loop, (size_t)n);
            took(conn, (size_t)n);
        }
        return;
    }
    conn->flags &= ~(uint32_t)PL_CONN_BLOCKED;
    if (n < 0) {
        pl_conn_fail(conn, (int)n, true);
        return;
    }
    if (conn->flags == (PL_CONN_PLAIN | PL_CONN_QUEUED) && !output_has_ended(conn) &&
        (size_t)n == pl_outq_bytes(&conn->output)) { /* as most: all is gone, and nothing waits */
        conn->flags = PL_CONN_PLAIN;
        pl_outq_consume_all(&conn->output, io->loop);
        took(conn, (size_t)n);
        atomic_store_explicit(&conn->output_seen, 0, memory_order_release);
        return;
    }
    took_some(conn, (size_t)n);
    if (io->flags & PL_IO_SEND) {
        blocked(conn);
        return;
    }
    pl_conn_flush(conn);
}

void peal_conn_flush(struct peal_conn *conn)
{
    struct peal_loop *loop = conn->io.loop;
    pl_loop_check(loop, "peal_conn_flush");
    pl_conn_flush(conn);
    if (conn->io.flags & PL_IO_QUEUED) {
        loop->ops->push(loop->engine);
    }
}

void peal_conn_want_drain(struct peal_conn *conn)
{
    pl_loop_check(conn->io.loop, "peal_conn_want_drain");
    conn->flags |= PL_CONN_DRAIN_WANTED;
    pl_conn_stop_gathering(conn);
    if (drain_is_due(conn)) {
        flush_later(conn);
    }
}

/* ---- accepting bytes from the program, on the loop's thread */

static bool is_over_cap(const struct peal_conn *conn, size_t size)
{
    size_t pending = pl_outq_memory_bytes(&conn->output);
    size_t cap = conn->limits->values.output_bytes_max;
    return size > cap || pending > cap - size;
}

/* 0, or why size bytes more cannot be accepted. What was gathered is in the queue afterwards. */
static int may_accept(struct peal_conn *conn, size_t size)
{
    if (output_has_ended(conn)) {
        return -EPIPE;
    }
    pl_conn_stop_gathering(conn);
    if (size > 0 && __builtin_expect(is_over_cap(conn, size), 0)) {
        if (!conn->limits->values.output_cap_refuses) {
            pl_conn_break(conn, PEAL_CAUSE_OUTPUT_CAP, -ENOBUFS);
        }
        return -ENOBUFS;
    }
    return 0;
}

/* Writes what has gathered and the parts in one call. Returns how many bytes of the parts the
 * kernel took, or a negative errno, with the connection failed. */
static ssize_t write_direct(struct peal_conn *conn, const struct iovec *parts, int count,
                            size_t size)
{
    struct peal_loop *loop = conn->io.loop;
    struct iovec iov[IOV_MAX_A_WRITE];
    size_t queued = 0;
    int used = pl_outq_gather(&conn->output, iov, IOV_MAX_A_WRITE - DIRECT_PARTS_MAX, &queued);
    if (queued != pl_outq_bytes(&conn->output)) {
        return 0; /* a file, or very many chunks, are in front of it */
    }
    memcpy(iov + used, parts, (size_t)count * sizeof *parts);
    ssize_t n = loop->ops->send(loop->engine, &conn->io, iov, used + count, PL_SEND_NOW);
    if (n < 0) {
        pl_conn_fail(conn, (int)n, true);
        return -EPIPE;
    }
    size_t of_queue = (size_t)n < queued ? (size_t)n : queued;
    pl_outq_consume(&conn->output, loop, of_queue);
    took(conn, (size_t)n);
    if ((size_t)n < queued + size) {
        blocked(conn);
    }
    return n - (ssize_t)of_queue;
}

ssize_t pl_conn_queue(struct peal_conn *conn, const struct iovec *parts, int count, size_t size)
{
    int refused = may_accept(conn, size);
    if (refused != 0 || size == 0) {
        return refused;
    }
    size_t sent = 0;
    if (size >= PL_DIRECT_BYTES && count <= DIRECT_PARTS_MAX &&
        !pl_conn_has(conn, PL_CONN_BLOCKED)) {
        ssize_t n = write_direct(conn, parts, count, size);
        if (n < 0) {
            return n;
        }
        sent = (size_t)n;
        if (sent == size) {
            note_level(conn);
            return (ssize_t)size;
        }
    }
    int result = pl_outq_append(&conn->output, conn->io.loop, parts, count, size - sent, sent);
    if (result < 0 && sent > 0) {
        /* A part is gone and the rest has no place, so the stream ends here. The whole was accepted
         * all the same: the rest is lost, and counted as what other threads had on the way. */
        pl_conn_break(conn, PEAL_CAUSE_NO_MEMORY, result);
        atomic_fetch_add_explicit(&conn->remote, size - sent, memory_order_acq_rel);
        return (ssize_t)size;
    }
    if (result < 0) {
        note_level(conn); /* a part of the queue may have gone */
        return result;
    }
    queued(conn);
    return (ssize_t)size;
}

ssize_t pl_conn_queue_blob(struct peal_conn *conn, struct peal_blob *blob)
{
    size_t size = peal_blob_size(blob);
    int refused = may_accept(conn, size);
    if (refused != 0 || size == 0) {
        return refused;
    }
    int result = pl_outq_append_blob(&conn->output, blob, 0);
    if (result < 0) {
        return result;
    }
    queued(conn);
    return (ssize_t)size;
}

void pl_conn_accept_remote(struct peal_conn *conn, struct pl_chunk *chunk)
{
    pl_outq_append_chunk(&conn->output, conn->io.loop, chunk);
    queued(conn);
}

/* ---- the program's calls */

static ssize_t send_parts(struct peal_conn *conn, const struct iovec *parts, int count, size_t size)
{
    return pl_loop_is_mine(conn->io.loop) ? pl_conn_queue(conn, parts, count, size)
                                          : pl_conn_remote_send(conn, parts, count, size);
}

/* Any send that is not as most are. */
__attribute__((noinline)) static ssize_t send_otherwise(struct peal_conn *conn, const void *data,
                                                        size_t size)
{
    if ((!data && size > 0) || size > SSIZE_MAX) {
        return -EINVAL;
    }
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    ssize_t result = send_parts(conn, &part, 1, size);
    if (result > 0 && pl_loop_is_mine(conn->io.loop)) {
        pl_gather_renew(conn->io.loop); /* for the next time */
    }
    return result;
}

/* The straight way: a plain connection's own callback sends a small piece, the first or after
 * others like it. It goes to the loop's gather chunk, and the queue is not touched. */
ssize_t peal_conn_send(struct peal_conn *conn, const void *data, size_t size)
{
    struct peal_loop *loop = conn->io.loop;
    if (__builtin_expect(!pl_loop_is_mine(loop) || conn->flags != PL_CONN_CALLING ||
                             output_has_ended(conn) || !data,
                         0)) {
        return send_otherwise(conn, data, size);
    }
    struct pl_chunk *chunk = loop->gather;
    size_t end = chunk->end;
    if (__builtin_expect(size - 1 >= chunk->capacity - end, 0)) { /* 0 wraps, and goes there too */
        return send_otherwise(conn, data, size);
    }
    chunk->end = end + size;
    memcpy(chunk->data + end, data, size);
    return (ssize_t)size;
}

ssize_t peal_conn_sendv(struct peal_conn *conn, const struct iovec *parts, int count)
{
    size_t size = 0;
    if (count < 0 || (!parts && count > 0)) {
        return -EINVAL;
    }
    for (int i = 0; i < count; i++) {
        if ((!parts[i].iov_base && parts[i].iov_len > 0) || parts[i].iov_len > SSIZE_MAX - size) {
            return -EINVAL;
        }
        size += parts[i].iov_len;
    }
    return send_parts(conn, parts, count, size);
}

ssize_t peal_conn_send_ref(struct peal_conn *conn, struct peal_blob *blob)
{
    if (!blob) {
        return -EINVAL;
    }
    return pl_loop_is_mine(conn->io.loop) ? pl_conn_queue_blob(conn, blob)
                                          : pl_conn_remote_blob(conn, blob);
}

ssize_t peal_conn_send_message(struct peal_conn *conn, const struct peal_codec *codec,
                               const void *data, size_t size)
{
    unsigned char prefix[PEAL_CODEC_PREFIX_MAX];
    if (!data && size > 0) {
        return -EINVAL;
    }
    ssize_t prefix_size = peal_codec_prefix(codec, size, prefix);
    if (prefix_size < 0) {
        return prefix_size;
    }
    struct iovec parts[2] = {{.iov_base = prefix, .iov_len = (size_t)prefix_size},
                             {.iov_base = (void *)(uintptr_t)data, .iov_len = size}};
    return send_parts(conn, parts, 2, (size_t)prefix_size + size);
}

ssize_t peal_conn_send_file(struct peal_conn *conn, int fd, off_t offset, size_t size)
{
    pl_loop_check(conn->io.loop, "peal_conn_send_file");
    if (offset < 0 || size > SSIZE_MAX) {
        return -EINVAL;
    }
    if (output_has_ended(conn)) {
        return -EPIPE;
    }
    if (size == 0) {
        return 0;
    }
    int own = sys_dup(fd);
    if (own < 0) {
        return own;
    }
    pl_conn_stop_gathering(conn);
    int result = pl_outq_append_file(&conn->output, own, offset, size);
    if (result < 0) {
        sys_close(own);
        return result;
    }
    queued(conn);
    return (ssize_t)size;
}

size_t peal_conn_output_bytes(const struct peal_conn *conn)
{
    pl_loop_check(conn->io.loop, "peal_conn_output_bytes");
    return pl_outq_bytes(&conn->output) +
           (pl_conn_has(conn, PL_CONN_GATHERING) ? conn->io.loop->gather->end : 0);
}
