/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two protocols share: values on their way in and out, times, statistics.
 *
 * A value comes in without a buffer of its own: its item is made when its size is known, and each
 * piece of input is copied to its place there, once. So a value of a mebibyte never stands in the
 * connection's input buffer, and what a slow sender holds is one item, of which malloc touches no
 * page that was not written yet.
 *
 * A small value goes out as a copy, gathered with the other replies of the callback; a large one by
 * reference: the blob holds the item, which may be replaced, deleted or evicted meanwhile. */
#include "server_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <peal/stats.h>

/* ---- sending */

static void check_sent(struct session *session, ssize_t sent)
{
    if (sent < 0) { /* a stream with a gap would be worse than none */
        session->ended = true;
        peal_conn_abort(session->conn);
    }
}

void session_send(struct session *session, const void *data, size_t size)
{
    check_sent(session, peal_conn_send(session->conn, data, size));
}

static void release_item(void *data, size_t size, void *user)
{
    (void)data;
    (void)size;
    item_unref(user);
}

void session_send_item(struct session *session, const void *head, size_t head_size,
                       struct item *item, const unsigned char *from, size_t size)
{
    struct peal_blob *blob;

    if (size < SEND_REF_MIN) {
        const struct iovec parts[] = {{(void *)(uintptr_t)head, head_size},
                                      {(void *)(uintptr_t)from, size}};
        check_sent(session, peal_conn_sendv(session->conn, parts, 2));
        return;
    }
    check_sent(session, peal_conn_send(session->conn, head, head_size));
    int error = peal_blob_wrap((void *)(uintptr_t)from, size, release_item, item, &blob);
    if (error < 0) {
        check_sent(session, error);
        return;
    }
    item_ref(item);
    check_sent(session, peal_conn_send_ref(session->conn, blob));
    peal_blob_unref(blob);
}

void session_close(struct session *session)
{
    session->ended = true;
    peal_conn_close(session->conn);
}

/* ---- receiving */

void session_receive(struct session *session, struct item *item, size_t size)
{
    session->stage = STAGE_VALUE;
    session->item = item;
    session->value_left = size;
    session->value_at = item_value(item);
}

bool session_fill(struct session *session, struct peal_buf *input)
{
    size_t size = peal_buf_size(input);

    if (size > session->value_left) {
        size = session->value_left;
    }
    if (size > 0) {
        memcpy(session->value_at, peal_buf_data(input), size);
        peal_buf_consume(input, size);
    }
    session->value_at += size;
    session->value_left -= size;
    return session->value_left == 0;
}

void session_skip(struct session *session, size_t size)
{
    session->stage = STAGE_SKIP;
    session->skip_left = size;
}

bool session_skipped(struct session *session, struct peal_buf *input)
{
    size_t size = peal_buf_size(input);

    if (size > session->skip_left) {
        size = session->skip_left;
    }
    peal_buf_consume(input, size);
    session->skip_left -= size;
    if (session->skip_left > 0) {
        return false;
    }
    session->stage = STAGE_COMMAND;
    return true;
}

bool session_is_owed_nothing(const struct session *session)
{
    return (session->stage == STAGE_VALUE && session->value_left == 0) ||
           (session->stage == STAGE_SKIP && session->skip_left == 0);
}

/* ---- times */

/* Milliseconds of the monotonic clock of so many seconds, as the protocols mean them, that are not
 * 0. An absolute time is converted when it comes: a clock that is set later moves nothing. */
static uint64_t time_of(const struct session *session, int64_t seconds)
{
    if (seconds > MONTH_S) {
        seconds -= (int64_t)time(NULL);
    }
    if (seconds <= 0) {
        return LIVED_ALREADY_MS;
    }
    if (seconds > INT64_MAX / 2000) {
        seconds = INT64_MAX / 2000;
    }
    return session->now + (uint64_t)seconds * 1000;
}

uint64_t session_expiry(const struct session *session, int64_t seconds)
{
    return seconds == 0 ? STORE_LIVES_FOREVER : time_of(session, seconds);
}

void session_flush(struct session *session, int64_t seconds)
{
    atomic_fetch_add(&flushes, 1);
    store_flush(session->store, time_of(session, seconds), session->now);
}

/* ---- statistics */

static void tell_number(struct session *session, tell_fn tell, const char *name, uint64_t number)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    tell(session, name, text);
}

static unsigned loops_of(const struct serving *serving)
{
    return serving->pool != NULL ? peal_pool_size(serving->pool) : 1;
}

static void tell_time_used(struct session *session, tell_fn tell, const char *name,
                           const struct timeval *used)
{
    char text[48];

    snprintf(text, sizeof(text), "%lld.%06ld", (long long)used->tv_sec, (long)used->tv_usec);
    tell(session, name, text);
}

static void tell_process(struct session *session, tell_fn tell)
{
    struct serving *serving = session->serving;
    struct peal_server_stats server;
    struct peal_loop_stats loop;
    struct rusage usage;
    uint64_t received = 0, taken = 0;

    tell_number(session, tell, "pid", (uint64_t)getpid());
    tell_number(session, tell, "uptime", (session->now - started_ms) / 1000);
    tell_number(session, tell, "time", (uint64_t)time(NULL));
    tell(session, "version", MEMCACHED_VERSION);
    tell_number(session, tell, "pointer_size", 8 * sizeof(void *));
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        tell_time_used(session, tell, "rusage_user", &usage.ru_utime);
        tell_time_used(session, tell, "rusage_system", &usage.ru_stime);
    }
    peal_server_get_stats(serving->server, &server);
    tell_number(session, tell, "curr_connections", server.connections_now);
    tell_number(session, tell, "total_connections", server.opened);
    for (unsigned i = 0; i < loops_of(serving); i++) {
        peal_loop_get_stats(
            serving->pool != NULL ? peal_pool_loop(serving->pool, i) : serving->loop, &loop);
        received += loop.bytes_received;
        taken += loop.bytes_taken;
    }
    tell_number(session, tell, "bytes_read", received);
    tell_number(session, tell, "bytes_written", taken);
    tell_number(session, tell, "threads", loops_of(serving));
}

static void tell_general(struct session *session, tell_fn tell)
{
    struct store_stats stats;

    tell_process(session, tell);
    store_get_stats(session->store, &stats);
#define TELL_FIELD(name) tell_number(session, tell, #name, stats.name);
    STORE_COUNTERS(TELL_FIELD)
#undef TELL_FIELD
    tell_number(session, tell, "cmd_flush", atomic_load(&flushes));
    tell_number(session, tell, "curr_items", stats.curr_items);
    tell_number(session, tell, "bytes", stats.bytes);
    tell_number(session, tell, "limit_maxbytes", store_memory(session->store));
}

static void tell_settings(struct session *session, tell_fn tell)
{
    tell_number(session, tell, "maxbytes", store_memory(session->store));
    tell_number(session, tell, "item_size_max", value_max_bytes);
    tell_number(session, tell, "num_threads", loops_of(session->serving));
    tell(session, "evictions", "on");
    tell(session, "cas_enabled", "yes");
    tell(session, "binding_protocol", "auto-negotiate");
}

bool session_tell_stats(struct session *session, const char *group, size_t group_size, tell_fn tell)
{
    static const char *const without[] = {"items", "slabs", "sizes", "conns"};

    if (group_size == 0) {
        tell_general(session, tell);
        return true;
    }
    if (group_size == 8 && memcmp(group, "settings", 8) == 0) {
        tell_settings(session, tell);
        return true;
    }
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
        if (strlen(without[i]) == group_size && memcmp(group, without[i], group_size) == 0) {
            return true;
        }
    }
    return false;
}
