/* SPDX-License-Identifier: BSD-2-Clause */
/* The oracle: what must be true of every connection, stream and server of a simulated run, whatever
 * was drawn. oracle.c tells the model. All of it is for the thread that has the baton. */
#ifndef LAB_ORACLE_H
#define LAB_ORACLE_H

#include <peal.h>
#include <peal/sim.h>

enum { LAB_WRITERS = 16, LAB_CHUNK_HEAD = 12, LAB_CHUNK_MAX = 40000 };
#define LAB_BROADCAST UINT32_MAX /* the stream's number in a chunk that is sent to all */

/* One direction of one connection. */
struct lab_stream {
    struct lab_stream *next;
    uint32_t number;
    bool is_tcp;
    /* the end that sends */
    uint32_t sequence[LAB_WRITERS];
    uint64_t accepted;  /* of all writers, with what is being sent at this moment: */
    uint64_t in_flight; /* whether that is accepted is not known yet */
    bool is_broadcast;  /* the server may send on it what the oracle does not count */
    bool has_record;    /* the sender is Peal's, and has closed */
    struct peal_close_record record;
    /* the end that receives */
    uint32_t seen[LAB_WRITERS];
    uint64_t received;
    uint64_t read_ms; /* when that was last read */
    bool saw_end;     /* of the stream, without an error */
};

/* What one end has read so far of the other's stream. */
struct lab_reader {
    struct lab_stream *stream; /* NULL: no whole head has come yet */
    uint8_t head[LAB_CHUNK_HEAD];
    size_t head_size;
    uint32_t number, body_left, writer, sequence, at; /* of the chunk that is being read */
    uint32_t broadcasts_due;
    uint64_t received;
    bool is_tcp;
};

/* Of all limits that a connection has had, the least and the most. */
struct lab_bounds {
    uint32_t idle_least_ms, idle_most_ms, flush_least_ms, flush_most_ms;
    uint32_t half_close_least_ms, half_close_most_ms, linger_least_ms, linger_most_ms;
    size_t high_least, cap_most;
};

/* One of Peal's connections. */
struct lab_conn {
    struct lab_conn *next;
    struct peal_conn *conn; /* NULL once closed */
    struct peal_loop *loop;
    uint64_t id;
    struct lab_server *server; /* NULL: a client's */
    struct lab_stream *out;
    struct lab_reader in;
    bool is_closed, saw_eof;
    unsigned pauses;
    uint64_t shown; /* bytes that the program has consumed */
    /* for promises.c */
    bool has_bounds, shown_while_paused, wants_drain, has_sent_file, was_shut;
    struct lab_bounds bounds;
    uint64_t opened_ms, shown_ms;   /* by the clock of the turn: opened; last input */
    uint64_t moved_ms;              /* the last of anything that restarts a limit */
    uint64_t closed_ms, aborted_ms; /* when the program called these; 0: not */
};

struct lab_server {
    struct peal_server *server;
    uint64_t opened, closed;
    uint32_t broadcasts;
    size_t conns_max, conns_per_addr_max; /* as in its options */
    uint64_t open_v4, open_v6;            /* all peers of a family have one address */
    bool is_stopped;
    struct peal_drain_report report;
};

void lab_begin(void);
/* After the run's last thread and loop: the ends of all streams are compared. */
void lab_end(void);

/* No callback may run inside a call of the program (G2): every call in a callback or beside the
 * loop is made through this. */
#define LAB_CALL(call)                                                                             \
    __extension__({                                                                                \
        lab_enter();                                                                               \
        __typeof__(call) lab_result = (call);                                                      \
        lab_leave();                                                                               \
        lab_result;                                                                                \
    })
#define LAB_DO(call)                                                                               \
    do {                                                                                           \
        lab_enter();                                                                               \
        (call);                                                                                    \
        lab_leave();                                                                               \
    } while (0)
void lab_enter(void);
void lab_leave(void);
void lab_check_top_level(const char *callback);

/* ---- streams */
struct lab_stream *lab_new_stream(bool is_tcp);
/* A chunk of size bytes, head included, as the next of this writer; to be told when it was
 * taken. */
void lab_chunk(const struct lab_stream *stream, unsigned writer, size_t size, uint8_t *ret_bytes);
void lab_sent(struct lab_stream *stream, unsigned writer, size_t size);
/* A chunk for all connections of a server: the sequence is the server's, and some may be missed. */
void lab_broadcast_chunk(uint32_t sequence, size_t size, uint8_t *ret_bytes);
void lab_read(struct lab_reader *reader, const void *data, size_t size);
void lab_read_end(struct lab_reader *reader);

/* ---- connections: called first in each callback */
struct lab_conn *lab_opened(struct peal_conn *conn, struct lab_server *server, bool is_tcp);
void lab_data(struct lab_conn *lab, struct peal_conn *conn);
void lab_eof(struct lab_conn *lab, struct peal_conn *conn);
void lab_drained(struct lab_conn *lab, struct peal_conn *conn);
void lab_closed(struct lab_conn *lab, struct peal_conn *conn,
                const struct peal_close_record *record);
unsigned lab_conns_open(void);
/* Makes the next chunk and calls one of the kin of peal_conn_send with it; returns what that said.
 * Each writer is one thread. */
enum lab_way { LAB_SEND, LAB_SENDV, LAB_SEND_REF, LAB_SEND_FILE, LAB_SEND_TO_ID, LAB_WAYS };
ssize_t lab_send(struct lab_conn *lab, struct peal_conn *conn, unsigned writer, size_t size,
                 enum lab_way way);

/* ---- what the program promised or was promised (promises.c) */
void lab_promises_begin(void);
/* Connections of this run have Peal at both ends. */
void lab_both_ends_are_peals(void);
/* The limits that it has from now on. */
void lab_limits(struct lab_conn *lab, const struct peal_conn_limits *limits);
/* Before the program ends a connection by one of these calls. */
enum lab_end { LAB_CLOSE, LAB_SHUTDOWN, LAB_ABORT };
void lab_ends(struct lab_conn *lab, enum lab_end end);
/* The oracle's own parts of the callbacks. */
void lab_promises_opened(struct lab_conn *lab, const struct peal_conn *conn);
void lab_promises_moved(struct lab_conn *lab);
void lab_promises_gone(struct lab_conn *lab, const struct peal_conn *conn);
void lab_promises_shown(struct lab_conn *lab);
void lab_promises_drained(struct lab_conn *lab);
void lab_promises_sent(const struct lab_conn *lab, const struct peal_conn *conn);
void lab_promises_closed(const struct lab_conn *lab, struct peal_conn *conn,
                         const struct peal_close_record *record);

/* ---- servers */
void lab_stopped(struct lab_server *server, const struct peal_drain_report *report);

#endif
