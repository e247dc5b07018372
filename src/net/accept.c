/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking connections in: from a listener, or from the program (peal_server_adopt), to the shard
 * that will serve them.
 *
 * The connection object is made here, on the accepting thread, because the task that hands it over
 * is a part of it: a hand-over allocates nothing of its own and cannot fail half way. Until it
 * opens it is in state CONNECTING and nobody else has seen it; if its loop is ending, the socket is
 * closed and counted (handover_lost), never lost silently.
 *
 * Limits on the number of connections are taken when the socket is, before it travels, so that they
 * hold exactly however many loops there are; pl_server_discount gives them back at the connection's
 * end, wherever that is. */
#include "net/server.h"

#include "base/assert.h"
#include "base/log.h"

#include <peal/error.h>
#include <peal/pool.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

bool pl_server_admit(struct peal_server *server, const struct sockaddr *peer, socklen_t peer_size)
{
    size_t conns_max = server->options.conns_max;
    if (atomic_fetch_add(&server->conns_now, 1) >= conns_max && conns_max > 0) {
        atomic_fetch_sub(&server->conns_now, 1);
        return false;
    }
    size_t per_addr_max = server->options.conns_per_addr_max;
    if (per_addr_max > 0 && peer_size > 0 &&
        pl_addr_count_take(&server->addr_counts, peer, per_addr_max) < 0) {
        atomic_fetch_sub(&server->conns_now, 1);
        return false;
    }
    return true;
}

void pl_server_discount(struct peal_server *server, const struct sockaddr *peer,
                        socklen_t peer_size)
{
    if (server->options.conns_per_addr_max > 0 && peer_size > 0) {
        pl_addr_count_give_back(&server->addr_counts, peer);
    }
    atomic_fetch_sub(&server->conns_now, 1);
}

/* ---- balance */

static uint32_t load_of(struct pl_shard *shard)
{
    return atomic_load_explicit(&shard->loop->connections, memory_order_relaxed) +
           atomic_load_explicit(&shard->incoming, memory_order_relaxed);
}

struct pl_shard *pl_server_choose_shard(struct peal_server *server)
{
    unsigned count = server->shard_count - server->serving_from;
    struct pl_shard **serving = server->shards + server->serving_from;
    if (count == 1) {
        return serving[0];
    }
    unsigned first =
        atomic_fetch_add_explicit(&server->next_shard, 1, memory_order_relaxed) % count;
    if (server->options.balance != PEAL_BALANCE_LEAST) {
        return serving[first];
    }
    struct pl_shard *least = serving[first]; /* ties go round */
    for (unsigned i = 1; i < count; i++) {
        struct pl_shard *shard = serving[(first + i) % count];
        if (load_of(shard) < load_of(least)) {
            least = shard;
        }
    }
    return least;
}

/* ---- hand-over */

void pl_conn_arrived(struct peal_conn *conn, bool dropped)
{
    struct pl_shard *shard = pl_container(conn->limits->owner, struct pl_shard, owner);
    struct peal_server *server = shard->server;
    if (dropped) {
        pl_count(&shard->counters.handover_lost, 1);
        union pl_sockaddr peer;
        socklen_t peer_size = pl_conn_peer(conn, &peer);
        pl_server_discount(server, &peer.any, peer_size);
        pl_conn_discard(conn);
    } else {
        pl_shard_add(shard, conn);
    }
    atomic_fetch_sub(&shard->incoming, 1);
    pl_shard_check_finished(shard);
    pl_server_release(server);
}

/* False: the loop has ended. */
static bool hand_over(struct pl_shard *to, struct peal_conn *conn)
{
    struct peal_server *server = to->server;
    conn->limits = to->limits; /* names the shard; counted when it opens */
    pl_server_hold(server);
    atomic_fetch_add(&to->incoming, 1);
    if (pl_loop_post_bare(to->loop, &conn->task)) {
        return true;
    }
    atomic_fetch_sub(&to->incoming, 1); /* it finishes without us: shard.c, invariant 2 */
    pl_server_release(server);
    return false;
}

