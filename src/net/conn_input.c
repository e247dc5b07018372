/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: from the engine's read buffer to the program.
 *
 * The engine reads into memory of the loop; on_data sees it through a view on the stack. What the
 * program leaves is copied to a buffer of the connection's own, and the next read is appended to
 * that; when all is consumed, the buffer goes. So a connection that is idle, or whose messages
 * arrive whole, owns no input memory.
 *
 * The view is a field of the loop: no two callbacks of a loop run at the same time.
 *
 * Invariants:
 *  1. What is kept of the input (flag INPUT) is at least one byte whenever no callback of the
 *     connection is running. While nothing is kept, in.discarded has the place of its address.
 *  2. Bytes reach on_data in the order in which they came, each exactly once as new, until the
 *     program ends the stream; from then on they are counted as discarded.
 *  3. The engine is told to read exactly when somebody wants the bytes (pl_conn_update_recv is the
 *     one place). */
#include "net/conn.h"

#include "base/assert.h"
#include "base/buf.h"

#include <errno.h>

void pl_conn_drop_input(struct peal_conn *conn)
{
    if (pl_conn_has(conn, PL_CONN_INPUT)) {
        struct pl_input *input = conn->in.kept;
        peal_buf_deinit(&input->buf);
        conn->in.discarded = input->discarded;
        conn->flags &= ~(uint32_t)PL_CONN_INPUT;
        sys_free(input);
    }
}

static uint64_t *discarded(struct peal_conn *conn)
{
    return pl_conn_has(conn, PL_CONN_INPUT) ? &conn->in.kept->discarded : &conn->in.discarded;
}

/* Keeps what the callback left of the view. */
static int keep(struct peal_conn *conn, struct peal_buf *view)
{
    if (pl_buf_own(view) < 0) {
        return -ENOMEM;
    }
    struct pl_input *input = sys_malloc(sizeof *input);
    if (!input) {
        return -ENOMEM;
    }
    input->buf = *view;
    input->discarded = conn->in.discarded;
    peal_buf_init(view);
    conn->in.kept = input;
    conn->flags |= PL_CONN_INPUT;
    return 0;
}

/* After on_data has seen input, which is the view or what was kept before: keeps the rest of it. */
static void put_away(struct peal_conn *conn, struct peal_buf *input, struct peal_buf *view)
{
    size_t left = peal_buf_size(input);
    if (left == 0 || pl_conn_state(conn) != PEAL_CONN_OPEN) {
        if (input != view) {
            pl_conn_drop_input(conn);
        }
    } else if (left > conn->limits->values.input_bytes_max) {
        pl_conn_break(conn, PEAL_CAUSE_INPUT_CAP, -ENOBUFS);
    } else if (input == view && keep(conn, view) < 0) {
        pl_conn_break(conn, PEAL_CAUSE_NO_MEMORY, -ENOMEM);
    }
    if (!pl_buf_is_borrowed(view)) { /* the program wrote to it, or took it over */
        peal_buf_deinit(view);
    }
    peal_buf_init(view);
}

__attribute__((noinline)) static void put_view_away(struct peal_conn *conn)
{
    put_away(conn, &conn->io.loop->view, &conn->io.loop->view);
}

static void deliver(struct peal_conn *conn, const void *data, size_t size)
{
    struct peal_buf *view = &conn->io.loop->view, *input = view;
    if (!pl_conn_has(conn, PL_CONN_INPUT)) {
        *view = pl_buf_view(data, size);
    } else {
        input = &conn->in.kept->buf;
        if (peal_buf_append(input, data, size) < 0) {
            pl_conn_break(conn, PEAL_CAUSE_NO_MEMORY, -ENOMEM);
            return;
        }
    }
    pl_conn_enter(conn);
    conn->ops->on_data(conn, input, conn->user);
    pl_conn_leave(conn);
    put_away(conn, input, view);
}

static void on_bytes(struct peal_conn *conn, const void *data, size_t size)
{
    struct peal_loop *loop = conn->io.loop;
    conn->received += size;
    conn->active_ms = (uint32_t)loop->now_ms;
    pl_count(&loop->counters.bytes_received, size);
    if (pl_conn_state(conn) == PEAL_CONN_OPEN && conn->ops->on_data) {
        deliver(conn, data, size);
        return;
    }
    *discarded(conn) += size;
    if (pl_conn_state(conn) == PEAL_CONN_LINGERING) {
        size_t limit = conn->limits->values.linger_bytes_max;
        size_t lingered = atomic_load_explicit(&conn->output_seen, memory_order_relaxed) + size;
        atomic_store_explicit(&conn->output_seen, lingered, memory_order_relaxed);
        if (lingered > limit) {
            pl_conn_break(conn, PEAL_CAUSE_LINGER_LIMIT, 0);
        }
    }
}

