/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw peers. Plain blocking sockets; the pattern of a stream is a function of the offset with a
 * period that divides no power of two, so that a chunk that is lost, doubled or swapped shows. */
#include "support/raw.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

static void guard(int fd)
{
    struct timeval limit = {.tv_sec = 10};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
}

/* A blocking call may be interrupted although no signal comes: the kernel takes down the io_uring
 * of a loop that has just been freed, and has work for the thread that had it. */
#define UNINTERRUPTED(call)                                                                        \
    ({                                                                                             \
        __typeof__(call) result_;                                                                  \
        do {                                                                                       \
            result_ = (call);                                                                      \
        } while (result_ < 0 && errno == EINTR);                                                   \
        result_;                                                                                   \
    })

/* connect(2) cannot be called again after an interruption: it goes on by itself. */
static void connect_whole(int fd, const struct sockaddr *address, socklen_t size)
{
    int result = connect(fd, address, size), error = 0;
    if (result < 0 && errno == EINTR) {
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        socklen_t error_size = sizeof error;
        assert_int_equal(UNINTERRUPTED(poll(&wait, 1, 10000)), 1);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size), 0);
        result = error;
    }
    assert_int_equal(result, 0);
}

int raw_connect_small(const struct peal_addr *address, int receive_bytes)
{
    socklen_t size;
    const struct sockaddr *socket_address = peal_addr_sockaddr(address, &size);
    int fd = socket(socket_address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (receive_bytes > 0) {
        assert_int_equal(
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes), 0);
    }
    guard(fd);
    connect_whole(fd, socket_address, size);
    if (socket_address->sa_family != AF_UNIX) {
        int on = 1;
        assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    }
    return fd;
}

int raw_connect(const struct peal_addr *address)
{
    return raw_connect_small(address, 0);
}

int raw_listen(struct peal_addr *ret_address, int backlog)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    guard(fd);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, size), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &size), 0);
    assert_int_equal(peal_addr_from_sockaddr((struct sockaddr *)&any, size, ret_address), 0);
    return fd;
}

int raw_accept(int listener)
{
    int fd = UNINTERRUPTED(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    assert_true(fd >= 0);
    guard(fd);
    return fd;
}

void raw_pair(int fds[2])
{
    struct peal_addr address;
    int listener = raw_listen(&address, 1);
    fds[0] = raw_connect(&address);
    fds[1] = raw_accept(listener);
    close(listener);
}

void raw_send(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = UNINTERRUPTED(send(fd, at, size, MSG_NOSIGNAL));
        assert_true(n > 0);
        at += n;
        size -= (size_t)n;
    }
}

size_t raw_recv(int fd, void *data, size_t size)
{
    ssize_t n = UNINTERRUPTED(recv(fd, data, size, 0));
    assert_true(n >= 0);
    return (size_t)n;
}

void raw_recv_exactly(int fd, void *data, size_t size)
{
    char *at = data;
    while (size > 0) {
        size_t n = raw_recv(fd, at, size);
        assert_true(n > 0);
        at += n;
        size -= n;
    }
}

void raw_expect(int fd, const char *text)
{
    char found[4096];
    size_t size = strlen(text);
    assert_true(size <= sizeof found);
    raw_recv_exactly(fd, found, size);
    assert_memory_equal(found, text, size);
}

size_t raw_drain(int fd, int *ret_error)
{
    char *data = malloc(65536);
    size_t total = 0;
    ssize_t n;
    assert_non_null(data);
    while ((n = UNINTERRUPTED(recv(fd, data, 65536, 0))) > 0) {
        total += (size_t)n;
    }
    *ret_error = n < 0 ? errno : 0;
    free(data);
    return total;
}

void raw_expect_fin(int fd)
{
    char byte;
    assert_int_equal(UNINTERRUPTED(recv(fd, &byte, 1, 0)), 0);
}

void raw_expect_reset(int fd)
{
    int error;
    raw_drain(fd, &error);
    assert_int_equal(error, ECONNRESET);
}

void raw_fin(int fd)
{
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
}

void raw_reset(int fd)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    assert_int_equal(close(fd), 0);
}

void raw_close(int fd)
{
    assert_int_equal(close(fd), 0);
}

static unsigned char pattern_at(size_t offset)
{
    return (unsigned char)(offset % 251 + offset / 65521);
}

void raw_pattern(void *data, size_t size, size_t offset)
{
    unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = pattern_at(offset + i);
    }
}

size_t raw_drain_pattern(int fd)
{
    unsigned char *data = malloc(65536);
    size_t total = 0, n;
    assert_non_null(data);
    while ((n = raw_recv(fd, data, 65536)) > 0) {
        for (size_t i = 0; i < n; i++) {
            if (data[i] != pattern_at(total + i)) {
                fail_msg("byte %zu of the stream is %u and should be %u", total + i, data[i],
                         pattern_at(total + i));
            }
        }
        total += n;
    }
    free(data);
    return total;
}
