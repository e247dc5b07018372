/* SPDX-License-Identifier: BSD-2-Clause */
/* Stories of how connections end, each a hazard that has cost somebody their data or their process.
 * A story sets the stage; when things happen, and what else goes wrong meanwhile, is drawn.
 *
 * Where a story is calm from the start ("strictly"), it also checks that the good end comes: that
 * all bytes arrive, that everybody is served. With faults it may not, and then the oracle's checks
 * are all there is. */
#include "lab.h"
#include "world.h"

#include <errno.h>
#include <string.h>

static const char address[] = "127.0.0.1:8000";
static bool strictly;

static struct world_server *stage(unsigned pool, const struct peal_server_options *options)
{
    world_begin(pool);
    strictly = peal_sim_chance(50);
    if (strictly) {
        peal_sim_calm();
    }
    if (!world.home || !world_add_server(options, address)) {
        return NULL;
    }
    return &world.servers[0];
}

static void end(void)
{
    world_end(NULL, 0);
}

/* All that was accepted for this peer has come, unless something went wrong. */
static void check_all_came(const struct lab_peer *peer)
{
    if (strictly) {
        PEAL_SIM_CHECK(peer->saw_end);
    }
}

/* ---- close with input unread: the reset of close(2) would destroy what is on its way */

static void answer_and_close(struct lab_conn *lab, struct peal_conn *conn)
{
    lab_send(lab, conn, writer_of_loop(), 1000 + (size_t)peal_sim_below(30000), LAB_SEND);
    LAB_DO(peal_conn_close(conn));
}

void lab_close_with_unread_input(void)
{
    const struct world_server *server = stage(0, &(struct peal_server_options){0});
    struct lab_peer peer;
    world_hooks.opened = answer_and_close;
    if (server && lab_peer_connect(server, 0, &peer)) {
        for (uint64_t left = 1 + peal_sim_below(5); left > 0; left--) {
            lab_peer_send(&peer, 5000);
        }
        lab_peer_shutdown(&peer);
        lab_peer_read_all(&peer);
        check_all_came(&peer);
        lab_peer_end(&peer, false);
    }
    end();
}

/* ---- request, FIN, answer: as nc and shell scripts do */

static void answer_at_eof(struct lab_conn *lab, struct peal_conn *conn)
{
    for (uint64_t left = peal_sim_below(4); left > 0; left--) {
        lab_send(lab, conn, writer_of_loop(), 20000, LAB_SEND);
    }
    LAB_DO(peal_conn_close(conn));
}

static void listen_only(struct lab_conn *lab, struct peal_conn *conn)
{
    (void)lab;
    (void)conn;
}

void lab_half_close(void)
{
    const struct world_server *server = stage(1, &(struct peal_server_options){.pool = world.pool});
    struct lab_peer peer;
    world_hooks.eof = answer_at_eof;
    world_hooks.data = world_hooks.opened = listen_only;
    if (server && lab_peer_connect(server, 0, &peer)) {
        lab_peer_send(&peer, 3000);
        lab_peer_shutdown(&peer);
        lab_peer_read_all(&peer);
        check_all_came(&peer);
        lab_peer_end(&peer, false);
    }
    end();
}

/* ---- a reader that is slow, or stops: what is pending is bounded in time and in bytes */

static void pour(struct lab_conn *lab, struct peal_conn *conn)
{
    while (peal_conn_state(conn) == PEAL_CONN_OPEN &&
           lab_send(lab, conn, writer_of_loop(), 20000, LAB_SEND) > 0 &&
           peal_conn_output_bytes(conn) < 200000) {
    }
    if (peal_sim_chance(30)) {
        LAB_DO(peal_conn_close(conn));
    }
}

void lab_slow_reader(void)
{
    const struct peal_server_options options = {
        .limits = {.flush_ms = 500,
                   .linger_ms = 500,
                   .idle_ms = 500,
                   .output_high_bytes = 50000,
                   .output_bytes_max = peal_sim_chance(50) ? 100000 : 0,
                   .output_cap_refuses = peal_sim_chance(50)}};
    const struct world_server *server = stage(0, &options);
    struct lab_peer peer;
    world_hooks.opened = world_hooks.drained = pour;
    if (server && lab_peer_connect(server, 0, &peer)) {
        for (uint64_t left = peal_sim_below(40); left > 0; left--) {
            lab_peer_read(&peer, 3000);
            peal_sim_sleep_ms(peal_sim_below(50));
        }
        if (peal_sim_chance(50)) { /* it stops: the flush time-out has to end it */
            peal_sim_sleep_ms(3000);
            PEAL_SIM_CHECK(lab_conns_open() == 0);
        }
        lab_peer_end(&peer, peal_sim_chance(50));
    }
    end();
}

