/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios about servers: another kind of socket, no fds left, and the end of the server itself.
 *
 * The storm of EMFILE is made with the process's own limit: the peers make their sockets first,
 * then the limit is lowered so that the server can accept a part of them, and the rest waits in the
 * kernel's queue. A server that spins on the ready listener shows in the turns that the home loop
 * takes, which this side counts. When the limit is raised again, everybody must be served.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "scenarios.h"

static void reply(struct subject *subject)
{
    subject_send(subject, subject->wanted);
}

static bool is_odd(const struct subject *subject)
{
    return subject->key % 2 == 1;
}

static bool is_even(const struct subject *subject)
{
    return subject->key % 2 == 0;
}

static bool all_asked(struct scenario *scenario)
{
    return atomic_load(&scenario->requests) == scenario_connections(scenario);
}

/* ---- unix sockets */

static void reply_and_close_odd(struct subject *subject)
{
    reply(subject);
    if (is_odd(subject)) {
        peal_conn_close(subject->conn);
    }
}

static const struct peer_step *unix_steps(uint32_t key)
{
    static const struct peer_step first[] = {
        {PEER_CONNECT, 0, 0},     {PEER_REQUEST, 256 * KIB, 0},
        {PEER_SEND, 16 * KIB, 0}, {PEER_READ, 256 * KIB, 0},
        {PEER_SHUTDOWN, 0, 0},    {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},       {PEER_DONE, 0, 0},
    };
    static const struct peer_step second[] = {
        {PEER_CONNECT, 0, 0},  {PEER_REQUEST, 256 * KIB, 0},
        {PEER_READ_ALL, 0, 0}, {PEER_CLOSE, 0, 0},
        {PEER_DONE, 0, 0},
    };

    return key % 2 == 1 ? second : first;
}

