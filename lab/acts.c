/* SPDX-License-Identifier: BSD-2-Clause */
/* What a program may do, one act at a time.
 *
 * Acts are drawn; 0 is always the simplest, a short send, so that shrinking leaves programs that
 * say little. There are three places to act from, with what may be done there:
 *   in a callback of a connection   everything on that connection, and all of the next
 *   on a loop, beside connections   servers, clients, timers, posts, connections by id
 *   on any thread                   what needs a reference or an id only
 *
 * An act may fail (the faults of the run see to that); what it must not do, the oracle knows. */
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *room(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) {
        abort();
    }
    return memory;
}

unsigned writer_of_loop(void)
{
    unsigned i = 0;
    while (i < world.loops_count && !peal_loop_is_mine(world.loops[i])) {
        i++;
    }
    return WRITER_HOME + i;
}

static size_t some_size(void)
{
    static const size_t limits[] = {40, 40, 40, 3000, 9000, LAB_CHUNK_MAX};
    return LAB_CHUNK_HEAD + (size_t)peal_sim_below(limits[peal_sim_below(6)]);
}

static struct peal_loop *some_loop(void)
{
    return world.loops[peal_sim_below(world.loops_count)];
}

static struct lab_conn *some_recent(void)
{
    return world.recent[peal_sim_below(RECENT_MAX)];
}

static struct world_server *some_server(void)
{
    return world.servers_count == 0 ? NULL : &world.servers[peal_sim_below(world.servers_count)];
}

/* ---- with a reference, on any thread */

static void end_somehow(struct lab_conn *lab, struct peal_conn *conn)
{
    switch (peal_sim_below(3)) {
    case 0:
        lab_ends(lab, LAB_CLOSE);
        LAB_DO(peal_conn_close(conn));
        break;
    case 1:
        lab_ends(lab, LAB_SHUTDOWN);
        LAB_DO(peal_conn_shutdown(conn));
        break;
    default:
        lab_ends(lab, LAB_ABORT);
        LAB_DO(peal_conn_abort(conn));
        break;
    }
}

static void act_by_reference(struct lab_conn *lab, struct peal_conn *conn, unsigned writer)
{
    static const enum lab_way ways[] = {LAB_SEND, LAB_SENDV, LAB_SEND_REF, LAB_SEND_TO_ID};
    if (lab->pauses > 0 && peal_sim_chance(30)) {
        lab->pauses--;
        LAB_DO(peal_conn_resume_reading(conn));
    } else if (peal_sim_below(4) < 3) {
        lab_send(lab, conn, writer, some_size(), ways[peal_sim_below(4)]);
    } else {
        end_somehow(lab, conn);
    }
}

static void find_and_act(struct lab_conn *lab, unsigned writer)
{
    struct peal_conn *conn;
    bool was_closed = lab->is_closed;
    if (LAB_CALL(peal_conn_find(lab->id, &conn)) < 0) {
        if (!lab->is_closed && peal_loop_is_mine(lab->loop) &&
            peal_conn_state(lab->conn) != PEAL_CONN_CLOSED) {
            peal_sim_fail("G4: a connection that has not closed is not found by its id");
        }
        return;
    }
    if (was_closed) {
        peal_sim_fail("G4: a connection that has closed is found by its id");
    }
    act_by_reference(lab, conn, writer);
    LAB_DO(peal_conn_unref(conn));
}

static void act_by_id(struct lab_conn *lab, unsigned writer)
{
    switch (peal_sim_below(4)) {
    case 0:
        find_and_act(lab, writer);
        break;
    case 1:
        lab_send(lab, NULL, writer, some_size(), LAB_SEND_TO_ID);
        break;
    case 2:
        lab_ends(lab, LAB_CLOSE);
        LAB_DO(peal_conn_close_id(lab->id));
        break;
    default:
        lab_ends(lab, LAB_ABORT);
        LAB_DO(peal_conn_abort_id(lab->id));
        break;
    }
}

/* Takes over the reference of a hold, so that no one else uses or drops it meanwhile. */
static void act_by_hold(unsigned writer)
{
    struct world_hold *place = &world.held[peal_sim_below(HELD_MAX)];
    struct world_hold hold = *place;
    if (!hold.conn) {
        return;
    }
    place->conn = NULL;
    act_by_reference(hold.lab, hold.conn, writer);
    LAB_DO(peal_conn_unref(hold.conn));
}

/* ---- tasks and timers: what they do is drawn when they run */

