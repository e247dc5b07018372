/* SPDX-License-Identifier: BSD-2-Clause */
/* The scripts' notation: each function makes one call of the seam and writes one line of it.
 *
 * The text of a run grows in one buffer; the fds that the script opened stand in a list and are
 * closed at its end, the paths it bound are removed. Events are read with an epoll of their own for
 * each look, asked for all bits, so that a look has no memory of earlier ones and changes nothing.
 *
 * Awaiting is bounded twice, by time and by rounds: a simulated clock need not move while one
 * thread asks again and again, and a real one may be slow. An event that stays away is a line of
 * the text ("never: ..."), and the comparison then fails.
 *
 * Errors have their names written out here, not through strerror, whose texts belong to libc. An
 * error without a name here is written by number, which a reader will notice. */
#include "conform.h"
#include "record.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_MAX = 16384, FDS_MAX = 256, PATHS_MAX = 32, ROUNDS_MAX = 20000 };

static char *text;
static size_t text_size;
static int fds[FDS_MAX];
static int fd_count;
static char paths[PATHS_MAX][64];
static int path_count;
static int lowest_fd; /* free when the script began */

static int find_lowest_fd(void)
{
    int fd = sys_eventfd();
    sys_close(fd);
    return fd;
}

void record_begin(void)
{
    text = calloc(1, TEXT_MAX);
    if (!text) {
        abort();
    }
    text_size = 0;
    fd_count = path_count = 0;
    lowest_fd = find_lowest_fd();
}

char *record_end(void)
{
    for (int i = 0; i < fd_count; i++) {
        if (fds[i] >= 0 && sys_close(fds[i]) < 0) {
            note("an fd was closed behind the script's back");
        }
    }
    for (int i = 0; i < path_count; i++) {
        sys_unlink(paths[i]);
    }
    if (find_lowest_fd() != lowest_fd) {
        note("an fd was left open");
    }
    return text;
}

void note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text + text_size, TEXT_MAX - text_size, format, args);
    va_end(args);
    if (size < 0 || text_size + (size_t)size + 2 > TEXT_MAX) {
        abort();
    }
    text_size += (size_t)size;
    text[text_size++] = '\n';
    text[text_size] = '\0';
}

int keep(int fd)
{
    if (fd >= 0) {
        if (fd_count == FDS_MAX) {
            abort();
        }
        fds[fd_count++] = fd;
    }
    return fd;
}

static void forget(int fd)
{
    for (int i = 0; i < fd_count; i++) {
        if (fds[i] == fd) {
            fds[i] = -1;
            return;
        }
    }
}

/* ---- names of errors and events */

#define ERROR(name)                                                                                \
    {                                                                                              \
        name, #name                                                                                \
    }
static const struct {
    int number;
    const char *name;
} errors[] = {
    ERROR(EAGAIN),          ERROR(EBADF),        ERROR(ECONNABORTED), ERROR(ECONNREFUSED),
    ERROR(ECONNRESET),      ERROR(EDESTADDRREQ), ERROR(EEXIST),       ERROR(EINPROGRESS),
    ERROR(EINVAL),          ERROR(EISCONN),      ERROR(EADDRINUSE),   ERROR(EADDRNOTAVAIL),
    ERROR(EMFILE),          ERROR(ENOENT),       ERROR(ENOTCONN),     ERROR(ENOTSOCK),
    ERROR(EOPNOTSUPP),      ERROR(EPIPE),        ERROR(EPERM),        ERROR(EPROTOTYPE),
    ERROR(EALREADY),        ERROR(EAFNOSUPPORT), ERROR(ENOPROTOOPT),  ERROR(EFAULT),
    ERROR(EPROTONOSUPPORT), ERROR(EMSGSIZE),     ERROR(ESPIPE),       ERROR(ENOTDIR),
    ERROR(EACCES),          ERROR(ETIMEDOUT),    ERROR(EINTR),        ERROR(ESOCKTNOSUPPORT),
    ERROR(ECANCELED),       ERROR(ENOBUFS),      ERROR(ENXIO),        ERROR(ENOTTY),
};
#undef ERROR

const char *error_name(long number)
{
    static char unknown[32];
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (errors[i].number == number) {
            return errors[i].name;
        }
    }
    snprintf(unknown, sizeof unknown, "error %ld", number);
    return unknown;
}

