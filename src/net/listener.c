/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening.
 *
 * Options that every accepted connection should have (TCP_NODELAY, SO_KEEPALIVE) are set on the
 * listening socket: Linux lets them be inherited, so they cost no system call a connection.
 *
 * Errors of accept(2) are of two kinds, and neither ends the listener. Those of one connection (it
 * was reset while it waited, a firewall forbade it …) are counted, and the next is taken. Those of
 * want - EMFILE, ENFILE, ENOBUFS, ENOMEM - would come back at once for ever, since the listening
 * socket stays readable; so accepting pauses for retry_ms and is then tried again. That bounds the
 * wake-ups (G8), and the connections wait in the kernel's backlog meanwhile. The trick of keeping a
 * spare fd to accept and drop connections with was rejected: it turns a shortage that may last a
 * moment into refused clients, and does nothing for ENFILE.
 *
 * A unix socket leaves a file behind when its process dies. Binding finds it; whether somebody
 * still listens is found by connecting to it. Refused: it is replaced. Else: EADDRINUSE. What we
 * remove at the end is only the file that we made, told by device and inode, so a successor that
 * has replaced it keeps its own. */
#include "net/listener.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { RETRY_MS = 100, LOST_IN_A_ROW_MAX = PL_ACCEPT_BATCH };

/* ---- making the socket */

static int set_option(int fd, int level, int name, int value)
{
    return sys_setsockopt(fd, level, name, &value, sizeof value);
}

