/* SPDX-License-Identifier: BSD-2-Clause */
/* The checked state machine.
 *
 * moves.def lists every allowed move. Here it becomes a table of state x event; a look-up that
 * finds nothing stops the program, in release builds too: a connection that takes a move which
 * nobody thought of would break its promises silently.
 *
 * Each connection keeps its moves, which are at most six in a life, in 16 bytes: for each the line
 * of moves.def, in four bits, and the time since the move before as a floating point byte (5 bits
 * of exponent, 3 of mantissa, in microseconds: exact to an eighth, up to days). Full times are in
 * the loop's recorder for as long as its ring reaches back. */
#include "net/machine.h"

#include "base/assert.h"
#include "net/conn.h"

#include <string.h>

enum { MOVES_MASK = (1 << 24) - 1, NOWHERE = 0xff };

struct move {
    uint8_t from, event, to;
    const char *meaning;
};

static const struct move moves[] = {
#define PL_MOVE(from, event, to, meaning)                                                          \
    {PEAL_CONN_##from, PL_EVENT_##event, PEAL_CONN_##to, meaning},
#include "net/moves.def"
#undef PL_MOVE
};
enum { MOVE_COUNT = sizeof moves / sizeof moves[0] };
_Static_assert(MOVE_COUNT < 16, "a move is kept in four bits, and 0 is none");

static const char *const event_texts[] = {
    [PL_EVENT_OPENED] = "opened",     [PL_EVENT_CLOSE] = "close",
    [PL_EVENT_PEER_FIN] = "peer FIN", [PL_EVENT_FIN_SENT] = "FIN sent",
    [PL_EVENT_FLUSHED] = "flushed",   [PL_EVENT_BOTH_ENDED] = "both ended",
    [PL_EVENT_BREAK] = "break",
};

const char *pl_event_text(enum pl_event event)
{
    return event < PL_EVENT_COUNT ? event_texts[event] : "?";
}

/* The line in moves.def, or NOWHERE. There are 13: a scan of 39 bytes, a few times in a
 * connection's life. */
static uint8_t find_move(enum peal_conn_state from, enum pl_event event)
{
    for (uint8_t i = 0; i < MOVE_COUNT; i++) {
        if (moves[i].from == from && moves[i].event == event) {
            return i;
        }
    }
    return NOWHERE;
}

bool pl_move_is_allowed(enum peal_conn_state from, enum pl_event event,
                        enum peal_conn_state *ret_to)
{
    uint8_t move = find_move(from, event);
    if (move == NOWHERE) {
        return false;
    }
    if (ret_to) {
        *ret_to = (enum peal_conn_state)moves[move].to;
    }
    return true;
}

static uint8_t encode_pause(uint64_t us)
{
    unsigned exponent = 0;
    while (us >= 16) {
        us >>= 1;
        exponent++;
    }
    if (us < 8) {
        return (uint8_t)us; /* exponent 0: exact */
    }
    exponent += 1;
    return exponent > 31 ? 0xff : (uint8_t)(exponent << 3 | (us & 7));
}

static uint64_t decode_pause(uint8_t code)
{
    unsigned exponent = code >> 3;
    return exponent == 0 ? code : (uint64_t)(8 | (code & 7)) << (exponent - 1);
}

/* A moment, from the opening: 27 bits of mantissa, so exact for two minutes, and then to a
 * 67-millionth of the age. */
static uint32_t encode_moment(uint64_t us)
{
    uint32_t exponent = 0;
    while (us >> 27) {
        us >>= 1;
        exponent++;
    }
    return exponent << 27 | (uint32_t)us;
}

static uint64_t decode_moment(uint32_t code)
{
    return (uint64_t)(code & ((1u << 27) - 1)) << (code >> 27);
}

static void remember(struct peal_conn *conn, uint8_t move)
{
    uint64_t now_us = (conn->io.loop->now_ns - conn->opened_ns) / 1000;
    memmove(conn->move_pauses + 1, conn->move_pauses, sizeof conn->move_pauses - 1);
    conn->move_pauses[0] = encode_pause(now_us - decode_moment(conn->moved_us));
    conn->moves = ((uint32_t)conn->moves << 4 | (move + 1u)) & MOVES_MASK;
    conn->moved_us = encode_moment(now_us);
}

void pl_conn_move(struct peal_conn *conn, enum pl_event event)
{
    enum peal_conn_state from = pl_conn_state(conn);
    uint8_t move = find_move(from, event);
    if (move == NOWHERE) {
        pl_misuse("broken invariant: a connection in state %s met the event \"%s\", which "
                  "src/net/moves.def "
                  "does not allow. This is a bug in Peal; please report it.",
                  peal_conn_state_text(from), pl_event_text(event));
    }
    pl_record(conn->io.loop, PL_RECORD_MOVE, conn->id,
              (uint32_t)(from << 16 | event << 8 | moves[move].to));
    remember(conn, move);
    conn->flags &= ~(uint32_t)PL_CONN_IS_OPEN;
    conn->flags |= moves[move].to == PEAL_CONN_OPEN ? PL_CONN_IS_OPEN : 0u;
    atomic_store_explicit(&conn->state, moves[move].to, memory_order_release);
}

enum peal_conn_state pl_conn_ended_in(const struct peal_conn *conn)
{
    unsigned newest = conn->moves & 15;
    pl_assert(newest > 0 && moves[newest - 1].to == PEAL_CONN_CLOSED);
    return (enum peal_conn_state)moves[newest - 1].from;
}

void peal_conn_print_history(const struct peal_conn *conn,
                             void (*line)(const char *text, void *user), void *user)
{
    for (unsigned i = PL_HISTORY_MOVES; i > 0; i--) {
        unsigned kept = conn->moves >> (4 * (i - 1)) & 15;
        if (kept == 0) {
            continue; /* it has not moved so often */
        }
        const struct move *move = &moves[kept - 1];
        uint8_t pause = i < PL_HISTORY_MOVES ? conn->move_pauses[i - 1] : 0; /* of its opening */
        char text[160];
        sys_format(text, sizeof text, "+%llu us: %s, %s -> %s (%s)",
                   (unsigned long long)decode_pause(pause),
                   peal_conn_state_text((enum peal_conn_state)move->from),
                   pl_event_text(move->event), peal_conn_state_text((enum peal_conn_state)move->to),
                   move->meaning);
        line(text, user);
    }
}

static void describe_move(uint32_t detail, char *text, size_t size)
{
    sys_format(text, size, "%s, %s -> %s",
               peal_conn_state_text((enum peal_conn_state)(detail >> 16)),
               pl_event_text((enum pl_event)(detail >> 8 & 0xff)),
               peal_conn_state_text((enum peal_conn_state)(detail & 0xff)));
}

/* Gives the recorder, which belongs to a lower layer, words for moves. */
__attribute__((constructor)) static void describe_moves(void)
{
    pl_recorder_describe_move = describe_move;
}
