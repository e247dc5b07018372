/* SPDX-License-Identifier: BSD-2-Clause */
/* Peers of the program under test: sockets of the same simulated network, used by calls that wait.
 *
 * Model. A peer is an fd of the simulated system and nothing else; waiting for it is a wait of the
 * scheduler on the socket's file, so that time goes on for all. Its calls are exempt from the
 * faults of calls, which are for the program; what the network does (resets, delays) they see.
 *
 * Its fds stand in the same table as the program's, as those of threads of one process do. They can
 * be had however few the process may have: the limit is the program's. */
#include <peal/addr.h>
#include <peal/sim.h>

#include "sys/sim/sim.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct peal_sim_peer {
    int fd;
};

/* Returns what is to be put back. */
static bool exempt(void)
{
    bool was_exempt = pl_sim_is_exempt;
    pl_sim_is_exempt = true;
    return was_exempt;
}

static struct peal_sim_peer *new_peer(int fd)
{
    struct peal_sim_peer *peer = pl_sim_take(sizeof *peer);
    peer->fd = fd;
    return peer;
}

static uint64_t until(uint64_t timeout_ms)
{
    return pl_sim_after(timeout_ms < 1u << 31 ? timeout_ms * 1000000u : PL_SIM_NEVER);
}

/* False: the time is over. */
static bool await(int fd, uint32_t events, uint64_t until_ns)
{
    struct pl_sim_file *file = pl_sim_file_of(fd);
    while (!(file->poll(file) & (events | EPOLLERR | EPOLLHUP))) {
        if (pl_sim.now_ns >= until_ns) {
            return false;
        }
        pl_sim_wait(file, until_ns);
    }
    return true;
}

static int open_socket(const char *text, struct peal_addr *ret_addr)
{
    const char *why;
    if (peal_addr_parse(text, ret_addr, &why) < 0) {
        pl_sim_fail("a peer's address \"%s\": %s", text, why);
    }
    socklen_t size;
    const struct sockaddr *name = peal_addr_sockaddr(ret_addr, &size);
    int fd = sys_socket(name->sa_family, SOCK_STREAM, 0);
    if (fd < 0) {
        pl_sim_fail("a peer has no socket: %d", fd);
    }
    return fd;
}

static int finish_connecting(int fd, const struct peal_addr *addr, uint64_t until_ns)
{
    socklen_t size, error_size = sizeof(int);
    const struct sockaddr *name = peal_addr_sockaddr(addr, &size);
    int result, error = 0;
    while ((result = sys_connect(fd, name, size)) == -EAGAIN) { /* a unix listener is full */
        if (pl_sim.now_ns >= until_ns) {
            return -ETIMEDOUT;
        }
        peal_sim_sleep_ms(1);
    }
    if (result != -EINPROGRESS) {
        return result;
    }
    if (!await(fd, EPOLLOUT, until_ns)) {
        return -ETIMEDOUT;
    }
    result = sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
    return result < 0 ? result : -error;
}

struct peal_sim_peer *peal_sim_connect(const char *address, uint64_t timeout_ms, int *ret_error)
{
    struct peal_addr addr;
    bool was_exempt = exempt();
    int fd = open_socket(address, &addr);
    int result = finish_connecting(fd, &addr, until(timeout_ms));
    if (result < 0) {
        sys_close(fd);
        if (ret_error) {
            *ret_error = result;
        }
    }
    pl_sim_is_exempt = was_exempt;
    return result < 0 ? NULL : new_peer(fd);
}

struct peal_sim_peer *peal_sim_listen(const char *address, int backlog)
{
    struct peal_addr addr;
    bool was_exempt = exempt();
    int fd = open_socket(address, &addr);
    socklen_t size;
    const struct sockaddr *name = peal_addr_sockaddr(&addr, &size);
    int on = 1;
    sys_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int result = sys_bind(fd, name, size);
    result = result < 0 ? result : sys_listen(fd, backlog);
    if (result < 0) {
        pl_sim_fail("a peer cannot listen on \"%s\": %d", address, result);
    }
    pl_sim_is_exempt = was_exempt;
    return new_peer(fd);
}

struct peal_sim_peer *peal_sim_accept(struct peal_sim_peer *listener, uint64_t timeout_ms)
{
    bool was_exempt = exempt();
    int fd = -EAGAIN;
    uint64_t until_ns = until(timeout_ms);
    while (fd == -EAGAIN && await(listener->fd, EPOLLIN, until_ns)) {
        fd = sys_accept(listener->fd, NULL, NULL);
    }
    pl_sim_is_exempt = was_exempt;
    return fd < 0 ? NULL : new_peer(fd);
}

ssize_t peal_sim_send(struct peal_sim_peer *peer, const void *data, size_t size,
                      uint64_t timeout_ms)
{
    bool was_exempt = exempt();
    uint64_t until_ns = until(timeout_ms);
    size_t sent = 0;
    ssize_t result = 0;
    while (sent < size) {
        result = sys_send(peer->fd, (const char *)data + sent, size - sent, MSG_NOSIGNAL);
        if (result > 0) {
            sent += (size_t)result;
        } else if (result != -EAGAIN) {
            break;
        } else if (!await(peer->fd, EPOLLOUT, until_ns)) {
            break; /* with -EAGAIN */
        }
    }
    pl_sim_is_exempt = was_exempt;
    return sent > 0 || result >= 0 ? (ssize_t)sent : result;
}

ssize_t peal_sim_recv(struct peal_sim_peer *peer, void *data, size_t size, uint64_t timeout_ms)
{
    bool was_exempt = exempt();
    uint64_t until_ns = until(timeout_ms);
    ssize_t result;
    while ((result = sys_recv(peer->fd, data, size, 0)) == -EAGAIN) {
        if (!await(peer->fd, EPOLLIN, until_ns)) {
            break; /* with -EAGAIN */
        }
    }
    pl_sim_is_exempt = was_exempt;
    return result;
}

void peal_sim_shutdown(struct peal_sim_peer *peer)
{
    bool was_exempt = exempt();
    sys_shutdown(peer->fd, SHUT_WR);
    pl_sim_is_exempt = was_exempt;
}

void peal_sim_close(struct peal_sim_peer *peer)
{
    bool was_exempt = exempt();
    sys_close(peer->fd);
    free(peer);
    pl_sim_is_exempt = was_exempt;
}

void peal_sim_reset(struct peal_sim_peer *peer)
{
    bool was_exempt = exempt();
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    sys_setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    pl_sim_is_exempt = was_exempt;
    peal_sim_close(peer);
}

int peal_sim_give_fd(struct peal_sim_peer *peer)
{
    int fd = peer->fd;
    free(peer);
    return fd;
}
