/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios about limits: who is cut, and, as much, who is not.
 *
 * A flush timeout that measures elapsed time cuts a slow reader in the middle of its reply; one
 * that measures progress cuts only who reads nothing. The two scenarios for it run with the same
 * limit, and the steady reader needs more than twice as long as that.
 *
 * Buffers of the kernel are made small here: on loopback they take megabytes otherwise, and nothing
 * would ever be pending.
 */
#include <errno.h>

#include "scenarios.h"

enum {
    SMALL_BUFFER = 64 * KIB,
    FLUSH_MS = 600,
    IDLE_MS = 600,
    CAP_BYTES = 256 * KIB,
    PIECE_BYTES = 4 * KIB
};

static void reply(struct subject *subject)
{
    subject_send(subject, subject->wanted);
}

static void reply_and_close(struct subject *subject)
{
    subject_send(subject, subject->wanted);
    peal_conn_close(subject->conn);
}

static bool all_were_cut(struct scenario *scenario)
{
    return atomic_load(&scenario->closed) == scenario_connections(scenario);
}

void scenario_flush_timeout(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0},  {PEER_REQUEST, 512 * KIB, 0}, {PEER_GATE, 1, 0},
        {PEER_READ_ALL, 0, 0}, {PEER_CLOSE, 0, 0},           {PEER_DONE, 0, 0},
    };
    const struct plan plan = {.connections = 200,
                              .steps = steps,
                              .send_buffer = SMALL_BUFFER,
                              .receive_buffer = SMALL_BUFFER,
                              .limits = {.flush_ms = FLUSH_MS},
                              .hooks = {.on_request = reply}};

    if (scenario_open(scenario, &plan) && scenario_start_peers(scenario)) {
        scenario_wait(scenario, all_were_cut, "connections to be cut");
        atomic_store(&scenario->peers.gate, 1);
        scenario_wait_peers(scenario);
        scenario_stop(scenario, 1000);
    }
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_FLUSH_TIMEOUT,
                                                 .clean = NO,
                                                 .all_arrive = NO,
                                                 .peer_end = PEER_BROKEN});
}

void scenario_slow_steady(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0},
        {PEER_REQUEST, 640 * KIB, 0},
        {PEER_READ_SLOWLY, 16 * KIB, 35},
        {PEER_CLOSE, 0, 0},
        {PEER_DONE, 0, 0},
    };

    scenario_play(scenario, &(struct plan){.connections = 200,
                                           .steps = steps,
                                           .send_buffer = SMALL_BUFFER,
                                           .receive_buffer = SMALL_BUFFER,
                                           .limits = {.flush_ms = FLUSH_MS},
                                           .hooks = {.on_request = reply_and_close}});
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_LOCAL_CLOSE,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
    for (unsigned i = 0; i < atomic_load(&scenario->subjects_used); i++) {
        const struct subject *subject = &scenario->subjects[i];
        if (subject->closed_ms - subject->opened_ms < (uint64_t)2 * FLUSH_MS) {
            scenario_fault(scenario, "a reader was not slow: the scenario tried nothing");
        }
    }
}

static bool is_odd(const struct subject *subject)
{
    return subject->key % 2 == 1;
}

static bool is_even(const struct subject *subject)
{
    return subject->key % 2 == 0;
}

static const struct peer_step *idle_steps(uint32_t key)
{
    static const struct peer_step silent[] = {
        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 0, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},   {PEER_DONE, 0, 0},
    };
    static const struct peer_step talking[] = {
        {PEER_CONNECT, 0, 0},  {PEER_REQUEST, 0, 0},  {PEER_SEND_SLOWLY, 20, IDLE_MS / 8},
        {PEER_SHUTDOWN, 0, 0}, {PEER_READ_ALL, 0, 0}, {PEER_CLOSE, 0, 0},
        {PEER_DONE, 0, 0},
    };

    return key % 2 == 1 ? talking : silent;
}

void scenario_idle_timeout(struct scenario *scenario)
{
    scenario_play(scenario, &(struct plan){.connections = 400,
                                           .steps_for = idle_steps,
                                           .limits = {.idle_ms = IDLE_MS}});
    scenario_expect(scenario, &(struct expected){.only = is_even,
                                                 .cause = PEAL_CAUSE_IDLE_TIMEOUT,
                                                 .clean = YES, /* nothing was under way */
                                                 .peer_end = PEER_EOF});
    scenario_expect(scenario, &(struct expected){.only = is_odd,
                                                 .cause = PEAL_CAUSE_PEER_CLOSED,
                                                 .clean = YES,
                                                 .all_received = YES,
                                                 .peer_end = PEER_EOF});
}

/* Small pieces in one callback gather until it returns, so the kernel has no say in how much is
 * pending when the cap is met. */
static void overflow(struct subject *subject)
{
    static const struct peal_conn_limits refusing = {.output_bytes_max = CAP_BYTES,
                                                     .output_cap_refuses = true};
    bool refuses = is_odd(subject);

    if (refuses && peal_conn_set_limits(subject->conn, &refusing) < 0) {
        scenario_fault(subject->scenario, "set_limits has no memory");
    }
    uint64_t accepted = subject_send_by(subject, subject->wanted, PIECE_BYTES);
    if (accepted > CAP_BYTES || accepted + PIECE_BYTES < CAP_BYTES) {
        scenario_fault(subject->scenario, "%llu bytes were accepted under a cap of %d",
                       (unsigned long long)accepted, CAP_BYTES);
    }
    if (atomic_load(&subject->last_error) != -ENOBUFS) {
        scenario_fault(subject->scenario, "send over the cap is not answered with ENOBUFS");
    }
    if (refuses) {
        peal_conn_close(subject->conn);
    }
}

void scenario_output_cap(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 1 * MIB, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},   {PEER_DONE, 0, 0},
    };

    scenario_play(scenario, &(struct plan){.connections = 300,
                                           .steps = steps,
                                           .limits = {.output_bytes_max = CAP_BYTES},
                                           .hooks = {.on_request = overflow}});
    scenario_expect(scenario, &(struct expected){.only = is_even,
                                                 .cause = PEAL_CAUSE_OUTPUT_CAP,
                                                 .clean = NO,
                                                 .peer_end = PEER_BROKEN});
    scenario_expect(scenario, &(struct expected){.only = is_odd,
                                                 .cause = PEAL_CAUSE_LOCAL_CLOSE,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}
