/* SPDX-License-Identifier: BSD-2-Clause */
/* Other threads: sending, ending and resuming from anywhere.
 *
 * A connection's queue and state belong to its loop. Another thread that sends makes a chunk of its
 * bytes and posts it as a task; one that ends the connection, or takes away the last pause of its
 * reading, sets a request bit and posts the task that is part of the connection, so that neither
 * ever allocates. Both go through the loop's one
 * queue, so what one thread does arrives in the order in which it did it.
 *
 * The word conn->remote decides, in one atomic step, whether bytes are accepted: it holds the count
 * of bytes accepted from other threads that have not arrived at the loop, a bit that says that some
 * are just being queued, and a bit that says that the output side has ended. After that bit is set
 * nothing is added. So:
 *  1. send after shutdown, close or abort, in whichever thread, says -EPIPE from the moment that
 *     the ending call was made;
 *  2. a FIN waits until the count is 0: what was accepted before a close arrives before the FIN;
 *  3. at the end, what is still in the count is accepted and unsent in the record; a task that
 *     arrives later finds the connection CLOSED and drops its bytes.
 *
 * Every task holds a reference to the connection, and through it to the loop. */
#include "net/conn.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>

struct remote_send {
    struct pl_task task;
    struct peal_conn *conn;
    struct pl_chunk *chunk;
};

static void arrive(struct pl_task *task, bool dropped)
{
    struct remote_send *send = pl_container(task, struct remote_send, task);
    struct peal_conn *conn = send->conn;
    struct pl_chunk *chunk = send->chunk;
    sys_free(send);
    if (dropped || pl_conn_state(conn) == PEAL_CONN_CLOSED || pl_conn_has(conn, PL_CONN_FAILED)) {
        pl_chunk_free(chunk); /* the record counts it as accepted and unsent */
    } else {
        size_t size = chunk->end - chunk->begin;
        atomic_fetch_or_explicit(&conn->remote, PL_REMOTE_MOVING, memory_order_acq_rel);
        pl_conn_accept_remote(conn, chunk);
        atomic_fetch_sub_explicit(&conn->remote, size + PL_REMOTE_MOVING, memory_order_acq_rel);
    }
    pl_conn_release(conn);
}

/* Whether size bytes more would break the cap. seen: conn->remote, which is read anew before it is
 * said that they would: bytes that the loop is queueing just now are counted twice, and no
 * connection may be aborted for that. */
static bool is_over_cap(const struct peal_conn *conn, size_t size, uint64_t *inout_seen)
{
    for (;;) {
        uint64_t seen = *inout_seen;
        size_t cap = atomic_load_explicit(&conn->limits->output_cap, memory_order_relaxed);
        size_t pending = atomic_load_explicit(&conn->output_seen, memory_order_acquire) +
                         (size_t)(seen & PL_REMOTE_BYTES);
        if (seen & PL_REMOTE_ENDED || (size <= cap && pending <= cap - size)) {
            return false;
        }
        *inout_seen = atomic_load_explicit(&conn->remote, memory_order_acquire);
        if (*inout_seen == seen && !(seen & PL_REMOTE_MOVING)) {
            return true;
        }
        sys_thread_yield();
    }
}

/* Adds size to the count, or says why not. */
static int reserve(struct peal_conn *conn, size_t size)
{
    uint64_t seen = atomic_load_explicit(&conn->remote, memory_order_acquire);
    do {
        if (is_over_cap(conn, size, &seen)) {
            pl_conn_request(conn, PL_REQUEST_CAP);
            return -ENOBUFS;
        }
        if (seen & PL_REMOTE_ENDED) {
            return -EPIPE;
        }
    } while (!atomic_compare_exchange_weak_explicit(&conn->remote, &seen, seen + size,
                                                    memory_order_acq_rel, memory_order_acquire));
    return 0;
}

/* Takes the chunk over, whatever comes of it. */
static ssize_t post_chunk(struct peal_conn *conn, struct pl_chunk *chunk)
{
    size_t size = chunk->end - chunk->begin;
    struct remote_send *send = sys_malloc(sizeof *send);
    int result = send ? reserve(conn, size) : -ENOMEM;
    if (result < 0) {
        sys_free(send);
        pl_chunk_free(chunk);
        return result;
    }
    *send = (struct remote_send){.task = {.fn = arrive}, .conn = conn, .chunk = chunk};
    pl_conn_hold(conn);
    if (!pl_loop_post_task(conn->io.loop, &send->task)) {
        arrive(&send->task,
               true); /* accepted before the loop's end closed the connection: counted there */
    }
    return (ssize_t)size;
}