static int set_options(int fd, const struct peal_addr *address,
                       const struct pl_listener_options *options)
{
    int family = peal_addr_family(address);
    if (family == AF_UNIX) {
        return 0;
    }
    int result = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (result == 0 && options->reuse_port) {
        result = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (result == 0 && family == AF_INET6) {
        bool only = options->v6_only || !peal_addr_is_dual_stack(address);
        result = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
    }
    if (result == 0 && options->no_delay) {
        result = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    }
    if (result == 0 && options->keepalive) {
        result = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
    if (result == 0 && options->defer_accept_s) {
        result = set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, (int)options->defer_accept_s);
    }
    return result;
}

/* True if the socket file is there and nobody listens on it. */
static bool is_stale(const struct peal_addr *address)
{
    struct stat status;
    socklen_t size;
    const struct sockaddr *socket_address = peal_addr_sockaddr(address, &size);
    const char *path = peal_addr_path(address);
    if (!path || path[0] == '\0' || sys_lstat(path, &status) < 0 || !S_ISSOCK(status.st_mode)) {
        return false;
    }
    int probe = sys_socket(AF_UNIX, SOCK_STREAM, 0);
    if (probe < 0) {
        return false;
    }
    int result = sys_connect(probe, socket_address, size);
    sys_close(probe);
    return result == -ECONNREFUSED;
}

static int bind_address(int fd, const struct peal_addr *address, const char **ret_why)
{
    socklen_t size;
    const struct sockaddr *socket_address = peal_addr_sockaddr(address, &size);
    int result = sys_bind(fd, socket_address, size);
    if (result == -EADDRINUSE && peal_addr_family(address) == AF_UNIX && is_stale(address)) {
        result = sys_unlink(peal_addr_path(address));
        if (result == 0) {
            result = sys_bind(fd, socket_address, size);
        }
    }
    if (result == -EADDRINUSE) {
        *ret_why =
            "somebody listens on that address already; choose another, or stop that program first";
    } else if (result == -EADDRNOTAVAIL) {
        *ret_why = "that address does not belong to this machine";
    } else if (result == -EACCES) {
        *ret_why = "this user may not bind that address (ports below 1024 and foreign folders need "
                   "rights)";
    }
    return result;
}

/* An fd that was handed to the process (socket activation). */
static int check_inherited(int fd, const char **ret_why)
{
    int listening = 0;
    socklen_t size = sizeof listening;
    int result = sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
    if (result < 0 || !listening) {
        *ret_why = "the inherited fd is not a listening socket";
        return result < 0 ? result : -EINVAL;
    }
    return sys_set_nonblocking(fd);
}

static int open_socket(const struct peal_addr *address, const struct pl_listener_options *options,
                       int *ret_fd, const char **ret_why)
{
    if (peal_addr_fd(address) >= 0) {
        int result = check_inherited(peal_addr_fd(address), ret_why);
        if (result == 0) {
            *ret_fd = peal_addr_fd(address);
        }
        return result;
    }
    int fd = sys_socket(peal_addr_family(address), SOCK_STREAM, 0);
    if (fd < 0) {
        return fd;
    }
    int result = set_options(fd, address, options);
    if (result == 0) {
        result = bind_address(fd, address, ret_why);
    }
    if (result == 0) {
        result = sys_listen(fd, options->backlog > 0 ? options->backlog : SOMAXCONN);
    }
    if (result < 0) {
        sys_close(fd);
        return result;
    }
    *ret_fd = fd;
    return 0;
}

static int read_address(struct pl_listener *listener)
{
    struct sockaddr_storage storage;
    socklen_t size = sizeof storage;
    int result = sys_getsockname(listener->io.fd, (struct sockaddr *)&storage, &size);
    if (result == 0) {
        result = peal_addr_from_sockaddr((struct sockaddr *)&storage, size, &listener->address);
    }
    return result;
}

static void note_path(struct pl_listener *listener)
{
    struct stat status;
    const char *path = peal_addr_path(&listener->address);
    if (path && path[0] != '\0' && sys_lstat(path, &status) == 0) {
        listener->path_device = status.st_dev;
        listener->path_inode = status.st_ino;
    }
}

static void remove_path(struct pl_listener *listener)
{
    struct stat status;
    const char *path = peal_addr_path(&listener->address);
    if (listener->path_inode != 0 && path && sys_lstat(path, &status) == 0 &&
        status.st_dev == listener->path_device && status.st_ino == listener->path_inode) {
        sys_unlink(path);
    }
}

/* ---- accepting */

static bool wants_accept(const struct pl_listener *listener)
{
    return listener->held_back == 0 && !listener->closing && !peal_timer_is_armed(&listener->retry);
}

static void try_accept(struct pl_listener *listener)
{
    struct peal_loop *loop = listener->io.loop;
    if (!wants_accept(listener)) {
        return;
    }
    int result = loop->ops->accept_start(loop->engine, &listener->io);
    if (result < 0) {
        pl_log(PEAL_LOG_WARNING,
               "accepting could not be started again (errno %d); it is tried again in %u ms",
               -result, listener->retry_ms);
        peal_timer_start(&listener->retry, listener->retry_ms, 0);
    }
}

static void stop_accept(struct pl_listener *listener)
{
    struct peal_loop *loop = listener->io.loop;
    int result = loop->ops->accept_stop(loop->engine, &listener->io);
    if (result < 0) { /* then events go on coming; they find nothing that wants them */
        pl_log(PEAL_LOG_WARNING, "accepting could not be paused (errno %d)", -result);
    }
}

static void on_retry(struct peal_timer *timer, void *user)
{
    (void)timer;
    try_accept(user);
}

static bool is_want(int error)
{
    return error != -ECONNABORTED && error != -EPROTO && error != -EINTR && error != -ENETDOWN &&
           error != -ENOPROTOOPT && error != -EHOSTDOWN && error != -ENONET &&
           error != -EHOSTUNREACH && error != -EOPNOTSUPP && error != -ENETUNREACH &&
           error != -EPERM && error != -ETIMEDOUT;
}

static void on_accept(struct pl_io *io, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
    struct pl_listener *listener = pl_container(io, struct pl_listener, io);
    if (fd >= 0) {
        listener->lost_in_a_row = 0;
        if (listener->starved) {
            listener->starved = 0;
            pl_record(io->loop, PL_RECORD_ACCEPT_RESUMED, 0, 0);
            listener->handler->on_pause(listener, 0);
        }
        listener->handler->on_accept(listener, fd, peer, peer_size);
        return;
    }
    if (!is_want(fd)) {
        listener->handler->on_error(listener, fd);
        if (++listener->lost_in_a_row < LOST_IN_A_ROW_MAX) {
            return;
        }
        listener->lost_in_a_row =
            0; /* nothing gets through any more: whatever it is, it must not make us spin */
    }
    listener->starved = fd;
    stop_accept(listener);
    peal_timer_start(&listener->retry, listener->retry_ms, 0);
    pl_record(io->loop, PL_RECORD_ACCEPT_PAUSED, 0, (uint32_t)-fd);
    listener->handler->on_pause(listener, fd);
}

/* ---- life */

static void destroy(struct pl_listener *listener)
{
    const struct pl_listener_handler *handler = listener->handler;
    void *user = listener->user;
    remove_path(listener);
    sys_close(listener->io.fd);
    sys_free(listener);
    handler->on_closed(user);
}

static void reap(struct pl_job *job)
{
    struct pl_listener *listener = pl_container(job, struct pl_listener, job);
    struct peal_loop *loop = listener->io.loop;
    if (listener->attached) {
        listener->attached = false;
        if (!loop->ops->detach(loop->engine, &listener->io)) {
            pl_loop_reap_when_detached(loop, &listener->job);
            return;
        }
    }
    destroy(listener);
}

static void on_detached(struct pl_io *io)
{
    pl_loop_reap_later(io->loop, &pl_container(io, struct pl_listener, io)->job);
}

static const struct pl_io_handler listener_handler = {.on_accept = on_accept,
                                                      .on_detached = on_detached};

int pl_listener_new(const struct peal_addr *address, const struct pl_listener_options *options,
                    const struct pl_listener_handler *handler, void *user,
                    struct pl_listener **ret_listener, const char **ret_why)
{
    *ret_why = NULL;
    struct pl_listener *listener = sys_calloc(1, sizeof *listener);
    if (!listener) {
        return -ENOMEM;
    }
    int fd = -1;
    int result = open_socket(address, options, &fd, ret_why);
    if (result < 0) {
        sys_free(listener);
        return result;
    }
    listener->io.fd = fd;
    listener->io.handler = &listener_handler;
    listener->handler = handler;
    listener->user = user;
    listener->retry_ms = options->retry_ms ? options->retry_ms : RETRY_MS;
    listener->job.run = reap;
    pl_job_init(&listener->job);
    pl_list_init(&listener->link);
    result = read_address(listener);
    if (result < 0) {
        sys_close(fd);
        sys_free(listener);
        return result;
    }
    if (peal_addr_fd(address) < 0) {
        note_path(listener);
    }
    *ret_listener = listener;
    return 0;
}

int pl_listener_start(struct pl_listener *listener, struct peal_loop *loop)
{
    listener->io.loop = loop;
    listener->io.flags = listener->held_back ? 0 : PL_IO_ACCEPT;
    int result = loop->ops->attach(loop->engine, &listener->io);
    if (result == 0) {
        listener->started = listener->attached = true;
        peal_timer_init(&listener->retry, loop, on_retry, listener);
    }
    return result;
}

void pl_listener_hold_back(struct pl_listener *listener)
{
    if (listener->held_back++ == 0 && listener->started) {
        stop_accept(listener);
    }
}

void pl_listener_go_on(struct pl_listener *listener)
{
    pl_assert(listener->held_back > 0);
    if (--listener->held_back == 0 && listener->started) {
        try_accept(listener);
    }
}

struct pl_listener *pl_listener_close(struct pl_listener *listener)
{
    if (!listener) {
        return NULL;
    }
    if (!listener->started) {
        destroy(listener);
        return NULL;
    }
    if (!listener->closing) {
        listener->closing = true;
        peal_timer_deinit(&listener->retry);
        stop_accept(listener);
        pl_loop_reap_later(listener->io.loop, &listener->job);
    }
    return NULL;
}
