/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios: setting the stage, waiting, clearing it, and what is checked of every one.
 *
 * The main thread is the scenario's own and turns the home loop whenever it waits; a pool of loops
 * serves the connections; the peers have threads of their own. So a scenario reads from top to
 * bottom, although hundreds of connections are under way.
 *
 * Rules:
 *  1. Every wait has an end. When patience is over, the fault says what was waited for, and the
 *     scenario is taken down all the same. If even that hangs, the parent process finds in
 *     waits_for what it hung on.
 *  2. The books are closed last: threads joined, loops freed, all of the demo's own memory given
 *     back; only then are fds and memory compared with what they were before. So what is left is
 *     the library's.
 *  3. The counters that the server keeps are compared with what the callbacks saw; they prove
 *     nothing by themselves.
 */
#include "scenario.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <peal/error.h>
#include <peal/stats.h>

#include "ledger.h"

enum { POOL_THREADS = 3, TURN_MS = 5, STOP_MS = 5000, PATIENCE_MS = 20000 };

static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

void scenario_fault(struct scenario *scenario, const char *format, ...)
{
    struct scenario_result *result = scenario->result;
    va_list values;

    pthread_mutex_lock(&fault_lock);
    if (result->faults++ == 0) {
        va_start(values, format);
        vsnprintf(result->verdict, sizeof(result->verdict), format, values);
        va_end(values);
    }
    pthread_mutex_unlock(&fault_lock);
}

unsigned scenario_connections(const struct scenario *scenario)
{
    double count = (double)scenario->plan.connections * scenario->scale + 0.5;

    return count < 1 ? 1 : (unsigned)count;
}

/* ---- waiting */

static void waits_for(struct scenario *scenario, const char *what)
{
    snprintf(scenario->result->waits_for, sizeof(scenario->result->waits_for), "%s", what);
}

static void turn(struct scenario *scenario, int timeout_ms)
{
    subject_allow_callbacks(true);
    int result = peal_loop_turn(scenario->home, timeout_ms);
    subject_allow_callbacks(false);
    if (result < 0) {
        scenario_fault(scenario, "the home loop cannot turn: %s", peal_strerror(result));
    }
}

bool scenario_wait(struct scenario *scenario, bool (*done)(struct scenario *scenario),
                   const char *what)
{
    uint64_t end_ms = peer_now_ms() + scenario->patience_ms;
    bool in_time = true;

    if (scenario->home == NULL) {
        return false; /* it could not be set up, which was noted */
    }
    waits_for(scenario, what);
    while (!done(scenario) && (in_time = peer_now_ms() < end_ms)) {
        turn(scenario, TURN_MS);
    }
    waits_for(scenario, "");
    if (!in_time) {
        scenario_fault(scenario, "waited %u s in vain for %s", scenario->patience_ms / 1000, what);
    }
    return in_time;
}

unsigned scenario_turn_for(struct scenario *scenario, uint32_t time_ms)
{
    uint64_t end_ms = peer_now_ms() + time_ms;
    unsigned turns = 0;

    for (uint64_t now_ms; scenario->home != NULL && (now_ms = peer_now_ms()) < end_ms; turns++) {
        turn(scenario, (int)(end_ms - now_ms));
    }
    return turns;
}

/* ---- setting up */

static bool failed(struct scenario *scenario, const char *what, int error)
{
    if (error < 0) {
        scenario_fault(scenario, "%s: %s", what, peal_strerror(error));
    }
    return error < 0;
}

static void on_loop_start(struct peal_loop *loop, unsigned index, void *user)
{
    (void)loop;
    (void)index;
    (void)user;
    subject_allow_callbacks(true);
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    struct scenario *scenario = user;

    (void)server;
    if (!peal_loop_is_mine(scenario->home)) {
        scenario_fault(scenario, "on_stopped ran off the home loop's thread");
    }
    scenario->stops++;
    scenario->drain = *report;
}

