/* SPDX-License-Identifier: BSD-2-Clause */
/* Time-outs to the millisecond: on a calm machine each comes not before its time, and at most a
 * quarter of it later, as peal/conn.h says; also while the program sets its limits again and again,
 * which must not put the next look off. The oracle's promises (promises.c) judge every run, but
 * have to allow for machines that are busy. */
#include "lab.h"
#include "world.h"

enum {
    ROUNDING_MS = 3, /* the wheel's tick, and the steps in which time is asked for here */
    PENDING_BYTES = 100000
};

/* Which of the limits. */
enum kind { IDLE, HALF_CLOSE, FLUSH, LINGER, KINDS };

static struct peal_conn_limits limits;
static enum kind kind;

static void opened(struct lab_conn *lab, struct peal_conn *conn)
{
    world_hold(lab, conn);
    if (kind == FLUSH) { /* more than the peer's side holds, and nobody reads */
        while (peal_conn_output_bytes(conn) < PENDING_BYTES) {
            lab_send(lab, conn, writer_of_loop(), LAB_CHUNK_MAX, LAB_SEND);
        }
    } else if (kind == LINGER) {
        lab_ends(lab, LAB_CLOSE);
        LAB_DO(peal_conn_close(conn));
    }
}

static void only_listen(struct lab_conn *lab, struct peal_conn *conn)
{
    (void)lab;
    (void)conn;
}

static void set_again(void *user)
{
    struct peal_conn *conn = user;
    if (peal_conn_state(conn) != PEAL_CONN_CLOSED) {
        PEAL_SIM_CHECK(LAB_CALL(peal_conn_set_limits(conn, &limits)) == 0);
    }
    peal_conn_unref(conn);
}

static uint32_t draw_limits(void)
{
    uint32_t limit_ms = 40 + (uint32_t)peal_sim_below(2000);
    uint32_t *const each[KINDS] = {[IDLE] = &limits.idle_ms,
                                   [HALF_CLOSE] = &limits.half_close_ms,
                                   [FLUSH] = &limits.flush_ms,
                                   [LINGER] = &limits.linger_ms};
    kind = (enum kind)peal_sim_below(KINDS);
    for (unsigned i = 0; i < KINDS; i++) {
        *each[i] = i == kind ? limit_ms : PEAL_NEVER;
    }
    return limit_ms;
}

void lab_looks(void)
{
    struct lab_peer peer = {0};
    struct world_hold *hold = &world.held[0];
    peal_sim_calm();
    uint32_t limit_ms = draw_limits();
    uint64_t again_ms = peal_sim_chance(50) ? limit_ms / 16 + 1 : 2 * limit_ms;
    world_begin(0);
    world_hooks.opened = opened;
    world_hooks.data = world_hooks.eof = only_listen;
    const struct peal_server_options options = {.limits = limits};
    PEAL_SIM_CHECK(world_add_server(&options, "127.0.0.1:8000"));
    PEAL_SIM_CHECK(lab_peer_connect(&world.servers[0], 0, &peer));
    while (!hold->conn) {
        peal_sim_sleep_ms(1);
    }
    if (kind == IDLE) {
        peal_sim_sleep_ms(peal_sim_below(limit_ms - 2 * ROUNDING_MS));
        lab_peer_send(&peer, LAB_CHUNK_HEAD);
    } else if (kind == HALF_CLOSE) {
        lab_peer_shutdown(&peer);
    }
    peal_sim_sleep_ms(1);
    uint64_t since_ms = peal_sim_now_ms() - 1, set_ms = since_ms;
    enum peal_conn_state state = peal_conn_state(hold->conn);
    while (peal_conn_state(hold->conn) == state) {
        PEAL_SIM_CHECK(peal_sim_now_ms() - since_ms <= limit_ms + limit_ms / 4 + ROUNDING_MS);
        if (peal_sim_now_ms() - set_ms >= again_ms) {
            set_ms = peal_sim_now_ms();
            PEAL_SIM_CHECK(peal_loop_post(world.home, set_again, peal_conn_ref(hold->conn)) == 0);
        }
        peal_sim_sleep_ms(1);
    }
    PEAL_SIM_CHECK(peal_sim_now_ms() - since_ms + ROUNDING_MS >= limit_ms);
    lab_peer_end(&peer, false);
    world_end(NULL, 0);
}
