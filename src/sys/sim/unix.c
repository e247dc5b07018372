/* SPDX-License-Identifier: BSD-2-Clause */
/* Simulated stream sockets of the unix family.
 *
 * Model. There is no network: what one end writes stands at once in the other's `in`, and how much
 * may stand there is the writer's buffer. Nothing is under way when an end is closed, so nothing is
 * lost; there are no resets either, but a close with unread input tells the other end ECONNRESET
 * (SO_LINGER does nothing). The shutdown flags of both ends are set at once: ours for writing is
 * the other's for reading.
 *
 * Connecting succeeds or fails within the call. Listeners are found by a name in the file system,
 * whose node outlives them until it is unlinked, or by an abstract name. A connection is CONNECTED
 * until both ends are closed, so that its names can be asked for; an end whose other end is gone
 * has no peer.
 *
 * Faults of the network (RESET, TIMED_OUT) are none of this family: asked for, they do nothing. */
#include "sys/sim/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void free_unix(struct pl_sim_socket *socket)
{
    if (socket->node) {
        socket->node->socket = NULL;
    }
    pl_sim_free_socket(socket);
}

/* The path without its zero byte; NULL: abstract, or none. */
static const char *path_of(const struct sockaddr *address, socklen_t size, char *text,
                           size_t text_size)
{
    size_t length = size > sizeof(sa_family_t) ? size - sizeof(sa_family_t) : 0;
    if (length == 0 || length >= text_size) {
        return NULL;
    }
    memcpy(text, (const char *)address + sizeof(sa_family_t), length);
    text[length] = '\0';
    return text[0] ? text : NULL;
}

static struct pl_sim_socket *find_abstract(const struct sockaddr *address, socklen_t size)
{
    for (struct pl_sim_socket *socket = pl_sim.sockets; socket; socket = socket->next) {
        if (socket->family == AF_UNIX && socket->is_bound && socket->own_size == size &&
            memcmp(&socket->own, address, size) == 0) {
            return socket;
        }
    }
    return NULL;
}

static int bind_unix(struct pl_sim_socket *socket, const struct sockaddr *address, socklen_t size)
{
    char text[sizeof(struct sockaddr_un)];
    if (address->sa_family != AF_UNIX || size <= sizeof(sa_family_t) ||
        size > sizeof(struct sockaddr_un)) {
        return -EINVAL;
    }
    const char *path = path_of(address, size, text, sizeof text);
    if (path ? pl_sim_find_node(path) != NULL : find_abstract(address, size) != NULL) {
        return -EADDRINUSE;
    }
    if (path) {
        socket->node = pl_sim_new_node(path);
        socket->node->is_socket = true;
        socket->node->socket = socket;
        size = (socklen_t)(sizeof(sa_family_t) + strlen(path) + 1);
    }
    memset(&socket->own, 0, sizeof socket->own);
    memcpy(&socket->own, address, size);
    socket->own_size = size;
    socket->is_bound = true;
    return 0;
}

static int listen_unix(struct pl_sim_socket *socket, int backlog)
{
    if (!socket->is_bound || (socket->state != PL_SIM_FRESH && socket->state != PL_SIM_LISTENING)) {
        return -EINVAL;
    }
    socket->state = PL_SIM_LISTENING;
    socket->backlog = backlog > 0 ? (unsigned)backlog : 0;
    pl_sim_changed(&socket->file);
    return 0;
}

static int find_target(const struct sockaddr *address, socklen_t size,
                       struct pl_sim_socket **ret_target)
{
    char text[sizeof(struct sockaddr_un)];
    const char *path = path_of(address, size, text, sizeof text);
    struct pl_sim_socket *target;
    if (path) {
        const struct pl_sim_node *node = pl_sim_find_node(path);
        if (!node) {
            return -ENOENT;
        }
        target = node->socket;
    } else {
        target = find_abstract(address, size);
    }
    if (!target || target->state != PL_SIM_LISTENING || target->shut_in) {
        return -ECONNREFUSED;
    }
    *ret_target = target;
    return 0;
}

static int connect_unix(struct pl_sim_socket *socket, const struct sockaddr *address,
                        socklen_t size)
{
    struct pl_sim_socket *listener = NULL;
    if (address->sa_family != AF_UNIX || size <= sizeof(sa_family_t)) {
        return -EINVAL;
    }
    int result = find_target(address, size, &listener);
    if (result < 0) {
        return result;
    }
    if (socket->state != PL_SIM_FRESH) {
        return socket->state == PL_SIM_LISTENING ? -EINVAL : -EISCONN;
    }
    if (pl_sim_strikes(PL_SIM_CONNECT_REFUSED)) {
        return -ECONNREFUSED;
    }
    if (listener->queued > listener->backlog || pl_sim_strikes(PL_SIM_NOT_READY)) {
        return -EAGAIN;
    }
    struct pl_sim_socket *child = pl_sim_new_child(listener, socket);
    child->own = listener->own;
    child->own_size = listener->own_size;
    child->other = socket->own;
    child->other_size = socket->own_size;
    socket->other = listener->own;
    socket->other_size = listener->own_size;
    pl_sim_queue_child(listener, child);
    pl_sim_changed(&socket->file);
    return 0;
}

