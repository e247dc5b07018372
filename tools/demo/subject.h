/* SPDX-License-Identifier: BSD-2-Clause */
/* Subjects: the library's ends of the demo's connections, each watched for what the library
 * promises of its callbacks. */
#ifndef PEAL_DEMO_SUBJECT_H
#define PEAL_DEMO_SUBJECT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <peal/conn.h>

#include "peer.h"

struct scenario;

enum { SUBJECT_BLOCK_BYTES = 64 * 1024 };

/* One connection. Fields without a word belong to the loop's thread until it has closed. */
struct subject {
    uint32_t magic;
    struct scenario *scenario;
    struct peal_conn *conn; /* from on_open until on_close has returned */
    _Atomic uint64_t id;    /* any thread; 0 before on_open */
    unsigned char request[sizeof(struct peer_request)];
    size_t request_size;
    uint32_t key; /* once has_key */
    bool has_key;
    uint64_t wanted;                 /* what the request asks for */
    pthread_mutex_t sending;         /* keeps the order of sends and of what they send */
    uint64_t accepted;               /* sum of what sends returned; under sending */
    uint64_t received;               /* after the request */
    uint64_t wrong;                  /* bytes of those that did not belong where they were */
    _Atomic int last_error;          /* of the last send that was refused */
    _Atomic unsigned opened, closed; /* calls of on_open and on_close */
    struct peal_close_record record;
    uint64_t opened_ms, closed_ms;
    uint64_t scratch; /* the scenario's own */
};

/* What a scenario does in callbacks. All may be NULL. */
struct subject_hooks {
    void (*on_open)(struct subject *subject);
    void (*on_request)(struct subject *subject);           /* the peer's request is whole */
    void (*on_data)(struct subject *subject, size_t size); /* after it; checked and consumed */
    void (*on_eof)(struct subject *subject);               /* NULL: the library's default */
    void (*on_drain)(struct subject *subject);
    void (*on_close)(struct subject *subject);
};

/* The operations that watch, and call the scenario's hooks. Their user is the scenario. */
void subject_make_ops(const struct subject_hooks *hooks, struct peal_conn_ops *ret_ops);

/* Around every call that turns a loop: callbacks may run on this thread from here on, or not. */
void subject_allow_callbacks(bool allowed);

/* Sends the next size bytes of the subject's pattern, in blocks. Any thread. Returns the bytes
 * accepted; last_error says why it was not all. The second form says how large the blocks are, up
 * to SUBJECT_BLOCK_BYTES: small ones gather until the callback returns, large ones may be written
 * at once. */
uint64_t subject_send(struct subject *subject, uint64_t size);
uint64_t subject_send_by(struct subject *subject, uint64_t size, size_t block_bytes);

/* Any thread: by the id. */
void subject_close(struct subject *subject);
void subject_shutdown(struct subject *subject);
void subject_abort(struct subject *subject);

/* Checks, once all is quiet: pairing, books, and bytes against the peer (NULL: it has none). */
void subject_check(struct subject *subject, const struct peer *peer);

#endif
