/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: epoll itself, eventfd, signalfd and the numbers of fds would differ under
 * simulation: which events come, how often, and to whom.
 *
 * Scripts of one epoll each, which they keep over several waits (the looks of EVENTS have one of
 * their own). All is level triggered, as the library uses it; edges and one-shots are not its ways
 * and are left out. What a wait returned is written sorted by the data that the script gave, since
 * the order within a batch is the kernel's choice; in the script of the rotation it is the point,
 * and there only that all were seen is written. */
#include "conform.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>

enum { BATCH_MAX = 16 };

static int control(int epoll, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return sys_epoll_ctl(epoll, op, fd, &event);
}

#define ADD(ep, fd, events, data)                                                                  \
    CALL("add(" #ep ", " #fd ", " #events ")", control(ep, EPOLL_CTL_ADD, fd, events, data))
#define MOD(ep, fd, events, data)                                                                  \
    CALL("mod(" #ep ", " #fd ", " #events ")", control(ep, EPOLL_CTL_MOD, fd, events, data))
#define DEL(ep, fd) CALL("del(" #ep ", " #fd ")", control(ep, EPOLL_CTL_DEL, fd, 0, 0))

/* Writes a line for each event, by rising data. */
static void wait_now(const char *epoll_name, int epoll)
{
    struct epoll_event events[BATCH_MAX];
    int count = sys_epoll_wait(epoll, events, BATCH_MAX, 0);
    CALL(epoll_name, count);
    for (uint64_t data = 0; data < BATCH_MAX; data++) {
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == data) {
                note("  %d:%s%s%s%s%s", (int)data, events[i].events & EPOLLIN ? " IN" : "",
                     events[i].events & EPOLLOUT ? " OUT" : "",
                     events[i].events & EPOLLRDHUP ? " RDHUP" : "",
                     events[i].events & EPOLLHUP ? " HUP" : "",
                     events[i].events & EPOLLERR ? " ERR" : "");
            }
        }
    }
}
#define WAIT(ep) wait_now("wait(" #ep ")", ep)

static void signal_event(int fd, uint64_t value)
{
    CALL("write(e)", sys_write(fd, &value, sizeof value));
}

static void read_event(int fd)
{
    uint64_t value = 0;
    ssize_t result = sys_read(fd, &value, sizeof value);
    CALL("read(e)", result);
    if (result > 0) {
        note("  value %lu", (unsigned long)value);
    }
}

static void eventfd_counts(enum family family)
{
    (void)family;
    int e = keep(sys_eventfd());
    EVENTS(e, 0);
    read_event(e);
    signal_event(e, 1);
    signal_event(e, 2);
    EVENTS(e, EPOLLIN);
    read_event(e);
    EVENTS(e, 0);
    read_event(e);
    signal_event(e, 0);
    EVENTS(e, 0);
    signal_event(e, UINT64_MAX);
    signal_event(e, UINT64_MAX - 1);
    EVENTS(e, EPOLLIN);
    signal_event(e, 1);
    read_event(e);
    EVENTS(e, 0);
    char few[4] = {0};
    CALL("read(e, 4 bytes)", sys_read(e, few, sizeof few));
    CALL("write(e, 4 bytes)", sys_write(e, few, sizeof few));
}

static void level_triggered(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    int ep = keep(sys_epoll_create());
    ADD(ep, b, EPOLLIN, 1);
    WAIT(ep);
    SEND(a, "hello");
    await(b, EPOLLIN);
    WAIT(ep);
    WAIT(ep);
    RECV(b, 2);
    WAIT(ep);
    RECV(b, 10);
    WAIT(ep);
}

static void ctl_errors(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    int ep = keep(sys_epoll_create());
    DEL(ep, a);
    MOD(ep, a, EPOLLIN, 1);
    ADD(ep, a, EPOLLIN, 1);
    ADD(ep, a, EPOLLOUT, 2);
    WAIT(ep);
    MOD(ep, a, EPOLLOUT, 3);
    WAIT(ep);
    DEL(ep, a);
    DEL(ep, a);
    WAIT(ep);
    ADD(ep, -1, EPOLLIN, 1);
    ADD(ep, ep, EPOLLIN, 1);
    ADD(a, b, EPOLLIN, 1);
    struct epoll_event event;
    CALL("wait(ep, no room)", sys_epoll_wait(ep, &event, 0, 0));
    CALL("wait(a)", sys_epoll_wait(a, &event, 1, 0));
    CALL("wait(-1)", sys_epoll_wait(-1, &event, 1, 0));
}

