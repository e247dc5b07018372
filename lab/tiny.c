/* SPDX-License-Identifier: BSD-2-Clause */
/* Stories so small that every order of their threads can be tried: peal-sim exhaust. Each is one
 * race that the library has to win in any order; they draw nothing themselves, and nothing fails in
 * them. */
#include "lab.h"
#include "world.h"

#include <peal/error.h>

#include <errno.h>
#include <stdatomic.h>

/* ---- a post and a quit */

static unsigned tasks_run, tasks_dropped;

static void was_run(void *user)
{
    (void)user;
    tasks_run++;
}

static void was_dropped(void *user)
{
    (void)user;
    tasks_dropped++;
}

static void quit_home(void *user)
{
    (void)user;
    peal_loop_quit(world.home);
}

void lab_tiny_post_and_quit(void)
{
    unsigned accepted = 0;
    peal_sim_calm();
    world_begin(0);
    tasks_run = tasks_dropped = 0;
    peal_sim_explore(true);
    struct peal_sim_thread *quitter = peal_sim_thread_start("quitter", quit_home, NULL);
    for (unsigned i = 0; i < 2; i++) {
        int result = peal_loop_post_or_drop(world.home, was_run, was_dropped, NULL);
        PEAL_SIM_CHECK(result == 0 || result == PEAL_ERR_LOOP_ENDED);
        accepted += result == 0;
    }
    peal_sim_explore(false);
    world.is_rude = true;
    world_end(&quitter, 1);
    PEAL_SIM_CHECK(tasks_run + tasks_dropped == accepted);
}

/* ---- one thread sends by a reference, the loop closes because of the peer */

static void send_by_hold(void *user)
{
    struct world_hold *hold = user;
    lab_send(hold->lab, hold->conn, WRITER_USER, 50, LAB_SEND);
    LAB_DO(peal_conn_unref(hold->conn));
    hold->conn = NULL;
}

static void hold_it(struct lab_conn *lab, struct peal_conn *conn)
{
    world_hold(lab, conn);
}

static struct lab_peer meet(void (*opened)(struct lab_conn *lab, struct peal_conn *conn))
{
    struct lab_peer peer = {0};
    peal_sim_calm();
    world_begin(0);
    world_hooks.opened = opened;
    PEAL_SIM_CHECK(world_add_server(&(struct peal_server_options){0}, "127.0.0.1:8000"));
    PEAL_SIM_CHECK(lab_peer_connect(&world.servers[0], 0, &peer));
    while (!world.held[0].conn) {
        peal_sim_sleep_ms(1);
    }
    return peer;
}

void lab_tiny_send_and_reset(void)
{
    struct lab_peer peer = meet(hold_it);
    peal_sim_explore(true);
    struct peal_sim_thread *sender = peal_sim_thread_start("sender", send_by_hold, &world.held[0]);
    lab_peer_end(&peer, true);
    peal_sim_sleep_ms(1);
    peal_sim_explore(false);
    world_end(&sender, 1);
}

void lab_tiny_send_and_close(void)
{
    struct lab_peer peer = meet(hold_it);
    uint64_t id = world.held[0].lab->id;
    peal_sim_explore(true);
    struct peal_sim_thread *sender = peal_sim_thread_start("sender", send_by_hold, &world.held[0]);
    LAB_DO(peal_conn_close_id(id));
    lab_peer_shutdown(&peer);
    lab_peer_read_all(&peer);
    peal_sim_explore(false);
    PEAL_SIM_CHECK(peer.saw_end);
    lab_peer_end(&peer, false);
    world_end(&sender, 1);
}

/* ---- reading is paused twice; the loop takes one pause away, another thread the other */

static void pause_it_twice(struct lab_conn *lab, struct peal_conn *conn)
{
    world_hold(lab, conn);
    LAB_DO(peal_conn_pause_reading(conn));
    LAB_DO(peal_conn_pause_reading(conn));
    lab->pauses = 2;
}

static void resume_it(void *user)
{
    struct world_hold *hold = user;
    hold->lab->pauses--;
    LAB_DO(peal_conn_resume_reading(hold->conn));
}

void lab_tiny_resume_twice(void)
{
    struct lab_peer peer = meet(pause_it_twice);
    struct world_hold *hold = &world.held[0];
    peal_sim_explore(true);
    struct peal_sim_thread *other = peal_sim_thread_start("other", resume_it, hold);
    PEAL_SIM_CHECK(LAB_CALL(peal_loop_post(world.home, resume_it, hold)) == 0);
    peal_sim_sleep_ms(1);
    peal_sim_explore(false);
    lab_peer_send(&peer, 50);
    peal_sim_sleep_ms(10);
    PEAL_SIM_CHECK(hold->lab->shown_ms > hold->lab->opened_ms);
    lab_peer_end(&peer, false);
    world_end(&other, 1);
}

/* ---- a server is stopped while a thread gives it a socket, and the loops end */

static int fd_to_adopt;

