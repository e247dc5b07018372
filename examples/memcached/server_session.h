/* SPDX-License-Identifier: BSD-2-Clause */
/* One connection of the memcached server, and what its two protocols share: receiving a value
 * straight into the item that it becomes, sending one, and the statistics. The loop's thread. */
#ifndef MEMCACHED_SESSION_H
#define MEMCACHED_SESSION_H

#include "serve.h"

#include "server_store.h"

enum {
    SEND_REF_MIN = 16 * 1024, /* values from here on are sent by reference */
    OUTPUT_HIGH = 1 << 20,    /* no further command is begun above it */
    MONTH_S = 60 * 60 * 24 * 30,
    LIVED_ALREADY_MS = 1 /* a time of expiry that was over before anything was stored */
};

#define MEMCACHED_VERSION "1.4.15-peal"

enum stage {
    STAGE_COMMAND,
    STAGE_KEYS,     /* of a get, one after the other: there may be any number */
    STAGE_VALUE,    /* into item, until value_left is 0 */
    STAGE_SKIP,     /* skip_left bytes that are of no use */
    STAGE_SKIP_LINE /* the rest of a line that was answered already */
};

struct binary_request {
    uint8_t opcode;
    uint8_t extras_size;
    uint16_t key_size;
    uint32_t body_size;
    uint32_t opaque;
    uint64_t cas;
};

struct session {
    struct serving *serving;
    struct store *store;
    struct peal_conn *conn;
    bool (*step)(struct session *session, struct peal_buf *input); /* of the protocol, once known */
    bool ended; /* no further command is answered */
    enum stage stage;
    uint64_t now;

    /* A command that is not over yet. */
    struct item *item;
    unsigned char *value_at;
    size_t value_left, skip_left;
    enum store_mode mode;
    uint64_t cas;
    bool quiet;    /* noreply */
    bool with_cas; /* gets, gats */
    bool touches;  /* gat, gats */
    uint64_t expires_ms;
    struct binary_request request;

    /* Input that waits until the peer has read what it asked for before. */
    struct peal_buf waiting;
    bool is_waiting, peer_ended;
};

/* One step: true if it got further, false if more input is needed. */
bool text_step(struct session *session, struct peal_buf *input);
bool binary_step(struct session *session, struct peal_buf *input);

/* Sends. What cannot be accepted for want of memory ends the connection by a reset. */
void session_send(struct session *session, const void *data, size_t size);
/* head, and size bytes from an item's key or value on. */
void session_send_item(struct session *session, const void *head, size_t head_size,
                       struct item *item, const unsigned char *from, size_t size);
void session_close(struct session *session);

/* Begins STAGE_VALUE: size bytes go to an item's value. */
void session_receive(struct session *session, struct item *item, size_t size);
/* Moves what is there of the value; true when it is whole. */
bool session_fill(struct session *session, struct peal_buf *input);
/* Moves past bytes of no use; true when all have gone. */
void session_skip(struct session *session, size_t size);
bool session_skipped(struct session *session, struct peal_buf *input);

/* True if the next step needs no input: a value of no bytes is whole. */
bool session_is_owed_nothing(const struct session *session);

/* When something expires: in so many seconds, up to a month; above, at that Unix time; 0: never. */
uint64_t session_expiry(const struct session *session, int64_t seconds);
/* The same for a flush: 0 is now. */
void session_flush(struct session *session, int64_t seconds);

/* Calls tell for each statistic of a group, "" being the general one. Some have none, as there are
 * no slabs here. False: no such group. */
typedef void (*tell_fn)(struct session *session, const char *name, const char *value);
bool session_tell_stats(struct session *session, const char *group, size_t group_size,
                        tell_fn tell);

/* Of the whole server: its options, and what "stats" tells of it. */
extern uint64_t memory_bytes, value_max_bytes, started_ms;
extern _Atomic uint64_t flushes;

#endif
