/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of the soak: what both ends of a connection agree on, and what each has counted. */
#ifndef TEST_SOAK_H
#define TEST_SOAK_H

#include <peal.h>

#include <stdatomic.h>
#include <stdint.h>

/* A request: one byte that says what the server is to do with the connection when it has answered,
 * the size of the payload (big-endian, 32 bits), the payload. The answer is the payload. */
enum soak_word {
    SOAK_STAY = 'e',     /* nothing: the client ends the connection */
    SOAK_CLOSE = 'c',    /* peal_conn_close */
    SOAK_SHUTDOWN = 's', /* peal_conn_shutdown: the client may go on sending */
    SOAK_ABORT = 'a',    /* peal_conn_abort */
    SOAK_IDLE = 'i',     /* limits of its own, of which the idle time-out ends it */
};

enum { SOAK_HEAD_BYTES = 5, SOAK_PAYLOAD_BYTES_MAX = 32 * 1024 };

enum {
    SOAK_BATCH = 100, /* connections at once */
    SOAK_CROWD = 300, /* in some batches, to meet the limit */
    SOAK_CONNS_MAX = 200,
};

/* ---- the server's side (serve.c) */

struct soak_server {
    struct peal_pool *pool;
    struct peal_server *server;
    struct peal_addr tcp; /* on every address of this machine */
    struct peal_addr local;
    atomic_ulong opened, closed; /* calls of on_open and on_close */
    atomic_ulong bad_records;    /* bytes_accepted was not bytes_taken + bytes_unsent */
};

/* Both on the thread of home, which ends when the server has stopped. Errors end the program with a
 * sentence. */
void soak_serve(struct soak_server *to, struct peal_loop *home);
void soak_serve_end(struct soak_server *to); /* when home has ended */

/* ---- the clients' side (peers.c): the thread that calls */

struct soak_peers {
    const struct soak_server *server;
    struct peal_loop *loop; /* for those clients that are Peal's */
    uint64_t next;          /* number of the next connection */
    unsigned batch;
    unsigned long connected;     /* the kernel said so to a client of any kind */
    unsigned long over_tcp;      /* of these: not over a unix socket */
    unsigned long unanswered;    /* an answer was due, and the end came instead */
    unsigned long wrong;         /* an answer with other bytes than were sent */
    unsigned long client_opened; /* of Peal's clients: calls of on_open, on_close, on_fail */
    unsigned long client_closed;
    unsigned long client_failed;
    unsigned fds_peak;
};

/* Makes one batch of connections and ends them all, each in its way. */
void soak_batch(struct soak_peers *peers);

/* ---- all (soak.c) */

unsigned soak_open_fds(void);
__attribute__((noreturn, format(printf, 1, 2))) void soak_die(const char *format, ...);

#endif
