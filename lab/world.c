/* SPDX-License-Identifier: BSD-2-Clause */
/* A world: a home loop on a thread of its own, perhaps a pool, servers, clients; how it comes to
 * be, and how it ends.
 *
 * The scenario's first thread directs: it makes the parts (each on the thread that the library
 * asks for), lets time pass, and ends them. Making may fail at any point, for the run's faults may
 * strike there as everywhere; the world then lives with what there is.
 *
 * The end has two ways. The polite one: the world is calm, each server is stopped with a deadline
 * and has to tell of it within that time (G7, in virtual time); what clients have is closed; then
 * the loops end. The rude one ends the loops, home first or pool first, with everything on them.
 * After either, on_stopped has come for each server, exactly once, and lab_end compares what both
 * ends of each stream have seen.
 *
 * All threads of a run take turns, and change places only within calls of the library or of
 * peal_sim_…; so the lab's own data needs no locks, as long as it is whole at each such call. */
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    SLACK_MS = 1000
}; /* beyond a deadline: timers are late by up to a tick, threads by a turn */

struct world world;
struct world_style world_style;
struct world_hooks world_hooks;

/* ---- callbacks of connections: the oracle first, then what the run draws */

static void acts(unsigned max, struct lab_conn *lab, struct peal_conn *conn, const char *label,
                 void (*hook)(struct lab_conn *lab, struct peal_conn *conn))
{
    if (hook) {
        hook(lab, conn);
        return;
    }
    peal_sim_begin_step(label);
    for (uint64_t left = peal_sim_below(max + 1); left > 0; left--) {
        act_in_callback(lab, conn);
    }
    peal_sim_end_step();
}

static void remember(struct lab_conn *lab)
{
    world.recent[world.recent_next++ % RECENT_MAX] = lab;
}

static void opened(struct peal_conn *conn, struct lab_server *server, bool is_unix,
                   const struct peal_conn_limits *limits)
{
    struct lab_conn *lab = lab_opened(conn, server, !is_unix);
    lab_limits(lab, limits);
    peal_conn_set_user(conn, lab);
    remember(lab);
    acts(world_style.acts_on_open, lab, conn, "on_open", world_hooks.opened);
}

static void server_open(struct peal_conn *conn, void *user)
{
    struct world_server *server = user;
    opened(conn, &server->lab, server->is_unix, &server->limits);
}

static void client_open(struct peal_conn *conn, void *user)
{
    struct world_client *client = user;
    struct peal_addr peer;
    char text[PEAL_ADDR_TEXT_MAX];
    peal_conn_peer(conn, &peer);
    for (unsigned i = 0; peal_addr_format(&peer, text, sizeof text) >= 0 && i < SERVERS_MAX; i++) {
        if (strcmp(world.servers[i].address, text) == 0) {
            lab_both_ends_are_peals();
        }
    }
    PEAL_SIM_CHECK(!client->is_cancelled);
    opened(conn, NULL, client->is_unix, &client->limits);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct lab_conn *lab = user;
    size_t size = peal_buf_size(input);
    lab_data(lab, conn);
    /* Seldom only a part is consumed: the rest must be shown again. */
    size_t part = peal_sim_chance(10) ? (size_t)peal_sim_below(size + 1) : size;
    lab_read(&lab->in, peal_buf_data(input), part);
    peal_buf_consume(input, part);
    lab->shown += part;
    acts(world_style.acts_on_data, lab, conn, "on_data", world_hooks.data);
    PEAL_SIM_CHECK(peal_buf_size(input) == size - part); /* whatever they were */
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct lab_conn *lab = user;
    size_t size = peal_buf_size(input);
    lab_eof(lab, conn);
    lab_read(&lab->in, peal_buf_data(input), size);
    peal_buf_consume(input, size);
    lab->shown += size;
    lab_read_end(&lab->in);
    acts(world_style.acts_on_eof, lab, conn, "on_eof", world_hooks.eof);
    if (!world_hooks.eof &&
        !peal_sim_chance(20)) { /* else a time limit, or the stop, has to end it */
        lab_ends(lab, LAB_CLOSE);
        LAB_DO(peal_conn_close(conn));
    }
}

