/* SPDX-License-Identifier: BSD-2-Clause */
/* socks: connects where the client says, and relays (SOCKS 4 and 4a, and 5 by RFC 1928: CONNECT,
 * without authentication).
 *
 * Model. A session is in one of three steps, each a function that takes what it needs of the input
 * or waits for more of it: the greeting (5 only), the request, and the relay, to which everything
 * is then handed. What came behind the request goes to the relay with it, so nothing that an
 * impatient client sends is lost.
 *
 *  1. A request is short, and bounded: what is not whole after REQUEST_MAX bytes is none.
 *  2. A client that does not finish its request within --handshake seconds is ended.
 *  3. Each failure is answered in the client's version, with the nearest reason there is, and then
 *     the connection is closed gracefully, so that the answer arrives.
 *
 * Whoever reaches it may connect to what it reaches: it listens on the loopback by default. */
#include "relay.h"
#include "serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <peal/error.h>
#include <peal/timer.h>

enum { REQUEST_MAX_BYTES = 1024, PLACE_MAX_BYTES = 300 };
enum {
    V5_SUCCEEDED,
    V5_FAILED,
    V5_NET_UNREACHABLE = 3,
    V5_HOST_UNREACHABLE,
    V5_REFUSED,
    V5_TIMED_OUT,
    V5_NO_SUCH_COMMAND,
    V5_NO_SUCH_ADDRESS
};

static uint32_t connect_ms = 10000, handshake_ms = 10000;

struct session {
    struct peal_conn *conn;
    struct relay *relay; /* NULL: the request is not whole */
    struct peal_timer timer;
    unsigned version; /* 4 or 5; 0: nothing came yet */
    bool is_greeted;
};

/* ---- answers */

static void answer_v4(const struct session *session, bool granted)
{
    const unsigned char reply[8] = {0, granted ? 0x5a : 0x5b};
    peal_conn_send(session->conn, reply, sizeof reply);
}

/* With the address that the other side sees us by. */
static void answer_v5(const struct session *session, unsigned code)
{
    unsigned char reply[22] = {5, (unsigned char)code, 0, 1};
    size_t size = 10;
    struct peal_addr local;
    socklen_t length;
    if (code == V5_SUCCEEDED && peal_conn_local(session->relay->back, &local) == 0) {
        const struct sockaddr *socket = peal_addr_sockaddr(&local, &length);
        if (socket->sa_family == AF_INET) {
            const struct sockaddr_in *v4 = (const void *)socket;
            memcpy(reply + 4, &v4->sin_addr, 4);
            memcpy(reply + 8, &v4->sin_port, 2);
        } else if (socket->sa_family == AF_INET6) {
            const struct sockaddr_in6 *v6 = (const void *)socket;
            reply[3] = 4;
            memcpy(reply + 4, &v6->sin6_addr, 16);
            memcpy(reply + 20, &v6->sin6_port, 2);
            size = sizeof reply;
        }
    }
    peal_conn_send(session->conn, reply, size);
}

static void refuse(const struct session *session, unsigned code)
{
    if (session->version == 5) {
        answer_v5(session, code);
    } else {
        answer_v4(session, false);
    }
    peal_conn_close(session->conn);
}

static void on_up(struct relay *relay)
{
    const struct session *session = relay->mine;
    if (session->version == 5) {
        answer_v5(session, V5_SUCCEEDED);
    } else {
        answer_v4(session, true);
    }
}

static void on_fail(struct relay *relay, const struct peal_connect_failure *failure)
{
    unsigned code = V5_FAILED;
    switch (failure->error) {
    case -ECONNREFUSED:
        code = V5_REFUSED;
        break;
    case -ENETUNREACH:
        code = V5_NET_UNREACHABLE;
        break;
    case -EHOSTUNREACH:
    case PEAL_ERR_RESOLVE:
        code = V5_HOST_UNREACHABLE;
        break;
    case -ETIMEDOUT:
        code = V5_TIMED_OUT;
        break;
    default:
        break;
    }
    refuse(relay->mine, code);
}