static void adopt(void *user)
{
    (void)user;
    if (LAB_CALL(peal_server_adopt(world.servers[0].server, fd_to_adopt)) < 0) {
        peal_sim_close_file(fd_to_adopt);
    }
}

static void adopt_beside(void (*other)(void *user), unsigned pool)
{
    peal_sim_calm();
    world_begin(pool);
    struct peal_sim_peer *listener = peal_sim_listen("127.0.0.1:9000", 1);
    const struct peal_server_options options = {.pool = world.pool};
    PEAL_SIM_CHECK(world_add_server(&options, "127.0.0.1:8000"));
    fd_to_adopt = peal_sim_give_fd(peal_sim_connect("127.0.0.1:9000", 100, NULL));
    struct peal_sim_peer *accepted = peal_sim_accept(listener, 100);
    peal_sim_close(listener);
    peal_sim_explore(true);
    struct peal_sim_thread *adopter = peal_sim_thread_start("adopter", adopt, NULL);
    other(NULL);
    peal_sim_explore(false);
    peal_sim_close(accepted);
    world_end(&adopter, 1);
}

static void stop_now(void *user)
{
    (void)user;
    world_stop_server(&world.servers[0], 0);
    peal_sim_sleep_ms(1);
}

void lab_tiny_adopt_and_stop(void)
{
    adopt_beside(stop_now, 1);
}

static void end_loop(void *user)
{
    (void)user;
    world.is_rude = true;
    world.pool = peal_pool_free(world.pool);
}

void lab_tiny_adopt_and_end(void)
{
    adopt_beside(end_loop, 1);
}

/* ---- a thread visits a server's connections while the only loop ends */

static void never_visited(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
}

static void visit_is_over(void *user)
{
    (void)user;
    lab_check_top_level("the end of a visit");
    world.visits_left--;
}

static void visit(void *user)
{
    (void)user;
    world.visits_left++;
    int result =
        LAB_CALL(peal_server_for_each(world.servers[0].server, never_visited, visit_is_over, NULL));
    world.visits_left -= result < 0;
}

static void broadcast(void *user)
{
    struct peal_blob *blob;
    (void)user;
    if (LAB_CALL(peal_blob_copy("to nobody", 9, &blob)) == 0) {
        world.visits_left++;
        int result = LAB_CALL(
            peal_server_broadcast(world.servers[0].server, blob, NULL, visit_is_over, NULL));
        world.visits_left -= result < 0;
        LAB_DO(peal_blob_unref(blob));
    }
}

static void visit_beside_the_end(void (*visit_all)(void *user))
{
    peal_sim_calm();
    world_begin(0);
    PEAL_SIM_CHECK(world_add_server(&(struct peal_server_options){0}, "127.0.0.1:8000"));
    world.is_rude = true;
    peal_sim_explore(true);
    struct peal_sim_thread *visitor = peal_sim_thread_start("visitor", visit_all, NULL);
    peal_loop_quit(world.home);
    peal_sim_sleep_ms(1);
    peal_sim_explore(false);
    world_end(&visitor, 1);
}

void lab_tiny_visit_and_end(void)
{
    visit_beside_the_end(visit);
}

void lab_tiny_broadcast_and_end(void)
{
    visit_beside_the_end(broadcast);
}

/* ---- the last connection of a server ends on a pool's loop, which tells the home loop; and that
 * is freed at once */

static void home_ends(struct peal_server *server, const struct peal_drain_report *report,
                      void *user)
{
    (void)report;
    (void)user;
    lab_check_top_level("the end of a stop");
    peal_loop_quit(peal_server_loop(server));
}

static void has_opened(struct peal_conn *conn, void *user)
{
    (void)conn;
    atomic_store((atomic_bool *)user, true);
}

void lab_tiny_stop_and_free(void)
{
    static const struct peal_conn_ops ops = {.on_open = has_opened};
    atomic_bool is_open = false;
    struct peal_loop *home;
    struct peal_pool *pool;
    struct peal_server *server;
    peal_sim_calm();
    PEAL_SIM_CHECK(peal_loop_new(NULL, &home) == 0);
    PEAL_SIM_CHECK(peal_pool_new(&(struct peal_pool_options){.threads = 1}, &pool) == 0);
    const struct peal_server_options options = {
        .ops = &ops, .pool = pool, .on_stopped = home_ends, .user = &is_open};
    PEAL_SIM_CHECK(peal_server_new(home, &options, &server) == 0);
    PEAL_SIM_CHECK(peal_server_listen(server, "127.0.0.1:8000", NULL) == 0);
    struct peal_sim_peer *peer = peal_sim_connect("127.0.0.1:8000", 0, NULL);
    while (!atomic_load(&is_open)) {
        PEAL_SIM_CHECK(peal_loop_turn(home, 1) > 0);
    }
    peal_sim_explore(true);
    peal_server_stop(server, 0);
    peal_server_unref(server);
    PEAL_SIM_CHECK(peal_loop_run(home) == 0);
    peal_loop_free(home);
    peal_sim_explore(false);
    peal_sim_close(peer);
    peal_pool_free(pool);
}
