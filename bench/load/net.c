/* SPDX-License-Identifier: BSD-2-Clause */
/* The sockets of the load: opening, reading, writing, and failing aloud.
 *
 * 1. A connection is in the epoll set from load_connect until load_close, with the events that
 *    conn->waiting says; epoll_ctl is called only when those change.
 * 2. load->busy is the number of connections whose busy is set, load->alive of those with an fd.
 * 3. Whatever goes wrong with a connection comes through load_fail, once: it is counted in
 *    load->errors, the first of a run is kept for its line of JSON, the first ten of the process go
 *    to stderr. There is no other way for a connection to be lost.
 *
 * All connections of a persistent case are opened before the first run, at most 512 at a time,
 * which is less than the backlog of any server here: an overflow would cost a second for each SYN
 * that is lost, and measure nothing. */
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPENING_MAX     512
#define OPEN_TIMEOUT_NS 20000000000ULL
#define SOURCES         250

void load_set_busy(struct load *load, struct load_conn *conn, bool busy)
{
    if (conn->busy != busy) {
        conn->busy = busy;
        load->busy += busy ? 1U : -1U;
    }
}

void load_close(struct load *load, struct load_conn *conn)
{
    load_set_busy(load, conn, false);
    if (conn->fd >= 0) {
        close(conn->fd);
        conn->fd = -1;
        load->alive--;
    }
}

void load_fail(struct load *load, struct load_conn *conn, const char *what, int error)
{
    char text[sizeof(load->error)];
    (void)snprintf(text, sizeof(text), "connection %u: %s%s%s", conn->index, what,
                   error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
    if (load->errors++ == 0) {
        memcpy(load->error, text, sizeof(text));
    }
    if (++load->errors_all <= 10) {
        fprintf(stderr, "bench-load: %s\n", text);
    }
    load_close(load, conn);
}

void load_wait_for(struct load *load, struct load_conn *conn, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (conn->waiting != events) {
        conn->waiting = events;
        if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, conn->fd, &event) < 0) {
            load_die("epoll_ctl", errno);
        }
    }
}

static int bind_source(struct load *load, int fd)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + load->addresses++ % SOURCES);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)&source, sizeof(source)) < 0) {
        return -errno;
    }
    return 0;
}

static int connect_fd(struct load *load, struct load_conn *conn, int fd, bool spread,
                      uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};
    int on = 1;
    int error = 0;
    if (spread && ntohl(load->server.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) {
        error = bind_source(load, fd);
    }
    if (error < 0) {
        return error;
    }
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)&load->server, sizeof(load->server)) < 0 &&
        errno != EINPROGRESS) {
        return -errno;
    }
    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int load_connect(struct load *load, struct load_conn *conn, bool spread, uint32_t events)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int error = connect_fd(load, conn, fd, spread, events);
    if (error < 0) {
        close(fd);
        return error;
    }
    conn->fd = fd;
    conn->waiting = events;
    conn->phase = 0;
    conn->sent = 0;
    conn->got = 0;
    load->alive++;
    return 0;
}

/* The connections that have become open, or failed, within 100 ms. */
static uint32_t finish_opening(struct load *load)
{
    struct epoll_event events[OPENING_MAX];
    uint32_t done = 0;
    int count = epoll_wait(load->epoll, events, OPENING_MAX, 100);
    for (int i = 0; i < count; i++) {
        struct load_conn *conn = events[i].data.ptr;
        int error = 0;
        socklen_t size = sizeof(error);
        if (conn->waiting != EPOLLOUT) {
            continue;
        }
        done++;
        if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0) {
            load_fail(load, conn, "connect", error);
        } else {
            load_wait_for(load, conn, EPOLLIN);
        }
    }
    return done;
}

void load_open_all(struct load *load)
{
    uint64_t deadline_ns = load_clock(load) + OPEN_TIMEOUT_NS;
    uint32_t begun = 0;
    uint32_t done = 0;
    while (done < load->conns_count && load_clock(load) < deadline_ns) {
        while (begun < load->conns_count && begun - done < OPENING_MAX) {
            struct load_conn *conn = &load->conns[begun++];
            int error = load_connect(load, conn, load->conns_count > 20000, EPOLLOUT);
            if (error < 0) {
                load_fail(load, conn, "connect", -error);
                done++;
            }
        }
        if (done < begun) {
            done += finish_opening(load);
        }
    }
    for (uint32_t i = 0; i < load->conns_count; i++) {
        if (load->conns[i].fd >= 0 && load->conns[i].waiting == EPOLLOUT) {
            load_fail(load, &load->conns[i], "did not open within 20 s", 0);
        }
    }
}

ssize_t load_send(struct load *load, struct load_conn *conn, const void *data, size_t size)
{
    ssize_t sent = send(conn->fd, data, size, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno == EAGAIN) {
            return 0;
        }
        load_fail(load, conn, "send", errno);
        return -1;
    }
    return sent;
}

ssize_t load_read(struct load *load, struct load_conn *conn, size_t size)
{
    ssize_t got = recv(conn->fd, load->scratch, size, 0);
    if (got < 0) {
        if (errno == EAGAIN) {
            return -1;
        }
        load_fail(load, conn, "recv", errno);
        return -2;
    }
    return got;
}

bool load_same(const struct load *load, const void *got, const void *expected, size_t size)
{
    if (load->verify || size <= 128) {
        return memcmp(got, expected, size) == 0;
    }
    return memcmp(got, expected, 64) == 0 &&
           memcmp((const unsigned char *)got + size - 64,
                  (const unsigned char *)expected + size - 64, 64) == 0;
}

void load_fill_stream(unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)(i ^ (i >> 8));
    }
}