static void regular_file(enum family family)
{
    (void)family;
    struct name name = fresh_name(UNIX);
    const char *path = (const char *)&name.address + sizeof(sa_family_t);
    int f = keep(sys_open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
    int ep = keep(sys_epoll_create());
    ADD(ep, f, EPOLLIN, 1);
    RECV(f, 10);
}

/* HUP and ERR come unasked. */
static void unasked(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    int ep = keep(sys_epoll_create());
    ADD(ep, a, 0, 1);
    WAIT(ep);
    SEND(a, "unread");
    await(b, EPOLLIN);
    FD_CLOSE(b);
    await(a, EPOLLHUP);
    WAIT(ep);
    MOD(ep, a, EPOLLIN, 2);
    WAIT(ep);
    DEL(ep, a);
    WAIT(ep);
}

static void closed_fd_vanishes(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    int ep = keep(sys_epoll_create());
    ADD(ep, a, EPOLLOUT, 1);
    WAIT(ep);
    int number = a;
    FD_CLOSE(a);
    WAIT(ep);
    DEL(ep, number);
    int again = open_socket(family);
    note("the lowest free number: %d", again == number);
    WAIT(ep);
    MOD(ep, again, EPOLLOUT, 2);
    ADD(ep, again, EPOLLOUT, 2);
    WAIT(ep);
}

static void dup_keeps(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    int ep = keep(sys_epoll_create());
    int second = keep(sys_dup(a));
    ADD(ep, a, EPOLLOUT, 1);
    ADD(ep, second, EPOLLOUT, 2);
    WAIT(ep);
    DEL(ep, second);
    FD_CLOSE(a);
    WAIT(ep);
    EVENTS(b, 0);
    FD_CLOSE(second);
    WAIT(ep);
    EVENTS(b, EPOLLRDHUP);
}

static void two_epolls(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    int ep = keep(sys_epoll_create());
    int other = keep(sys_epoll_create());
    ADD(ep, b, EPOLLIN, 1);
    ADD(other, b, EPOLLIN | EPOLLOUT, 2);
    SEND(a, "x");
    await(b, EPOLLIN);
    WAIT(ep);
    WAIT(other);
    EVENTS(ep, 0);
    DEL(ep, b);
    WAIT(ep);
    WAIT(other);
    EVENTS(ep, 0);
}

/* A batch smaller than what is ready: each comes in its turn, none starves. */
static void rotation(enum family family)
{
    (void)family;
    enum { READY = 5 };
    int ep = keep(sys_epoll_create());
    for (uint64_t i = 0; i < READY; i++) {
        int e = keep(sys_eventfd());
        uint64_t one = 1;
        control(ep, EPOLL_CTL_ADD, e, EPOLLIN, i);
        sys_write(e, &one, sizeof one);
    }
    int seen[READY] = {0};
    for (int turn = 0; turn < READY; turn++) {
        struct epoll_event events[2];
        int count = sys_epoll_wait(ep, events, 2, 0);
        for (int i = 0; i < count; i++) {
            seen[events[i].data.u64]++;
        }
    }
    for (int i = 0; i < READY; i++) {
        note("eventfd %d was seen %d times", i, seen[i]);
    }
}

static void closed_twice(enum family family)
{
    int a = open_socket(family);
    int number = a;
    FD_CLOSE(a);
    FD_CLOSE(number);
    RECV(number, 10);
    SEND(number, "x");
    SHUT(number, WR);
    SO_ERROR_OF(number);
    CALL("dup", sys_dup(number));
    UNREAD(number);
}

static void lowest_numbers(enum family family)
{
    int a = open_socket(family), b = open_socket(family), c = open_socket(family);
    note("rising: %d", a < b && b < c);
    int first = a, second = b;
    FD_CLOSE(b);
    FD_CLOSE(a);
    a = keep(sys_eventfd());
    b = keep(sys_epoll_create());
    note("reused from below: %d %d", a == first, b == second);
    FD_CLOSE(a);
    a = keep(sys_dup(c));
    note("by dup: %d", a == first);
}

/* A signal that is blocked and sent to the process waits in the signalfd. */
static void signal_read(enum family family)
{
    (void)family;
    sigset_t mask, old;
    sys_sigset_of(&mask, SIGUSR1);
    sys_sigmask(SIG_BLOCK, &mask, &old);
    int s = keep(sys_signalfd(-1, &mask));
    EVENTS(s, 0);
    struct signalfd_siginfo info = {0};
    CALL("read(s)", sys_read(s, &info, sizeof info));
    raise(SIGUSR1);
    raise(SIGUSR1);
    EVENTS(s, EPOLLIN);
    ssize_t size = sys_read(s, &info, sizeof info);
    note("read(s) = %s, SIGUSR1: %d", size == (ssize_t)sizeof info ? "one" : "otherwise",
         info.ssi_signo == SIGUSR1);
    CALL("read(s)", sys_read(s, &info, sizeof info));
    EVENTS(s, 0);
    sys_sigmask(SIG_SETMASK, &old, NULL);
}

const struct script polling_scripts[] = {
    {"eventfd_counts", eventfd_counts, ONCE},
    {"level_triggered", level_triggered, ON_ALL},
    {"ctl_errors", ctl_errors, ON_ALL},
    {"regular_file", regular_file, ONCE},
    {"unasked", unasked, ON_ALL},
    {"closed_fd_vanishes", closed_fd_vanishes, ON_ALL},
    {"dup_keeps", dup_keeps, ON_ALL},
    {"two_epolls", two_epolls, ON_ALL},
    {"rotation", rotation, ONCE},
    {"closed_twice", closed_twice, ON_ALL},
    {"lowest_numbers", lowest_numbers, ON_ALL},
    {"signal_read", signal_read, ONCE},
    {NULL, NULL, 0},
};
