/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on sockets, and what all stream sockets have in common.
 *
 * Model. A socket has two queues: `in`, what its owner may read, and `out`, what its owner has
 * written and the other end has no room for yet (TCP; a unix socket writes straight into the
 * other's `in`). It has an error that is told once, and two flags, shut_in and shut_out, that stand
 * for the kernel's RCV_SHUTDOWN and SEND_SHUTDOWN: most of what poll and the calls say follows from
 * these four, as in Linux (net/ipv4/tcp.c, net/unix/af_unix.c tell the order in which they count,
 * and test/conform checks that it is the same here).
 *
 * This file has what a call does whatever the protocol: finding the socket, meeting its faults,
 * copying, fd numbers, options. The protocols tell when one may send, how much room there is and
 * what the other end notices.
 *
 * Invariants
 *  1. peer pointers go both ways or are NULL on one side at least; a socket that is freed is
 *     nobody's peer.
 *  2. A socket in a listener's queue has no fd, and is freed with the listener.
 *
 * Failure modes. Faults of calls come before the call has done anything, except for short counts.
 * A write without MSG_NOSIGNAL to a connection that is gone would kill a real process, and ends the
 * run. */
#include "sys/sim/socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_USUAL = 128 << 10, IOV_MAX_LINUX = 1024 };

/* ---- bytes */

size_t pl_sim_bytes_put(struct pl_sim_bytes *bytes, const void *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (bytes->begin + bytes->size + size > bytes->capacity) {
        if (bytes->size > 0) {
            memmove(bytes->data, bytes->data + bytes->begin, bytes->size);
        }
        bytes->begin = 0;
        if (bytes->size + size > bytes->capacity) {
            bytes->capacity = (bytes->size + size) * 2;
            bytes->data = realloc(bytes->data, bytes->capacity);
            if (!bytes->data) {
                abort();
            }
        }
    }
    memcpy(bytes->data + bytes->begin + bytes->size, data, size);
    bytes->size += size;
    return size;
}

size_t pl_sim_bytes_take(struct pl_sim_bytes *bytes, void *ret_data, size_t size)
{
    size = size < bytes->size ? size : bytes->size;
    if (ret_data && size > 0) {
        memcpy(ret_data, bytes->data + bytes->begin, size);
    }
    bytes->begin += size;
    bytes->size -= size;
    return size;
}

void pl_sim_bytes_clear(struct pl_sim_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct pl_sim_bytes){0};
}

/* ---- sockets */

static size_t drawn_buffer(void)
{
    if (pl_sim.buffer_max == 0) {
        return BUFFER_USUAL;
    }
    return pl_sim.buffer_min +
           (size_t)pl_choice_below(&pl_sim.choice, pl_sim.buffer_max - pl_sim.buffer_min + 1);
}

struct pl_sim_socket *pl_sim_new_socket(int family)
{
    struct pl_sim_socket *socket = pl_sim_take(sizeof *socket);
    socket->family = family;
    const struct pl_sim_protocol *protocol = pl_sim_protocol(socket);
    socket->file = (struct pl_sim_file){
        .kind = PL_SIM_SOCKET, .poll = protocol->poll, .unnamed = protocol->unnamed};
    socket->in_max = drawn_buffer();
    socket->out_max = drawn_buffer();
    socket->own.ss_family = (sa_family_t)family;
    socket->own_size = family == AF_UNIX    ? sizeof(sa_family_t)
                       : family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                            : sizeof(struct sockaddr_in);
    socket->next = pl_sim.sockets;
    socket->number = ++pl_sim.sockets_made;
    pl_sim.sockets = socket;
    return socket;
}

void pl_sim_free_socket(struct pl_sim_socket *socket)
{
    struct pl_sim_socket **at = &pl_sim.sockets;
    while (*at != socket) {
        at = &(*at)->next;
    }
    *at = socket->next;
    pl_sim_forget_watchers(&socket->file);
    pl_sim_bytes_clear(&socket->in);
    pl_sim_bytes_clear(&socket->out);
    memset(socket, 0xdd, sizeof *socket);
    free(socket);
}