static void deferred_task(void *user)
{
    lab_check_top_level("a task");
    if (user) {
        act_by_id(user, writer_of_loop());
    } else {
        act_on_world();
    }
}

static void task(void *user)
{
    world.tasks_left--;
    deferred_task(user);
}

static void task_dropped(void *user)
{
    (void)user;
    world.tasks_left--;
}

static void post_task(struct lab_conn *lab)
{
    world.tasks_left++;
    int result = LAB_CALL(peal_loop_post_or_drop(some_loop(), task, task_dropped, lab));
    world.tasks_left -= result < 0;
}

static void defer_task(struct lab_conn *lab)
{
    LAB_DO((void)!peal_loop_defer(peal_loop_current(), deferred_task, lab));
}

struct act_timer {
    struct peal_timer timer;
    struct lab_conn *lab;
    uint64_t due_ms;
};

static void timer_fired(struct peal_timer *timer, void *user)
{
    struct act_timer *own = user;
    struct lab_conn *lab = own->lab;
    lab_check_top_level("a timer");
    PEAL_SIM_CHECK(timer == &own->timer);
    PEAL_SIM_CHECK(peal_sim_now_ms() >= own->due_ms);
    if (peal_sim_chance(50)) { /* its storage may go in its own callback */
        LAB_DO(peal_timer_deinit(timer));
        memset(own, 0xdd, sizeof *own);
        free(own);
    }
    act_by_id(lab, writer_of_loop());
}

static void start_timer(struct lab_conn *lab)
{
    struct act_timer *timer = room(sizeof *timer);
    timer->lab = lab;
    LAB_DO(peal_timer_init(&timer->timer, peal_loop_current(), timer_fired, timer));
    uint64_t delay_ms = peal_sim_below(300);
    timer->due_ms = peal_sim_now_ms() + delay_ms;
    LAB_DO(peal_timer_start(&timer->timer, delay_ms, 0));
    if (peal_sim_chance(20)) {
        LAB_DO(peal_timer_cancel(&timer->timer));
        memset(timer, 0xdd, sizeof *timer);
        free(timer);
    }
}

/* ---- servers and clients, from any thread */

static void visit(struct peal_conn *conn, void *user)
{
    struct lab_conn *lab = peal_conn_user(conn);
    (void)user;
    lab_check_top_level("a visit");
    PEAL_SIM_CHECK(peal_loop_is_mine(peal_conn_loop(conn)));
    PEAL_SIM_CHECK(!lab->is_closed && lab->conn == conn);
    if (peal_sim_chance(30)) {
        act_by_reference(lab, conn, writer_of_loop());
    }
}

static void visited(void *user)
{
    (void)user;
    lab_check_top_level("the end of a visit");
    world.visits_left--;
}

static void broadcast(struct world_server *server)
{
    uint8_t chunk[600];
    struct peal_blob *blob;
    size_t size = LAB_CHUNK_HEAD + (size_t)peal_sim_below(sizeof chunk - LAB_CHUNK_HEAD);
    lab_broadcast_chunk(server->lab.broadcasts++, size, chunk);
    if (LAB_CALL(peal_blob_copy(chunk, size, &blob)) == 0) {
        LAB_DO((void)!peal_server_broadcast(server->server, blob, NULL, NULL, NULL));
        LAB_DO(peal_blob_unref(blob));
    }
}

static void adopt(struct world_server *server)
{
    int error;
    const char *address = peer_server_address[peal_sim_below(PEERS_MAX)];
    if (!address[0]) {
        return;
    }
    struct peal_sim_peer *peer = peal_sim_connect(address, 100, &error);
    if (!peer || (strncmp(address, "unix:", 5) == 0) != server->is_unix) {
        if (peer) {
            peal_sim_close(peer);
        }
        return;
    }
    int fd = peal_sim_give_fd(peer);
    if (LAB_CALL(peal_server_adopt(server->server, fd)) < 0) {
        peal_sim_close_file(fd);
    }
}

void client_connect(struct world_client *client)
{
    client->is_cancelled = false;
    LAB_DO(peal_client_connect(client->client));
}

/* On another thread the loop may be opening it at this moment. Noted before: another thread may tell
 * it to connect as soon as this has begun. */
void client_cancel(struct world_client *client)
{
    client->is_cancelled |= peal_loop_is_mine(world.home);
    LAB_DO(peal_client_cancel(client->client));
}

