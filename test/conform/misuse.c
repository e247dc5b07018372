/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: a program that uses an fd that it has closed, or one of another kind, would
 * hear something else under simulation than on Linux, and what the library does about it would be
 * tested with the wrong errors.
 *
 * Scripts of calls that can come to nothing: on fds that are not open, on files that are no
 * sockets, on sockets that are no connections, with addresses that are none and options that do not
 * exist. `none` is no fd; `e` is an eventfd, `ep` an epoll, `f` a regular file, `s` a signalfd. */
#include "conform.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>

static const char *path_of(const struct name *name)
{
    return (const char *)&name->address + sizeof(sa_family_t);
}

static int open_file(struct name *ret_name)
{
    *ret_name = fresh_name(UNIX);
    return keep(sys_open(path_of(ret_name), O_RDWR | O_CREAT | O_EXCL, 0600));
}

/* Each call that wants a socket, on something else. */
static void call_all(int fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const struct sockaddr *to = (const struct sockaddr *)&address;
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    char byte[2] = "x";
    struct iovec piece = {.iov_base = byte, .iov_len = 1};
    const struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    int number = 0;
    socklen_t number_size = sizeof number;
    CALL("bind", sys_bind(fd, to, sizeof address));
    CALL("listen", sys_listen(fd, 1));
    CALL("accept", sys_accept(fd, NULL, NULL));
    CALL("connect", sys_connect(fd, to, sizeof address));
    CALL("shutdown", sys_shutdown(fd, SHUT_WR));
    CALL("getsockname", sys_getsockname(fd, (struct sockaddr *)&from, &size));
    CALL("getpeername", sys_getpeername(fd, (struct sockaddr *)&from, &size));
    CALL("recv", sys_recv(fd, byte, 1, 0));
    CALL("send", sys_send(fd, byte, 1, MSG_NOSIGNAL));
    CALL("sendmsg", sys_sendmsg(fd, &message, MSG_NOSIGNAL));
    CALL("getsockopt", sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &number_size));
    CALL("setsockopt", sys_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &number, sizeof number));
}

static void no_fd(enum family family)
{
    (void)family;
    int none = keep(sys_eventfd()), number;
    uint64_t value = 1;
    off_t offset = 0;
    struct stat status;
    sigset_t mask;
    struct epoll_event event = {.events = EPOLLIN};
    int e = keep(sys_eventfd());
    int s = open_socket(TCP4);
    FD_CLOSE(none);
    call_all(none);
    sys_sigset_of(&mask, SIGUSR1);
    CALL("read", sys_read(none, &value, sizeof value));
    CALL("write", sys_write(none, &value, sizeof value));
    CALL("pread", sys_pread(none, &value, sizeof value, 0));
    CALL("fstat", sys_fstat(none, &status));
    CALL("dup", sys_dup(none));
    CALL("dup(-1)", sys_dup(-1));
    CALL("dup(a large number)", sys_dup(1 << 20));
    CALL("set_nonblocking", sys_set_nonblocking(none));
    CALL("signalfd", sys_signalfd(none, &mask));
    CALL("epoll_wait", sys_epoll_wait(none, &event, 1, 0));
    CALL("epoll_ctl(none, add, e)", sys_epoll_ctl(none, EPOLL_CTL_ADD, e, &event));
    CALL("unsent", sys_bytes_unsent(none, &number));
    CALL("unread", sys_bytes_unread(none, &number));
    CALL("sendfile from none", sys_sendfile(s, none, &offset, 1));
    CALL("sendfile to none", sys_sendfile(none, s, &offset, 1));
    CALL("close again", sys_close(none));
    CALL("close(-1)", sys_close(-1));
}

static void no_socket(enum family family)
{
    (void)family;
    struct name name;
    note("of an eventfd");
    call_all(keep(sys_eventfd()));
    note("of an epoll");
    call_all(keep(sys_epoll_create()));
    note("of a file");
    call_all(open_file(&name));
}

