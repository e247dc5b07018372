/* SPDX-License-Identifier: BSD-2-Clause */
/* Which moves of a connection's state machine have been made after which faults: peal-sim coverage.
 *
 * A cell is a move (a state and an event, a row of moves.def) and a kind of fault. It counts the
 * moves of that kind before which that kind of fault has struck anywhere in the run, since the
 * connection came into the state (or, in its first, since the run's begin): the fault fell into the
 * time that the connection was in that state, and the move came out of it. An empty cell is a situation that no run has
 * tried, and fails; those that cannot be are listed below, each with its reason.
 *
 * The counts are in memory that all runs share; the linker puts count_move before each call of the
 * library's pl_conn_move (--wrap), so that the library itself is not touched. This is the one file
 * of the lab that looks inside. */
#include "lab.h"

#include "net/conn.h"
#include "net/machine.h"
#include "sim/run.h"

#include <stdio.h>
#include <string.h>

enum { CONNS_MAX = 512 };

struct coverage {
    uint64_t moves[PEAL_CONN_STATE_COUNT][PL_EVENT_COUNT];
    uint64_t cells[PEAL_CONN_STATE_COUNT][PL_EVENT_COUNT][PL_SIM_FAULTS];
};
_Static_assert(sizeof(struct coverage) <= RUN_SHARED_MAX, "it fits");

/* Of one run: when each kind struck last, when each connection came into its state. Time is a
 * count. */
static uint64_t now, struck[PL_SIM_FAULTS];
static struct {
    const struct peal_conn *conn;
    uint64_t moved;
} conns[CONNS_MAX];

static void on_fault(enum pl_sim_fault kind)
{
    struck[kind] = ++now;
}

/* A connection's place; NULL: the table is full, and the move is not counted. */
static uint64_t *moved_of(const struct peal_conn *conn, bool is_first)
{
    size_t at = ((uintptr_t)conn >> 4) % CONNS_MAX;
    for (size_t tries = 0; tries < CONNS_MAX; tries++, at = (at + 1) % CONNS_MAX) {
        if (!conns[at].conn) {
            conns[at].conn = conn;
        }
        if (conns[at].conn == conn) {
            if (is_first) {
                conns[at].moved = 0;
            }
            return &conns[at].moved;
        }
    }
    return NULL;
}

void __real_pl_conn_move(struct peal_conn *conn, enum pl_event event);
void __wrap_pl_conn_move(struct peal_conn *conn, enum pl_event event);
void __wrap_pl_conn_move(struct peal_conn *conn, enum pl_event event)
{
    struct coverage *coverage = run_shared();
    enum peal_conn_state state = peal_conn_state(conn);
    uint64_t *moved = moved_of(conn, state == PEAL_CONN_CONNECTING);
    coverage->moves[state][event]++;
    for (unsigned kind = 0; moved && kind < PL_SIM_FAULTS; kind++) {
        if (struck[kind] > *moved) {
            coverage->cells[state][event][kind]++;
        }
    }
    __real_pl_conn_move(conn, event);
    if (moved && peal_conn_state(conn) != state) {
        *moved = ++now;
    }
}

void lab_coverage_begin(void)
{
    run_shared();
    pl_sim.on_fault = on_fault;
}

static const struct {
    int state, event, kind; /* -1: any */
    const char *reason;
} impossible[] = {
    {-1, -1, -1, NULL},
};

static bool is_possible(int state, int event, int kind)
{
    for (size_t i = 0; impossible[i].reason; i++) {
        if ((impossible[i].state < 0 || impossible[i].state == state) &&
            (impossible[i].event < 0 || impossible[i].event == event) &&
            (impossible[i].kind < 0 || impossible[i].kind == kind)) {
            return false;
        }
    }
    return true;
}

static unsigned print_row(const struct coverage *coverage, int state, int event)
{
    unsigned empty = 0;
    printf("%-11s%-11s%9llu", peal_conn_state_text((enum peal_conn_state)state),
           pl_event_text((enum pl_event)event), (unsigned long long)coverage->moves[state][event]);
    for (int kind = 0; kind < PL_SIM_FAULTS; kind++) {
        uint64_t count = coverage->cells[state][event][kind];
        if (count > 0 || is_possible(state, event, kind)) {
            printf(" %6llu", (unsigned long long)count);
            empty += count == 0;
        } else {
            printf("      -");
        }
    }
    printf("\n");
    return empty;
}

int lab_coverage_print(void)
{
    const struct coverage *coverage = run_shared();
    unsigned empty = 0;
    for (int kind = 0; kind < PL_SIM_FAULTS; kind++) {
        printf("%2d %-20s %s\n", kind + 1, pl_sim_fault_name((enum pl_sim_fault)kind),
               pl_sim_fault_words((enum pl_sim_fault)kind));
    }
    printf("\n%-11s%-11s%9s", "state", "event", "moves");
    for (int kind = 0; kind < PL_SIM_FAULTS; kind++) {
        printf(" %6d", kind + 1);
    }
    printf("\n");
#define PL_MOVE(from, event, to, words)                                                            \
    empty += print_row(coverage, PEAL_CONN_##from, PL_EVENT_##event);
#include "net/moves.def"
#undef PL_MOVE
    for (size_t i = 0; impossible[i].reason; i++) {
        printf("- %s\n", impossible[i].reason);
    }
    printf("%u empty cells\n", empty);
    return empty > 0 ? 1 : 0;
}