/* ---- the user ends this connection, or another, inside a callback that goes on with it (the class
 * of many CVEs: use after free in the library's frame above the callback) */

static void end_all_and_go_on(struct lab_conn *lab, struct peal_conn *conn)
{
    for (unsigned i = 0; i < RECENT_MAX; i++) {
        struct lab_conn *other = world.recent[i];
        if (other && !other->is_closed && peal_sim_chance(50)) {
            if (peal_sim_chance(50)) {
                LAB_DO(peal_conn_abort(other->conn));
            } else {
                LAB_DO(peal_conn_close(other->conn));
            }
        }
    }
    lab_send(lab, conn, writer_of_loop(), 100, LAB_SEND);
    LAB_DO(peal_conn_pause_reading(conn));
    LAB_DO(peal_conn_resume_reading(conn));
    lab->wants_drain = true;
    LAB_DO(peal_conn_want_drain(conn));
    PEAL_SIM_CHECK(peal_conn_id(conn) == lab->id);
}

void lab_disconnect_inside(void)
{
    const struct world_server *server = stage(0, &(struct peal_server_options){0});
    struct lab_peer peers[PEERS_MAX];
    unsigned count = 0;
    world_hooks.data = end_all_and_go_on;
    if (peal_sim_chance(30)) {
        world_hooks.opened = end_all_and_go_on;
    }
    if (peal_sim_chance(30)) {
        world_hooks.eof = world_hooks.drained = end_all_and_go_on;
    }
    for (unsigned i = 0; server && i < PEERS_MAX; i++) {
        count += lab_peer_connect(server, i, &peers[count]);
    }
    for (unsigned i = 0; i < count; i++) {
        lab_peer_send(&peers[i], 50);
    }
    for (unsigned i = 0; i < count; i++) {
        lab_peer_read(&peers[i], 1000);
        lab_peer_end(&peers[i], peal_sim_chance(30));
    }
    end();
}

/* ---- peers that are gone before they are accepted, with and without data */

static void do_little(struct lab_conn *lab, struct peal_conn *conn)
{
    switch (peal_sim_below(4)) {
    case 0:
        break;
    case 1:
        lab_send(lab, conn, writer_of_loop(), 100, LAB_SEND);
        break;
    case 2:
        LAB_DO(peal_conn_close(conn));
        break;
    default:
        LAB_DO(peal_conn_abort(conn));
        break;
    }
}

void lab_gone_before_accept(void)
{
    const struct world_server *server =
        stage(2, &(struct peal_server_options){.pool = world.pool,
                                               .defer_accept_s = peal_sim_chance(30) ? 1 : 0});
    world_hooks.opened = world_hooks.data = do_little;
    for (uint64_t left = 3 + peal_sim_below(10); server && left > 0; left--) {
        struct lab_peer peer;
        if (lab_peer_connect(server, 0, &peer)) {
            if (peal_sim_chance(50)) {
                lab_peer_send(&peer, 30);
            }
            lab_peer_end(&peer, peal_sim_chance(70));
        }
    }
    if (server && strictly) { /* it serves as before */
        struct lab_peer peer;
        world_hooks.opened = world_hooks.data = answer_and_close;
        PEAL_SIM_CHECK(lab_peer_connect(server, 1, &peer));
        lab_peer_send(&peer, 30);
        lab_peer_shutdown(&peer);
        lab_peer_read_all(&peer);
        check_all_came(&peer);
        lab_peer_end(&peer, false);
    }
    end();
}

/* ---- places, fds and numbers are used again at once: what names the old must not reach the new */

static void close_by_old_ids(struct lab_conn *lab, struct peal_conn *conn)
{
    for (unsigned i = 0; i < RECENT_MAX; i++) {
        struct lab_conn *old = world.recent[i];
        if (old && old->is_closed) {
            PEAL_SIM_CHECK(old->id != lab->id);
            PEAL_SIM_CHECK(LAB_CALL(peal_conn_abort_id(old->id)) == -ESTALE);
            PEAL_SIM_CHECK(LAB_CALL(peal_conn_send_to_id(old->id, "x", 1)) == -ESTALE);
        }
    }
    if (peal_conn_state(conn) == PEAL_CONN_OPEN) {
        lab_send(lab, conn, writer_of_loop(), 20, LAB_SEND);
    }
    if (peal_sim_chance(50)) {
        LAB_DO(peal_conn_close(conn));
    }
}

