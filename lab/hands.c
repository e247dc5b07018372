/* SPDX-License-Identifier: BSD-2-Clause */
/* Stories of several threads, and of parts that end while others still count on them: stops,
 * hand-overs, posts, references, resolving, connecting, timers, signals, files.
 *
 * As in ends.c, when things happen is drawn; what has to be true whenever they do, is checked. */
#include "lab.h"
#include "world.h"

#include <peal/signal.h>
#include <peal/timer.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { POSTERS = 3, POSTS = 40, TIMERS = 6 };

static const char address[] = "127.0.0.1:8000";

static struct peal_sim_thread *start(void (*fn)(void *user), const char *name, unsigned number)
{
    return peal_sim_thread_start(name, fn, (void *)(uintptr_t)number);
}

static void nap(uint64_t most_ms)
{
    peal_sim_sleep_ms(peal_sim_below(most_ms + 1));
}

/* ---- stop from several threads, while connections are accepted and handed over */

static void connector(void *user)
{
    unsigned number = (unsigned)(uintptr_t)user;
    for (uint64_t left = 1 + peal_sim_below(6); left > 0; left--) {
        struct lab_peer peer;
        if (lab_peer_connect(&world.servers[0], number, &peer)) {
            lab_peer_send(&peer, 100);
            lab_peer_end(&peer, peal_sim_chance(30));
        }
        nap(3);
    }
}

static void stopper(void *user)
{
    (void)user;
    nap(6);
    for (uint64_t left = 1 + peal_sim_below(3); left > 0; left--) {
        world_stop_server(&world.servers[0], (uint32_t)peal_sim_below(50));
        nap(2);
    }
}

void lab_stop_while_accepting(void)
{
    struct peal_sim_thread *threads[4];
    unsigned count = 0;
    world_begin((unsigned)peal_sim_below(POOL_MAX + 1));
    world_style.acts_on_open = (unsigned)peal_sim_below(2);
    struct peal_server_options options = {.pool = world.pool,
                                          .balance = (enum peal_balance)peal_sim_below(3)};
    if (world.home && world_add_server(&options, address)) {
        threads[count++] = start(connector, "peer", 0);
        threads[count++] = start(connector, "peer", 1);
        threads[count++] = start(stopper, "stopper", 0);
        threads[count++] = start(stopper, "stopper", 1);
    }
    nap(5);
    world.is_rude = peal_sim_chance(20);
    world_end(threads, count);
}

/* ---- posts: each is run or dropped, once, and those of one thread in their order */

struct poster {
    unsigned next; /* to run or drop */
    unsigned accepted, is_over;
    struct poster_task {
        struct poster *poster;
        unsigned number;
    } tasks[POSTS];
};
static struct poster posters[POSTERS];
static struct peal_loop *posted_to;

static void came(void *user)
{
    struct poster_task *task = user;
    struct poster *poster = task->poster;
    PEAL_SIM_CHECK(peal_loop_is_mine(posted_to));
    PEAL_SIM_CHECK(task->number == poster->next);
    poster->next++;
}

static void post_many(void *user)
{
    struct poster *poster = &posters[(uintptr_t)user];
    for (uint64_t left = peal_sim_below(POSTS); left > 0; left--) {
        struct poster_task *task = &poster->tasks[poster->accepted];
        *task = (struct poster_task){poster, poster->accepted};
        if (peal_loop_post_or_drop(posted_to, came, came, task) == 0) {
            poster->accepted++;
        }
        if (peal_sim_chance(20)) {
            nap(3);
        }
    }
}

void lab_posts(void)
{
    struct peal_sim_thread *threads[POSTERS];
    memset(posters, 0, sizeof posters);
    world_begin((unsigned)peal_sim_below(2));
    posted_to = world.home ? world.loops[world.loops_count - 1] : NULL;
    unsigned count = 0;
    for (unsigned i = 0; world.home && i < POSTERS; i++) {
        threads[count++] = start(post_many, "poster", i);
    }
    nap(20);
    world.is_rude = peal_sim_chance(60);
    world_end(threads, count);
    for (unsigned i = 0; i < POSTERS; i++) {
        PEAL_SIM_CHECK(posters[i].next == posters[i].accepted);
    }
}

/* ---- references and ids of one connection, used by all threads while it ends */

static void use_by_all_means(void *user)
{
    unsigned writer = WRITER_USER + (unsigned)(uintptr_t)user;
    for (uint64_t left = 5 + peal_sim_below(15); left > 0; left--) {
        act_as_user(writer);
        peal_sim_yield();
    }
}

static void hold_it(struct lab_conn *lab, struct peal_conn *conn)
{
    world_hold(lab, conn);
    world_hold(lab, conn);
}