static int may_accept_unix(struct pl_sim_socket *socket)
{
    return socket->state == PL_SIM_LISTENING ? 0 : -EINVAL;
}

static size_t used_unix(const struct pl_sim_socket *socket)
{
    return socket->peer ? socket->peer->in.size : 0;
}

static uint32_t poll_unix(struct pl_sim_file *file)
{
    const struct pl_sim_socket *socket = (const struct pl_sim_socket *)file;
    uint32_t events = socket->error ? (uint32_t)EPOLLERR : 0;
    if ((socket->shut_in && socket->shut_out) || socket->state == PL_SIM_FRESH) {
        events |= EPOLLHUP;
    }
    if (socket->shut_in) {
        events |= EPOLLIN | EPOLLRDHUP;
    }
    if (socket->in.size > 0 || socket->queue) {
        events |= EPOLLIN;
    }
    if (socket->state != PL_SIM_LISTENING && used_unix(socket) <= socket->out_max / 4) {
        events |= EPOLLOUT;
    }
    return events;
}

static int may_send_unix(struct pl_sim_socket *socket)
{
    if (socket->state != PL_SIM_CONNECTED) {
        return -ENOTCONN;
    }
    return socket->shut_out || !socket->peer || socket->peer->shut_in ? -EPIPE : 0;
}

static size_t room_unix(struct pl_sim_socket *socket)
{
    size_t used = used_unix(socket);
    return used < socket->out_max ? socket->out_max - used : 0;
}

static void put_unix(struct pl_sim_socket *socket, const void *data, size_t size)
{
    pl_sim_bytes_put(&socket->peer->in, data, size);
}

static void was_written_unix(struct pl_sim_socket *socket)
{
    pl_sim_has_input(&socket->peer->file);
    pl_sim_changed(&socket->file);
}

static int nothing_to_read_unix(struct pl_sim_socket *socket)
{
    if (socket->state != PL_SIM_CONNECTED) {
        return -EINVAL;
    }
    if (socket->error) {
        int result = pl_sim_take_error(socket);
        pl_sim_changed(&socket->file);
        return result;
    }
    return socket->shut_in ? 0 : -EAGAIN;
}

static void was_read_unix(struct pl_sim_socket *socket)
{
    if (socket->peer) {
        pl_sim_changed(&socket->peer->file);
    }
}

static int shutdown_unix(struct pl_sim_socket *socket, int how)
{
    bool in = how != SHUT_WR, out = how != SHUT_RD;
    socket->shut_in |= in;
    socket->shut_out |= out;
    if (socket->peer) {
        socket->peer->shut_in |= out;
        socket->peer->shut_out |= in;
        pl_sim_changed(&socket->peer->file);
    }
    pl_sim_changed(&socket->file);
    return 0;
}

static int unsent_unix(struct pl_sim_socket *socket)
{
    return (int)used_unix(socket);
}

/* is_refused: nobody had accepted it. */
static void leave_peer(struct pl_sim_socket *socket, bool is_refused)
{
    struct pl_sim_socket *peer = socket->peer;
    if (peer) {
        peer->shut_in = peer->shut_out = true;
        if (socket->in.size > 0 || is_refused) {
            peer->error = ECONNRESET;
        }
        peer->peer = NULL;
        socket->peer = NULL;
        pl_sim_changed(&peer->file);
    }
}

static void unnamed_unix(struct pl_sim_file *file)
{
    struct pl_sim_socket *socket = (struct pl_sim_socket *)file;
    pl_sim_forget_watchers(file);
    for (struct pl_sim_socket *child; (child = pl_sim_unqueue_child(socket)) != NULL;) {
        leave_peer(child, true);
        free_unix(child);
    }
    leave_peer(socket, false);
    free_unix(socket);
}

static void do_nothing(struct pl_sim_socket *socket)
{
    (void)socket;
}

const struct pl_sim_protocol pl_sim_unix = {
    .poll = poll_unix,
    .unnamed = unnamed_unix,
    .bind = bind_unix,
    .listen = listen_unix,
    .connect = connect_unix,
    .may_accept = may_accept_unix,
    .shutdown = shutdown_unix,
    .may_send = may_send_unix,
    .room = room_unix,
    .put = put_unix,
    .was_written = was_written_unix,
    .nothing_to_read = nothing_to_read_unix,
    .was_read = was_read_unix,
    .unsent = unsent_unix,
    .reset = do_nothing,
    .lose = do_nothing,
};
