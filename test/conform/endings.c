/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: how a connection's end is seen by the other end (FIN, reset, lost data) would
 * differ under simulation, and with it every promise about errors and about what was delivered.
 *
 * Scripts in which one end closes, and the other looks: at its events, at its error before and
 * after a call that takes it, at the data that it may still read. A reset is made in the two ways
 * that programs make it: by SO_LINGER with no time, and by closing with unread input. `a` has
 * connected, `b` was accepted; b ends, a looks on, unless the name says otherwise. */
#include "conform.h"

#include <fcntl.h>

static void look_on(int a)
{
    RECV(a, 10);
    EVENTS(a, 0);
    RECV(a, 10);
    SEND(a, "x");
    await(a, EPOLLHUP); /* if not for the end itself, then for the answer to what was sent */
    SO_ERROR_OF(a);
}

static void closed(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLRDHUP);
    look_on(a);
}

static void closed_after_data(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(b, "last");
    FD_CLOSE(b);
    EVENTS(a, EPOLLRDHUP);
    UNREAD(a);
    RECV(a, 10);
    look_on(a);
}

/* The first send is answered by a reset, the next one finds it. */
static void sent_to_closed(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLRDHUP);
    SEND(a, "first");
    EVENTS(a, EPOLLHUP);
    SEND(a, "second");
    EVENTS(a, 0);
    SO_ERROR_OF(a);
    RECV(a, 10);
    RECV(a, 10);
}

static void sent_to_closed_then_read(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(b, "last");
    FD_CLOSE(b);
    EVENTS(a, EPOLLRDHUP);
    SEND(a, "first");
    EVENTS(a, EPOLLHUP);
    RECV(a, 10);
    RECV(a, 10);
    RECV(a, 10);
    SO_ERROR_OF(a);
}

static void reset_then_recv(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    look_on(a);
    EVENTS(a, 0);
    PEER_NAME(a, NULL);
    SHUT(a, WR);
    UNSENT(a);
    UNREAD(a);
}

static void reset_then_send(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    SEND(a, "one");
    EVENTS(a, 0);
    SEND(a, "two");
    RECV(a, 10);
    SO_ERROR_OF(a);
}

static void reset_then_error(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    SO_ERROR_OF(a);
    SO_ERROR_OF(a);
    EVENTS(a, 0);
    RECV(a, 10);
    SEND(a, "x");
}

static void reset_then_shutdown(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    SHUT(a, WR);
    SO_ERROR_OF(a);
}

static void reset_after_data(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(b, "last");
    await(a, EPOLLIN);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    UNREAD(a);
    RECV(a, 2);
    EVENTS(a, 0);
    look_on(a);
}

static void reset_after_data_then_error(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(b, "last");
    await(a, EPOLLIN);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    PEEK(a, 10);
    SO_ERROR_OF(a);
    RECV(a, 10);
    RECV(a, 10);
}

static void reset_after_fin(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SHUT(b, WR);
    EVENTS(a, EPOLLRDHUP);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    look_on(a);
}

static void reset_after_our_fin(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SHUT(a, WR);
    EVENTS(b, EPOLLRDHUP);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    look_on(a);
}

/* How much is the buffer's size and so the kernel's choice. */
static void note_left(int a)
{
    int bytes = 0;
    sys_bytes_unsent(a, &bytes);
    note("unsent bytes still count: %d", bytes > 0);
}

static void reset_with_full_buffer(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    fill(a);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    note_left(a);
    SEND(a, "x");
    SEND(a, "x");
    note_left(a);
}

static void closed_unread(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "unread");
    await(b, EPOLLIN);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    look_on(a);
}

static void closed_unread_after_data(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "unread");
    await(b, EPOLLIN);
    SEND(b, "last");
    await(a, EPOLLIN);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    UNREAD(a);
    look_on(a);
}

static void closed_unread_after_fins(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "unread");
    SHUT(a, WR);
    await(b, EPOLLIN | EPOLLRDHUP);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    look_on(a);
}

/* What is in the kernel's hands when the sender closes still arrives, whole, before the end. */
static void closed_with_full_buffer(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    fill(b);
    FD_CLOSE(b);
    await(a, EPOLLIN);
    note("drained something: %d", drain(a) > 0);
    for (int i = 0; i < 1000 && await(a, EPOLLIN); i++) {
        char byte;
        if (sys_recv(a, &byte, 1, 0) == 0) {
            break;
        }
        drain(a);
    }
    EVENTS(a, EPOLLRDHUP);
    RECV(a, 10);
}

