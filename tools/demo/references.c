/* SPDX-License-Identifier: BSD-2-Clause */
/* The scenario about references that are kept after the connection has closed.
 *
 * In many libraries a forgotten reference keeps the socket, and CLOSE_WAIT fills the table. Here it
 * keeps memory, and the report says who took it. So, with references to every connection held: the
 * process has as many fds as before the first connection; every call on a held connection is safe
 * and answers that it is over; the report counts them and names this file and the line; the drain
 * report counts them too; and when they are given back, on two threads, the memory goes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <peal/refs.h>

#include "ledger.h"
#include "scenarios.h"

static _Atomic int taken_at_line; /* where hold takes its references */

static void hold(struct subject *subject)
{
    atomic_store(&taken_at_line, __LINE__ + 1);
    struct peal_conn *held = peal_conn_ref(subject->conn);

    subject->scratch = (uint64_t)(uintptr_t)held;
    subject_send(subject, subject->wanted);
}

static struct peal_conn *held_by(const struct subject *subject)
{
    return (struct peal_conn *)(uintptr_t)subject->scratch; /* NOLINT: it was put there */
}

struct report {
    unsigned lines_with_place;
    char place[64];
};

static void read_line(const char *text, void *user)
{
    struct report *report = user;

    if (strstr(text, report->place) != NULL) {
        report->lines_with_place++;
    }
}

static void check_report(struct scenario *scenario)
{
    struct report report = {0};

    snprintf(report.place, sizeof(report.place), "references.c:%d", atomic_load(&taken_at_line));
    size_t held = peal_refs_report(read_line, &report);
    scenario_expect_count(scenario, "connections in the report", held,
                          scenario_connections(scenario));
    scenario_expect_count(scenario, "places in the report", report.lines_with_place,
                          scenario_connections(scenario));
}

static void check_held(struct scenario *scenario, const struct subject *subject)
{
    struct peal_conn *held = held_by(subject);
    struct peal_conn *found;

    if (peal_conn_send(held, "x", 1) != -EPIPE) {
        scenario_fault(scenario, "send on a closed connection is not answered with EPIPE");
    }
    if (peal_conn_state(held) != PEAL_CONN_CLOSED) {
        scenario_fault(scenario, "a closed connection does not say that it is closed");
    }
    peal_conn_close(held);
    peal_conn_abort(held);
    if (peal_conn_find(peal_conn_id(held), &found) != -ESTALE) {
        scenario_fault(scenario, "the id of a closed connection is not stale");
    }
}

/* Gives back every second reference, from that of the given parity on. */
static void give_back(struct scenario *scenario, unsigned parity)
{
    for (unsigned i = parity; i < atomic_load(&scenario->subjects_used); i += 2) {
        if (scenario->subjects[i].scratch != 0) {
            peal_conn_unref(held_by(&scenario->subjects[i]));
        }
    }
}

static void *give_back_odd(void *user)
{
    give_back(user, 1);
    return NULL;
}

static void give_all_back(struct scenario *scenario)
{
    int64_t before = ledger_bytes();
    pthread_t other;

    if (pthread_create(&other, NULL, give_back_odd, scenario) != 0) {
        give_back(scenario, 1);
        give_back(scenario, 0);
    } else {
        give_back(scenario, 0);
        pthread_join(other, NULL);
    }
    int64_t given = before - ledger_bytes();
    if (scenario->result->memory_measured && ledger_slack_bytes() == 0 &&
        given < 64 * (int64_t)scenario_connections(scenario)) {
        scenario_fault(scenario, "the last unref freed only %lld bytes", (long long)given);
    }
    scenario_expect_count(scenario, "connections in the report after unref",
                          peal_refs_report(NULL, NULL), 0);
}

void scenario_references(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_GATE, 1, 0},       {PEER_CONNECT, 0, 0},  {PEER_REQUEST, 4 * KIB, 0},
        {PEER_READ, 4 * KIB, 0}, {PEER_SHUTDOWN, 0, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},      {PEER_DONE, 0, 0},
    };
    const struct plan plan = {.connections = 400, .steps = steps, .hooks = {.on_request = hold}};

    peal_refs_track(true);
    if (scenario_open(scenario, &plan) && scenario_start_peers(scenario)) {
        int64_t fds_before = scenario_count_fds();
        atomic_store(&scenario->peers.gate, 1);
        if (scenario_wait_peers(scenario) && scenario_wait_closed(scenario)) {
            /* on_close has returned; its fd goes right after it, in the same turn */
            scenario_turn_for(scenario, 20);
            scenario_expect_count(scenario, "fds while references are held",
                                  (uint64_t)scenario_count_fds(), (uint64_t)fds_before);
            check_report(scenario);
            for (unsigned i = 0; i < atomic_load(&scenario->subjects_used); i++) {
                check_held(scenario, &scenario->subjects[i]);
            }
        }
        scenario_stop(scenario, 1000);
        scenario_expect_count(scenario, "references in the drain report",
                              scenario->drain.references_held, scenario_connections(scenario));
        give_all_back(scenario);
    }
    peal_refs_track(false);
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_PEER_CLOSED,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}