static void on_drain(struct peal_conn *conn, void *user)
{
    lab_drained(user, conn);
    acts(world_style.acts_on_drain, user, conn, "on_drain", world_hooks.drained);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    acts(world_style.acts_on_close, user, conn, "on_close", world_hooks.closed);
    lab_closed(user, conn, record);
}

const struct peal_conn_ops world_server_ops = {server_open, on_data, on_eof, on_drain, on_close};
const struct peal_conn_ops world_client_ops = {client_open, on_data, on_eof, on_drain, on_close};

/* ---- loops */

static void run_home(void *user)
{
    (void)user;
    if (peal_loop_new(&(struct peal_loop_options){.name = "home"}, &world.home) < 0) {
        world.home = NULL;
        world.home_failed = true;
        return;
    }
    peal_loop_ref(world.home); /* the director's */
    struct peal_loop *loop = world.home;
    world.home_is_ready = true;
    int result = peal_loop_run(loop);
    if (result < 0) {
        peal_sim_note("home's run ended with %d", result);
    }
    peal_loop_free(loop);
}

void world_begin(unsigned pool_threads)
{
    memset(&world, 0, sizeof world);
    memset(&world_hooks, 0, sizeof world_hooks);
    memset(&world_style, 0, sizeof world_style);
    lab_begin();
    world.home_thread = peal_sim_thread_start("home", run_home, NULL);
    while (!world.home_is_ready && !world.home_failed) {
        peal_sim_sleep_ms(1);
    }
    if (world.home && pool_threads > 0) {
        const struct peal_pool_options options = {.threads = pool_threads, .name = "pool"};
        if (peal_pool_new(&options, &world.pool) < 0) {
            world.pool = NULL;
        }
    }
    if (world.home) {
        world.loops[world.loops_count++] = world.home; /* its reference was taken on its thread */
    }
    for (unsigned i = 0; world.pool && i < pool_threads; i++) {
        world.loops[world.loops_count++] = peal_loop_ref(peal_pool_loop(world.pool, i));
    }
}

struct errand {
    void (*fn)(void *user);
    void *user;
    bool is_over;
};

static void do_errand(void *user)
{
    struct errand *errand = user;
    errand->fn(errand->user);
    errand->is_over = true;
}

static void drop_errand(void *user)
{
    ((struct errand *)user)->is_over = true;
}

void world_in_home(void (*fn)(void *user), void *user)
{
    struct errand errand = {fn, user, false};
    int result = -ENOMEM;
    for (unsigned tries = 0; world.home && result == -ENOMEM && tries < 20; tries++) {
        result = peal_loop_post_or_drop(world.home, do_errand, drop_errand, &errand);
    }
    while (result == 0 && !errand.is_over) {
        peal_sim_sleep_ms(1);
    }
}

/* ---- servers and clients */

void world_limits(struct peal_conn_limits *ret_limits)
{
    static const uint32_t times_ms[] = {0, 1000, 50, PEAL_NEVER};
    static const size_t highs[] = {0, 1000, 20000, 1};
    static const size_t caps[] = {0, 100000, 30000, PEAL_UNLIMITED};
    struct peal_conn_limits limits = {0};
    peal_sim_begin_step("limits");
    limits.idle_ms = peal_sim_chance(20) ? (uint32_t)peal_sim_below(3000) + 1 : 0;
    limits.flush_ms = times_ms[peal_sim_below(4)];
    limits.half_close_ms = times_ms[peal_sim_below(3)];
    limits.linger_ms = times_ms[peal_sim_below(3)];
    limits.linger_bytes_max = peal_sim_chance(10) ? (size_t)peal_sim_below(5000) + 1 : 0;
    limits.output_high_bytes = highs[peal_sim_below(4)];
    limits.output_bytes_max = caps[peal_sim_below(4)];
    limits.input_bytes_max = peal_sim_chance(10) ? 20000 : 0;
    limits.output_cap_refuses = peal_sim_chance(50);
    limits.pause_reading_at_high = peal_sim_chance(30);
    peal_sim_end_step();
    *ret_limits = limits;
}

