/* SPDX-License-Identifier: BSD-2-Clause */
/* A random world: any loops, servers and clients, with any options, in which programs, users and
 * peers do what they like for a while; then it is ended, politely or not. What must be true of it
 * is the oracle's business. */
#include "lab.h"
#include "world.h"

#include <stdio.h>

static void draw_style(void)
{
    peal_sim_begin_step("style");
    world_style.acts_on_open = (unsigned)peal_sim_below(4);
    world_style.acts_on_data = (unsigned)peal_sim_below(4);
    world_style.acts_on_eof = (unsigned)peal_sim_below(3);
    world_style.acts_on_drain = (unsigned)peal_sim_below(3);
    world_style.acts_on_close = (unsigned)peal_sim_below(2);
    peal_sim_end_step();
}

static void add_server(unsigned number)
{
    static const char *const addresses[] = {"127.0.0.1:800", "[::1]:800", "unix:/lab/server-"};
    char address[64];
    peal_sim_begin_step("server");
    unsigned form = (unsigned)peal_sim_below(3);
    snprintf(address, sizeof address, "%s%u", addresses[form], number);
    struct peal_server_options options = {
        .pool = peal_sim_chance(80) ? world.pool : NULL,
        .balance = (enum peal_balance)peal_sim_below(form == 2 ? 2 : 3),
        .conns_max = peal_sim_chance(20) ? 1 + (size_t)peal_sim_below(3) : 0,
        .conns_per_addr_max = peal_sim_chance(20) ? 1 + (size_t)peal_sim_below(3) : 0,
        .backlog = peal_sim_chance(20) ? 1 : 0,
        .defer_accept_s = peal_sim_chance(10) ? 1 : 0,
        .drain_ms = peal_sim_chance(50) ? (uint32_t)peal_sim_below(1000) + 1 : 0,
    };
    world_limits(&options.limits);
    world_add_server(&options, address);
    peal_sim_end_step();
}

static void add_client(unsigned peer_servers)
{
    peal_sim_begin_step("client");
    const char *to = "127.0.0.1:1"; /* nobody listens there */
    char name[64];
    switch (peal_sim_below(4)) {
    case 0:
        if (world.servers_count > 0) {
            to = world.servers[peal_sim_below(world.servers_count)].address;
        }
        break;
    case 1:
    case 2:
        if (peer_servers > 0) {
            to = peer_server_address[peal_sim_below(peer_servers)];
        }
        break;
    default:
        snprintf(name, sizeof name, "peers.lab:900%u",
                 peer_servers > 0 ? (unsigned)peal_sim_below(peer_servers) : 0);
        to = name;
        break;
    }
    struct peal_client_options options = {
        .to = to[0] ? to : "127.0.0.1:1",
        .connect_ms = peal_sim_chance(50) ? 1 + (uint32_t)peal_sim_below(500) : 0,
        .stagger_ms = peal_sim_chance(50) ? 1 + (uint32_t)peal_sim_below(100) : 0,
        .retry = peal_sim_chance(50),
        .reconnect = peal_sim_chance(50),
        .attempts_max = (unsigned)peal_sim_below(4),
        .retry_min_ms = 1 + (uint32_t)peal_sim_below(100),
        .retry_max_ms = 500,
    };
    world_limits(&options.limits);
    world_add_client(&options);
    peal_sim_end_step();
}

static void user_thread(void *user)
{
    unsigned number = (unsigned)(uintptr_t)user;
    for (uint64_t left = peal_sim_below(12); left > 0 && !world.is_ending; left--) {
        act_as_user(WRITER_USER + number);
        peal_sim_sleep_ms(peal_sim_below(60));
    }
}

static struct peal_sim_thread *start(void (*fn)(void *user), const char *name, unsigned number)
{
    return peal_sim_thread_start(name, fn, (void *)(uintptr_t)number);
}

void lab_anything(void)
{
    struct peal_sim_thread *threads[PEERS_MAX + USERS_MAX];
    unsigned count = 0;
    peal_sim_add_host("peers.lab", "127.0.0.1", peal_sim_below(300));
    peal_sim_add_host("peers.lab", "::1", 0);
    world_begin((unsigned)peal_sim_below(POOL_MAX + 1));
    draw_style();
    unsigned servers = (unsigned)peal_sim_below(SERVERS_MAX + 1);
    unsigned clients = (unsigned)peal_sim_below(CLIENTS_MAX + 1);
    unsigned peers = (unsigned)peal_sim_below(PEERS_MAX + 1);
    unsigned listening = clients > 0 ? (unsigned)peal_sim_below(peers + 1) : 0;
    unsigned users = (unsigned)peal_sim_below(USERS_MAX + 1);
    world.is_rude = peal_sim_chance(25);
    if (peal_sim_chance(10)) {
        peal_sim_limit_fds(8 + (unsigned)peal_sim_below(20));
    }
    for (unsigned i = 0; world.home && i < servers; i++) {
        add_server(i);
    }
    for (unsigned i = 0; world.home && i < peers; i++) {
        threads[count++] = start(i < listening ? peer_server : peer_client, "peer", i);
    }
    peal_sim_sleep_ms(1); /* those who listen, listen */
    for (unsigned i = 0; world.home && i < clients; i++) {
        add_client(listening);
    }
    for (unsigned i = 0; world.home && i < users; i++) {
        threads[count++] = start(user_thread, "user", i);
    }
    peal_sim_sleep_ms(peal_sim_below(2000));
    world_end(threads, count);
}