static bool make_subjects(struct scenario *scenario)
{
    unsigned count = scenario_connections(scenario);

    scenario->subjects = calloc(count, sizeof(*scenario->subjects));
    scenario->by_key = calloc(count, sizeof(*scenario->by_key));
    if (scenario->subjects == NULL || scenario->by_key == NULL) {
        scenario_fault(scenario, "no memory for the demo itself");
        return false;
    }
    scenario->subjects_max = count;
    for (unsigned i = 0; i < count; i++) {
        pthread_mutex_init(&scenario->subjects[i].sending, NULL);
    }
    return true;
}

static bool open_server(struct scenario *scenario)
{
    const struct plan *plan = &scenario->plan;
    const struct peal_server_options options = {
        .ops = &scenario->ops,
        .user = scenario,
        .name = "demo",
        .pool = scenario->pool,
        .limits = plan->limits,
        .accept_retry_ms = plan->accept_retry_ms,
        .drain_ms = plan->drain_ms,
        .on_accept_pause = plan->on_accept_pause,
        .on_stopped = on_stopped,
    };
    const char *address = plan->address != NULL ? plan->address : "127.0.0.1:0";
    const char *why = NULL;
    struct peal_addr bound;

    if (failed(scenario, "server", peal_server_new(scenario->home, &options, &scenario->server))) {
        return false;
    }
    scenario->server_kept = peal_server_ref(scenario->server);
    int error = peal_server_listen(scenario->server, address, &why);
    if (error < 0) {
        scenario_fault(scenario, "cannot listen on %s: %s", address,
                       why != NULL ? why : peal_strerror(error));
        return false;
    }
    if (failed(scenario, "address", peal_server_address(scenario->server, 0, &bound))) {
        return false;
    }
    const struct sockaddr *socket = peal_addr_sockaddr(&bound, &scenario->peers.to_size);
    memcpy(&scenario->peers.to, socket, scenario->peers.to_size);
    return true;
}

bool scenario_open_loops(struct scenario *scenario, const struct plan *plan)
{
    const struct peal_pool_options pool = {.threads = POOL_THREADS, .on_start = on_loop_start};

    scenario->plan = *plan;
    scenario->result->connections = scenario_connections(scenario);
    subject_make_ops(&plan->hooks, &scenario->ops);
    return make_subjects(scenario) &&
           !failed(scenario, "loop", peal_loop_new(NULL, &scenario->home)) &&
           !failed(scenario, "pool", peal_pool_new(&pool, &scenario->pool));
}

bool scenario_open(struct scenario *scenario, const struct plan *plan)
{
    return scenario_open_loops(scenario, plan) && open_server(scenario);
}

bool scenario_start_peers(struct scenario *scenario)
{
    const struct plan *plan = &scenario->plan;
    struct peer_group *peers = &scenario->peers;

    if (scenario->server == NULL) {
        return false;
    }
    peers->steps = plan->steps;
    peers->steps_for = plan->steps_for;
    peers->count = scenario_connections(scenario);
    peers->at_once_max = plan->at_once_max;
    peers->receive_buffer = plan->receive_buffer;
    peers->sockets_first = plan->sockets_first;
    return !failed(scenario, "starting the peers", peer_group_start(peers));
}

/* ---- the usual way through */

static bool peers_done(struct scenario *scenario)
{
    return atomic_load(&scenario->peers.finished) == scenario->peers.count;
}

bool scenario_wait_peers(struct scenario *scenario)
{
    return scenario_wait(scenario, peers_done, "the peers to do their part");
}

static bool all_closed(struct scenario *scenario)
{
    return atomic_load(&scenario->closed) == atomic_load(&scenario->opened) &&
           (scenario->server_kept == NULL || peal_server_connections(scenario->server_kept) == 0);
}

bool scenario_wait_closed(struct scenario *scenario)
{
    return scenario_wait(scenario, all_closed, "every connection to close");
}

static bool is_stopped(struct scenario *scenario)
{
    return scenario->stops > 0;
}

bool scenario_stop(struct scenario *scenario, uint32_t deadline_ms)
{
    if (scenario->server_kept == NULL) {
        return false;
    }
    peal_server_stop(scenario->server_kept, deadline_ms);
    return scenario_wait(scenario, is_stopped, "the server to stop");
}