int pl_sim_take_error(struct pl_sim_socket *socket)
{
    int error = socket->error;
    socket->error = 0;
    return -error;
}

void pl_sim_queue_child(struct pl_sim_socket *listener, struct pl_sim_socket *child)
{
    struct pl_sim_socket **end = &listener->queue;
    while (*end) {
        end = &(*end)->next_queued;
    }
    *end = child;
    child->listener = listener;
    listener->queued++;
    pl_sim_has_input(&listener->file);
}

void pl_sim_drop_from_queue(struct pl_sim_socket *child)
{
    struct pl_sim_socket **at = &child->listener->queue;
    while (*at != child) {
        at = &(*at)->next_queued;
    }
    *at = child->next_queued;
    child->listener->queued--;
    child->listener = child->next_queued = NULL;
}

struct pl_sim_socket *pl_sim_unqueue_child(struct pl_sim_socket *listener)
{
    struct pl_sim_socket *child = listener->queue;
    if (child) {
        pl_sim_drop_from_queue(child);
    }
    return child;
}

struct pl_sim_socket *pl_sim_new_child(struct pl_sim_socket *listener,
                                       struct pl_sim_socket *connector)
{
    struct pl_sim_socket *child = pl_sim_new_socket(listener->family);
    child->state = PL_SIM_CONNECTED;
    child->is_told_connected = true;
    memcpy(child->options, listener->options, sizeof child->options);
    child->options_count = listener->options_count;
    child->linger = listener->linger;
    child->peer = connector;
    connector->peer = child;
    connector->state = PL_SIM_CONNECTED;
    return child;
}

static struct pl_sim_socket *socket_of(int fd, int *ret_error)
{
    struct pl_sim_file *file = pl_sim_file_of(fd);
    *ret_error = !file ? -EBADF : file->kind != PL_SIM_SOCKET ? -ENOTSOCK : 0;
    return *ret_error == 0 ? (struct pl_sim_socket *)file : NULL;
}

/* ---- beginning */

int sys_socket(int domain, int type, int protocol)
{
    int injected = pl_sim_hook('s', "socket");
    int result = injected ? -injected : pl_sim_may_open();
    if (result == 0 && (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) > SOCK_PACKET) {
        result = -EINVAL; /* no type of any family */
    } else if (result == 0 && domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX) {
        result = -EAFNOSUPPORT;
    } else if (result == 0 && (type & 0xf) != SOCK_STREAM) {
        result = -ESOCKTNOSUPPORT;
    } else if (result == 0 && pl_sim_strikes(PL_SIM_NO_BUFFERS)) {
        result = -ENOBUFS;
    }
    (void)protocol;
    if (result == 0) {
        result = pl_sim_new_fd(&pl_sim_new_socket(domain)->file);
    }
    TRACE("socket() = %d", result);
    return result;
}

int sys_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    int injected = pl_sim_hook('s', "bind");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    int result = injected           ? -injected
                 : error            ? error
                 : size < 2         ? -EINVAL
                 : socket->is_bound ? -EINVAL
                                    : pl_sim_protocol(socket)->bind(socket, address, size);
    TRACE("bind(%d) = %d", fd, result);
    return result;
}

int sys_listen(int fd, int backlog)
{
    int injected = pl_sim_hook('s', "listen");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    int result = injected ? -injected
                 : error  ? error
                          : pl_sim_protocol(socket)->listen(socket, backlog);
    TRACE("listen(%d, %d) = %d", fd, backlog, result);
    return result;
}

static void give_name(const struct sockaddr_storage *name, socklen_t name_size,
                      struct sockaddr *ret_address, socklen_t *inout_size)
{
    if (ret_address) {
        memcpy(ret_address, name, *inout_size < name_size ? *inout_size : name_size);
        *inout_size = name_size;
    }
}