/* A socket file at which nobody listens, as a server leaves it that was killed. */
static void leave_stale(struct scenario *scenario, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        scenario_fault(scenario, "%s: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

void scenario_unix_sockets(struct scenario *scenario)
{
    char address[64];

    snprintf(address, sizeof(address), "unix:/tmp/peal-demo-%ld.sock", (long)getpid());
    leave_stale(scenario, address + strlen("unix:"));
    scenario_play(scenario, &(struct plan){.connections = 400,
                                           .address = address,
                                           .steps_for = unix_steps,
                                           .hooks = {.on_request = reply_and_close_odd}});
    unlink(address + strlen("unix:"));
    scenario_expect(scenario, &(struct expected){.only = is_even,
                                                 .cause = PEAL_CAUSE_PEER_CLOSED,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .all_received = YES,
                                                 .peer_end = PEER_EOF});
    scenario_expect(scenario, &(struct expected){.only = is_odd,
                                                 .cause = PEAL_CAUSE_LOCAL_CLOSE,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}

/* ---- no fds left */

enum { FDS_ALLOWED = 100, STORM_MS = 500, STORM_TURNS_MAX = 100, RETRY_MS = 100 };

static _Atomic unsigned pauses, resumes;

static void on_accept_pause(struct peal_server *server, int error, void *user)
{
    (void)server;
    if (error == 0) {
        atomic_fetch_add(&resumes, 1);
    } else if (error == -EMFILE) {
        atomic_fetch_add(&pauses, 1);
    } else {
        scenario_fault(user, "accepting pauses with error %d", error);
    }
}

static bool has_paused(struct scenario *scenario)
{
    (void)scenario;
    return atomic_load(&pauses) > 0;
}

/* Lets the process have so many fds more than now. */
static void allow_fds(struct scenario *scenario, int more, struct rlimit *ret_before)
{
    int next = dup(STDIN_FILENO);
    struct rlimit limit;

    if (next < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        scenario_fault(scenario, "limiting fds: %s", strerror(errno));
        return;
    }
    close(next);
    *ret_before = limit;
    limit.rlim_cur = (rlim_t)(next + more);
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void storm(struct scenario *scenario)
{
    struct rlimit before;

    getrlimit(RLIMIT_NOFILE, &before);
    allow_fds(scenario, FDS_ALLOWED, &before);
    atomic_store(&scenario->peers.gate, 1);
    scenario_wait(scenario, has_paused, "accepting to pause");
    unsigned turns = scenario_turn_for(scenario, STORM_MS);
    if (turns > STORM_TURNS_MAX) {
        scenario_fault(scenario, "the home loop turned %u times in %d ms without fds", turns,
                       STORM_MS);
    }
    uint64_t served = atomic_load(&scenario->requests);
    if (served > FDS_ALLOWED) {
        scenario_fault(scenario, "%llu connections were served with %d fds",
                       (unsigned long long)served, FDS_ALLOWED);
    }
    setrlimit(RLIMIT_NOFILE, &before);
    scenario_wait(scenario, all_asked, "everybody to be served after the storm");
    atomic_store(&scenario->peers.gate, 2);
}

void scenario_fd_storm(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_GATE, 1, 0},        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 16 * KIB, 0},
        {PEER_READ, 16 * KIB, 0}, {PEER_GATE, 2, 0},    {PEER_SHUTDOWN, 0, 0},
        {PEER_READ_ALL, 0, 0},    {PEER_CLOSE, 0, 0},   {PEER_DONE, 0, 0},
    };
    const struct plan plan = {.connections = 500,
                              .steps = steps,
                              .sockets_first = true,
                              .accept_retry_ms = RETRY_MS,
                              .on_accept_pause = on_accept_pause,
                              .hooks = {.on_request = reply}};

    atomic_store(&pauses, 0);
    atomic_store(&resumes, 0);
    if (scenario->scale * plan.connections < FDS_ALLOWED * 1.5) {
        scenario->scale = FDS_ALLOWED * 1.5 / plan.connections; /* fewer would not be a storm */
    }
    if (scenario_open(scenario, &plan) && scenario_start_peers(scenario)) {
        storm(scenario);
        scenario_wait_peers(scenario);
        scenario_wait_closed(scenario);
        scenario_stop(scenario, 1000);
        if (atomic_load(&resumes) == 0) {
            scenario_fault(scenario, "the program was not told that accepting goes on");
        }
    }
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_PEER_CLOSED,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}

/* ---- the server's end */

enum { DRAIN_MS = 2500, DRAIN_SLACK_MS = 3000, SMALL_BUFFER = 64 * KIB };

/* Of ten peers one is stuck, four read slowly, and five are idle. */
static bool is_stuck(const struct subject *subject)
{
    return subject->key % 10 == 0;
}

static bool is_not_stuck(const struct subject *subject)
{
    return subject->key % 10 != 0;
}

static const struct peer_step *stop_steps(uint32_t key)
{
    static const struct peer_step stuck[] = {
        {PEER_CONNECT, 0, 0},  {PEER_REQUEST, 512 * KIB, 0}, {PEER_GATE, 1, 0},
        {PEER_READ_ALL, 0, 0}, {PEER_CLOSE, 0, 0},           {PEER_DONE, 0, 0},
    };
    static const struct peer_step slow[] = {
        {PEER_CONNECT, 0, 0},
        {PEER_REQUEST, 256 * KIB, 0},
        {PEER_READ_SLOWLY, 16 * KIB, 20},
        {PEER_CLOSE, 0, 0},
        {PEER_DONE, 0, 0},
    };
    static const struct peer_step idle[] = {
        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 0, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},   {PEER_DONE, 0, 0},
    };

    if (key % 10 == 0) {
        return stuck;
    }
    return key % 10 < 5 ? slow : idle;
}

static void check_drain(struct scenario *scenario, uint64_t took_ms)
{
    const struct peal_drain_report *drain = &scenario->drain;
    uint64_t count = scenario_connections(scenario);
    uint64_t stuck = (count + 9) / 10;
    uint64_t unsent = 0;

    for (unsigned i = 0; i < atomic_load(&scenario->subjects_used); i++) {
        unsent += scenario->subjects[i].record.bytes_unsent;
    }
    scenario_expect_count(scenario, "connections in the drain report", drain->connections, count);
    scenario_expect_count(scenario, "cut off in the drain report", drain->cut_off, stuck);
    scenario_expect_count(scenario, "closed clean in the drain report", drain->closed_clean,
                          count - stuck);
    scenario_expect_count(scenario, "closed otherwise in the drain report", drain->closed_otherwise,
                          0);
    scenario_expect_count(scenario, "bytes unsent in the drain report", drain->bytes_unsent,
                          unsent);
    if (took_ms > DRAIN_MS + DRAIN_SLACK_MS) {
        scenario_fault(scenario, "stopping took %llu ms with a deadline of %d",
                       (unsigned long long)took_ms, DRAIN_MS);
    }
}

void scenario_stop_thousand(struct scenario *scenario)
{
    const struct plan plan = {.connections = 1000,
                              .steps_for = stop_steps,
                              .send_buffer = SMALL_BUFFER,
                              .receive_buffer = SMALL_BUFFER,
                              .hooks = {.on_request = reply}};

    if (scenario_open(scenario, &plan) && scenario_start_peers(scenario) &&
        scenario_wait(scenario, all_asked, "the peers' requests")) {
        uint64_t began_ms = peer_now_ms();
        peal_server_stop(scenario->server, DRAIN_MS * 10);
        scenario_stop(scenario, DRAIN_MS); /* the shorter deadline counts */
        check_drain(scenario, peer_now_ms() - began_ms);
        scenario_turn_for(scenario, 20);
        atomic_store(&scenario->peers.gate, 1);
        scenario_wait_peers(scenario);
    }
    scenario_expect(scenario, &(struct expected){.only = is_stuck,
                                                 .cause = PEAL_CAUSE_SERVER_STOP,
                                                 .clean = NO,
                                                 .all_arrive = NO,
                                                 .peer_end = PEER_BROKEN});
    scenario_expect(scenario, &(struct expected){.only = is_not_stuck,
                                                 .cause = PEAL_CAUSE_SERVER_STOP,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}

static _Atomic unsigned releases;

static void reply_and_release(struct subject *subject)
{
    struct scenario *scenario = subject->scenario;

    reply(subject);
    /* the last one, on whichever loop it is; or one of the last that ran side by side */
    if (all_asked(scenario) && atomic_fetch_add(&releases, 1) == 0) {
        scenario->server = peal_server_unref(scenario->server);
    }
}

static bool has_stopped(struct scenario *scenario)
{
    return scenario->stops > 0;
}

void scenario_release_inside(struct scenario *scenario)
{
    static const struct peer_step steps[] = {
        {PEER_CONNECT, 0, 0}, {PEER_REQUEST, 64 * KIB, 0}, {PEER_READ_ALL, 0, 0},
        {PEER_CLOSE, 0, 0},   {PEER_DONE, 0, 0},
    };
    const struct plan plan = {.connections = 300,
                              .steps = steps,
                              .drain_ms = 5000,
                              .hooks = {.on_request = reply_and_release}};

    atomic_store(&releases, 0);
    if (scenario_open(scenario, &plan)) {
        scenario->server_kept = peal_server_unref(scenario->server_kept);
        if (scenario_start_peers(scenario) && scenario_wait_peers(scenario)) {
            scenario_wait(scenario, has_stopped, "the released server to stop");
            scenario_turn_for(scenario, 20); /* a second on_stopped would come now */
            scenario_expect_count(scenario, "calls of on_stopped", scenario->stops, 1);
            scenario_expect_count(scenario, "cut off", scenario->drain.cut_off, 0);
        }
    }
    scenario_expect(scenario, &(struct expected){.cause = PEAL_CAUSE_SERVER_STOP,
                                                 .clean = YES,
                                                 .all_arrive = YES,
                                                 .peer_end = PEER_EOF});
}