const char *event_names(uint32_t events, char *names, size_t size)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } bits[] = {{EPOLLIN, "IN"},       {EPOLLPRI, "PRI"}, {EPOLLOUT, "OUT"},
                {EPOLLRDHUP, "RDHUP"}, {EPOLLHUP, "HUP"}, {EPOLLERR, "ERR"}};
    names[0] = '\0';
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        if (events & bits[i].bit) {
            size_t used = strlen(names);
            snprintf(names + used, size - used, "%s%s", used ? " " : "", bits[i].name);
        }
    }
    return names[0] ? names : "none";
}

/* ---- unrecorded steps */

struct name fresh_name(enum family family)
{
    static int serial;
    struct name name = {0};
    if (family == TCP4) {
        struct sockaddr_in *address = (struct sockaddr_in *)(void *)&name.address;
        address->sin_family = AF_INET;
        address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        name.size = sizeof *address;
    } else if (family == TCP6) {
        struct sockaddr_in6 *address = (struct sockaddr_in6 *)(void *)&name.address;
        address->sin6_family = AF_INET6;
        address->sin6_addr = in6addr_loopback;
        name.size = sizeof *address;
    } else {
        if (path_count == PATHS_MAX) {
            abort();
        }
        char *path = paths[path_count++];
        snprintf(path, sizeof paths[0], "/tmp/conform-%ld-%d", (long)getpid(), serial++);
        struct sockaddr_un *address = (struct sockaddr_un *)(void *)&name.address;
        address->sun_family = AF_UNIX;
        memcpy(address->sun_path, path, strlen(path) + 1);
        name.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    }
    return name;
}

int open_socket(enum family family)
{
    static const int domains[FAMILIES] = {AF_INET, AF_INET6, AF_UNIX};
    int fd = sys_socket(domains[family], SOCK_STREAM, 0);
    if (fd < 0) {
        note("no socket: %s", error_name(-fd));
    }
    return keep(fd);
}

static void must(const char *what, int result)
{
    if (result < 0) {
        note("%s failed: %s", what, error_name(-result));
    }
}

int open_listener(enum family family, int backlog, struct name *ret_name)
{
    int fd = open_socket(family);
    struct name name = fresh_name(family);
    must("bind", sys_bind(fd, (struct sockaddr *)&name.address, name.size));
    must("listen", sys_listen(fd, backlog));
    name.size = sizeof name.address;
    must("getsockname", sys_getsockname(fd, (struct sockaddr *)&name.address, &name.size));
    *ret_name = name;
    return fd;
}

void open_pair(enum family family, int *ret_connector, int *ret_accepted)
{
    struct name name;
    int listener = open_listener(family, 8, &name);
    int connector = open_socket(family);
    int result = sys_connect(connector, (struct sockaddr *)&name.address, name.size);
    must("connect", result == -EINPROGRESS ? 0 : result);
    await(connector, EPOLLOUT);
    await(listener, EPOLLIN);
    int accepted = sys_accept(listener, NULL, NULL);
    must("accept", accepted);
    keep(accepted);
    forget(listener);
    sys_close(listener);
    *ret_connector = connector;
    *ret_accepted = accepted;
}

static uint32_t look(int fd, uint32_t events, int64_t timeout_ns)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    int epoll = sys_epoll_create();
    int count = epoll;
    if (epoll >= 0) {
        count = sys_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        if (count == 0) {
            count = sys_epoll_wait(epoll, &event, 1, timeout_ns);
        }
        sys_close(epoll);
    }
    if (count < 0 && count != -EINTR) {
        note("epoll failed: %s", error_name(-count));
    }
    return count > 0 ? event.events : 0;
}

static const uint32_t every_event =
    EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR;

bool await(int fd, uint32_t events)
{
    uint64_t until_ns = sys_monotonic_ns() + 10000000000u;
    for (int round = 0; round < ROUNDS_MAX && sys_monotonic_ns() < until_ns; round++) {
        uint32_t seen = look(fd, every_event, 0);
        if ((seen & events) == events) {
            return true;
        }
        look(fd, events & ~seen, 1000000);
    }
    char names[64];
    note("never: %s", event_names(events, names, sizeof names));
    return false;
}

void await_sent(int fd)
{
    uint64_t until_ns = sys_monotonic_ns() + 10000000000u;
    int bytes = 0;
    for (int round = 0; round < ROUNDS_MAX && sys_monotonic_ns() < until_ns; round++) {
        if (sys_bytes_unsent(fd, &bytes) < 0 || bytes == 0) {
            return;
        }
        look(fd, EPOLLPRI, 1000000);
    }
    note("never: all sent");
}

