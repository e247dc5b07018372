/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: how connections come to be (bind, listen, connect, accept, and each way that
 * they fail) would differ under simulation.
 *
 * Scripts of the calls by which listeners and connectors begin. Ports and paths are fresh for each
 * run, so that scripts do not meet. A port that nobody listens on is one that a listener had a
 * moment ago. `l` listens, `a` connects, `b` is accepted. */
#include "conform.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <fcntl.h>

static void record_connect(const char *call, int a, const struct name *name)
{
    CALL(call, sys_connect(a, (const struct sockaddr *)&name->address, name->size));
}

static void refused(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    FD_CLOSE(l);
    int a = open_socket(family);
    record_connect("connect(a)", a, &name);
    EVENTS(a, EPOLLHUP);
    SO_ERROR_OF(a);
    SO_ERROR_OF(a);
    EVENTS(a, 0);
    RECV(a, 10);
    SEND(a, "x");
}

static void refused_then_again(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    FD_CLOSE(l);
    int a = open_socket(family);
    record_connect("connect(a)", a, &name);
    await(a, EPOLLHUP);
    record_connect("connect(a)", a, &name);
}

static void connected(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    int a = open_socket(family);
    record_connect("connect(a)", a, &name);
    EVENTS(a, EPOLLOUT);
    SO_ERROR_OF(a);
    record_connect("connect(a)", a, &name);
    EVENTS(l, EPOLLIN);
    int b = keep(sys_accept(l, NULL, NULL));
    EVENTS(b, 0);
    EVENTS(l, 0);
    CALL("accept(l)", sys_accept(l, NULL, NULL));
    PEER_NAME(a, &name);
    OWN_NAME(b, &name);
    OWN_NAME(a, NULL);
    PEER_NAME(b, NULL);
}

static void sent_before_accepted(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    int a = open_socket(family);
    sys_connect(a, (struct sockaddr *)&name.address, name.size);
    await(a, EPOLLOUT);
    SEND(a, "early");
    await(l, EPOLLIN);
    int b = keep(sys_accept(l, NULL, NULL));
    EVENTS(b, EPOLLIN);
    RECV(b, 10);
}

static void closed_before_accepted(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    int a = open_socket(family);
    sys_connect(a, (struct sockaddr *)&name.address, name.size);
    await(a, EPOLLOUT);
    SEND(a, "early");
    FD_CLOSE(a);
    EVENTS(l, EPOLLIN);
    int b = keep(sys_accept(l, NULL, NULL));
    EVENTS(b, EPOLLIN | EPOLLRDHUP);
    RECV(b, 10);
    RECV(b, 10);
}

static void reset_before_accepted(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    int a = open_socket(family);
    sys_connect(a, (struct sockaddr *)&name.address, name.size);
    await(a, EPOLLOUT);
    await(l, EPOLLIN);
    set_linger_zero(a);
    FD_CLOSE(a);
    EVENTS(l, EPOLLIN);
    int b = keep(sys_accept(l, NULL, NULL));
    EVENTS(b, EPOLLHUP);
    RECV(b, 10);
    RECV(b, 10);
}

static void listener_closed(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    int a = open_socket(family);
    sys_connect(a, (struct sockaddr *)&name.address, name.size);
    await(a, EPOLLOUT);
    await(l, EPOLLIN);
    FD_CLOSE(l);
    EVENTS(a, EPOLLHUP);
    RECV(a, 10);
    RECV(a, 10);
    SEND(a, "x");
}

static void listener_shut(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    SHUT(l, RD);
    EVENTS(l, family == UNIX ? EPOLLRDHUP : EPOLLHUP);
    CALL("accept(l)", sys_accept(l, NULL, NULL));
}

static void backlog_full(enum family family)
{
    struct name name;
    int l = open_listener(family, 0, &name);
    int a = open_socket(family);
    record_connect("connect(a)", a, &name);
    EVENTS(l, EPOLLIN);
    int c = open_socket(family);
    record_connect("connect(c)", c, &name);
    EVENTS(c, 0);
    int b = keep(sys_accept(l, NULL, NULL));
    EVENTS(b, 0);
}

