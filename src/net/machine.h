/* SPDX-License-Identifier: BSD-2-Clause */
/* The state machine of a connection: the moves of moves.def, checked, and a connection's memory of
 * its last ones. */
#ifndef PL_MACHINE_H
#define PL_MACHINE_H

#include <peal/close.h>

struct peal_conn;

enum pl_event {
    PL_EVENT_OPENED,
    PL_EVENT_CLOSE,
    PL_EVENT_PEER_FIN,
    PL_EVENT_FIN_SENT,
    PL_EVENT_FLUSHED,
    PL_EVENT_BOTH_ENDED,
    PL_EVENT_BREAK,
    PL_EVENT_COUNT
};

/* A life has at most six moves (OPENED; then PEER_FIN, FIN_SENT and CLOSE once each at most;
 * FLUSHED; the end), and these hold all of them. */
enum { PL_HISTORY_MOVES = 6 };

/* The only writer of conn->state. A move that is not in moves.def is a broken invariant. The loop's
 * thread. */
void pl_conn_move(struct peal_conn *conn, enum pl_event event);

/* The state before CLOSED, of a connection that is. */
enum peal_conn_state pl_conn_ended_in(const struct peal_conn *conn);

/* Whether moves.def has it; *ret_to, if not NULL, is where it leads. */
bool pl_move_is_allowed(enum peal_conn_state from, enum pl_event event,
                        enum peal_conn_state *ret_to);
const char *pl_event_text(enum pl_event event);

#endif