static void kinds_of_files(enum family family)
{
    (void)family;
    struct name name;
    uint64_t value = 1;
    struct stat status;
    sigset_t mask;
    struct signalfd_siginfo info;
    sys_sigset_of(&mask, SIGUSR2);
    int e = keep(sys_eventfd()), ep = keep(sys_epoll_create());
    int s = keep(sys_signalfd(-1, &mask)), f = open_file(&name);
    CALL("read(ep)", sys_read(ep, &value, sizeof value));
    CALL("write(ep)", sys_write(ep, &value, sizeof value));
    CALL("write(s)", sys_write(s, &value, sizeof value));
    CALL("read(s), too short", sys_read(s, &info, sizeof info - 1));
    CALL("signalfd(e)", sys_signalfd(e, &mask));
    CALL("pread(e)", sys_pread(e, &value, sizeof value, 0));
    CALL("pread(f), before its beginning", sys_pread(f, &value, sizeof value, -1));
    CALL("pread(f), of nothing", sys_pread(f, &value, sizeof value, 0));
    CALL("write(f)", sys_write(f, "0123456789", 10));
    CALL("pread(f, from 4)", sys_pread(f, &value, 4, 4));
    note("  \"%.4s\"", (const char *)&value);
    CALL("pread(f, from 8)", sys_pread(f, &value, 4, 8));
    CALL("fstat(f)", sys_fstat(f, &status));
    note("  a file %d, %ld bytes, names %ld", S_ISREG(status.st_mode), (long)status.st_size,
         (long)status.st_nlink);
    CALL("fstat(a)", sys_fstat(open_socket(TCP4), &status));
    note("  a socket %d", S_ISSOCK(status.st_mode));
    CALL("fstat(e)", sys_fstat(e, &status));
    note("  a file %d, a socket %d", S_ISREG(status.st_mode), S_ISSOCK(status.st_mode));
    off_t offset = 0;
    CALL("sendfile(a, e)", sys_sendfile(open_socket(TCP4), e, &offset, 1));
}

/* A signalfd that is to listen to another signal. */
static void signals_changed(enum family family)
{
    (void)family;
    sigset_t first, second, old;
    struct signalfd_siginfo info = {0};
    sys_sigset_of(&first, SIGUSR1);
    sys_sigset_of(&second, SIGUSR2);
    sys_sigmask(SIG_BLOCK, &first, &old);
    sys_sigmask(SIG_BLOCK, &second, NULL);
    int s = keep(sys_signalfd(-1, &first));
    raise(SIGUSR2);
    EVENTS(s, 0);
    int same = sys_signalfd(s, &second);
    note("signalfd(s) = s: %d", same == s);
    EVENTS(s, EPOLLIN);
    note("read(s), whole: %d", sys_read(s, &info, sizeof info) == (ssize_t)sizeof info);
    note("SIGUSR2: %d", info.ssi_signo == SIGUSR2);
    sys_sigmask(SIG_SETMASK, &old, NULL);
}

static void names_of_files(enum family family)
{
    (void)family;
    struct stat status;
    struct name none = fresh_name(UNIX), name, bound = fresh_name(UNIX);
    CALL("open(none)", sys_open(path_of(&none), O_RDONLY, 0));
    CALL("lstat(none)", sys_lstat(path_of(&none), &status));
    int f = open_file(&name);
    CALL("open(there), exclusively", sys_open(path_of(&name), O_RDWR | O_CREAT | O_EXCL, 0600));
    int again = keep(sys_open(path_of(&name), O_RDONLY, 0));
    note("open(there) again: %d", again > f);
    CALL("lstat(there)", sys_lstat(path_of(&name), &status));
    note("  a file %d, a socket %d", S_ISREG(status.st_mode), S_ISSOCK(status.st_mode));
    CALL("unlink", sys_unlink(path_of(&name)));
    CALL("lstat(unlinked)", sys_lstat(path_of(&name), &status));
    CALL("fstat(unlinked)", sys_fstat(f, &status));
    note("  names %ld", (long)status.st_nlink);
    int a = open_socket(UNIX);
    BIND(a, bound);
    CALL("lstat(a's name)", sys_lstat(path_of(&bound), &status));
    note("  a file %d, a socket %d", S_ISREG(status.st_mode), S_ISSOCK(status.st_mode));
    CALL("open(a's name)", sys_open(path_of(&bound), O_RDWR, 0));
}