void fill(int fd)
{
    static const char block[65536];
    size_t taken = 0;
    for (int idle = 0; idle < 20;) {
        ssize_t result = sys_send(fd, block, sizeof block, MSG_NOSIGNAL);
        if (result < 0 && result != -EAGAIN) {
            note("filling failed: %s", error_name(-result));
            return;
        }
        /* What went into the peer's buffer may make room once more: full is what stays so. */
        if (result == -EAGAIN) {
            look(fd, EPOLLOUT, 1000000);
            idle++;
        } else {
            taken += (size_t)result;
            idle = 0;
        }
    }
    note(taken ? "filled: EAGAIN after some bytes" : "filled: EAGAIN at once");
}

size_t drain(int fd)
{
    static char block[65536];
    size_t all = 0;
    for (;;) {
        ssize_t result = sys_recv(fd, block, sizeof block, 0);
        if (result <= 0) {
            return all;
        }
        all += (size_t)result;
    }
}

void set_option(int fd, int level, int option, int value)
{
    must("setsockopt", sys_setsockopt(fd, level, option, &value, sizeof value));
}

void set_linger_zero(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    must("SO_LINGER", sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

/* ---- recorded steps */

void record_result(const char *call, long result)
{
    if (result < 0) {
        note("%s = %s", call, error_name(-result));
    } else {
        note("%s = %ld", call, result);
    }
}

void record_events(const char *fd_name, int fd, uint32_t awaited)
{
    char names[64];
    if (awaited) {
        await(fd, awaited);
    }
    note("events(%s) = %s", fd_name, event_names(look(fd, every_event, 0), names, sizeof names));
}

void record_send(const char *fd_name, int fd, const char *data)
{
    char call[256];
    snprintf(call, sizeof call, "send(%s, \"%s\")", fd_name, data);
    record_result(call, (long)sys_send(fd, data, strlen(data), MSG_NOSIGNAL));
}

void record_recv(const char *fd_name, int fd, size_t size, int flags)
{
    char data[256] = {0};
    const char *call = flags & MSG_PEEK ? "peek" : "recv";
    ssize_t result = sys_recv(fd, data, size < sizeof data ? size : sizeof data - 1, flags);
    if (result > 0) {
        note("%s(%s) = %zd \"%s\"", call, fd_name, result, data);
    } else if (result == 0) {
        note("%s(%s) = 0", call, fd_name);
    } else {
        note("%s(%s) = %s", call, fd_name, error_name(-result));
    }
}

void record_option(const char *fd_name, int fd, int level, int option, const char *option_name)
{
    int value = 0;
    socklen_t size = sizeof value;
    int result = sys_getsockopt(fd, level, option, &value, &size);
    if (result < 0) {
        note("%s(%s) = %s", option_name, fd_name, error_name(-result));
    } else {
        note("%s(%s) = %d", option_name, fd_name, value);
    }
}

void record_error(const char *fd_name, int fd)
{
    int value = 0;
    socklen_t size = sizeof value;
    int result = sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size);
    note("SO_ERROR(%s) = %s%s", fd_name, result < 0 ? "failed: " : "",
         result < 0 ? error_name(-result)
         : value    ? error_name(value)
                    : "none");
}

void record_count(const char *what, const char *fd_name, int fd,
                  int (*count)(int fd, int *ret_bytes))
{
    int bytes = 0;
    int result = count(fd, &bytes);
    if (result < 0) {
        note("%s(%s) = %s", what, fd_name, error_name(-result));
    } else {
        note("%s(%s) = %d", what, fd_name, bytes);
    }
}

void record_close(const char *fd_name, int fd)
{
    forget(fd);
    int result = sys_close(fd);
    note("close(%s) = %s", fd_name, result < 0 ? error_name(-result) : "0");
}

void record_name(const char *what, const char *fd_name, int fd, const struct name *same,
                 int (*ask)(int fd, struct sockaddr *ret_address, socklen_t *inout_size))
{
    struct name name = {.size = sizeof name.address};
    int result = ask(fd, (struct sockaddr *)&name.address, &name.size);
    if (result < 0) {
        note("%s(%s) = %s", what, fd_name, error_name(-result));
    } else if (same) {
        bool equal = name.size == same->size && !memcmp(&name.address, &same->address, name.size);
        note("%s(%s) = %s", what, fd_name, equal ? "the listener's" : "another");
    } else {
        note("%s(%s) = 0%s", what, fd_name,
             name.size == sizeof(sa_family_t) ? " (without a name)" : "");
    }
}