/* A connection that the fault takes has been in the queue, and is gone. */
static int accept_fault(struct pl_sim_socket *listener)
{
    int result = pl_sim_strikes(PL_SIM_ACCEPT_ABORTED)    ? -ECONNABORTED
                 : pl_sim_strikes(PL_SIM_ACCEPT_PROTOCOL) ? -EPROTO
                                                          : 0;
    if (result < 0) {
        struct pl_sim_socket *child = pl_sim_unqueue_child(listener);
        pl_sim_protocol(child)->reset(child);
        child->file.unnamed(&child->file);
    }
    return result;
}

int pl_sim_accept_from(struct pl_sim_socket *listener, struct sockaddr *ret_address,
                       socklen_t *inout_size)
{
    int result = pl_sim_may_open();
    if (result < 0) {
        return result;
    }
    result = pl_sim_protocol(listener)->may_accept(listener);
    if (result < 0) {
        return result;
    }
    if (!listener->queue || pl_sim_strikes(PL_SIM_NOT_READY)) {
        return -EAGAIN;
    }
    if (pl_sim_strikes(PL_SIM_NO_BUFFERS)) {
        return -ENOBUFS;
    }
    if (pl_sim_strikes(PL_SIM_INTERRUPTED)) {
        return -EINTR;
    }
    result = accept_fault(listener);
    if (result < 0) {
        return result;
    }
    struct pl_sim_socket *child = pl_sim_unqueue_child(listener);
    give_name(&child->other, child->other_size, ret_address, inout_size);
    return pl_sim_new_fd(&child->file);
}

int sys_accept(int fd, struct sockaddr *ret_address, socklen_t *inout_size)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', "accept4");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    int result = injected ? -injected
                 : error  ? error
                          : pl_sim_accept_from(socket, ret_address, inout_size);
    TRACE("accept(%d) = %d", fd, result);
    return result;
}

int sys_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    pl_sim_point();
    /* Disconnecting asks for nothing that a kernel may lack. */
    int injected = address->sa_family == AF_UNSPEC ? 0 : pl_sim_hook('s', "connect");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    int result = injected   ? -injected
                 : error    ? error
                 : size < 2 ? -EINVAL
                            : pl_sim_protocol(socket)->connect(socket, address, size);
    TRACE("connect(%d) = %d", fd, result);
    pl_sim_point();
    return result;
}

int sys_shutdown(int fd, int how)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', "shutdown");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    int result = injected ? -injected
                 : error  ? error
                          : pl_sim_protocol(socket)->shutdown(socket, how);
    TRACE("shutdown(%d, %d) = %d", fd, how, result);
    return result;
}

int sys_getsockname(int fd, struct sockaddr *ret_address, socklen_t *inout_size)
{
    int injected = pl_sim_hook('s', "getsockname");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    if (injected || error) {
        return injected ? -injected : error;
    }
    if (pl_sim_strikes(PL_SIM_OPTION_REFUSED)) {
        return -ENOBUFS;
    }
    give_name(&socket->own, socket->own_size, ret_address, inout_size);
    return 0;
}

int sys_getpeername(int fd, struct sockaddr *ret_address, socklen_t *inout_size)
{
    int injected = pl_sim_hook('s', "getpeername");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    if (injected || error) {
        return injected ? -injected : error;
    }
    bool has_name = socket->state == PL_SIM_CONNECTED ||
                    (socket->family == AF_UNIX && socket->state == PL_SIM_OVER);
    if (!has_name) {
        return -ENOTCONN;
    }
    if (pl_sim_strikes(PL_SIM_OPTION_REFUSED)) {
        return -ENOBUFS;
    }
    give_name(&socket->other, socket->other_size, ret_address, inout_size);
    return 0;
}

/* ---- reading and writing */