void lab_used_again(void)
{
    const struct world_server *server = stage(0, &(struct peal_server_options){0});
    world_hooks.opened = world_hooks.data = close_by_old_ids;
    for (uint64_t left = 4 + peal_sim_below(12); server && left > 0; left--) {
        struct lab_peer peer;
        if (lab_peer_connect(server, 0, &peer)) {
            lab_peer_send(&peer, 20);
            lab_peer_read(&peer, 100);
            lab_peer_end(&peer, peal_sim_chance(30));
        }
    }
    end();
}

/* ---- fds run out: no spin, nobody forgotten once there are some again */

static void greet_and_close(struct lab_conn *lab, struct peal_conn *conn)
{
    lab_send(lab, conn, writer_of_loop(), 20, LAB_SEND);
    LAB_DO(peal_conn_close(conn));
}

void lab_no_fds_left(void)
{
    const struct world_server *server = stage(0, &(struct peal_server_options){0});
    struct lab_peer peers[PEERS_MAX];
    unsigned count = 0;
    world_hooks.opened = listen_only;
    world_hooks.data = greet_and_close;
    peal_sim_limit_fds(8 + (unsigned)peal_sim_below(6));
    for (unsigned i = 0; server && i < PEERS_MAX; i++) {
        count += lab_peer_connect(server, i, &peers[count]);
    }
    peal_sim_sleep_ms(peal_sim_below(1000));
    peal_sim_limit_fds(1024);
    peal_sim_sleep_ms(200);
    for (unsigned i = 0; i < count; i++) {
        lab_peer_send(&peers[i], 20);
        lab_peer_shutdown(&peers[i]);
        lab_peer_read_all(&peers[i]);
        check_all_came(&peers[i]);
        lab_peer_end(&peers[i], false);
    }
    end();
}

/* ---- every time-out ends what it is for, in its time: promises.c looks at the clock */

static void be_left_waiting(struct lab_conn *lab, struct peal_conn *conn)
{
    if (lab->shown == 0 && peal_sim_chance(50)) {
        return; /* then with the first bytes, if there are any */
    }
    switch (peal_sim_below(4)) {
    case 0:
        break;
    case 1:
        lab_ends(lab, LAB_SHUTDOWN);
        LAB_DO(peal_conn_shutdown(conn));
        break;
    case 2:
        lab_ends(lab, LAB_CLOSE);
        LAB_DO(peal_conn_close(conn));
        break;
    default:
        pour(lab, conn);
        break;
    }
}

void lab_time_outs(void)
{
    static const uint32_t times_ms[] = {200, 500, PEAL_NEVER};
    struct peal_server_options options = {0};
    struct lab_peer peers[PEERS_MAX];
    unsigned count = 0;
    options.limits.idle_ms = times_ms[peal_sim_below(3)];
    options.limits.half_close_ms = times_ms[peal_sim_below(3)];
    options.limits.flush_ms = times_ms[peal_sim_below(3)];
    options.limits.linger_ms = times_ms[peal_sim_below(3)];
    const struct world_server *server = stage(0, &options);
    world_hooks.opened = world_hooks.data = be_left_waiting;
    world_hooks.eof = listen_only;
    for (unsigned i = 0; server && i < PEERS_MAX; i++) {
        if (lab_peer_connect(server, i, &peers[count])) {
            count++;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        peal_sim_sleep_ms(peal_sim_below(300));
        if (peal_sim_chance(50)) {
            lab_peer_send(&peers[i], 20);
        }
        if (peal_sim_chance(50)) {
            lab_peer_shutdown(&peers[i]);
        }
    }
    peal_sim_sleep_ms(4000);
    for (unsigned i = 0; i < count; i++) {
        lab_peer_end(&peers[i], false);
    }
    end();
}

/* ---- what came before a reset is shown, though reading was paused (G6) */

static bool rest_was_shown;

static void pause_for_good(struct lab_conn *lab, struct peal_conn *conn)
{
    LAB_DO(peal_conn_pause_reading(conn));
    lab->pauses++;
}

static void note_the_rest(struct lab_conn *lab, struct peal_conn *conn)
{
    (void)lab;
    (void)conn;
    rest_was_shown = true;
}

void lab_reset_behind_input(void)
{
    const struct world_server *server = stage(0, &(struct peal_server_options){0});
    struct lab_peer peer;
    world_hooks.opened = pause_for_good;
    world_hooks.data = note_the_rest;
    rest_was_shown = false;
    if (server && lab_peer_connect(server, 0, &peer)) {
        peal_sim_sleep_ms(5);
        lab_peer_send(&peer, 14);
        peal_sim_sleep_ms(5);
        lab_peer_end(&peer, true);
        peal_sim_sleep_ms(500);
        PEAL_SIM_CHECK(lab_conns_open() == 0 || !strictly);
        PEAL_SIM_CHECK(rest_was_shown || !strictly);
    }
    end();
}
