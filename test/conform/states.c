/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: the events of a socket in some state of its life, and what can be read and
 * written there, would differ under simulation.
 *
 * Scripts of sockets that are whole, half closed or never connected; nothing here is reset by
 * force (endings.c does that). `a` has connected, `b` was accepted. Each script goes through the
 * library's own calls (recv, send, sendmsg, sendfile, shutdown) and looks at both ends. */
#include "conform.h"

#include <fcntl.h>

static void fresh(enum family family)
{
    int a = open_socket(family);
    EVENTS(a, 0);
    SO_ERROR_OF(a);
    RECV(a, 10);
    SEND(a, "x");
    SHUT(a, WR);
    EVENTS(a, 0);
    PEER_NAME(a, NULL);
}

static void listening(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    EVENTS(l, 0);
    CALL("accept(l)", sys_accept(l, NULL, NULL));
    RECV(l, 10);
    SEND(l, "x");
    OPTION(l, SOL_SOCKET, SO_ACCEPTCONN);
    PEER_NAME(l, NULL);
    OWN_NAME(l, &name);
    int a = open_socket(family);
    OPTION(a, SOL_SOCKET, SO_ACCEPTCONN);
    sys_connect(a, (struct sockaddr *)&name.address, name.size);
    EVENTS(l, EPOLLIN);
}

static void established(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    EVENTS(a, 0);
    EVENTS(b, 0);
    RECV(a, 10);
    SO_ERROR_OF(a);
    SEND(a, "hello");
    EVENTS(b, EPOLLIN);
    UNREAD(b);
    PEEK(b, 10);
    RECV(b, 2);
    UNREAD(b);
    EVENTS(b, EPOLLIN);
    RECV(b, 10);
    EVENTS(b, 0);
    RECV(b, 10);
    await_sent(a);
    UNSENT(a);
}

static void zero_bytes(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "");
    EVENTS(b, 0);
    RECV(b, 10);
    SEND(a, "x");
    await(b, EPOLLIN);
    RECV(b, 0);
    RECV(b, 10);
    SHUT(a, WR);
    SEND(a, "");
}

static void buffer_full(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    fill(a);
    EVENTS(a, 0);
    SEND(a, "x");
    EVENTS(b, EPOLLIN);
    note("drained something: %d", drain(b) > 0);
    EVENTS(a, EPOLLOUT);
    SEND(a, "x");
}

static void full_and_shut(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    fill(a);
    SHUT(a, WR);
    EVENTS(a, family == UNIX ? 0 : EPOLLOUT); /* unix looks at the room alone */
    SEND(a, "x");
    EVENTS(b, EPOLLIN);
}

static void fin_received(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SHUT(b, WR);
    EVENTS(a, EPOLLRDHUP);
    EVENTS(b, 0);
    RECV(a, 10);
    EVENTS(a, 0);
    RECV(a, 10);
    SEND(a, "still");
    EVENTS(b, EPOLLIN);
    RECV(b, 10);
    SEND(b, "x");
    PEER_NAME(a, NULL);
}

static void fin_after_data(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(b, "last");
    SHUT(b, WR);
    EVENTS(a, EPOLLIN | EPOLLRDHUP);
    UNREAD(a);
    RECV(a, 2);
    EVENTS(a, 0);
    RECV(a, 10);
    EVENTS(a, 0);
    RECV(a, 10);
    UNREAD(a);
}

static void both_shut(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SHUT(a, WR);
    EVENTS(b, EPOLLRDHUP);
    SHUT(b, WR);
    EVENTS(a, EPOLLHUP);
    EVENTS(b, EPOLLHUP);
    RECV(a, 10);
    RECV(b, 10);
    SEND(a, "x");
    SO_ERROR_OF(a);
    PEER_NAME(b, NULL);
    SHUT(a, WR);
    SHUT(b, WR);
    SHUT(b, RDWR);
}

static void both_shut_unread(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "left");
    SHUT(a, WR);
    await(b, EPOLLIN | EPOLLRDHUP);
    SHUT(b, WR);
    EVENTS(b, EPOLLHUP);
    RECV(b, 10);
    EVENTS(b, 0);
    RECV(b, 10);
}

static void shut_twice(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SHUT(a, WR);
    SHUT(a, WR);
    EVENTS(b, EPOLLRDHUP);
    EVENTS(a, 0);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    SHUT(a, WR);
    SHUT(a, RDWR);
}

static void shut_reading(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SHUT(a, RD);
    EVENTS(a, 0);
    RECV(a, 10);
    EVENTS(b, 0);
    SEND(a, "out");
    EVENTS(b, EPOLLIN);
    RECV(b, 10);
}

static void shut_reading_and_writing(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SHUT(a, RDWR);
    EVENTS(a, EPOLLIN | EPOLLRDHUP);
    RECV(a, 10);
    SEND(a, "x");
    EVENTS(b, EPOLLRDHUP);
    RECV(b, 10);
}

