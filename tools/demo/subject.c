/* SPDX-License-Identifier: BSD-2-Clause */
/* Subjects: the callbacks that watch callbacks.
 *
 * Every operation of a demo connection comes here first. Each entry is compared with what the
 * library promises, and each breach is a fault of the scenario, whatever else it tries:
 *
 *  1. on_open is first and comes once, on_close is last and comes once (G1).
 *  2. All run on the connection's loop's thread, and only while that loop is being turned: a thread
 *     says so around its turns, so a callback out of a call that somebody makes elsewhere is seen
 *     (G1, G2).
 *  3. No callback runs inside another on the same thread (G2).
 *  4. What on_data shows is the peer's pattern without a gap (G6), and what send accepted is what
 *     the close record says was accepted (G5).
 *
 * A connection is a stranger until its peer's request has told its key; until then it is counted,
 * but its bytes cannot be compared. Subjects live until the scenario ends, longer than any
 * connection, so that a callback that comes too late finds something to be caught by.
 */
#include "subject.h"

#include <errno.h>
#include <string.h>

#include <peal/loop.h>

#include "pattern.h"
#include "scenario.h"

enum { SUBJECT_MAGIC = 0x5ab1ec7 };

static _Thread_local bool callbacks_allowed;
static _Thread_local bool in_callback;
static _Thread_local unsigned char send_block[SUBJECT_BLOCK_BYTES];

void subject_allow_callbacks(bool allowed)
{
    callbacks_allowed = allowed;
}

/* ---- entries */

static void check_entry(struct scenario *scenario, struct peal_conn *conn, const char *what)
{
    if (in_callback) {
        scenario_fault(scenario, "%s ran inside another callback", what);
    } else if (!callbacks_allowed) {
        scenario_fault(scenario, "%s ran on a thread that turns no loop, or inside a call", what);
    }
    if (!peal_loop_is_mine(peal_conn_loop(conn))) {
        scenario_fault(scenario, "%s ran off its loop's thread", what);
    }
    in_callback = true;
}

static struct subject *enter(struct peal_conn *conn, void *user, const char *what)
{
    struct subject *subject = user;
    struct scenario *scenario = user;

    if (subject->magic != SUBJECT_MAGIC) {
        scenario_fault(scenario, "%s came before on_open", what);
        return NULL;
    }
    check_entry(subject->scenario, conn, what);
    if (atomic_load(&subject->closed) > 0) {
        scenario_fault(subject->scenario, "%s came after on_close", what);
    }
    return subject;
}

static void leave(void)
{
    in_callback = false;
}

static const struct subject_hooks *hooks_of(const struct subject *subject)
{
    return &subject->scenario->plan.hooks;
}

/* For a connection that there is no room to watch. */
static const struct peal_conn_ops deaf_ops = {0};

static void on_open(struct peal_conn *conn, void *user)
{
    struct subject *subject = user;
    struct scenario *scenario = user;

    if (subject->magic == SUBJECT_MAGIC) {
        scenario_fault(subject->scenario, "on_open came twice");
        return;
    }
    check_entry(scenario, conn, "on_open");
    unsigned index = atomic_fetch_add(&scenario->subjects_used, 1);
    if (index >= scenario->subjects_max) {
        scenario_fault(scenario, "more connections opened than peers connected");
        peal_conn_set_ops(conn, &deaf_ops);
        leave();
        return;
    }
    subject = &scenario->subjects[index];
    subject->magic = SUBJECT_MAGIC;
    subject->scenario = scenario;
    subject->conn = conn;
    subject->opened_ms = peer_now_ms();
    atomic_store(&subject->id, peal_conn_id(conn));
    atomic_store(&subject->opened, 1);
    peal_conn_set_user(conn, subject);
    atomic_fetch_add(&scenario->opened, 1);
    if (scenario->plan.send_buffer != 0) {
        setsockopt(peal_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &scenario->plan.send_buffer,
                   sizeof(int));
    }
    if (hooks_of(subject)->on_open != NULL) {
        hooks_of(subject)->on_open(subject);
    }
    leave();
}