void scenario_play(struct scenario *scenario, const struct plan *plan)
{
    if (scenario_open(scenario, plan) && scenario_start_peers(scenario) &&
        scenario_wait_peers(scenario) && scenario_wait_closed(scenario)) {
        scenario_stop(scenario, STOP_MS);
    }
}

/* ---- before and after */

int64_t scenario_count_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int64_t count = 0;

    if (directory == NULL) {
        return -1;
    }
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

void scenario_begin(struct scenario *scenario, const char *name, double scale,
                    struct scenario_result *result)
{
    memset(scenario, 0, sizeof(*scenario));
    scenario->name = name;
    scenario->scale = scale;
    scenario->patience_ms = PATIENCE_MS;
    scenario->result = result;
    result->memory_measured = ledger_works();
    scenario->fds_before = scenario_count_fds();
    scenario->memory_before = ledger_bytes();
}

static void check_subjects(struct scenario *scenario)
{
    struct scenario_result *result = scenario->result;

    for (unsigned i = 0; i < scenario->subjects_max; i++) {
        struct subject *subject = &scenario->subjects[i];
        if (subject->magic == 0) {
            continue; /* no connection came to it */
        }
        subject_check(subject, subject->has_key && scenario->peers.peers != NULL
                                   ? &scenario->peers.peers[subject->key]
                                   : NULL);
        if (atomic_load(&subject->closed) > 0) {
            result->causes[subject->record.cause % PEAL_CAUSE_COUNT]++;
            result->bytes_accepted += subject->record.bytes_accepted;
            result->bytes_taken += subject->record.bytes_taken;
        }
    }
    for (unsigned i = 0; scenario->peers.peers != NULL && i < scenario->peers.count; i++) {
        result->bytes_arrived += scenario->peers.peers[i].arrived;
    }
    result->opened = atomic_load(&scenario->opened);
    result->closed = atomic_load(&scenario->closed);
}

static void check_counters(struct scenario *scenario)
{
    const struct scenario_result *result = scenario->result;
    struct peal_server_stats stats;

    peal_server_get_stats(scenario->server_kept, &stats);
    scenario_expect_count(scenario, "the server's counter of opened", stats.opened, result->opened);
    scenario_expect_count(scenario, "the server's counter of closed", stats.closed, result->closed);
    scenario_expect_count(scenario, "the server's counter of bytes accepted", stats.bytes_accepted,
                          result->bytes_accepted);
    scenario_expect_count(scenario, "the server's counter of bytes taken", stats.bytes_taken,
                          result->bytes_taken);
    for (int cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
        scenario_expect_count(scenario, peal_cause_text((enum peal_cause)cause),
                              stats.closed_by_cause[cause], result->causes[cause]);
    }
}

/* Threads and loops end here, so that what is read after is quiet. */
static void take_down(struct scenario *scenario)
{
    atomic_store(&scenario->peers.stop, true);
    peer_group_join(&scenario->peers);
    if (scenario->server_kept != NULL && scenario->stops == 0) {
        scenario_stop(scenario, 0);
    }
    waits_for(scenario, "the loops' threads to end");
    scenario->server = peal_server_unref(scenario->server);
    scenario->pool = peal_pool_free(scenario->pool);
    subject_allow_callbacks(true);
    scenario->home = peal_loop_free(scenario->home);
    subject_allow_callbacks(false);
    waits_for(scenario, "");
}

void scenario_end(struct scenario *scenario)
{
    struct scenario_result *result = scenario->result;

    take_down(scenario);
    check_subjects(scenario);
    if (scenario->server_kept != NULL) {
        scenario_expect_count(scenario, "calls of on_stopped", scenario->stops, 1);
        check_counters(scenario);
        scenario->server_kept = peal_server_unref(scenario->server_kept);
    }
    for (unsigned i = 0; i < scenario->subjects_max; i++) {
        pthread_mutex_destroy(&scenario->subjects[i].sending);
    }
    peer_group_free(&scenario->peers);
    free(scenario->subjects);
    free(scenario->by_key);

    result->fds_left = scenario_count_fds() - scenario->fds_before;
    result->memory_left = ledger_bytes() - scenario->memory_before;
    if (result->fds_left != 0) {
        scenario_fault(scenario, "%lld fds are left open", (long long)result->fds_left);
    }
    if (result->memory_measured && result->memory_left > ledger_slack_bytes()) {
        scenario_fault(scenario, "%lld bytes are left allocated", (long long)result->memory_left);
    }
    if (ledger_slack_bytes() == 0 && result->memory_left < 0) {
        scenario_fault(scenario, "more was freed than allocated");
    }
    result->complete = true;
}

