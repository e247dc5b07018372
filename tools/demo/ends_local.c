/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios in which this side ends the connection.
 *
 * The first is the oldest trap of TCP servers: close(2) with input unread sends a reset, and a
 * reset overtakes and destroys what the peer has not read yet: the reply's end. So a graceful close
 * reads on and discards until the peer ends its side. The second is its opposite: what is cut must
 * look cut.
 */
#include <errno.h>

#include "scenarios.h"

static void reply_and_close(struct subject *subject, size_t size)
{
    (void)size;
    if (subject->scratch++ == 0) {
        subject_send(subject, subject->wanted);
        peal_conn_close(subject->conn);
    }
}

void scenario_close_unread(struct scenario *scenario)
{
    enum { UPLOAD = 256 * KIB }; /* more than one read takes, so some is always unread */
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0},  {PEER_REQUEST, 8 * MIB, 0}, {PEER_SEND, UPLOAD, 0},
        {PEER_READ_ALL, 0, 0}, {PEER_CLOSE, 0, 0},         {PEER_DONE, 0, 0},
    };

    scenario_play(scenario, &(struct plan){.connections = 100,
                                           .at_once_max = 16,
                                           .steps = steps,
                                           .hooks = {.on_data = reply_and_close}});
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_LOCAL_CLOSE,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
    for (unsigned i = 0; i < atomic_load(&scenario->subjects_used); i++) {
        if (scenario->subjects[i].record.bytes_discarded == 0) {
            scenario_fault(scenario, "no input was unread: the scenario tried nothing");
        }
    }
}

static void reply_and_abort(struct subject *subject)
{
    subject_send(subject, subject->wanted);
    peal_conn_abort(subject->conn);
}

void scenario_local_abort(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 64 * KIB, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},   {PEER_DONE, 0, 0},
    };

    scenario_play(scenario, &(struct plan){.connections = 1000,
                                           .steps = steps,
                                           .hooks = {.on_request = reply_and_abort}});
    scenario_expect(
        scenario,
        &(struct expected){.cause = PEAL_CAUSE_LOCAL_ABORT, .clean = NO, .peer_end = PEER_BROKEN});
}

static void reply_and_shutdown(struct subject *subject)
{
    subject_send(subject, subject->wanted);
    peal_conn_shutdown(subject->conn);
    if (subject_send(subject, 1) != 0 || atomic_load(&subject->last_error) != -EPIPE) {
        scenario_fault(subject->scenario, "send after shutdown is not answered with EPIPE");
    }
}

void scenario_shutdown_read(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0},      {PEER_REQUEST, 64 * KIB, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_SEND, 256 * KIB, 0}, {PEER_CLOSE, 0, 0},          {PEER_DONE, 0, 0},
    };

    scenario_play(scenario, &(struct plan){.connections = 300,
                                           .steps = steps,
                                           .hooks = {.on_request = reply_and_shutdown}});
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_LOCAL_CLOSE,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .all_received = YES,
                                                 .peer_end = PEER_EOF});
}