/* Takes the request's bytes off the front. True once it is whole. */
static bool take_request(struct subject *subject, struct peal_buf *input)
{
    struct scenario *scenario = subject->scenario;
    struct peer_request request;
    size_t missing = sizeof(request) - subject->request_size;
    size_t size = peal_buf_size(input) < missing ? peal_buf_size(input) : missing;

    if (subject->has_key) {
        return true;
    }
    if (size > 0) {
        memcpy(subject->request + subject->request_size, peal_buf_data(input), size);
    }
    subject->request_size += size;
    peal_buf_consume(input, size);
    if (subject->request_size < sizeof(request)) {
        return false;
    }
    memcpy(&request, subject->request, sizeof(request));
    if (request.magic != PEER_MAGIC || request.key >= scenario_connections(scenario) ||
        atomic_load(&scenario->by_key[request.key]) != NULL) {
        scenario_fault(scenario, "a request arrived damaged, or twice");
        peal_conn_abort(subject->conn);
        return false;
    }
    subject->key = request.key;
    subject->wanted = request.bytes;
    subject->has_key = true;
    atomic_store(&scenario->by_key[request.key], subject);
    atomic_fetch_add(&scenario->requests, 1);
    if (hooks_of(subject)->on_request != NULL) {
        hooks_of(subject)->on_request(subject);
    }
    return true;
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct subject *subject = enter(conn, user, "on_data");

    if (subject != NULL && take_request(subject, input)) {
        size_t size = peal_buf_size(input);
        size_t right = pattern_check(pattern_from_peer(subject->key), subject->received,
                                     peal_buf_data(input), size);
        subject->received += size;
        subject->wrong += size - right;
        peal_buf_clear(input);
        if (size > 0 && hooks_of(subject)->on_data != NULL) {
            hooks_of(subject)->on_data(subject, size);
        }
    }
    leave();
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct subject *subject = enter(conn, user, "on_eof");

    if (subject != NULL) {
        if (peal_buf_size(input) != 0) {
            scenario_fault(subject->scenario, "on_eof shows input that was consumed");
        }
        hooks_of(subject)->on_eof(subject);
    }
    leave();
}

static void on_drain(struct peal_conn *conn, void *user)
{
    struct subject *subject = enter(conn, user, "on_drain");

    if (subject != NULL && hooks_of(subject)->on_drain != NULL) {
        hooks_of(subject)->on_drain(subject);
    }
    leave();
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct subject *subject = enter(conn, user, "on_close");

    if (subject != NULL) {
        subject->record = *record;
        subject->closed_ms = peer_now_ms();
        if (hooks_of(subject)->on_close != NULL) {
            hooks_of(subject)->on_close(subject);
        }
        subject->conn = NULL;
        atomic_fetch_add(&subject->closed, 1);
        atomic_fetch_add(&subject->scenario->closed, 1);
    }
    leave();
}

void subject_make_ops(const struct subject_hooks *hooks, struct peal_conn_ops *ret_ops)
{
    *ret_ops = (struct peal_conn_ops){
        .on_open = on_open,
        .on_data = on_data,
        .on_eof = hooks->on_eof != NULL ? on_eof : NULL, /* whether it is set means something */
        .on_drain = on_drain,
        .on_close = on_close,
    };
}

/* ---- calls */

uint64_t subject_send(struct subject *subject, uint64_t size)
{
    return subject_send_by(subject, size, SUBJECT_BLOCK_BYTES);
}