/* read and write are as good as recv and send. */
static void read_and_written(enum family family)
{
    int a, b;
    char data[8];
    open_pair(family, &a, &b);
    CALL("write(a)", sys_write(a, "abc", 3));
    await(b, EPOLLIN);
    CALL("read(b)", sys_read(b, data, sizeof data));
    CALL("read(b)", sys_read(b, data, sizeof data));
    SHUT(a, WR);
    await(b, EPOLLRDHUP);
    CALL("read(b)", sys_read(b, data, sizeof data));
}

static void sockets_that_are_not(enum family family)
{
    (void)family;
    CALL("socket(a family that is none)", sys_socket(12345, SOCK_STREAM, 0));
    CALL("socket(a type that is none)", sys_socket(AF_INET, 99, 0));
    CALL("socket(unix, a type that is none)", sys_socket(AF_UNIX, 99, 0));
    CALL("socket(a type of others)", sys_socket(AF_INET, 9, 0));
    CALL("socket(unix, a type of others)", sys_socket(AF_UNIX, 9, 0));
}

/* Lengths and families that do not go together. */
static void addresses_that_are_not(enum family family)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr_storage wide = {.ss_family = AF_INET};
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "x"};
    const struct sockaddr *to4 = (const struct sockaddr *)&v4, *to6 = (const struct sockaddr *)&v6;
    const struct sockaddr *to_unix = (const struct sockaddr *)&un;
    int a = open_socket(family);
    CALL("bind to unix", family == UNIX ? 0 : sys_bind(a, to_unix, sizeof un));
    CALL("bind to IPv4, short", sys_bind(a, to4, sizeof v4 - 1));
    CALL("connect to IPv4, short", sys_connect(a, to4, sizeof v4 - 1));
    if (family != TCP6) {
        CALL("connect to IPv6", sys_connect(a, to6, sizeof v6));
    }
    if (family == TCP6) {
        CALL("bind to IPv4", sys_bind(a, to4, sizeof v4));
        CALL("connect to IPv4", sys_connect(a, to4, sizeof v4));
        CALL("bind to IPv4, with room", sys_bind(a, (struct sockaddr *)&wide, sizeof wide));
        CALL("connect to IPv4, with room", sys_connect(a, (struct sockaddr *)&wide, sizeof wide));
        CALL("bind to IPv6, short", sys_bind(a, to6, 20));
        CALL("connect to IPv6, short", sys_connect(a, to6, 20));
    }
    if (family == TCP4) {
        CALL("bind to IPv6", sys_bind(a, to6, sizeof v6));
    }
}

