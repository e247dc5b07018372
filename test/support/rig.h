/* SPDX-License-Identifier: BSD-2-Clause */
/* A rig: a loop on the test's own thread, turned by hand, with a server on 127.0.0.1 whose
 * connections are watched by a witness. The raw peers (raw.h) live on the same thread: let the loop
 * turn (rig_until) between what they do.
 *
 *     struct rig rig;
 *     rig_open(&rig, NULL);
 *     int peer = raw_connect(&rig.address);
 *     rig_until(&rig, rig.witness.opened == 1);
 *     ...
 *     raw_close(peer);
 *     rig_close(&rig);         // stops the server, ends the loop, checks every open against every
 * close
 */
#ifndef TEST_RIG_H
#define TEST_RIG_H

#include <peal.h>

/* What happened to the connections of one ops table. The callbacks of witness_ops write it (user:
 * the witness). */
struct witness {
    unsigned opened, data_calls, eofs, drains, closed;
    uint64_t bytes;                  /* seen by on_data */
    struct peal_conn *conn;          /* the newest that is open; NULL once it closed */
    struct peal_close_record record; /* of the last close */
    unsigned causes[PEAL_CAUSE_COUNT];
    char last[256]; /* the last bytes seen, a string */

    /* What the callbacks do, if set, besides counting. */
    bool echo;
    bool keep_input; /* on_data consumes nothing */
    void (*also_open)(struct peal_conn *conn, struct witness *witness);
    void (*also_data)(struct peal_conn *conn, struct peal_buf *input, struct witness *witness);
    void (*also_eof)(struct peal_conn *conn, struct witness *witness);
    void (*also_drain)(struct peal_conn *conn, struct witness *witness);
    void (*also_close)(struct peal_conn *conn, const struct peal_close_record *record,
                       struct witness *witness);
    void *tag; /* the test's own */
};

extern const struct peal_conn_ops witness_ops;     /* all callbacks but on_eof: peer FIN closes */
extern const struct peal_conn_ops witness_eof_ops; /* with on_eof */

struct rig {
    struct peal_loop *loop;
    struct peal_server *server;
    struct peal_addr address;
    struct witness witness;
    unsigned stopped; /* calls of on_stopped */
    struct peal_drain_report report;
};

/* options may be NULL; ops defaults to witness_ops, user and on_stopped are the rig's. */
void rig_open(struct rig *rig, const struct peal_server_options *options);
void rig_close(struct rig *rig);

/* One connection: returns the raw peer; rig->witness.conn is the other end. */
int rig_connect(struct rig *rig);

/* Lets the loop turn. */
void rig_turns(struct rig *rig, unsigned turns);         /* each waits at most 20 ms */
void rig_turn_ms(struct rig *rig, unsigned duration_ms); /* for that long */
#define rig_until(rig, condition)                                                                  \
    do {                                                                                           \
        uint64_t rig_limit = rig_now_ms() + 20 * 1000;                                             \
        while (!(condition)) {                                                                     \
            rig_turn_once(rig);                                                                    \
            if (rig_now_ms() > rig_limit) {                                                        \
                fail_msg("%s:%d: waited 20 s in vain for: %s", __FILE__, __LINE__, #condition);    \
            }                                                                                      \
        }                                                                                          \
    } while (0)
void rig_turn_once(struct rig *rig); /* waits at most 20 ms */
uint64_t rig_now_ms(void);

/* For tests that inject errors into accept(2): skips where the kernel accepts by itself (io_uring)
 * and there is no such call. What runs short can be made to run short in earnest (fd_limit.h). */
void rig_skip_unless_accept_is_called(void);

/* A closed connection's record must add up. */
void rig_check_record(const struct peal_close_record *record);

#endif