uint64_t subject_send_by(struct subject *subject, uint64_t size, size_t block_bytes)
{
    bool on_loop = in_callback && subject->conn != NULL;
    uint64_t done = 0;

    pthread_mutex_lock(&subject->sending);
    while (done < size) {
        size_t block = size - done < block_bytes ? (size_t)(size - done) : block_bytes;
        pattern_fill(pattern_to_peer(subject->key), subject->accepted, send_block, block);
        ssize_t n = on_loop ? peal_conn_send(subject->conn, send_block, block)
                            : peal_conn_send_to_id(subject->id, send_block, block);
        if (n < 0) {
            atomic_store(&subject->last_error, (int)n);
            break;
        }
        if ((size_t)n != block) {
            scenario_fault(subject->scenario, "send accepted a part of its bytes");
        }
        subject->accepted += (uint64_t)n;
        done += (uint64_t)n;
    }
    pthread_mutex_unlock(&subject->sending);
    return done;
}

static void check_answer(struct subject *subject, const char *what, int answer)
{
    if (answer != 0 && answer != -ESTALE) {
        scenario_fault(subject->scenario, "%s by id answers %d", what, answer);
    }
}

void subject_close(struct subject *subject)
{
    check_answer(subject, "close", peal_conn_close_id(atomic_load(&subject->id)));
}

void subject_shutdown(struct subject *subject)
{
    check_answer(subject, "shutdown", peal_conn_shutdown_id(atomic_load(&subject->id)));
}

void subject_abort(struct subject *subject)
{
    check_answer(subject, "abort", peal_conn_abort_id(atomic_load(&subject->id)));
}

/* ---- checks */

static void check_books(struct subject *subject)
{
    const struct peal_close_record *record = &subject->record;
    struct scenario *scenario = subject->scenario;

    if (record->cause == PEAL_CAUSE_NONE || record->cause >= PEAL_CAUSE_COUNT) {
        scenario_fault(scenario, "a close record without a cause");
    }
    if (record->bytes_accepted != record->bytes_taken + record->bytes_unsent) {
        scenario_fault(scenario, "accepted %llu is not taken %llu + unsent %llu",
                       (unsigned long long)record->bytes_accepted,
                       (unsigned long long)record->bytes_taken,
                       (unsigned long long)record->bytes_unsent);
    }
    if (record->bytes_accepted != subject->accepted) {
        scenario_fault(scenario, "send accepted %llu bytes, the close record says %llu",
                       (unsigned long long)subject->accepted,
                       (unsigned long long)record->bytes_accepted);
    }
    uint64_t shown = subject->received + subject->request_size;
    if (record->bytes_received != shown + record->bytes_discarded) {
        scenario_fault(scenario, "received %llu is not shown %llu + discarded %llu",
                       (unsigned long long)record->bytes_received, (unsigned long long)shown,
                       (unsigned long long)record->bytes_discarded);
    }
    if (record->clean && record->bytes_unsent != 0) {
        scenario_fault(scenario, "called clean, but bytes were lost");
    }
}

void subject_check(struct subject *subject, const struct peer *peer)
{
    struct scenario *scenario = subject->scenario;

    if (atomic_load(&subject->opened) != 1 || atomic_load(&subject->closed) != 1) {
        scenario_fault(scenario, "opened %u times and closed %u times",
                       atomic_load(&subject->opened), atomic_load(&subject->closed));
        return;
    }
    check_books(subject);
    if (subject->wrong != 0) {
        scenario_fault(scenario, "on_data showed bytes that the peer did not send there");
    }
    if (peer == NULL) {
        return;
    }
    if (peer->wrong != 0) {
        scenario_fault(scenario, "peer %u got bytes that were not sent there", peer->key);
    }
    if (peer->arrived > subject->record.bytes_taken) {
        scenario_fault(scenario, "more arrived than was taken");
    }
    if (subject->received > peer->sent) {
        scenario_fault(scenario, "more was received than the peer sent");
    }
    /* A cut stream must not look whole. A unix socket has no reset to tell the two apart. */
    if (peer->end == PEER_EOF && peer->arrived != subject->record.bytes_accepted &&
        scenario->peers.to.ss_family != AF_UNIX) {
        scenario_fault(scenario, "a peer saw an orderly end, but not all bytes");
    }
    if (peer->end == PEER_FAULT) {
        scenario_fault(scenario, "a peer met: %s", strerror(peer->error));
    }
}