/* What the network does to a connection of its own accord. */
static void break_connection(struct pl_sim_socket *socket)
{
    if (socket->state == PL_SIM_CONNECTED && pl_sim_strikes(PL_SIM_RESET)) {
        pl_sim_protocol(socket)->reset(socket);
    } else if (socket->state == PL_SIM_CONNECTED && pl_sim_strikes(PL_SIM_TIMED_OUT)) {
        pl_sim_protocol(socket)->lose(socket);
    }
}

ssize_t pl_sim_recv_from(struct pl_sim_socket *socket, void *data, size_t size, int flags)
{
    break_connection(socket);
    if (socket->in.size == 0 || socket->state == PL_SIM_LISTENING ||
        socket->state == PL_SIM_FRESH) {
        return pl_sim_protocol(socket)->nothing_to_read(socket);
    }
    if (pl_sim_strikes(PL_SIM_NOT_READY)) {
        return -EAGAIN;
    }
    if (pl_sim_strikes(PL_SIM_INTERRUPTED)) {
        return -EINTR;
    }
    size = size < socket->in.size ? size : socket->in.size;
    if (size > 1 && pl_sim_strikes(PL_SIM_SHORT_RECV)) {
        size = 1 + (size_t)pl_choice_below(&pl_sim.choice, size - 1);
    }
    if (flags & MSG_PEEK) {
        memcpy(data, socket->in.data + socket->in.begin, size);
        return (ssize_t)size;
    }
    pl_sim_bytes_take(&socket->in, data, size);
    pl_sim_protocol(socket)->was_read(socket);
    return (ssize_t)size;
}

ssize_t sys_recv(int fd, void *data, size_t size, int flags)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', "recv");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    ssize_t result = injected ? -injected
                     : error  ? error
                              : pl_sim_recv_from(socket, data, size, flags);
    TRACE("recv(%d, %zu) = %zd", fd, size, result);
    return result;
}

/* How much of size may be written now; an error if nothing. */
static ssize_t may_write(struct pl_sim_socket *socket, size_t size)
{
    const struct pl_sim_protocol *protocol = pl_sim_protocol(socket);
    break_connection(socket);
    int result = protocol->may_send(socket);
    if (result < 0 || size == 0) {
        return result;
    }
    size_t room = protocol->room(socket);
    if (room == 0 || pl_sim_strikes(PL_SIM_NOT_READY)) {
        return -EAGAIN;
    }
    if (pl_sim_strikes(PL_SIM_INTERRUPTED)) {
        return -EINTR;
    }
    if (pl_sim_strikes(PL_SIM_NO_BUFFERS)) {
        return -ENOBUFS;
    }
    size = size < room ? size : room;
    if (size > 1 && pl_sim_strikes(PL_SIM_SHORT_SEND)) {
        size = 1 + (size_t)pl_choice_below(&pl_sim.choice, size - 1);
    }
    return (ssize_t)size;
}

/* Who wants to know of room learns of it: when bytes have gone, or now if there is room and only a
 * fault has hidden it. */
static void fell_short(struct pl_sim_socket *socket)
{
    socket->file.shortages++;
    if (socket->file.poll(&socket->file) & EPOLLOUT) {
        pl_sim_changed(&socket->file);
    }
}

ssize_t pl_sim_write_to(struct pl_sim_socket *socket, const struct iovec *pieces, size_t count,
                        int flags)
{
    size_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all += pieces[i].iov_len;
    }
    ssize_t taken = may_write(socket, all);
    if (taken == -EPIPE && !(flags & MSG_NOSIGNAL)) {
        pl_sim_fail("a write without MSG_NOSIGNAL to a connection that is gone: SIGPIPE");
    }
    size_t left = taken > 0 ? (size_t)taken : 0;
    for (size_t i = 0; left > 0; i++) {
        size_t size = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        pl_sim_protocol(socket)->put(socket, pieces[i].iov_base, size);
        left -= size;
    }
    if (taken > 0) {
        pl_sim_protocol(socket)->was_written(socket);
    }
    if (taken == -EAGAIN || (taken >= 0 && (size_t)taken < all)) {
        fell_short(socket);
    }
    return taken;
}