static void on_stopped(struct peal_server *peal_server, const struct peal_drain_report *report,
                       void *user)
{
    struct world_server *server = user;
    PEAL_SIM_CHECK(peal_server == server->lab.server);
    lab_stopped(&server->lab, report);
    uint64_t since_ms = server->stop_by_ms > world.calm_ms ? server->stop_by_ms : world.calm_ms;
    if (server->stop_by_ms && world.calm_ms && peal_sim_now_ms() > since_ms + SLACK_MS) {
        peal_sim_fail("G7: a stop took until %llu ms, its deadline was at %llu ms",
                      (unsigned long long)peal_sim_now_ms(), (unsigned long long)since_ms);
    }
}

struct making {
    struct world_server *server;
    const struct peal_server_options *options;
    const char *address;
    bool worked;
};

static void make_server(void *user)
{
    struct making *making = user;
    struct world_server *server = making->server;
    struct peal_addr bound;
    if (peal_server_new(world.home, making->options, &server->server) < 0) {
        server->server = NULL;
        return;
    }
    server->lab.server = server->server;
    making->worked = true;
    if (peal_server_listen(server->server, making->address, NULL) == 0 &&
        peal_server_address(server->server, 0, &bound) == 0) {
        peal_addr_format(&bound, server->address, sizeof server->address);
    }
}

bool world_add_server(const struct peal_server_options *options, const char *address)
{
    struct world_server *server = &world.servers[world.servers_count];
    struct peal_server_options whole = *options;
    whole.ops = &world_server_ops;
    whole.user = server;
    whole.on_stopped = on_stopped;
    server->is_unix = strncmp(address, "unix:", 5) == 0;
    server->limits = options->limits;
    server->lab.conns_max = options->conns_max;
    server->lab.conns_per_addr_max = options->conns_per_addr_max;
    struct making making = {server, &whole, address, false};
    world_in_home(make_server, &making);
    world.servers_count += making.worked ? 1 : 0;
    return making.worked;
}

void world_stop_server(struct world_server *server, uint32_t deadline_ms)
{
    uint64_t by_ms = peal_sim_now_ms() + deadline_ms;
    if (server->stop_by_ms == 0 || by_ms < server->stop_by_ms) {
        server->stop_by_ms = by_ms;
    }
    LAB_DO(peal_server_stop(server->server, deadline_ms));
}

static void on_fail(struct peal_client *peal_client, const struct peal_connect_failure *failure,
                    void *user)
{
    struct world_client *client = user;
    lab_check_top_level("on_fail");
    PEAL_SIM_CHECK(peal_loop_is_mine(world.home));
    PEAL_SIM_CHECK(peal_client == client->client || !client->client);
    PEAL_SIM_CHECK(failure->error < 0 && failure->why[0] && failure->attempt > 0);
    if (client->attempts_max > 0 &&
        failure->will_retry != (failure->attempt < client->attempts_max)) {
        peal_sim_fail("a client of %u attempts says in the %u. that it will%s try again",
                      client->attempts_max, failure->attempt, failure->will_retry ? "" : " not");
    }
}

struct making_client {
    struct world_client *client;
    const struct peal_client_options *options;
    bool worked;
};

static void make_client(void *user)
{
    struct making_client *making = user;
    making->worked = peal_client_new(world.home, making->options, &making->client->client) == 0 &&
                     peal_client_connect(making->client->client) == 0;
}

bool world_add_client(const struct peal_client_options *options)
{
    struct world_client *client = &world.clients[world.clients_count];
    struct peal_client_options whole = *options;
    whole.ops = &world_client_ops;
    whole.on_fail = on_fail;
    whole.user = client;
    client->is_unix = strncmp(options->to, "unix:", 5) == 0;
    client->limits = options->limits;
    client->attempts_max = options->retry || options->reconnect ? options->attempts_max : 1;
    struct making_client making = {client, &whole, false};
    world_in_home(make_client, &making);
    world.clients_count += client->client ? 1 : 0;
    return making.worked;
}

/* ---- references that somebody keeps */