/* ---- requests */

/* The request is whole and the rest of the input is the other side's. */
static void begin(struct session *session, struct peal_buf *input, const char *place)
{
    static const struct relay_ops relay_ops = {.on_up = on_up, .on_fail = on_fail};
    peal_timer_cancel(&session->timer);
    session->relay = relay_begin(session->conn, input, &relay_ops, connect_ms);
    if (session->relay == NULL) {
        refuse(session, V5_FAILED);
        return;
    }
    session->relay->mine = session;
    if (relay_try(session->relay, place) < 0) {
        refuse(session, V5_HOST_UNREACHABLE);
    }
}

/* host and port in text: v6 in brackets. False for a name that is none: those are ASCII (RFC 1123).
 */
static bool write_place(char *place, int family, const unsigned char *host, size_t size,
                        unsigned port)
{
    char text[INET6_ADDRSTRLEN];
    if (family != 0) {
        return inet_ntop(family, host, text, sizeof text) != NULL &&
               snprintf(place, PLACE_MAX_BYTES, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text,
                        port) > 0;
    }
    for (size_t i = 0; i < size; i++) {
        if (host[i] <= ' ' || host[i] == ':' || host[i] == '[' || host[i] >= 0x7f) {
            return false;
        }
    }
    return size > 0 &&
           snprintf(place, PLACE_MAX_BYTES, "%.*s:%u", (int)size, (const char *)host, port) > 0;
}

/* 4, command, port of 2, address of 4, user and a zero byte; with an address of 0.0.0.x, a name and
 * a zero byte. False: more has to come. */
static bool take_v4(struct session *session, struct peal_buf *input)
{
    const unsigned char *data = peal_buf_data(input);
    size_t size = peal_buf_size(input);
    char place[PLACE_MAX_BYTES];
    const unsigned char *user_end = size > 8 ? memchr(data + 8, 0, size - 8) : NULL;
    if (user_end == NULL) {
        return false;
    }
    const unsigned char *end = user_end + 1, *name = NULL;
    if (data[4] == 0 && data[5] == 0 && data[6] == 0 && data[7] != 0) {
        name = end;
        const unsigned char *name_end = memchr(name, 0, size - (size_t)(name - data));
        if (name_end == NULL) {
            return false;
        }
        end = name_end + 1;
    }
    unsigned port = (unsigned)data[2] << 8 | data[3];
    size_t name_size = name != NULL ? (size_t)(end - 1 - name) : 0;
    bool good = data[1] == 1 && name_size <= 255 &&
                write_place(place, name != NULL ? 0 : AF_INET, name != NULL ? name : data + 4,
                            name_size, port);
    peal_buf_consume(input, (size_t)(end - data));
    if (good) {
        begin(session, input, place);
    } else {
        refuse(session, V5_FAILED);
    }
    return true;
}

/* 5, and the ways to authenticate that the client knows. */
static bool take_greeting(struct session *session, struct peal_buf *input)
{
    const unsigned char *data = peal_buf_data(input);
    size_t size = peal_buf_size(input);
    if (size < 2 || size < 2u + data[1]) {
        return false;
    }
    bool may_be_none = memchr(data + 2, 0, data[1]) != NULL;
    const unsigned char reply[2] = {5, may_be_none ? 0 : 0xff};
    peal_buf_consume(input, 2u + data[1]);
    peal_conn_send(session->conn, reply, sizeof reply);
    session->is_greeted = true;
    if (!may_be_none) {
        peal_conn_close(session->conn);
    }
    return true;
}