static void bind_in_use(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    EVENTS(l, 0);
    int other = open_socket(family);
    BIND(other, name);
    set_option(other, SOL_SOCKET, SO_REUSEADDR, 1);
    BIND(other, name);
}

static void bind_after_close(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    FD_CLOSE(l);
    int other = open_socket(family);
    BIND(other, name);
    BIND(other, name);
}

static void ports_shared(enum family family)
{
    int l = open_socket(family);
    int m = open_socket(family);
    set_option(l, SOL_SOCKET, SO_REUSEPORT, 1);
    struct name name = fresh_name(family);
    BIND(l, name);
    name.size = sizeof name.address;
    sys_getsockname(l, (struct sockaddr *)&name.address, &name.size);
    CALL("listen(l)", sys_listen(l, 8));
    BIND(m, name);
    set_option(m, SOL_SOCKET, SO_REUSEPORT, 1);
    BIND(m, name);
    CALL("listen(m)", sys_listen(m, 8));
}

static void listen_states(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    CALL("listen(l) again", sys_listen(l, 4));
    record_connect("connect(l)", l, &name);
    int a, b;
    open_pair(family, &a, &b);
    CALL("listen(a) while connected", sys_listen(a, 4));
    CALL("accept(a) while connected", sys_accept(a, NULL, NULL));
}

