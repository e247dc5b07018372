/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios about connections that never open: refused, unanswered, cancelled.
 *
 * The usual lies are a failed connect that is reported as a success, one that
 * is reported twice, and one that is never reported. So on_open must not be
 * called, on_fail must be called just once with the errno of what happened, and
 * not at all once the client has been cancelled or released.
 *
 * What nobody answers is made here: a listener whose queue of one is full.
 * Linux drops further connects on the floor, so they wait for an answer that
 * does not come. The clients live on the loops of the pool; they are made,
 * counted and released there.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <peal/error.h>

#include "scenarios.h"

enum { TIMEOUT_MS = 300, BLOCKERS = 4 };

/* One client and what it was told. Its loop's thread; the counters from any. */
struct attempt {
    struct scenario *scenario;
    struct peal_loop *loop;
    struct peal_client *client;
    struct peal_client_options options;
    int error;
    uint64_t began_ms, failed_ms;
    _Atomic unsigned begun, fails, over;
};

struct attempts {
    struct attempt *items;
    unsigned count;
    struct peal_addr to;
};

/* The scenario's attempts, for the conditions that it waits on. One scenario
 * runs at a time. */
static struct attempts all;

static void on_fail(struct peal_client *client, const struct peal_connect_failure *failure,
                    void *user)
{
    struct attempt *attempt = user;

    if (failure->will_retry || failure->attempt != 1) {
        scenario_fault(attempt->scenario, "a client without retry says that it tries again");
    }
    if (client != attempt->client) {
        scenario_fault(attempt->scenario, "on_fail came for a client that was released");
    }
    if (!peal_loop_is_mine(attempt->loop)) {
        scenario_fault(attempt->scenario, "on_fail ran off its loop's thread");
    }
    attempt->error = failure->error;
    attempt->failed_ms = peer_now_ms();
    atomic_fetch_add(&attempt->fails, 1);
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct attempt *attempt = user;

    scenario_fault(attempt->scenario, "a connect that cannot succeed was reported as a success");
    peal_conn_abort(conn);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct attempt *attempt = user;

    (void)conn;
    (void)record;
    scenario_fault(attempt->scenario, "on_close was called for what never opened");
}

static void begin(void *user)
{
    struct attempt *attempt = user;

    attempt->began_ms = peer_now_ms();
    int error = peal_client_new(attempt->loop, &attempt->options, &attempt->client);
    if (error == 0) {
        error = peal_client_connect(attempt->client);
    }
    if (error < 0) {
        scenario_fault(attempt->scenario, "client: %s", peal_strerror(error));
    }
    atomic_store(&attempt->begun, 1);
}

static void end(void *user)
{
    struct attempt *attempt = user;

    attempt->client = peal_client_unref(attempt->client);
    atomic_store(&attempt->over, 1);
}

static bool post(struct attempt *attempt, peal_task_fn fn)
{
    int error = peal_loop_post(attempt->loop, fn, attempt);

    if (error < 0) {
        scenario_fault(attempt->scenario, "post: %s", peal_strerror(error));
    }
    return error == 0;
}

static bool all_begun(struct scenario *scenario)
{
    (void)scenario;
    for (unsigned i = 0; i < all.count; i++) {
        if (atomic_load(&all.items[i].begun) == 0) {
            return false;
        }
    }
    return true;
}

static bool all_failed(struct scenario *scenario)
{
    (void)scenario;
    for (unsigned i = 0; i < all.count; i++) {
        if (atomic_load(&all.items[i].fails) == 0) {
            return false;
        }
    }
    return true;
}

static bool all_over(struct scenario *scenario)
{
    (void)scenario;
    for (unsigned i = 0; i < all.count; i++) {
        if (atomic_load(&all.items[i].over) == 0) {
            return false;
        }
    }
    return true;
}

static int64_t fds_before; /* the first client */

/* Loops, and a client on one of them for each connection that the plan says,
 * connecting. */
static bool begin_all(struct scenario *scenario, unsigned connections, uint32_t connect_ms,
                      const struct sockaddr_storage *to, socklen_t to_size)
{
    static const struct peal_conn_ops ops = {.on_open = on_open, .on_close = on_close};

    all = (struct attempts){.count = 0};
    if (!scenario_open_loops(scenario, &(struct plan){.connections = connections}) ||
        peal_addr_from_sockaddr((const struct sockaddr *)to, to_size, &all.to) < 0) {
        return false;
    }
    all.items = calloc(scenario_connections(scenario), sizeof(*all.items));
    if (all.items == NULL) {
        scenario_fault(scenario, "no memory for the demo itself");
        return false;
    }
    all.count = scenario_connections(scenario);
    fds_before = scenario_count_fds();
    for (unsigned i = 0; i < all.count; i++) {
        struct attempt *attempt = &all.items[i];
        attempt->scenario = scenario;
        attempt->loop = peal_pool_next(scenario->pool);
        attempt->options = (struct peal_client_options){
            .addrs = &all.to,
            .addr_count = 1,
            .ops = &ops,
            .user = attempt,
            .connect_ms = connect_ms,
            .on_fail = on_fail,
        };
        if (!post(attempt, begin)) {
            return false;
        }
    }
    return scenario_wait(scenario, all_begun, "the clients to begin");
}

