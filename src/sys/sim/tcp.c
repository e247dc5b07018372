/* SPDX-License-Identifier: BSD-2-Clause */
/* Simulated TCP over IPv4 and IPv6.
 *
 * Model. What an end writes goes into its `out`; what the other end has room for moves from there
 * into the other's `in`, at once or, by the fault DELAYED, a little later. Behind the last byte
 * goes the FIN. So `out` is both the send buffer and the wire: a reset or a close that resets
 * destroys what is in it, as the real network destroys what is under way. There is no loss and no
 * reordering of bytes: TCP has mended that before a program sees anything.
 *
 * An end whose last fd is closed lives on as an orphan until its bytes and its FIN have arrived and
 * the other end has ended too. Bytes that arrive at an orphan are answered by a reset, which
 * destroys what the orphan had still to send: the reason why closing in the wrong order loses data.
 * A close with unread input, or with SO_LINGER of no time, resets at once.
 *
 * The states that a program can tell apart are fewer than TCP has. Which of ECONNRESET, EPIPE and
 * ECONNREFUSED a reset gives depends on what was received before, as in tcp_reset of Linux.
 *
 * Connecting is one step: it finds a listener, is refused, or is not answered. Whom it finds is
 * known when the SYN arrives, not when it was sent. A full backlog drops the SYN, which is sent
 * again after 1, 2, 4 ... seconds, as on Linux, up to ETIMEDOUT after about two minutes. Addresses
 * of 192.0.2.0/24 never answer and those of 203.0.113.0/24 cannot be reached (both are for
 * documentation: RFC 5737); any other address where nobody listens refuses.
 *
 * Invariants
 *  1. What a socket sends arrives in order: deliveries of one socket have rising times.
 *  2. A delivery names a socket that exists; freeing a socket takes its deliveries away.
 *  3. An orphan has a peer, or something under way, or is freed. */
#include "sys/sim/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum delivery_kind { BYTES, ACK, RESET, SYN, GIVE_UP };

struct pl_sim_delivery {
    struct pl_sim_delivery *next; /* by due_ns, then in the order of making */
    uint64_t due_ns;
    enum delivery_kind kind;
    unsigned tries;
    struct pl_sim_socket *socket; /* the sender of bytes, the receiver of anything else */
};

enum { DELAY_MAX_US = 20000, ACK_DELAY_MAX_MS = 200, SYN_TRIES = 8, FIRST_PORT = 32768 };
#define SECOND_NS 1000000000u

/* ---- what is under way */

static void deliver_at(uint64_t due_ns, enum delivery_kind kind, struct pl_sim_socket *socket,
                       unsigned tries)
{
    struct pl_sim_delivery *delivery = pl_sim_take(sizeof *delivery);
    *delivery = (struct pl_sim_delivery){NULL, due_ns, kind, tries, socket};
    struct pl_sim_delivery **at = &pl_sim.deliveries;
    while (*at && (*at)->due_ns <= due_ns) {
        at = &(*at)->next;
    }
    delivery->next = *at;
    *at = delivery;
}

static bool is_under_way(const struct pl_sim_socket *socket, enum delivery_kind kind)
{
    for (const struct pl_sim_delivery *d = pl_sim.deliveries; d; d = d->next) {
        if (d->socket == socket && d->kind == kind) {
            return true;
        }
    }
    return false;
}

static void cancel_deliveries(const struct pl_sim_socket *socket)
{
    for (struct pl_sim_delivery **at = &pl_sim.deliveries; *at;) {
        struct pl_sim_delivery *delivery = *at;
        if (delivery->socket == socket) {
            *at = delivery->next;
            free(delivery);
        } else {
            at = &delivery->next;
        }
    }
}

void pl_sim_deliveries_end(void)
{
    while (pl_sim.deliveries) {
        struct pl_sim_delivery *delivery = pl_sim.deliveries;
        pl_sim.deliveries = delivery->next;
        free(delivery);
    }
}