ssize_t sys_send(int fd, const void *data, size_t size, int flags)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', "send");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    ssize_t result = injected ? -injected
                     : error  ? error
                              : pl_sim_write_to(socket, &piece, 1, flags);
    TRACE("send(%d, %zu) = %zd", fd, size, result);
    pl_sim_point();
    return result;
}

ssize_t sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', "sendmsg");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    ssize_t result = injected ? -injected
                     : error  ? error
                     : message->msg_iovlen > IOV_MAX_LINUX
                         ? -EMSGSIZE
                         : pl_sim_write_to(socket, message->msg_iov, message->msg_iovlen, flags);
    TRACE("sendmsg(%d, %zu pieces) = %zd", fd, message->msg_iovlen, result);
    pl_sim_point();
    return result;
}

static ssize_t send_from(struct pl_sim_socket *socket, struct pl_sim_file *file,
                         off_t *inout_offset, size_t size)
{
    const uint8_t *data;
    ssize_t there = pl_sim_file_bytes(file, *inout_offset, size, &data);
    if (there <= 0) {
        return there;
    }
    if (there > 1 && pl_sim_strikes(PL_SIM_SHORT_RECV)) { /* of the file, so no room is awaited */
        there = 1 + (ssize_t)pl_choice_below(&pl_sim.choice, (uint64_t)there - 1);
    }
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = (size_t)there};
    ssize_t result = pl_sim_write_to(socket, &piece, 1, MSG_NOSIGNAL);
    if (result > 0) {
        *inout_offset += result;
    }
    return result;
}

ssize_t sys_sendfile(int out_fd, int in_fd, off_t *inout_offset, size_t size)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', "sendfile");
    int error;
    struct pl_sim_socket *socket = socket_of(out_fd, &error);
    struct pl_sim_file *file = pl_sim_file_of(in_fd);
    ssize_t result = injected                       ? -injected
                     : !file                        ? -EBADF
                     : file->kind != PL_SIM_REGULAR ? -ESPIPE /* it has no offsets */
                     : error                        ? error
                                                    : send_from(socket, file, inout_offset, size);
    TRACE("sendfile(%d, %d, %zu) = %zd", out_fd, in_fd, size, result);
    pl_sim_point();
    return result;
}

int sys_bytes_unsent(int fd, int *ret_bytes)
{
    int injected = pl_sim_hook('s', "ioctl");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    if (injected || error) {
        return injected ? -injected : error;
    }
    *ret_bytes = pl_sim_protocol(socket)->unsent(socket);
    return 0;
}

int sys_bytes_unread(int fd, int *ret_bytes)
{
    int injected = pl_sim_hook('s', "ioctl");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    if (injected || error) {
        return injected ? -injected : error;
    }
    if (socket->state == PL_SIM_LISTENING) {
        return -EINVAL;
    }
    *ret_bytes = (int)socket->in.size;
    return 0;
}

/* ---- options */

static bool is_switch(int level, int name)
{
    return (level == SOL_SOCKET &&
            (name == SO_KEEPALIVE || name == SO_REUSEADDR || name == SO_REUSEPORT)) ||
           (level == IPPROTO_TCP && name == TCP_NODELAY) ||
           (level == IPPROTO_IPV6 && name == IPV6_V6ONLY);
}

static bool is_known(const struct pl_sim_socket *socket, int level)
{
    return level == SOL_SOCKET || (level == IPPROTO_TCP && socket->family != AF_UNIX) ||
           (level == IPPROTO_IPV6 && socket->family == AF_INET6) ||
           (level == IPPROTO_IP && socket->family != AF_UNIX);
}

/* Its place in the table, or the first free one. */
static unsigned find_option(const struct pl_sim_socket *socket, int level, int name)
{
    unsigned i = 0;
    while (i < socket->options_count &&
           (socket->options[i].level != level || socket->options[i].name != name)) {
        i++;
    }
    return i;
}

