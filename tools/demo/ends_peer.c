/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios in which the peer ends the connection.
 *
 * What they are after: a peer's FIN is the end of one direction and no reason to drop what is
 * pending in the other (muduo's clients, and HTTP/1.0's, send FIN and then wait for the reply); a
 * peer's reset ends both, but not what had arrived before it.
 */
#include "scenarios.h"

static void reply(struct subject *subject)
{
    subject_send(subject, subject->wanted);
}

static void reply_whole(struct subject *subject)
{
    uint64_t done = subject_send(subject, subject->wanted);

    scenario_expect_count(subject->scenario, "bytes of the reply accepted", done, subject->wanted);
}

void scenario_peer_fin(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0},     {PEER_REQUEST, 16 * KIB, 0}, {PEER_SEND, 4 * KIB, 0},
        {PEER_READ, 16 * KIB, 0}, {PEER_SHUTDOWN, 0, 0},       {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},       {PEER_DONE, 0, 0},
    };

    scenario_play(
        scenario,
        &(struct plan){.connections = 1000, .steps = steps, .hooks = {.on_request = reply_whole}});
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_PEER_CLOSED,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .all_received = YES,
                                                 .peer_end = PEER_EOF});
}

void scenario_peer_fin_pending(struct scenario *scenario)
{
    /* The whole reply is sent in one callback, so once its first byte is here the rest is either
     * in the kernel's buffers or pending. */
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 8 * MIB, 0}, {PEER_READ, 1, 0},  {PEER_SHUTDOWN, 0, 0},
        {PEER_SLEEP, 0, 20},  {PEER_READ_ALL, 0, 0},      {PEER_CLOSE, 0, 0}, {PEER_DONE, 0, 0},
    };

    scenario_play(scenario, &(struct plan){.connections = 100,
                                           .at_once_max = 16,
                                           .steps = steps,
                                           .hooks = {.on_request = reply_whole}});
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_PEER_CLOSED,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}

/* Half of the connections stop reading: they must learn of the reset all the same, and must be
 * shown what had arrived before it. */
static void pause_odd(struct subject *subject)
{
    if (subject->key % 2 == 1) {
        peal_conn_pause_reading(subject->conn);
    }
}

void scenario_peer_reset(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0},    {PEER_REQUEST, 0, 0}, {PEER_SLEEP, 0, 10},
        {PEER_SEND, 8 * KIB, 0}, {PEER_RESET, 0, 0},   {PEER_DONE, 0, 0},
    };

    scenario_play(
        scenario,
        &(struct plan){.connections = 1000, .steps = steps, .hooks = {.on_request = pause_odd}});
    scenario_expect(
        scenario,
        &(struct expected){.cause = PEAL_CAUSE_PEER_RESET, .clean = NO, .all_received = YES});
}

void scenario_peer_reset_pending(struct scenario *scenario)
{
    /* The pause lets the callback that sends the reply come to its end. What the peer sends last
     * must be shown, although writing fails first. */
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0},    {PEER_REQUEST, 1 * MIB, 0}, {PEER_READ, 1, 0}, {PEER_SLEEP, 0, 20},
        {PEER_SEND, 8 * KIB, 0}, {PEER_RESET, 0, 0},         {PEER_DONE, 0, 0},
    };

    scenario_play(scenario, &(struct plan){.connections = 300,
                                           .at_once_max = 100,
                                           .steps = steps,
                                           .send_buffer = 64 * KIB,
                                           .receive_buffer = 64 * KIB,
                                           .hooks = {.on_request = reply}});
    scenario_expect(scenario, &(struct expected){
                                  .cause = PEAL_CAUSE_PEER_RESET, .clean = NO, .all_arrive = NO});
}

/* One piece at a time, each when the one before has gone. */
static void send_piece(struct subject *subject)
{
    const uint64_t piece = 16 * KIB;

    if (subject->accepted < subject->wanted) {
        subject_send(subject, piece);
        peal_conn_want_drain(subject->conn);
    } else {
        peal_conn_close(subject->conn);
    }
}

void scenario_half_open(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0},  {PEER_REQUEST, 256 * KIB, 0},
        {PEER_SHUTDOWN, 0, 0}, {PEER_READ_SLOWLY, 32 * KIB, 5},
        {PEER_CLOSE, 0, 0},    {PEER_DONE, 0, 0},
    };

    scenario_play(scenario,
                  &(struct plan){.connections = 300,
                                 .steps = steps,
                                 .hooks = {.on_eof = send_piece, .on_drain = send_piece}});
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_LOCAL_CLOSE,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}