static uint64_t drawn_delay(void)
{
    if (!pl_sim_strikes(PL_SIM_DELAYED)) {
        return 0;
    }
    return (1 + pl_choice_below(&pl_sim.choice, DELAY_MAX_US)) * 1000;
}

/* ---- ends */

static void unlink_peer(struct pl_sim_socket *socket)
{
    if (socket->peer) {
        socket->peer->peer = NULL;
        socket->peer = NULL;
    }
}

static void free_tcp(struct pl_sim_socket *socket)
{
    unlink_peer(socket);
    cancel_deliveries(socket);
    if (socket->listener) {
        pl_sim_drop_from_queue(socket);
    }
    pl_sim_free_socket(socket);
}

static int unsent_tcp(struct pl_sim_socket *socket)
{
    if (socket->state == PL_SIM_OVER) {
        return socket->unsent_at_end;
    }
    return (int)(socket->out.size + socket->unacked) +
           (socket->fin_asked && !socket->fin_arrived ? 1 : 0);
}

/* The connection is no more: nothing comes, nothing goes. */
static void be_over(struct pl_sim_socket *socket)
{
    socket->unsent_at_end = socket->state == PL_SIM_CONNECTED ? unsent_tcp(socket) : 0;
    socket->state = PL_SIM_OVER;
    socket->shut_in = socket->shut_out = true;
    socket->unacked = 0;
    pl_sim_bytes_clear(&socket->out);
    unlink_peer(socket);
    if (socket->is_orphan) {
        free_tcp(socket);
    } else {
        pl_sim_changed(&socket->file);
    }
}

/* A reset has arrived. */
static void be_reset(struct pl_sim_socket *socket)
{
    if (socket->state != PL_SIM_CONNECTED && socket->state != PL_SIM_CONNECTING) {
        return;
    }
    bool is_close_wait = socket->fin_got && !socket->fin_asked;
    socket->error = socket->state == PL_SIM_CONNECTING ? ECONNREFUSED
                    : is_close_wait                    ? EPIPE
                                                       : ECONNRESET;
    TRACE("-- socket %llu is reset", (unsigned long long)socket->number);
    be_over(socket);
}

/* Tells the other end, which from here on has no peer. */
static void send_reset(struct pl_sim_socket *socket)
{
    struct pl_sim_socket *peer = socket->peer;
    if (!peer) {
        return;
    }
    unlink_peer(socket);
    uint64_t delay_ns = drawn_delay();
    uint64_t due_ns = pl_sim_after(delay_ns);
    if (delay_ns == 0 && socket->last_due_ns <= pl_sim.now_ns) {
        be_reset(peer);
    } else {
        deliver_at(due_ns > socket->last_due_ns ? due_ns : socket->last_due_ns, RESET, peer, 0);
    }
}

/* Both FINs have arrived: that was the connection. */
static void end_if_done(struct pl_sim_socket *socket)
{
    struct pl_sim_socket *peer = socket->peer;
    if (peer && socket->fin_arrived && peer->fin_arrived) {
        unlink_peer(socket);
        be_over(peer);
        be_over(socket);
    }
}

static void arrive_fin(struct pl_sim_socket *socket)
{
    struct pl_sim_socket *peer = socket->peer;
    socket->fin_arrived = true;
    peer->fin_got = peer->shut_in = true;
    pl_sim_changed(&peer->file);
    pl_sim_changed(&socket->file);
    end_if_done(socket);
}

/* Bytes for nobody: the orphan is gone with what it had to send, and the sender hears of it. */
static void meet_orphan(struct pl_sim_socket *socket)
{
    struct pl_sim_socket *orphan = socket->peer;
    send_reset(orphan);
    free_tcp(orphan);
}