static void connect_undone(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    struct sockaddr_storage none = {.ss_family = AF_UNSPEC};
    CALL("connect(a, AF_UNSPEC)", sys_connect(a, (struct sockaddr *)&none, sizeof none));
    if (family != UNIX) {
        EVENTS(b, EPOLLHUP);
        RECV(b, 10);
    } else {
        EVENTS(b, 0);
    }
    EVENTS(a, 0);
    PEER_NAME(a, NULL);
    RECV(a, 10);
}

static void reset_then_sendmsg(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    char byte = 'x';
    struct iovec piece = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    CALL("sendmsg(a)", sys_sendmsg(a, &message, MSG_NOSIGNAL));
    CALL("sendmsg(a)", sys_sendmsg(a, &message, MSG_NOSIGNAL));
}

static void reset_then_sendfile(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    struct name name = fresh_name(UNIX);
    const char *path = (const char *)&name.address + sizeof(sa_family_t);
    int f = keep(sys_open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
    sys_write(f, "0123456789", 10);
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    off_t offset = 2;
    CALL("sendfile(a, f)", sys_sendfile(a, f, &offset, 4));
    CALL("sendfile(a, f)", sys_sendfile(a, f, &offset, 4));
    note("offset %ld", (long)offset);
    SO_ERROR_OF(a);
}

/* A connection ends with the last fd that names it, however the others were closed. */
static void dup_of_closed(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    int c = keep(sys_dup(b));
    set_linger_zero(b);
    FD_CLOSE(b);
    EVENTS(a, 0);
    SEND(c, "alive");
    EVENTS(a, EPOLLIN);
    RECV(a, 10);
    SHUT(c, WR);
    EVENTS(a, EPOLLRDHUP);
    FD_CLOSE(c);
    EVENTS(a, family == UNIX ? EPOLLRDHUP : EPOLLHUP);
}

/* Unix tells the sender that nobody reads; TCP has no word for it. */
static void sent_to_shut_reader(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SHUT(a, RD);
    EVENTS(b, 0);
    SEND(b, "late");
    EVENTS(a, 0);
    SHUT(a, WR);
    EVENTS(b, EPOLLRDHUP);
}

/* A closer that has read all of it and whose peer has ended: no reset, for either. */
static void closed_in_turn(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "all");
    SHUT(a, WR);
    EVENTS(b, EPOLLIN | EPOLLRDHUP);
    RECV(b, 10);
    RECV(b, 10);
    SEND(b, "answer");
    FD_CLOSE(b);
    EVENTS(a, EPOLLIN | EPOLLHUP);
    RECV(a, 10);
    RECV(a, 10);
    SO_ERROR_OF(a);
    SHUT(a, WR);
    PEER_NAME(a, NULL);
}

static void partly_read_then_closed(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    SEND(a, "half");
    await(b, EPOLLIN);
    RECV(b, 2);
    FD_CLOSE(b);
    EVENTS(a, EPOLLHUP);
    SO_ERROR_OF(a);
    EVENTS(a, 0);
    RECV(a, 10);
}

const struct script ending_scripts[] = {
    {"reset_then_sendmsg", reset_then_sendmsg, ON_TCP},
    {"reset_then_sendfile", reset_then_sendfile, ON_TCP},
    {"dup_of_closed", dup_of_closed, ON_ALL},
    {"sent_to_shut_reader", sent_to_shut_reader, ON_UNIX},
    {"closed_in_turn", closed_in_turn, ON_ALL},
    {"partly_read_then_closed", partly_read_then_closed, ON_ALL},
    {"closed", closed, ON_ALL},
    {"closed_after_data", closed_after_data, ON_ALL},
    {"sent_to_closed", sent_to_closed, ON_ALL},
    {"sent_to_closed_then_read", sent_to_closed_then_read, ON_ALL},
    {"reset_then_recv", reset_then_recv, ON_TCP},
    {"linger_zero_is_a_plain_end", reset_after_data, ON_UNIX},
    {"reset_then_send", reset_then_send, ON_TCP},
    {"reset_then_error", reset_then_error, ON_TCP},
    {"reset_then_shutdown", reset_then_shutdown, ON_TCP},
    {"reset_after_data", reset_after_data, ON_TCP},
    {"reset_after_data_then_error", reset_after_data_then_error, ON_TCP},
    {"reset_after_fin", reset_after_fin, ON_TCP},
    {"reset_after_our_fin", reset_after_our_fin, ON_TCP},
    {"reset_with_full_buffer", reset_with_full_buffer, ON_TCP},
    {"closed_unread", closed_unread, ON_ALL},
    {"closed_unread_after_data", closed_unread_after_data, ON_ALL},
    {"closed_unread_after_fins", closed_unread_after_fins, ON_ALL},
    {"closed_with_full_buffer", closed_with_full_buffer, ON_ALL},
    {"connect_undone", connect_undone, ON_ALL},
    {NULL, NULL, 0},
};