void lab_references(void)
{
    struct peal_sim_thread *threads[USERS_MAX + 1];
    unsigned count = 0;
    world_begin(1);
    world_hooks.opened = world_hooks.data = hold_it;
    struct peal_server_options options = {.pool = world.pool};
    options.limits.output_bytes_max = peal_sim_chance(50) ? 5000 : 0;
    options.limits.output_cap_refuses = peal_sim_chance(80);
    if (world.home && world_add_server(&options, address)) {
        threads[count++] = start(connector, "peer", 0);
        nap(3);
        for (unsigned i = 0; i < USERS_MAX; i++) {
            threads[count++] = start(use_by_all_means, "user", i);
        }
    }
    nap(10);
    world.is_rude = peal_sim_chance(30);
    world_end(threads, count);
}

/* ---- a client is released, or its loop ends, while its name is being looked up */

void lab_resolver_pending(void)
{
    peal_sim_add_host("slow.lab", "127.0.0.1", peal_sim_below(50));
    world_begin(0);
    const struct peal_client_options options = {
        .to = peal_sim_chance(20) ? "nobody.lab:1" : "slow.lab:9000",
        .connect_ms = 1 + (uint32_t)peal_sim_below(60),
        .retry = peal_sim_chance(50),
        .retry_min_ms = 1 + (uint32_t)peal_sim_below(20),
    };
    for (unsigned i = 0; world.home && i < CLIENTS_MAX; i++) {
        world_add_client(&options);
    }
    nap(60);
    if (peal_sim_chance(50)) {
        for (unsigned i = 0; i < world.clients_count; i++) {
            client_cancel(&world.clients[i]);
            if (peal_sim_chance(50)) {
                client_connect(&world.clients[i]);
            }
        }
    }
    nap(60);
    world.is_rude = peal_sim_chance(50);
    world_end(NULL, 0);
}

/* ---- a connect is cancelled when it has just succeeded, or is about to */

static void cancel_here(void *user)
{
    (void)user;
    for (unsigned i = 0; i < world.clients_count; i++) {
        client_cancel(&world.clients[i]);
    }
}

static void cancel_them(void *user)
{
    (void)user;
    nap(2);
    if (peal_sim_chance(30)) {
        world_in_home(cancel_here, NULL);
        return;
    }
    for (unsigned i = 0; i < world.clients_count; i++) {
        client_cancel(&world.clients[i]);
        peal_sim_yield();
        if (peal_sim_chance(30)) {
            client_connect(&world.clients[i]);
        }
    }
}

void lab_connect_cancelled(void)
{
    struct peal_sim_thread *threads[2];
    unsigned count = 0;
    world_begin(0);
    world_style.acts_on_open = 1;
    if (world.home) {
        threads[count++] = start(peer_server, "peer", 0);
        nap(1);
        const struct peal_client_options options = {
            .to = peer_server_address[0][0] ? peer_server_address[0] : "127.0.0.1:9000",
            .reconnect = peal_sim_chance(50),
            .retry_min_ms = 1,
            .stagger_ms = 1,
        };
        for (unsigned i = 0; i < CLIENTS_MAX; i++) {
            world_add_client(&options);
        }
        threads[count++] = start(cancel_them, "canceller", 0);
    }
    nap(20);
    world.is_rude = peal_sim_chance(30);
    world_end(threads, count);
}

/* ---- timers that end, start and free each other in the very tick in which all are due */

struct story_timer {
    struct peal_timer timer;
    bool is_there, is_armed;
    uint64_t due_ms;
};
static struct story_timer *timers[TIMERS];
static unsigned fires_left;

static void arm(struct story_timer *timer)
{
    uint64_t delay_ms = peal_sim_below(4);
    LAB_DO(peal_timer_start(&timer->timer, delay_ms, 0));
    timer->is_armed = true;
    timer->due_ms = peal_sim_now_ms() + delay_ms;
}

static void timer_story(struct peal_timer *peal_timer, void *user)
{
    struct story_timer *own = user;
    lab_check_top_level("a timer");
    PEAL_SIM_CHECK(peal_timer == &own->timer && own->is_armed);
    PEAL_SIM_CHECK(peal_sim_now_ms() >= own->due_ms);
    own->is_armed = false;
    if (fires_left == 0) {
        return;
    }
    fires_left--;
    for (uint64_t left = peal_sim_below(4); left > 0; left--) {
        struct story_timer **place = &timers[peal_sim_below(TIMERS)];
        struct story_timer *other = *place;
        switch (peal_sim_below(3)) {
        case 0:
            arm(other);
            break;
        case 1:
            LAB_DO(peal_timer_cancel(&other->timer));
            other->is_armed = false;
            break;
        default: /* a new one in its place */
            LAB_DO(peal_timer_deinit(&other->timer));
            memset(other, 0xdd, sizeof *other);
            free(other);
            *place = calloc(1, sizeof **place);
            PEAL_SIM_CHECK(*place);
            LAB_DO(peal_timer_init(&(*place)->timer, world.home, timer_story, *place));
            break;
        }
        if (other == own && *place != own) {
            return;
        }
    }
}