/* 5, command, 0, kind of address, address, port of 2. */
static bool take_v5(struct session *session, struct peal_buf *input)
{
    const unsigned char *data = peal_buf_data(input);
    size_t size = peal_buf_size(input), host_at = 4, host_size;
    int family = 0;
    char place[PLACE_MAX_BYTES];
    if (size < 5) {
        return false;
    }
    if (data[3] == 1) {
        family = AF_INET;
        host_size = 4;
    } else if (data[3] == 4) {
        family = AF_INET6;
        host_size = 16;
    } else if (data[3] == 3) {
        host_at = 5;
        host_size = data[4];
    } else {
        refuse(session, V5_NO_SUCH_ADDRESS);
        return true;
    }
    if (size < host_at + host_size + 2) {
        return false;
    }
    unsigned port = (unsigned)data[host_at + host_size] << 8 | data[host_at + host_size + 1];
    bool is_known = data[1] == 1, is_good = data[0] == 5 && data[2] == 0;
    bool is_place = write_place(place, family, data + host_at, host_size, port);
    peal_buf_consume(input, host_at + host_size + 2);
    if (!is_known || !is_good || !is_place) {
        refuse(session, !is_good    ? V5_FAILED
                        : !is_known ? V5_NO_SUCH_COMMAND
                                    : V5_HOST_UNREACHABLE);
    } else {
        begin(session, input, place);
    }
    return true;
}

static bool take_step(struct session *session, struct peal_buf *input)
{
    if (peal_buf_size(input) == 0) {
        return false;
    }
    if (session->version == 0) {
        session->version = *(const unsigned char *)peal_buf_data(input);
        if (session->version != 4 && session->version != 5) {
            peal_conn_abort(session->conn); /* another protocol: there is nothing to say in it */
            return false;
        }
    }
    return session->version == 4 ? take_v4(session, input)
           : session->is_greeted ? take_v5(session, input)
                                 : take_greeting(session, input);
}

/* ---- the front's callbacks */

static void on_handshake_timeout(struct peal_timer *timer, void *user)
{
    (void)timer;
    peal_conn_abort(((struct session *)user)->conn);
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct session *session = calloc(1, sizeof *session);
    (void)user;
    peal_conn_set_user(conn, session);
    if (session == NULL) {
        peal_conn_abort(conn);
        return;
    }
    session->conn = conn;
    peal_timer_init(&session->timer, peal_conn_loop(conn), on_handshake_timeout, session);
    peal_timer_start(&session->timer, handshake_ms, 0);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct session *session = user;
    while (session->relay == NULL && peal_conn_state(conn) == PEAL_CONN_OPEN &&
           take_step(session, input)) {
    }
    if (session->relay != NULL) {
        if (peal_buf_size(input) > 0) { /* none, if the relay has just begun */
            relay_on_data(session->relay, input);
        }
    } else if (peal_buf_size(input) > REQUEST_MAX_BYTES) {
        peal_conn_abort(conn);
    }
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const struct session *session = user;
    (void)input;
    if (session->relay != NULL) {
        relay_on_eof(session->relay);
    } else {
        peal_conn_close(conn); /* there will be no request */
    }
}

static void on_drain(struct peal_conn *conn, void *user)
{
    const struct session *session = user;
    (void)conn;
    if (session->relay != NULL) {
        relay_on_drain(session->relay);
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct session *session = user;
    (void)conn;
    if (session == NULL) {
        return;
    }
    peal_timer_deinit(&session->timer);
    if (session->relay != NULL) {
        relay_on_close(session->relay, record);
    }
    free(session);
}

static const struct peal_conn_ops ops = {.on_open = on_open,
                                         .on_data = on_data,
                                         .on_eof = on_eof,
                                         .on_drain = on_drain,
                                         .on_close = on_close};

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"connect", "SECONDS", "what connecting may take (10)", ARG_TIME, .into = &connect_ms,
         .min = 1},
        {"handshake", "SECONDS", "what a client may take to say where to (10)", ARG_TIME,
         .into = &handshake_ms, .min = 1},
        {0},
    };
    static const struct service service = {
        .name = "socks",
        .about = "Connects where the client says, and relays: SOCKS 4, 4a and 5.",
        .address = "127.0.0.1:1080",
        .ops = &ops,
        .args = args,
    };
    return serve(&service, argc, argv);
}