static bool has_ended(const struct peal_conn *conn)
{
    return (atomic_load_explicit(&conn->remote, memory_order_acquire) & PL_REMOTE_ENDED) != 0;
}

ssize_t pl_conn_remote_send(struct peal_conn *conn, const struct iovec *parts, int count,
                            size_t size)
{
    if (has_ended(conn)) {
        return -EPIPE;
    }
    if (size == 0) {
        return 0;
    }
    struct pl_chunk *chunk = pl_chunk_copy(parts, count, size);
    return chunk ? post_chunk(conn, chunk) : -ENOMEM;
}

ssize_t pl_conn_remote_blob(struct peal_conn *conn, struct peal_blob *blob)
{
    if (has_ended(conn)) {
        return -EPIPE;
    }
    if (peal_blob_size(blob) == 0) {
        return 0;
    }
    struct pl_chunk *chunk = pl_chunk_blob(blob, 0);
    return chunk ? post_chunk(conn, chunk) : -ENOMEM;
}

static void serve(struct peal_conn *conn, bool dropped)
{
    unsigned requests = atomic_exchange_explicit(&conn->requests, 0, memory_order_acq_rel);
    if (!dropped) {
        pl_conn_serve_requests(conn, requests);
    }
    pl_conn_release(conn);
}

void pl_conn_request(struct peal_conn *conn, enum pl_conn_request request)
{
    /* At the cap the loop decides whether it is the end. */
    if (request != PL_REQUEST_CAP && request != PL_REQUEST_RESUME) {
        pl_conn_end_output(conn);
    }
    if (atomic_fetch_or_explicit(&conn->requests, (uint8_t)request, memory_order_acq_rel) != 0) {
        return; /* the task is on its way already and will see this bit too */
    }
    pl_conn_hold(conn);
    if (!pl_loop_post_bare(conn->io.loop, &conn->task)) {
        serve(conn, true); /* the loop has ended, and closed it */
    }
}

/* A connection's task brings it to its loop, and after that the requests of other threads: nobody
 * can make one before it has opened. */
static void on_task(struct pl_bare_task *task, bool dropped)
{
    struct peal_conn *conn = pl_container(task, struct peal_conn, task);
    if (pl_conn_state(conn) == PEAL_CONN_CONNECTING) {
        pl_conn_arrived(conn, dropped);
    } else {
        serve(conn, dropped);
    }
}

/* Tells the task queue, which belongs to a lower layer, whose tasks the bare ones are. */
__attribute__((constructor)) static void hook_task(void)
{
    pl_task_bare_fn = on_task;
}

/* ---- by id */

static int request_by_id(uint64_t id, enum pl_conn_request request)
{
    struct peal_conn *conn = pl_handle_find(id);
    if (!conn) {
        return -ESTALE;
    }
    switch (request) {
    case PL_REQUEST_SHUTDOWN:
        peal_conn_shutdown(conn);
        break;
    case PL_REQUEST_CLOSE:
        peal_conn_close(conn);
        break;
    case PL_REQUEST_RESUME:
        peal_conn_resume_reading(conn);
        break;
    default:
        peal_conn_abort(conn);
        break;
    }
    pl_conn_release(conn);
    return 0;
}

ssize_t peal_conn_send_to_id(uint64_t id, const void *data, size_t size)
{
    struct peal_conn *conn = pl_handle_find(id);
    if (!conn) {
        return -ESTALE;
    }
    ssize_t result = peal_conn_send(conn, data, size);
    pl_conn_release(conn);
    return result;
}

int peal_conn_shutdown_id(uint64_t id)
{
    return request_by_id(id, PL_REQUEST_SHUTDOWN);
}

int peal_conn_close_id(uint64_t id)
{
    return request_by_id(id, PL_REQUEST_CLOSE);
}

int peal_conn_abort_id(uint64_t id)
{
    return request_by_id(id, PL_REQUEST_ABORT);
}

int peal_conn_resume_reading_id(uint64_t id)
{
    return request_by_id(id, PL_REQUEST_RESUME);
}