void world_hold(struct lab_conn *lab, struct peal_conn *conn)
{
    struct world_hold hold = {peal_conn_ref(conn), lab};
    for (unsigned i = 0; i < HELD_MAX; i++) {
        if (!world.held[i].conn) {
            world.held[i] = hold;
            return;
        }
    }
    peal_conn_unref(hold.conn);
}

void world_drop_holds(void)
{
    for (unsigned i = 0; i < HELD_MAX; i++) {
        struct peal_conn *conn = world.held[i].conn;
        world.held[i].conn = NULL;
        LAB_DO(peal_conn_unref(conn));
    }
}

/* ---- the end */

static void close_clients(void *user)
{
    (void)user;
    for (unsigned i = 0; i < world.clients_count; i++) {
        struct peal_client *client = world.clients[i].client;
        struct peal_conn *conn = peal_client_conn(client);
        client_cancel(&world.clients[i]);
        if (conn && peal_sim_chance(50)) {
            lab_ends(peal_conn_user(conn), LAB_ABORT);
            LAB_DO(peal_conn_abort(conn));
        } else if (conn) {
            lab_ends(peal_conn_user(conn), LAB_CLOSE);
            LAB_DO(peal_conn_close(conn));
        }
    }
}

static void stop_politely(void)
{
    for (unsigned i = 0; i < world.servers_count; i++) {
        world_stop_server(&world.servers[i], (uint32_t)peal_sim_below(2000));
    }
    world_in_home(close_clients, NULL);
    for (unsigned i = 0; i < world.servers_count; i++) {
        const struct world_server *server = &world.servers[i];
        uint64_t by_ms = server->stop_by_ms > world.calm_ms ? server->stop_by_ms : world.calm_ms;
        while (!server->lab.is_stopped) {
            peal_sim_sleep_ms(10);
            if (peal_sim_now_ms() > by_ms + 2 * (uint64_t)SLACK_MS) {
                peal_sim_fail("G7: a server that was to stop by %llu ms has not by %llu ms",
                              (unsigned long long)by_ms, (unsigned long long)peal_sim_now_ms());
            }
        }
    }
}

static void end_home(void)
{
    if (world.home) {
        peal_loop_quit(world.home);
    }
    peal_sim_thread_join(world.home_thread);
}

static void end_loops(bool pool_first)
{
    if (pool_first) {
        world.pool = peal_pool_free(world.pool);
    }
    end_home();
    world.pool = peal_pool_free(world.pool);
}

static void release_all(void)
{
    for (unsigned i = 0; i < world.servers_count; i++) {
        peal_server_unref(world.servers[i].server);
    }
    for (unsigned i = 0; i < world.clients_count; i++) {
        peal_client_unref(world.clients[i].client);
    }
}

void world_end(struct peal_sim_thread **threads, unsigned count)
{
    peal_sim_calm();
    world.calm_ms = peal_sim_now_ms();
    world.is_ending = true;
    for (unsigned i = 0; i < count && !world.is_rude; i++) {
        peal_sim_thread_join(threads[i]);
    }
    bool pool_first = peal_sim_chance(50);
    bool releases_first = !world.is_rude && peal_sim_chance(50); /* else users are at them still */
    if (!world.is_rude && world.home) {
        stop_politely();
    }
    if (releases_first) {
        release_all();
    }
    end_loops(pool_first);
    for (unsigned i = 0; i < count && world.is_rude; i++) {
        peal_sim_thread_join(threads[i]);
    }
    if (!releases_first) {
        for (unsigned i = 0; i < world.servers_count; i++) {
            PEAL_SIM_CHECK(peal_server_connections(world.servers[i].server) == 0);
        }
        release_all();
    }
    world_drop_holds();
    for (unsigned i = 0; i < world.servers_count; i++) {
        if (!world.servers[i].lab.is_stopped) {
            peal_sim_fail("G7: all loops have ended, and on_stopped has not come");
        }
    }
    PEAL_SIM_CHECK(world.tasks_left == 0);
    PEAL_SIM_CHECK(world.visits_left == 0);
    for (unsigned i = 0; i < world.loops_count; i++) {
        peal_loop_unref(world.loops[i]);
    }
    lab_end();
}