/* Lets arrive what the other end has room for. */
static void arrive(struct pl_sim_socket *socket)
{
    struct pl_sim_socket *peer = socket->peer;
    if (!peer) {
        if (socket->was_lost && socket->state == PL_SIM_CONNECTED) {
            be_reset(socket); /* the other end's machine does not know this connection */
        }
        return;
    }
    if (socket->out.size > 0 && peer->is_orphan) {
        meet_orphan(socket);
        return;
    }
    size_t room = peer->in_max > peer->in.size ? peer->in_max - peer->in.size : 0;
    size_t size = socket->out.size < room ? socket->out.size : room;
    if (size > 0) {
        pl_sim_bytes_put(&peer->in, socket->out.data + socket->out.begin, size);
        pl_sim_bytes_take(&socket->out, NULL, size);
        if (pl_sim_strikes(PL_SIM_LATE_ACK)) {
            uint64_t delay_ms = 1 + pl_choice_below(&pl_sim.choice, ACK_DELAY_MAX_MS);
            socket->unacked += size;
            deliver_at(pl_sim_after(delay_ms * 1000000u), ACK, socket, 0);
        }
        pl_sim_has_input(&peer->file);
        pl_sim_changed(&socket->file);
    }
    if (socket->out.size == 0 && socket->fin_asked && !socket->fin_arrived) {
        arrive_fin(socket);
    }
}

/* Something is to go: at once, or when its time has come. */
static void set_off(struct pl_sim_socket *socket)
{
    if (is_under_way(socket, BYTES)) {
        return; /* goes with what went before it */
    }
    uint64_t delay_ns = drawn_delay();
    if (delay_ns == 0) {
        arrive(socket);
        return;
    }
    socket->last_due_ns = pl_sim_after(delay_ns);
    deliver_at(socket->last_due_ns, BYTES, socket, 0);
}

static void ask_fin(struct pl_sim_socket *socket)
{
    if (!socket->fin_asked) {
        socket->fin_asked = true;
        set_off(socket);
    }
}

/* ---- addresses: all as 16 bytes, IPv4 as ::ffff:a.b.c.d */

struct host {
    uint8_t bytes[16];
    uint16_t port;
};

/* Of an address of IPv4 or IPv6, as check_address lets it through. */
static struct host host_of(const struct sockaddr *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct host host = {{0}, 0};
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        memcpy(host.bytes, mapped, sizeof mapped);
        memcpy(host.bytes + 12, &in.sin_addr, 4);
        host.port = ntohs(in.sin_port);
    } else {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof in);
        memcpy(host.bytes, &in.sin6_addr, 16);
        host.port = ntohs(in.sin6_port);
    }
    return host;
}

/* What bind and connect say to an address that is none of this family's: they look at the size
 * first. */
static int check_address(const struct pl_sim_socket *socket, const struct sockaddr *address,
                         socklen_t size)
{
    size_t least =
        socket->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    return size < least ? -EINVAL : address->sa_family != socket->family ? -EAFNOSUPPORT : 0;
}

static void name_of(int family, const struct host *host, struct sockaddr_storage *ret_name,
                    socklen_t *ret_size)
{
    memset(ret_name, 0, sizeof *ret_name);
    if (family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(host->port)};
        memcpy(&in.sin_addr, host->bytes + 12, 4);
        memcpy(ret_name, &in, *ret_size = sizeof in);
    } else {
        struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(host->port)};
        memcpy(&in.sin6_addr, host->bytes, 16);
        memcpy(ret_name, &in, *ret_size = sizeof in);
    }
}

static bool is_v4(const struct host *host)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(host->bytes, mapped, sizeof mapped) == 0;
}

static bool is_any(const struct host *host)
{
    static const uint8_t zero[16];
    return memcmp(host->bytes, zero, 16) == 0 ||
           (is_v4(host) && memcmp(host->bytes + 12, zero, 4) == 0);
}

static bool is_network(const struct host *host, uint8_t a, uint8_t b, uint8_t c)
{
    return is_v4(host) && host->bytes[12] == a && host->bytes[13] == b && host->bytes[14] == c;
}

