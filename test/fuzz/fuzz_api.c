/* SPDX-License-Identifier: BSD-2-Clause */
/* A row of calls of the API would crash, leak or hang on the real system: connections over a real
 * socket pair, with sends, ends, pauses, limits and timers in any order, and a baseline at the
 * end. */
#include "fuzz.h"

#include "sys/sys.h"

#include <peal.h>

#include <sys/socket.h>
#include <unistd.h>

enum { CONNS = 4, STEPS_MAX = 120, TURNS_MAX = 400 };

struct world {
    struct peal_loop *loop;
    struct peal_server *server;
    struct peal_conn *conns[CONNS]; /* with a reference */
    int peers[CONNS];
    unsigned count, opened, closed;
    bool is_stopped;
    struct peal_timer timer;
    struct fuzz_input input;
};

static void act(struct world *world);

static void on_open(struct peal_conn *conn, void *user)
{
    struct world *world = user;
    world->conns[world->opened] = peal_conn_ref(conn);
    world->opened++;
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct world *world = user;
    (void)conn;
    peal_buf_consume(input, peal_buf_size(input) / (1 + (size_t)fuzz_below(&world->input, 2)));
    act(world);
}

static void on_end(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)input;
    act(user);
    peal_conn_close(conn);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct world *world = user;
    FUZZ_CHECK(record->bytes_accepted == record->bytes_taken + record->bytes_unsent);
    FUZZ_CHECK(peal_conn_send(conn, "x", 1) < 0);
    world->closed++;
    act(world);
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    struct world *world = user;
    (void)server;
    FUZZ_CHECK(!world->is_stopped && world->opened == world->closed);
    FUZZ_CHECK(report->connections ==
               report->closed_clean + report->closed_otherwise + report->cut_off);
    world->is_stopped = true;
}

static void on_timer(struct peal_timer *timer, void *user)
{
    (void)timer;
    act(user);
}

static void adopt(struct world *world)
{
    int pair[2];
    if (world->count == CONNS || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) {
        return;
    }
    if (peal_server_adopt(world->server, pair[0]) < 0) {
        close(pair[0]);
        close(pair[1]);
        return;
    }
    world->peers[world->count++] = pair[1];
}

static void act_on(struct world *world, struct peal_conn *conn)
{
    static const char bytes[20000];
    switch (fuzz_below(&world->input, 9)) {
    case 0:
    case 1:
        (void)!peal_conn_send(conn, bytes, (size_t)fuzz_below(&world->input, sizeof bytes));
        break;
    case 2:
        peal_conn_close(conn);
        break;
    case 3:
        peal_conn_shutdown(conn);
        break;
    case 4:
        peal_conn_abort(conn);
        break;
    case 5:
        peal_conn_pause_reading(conn);
        peal_conn_flush(conn);
        peal_conn_resume_reading(conn);
        break;
    case 6:
        peal_conn_want_drain(conn);
        break;
    case 7: {
        const struct peal_conn_limits limits = {
            .output_high_bytes = 1 + (size_t)fuzz_below(&world->input, 5000),
            .output_bytes_max = 1 + (size_t)fuzz_below(&world->input, 60000),
            .output_cap_refuses = fuzz_below(&world->input, 2) == 1};
        (void)!peal_conn_set_limits(conn, &limits);
        break;
    }
    default:
        peal_timer_start(&world->timer, fuzz_below(&world->input, 2), 0);
        break;
    }
}

static void act_as_peer(struct world *world)
{
    static char bytes[30000];
    int fd = world->peers[fuzz_below(&world->input, CONNS)];
    if (fd < 0) {
        return;
    }
    switch (fuzz_below(&world->input, 4)) {
    case 0:
        (void)!send(fd, bytes, 1 + (size_t)fuzz_below(&world->input, 3000),
                    MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 1:
        (void)!recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        break;
    case 2:
        shutdown(fd, SHUT_WR);
        break;
    default:
        break;
    }
}

static void act(struct world *world)
{
    if (world->input.size == 0) {
        return;
    }
    struct peal_conn *conn = world->conns[fuzz_below(&world->input, CONNS)];
    switch (fuzz_below(&world->input, 6)) {
    case 0:
        adopt(world);
        break;
    case 1:
        act_as_peer(world);
        break;
    default:
        if (conn) {
            act_on(world, conn);
        }
        break;
    }
}

static void end(struct world *world)
{
    for (unsigned i = 0; i < CONNS; i++) {
        if (world->peers[i] >= 0) {
            close(world->peers[i]);
        }
    }
    peal_server_stop(world->server, 20);
    for (unsigned turns = 0; turns < TURNS_MAX && !world->is_stopped; turns++) {
        FUZZ_CHECK(peal_loop_turn(world->loop, 5) == 1);
    }
    FUZZ_CHECK(world->is_stopped && world->opened == world->count);
    peal_server_unref(world->server);
    peal_timer_deinit(&world->timer);
    peal_loop_free(world->loop);
    for (unsigned i = 0; i < CONNS; i++) {
        peal_conn_unref(world->conns[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct peal_conn_ops ops = {on_open, on_data, on_end, NULL, on_close};
    struct world world = {.input = {data, size}, .peers = {-1, -1, -1, -1}};
    uint64_t allocations, bytes, allocations_after, bytes_after;
    sys_ledger(&allocations, &bytes);
    const char *engine = fuzz_below(&world.input, 2) ? "io_uring" : "epoll";
    FUZZ_CHECK(peal_loop_new(&(struct peal_loop_options){.engine = engine}, &world.loop) == 0);
    const struct peal_server_options options = {
        .ops = &ops, .user = &world, .on_stopped = on_stopped};
    FUZZ_CHECK(peal_server_new(world.loop, &options, &world.server) == 0);
    peal_timer_init(&world.timer, world.loop, on_timer, &world);
    for (unsigned steps = 0; steps < STEPS_MAX && world.input.size > 0; steps++) {
        act(&world);
        if (fuzz_below(&world.input, 3) == 0) {
            FUZZ_CHECK(peal_loop_turn(world.loop, 0) == 1);
        }
    }
    world.input.size = 0;
    end(&world);
    sys_ledger(&allocations_after, &bytes_after);
    FUZZ_CHECK(allocations == allocations_after && bytes == bytes_after);
    return 0;
}