static void on_accept(struct pl_listener *listener, int fd, const struct sockaddr *peer,
                      socklen_t peer_size)
{
    struct pl_shard *here = listener->user;
    struct peal_server *server = here->server;
    pl_count(&here->counters.accepted, 1);
    pl_record(here->loop, PL_RECORD_ACCEPTED, 0, (uint32_t)fd);
    if (!pl_server_admit(server, peer, peer_size)) {
        pl_count(&here->counters.refused, 1);
        pl_record(here->loop, PL_RECORD_REFUSED, 0, (uint32_t)fd);
        sys_close(fd);
        return;
    }
    struct pl_shard *to =
        server->options.balance == PEAL_BALANCE_REUSEPORT ? here : pl_server_choose_shard(server);
    struct peal_conn *conn = pl_conn_new(fd, peer, peer_size);
    if (!conn) {
        sys_close(fd);
    } else if (to == here) {
        pl_shard_add(here, conn);
        return;
    } else if (hand_over(to, conn)) {
        return;
    } else {
        pl_conn_discard(conn);
    }
    pl_count(&here->counters.handover_lost, 1);
    pl_server_discount(server, peer, peer_size);
}

static void on_error(struct pl_listener *listener, int error)
{
    struct pl_shard *here = listener->user;
    pl_count(&here->counters.accept_errors, 1);
    pl_log(PEAL_LOG_INFO, "%s: a connection was lost while it was being accepted: %s",
           here->server->name, peal_strerror(error));
}

static void on_pause(struct pl_listener *listener, int error)
{
    struct pl_shard *here = listener->user;
    struct peal_server *server = here->server;
    if (error < 0) {
        pl_count(&here->counters.accept_pauses, 1);
        pl_log(PEAL_LOG_WARNING, "%s: accepting pauses for %u ms: %s", server->name,
               listener->retry_ms, peal_strerror(error));
    }
    if (server->options.on_accept_pause) {
        server->options.on_accept_pause(server, error, server->options.user);
    }
}

static void on_closed(void *user)
{
    struct pl_shard *shard = user;
    pl_server_release(shard->server);
}

const struct pl_listener_handler pl_server_listener_handler = {
    .on_accept = on_accept,
    .on_error = on_error,
    .on_pause = on_pause,
    .on_closed = on_closed,
};

/* ---- sockets of the program's own */

/* Datagram sockets can be connected too, but have no end of stream. */
static int check_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    int result = sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    return result < 0 ? result : type == SOCK_STREAM ? 0 : -EPROTOTYPE;
}

int peal_server_adopt(struct peal_server *server, int fd)
{
    struct sockaddr_storage peer;
    socklen_t peer_size = sizeof peer;
    if (pl_server_state(server) != PL_SERVER_RUNNING) {
        return PEAL_ERR_STOPPED;
    }
    int result = check_stream(fd);
    if (result == 0) {
        result = sys_getpeername(fd, (struct sockaddr *)&peer, &peer_size);
    }
    if (result == 0) {
        result = sys_set_nonblocking(fd);
    }
    if (result < 0) {
        return result;
    }
    if (!pl_server_admit(server, (struct sockaddr *)&peer, peer_size)) {
        return -EUSERS;
    }
    struct peal_conn *conn = pl_conn_new(fd, (struct sockaddr *)&peer, peer_size);
    if (!conn) {
        pl_server_discount(server, (struct sockaddr *)&peer, peer_size);
        return -ENOMEM;
    }
    if (!server->options.delay && peer.ss_family != AF_UNIX) {
        int on = 1;
        sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
                       sizeof on); /* a wish: a failure changes nothing that matters */
    }
    if (!hand_over(pl_server_choose_shard(server), conn)) {
        pl_conn_free_unopened(conn); /* the fd stays the caller's */
        pl_server_discount(server, (struct sockaddr *)&peer, peer_size);
        return PEAL_ERR_LOOP_ENDED;
    }
    atomic_fetch_add(&server->adopted, 1);
    return 0;
}