static void paths(enum family family)
{
    int a = open_socket(family);
    struct name name = fresh_name(family);
    record_connect("connect(a)", a, &name); /* there is none */
    EVENTS(a, 0);
    const char *path = (const char *)&name.address + sizeof(sa_family_t);
    int f = keep(sys_open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
    record_connect("connect(a)", a, &name); /* a file */
    BIND(a, name);
    FD_CLOSE(f);
    CALL("unlink", sys_unlink(path));
    CALL("unlink again", sys_unlink(path));
    BIND(a, name);
    int c = open_socket(family);
    record_connect("connect(c)", c, &name); /* bound, and does not listen */
    CALL("listen(a)", sys_listen(a, 4));
    record_connect("connect(c)", c, &name);
    CALL("unlink", sys_unlink(path));
    EVENTS(c, EPOLLOUT);
    int d = open_socket(family);
    record_connect("connect(d)", d, &name); /* the listener lives, its name is gone */
    CALL("listen(d) without a name", sys_listen(d, 4));
}

static void options(enum family family)
{
    int a = open_socket(family);
    OPTION(a, SOL_SOCKET, SO_TYPE);
    OPTION(a, SOL_SOCKET, SO_KEEPALIVE);
    set_option(a, SOL_SOCKET, SO_KEEPALIVE, 7);
    OPTION(a, SOL_SOCKET, SO_KEEPALIVE);
    OPTION(a, SOL_SOCKET, SO_REUSEADDR);
    set_option(a, SOL_SOCKET, SO_REUSEADDR, 1);
    OPTION(a, SOL_SOCKET, SO_REUSEADDR);
    OPTION(a, IPPROTO_TCP, TCP_NODELAY);
    if (family != UNIX) {
        set_option(a, IPPROTO_TCP, TCP_NODELAY, 1);
        OPTION(a, IPPROTO_TCP, TCP_NODELAY);
    }
    OPTION(a, IPPROTO_IPV6, IPV6_V6ONLY);
}

static void linger_read_back(enum family family)
{
    int a = open_socket(family);
    struct linger linger = {0};
    socklen_t size = sizeof linger;
    CALL("SO_LINGER", sys_getsockopt(a, SOL_SOCKET, SO_LINGER, &linger, &size));
    note("  on %d, %d s", linger.l_onoff, linger.l_linger);
    set_linger_zero(a);
    CALL("SO_LINGER", sys_getsockopt(a, SOL_SOCKET, SO_LINGER, &linger, &size));
    note("  on %d, %d s", linger.l_onoff, linger.l_linger);
}

/* What a listener was told, an accepted connection has too. */
static void options_inherited(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    set_option(l, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(l, IPPROTO_TCP, TCP_NODELAY, 1);
    int a = open_socket(family);
    sys_connect(a, (const struct sockaddr *)&name.address, name.size);
    await(l, EPOLLIN);
    int b = keep(sys_accept(l, NULL, NULL));
    OPTION(b, SOL_SOCKET, SO_KEEPALIVE);
    OPTION(b, IPPROTO_TCP, TCP_NODELAY);
    OPTION(b, SOL_SOCKET, SO_ACCEPTCONN);
    OPTION(a, SOL_SOCKET, SO_KEEPALIVE);
}

/* The address that accept gives is the one that the connector has. */
static void accepted_address(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    int a = open_socket(family);
    sys_connect(a, (const struct sockaddr *)&name.address, name.size);
    await(l, EPOLLIN);
    struct name peer = {.size = sizeof peer.address};
    int b = keep(sys_accept(l, (struct sockaddr *)&peer.address, &peer.size));
    struct name own = {.size = sizeof own.address};
    CALL("getsockname(a)", sys_getsockname(a, (struct sockaddr *)&own.address, &own.size));
    note("the same: %d, without a name: %d",
         peer.size == own.size && memcmp(&peer.address, &own.address, own.size) == 0,
         peer.size == sizeof(sa_family_t));
    EVENTS(b, 0);
}

/* Accepting goes in the order of connecting. */
static void accepted_in_order(enum family family)
{
    struct name name;
    int l = open_listener(family, 8, &name);
    static const char *const words[] = {"first", "second", "third"};
    for (int i = 0; i < 3; i++) {
        int a = open_socket(family);
        sys_connect(a, (const struct sockaddr *)&name.address, name.size);
        await(a, EPOLLOUT);
        SEND(a, words[i]);
    }
    for (int i = 0; i < 3; i++) {
        await(l, EPOLLIN);
        int b = keep(sys_accept(l, NULL, NULL));
        await(b, EPOLLIN);
        RECV(b, 10);
    }
    CALL("accept(l)", sys_accept(l, NULL, NULL));
}

static void connect_to_wrong_family(enum family family)
{
    struct name name;
    open_listener(family, 8, &name);
    int a = open_socket(family == UNIX ? TCP4 : UNIX);
    CALL("connect(a)", sys_connect(a, (const struct sockaddr *)&name.address, name.size));
    int b = open_socket(family);
    CALL("connect(b), short", sys_connect(b, (const struct sockaddr *)&name.address, 1));
    CALL("bind(b), short", sys_bind(b, (const struct sockaddr *)&name.address, 1));
}

const struct script setup_scripts[] = {
    {"linger_read_back", linger_read_back, ON_ALL},
    {"options_inherited", options_inherited, ON_TCP},
    {"accepted_address", accepted_address, ON_ALL},
    {"accepted_in_order", accepted_in_order, ON_ALL},
    {"connect_to_wrong_family", connect_to_wrong_family, ON_ALL},
    {"refused", refused, ON_ALL},
    {"refused_then_again", refused_then_again, ON_ALL},
    {"connected", connected, ON_ALL},
    {"sent_before_accepted", sent_before_accepted, ON_ALL},
    {"closed_before_accepted", closed_before_accepted, ON_ALL},
    {"reset_before_accepted", reset_before_accepted, ON_TCP},
    {"listener_closed", listener_closed, ON_ALL},
    {"listener_shut", listener_shut, ON_ALL},
    {"backlog_full", backlog_full, ON_UNIX},
    {"bind_in_use", bind_in_use, ON_ALL},
    {"bind_after_close", bind_after_close, ON_ALL},
    {"ports_shared", ports_shared, ON_TCP},
    {"listen_states", listen_states, ON_ALL},
    {"paths", paths, ON_UNIX},
    {"options", options, ON_ALL},
    {NULL, NULL, 0},
};