/* ---- judging */

void scenario_expect_count(struct scenario *scenario, const char *what, uint64_t is,
                           uint64_t expected)
{
    if (is != expected) {
        scenario_fault(scenario, "%s: %llu instead of %llu", what, (unsigned long long)is,
                       (unsigned long long)expected);
    }
}

void scenario_add_cause(struct scenario *scenario, const char *text, uint64_t count)
{
    for (int i = 0; i < OTHER_CAUSES_MAX && count > 0; i++) {
        if (scenario->result->other_causes[i].count == 0) {
            snprintf(scenario->result->other_causes[i].text, OTHER_CAUSE_SIZE, "%s", text);
            scenario->result->other_causes[i].count = count;
            return;
        }
    }
}

static const char *end_text(const struct peer *peer)
{
    switch (peer->end) {
    case PEER_OPEN:
        return "no end";
    case PEER_EOF:
        return "an orderly end";
    case PEER_BROKEN:
        return "a reset";
    case PEER_REFUSED:
        return "no connection";
    case PEER_FAULT:
        return strerror(peer->error);
    }
    return "?";
}

static void expect_one(struct scenario *scenario, const struct expected *expected,
                       const struct subject *subject, const struct peer *peer)
{
    const struct peal_close_record *record = &subject->record;
    char text[PEAL_CLOSE_TEXT_MAX];

    if (expected->cause != PEAL_CAUSE_NONE && record->cause != expected->cause) {
        scenario_fault(scenario, "cause is not %s: %s", peal_cause_text(expected->cause),
                       peal_close_record_format(record, text, sizeof(text)));
    }
    if (expected->clean != ANY && record->clean != (expected->clean == YES)) {
        scenario_fault(scenario, "%s: %s", expected->clean == YES ? "not clean" : "clean",
                       peal_close_record_format(record, text, sizeof(text)));
    }
    if (expected->all_arrive == YES && peer->arrived != record->bytes_accepted) {
        scenario_fault(scenario, "of %llu bytes accepted %llu arrived",
                       (unsigned long long)record->bytes_accepted,
                       (unsigned long long)peer->arrived);
    }
    /* On a slow machine the end may come before the program has sent much: then little is unsent.
     */
    if (expected->all_arrive == NO && record->bytes_unsent == 0 &&
        peer->arrived == record->bytes_accepted) {
        scenario_fault(scenario, "nothing was lost");
    }
    if (expected->all_received == YES && subject->received != peer->sent) {
        scenario_fault(scenario, "of %llu bytes that the peer sent on_data showed %llu",
                       (unsigned long long)peer->sent, (unsigned long long)subject->received);
    }
    if (expected->peer_end != PEER_OPEN && peer->end != expected->peer_end) {
        const struct peer wanted = {.end = expected->peer_end};
        scenario_fault(scenario, "the peer saw %s instead of %s", end_text(peer),
                       end_text(&wanted));
    }
}

void scenario_expect(struct scenario *scenario, const struct expected *expected)
{
    if (scenario->by_key == NULL || scenario->peers.peers == NULL) {
        return; /* not set up, which was noted */
    }
    /* What the peers' threads wrote is read here: they are over, or nearly. */
    atomic_store(&scenario->peers.stop, true);
    peer_group_join(&scenario->peers);
    for (unsigned key = 0; key < scenario_connections(scenario); key++) {
        const struct subject *subject = atomic_load(&scenario->by_key[key]);
        if (subject == NULL) {
            scenario_fault(scenario, "connection %u was never served; its peer saw %s", key,
                           end_text(&scenario->peers.peers[key]));
        } else if (atomic_load(&subject->closed) > 0 &&
                   (expected->only == NULL || expected->only(subject))) {
            expect_one(scenario, expected, subject, &scenario->peers.peers[key]);
        }
    }
}