static void end_all(struct scenario *scenario)
{
    for (unsigned i = 0; i < all.count; i++) {
        post(&all.items[i], end);
    }
    scenario_wait(scenario, all_over, "the clients to be released");
    free(all.items);
    all = (struct attempts){.count = 0};
}

static void expect_failures(struct scenario *scenario, int error)
{
    uint64_t as_expected = 0;

    for (unsigned i = 0; i < all.count; i++) {
        const struct attempt *attempt = &all.items[i];
        scenario_expect_count(scenario, "calls of on_fail", atomic_load(&attempt->fails), 1);
        if (attempt->error == error) {
            as_expected++;
        } else {
            scenario_fault(scenario, "failed with %s instead of %s",
                           peal_error_name(attempt->error), peal_error_name(error));
        }
    }
    scenario_add_cause(scenario, strerror(-error), as_expected);
}

void scenario_connect_refused(struct scenario *scenario)
{
    struct sockaddr_storage address;
    socklen_t size;
    int fd = peer_listen(1, &address, &size);

    if (fd < 0) {
        scenario_fault(scenario, "listening for the demo itself: %s", strerror(-fd));
        return;
    }
    close(fd); /* from here on nobody listens on that port */
    if (begin_all(scenario, 500, 5000, &address, size)) {
        scenario_wait(scenario, all_failed, "the clients to be refused");
        scenario_turn_for(scenario, 50); /* a second on_fail would come now */
        expect_failures(scenario, -ECONNREFUSED);
    }
    end_all(scenario);
}

/* ---- what nobody answers */

struct hole {
    int listener;
    int blockers[BLOCKERS];
    struct sockaddr_storage address;
    socklen_t size;
};

static void close_hole(struct hole *hole)
{
    for (int i = 0; i < BLOCKERS; i++) {
        if (hole->blockers[i] >= 0) {
            close(hole->blockers[i]);
        }
    }
    if (hole->listener >= 0) {
        close(hole->listener);
    }
}

/* Connects until one is not answered: from then on nobody is. */
static bool open_hole(struct scenario *scenario, struct hole *hole)
{
    bool full = false;

    memset(hole, 0xff, sizeof(*hole)); /* all fds are -1 */
    hole->listener = peer_listen(0, &hole->address, &hole->size);
    for (int i = 0; i < BLOCKERS && hole->listener >= 0 && !full; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        hole->blockers[i] = fd;
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        full = fd >= 0 && connect(fd, (const struct sockaddr *)&hole->address, hole->size) < 0 &&
               errno == EINPROGRESS && poll(&wait, 1, 100) == 0;
    }
    if (!full) {
        scenario_fault(scenario, "cannot make an address that does not answer");
        close_hole(hole);
    }
    return full;
}

void scenario_connect_timeout(struct scenario *scenario)
{
    struct hole hole;

    if (!open_hole(scenario, &hole)) {
        return;
    }
    if (begin_all(scenario, 400, TIMEOUT_MS, &hole.address, hole.size)) {
        scenario_wait(scenario, all_failed, "the clients to run out of time");
        scenario_turn_for(scenario, 50);
        expect_failures(scenario, -ETIMEDOUT);
        for (unsigned i = 0; i < all.count; i++) {
            if (all.items[i].failed_ms < all.items[i].began_ms + TIMEOUT_MS * 3 / 4) {
                scenario_fault(scenario, "a client gave up too early");
            }
        }
    }
    end_all(scenario);
    close_hole(&hole);
}

/* ---- cancelled */

static bool all_connecting(struct scenario *scenario)
{
    (void)scenario;
    return scenario_count_fds() == fds_before + (int64_t)all.count;
}

static bool fds_are_back(struct scenario *scenario)
{
    (void)scenario;
    return scenario_count_fds() == fds_before;
}

/* From the main thread, which is none of the clients' own: every second one is
 * cancelled, the others are released. */
static void cancel_all(struct scenario *scenario)
{
    for (unsigned i = 0; i < all.count; i++) {
        struct attempt *attempt = &all.items[i];
        if (i % 2 == 0) {
            peal_client_cancel(attempt->client);
        } else {
            attempt->client = peal_client_unref(attempt->client);
        }
    }
    scenario_wait(scenario, fds_are_back, "the sockets of cancelled clients to be closed");
    scenario_turn_for(scenario, TIMEOUT_MS); /* what was forgotten would time out now */
    for (unsigned i = 0; i < all.count; i++) {
        scenario_expect_count(scenario, "calls of on_fail after cancel",
                              atomic_load(&all.items[i].fails), 0);
    }
    scenario_add_cause(scenario, "cancelled", (all.count + 1) / 2);
    scenario_add_cause(scenario, "released", all.count / 2);
}

void scenario_connect_cancelled(struct scenario *scenario)
{
    struct hole hole;

    if (!open_hole(scenario, &hole)) {
        return;
    }
    if (begin_all(scenario, 400, TIMEOUT_MS * 10, &hole.address, hole.size)) {
        scenario_wait(scenario, all_connecting, "the clients' sockets");
        cancel_all(scenario);
    }
    end_all(scenario);
    close_hole(&hole);
}
