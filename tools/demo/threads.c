/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios in which other threads than the loop's call.
 *
 * They reach connections by id, as a program would that keeps ids in tables of its own, and a part
 * of them through a reference taken from the id. A subject's lock keeps the order of sends, so that
 * the pattern's position is known whoever sends; nothing else is locked: closes and aborts come in
 * the middle of whatever there is.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "scenarios.h"

/* ---- close from another thread while data flows */

static void flow(struct subject *subject)
{
    if (subject_send(subject, 64 * KIB) > 0) {
        peal_conn_want_drain(subject->conn);
    }
}

static bool all_asked(struct scenario *scenario)
{
    return atomic_load(&scenario->requests) == scenario_connections(scenario);
}

static void *close_all(void *user)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct scenario *scenario = user;

    for (unsigned key = 0; key < scenario_connections(scenario); key++) {
        subject_close(atomic_load(&scenario->by_key[key]));
        nanosleep(&pause, NULL);
    }
    return NULL;
}

void scenario_close_elsewhere(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 0, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},   {PEER_DONE, 0, 0},
    };
    const struct plan plan = {.connections = 300,
                              .steps = steps,
                              .send_buffer = 256 * KIB,
                              .hooks = {.on_request = flow, .on_drain = flow}};
    pthread_t closer;

    if (scenario_open(scenario, &plan) && scenario_start_peers(scenario) &&
        scenario_wait(scenario, all_asked, "the peers' requests")) {
        if (pthread_create(&closer, NULL, close_all, scenario) != 0) {
            scenario_fault(scenario, "no thread for the demo itself");
            return;
        }
        scenario_wait_peers(scenario);
        scenario_wait_closed(scenario);
        pthread_join(closer, NULL);
        scenario_stop(scenario, 1000);
    }
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_LOCAL_CLOSE,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}

/* ---- random calls */

enum { CALLERS = 16, SEND_MAX = 16 * KIB, AT_ONCE = 200 };

struct caller {
    struct scenario *scenario;
    uint32_t random;
    pthread_t thread;
};

static uint32_t next_random(struct caller *caller)
{
    caller->random ^= caller->random << 13;
    caller->random ^= caller->random >> 17;
    caller->random ^= caller->random << 5;
    return caller->random;
}

/* A reference taken from an id, used and given back, while the connection may be closing. */
static void look_at(struct scenario *scenario, uint64_t id)
{
    struct peal_conn *conn;
    int error = peal_conn_find(id, &conn);

    if (error == 0) {
        if (peal_conn_id(conn) != id || peal_conn_state(conn) >= PEAL_CONN_STATE_COUNT) {
            scenario_fault(scenario, "an id leads to another connection");
        }
        peal_conn_unref(conn);
    } else if (error != -ESTALE) {
        scenario_fault(scenario, "find answers %d", error);
    }
}

static void call(struct caller *caller, struct subject *subject)
{
    uint32_t what = next_random(caller) % 100;

    if (what < 80) {
        subject_send(subject, 1 + next_random(caller) % SEND_MAX);
    } else if (what < 90) {
        look_at(caller->scenario, atomic_load(&subject->id));
    } else if (what < 93) {
        subject_shutdown(subject);
    } else if (what < 97) {
        subject_close(subject);
    } else {
        subject_abort(subject);
    }
}

/* The next connection from a random one on that is open; now and then one that has closed. NULL:
 * there is none. */
static struct subject *pick(struct caller *caller, unsigned count)
{
    bool any = next_random(caller) % 16 == 0;
    unsigned start = next_random(caller) % count;

    for (unsigned i = 0; i < count; i++) {
        struct subject *subject = atomic_load(&caller->scenario->by_key[(start + i) % count]);
        if (subject != NULL && (any || atomic_load(&subject->closed) == 0)) {
            return subject;
        }
    }
    return NULL;
}

static void *call_at_random(void *user)
{
    const struct timespec pause = {.tv_nsec = 20000};
    struct caller *caller = user;
    struct scenario *scenario = caller->scenario;
    unsigned count = scenario_connections(scenario);

    while (atomic_load(&scenario->peers.finished) < count && !atomic_load(&scenario->peers.stop)) {
        struct subject *subject = pick(caller, count);
        if (subject != NULL) {
            call(caller, subject);
        } else {
            nanosleep(&pause, NULL); /* leave the processors to those who have something to do */
        }
    }
    return NULL;
}

static bool was_closed(const struct subject *subject)
{
    return subject->record.cause == PEAL_CAUSE_LOCAL_CLOSE;
}

static void run_callers(struct scenario *scenario)
{
    struct caller callers[CALLERS];
    int started = 0;

    for (; started < CALLERS; started++) {
        struct caller *caller = &callers[started];
        *caller = (struct caller){.scenario = scenario, .random = 2463534242u + (unsigned)started};
        if (pthread_create(&caller->thread, NULL, call_at_random, caller) != 0) {
            scenario_fault(scenario, "no thread for the demo itself");
            break;
        }
    }
    if (!scenario_wait_peers(scenario)) {
        atomic_store(&scenario->peers.stop, true);
    }
    for (int i = 0; i < started; i++) {
        pthread_join(callers[i].thread, NULL);
    }
}

void scenario_random_calls(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 0, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},   {PEER_DONE, 0, 0},
    };
    const struct plan plan = {.connections = 3000, .at_once_max = AT_ONCE, .steps = steps};

    if (scenario_open(scenario, &plan) && scenario_start_peers(scenario)) {
        run_callers(scenario);
        scenario_wait_closed(scenario);
        scenario_stop(scenario, 1000);
    }
    scenario_expect(scenario,
                    &(struct expected){
                        .only = was_closed, .clean = YES, .all_arrive = YES, .peer_end = PEER_EOF});
}
