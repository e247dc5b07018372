/* SPDX-License-Identifier: BSD-2-Clause */
/* Noise: connections that take their time in every state and end in every way, while all around them
 * threads, names, connects, files, fds and memory are asked for all the time, and refused.
 *
 * The other stories bring a fault to the place that it is about. Here each kind of fault falls into
 * each state of connections that have nothing to do with it, and must not notice. */
#include "lab.h"
#include "world.h"

enum { ROUNDS = 12 };

static void talk(struct lab_conn *lab, struct peal_conn *conn)
{
    for (uint64_t left = 1 + peal_sim_below(3); left > 0; left--) {
        lab_send(lab, conn, writer_of_loop(), 4000, peal_sim_chance(60) ? LAB_SEND_FILE : LAB_SEND);
    }
    switch (peal_sim_below(5)) {
    case 0:
        LAB_DO(peal_conn_close(conn));
        break;
    case 1:
        LAB_DO(peal_conn_shutdown(conn));
        break;
    case 2:
        if (peal_sim_chance(20)) {
            LAB_DO(peal_conn_abort(conn));
        }
        break;
    default:
        break;
    }
}

static void end_late(struct lab_conn *lab, struct peal_conn *conn)
{
    if (peal_sim_chance(50)) {
        talk(lab, conn);
    }
    if (peal_sim_chance(50)) {
        LAB_DO(peal_conn_close(conn));
    }
}

/* Reads a little now and then, ends its side early, late or not at all. */
static void slow_peer(void *user)
{
    unsigned number = (unsigned)(uintptr_t)user;
    for (unsigned round = 0; round < 3 && !world.is_ending; round++) {
        struct lab_peer peer;
        if (!lab_peer_connect(&world.servers[0], number, &peer)) {
            continue;
        }
        peal_sim_begin_step("slow peer");
        for (uint64_t left = peal_sim_below(8); left > 0; left--) {
            switch (peal_sim_below(4)) {
            case 0:
                lab_peer_send(&peer, 100);
                break;
            case 1:
                lab_peer_shutdown(&peer);
                break;
            default:
                lab_peer_read(&peer, 3000);
                break;
            }
            peal_sim_sleep_ms(peal_sim_below(10));
        }
        if (peal_sim_chance(50)) {
            lab_peer_read_all(&peer);
        }
        lab_peer_end(&peer, peal_sim_chance(20));
        peal_sim_end_step();
    }
}

static void start_pools(void *user)
{
    (void)user;
    for (unsigned round = 0; round < ROUNDS && !world.is_ending; round++) {
        struct peal_pool *pool;
        if (peal_pool_new(&(struct peal_pool_options){.threads = 1, .name = "noise"}, &pool) == 0) {
            peal_pool_free(pool);
        }
        peal_sim_sleep_ms(peal_sim_below(10));
    }
}

static void connect_clients(void *user)
{
    (void)user;
    for (unsigned round = 0; round < ROUNDS && !world.is_ending; round++) {
        for (unsigned i = 0; i < world.clients_count; i++) {
            client_cancel(&world.clients[i]);
            client_connect(&world.clients[i]);
        }
        peal_sim_sleep_ms(peal_sim_below(10));
    }
}

void lab_noise(void)
{
    struct peal_sim_thread *threads[PEERS_MAX + 2];
    unsigned count = 0;
    peal_sim_add_host("noise.lab", "127.0.0.1", 2);
    world_begin(0);
    const struct peal_server_options options = {
        .limits = {.flush_ms = 100, .half_close_ms = 100, .linger_ms = 100, .idle_ms = 200}};
    static const char *const to[] = {"noise.lab:8000", "noise.lab:1", "127.0.0.1:8000"};
    world_hooks.opened = world_hooks.drained = talk;
    world_hooks.data = world_hooks.eof = end_late;
    if (world.home && world_add_server(&options, "127.0.0.1:8000")) {
        for (unsigned i = 0; i < CLIENTS_MAX; i++) {
            world_add_client(&(struct peal_client_options){
                .to = to[i], .limits = options.limits, .retry = true, .retry_min_ms = 5});
        }
        for (unsigned i = 0; i < PEERS_MAX; i++) {
            threads[count++] = peal_sim_thread_start("peer", slow_peer, (void *)(uintptr_t)i);
        }
        threads[count++] = peal_sim_thread_start("pools", start_pools, NULL);
        threads[count++] = peal_sim_thread_start("connects", connect_clients, NULL);
        peal_sim_sleep_ms(peal_sim_below(300));
    }
    world.is_rude = peal_sim_chance(20);
    world_end(threads, count);
}