/* Bound to all addresses, found by each; bound to one, by that alone. */
static void all_addresses(enum family family)
{
    struct name any = fresh_name(family), one, other = fresh_name(family);
    bool is_v4 = family == TCP4;
    if (is_v4) {
        ((struct sockaddr_in *)&any.address)->sin_addr.s_addr = INADDR_ANY;
        ((struct sockaddr_in *)&other.address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    } else {
        ((struct sockaddr_in6 *)&any.address)->sin6_addr = in6addr_any;
    }
    int l = open_socket(family), a = open_socket(family), b = open_socket(family);
    BIND(l, any);
    CALL("listen(l)", sys_listen(l, 4));
    one.size = sizeof one.address;
    sys_getsockname(l, (struct sockaddr *)&one.address, &one.size);
    CALL("connect(a) to any", sys_connect(a, (const struct sockaddr *)&one.address, one.size));
    EVENTS(a, EPOLLOUT);
    if (is_v4) {
        ((struct sockaddr_in *)&other.address)->sin_port =
            ((struct sockaddr_in *)&one.address)->sin_port;
        CALL("connect(b) to another of this machine",
             sys_connect(b, (const struct sockaddr *)&other.address, other.size));
        EVENTS(b, EPOLLOUT);
        int c = open_socket(family);
        BIND(c, other);
    }
}

/* An IPv6 listener that takes IPv4, and one that was told not to. */
static void both_families(enum family family)
{
    for (int only = 0; only < 2; only++) {
        struct name any = fresh_name(family), found = {.size = sizeof found.address};
        ((struct sockaddr_in6 *)&any.address)->sin6_addr = in6addr_any;
        int l = open_socket(family), a = open_socket(TCP4);
        set_option(l, IPPROTO_IPV6, IPV6_V6ONLY, only);
        BIND(l, any);
        CALL("listen(l)", sys_listen(l, 4));
        sys_getsockname(l, (struct sockaddr *)&found.address, &found.size);
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = ((struct sockaddr_in6 *)&found.address)->sin6_port,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        CALL("connect(a)", sys_connect(a, (const struct sockaddr *)&to, sizeof to));
        EVENTS(a, EPOLLOUT);
        SO_ERROR_OF(a);
    }
}

static void listens_unbound(enum family family)
{
    int l = open_socket(family);
    CALL("listen(l)", sys_listen(l, -1));
    struct name name = {.size = sizeof name.address};
    CALL("getsockname(l)", sys_getsockname(l, (struct sockaddr *)&name.address, &name.size));
    int a = open_socket(family);
    CALL("connect(a)", sys_connect(a, (const struct sockaddr *)&name.address, name.size));
    EVENTS(a, EPOLLOUT);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CALL("listen(a)", sys_listen(a, 1));
    CALL("connect(l)", sys_connect(l, (const struct sockaddr *)&name.address, name.size));
    CALL("unread(l)", sys_bytes_unread(l, &(int){0}));
    SHUT(l, WR);
    CALL("disconnect(a)", sys_connect(a, &none, sizeof none));
}

/* Unix names that are no paths: the first byte is 0, and the length tells where they end. */
static void abstract_names(enum family family)
{
    (void)family;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = (socklen_t)(sizeof(sa_family_t) + 24);
    uint64_t unlike = sys_random();
    memcpy(name.sun_path + 1, "peal-conform", 12);
    memcpy(name.sun_path + 13, &unlike, sizeof unlike);
    const struct sockaddr *address = (const struct sockaddr *)&name;
    int l = open_socket(UNIX), a = open_socket(UNIX), b = open_socket(UNIX);
    CALL("connect(a), nobody is there", sys_connect(a, address, size));
    CALL("bind(l)", sys_bind(l, address, size));
    CALL("bind(b) to the same", sys_bind(b, address, size));
    CALL("connect(a), nobody listens", sys_connect(a, address, size));
    CALL("listen(l)", sys_listen(l, 4));
    CALL("connect(a)", sys_connect(a, address, size));
    CALL("connect(b), a longer name", sys_connect(b, address, size + 1));
    int c = keep(sys_accept(l, NULL, NULL));
    SEND(a, "hello");
    RECV(c, 10);
    FD_CLOSE(l);
    CALL("bind(b), now that it is free", sys_bind(b, address, size));
}

static void options_that_are_not(enum family family)
{
    int a = open_socket(family), on = 1, number = 0;
    socklen_t size = sizeof number;
    OPTION(a, SOL_SOCKET, SO_DOMAIN);
    CALL("set an option of TCP", sys_setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    CALL("get an option of TCP", sys_getsockopt(a, IPPROTO_TCP, TCP_NODELAY, &number, &size));
    CALL("set an option of IPv6", sys_setsockopt(a, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    CALL("set SO_SNDBUF", sys_setsockopt(a, SOL_SOCKET, SO_SNDBUF, &(int){9000}, sizeof(int)));
    OPTION(a, SOL_SOCKET, SO_SNDBUF);
    CALL("set SO_RCVBUF", sys_setsockopt(a, SOL_SOCKET, SO_RCVBUF, &(int){9000}, sizeof(int)));
    OPTION(a, SOL_SOCKET, SO_RCVBUF);
}

/* A listener whose queue is full does not answer: what may be done with a socket meanwhile? */
static int connect_in_vain(enum family family, struct name *ret_name)
{
    int l = open_listener(family, 0, ret_name);
    const struct sockaddr *to = (const struct sockaddr *)&ret_name->address;
    int first = open_socket(family), c = open_socket(family);
    sys_connect(first, to, ret_name->size);
    await(first, EPOLLOUT);
    await(l, EPOLLIN);
    CALL("connect(c)", sys_connect(c, to, ret_name->size));
    return c;
}

static void still_connecting(enum family family)
{
    struct name name;
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    int c = connect_in_vain(family, &name), l2 = open_socket(family);
    EVENTS(c, 0);
    CALL("connect(c) again", sys_connect(c, (const struct sockaddr *)&name.address, name.size));
    SEND(c, "x");
    RECV(c, 10);
    SO_ERROR_OF(c);
    UNSENT(c);
    PEER_NAME(c, &name);
    CALL("listen(c)", sys_listen(c, 1));
    CALL("disconnect(c)", sys_connect(c, &none, sizeof none));
    EVENTS(c, 0);
    SO_ERROR_OF(c);
    EVENTS(c, 0);
    CALL("listen(l2)", sys_listen(l2, 1));
    CALL("disconnect(l2)", sys_connect(l2, &none, sizeof none));
    EVENTS(l2, 0);
    CALL("accept(l2)", sys_accept(l2, NULL, NULL));
}

static void shut_while_connecting(enum family family)
{
    struct name name;
    int c = connect_in_vain(family, &name), d = open_socket(family);
    SHUT(c, WR);
    EVENTS(c, 0);
    SO_ERROR_OF(c);
    EVENTS(c, 0);
    SEND(c, "x");
    RECV(c, 10);
    sys_connect(d, (const struct sockaddr *)&name.address, name.size);
    FD_CLOSE(d); /* and what has never connected goes away quietly */
}

/* One that is over does not connect again before it was undone. */
static void connect_after_the_end(enum family family)
{
    struct name name;
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    int l = open_listener(family, 4, &name), a = open_socket(family);
    const struct sockaddr *to = (const struct sockaddr *)&name.address;
    sys_connect(a, to, name.size);
    await(a, EPOLLOUT);
    int b = keep(sys_accept(l, NULL, NULL));
    SHUT(a, WR);
    await(b, EPOLLRDHUP);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    CALL("connect(a)", sys_connect(a, to, name.size));
    CALL("disconnect(a)", sys_connect(a, &none, sizeof none));
    CALL("connect(a)", sys_connect(a, to, name.size));
    EVENTS(a, EPOLLOUT);
    b = keep(sys_accept(l, NULL, NULL));
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    CALL("connect(a)", sys_connect(a, to, name.size));
    CALL("connect(a)", sys_connect(a, to, name.size));
}

/* A time to linger, which is not nothing, changes nothing for who does not wait. */
static void lingers(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    const struct linger linger = {.l_onoff = 1, .l_linger = 5};
    CALL("SO_LINGER", sys_setsockopt(a, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    SEND(a, "hello");
    await(b, EPOLLIN);
    FD_CLOSE(a);
    EVENTS(b, EPOLLIN | EPOLLRDHUP);
    RECV(b, 10);
    RECV(b, 10);
}

static void interfaces(enum family family)
{
    (void)family;
    char name[IF_NAMESIZE] = "";
    CALL("index of lo", sys_if_nametoindex("lo"));
    CALL("index of none", sys_if_nametoindex("peal-none"));
    CALL("name of 1", sys_if_indextoname(1, name));
    note("  \"%s\"", name);
}

static void pieces_without_end(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    struct iovec pieces[1025] = {{.iov_base = NULL}};
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 1025};
    CALL("sendmsg(a, 1025 pieces)", sys_sendmsg(a, &message, MSG_NOSIGNAL));
}

const struct script misuse_scripts[] = {
    {"no_fd", no_fd, ONCE},
    {"no_socket", no_socket, ONCE},
    {"kinds_of_files", kinds_of_files, ONCE},
    {"signals_changed", signals_changed, ONCE},
    {"names_of_files", names_of_files, ONCE},
    {"read_and_written", read_and_written, ON_ALL},
    {"sockets_that_are_not", sockets_that_are_not, ONCE},
    {"addresses_that_are_not", addresses_that_are_not, ON_ALL},
    {"all_addresses", all_addresses, ON_TCP},
    {"both_families", both_families, 1 << TCP6},
    {"listens_unbound", listens_unbound, ON_TCP},
    {"abstract_names", abstract_names, ONCE},
    {"options_that_are_not", options_that_are_not, ON_ALL},
    {"still_connecting", still_connecting, ON_TCP},
    {"shut_while_connecting", shut_while_connecting, ON_TCP},
    {"connect_after_the_end", connect_after_the_end, ON_TCP},
    {"lingers", lingers, ON_ALL},
    {"interfaces", interfaces, ONCE},
    {"pieces_without_end", pieces_without_end, ON_ALL},
    {NULL, NULL, 0},
};