static struct host own_host(const struct pl_sim_socket *socket)
{
    return host_of((const struct sockaddr *)&socket->own);
}

/* Whether what is bound to `bound` is meant by `host`. */
static bool covers(const struct pl_sim_socket *bound, const struct host *host)
{
    struct host own = own_host(bound);
    if (bound->family == AF_UNIX || own.port != host->port) {
        return false;
    }
    if (is_any(&own)) {
        bool is_dual =
            bound->family == AF_INET6 && !pl_sim_option(bound, IPPROTO_IPV6, IPV6_V6ONLY);
        return is_dual || (bound->family == AF_INET6) != is_v4(host);
    }
    return is_any(host) || memcmp(own.bytes, host->bytes, 16) == 0;
}

static bool shares(const struct pl_sim_socket *socket, int name)
{
    return pl_sim_option(socket, SOL_SOCKET, name) != 0;
}

static bool is_taken(const struct pl_sim_socket *socket, const struct host *host)
{
    for (const struct pl_sim_socket *other = pl_sim.sockets; other; other = other->next) {
        if (other == socket || !other->is_bound || !covers(other, host)) {
            continue;
        }
        bool reuse_address = shares(socket, SO_REUSEADDR) && shares(other, SO_REUSEADDR) &&
                             other->state != PL_SIM_LISTENING;
        bool reuse_port = shares(socket, SO_REUSEPORT) && shares(other, SO_REUSEPORT);
        if (!reuse_address && !reuse_port) {
            return true;
        }
    }
    return false;
}

static uint16_t fresh_port(void)
{
    if (pl_sim.next_port < FIRST_PORT) {
        pl_sim.next_port = FIRST_PORT;
    }
    return pl_sim.next_port++;
}

static int bind_tcp(struct pl_sim_socket *socket, const struct sockaddr *address, socklen_t size)
{
    int result = check_address(socket, address, size);
    if (result < 0) {
        return result;
    }
    struct host host = host_of(address);
    if (is_network(&host, 192, 0, 2) || is_network(&host, 203, 0, 113)) {
        return -EADDRNOTAVAIL;
    }
    if (host.port == 0) {
        host.port = fresh_port();
    } else if (is_taken(socket, &host)) {
        return -EADDRINUSE;
    }
    name_of(socket->family, &host, &socket->own, &socket->own_size);
    socket->is_bound = true;
    return 0;
}

static int listen_tcp(struct pl_sim_socket *socket, int backlog)
{
    if (socket->state != PL_SIM_FRESH && socket->state != PL_SIM_LISTENING) {
        return -EINVAL;
    }
    if (!socket->is_bound) {
        struct host any = {{0}, fresh_port()};
        name_of(socket->family, &any, &socket->own, &socket->own_size);
        socket->is_bound = true;
    }
    socket->state = PL_SIM_LISTENING;
    socket->backlog = backlog > 0 ? (unsigned)backlog : 0;
    pl_sim_changed(&socket->file);
    return 0;
}

/* ---- connecting */

static struct pl_sim_socket *find_listener(const struct host *host)
{
    struct pl_sim_socket *found[32];
    unsigned count = 0;
    for (struct pl_sim_socket *socket = pl_sim.sockets; socket && count < 32;
         socket = socket->next) {
        if (socket->state == PL_SIM_LISTENING && covers(socket, host)) {
            found[count++] = socket;
        }
    }
    return count ? found[pl_choice_below(&pl_sim.choice, count)] : NULL;
}

static void fail_connecting(struct pl_sim_socket *socket, int error)
{
    socket->error = error;
    be_over(socket);
}