/* Whatever is not plain bytes for a plain connection. */
__attribute__((noinline)) static void recv_otherwise(struct peal_conn *conn, const void *data,
                                                     ssize_t n)
{
    if (pl_conn_state(conn) == PEAL_CONN_CLOSED) {
        return; /* ended earlier in this batch of events */
    }
    if (n > 0) {
        on_bytes(conn, data, (size_t)n);
        return;
    }
    bool reading = pl_conn_has(conn, PL_CONN_RECV_ON);
    conn->flags &= ~(uint32_t)PL_CONN_RECV_ON;
    if (n < 0) {
        pl_conn_fail(conn, (int)n, !reading); /* an error that was read had all data before it */
    } else if (!pl_conn_has(conn, PL_CONN_FAILED)) {
        pl_conn_peer_ended(conn);
    }
}

/* The straight way. on_bytes and deliver do the same for a connection in any condition. */
void pl_conn_on_recv(struct pl_io *io, const void *data, ssize_t n)
{
    struct peal_conn *conn = pl_conn_of_io(io);
    if (__builtin_expect(n <= 0 || conn->flags != PL_CONN_PLAIN || !conn->ops->on_data, 0)) {
        recv_otherwise(conn, data, n);
        return;
    }
    struct peal_loop *loop = io->loop;
    conn->received += (size_t)n;
    conn->active_ms = (uint32_t)loop->now_ms;
    pl_count(&loop->counters.bytes_received, (size_t)n);
    loop->view.begin = data; /* all of it is zero between callbacks */
    loop->view.size = (size_t)n;
    conn->flags = PL_CONN_CALLING;
    conn->ops->on_data(conn, &loop->view, conn->user);
    if (!pl_conn_leave_plain(conn, loop)) {
        pl_conn_leave(conn);
    }
    if (__builtin_expect((loop->view.size | (uintptr_t)loop->view.storage) != 0, 0)) {
        put_view_away(conn);
    }
}

void pl_conn_update_recv(struct peal_conn *conn)
{
    enum peal_conn_state state = pl_conn_state(conn);
    if (state == PEAL_CONN_CLOSED || pl_conn_has(conn, PL_CONN_FAILED)) {
        return;
    }
    bool held_back = peal_conn_is_paused(conn) || (pl_conn_has(conn, PL_CONN_HIGH) &&
                                                   conn->limits->values.pause_reading_at_high);
    bool want = !pl_conn_has(conn, PL_CONN_PEER_FIN) && (state != PEAL_CONN_OPEN || !held_back);
    if (want == pl_conn_has(conn, PL_CONN_RECV_ON)) {
        return;
    }
    struct peal_loop *loop = conn->io.loop;
    conn->flags ^= PL_CONN_RECV_ON;
    int result = want ? loop->ops->recv_start(loop->engine, &conn->io)
                      : loop->ops->recv_stop(loop->engine, &conn->io);
    if (result < 0) {
        pl_conn_fail(conn, result, true);
    }
}

void peal_conn_pause_reading(struct peal_conn *conn)
{
    pl_loop_check(conn->io.loop, "peal_conn_pause_reading");
    if (atomic_fetch_add_explicit(&conn->pauses, 1, memory_order_relaxed) == UINT16_MAX) {
        pl_misuse("peal_conn_pause_reading was called 65,536 times without a resume. Call it once "
                  "for each reason to wait; peal_conn_is_paused tells whether one is there.");
    }
    pl_conn_update_recv(conn);
}

bool peal_conn_is_paused(const struct peal_conn *conn)
{
    return atomic_load_explicit(&conn->pauses, memory_order_relaxed) > 0;
}

/* Whoever takes the last pause away has the loop look whether it shall read. */
void peal_conn_resume_reading(struct peal_conn *conn)
{
    uint16_t before = atomic_fetch_sub_explicit(&conn->pauses, 1, memory_order_relaxed);
    if (before == 0) {
        pl_misuse("peal_conn_resume_reading was called more often than peal_conn_pause_reading; "
                  "each resume must follow a pause of its own.");
    }
    if (pl_loop_is_mine(conn->io.loop)) {
        pl_conn_update_recv(conn);
    } else if (before == 1) {
        pl_conn_request(conn, PL_REQUEST_RESUME);
    }
}

int peal_conn_next_message(struct peal_conn *conn, const struct peal_codec *codec,
                           struct peal_buf *input, const void **ret_message, size_t *ret_size)
{
    pl_loop_check(conn->io.loop, "peal_conn_next_message");
    if (pl_conn_state(conn) != PEAL_CONN_OPEN) {
        return 0;
    }
    int result = peal_codec_next(codec, input, ret_message, ret_size);
    if (result < 0) {
        pl_conn_break(conn, PEAL_CAUSE_PROTOCOL, result);
    }
    return result;
}