static void many_pieces(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    char bytes[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    struct iovec pieces[1025] = {{0}};
    for (size_t i = 0; i < 36; i++) {
        pieces[i] = (struct iovec){.iov_base = bytes + i, .iov_len = i % 5 ? 1 : 0};
    }
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 36};
    CALL("sendmsg(a, 36 pieces)", sys_sendmsg(a, &message, MSG_NOSIGNAL));
    await(b, EPOLLIN);
    RECV(b, 100);
    message.msg_iovlen = 0;
    CALL("sendmsg(a, no pieces)", sys_sendmsg(a, &message, MSG_NOSIGNAL));
    message.msg_iovlen = 1025;
    CALL("sendmsg(a, 1025 pieces)", sys_sendmsg(a, &message, MSG_NOSIGNAL));
    message.msg_iovlen = 36;
    SHUT(a, WR);
    CALL("sendmsg(a) after shutdown", sys_sendmsg(a, &message, MSG_NOSIGNAL));
}

static void file_sent(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    struct name path = fresh_name(UNIX);
    const char *file_path = (const char *)&path.address + sizeof(sa_family_t);
    int f = keep(sys_open(file_path, O_RDWR | O_CREAT | O_EXCL, 0600));
    CALL("write(f)", sys_write(f, "0123456789", 10));
    off_t offset = 3;
    CALL("sendfile(a, f, from 3, 4)", sys_sendfile(a, f, &offset, 4));
    note("offset %ld", (long)offset);
    CALL("sendfile(a, f, from 7, 100)", sys_sendfile(a, f, &offset, 100));
    note("offset %ld", (long)offset);
    CALL("sendfile(a, f, from 10, 100)", sys_sendfile(a, f, &offset, 100));
    note("offset %ld", (long)offset);
    await(b, EPOLLIN);
    RECV(b, 100);
    SHUT(a, WR);
    offset = 0;
    CALL("sendfile(a, f) after shutdown", sys_sendfile(a, f, &offset, 4));
    note("offset %ld", (long)offset);
}

static void file_to_full(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    struct name path = fresh_name(UNIX);
    const char *file_path = (const char *)&path.address + sizeof(sa_family_t);
    int f = keep(sys_open(file_path, O_RDWR | O_CREAT | O_EXCL, 0600));
    CALL("write(f)", sys_write(f, "0123456789", 10));
    fill(a);
    off_t offset = 0;
    CALL("sendfile(a, f, 10)", sys_sendfile(a, f, &offset, 10));
    note("offset %ld", (long)offset);
}

/* A little room is not yet worth an event; an empty buffer is. */
static void room_comes_back(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    fill(a);
    EVENTS(a, 0);
    char few[8];
    CALL("recv(b, 8 bytes)", sys_recv(b, few, sizeof few, 0));
    EVENTS(a, 0);
    drain(b);
    EVENTS(a, EPOLLOUT);
}

static void await_unread(int fd, int wanted)
{
    int bytes = 0;
    for (int round = 0; round < 1000 && bytes < wanted; round++) {
        await(fd, EPOLLIN);
        sys_bytes_unread(fd, &bytes);
    }
}

static void peek_and_unread(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "one");
    SEND(a, "two");
    await_unread(b, 6);
    UNREAD(b);
    PEEK(b, 4);
    PEEK(b, 10);
    RECV(b, 4);
    UNREAD(b);
    PEEK(b, 10);
    RECV(b, 10);
    PEEK(b, 10);
    SHUT(a, WR);
    EVENTS(b, EPOLLRDHUP);
    PEEK(b, 10);
    RECV(b, 10);
}

static void both_ways(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "ping");
    SEND(b, "pong");
    EVENTS(a, EPOLLIN);
    EVENTS(b, EPOLLIN);
    RECV(a, 10);
    RECV(b, 10);
    EVENTS(a, 0);
    EVENTS(b, 0);
}

const struct script state_scripts[] = {
    {"room_comes_back", room_comes_back, ON_ALL},
    {"peek_and_unread", peek_and_unread, ON_ALL},
    {"both_ways", both_ways, ON_ALL},
    {"fresh", fresh, ON_ALL},
    {"listening", listening, ON_ALL},
    {"established", established, ON_ALL},
    {"zero_bytes", zero_bytes, ON_ALL},
    {"buffer_full", buffer_full, ON_ALL},
    {"full_and_shut", full_and_shut, ON_ALL},
    {"fin_received", fin_received, ON_ALL},
    {"fin_after_data", fin_after_data, ON_ALL},
    {"both_shut", both_shut, ON_ALL},
    {"both_shut_unread", both_shut_unread, ON_ALL},
    {"shut_twice", shut_twice, ON_ALL},
    {"shut_reading", shut_reading, ON_ALL},
    {"shut_reading_and_writing", shut_reading_and_writing, ON_ALL},
    {"many_pieces", many_pieces, ON_ALL},
    {"file_sent", file_sent, ON_ALL},
    {"file_to_full", file_to_full, ON_ALL},
    {NULL, NULL, 0},
};