static void arrive_syn(struct pl_sim_socket *socket, unsigned tries)
{
    struct host host = host_of((const struct sockaddr *)&socket->other);
    struct pl_sim_socket *listener = find_listener(&host);
    if (!listener) {
        fail_connecting(socket, ECONNREFUSED);
        return;
    }
    if (listener->queued > listener->backlog) {
        if (tries + 1 == SYN_TRIES) {
            fail_connecting(socket, ETIMEDOUT);
        } else {
            deliver_at(pl_sim_after((uint64_t)SECOND_NS << tries), SYN, socket, tries + 1);
        }
        return;
    }
    struct pl_sim_socket *child = pl_sim_new_child(listener, socket);
    struct host own = own_host(socket);
    name_of(child->family, &host, &child->own, &child->own_size);
    name_of(child->family, &own, &child->other, &child->other_size);
    pl_sim_queue_child(listener, child);
    pl_sim_changed(&socket->file);
}

static void abandon_children(struct pl_sim_socket *listener)
{
    for (struct pl_sim_socket *child; (child = pl_sim_unqueue_child(listener)) != NULL;) {
        send_reset(child);
        free_tcp(child);
    }
}

/* Undoes a connection, the attempt, or a listener: connect with AF_UNSPEC. */
static int disconnect(struct pl_sim_socket *socket)
{
    bool was_open = socket->state == PL_SIM_CONNECTED || socket->state == PL_SIM_CONNECTING;
    abandon_children(socket);
    send_reset(socket);
    cancel_deliveries(socket);
    pl_sim_bytes_clear(&socket->in);
    pl_sim_bytes_clear(&socket->out);
    if (was_open) {
        socket->error = ECONNRESET;
    }
    socket->state = PL_SIM_FRESH;
    socket->shut_in = socket->shut_out = false;
    socket->fin_asked = socket->fin_arrived = socket->fin_got = false;
    socket->unacked = 0;
    socket->is_told_connected = false;
    pl_sim_changed(&socket->file);
    return 0;
}