static void make_timers(void *user)
{
    (void)user;
    for (unsigned i = 0; i < TIMERS; i++) {
        timers[i] = calloc(1, sizeof *timers[i]);
        PEAL_SIM_CHECK(timers[i]);
        peal_timer_init(&timers[i]->timer, world.home, timer_story, timers[i]);
        arm(timers[i]);
    }
}

static void check_timers(void *user)
{
    (void)user;
    for (unsigned i = 0; i < TIMERS && timers[i]; i++) {
        PEAL_SIM_CHECK(peal_timer_is_armed(&timers[i]->timer) == timers[i]->is_armed);
        PEAL_SIM_CHECK(!timers[i]->is_armed || peal_sim_now_ms() <= timers[i]->due_ms + 1000);
        peal_timer_deinit(&timers[i]->timer);
    }
}

void lab_timers(void)
{
    memset(timers, 0, sizeof timers);
    fires_left = 60;
    world_begin(0);
    world_in_home(make_timers, NULL);
    nap(50);
    world_in_home(check_timers, NULL);
    world_end(NULL, 0);
    for (unsigned i = 0; i < TIMERS; i++) {
        free(timers[i]);
    }
}

/* ---- signals: one that came while it was open is told of, once or more, or not after its close */

static struct peal_signal *signal_source;
static unsigned signals_seen;
static bool signal_opened;

static void on_signal(struct peal_signal *source, int number, void *user)
{
    (void)user;
    lab_check_top_level("a signal");
    PEAL_SIM_CHECK(source == signal_source && number == SIGUSR1);
    signals_seen++;
    if (peal_sim_chance(30)) {
        signal_source = peal_signal_close(source);
    }
}

static void open_signal(void *user)
{
    (void)user;
    signal_opened = peal_signal_open(world.home, SIGUSR1, on_signal, NULL, &signal_source) == 0;
}

static void close_signal(void *user)
{
    (void)user;
    signal_source = peal_signal_close(signal_source);
}

void lab_signals(void)
{
    signal_source = NULL;
    signals_seen = 0;
    signal_opened = false;
    world_begin(0);
    world_in_home(open_signal, NULL);
    if (signal_opened) {
        unsigned raised = (unsigned)peal_sim_below(4);
        for (unsigned i = 0; i < raised; i++) {
            peal_sim_raise(SIGUSR1);
            nap(3);
        }
        peal_sim_calm();
        peal_sim_sleep_ms(1000);
        PEAL_SIM_CHECK(raised == 0 || signals_seen > 0);
        PEAL_SIM_CHECK(signals_seen <= raised);
    }
    world_in_home(close_signal, NULL);
    world_end(NULL, 0);
}

/* ---- files are sent, while the connection ends or the file is cut short */

static void send_files(struct lab_conn *lab, struct peal_conn *conn)
{
    for (uint64_t left = 1 + peal_sim_below(4); left > 0; left--) {
        lab_send(lab, conn, writer_of_loop(), 20000,
                 peal_sim_chance(70) ? LAB_SEND_FILE : LAB_SEND);
    }
    if (peal_sim_chance(30)) {
        LAB_DO(peal_conn_abort(conn));
    } else {
        LAB_DO(peal_conn_close(conn));
    }
}

void lab_files(void)
{
    world_begin(0);
    world_hooks.opened = send_files;
    const struct peal_server_options options = {.limits = {.flush_ms = 500}};
    struct lab_peer peer;
    if (world.home && world_add_server(&options, address) &&
        lab_peer_connect(&world.servers[0], 0, &peer)) {
        if (peal_sim_chance(70)) {
            lab_peer_read_all(&peer);
        }
        lab_peer_end(&peer, false);
    }
    world_end(NULL, 0);
}

/* ---- a client of Peal and a server of Peal, on loops of their own, pour at each other */

static void pour_some(struct lab_conn *lab, struct peal_conn *conn)
{
    if (lab->out->accepted < 30000) {
        lab_send(lab, conn, writer_of_loop(), 1 + (size_t)peal_sim_below(30000), LAB_SEND);
    } else {
        LAB_DO(peal_conn_shutdown(conn));
    }
    if (peal_sim_chance(10)) {
        lab->wants_drain = true;
        LAB_DO(peal_conn_want_drain(conn));
    }
}

void lab_both_ends(void)
{
    world_begin(1);
    world_hooks.opened = world_hooks.data = world_hooks.drained = pour_some;
    const struct peal_server_options options = {
        .pool = world.pool, .limits = {.output_high_bytes = 20000, .pause_reading_at_high = true}};
    if (world.home && world_add_server(&options, address)) {
        const struct peal_client_options client = {
            .to = address, .limits = options.limits, .reconnect = true, .retry_min_ms = 10};
        for (unsigned i = 0; i < CLIENTS_MAX; i++) {
            world_add_client(&client);
        }
    }
    nap(500);
    world_end(NULL, 0);
}
