/* SPDX-License-Identifier: BSD-2-Clause */
/* chat: each message of anybody goes to everybody, on every loop.
 *
 * A message is its size, 32 bits big-endian, and so many bytes. Each is made into one blob with its
 * size in front, and peal_server_broadcast hands that blob by reference to all connections: a
 * thousand listeners cost one copy, not a thousand. Every loop sends to its own, so that whoever
 * listens sees the messages of one sender in their order.
 *
 * A message over 64 KiB ends its sender's connection with cause PROTOCOL. A listener that does not
 * read ends with cause OUTPUT_CAP when --output-cap is pending for it; nobody waits for it.
 *
 * What a loop has not told yet waits in its queue. When UNDER_WAY_MAX messages have not been told
 * to all, whoever says one more is not read until that one has been. */
#include "serve.h"

#include <stdatomic.h>

#include <peal/blob.h>

enum { UNDER_WAY_MAX = 1000 };

static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U32BE, .size_max = 64 * 1024};
static uint64_t output_cap = 4 << 20;

static atomic_uint under_way;

static void all_are_told(void *user)
{
    atomic_fetch_sub(&under_way, 1);
    if (user != NULL) {
        peal_conn_resume_reading_id((uintptr_t)user);
    }
}

/* Without memory for it nobody hears a message; its sender's end says so. */
static void tell_everybody(struct peal_conn *conn, const void *message, size_t size)
{
    struct peal_buf frame;
    struct peal_blob *blob = NULL;
    void *waiting = NULL; /* the id of whoever waits until all are told */
    if (atomic_fetch_add(&under_way, 1) >= UNDER_WAY_MAX && !peal_conn_is_paused(conn)) {
        peal_conn_pause_reading(conn);
        waiting = (void *)(uintptr_t)peal_conn_id(conn);
    }
    peal_buf_init(&frame);
    if (peal_buf_append_u32be(&frame, (uint32_t)size) < 0 ||
        peal_buf_append(&frame, message, size) < 0 ||
        peal_blob_copy(peal_buf_data(&frame), peal_buf_size(&frame), &blob) < 0 ||
        peal_server_broadcast(peal_conn_server(conn), blob, NULL, all_are_told, waiting) < 0) {
        atomic_fetch_sub(&under_way, 1);
        peal_conn_abort(conn);
    }
    peal_blob_unref(blob); /* the connections have references of their own */
    peal_buf_deinit(&frame);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const void *message;
    size_t size;
    (void)user;
    while (peal_conn_next_message(conn, &codec, input, &message, &size) > 0) {
        tell_everybody(conn, message, size);
    }
}

static void close_by_id(void *user)
{
    peal_conn_close_id((uintptr_t)user);
}

/* Its last words are still on their way, to itself too: a broadcast is a task for each loop. What
 * is posted behind it comes after it. */
static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)input;
    (void)user;
    if (peal_loop_post(peal_conn_loop(conn), close_by_id, (void *)(uintptr_t)peal_conn_id(conn)) <
        0) {
        peal_conn_close(conn);
    }
}

static const struct peal_conn_ops ops = {.on_data = on_data, .on_eof = on_eof};

static struct service service = {
    .name = "chat",
    .about = "Passes on each message of anybody to everybody.",
    .address = "127.0.0.1:2008",
    .ops = &ops,
};

static int check(const struct arg_command *command)
{
    (void)command;
    service.limits.output_bytes_max = output_cap;
    return -1;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"output-cap", "SIZE", "pending bytes at which one who does not read is cut off (4M)",
         ARG_SIZE, .into = &output_cap, .min = 1024},
        {0},
    };
    service.args = args;
    service.check = check;
    return serve(&service, argc, argv);
}