static void name_connector(struct pl_sim_socket *socket, const struct host *target)
{
    struct host own = own_host(socket);
    if (!socket->is_bound) {
        own.port = fresh_port();
        socket->is_bound = true;
    }
    if (is_any(&own)) {
        static const uint8_t v4[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
        static const uint8_t v6[16] = {[15] = 1};
        memcpy(own.bytes, is_v4(target) ? v4 : v6, 16);
    }
    name_of(socket->family, &own, &socket->own, &socket->own_size);
}

static int connect_tcp(struct pl_sim_socket *socket, const struct sockaddr *address, socklen_t size)
{
    if (address->sa_family == AF_UNSPEC) {
        return disconnect(socket);
    }
    switch (socket->state) {
    case PL_SIM_CONNECTING:
        return -EALREADY;
    case PL_SIM_LISTENING:
        return -EISCONN;
    case PL_SIM_CONNECTED: {
        bool is_news = !socket->is_told_connected;
        socket->is_told_connected = true;
        return is_news ? 0 : -EISCONN;
    }
    case PL_SIM_OVER:
        if (socket->error) {
            socket->state = PL_SIM_FRESH;
            return pl_sim_take_error(socket);
        }
        return -EISCONN;
    case PL_SIM_FRESH:
        break;
    }
    int result = check_address(socket, address, size);
    if (result < 0) {
        return result;
    }
    struct host host = host_of(address);
    if (is_any(&host)) { /* this machine */
        memcpy(host.bytes,
               is_v4(&host) ? (uint8_t[16]){[10] = 0xff, 0xff, 127, 0, 0, 1}
                            : (uint8_t[16]){[15] = 1},
               16);
    }
    if (pl_sim_strikes(PL_SIM_CONNECT_UNREACHABLE)) {
        return pl_choice_below(&pl_sim.choice, 2) ? -EADDRNOTAVAIL : -ENETUNREACH;
    }
    name_of(address->sa_family, &host, &socket->other, &socket->other_size);
    name_connector(socket, &host);
    socket->state = PL_SIM_CONNECTING;
    socket->shut_in = socket->shut_out = false;
    if (is_network(&host, 192, 0, 2) || pl_sim_strikes(PL_SIM_CONNECT_HANGS)) {
        deliver_at(pl_sim_after(127u * (uint64_t)SECOND_NS), GIVE_UP, socket, ETIMEDOUT);
    } else if (is_network(&host, 203, 0, 113)) {
        deliver_at(pl_sim_after(SECOND_NS / 1000), GIVE_UP, socket, EHOSTUNREACH);
    } else if (pl_sim_strikes(PL_SIM_CONNECT_REFUSED)) {
        deliver_at(pl_sim_after(drawn_delay()), GIVE_UP, socket, ECONNREFUSED);
    } else {
        uint64_t delay_ns = drawn_delay();
        if (delay_ns > 0) {
            deliver_at(pl_sim_after(delay_ns), SYN, socket, 0);
        } else {
            arrive_syn(socket, 0);
        }
    }
    return -EINPROGRESS;
}

static int may_accept_tcp(struct pl_sim_socket *socket)
{
    return socket->state == PL_SIM_LISTENING ? 0 : -EINVAL;
}

/* ---- an open connection */

static bool has_room_to_tell(const struct pl_sim_socket *socket)
{
    size_t used = socket->out.size + socket->unacked;
    return used < socket->out_max && socket->out_max - used >= used / 2;
}

static uint32_t poll_tcp(struct pl_sim_file *file)
{
    const struct pl_sim_socket *socket = (const struct pl_sim_socket *)file;
    uint32_t events = 0;
    if (socket->state == PL_SIM_LISTENING) {
        return socket->queue ? EPOLLIN : 0;
    }
    if ((socket->shut_in && socket->shut_out) || socket->state == PL_SIM_FRESH ||
        socket->state == PL_SIM_OVER) {
        events |= EPOLLHUP;
    }
    if (socket->shut_in) {
        events |= EPOLLIN | EPOLLRDHUP;
    }
    if (socket->state != PL_SIM_CONNECTING) {
        events |= socket->in.size > 0 ? (uint32_t)EPOLLIN : 0;
        events |= socket->shut_out || has_room_to_tell(socket) ? (uint32_t)EPOLLOUT : 0;
    }
    return events | (socket->error ? (uint32_t)EPOLLERR : 0);
}

static int may_send_tcp(struct pl_sim_socket *socket)
{
    if (socket->state == PL_SIM_CONNECTING) {
        return -EAGAIN;
    }
    if (socket->error) {
        int result = pl_sim_take_error(socket);
        pl_sim_changed(&socket->file);
        return result;
    }
    return socket->state != PL_SIM_CONNECTED || socket->shut_out ? -EPIPE : 0;
}

static size_t room_tcp(struct pl_sim_socket *socket)
{
    size_t used = socket->out.size + socket->unacked;
    return used < socket->out_max ? socket->out_max - used : 0;
}

static void put_tcp(struct pl_sim_socket *socket, const void *data, size_t size)
{
    pl_sim_bytes_put(&socket->out, data, size);
}

static int nothing_to_read_tcp(struct pl_sim_socket *socket)
{
    if (socket->state == PL_SIM_LISTENING) {
        return -ENOTCONN;
    }
    if (socket->fin_got) {
        return 0;
    }
    if (socket->error) {
        int result = pl_sim_take_error(socket);
        pl_sim_changed(&socket->file);
        return result;
    }
    if (socket->shut_in) {
        return 0;
    }
    return socket->state == PL_SIM_FRESH || socket->state == PL_SIM_OVER ? -ENOTCONN : -EAGAIN;
}

static void was_read_tcp(struct pl_sim_socket *socket)
{
    if (socket->peer && !is_under_way(socket->peer, BYTES)) {
        arrive(socket->peer); /* there is room again */
    }
}

static int shutdown_tcp(struct pl_sim_socket *socket, int how)
{
    switch (socket->state) {
    case PL_SIM_FRESH:
    case PL_SIM_OVER:
        return -ENOTCONN;
    case PL_SIM_LISTENING:
        if (how != SHUT_WR) {
            abandon_children(socket);
            socket->state = PL_SIM_FRESH;
            pl_sim_changed(&socket->file);
        }
        return 0;
    case PL_SIM_CONNECTING:
        disconnect(socket);
        return 0;
    case PL_SIM_CONNECTED:
        break;
    }
    socket->shut_in |= how != SHUT_WR;
    if (how != SHUT_RD) {
        socket->shut_out = true;
        ask_fin(socket);
    }
    pl_sim_changed(&socket->file);
    return 0;
}

/* ---- the last fd is gone */

static void unnamed_tcp(struct pl_sim_file *file)
{
    struct pl_sim_socket *socket = (struct pl_sim_socket *)file;
    pl_sim_forget_watchers(file);
    if (socket->state == PL_SIM_LISTENING) {
        abandon_children(socket);
    }
    if (socket->state != PL_SIM_CONNECTED || !socket->peer) {
        free_tcp(socket);
        return;
    }
    if (socket->in.size > 0 || socket->linger.l_onoff) {
        if (socket->in.size > 0 || socket->linger.l_linger == 0) {
            send_reset(socket);
            free_tcp(socket);
            return;
        }
    }
    socket->is_orphan = socket->shut_in = socket->shut_out = true;
    if (!socket->fin_asked) {
        ask_fin(socket);
    }
}

/* ---- faults */

static void reset_tcp(struct pl_sim_socket *socket)
{
    struct pl_sim_socket *peer = socket->peer;
    unlink_peer(socket);
    if (peer) {
        be_reset(peer);
    }
    be_reset(socket);
}

static void lose_tcp(struct pl_sim_socket *socket)
{
    struct pl_sim_socket *peer = socket->peer;
    unlink_peer(socket);
    if (peer && peer->is_orphan) {
        free_tcp(peer);
    } else if (peer) {
        peer->was_lost = true;
    }
    socket->error = ETIMEDOUT;
    be_over(socket);
}

const struct pl_sim_protocol pl_sim_tcp = {
    .poll = poll_tcp,
    .unnamed = unnamed_tcp,
    .bind = bind_tcp,
    .listen = listen_tcp,
    .connect = connect_tcp,
    .may_accept = may_accept_tcp,
    .shutdown = shutdown_tcp,
    .may_send = may_send_tcp,
    .room = room_tcp,
    .put = put_tcp,
    .was_written = set_off,
    .nothing_to_read = nothing_to_read_tcp,
    .was_read = was_read_tcp,
    .unsent = unsent_tcp,
    .reset = reset_tcp,
    .lose = lose_tcp,
};

/* ---- time */

uint64_t pl_sim_network_next_ns(void)
{
    return pl_sim.deliveries ? pl_sim.deliveries->due_ns : PL_SIM_NEVER;
}

static void arrive_delivery(const struct pl_sim_delivery *delivery)
{
    struct pl_sim_socket *socket = delivery->socket;
    switch (delivery->kind) {
    case BYTES:
        arrive(socket);
        break;
    case ACK:
        socket->unacked = 0;
        pl_sim_changed(&socket->file);
        break;
    case RESET:
        be_reset(socket);
        break;
    case SYN:
        if (socket->state == PL_SIM_CONNECTING) {
            arrive_syn(socket, delivery->tries);
        }
        break;
    case GIVE_UP:
        if (socket->state == PL_SIM_CONNECTING) {
            fail_connecting(socket, (int)delivery->tries);
        }
        break;
    }
}

void pl_sim_network_run(void)
{
    while (pl_sim.deliveries && pl_sim.deliveries->due_ns <= pl_sim.now_ns) {
        struct pl_sim_delivery *delivery = pl_sim.deliveries;
        pl_sim.deliveries = delivery->next;
        arrive_delivery(delivery);
        free(delivery);
    }
}