static void act_with_client(void)
{
    if (world.clients_count > 0) {
        struct world_client *client = &world.clients[peal_sim_below(world.clients_count)];
        if (peal_sim_chance(30)) {
            client_cancel(client);
        } else {
            client_connect(client);
        }
    }
}

static void act_with_server(unsigned writer)
{
    int result;
    struct world_server *server = some_server();
    if (!server) {
        return;
    }
    switch (peal_sim_below(8)) {
    case 0:
    case 1:
        world.visits_left++;
        result = LAB_CALL(peal_server_for_each(server->server, visit, visited, NULL));
        world.visits_left -= result < 0;
        break;
    case 2:
    case 3:
        if (writer == WRITER_USER) { /* one thread, so that the order of broadcasts is known */
            broadcast(server);
        }
        break;
    case 4:
        PEAL_SIM_CHECK(LAB_CALL(peal_server_connections(server->server)) < 10000);
        break;
    case 5:
        if (writer >= WRITER_USER) { /* it waits, which a loop must not */
            adopt(server);
        }
        break;
    default:
        if (peal_sim_chance(20)) {
            world_stop_server(server, (uint32_t)peal_sim_below(500));
        }
        break;
    }
}

void act_as_user(unsigned writer)
{
    struct lab_conn *lab = some_recent();
    peal_sim_begin_step("user");
    switch (peal_sim_below(8)) {
    case 0:
    case 1:
    case 2:
        if (lab) {
            act_by_id(lab, writer);
        }
        break;
    case 3:
    case 4:
        act_by_hold(writer);
        break;
    case 5:
        post_task(lab);
        break;
    case 6:
        act_with_client();
        break;
    default:
        act_with_server(writer);
        break;
    }
    peal_sim_end_step();
}

/* ---- on a loop */

static void accept_or_not(void)
{
    struct world_server *server = some_server();
    if (server && peal_loop_is_mine(world.home)) {
        LAB_DO(peal_server_pause_accept(server->server));
        if (peal_sim_chance(80)) {
            LAB_DO(peal_server_resume_accept(server->server));
        }
    }
}

void act_on_world(void)
{
    struct lab_conn *lab = some_recent();
    switch (peal_sim_below(8)) {
    case 0:
        if (lab) {
            act_by_id(lab, writer_of_loop());
        }
        break;
    case 1:
        post_task(lab);
        break;
    case 2:
        defer_task(lab);
        break;
    case 3:
        if (lab) {
            start_timer(lab);
        }
        break;
    case 4:
        act_with_client();
        break;
    case 5:
        accept_or_not();
        break;
    case 6:
        if (world.is_rude && peal_sim_chance(10)) {
            LAB_DO(peal_loop_quit(peal_loop_current()));
        }
        break;
    default:
        act_with_server(writer_of_loop());
        break;
    }
}

static void pause_or_resume(struct lab_conn *lab, struct peal_conn *conn)
{
    if (lab->pauses == 0 || peal_sim_chance(20)) {
        LAB_DO(peal_conn_pause_reading(conn));
        lab->pauses++;
    } else {
        lab->pauses--;
        LAB_DO(peal_conn_resume_reading(conn));
    }
}

static void change_limits(struct lab_conn *lab, struct peal_conn *conn)
{
    struct peal_conn_limits limits;
    world_limits(&limits);
    int result = LAB_CALL(peal_conn_set_limits(conn, &limits));
    PEAL_SIM_CHECK(result == 0 || result == -EPIPE || result == -ENOMEM);
    if (result == 0) {
        lab_limits(lab, &limits);
    }
}

void act_in_callback(struct lab_conn *lab, struct peal_conn *conn)
{
    switch (peal_sim_below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        lab_send(lab, conn, writer_of_loop(), some_size(), (enum lab_way)peal_sim_below(LAB_WAYS));
        break;
    case 5:
    case 6:
        end_somehow(lab, conn);
        break;
    case 7:
        pause_or_resume(lab, conn);
        break;
    case 8:
        lab->wants_drain = true;
        LAB_DO(peal_conn_want_drain(conn));
        break;
    case 9:
    case 10:
        world_hold(lab, conn);
        break;
    case 11:
        change_limits(lab, conn);
        break;
    case 12:
        LAB_DO(peal_conn_flush(conn));
        break;
    case 13:
        post_task(lab);
        break;
    case 14:
        start_timer(lab);
        break;
    default:
        act_on_world();
        break;
    }
}
