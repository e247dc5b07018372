/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: something that an io_uring may do, and this machine's never does, would cost
 * bytes or a connection: completions late or in another order, multishot operations that end of
 * their own accord, a queue that overflows, no buffer, few operations taken, short counts.
 *
 * An echo server on a loop in a thread of its own, and clients on another loop, all on a simulated
 * io_uring. `harmless` draws how often each of those strikes, and no fault that may end anything:
 * every byte must come back, and every connection end clean. `anything` draws from all faults:
 * bytes may be missing at the end, when something has failed, and none may be wrong.
 *
 * Usage: as peal-sim's (peal/sim.h). */
#include "sys/sim/sim.h"

#include <peal.h>
#include <peal/sim.h>

#include <string.h>

enum { CLIENTS_MAX = 4, PIECES_MAX = 8, PIECE_MAX = 20000, PIECE_SMALL = 60, PATIENCE_MS = 600000 };
#define ADDRESS "127.0.0.1:7000"

struct echo_client {
    struct peal_client *client;
    size_t pieces, sent, received;
    uint64_t number;
    bool is_over;
};

static struct peal_loop *server_loop;
static struct echo_client clients[CLIENTS_MAX];
static bool is_harmless, has_server;

static uint8_t byte_at(uint64_t number, size_t at)
{
    return (uint8_t)((at * 2654435761u) >> 13 ^ number * 31);
}

/* ---- the server */

static void resume(void *user)
{
    struct peal_conn *conn = user;
    peal_conn_resume_reading(conn);
    peal_conn_unref(conn);
}

static void drop(void *user)
{
    peal_conn_unref(user);
}

static void echo(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    ssize_t sent = peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    PEAL_SIM_CHECK(sent >= 0 || !is_harmless);
    if (sent < 0) {
        peal_conn_abort(conn); /* an echo without this piece would be none */
    }
    peal_buf_clear(input);
    if (peal_sim_chance(20)) {
        peal_conn_pause_reading(conn);
        if (peal_loop_post_or_drop(server_loop, resume, drop, peal_conn_ref(conn)) < 0) {
            resume(conn);
        }
    }
}

static const struct peal_conn_ops server_ops = {.on_data = echo};

static void serve(void *user)
{
    (void)user;
    const struct peal_loop_options on_uring = {.engine = "io_uring"};
    const struct peal_server_options options = {.ops = &server_ops};
    struct peal_server *server = NULL;
    if (peal_loop_new(&on_uring, &server_loop) < 0) {
        PEAL_SIM_CHECK(!is_harmless);
        server_loop = NULL;
        has_server = true;
        return;
    }
    PEAL_SIM_CHECK(!is_harmless || strcmp(peal_loop_engine(server_loop), "io_uring") == 0);
    if (peal_server_new(server_loop, &options, &server) < 0 ||
        peal_server_listen(server, ADDRESS, NULL) < 0) {
        PEAL_SIM_CHECK(!is_harmless);
    }
    peal_loop_ref(server_loop);
    has_server = true;
    PEAL_SIM_CHECK(peal_loop_run(server_loop) == 0 || !is_harmless);
    peal_server_unref(server);
    peal_loop_free(server_loop);
}

/* ---- the clients */

static void send_piece(struct peal_conn *conn, struct echo_client *self)
{
    static uint8_t data[PIECE_MAX];
    bool has_tiny_buffers = pl_sim.buffer_max > 0 && pl_sim.buffer_max < 256;
    size_t size = 1 + (size_t)peal_sim_below(has_tiny_buffers ? PIECE_SMALL : PIECE_MAX);
    for (size_t i = 0; i < size; i++) {
        data[i] = byte_at(self->number, self->sent + i);
    }
    self->pieces--;
    if (peal_conn_send(conn, data, size) < 0) {
        PEAL_SIM_CHECK(!is_harmless);
        return;
    }
    self->sent += size;
    if (self->pieces == 0) {
        peal_conn_shutdown(conn);
    }
}

static void opened(struct peal_conn *conn, void *user)
{
    struct echo_client *self = user;
    self->pieces = 1 + (size_t)peal_sim_below(PIECES_MAX);
    self->sent = self->received = 0;
    send_piece(conn, self);
}