int pl_sim_option(const struct pl_sim_socket *socket, int level, int name)
{
    unsigned at = find_option(socket, level, name);
    return at < socket->options_count ? socket->options[at].value : 0;
}

static int set_option(struct pl_sim_socket *socket, int level, int name, int value)
{
    unsigned at = find_option(socket, level, name);
    if (at == PL_SIM_OPTIONS_MAX) {
        return -ENOBUFS;
    }
    struct pl_sim_option *option = &socket->options[at];
    socket->options_count += at == socket->options_count;
    *option = (struct pl_sim_option){level, name, is_switch(level, name) ? value != 0 : value};
    if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF)) {
        option->value = value * 2;
        *(name == SO_SNDBUF ? &socket->out_max : &socket->in_max) = (size_t)value * 2;
    }
    return 0;
}

int sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    int injected = pl_sim_hook('s', "setsockopt");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    int result = injected ? -injected : error;
    if (result == 0 && !is_known(socket, level)) {
        result = socket->family == AF_UNIX ? -EOPNOTSUPP : -ENOPROTOOPT;
    } else if (result == 0 && pl_sim_strikes(PL_SIM_OPTION_REFUSED)) {
        result = -ENOMEM;
    } else if (result == 0 && level == SOL_SOCKET && name == SO_LINGER) {
        memcpy(&socket->linger, value, sizeof socket->linger);
    } else if (result == 0) {
        int number = 0;
        memcpy(&number, value, size < sizeof number ? size : sizeof number);
        result = set_option(socket, level, name, number);
    }
    TRACE("setsockopt(%d, %d, %d) = %d", fd, level, name, result);
    return result;
}

static int get_option(struct pl_sim_socket *socket, int level, int name, int *ret_value)
{
    if (!is_known(socket, level)) {
        return -EOPNOTSUPP;
    }
    *ret_value = pl_sim_option(socket, level, name);
    if (level != SOL_SOCKET) {
        return 0;
    }
    switch (name) {
    case SO_ERROR:
        *ret_value = -pl_sim_take_error(socket);
        break;
    case SO_TYPE:
        *ret_value = SOCK_STREAM;
        break;
    case SO_DOMAIN:
        *ret_value = socket->family;
        break;
    case SO_ACCEPTCONN:
        *ret_value = socket->state == PL_SIM_LISTENING;
        break;
    case SO_SNDBUF:
        *ret_value = (int)socket->out_max;
        break;
    case SO_RCVBUF:
        *ret_value = (int)socket->in_max;
        break;
    default:
        break;
    }
    return 0;
}

int sys_getsockopt(int fd, int level, int name, void *ret_value, socklen_t *inout_size)
{
    int injected = pl_sim_hook('s', "getsockopt");
    int error;
    struct pl_sim_socket *socket = socket_of(fd, &error);
    if (injected || error) {
        return injected ? -injected : error;
    }
    if (name != SO_ERROR && pl_sim_strikes(PL_SIM_OPTION_REFUSED)) {
        return -ENOMEM;
    }
    if (level == SOL_SOCKET && name == SO_LINGER) {
        memcpy(ret_value, &socket->linger, sizeof socket->linger);
        *inout_size = sizeof socket->linger;
        return 0;
    }
    int value = 0;
    int result = get_option(socket, level, name, &value);
    if (result == 0) {
        memcpy(ret_value, &value, sizeof value);
        *inout_size = sizeof value;
        if (name == SO_ERROR && value != 0) {
            TRACE("SO_ERROR(%d) = %d", fd, value);
            pl_sim_changed(&socket->file);
        }
    }
    return result;
}

void pl_sim_network_end(void)
{
    while (pl_sim.sockets) { /* those that the network still knew */
        pl_sim_free_socket(pl_sim.sockets);
    }
    pl_sim_deliveries_end();
}