static void came(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct echo_client *self = user;
    const uint8_t *data = peal_buf_data(input);
    for (size_t i = 0; i < peal_buf_size(input); i++) {
        PEAL_SIM_CHECK(data[i] == byte_at(self->number, self->received));
        self->received++;
    }
    PEAL_SIM_CHECK(self->received <= self->sent);
    peal_buf_clear(input);
    while (self->pieces > 0 && (self->received == self->sent || peal_sim_chance(50))) {
        send_piece(conn, self);
    }
}

static void closed(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct echo_client *self = user;
    (void)conn;
    self->is_over = true;
    if (is_harmless) {
        PEAL_SIM_CHECK(record->error == 0);
        PEAL_SIM_CHECK(self->pieces == 0 && self->received == self->sent);
    }
}

static void failed(struct peal_client *client, const struct peal_connect_failure *failure,
                   void *user)
{
    (void)client;
    PEAL_SIM_CHECK(!is_harmless);
    ((struct echo_client *)user)->is_over = !failure->will_retry;
}

static const struct peal_conn_ops client_ops = {
    .on_open = opened, .on_data = came, .on_close = closed};

static bool all_are_over(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!clients[i].is_over) {
            return false;
        }
    }
    return true;
}

static void start_client(struct peal_loop *loop, struct echo_client *self, uint64_t number)
{
    const struct peal_client_options options = {
        .to = ADDRESS, .ops = &client_ops, .user = self, .on_fail = failed};
    *self = (struct echo_client){.number = number};
    if (peal_client_new(loop, &options, &self->client) < 0 ||
        peal_client_connect(self->client) < 0) {
        PEAL_SIM_CHECK(!is_harmless);
        self->is_over = true;
    }
}

static void run_clients(void)
{
    const struct peal_loop_options on_uring = {.engine = "io_uring"};
    struct peal_loop *loop;
    if (peal_loop_new(&on_uring, &loop) < 0) {
        PEAL_SIM_CHECK(!is_harmless);
        return;
    }
    PEAL_SIM_CHECK(!is_harmless || strcmp(peal_loop_engine(loop), "io_uring") == 0);
    size_t count = 1 + (size_t)peal_sim_below(CLIENTS_MAX);
    for (size_t i = 0; i < count; i++) {
        start_client(loop, &clients[i], i);
    }
    uint64_t end_ms = peal_sim_now_ms() + PATIENCE_MS;
    while (!all_are_over(count) && peal_sim_now_ms() < end_ms && peal_loop_turn(loop, 1000) >= 0) {
    }
    PEAL_SIM_CHECK(!is_harmless || all_are_over(count));
    peal_sim_calm();
    for (size_t i = 0; i < count; i++) {
        peal_client_unref(clients[i].client);
    }
    peal_loop_free(loop);
}

static void run_all(void)
{
    server_loop = NULL;
    has_server = false;
    struct peal_sim_thread *thread = peal_sim_thread_start("server", serve, NULL);
    while (!has_server) {
        peal_sim_sleep_ms(1);
    }
    run_clients();
    peal_sim_calm();
    if (server_loop) {
        peal_loop_quit(server_loop);
    }
    peal_sim_thread_join(thread);
    peal_loop_unref(server_loop);
}

static void harmless(void)
{
    static const enum pl_sim_fault kinds[] = {
        PL_SIM_URING_TAKES_FEW, PL_SIM_URING_LATE,        PL_SIM_URING_ENDS, PL_SIM_URING_OVERFLOW,
        PL_SIM_URING_NO_BUFFER, PL_SIM_URING_CANCEL_LATE, PL_SIM_REORDERED,  PL_SIM_SHORT_RECV,
        PL_SIM_SHORT_SEND,      PL_SIM_INTERRUPTED,       PL_SIM_NOT_READY,  PL_SIM_DELAYED,
        PL_SIM_LATE_ACK};
    is_harmless = true;
    memset(pl_sim.shares, 0, sizeof pl_sim.shares);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        pl_sim.shares[kinds[i]] = peal_sim_chance(60) ? (uint32_t)peal_sim_below(24000) : 0;
    }
    run_all();
}

static void anything(void)
{
    is_harmless = false;
    run_all();
}

int main(int argc, char **argv)
{
    static const struct peal_sim_scenario all[] = {
        {"harmless", "nothing strikes that may cost a byte or a connection", harmless},
        {"anything", "all faults", anything},
    };
    return peal_sim_main(argc, argv, all, sizeof all / sizeof *all);
}
