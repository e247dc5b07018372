/* SPDX-License-Identifier: BSD-2-Clause */
/* What a connection is: accessors. None of them changes its life. Those that any thread may call
 * read an atomic, or what does not change after open. */
#include "net/conn.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>

/* ---- the peer's address */

bool pl_conn_set_peer(struct peal_conn *conn, const struct sockaddr *peer, socklen_t size)
{
    if (!peer || size == 0 || size > sizeof(union pl_sockaddr)) {
        return true; /* PL_PEER_UNKNOWN; a unix socket that has so long a name is bound to a file */
    }
    if (peer->sa_family == AF_INET && size == sizeof(struct sockaddr_in)) {
        struct sockaddr_in v4;
        memcpy(&v4, peer, sizeof v4);
        conn->peer.v4.address = v4.sin_addr.s_addr;
        conn->peer.v4.port = v4.sin_port;
        conn->peer_kind = PL_PEER_V4;
        return true;
    }
    struct pl_peer *other = sys_calloc(1, sizeof *other);
    if (!other) {
        return false;
    }
    other->size = size;
    memcpy(&other->addr, peer, size);
    conn->peer.other = other;
    conn->peer_kind = PL_PEER_OTHER;
    return true;
}

void pl_conn_forget_peer(struct peal_conn *conn)
{
    if (conn->peer_kind == PL_PEER_OTHER) {
        sys_free(conn->peer.other);
    }
}

socklen_t pl_conn_peer(const struct peal_conn *conn, union pl_sockaddr *ret_peer)
{
    switch (conn->peer_kind) {
    case PL_PEER_V4:
        ret_peer->v4 = (struct sockaddr_in){.sin_family = AF_INET,
                                            .sin_port = conn->peer.v4.port,
                                            .sin_addr.s_addr = conn->peer.v4.address};
        return sizeof ret_peer->v4;
    case PL_PEER_OTHER:
        *ret_peer = conn->peer.other->addr;
        return conn->peer.other->size;
    default:
        return 0;
    }
}

/* ---- accessors */

uint64_t peal_conn_id(const struct peal_conn *conn)
{
    return conn->id;
}

enum peal_conn_state peal_conn_state(const struct peal_conn *conn)
{
    return (enum peal_conn_state)atomic_load_explicit(&conn->state, memory_order_acquire);
}

struct peal_loop *peal_conn_loop(const struct peal_conn *conn)
{
    return conn->io.loop;
}

void peal_conn_peer(const struct peal_conn *conn, struct peal_addr *ret_addr)
{
    union pl_sockaddr peer;
    socklen_t size = pl_conn_peer(conn, &peer);
    if (size == 0 || peal_addr_from_sockaddr(&peer.any, size, ret_addr) < 0) {
        /* not known, or a unix socket without a name: an address of its family with nothing in it
         */
        const struct sockaddr none = {.sa_family = AF_UNIX};
        int result = peal_addr_from_sockaddr(&none, sizeof none.sa_family, ret_addr);
        pl_assert(result == 0);
    }
}

int peal_conn_local(const struct peal_conn *conn, struct peal_addr *ret_addr)
{
    pl_loop_check(conn->io.loop, "peal_conn_local");
    struct sockaddr_storage storage;
    socklen_t size = sizeof storage;
    if (conn->io.fd < 0) {
        return -ENOTCONN;
    }
    int result = sys_getsockname(conn->io.fd, (struct sockaddr *)&storage, &size);
    return result < 0 ? result
                      : peal_addr_from_sockaddr((struct sockaddr *)&storage, size, ret_addr);
}

void *peal_conn_user(const struct peal_conn *conn)
{
    return conn->user;
}

void peal_conn_set_user(struct peal_conn *conn, void *user)
{
    pl_loop_check(conn->io.loop, "peal_conn_set_user");
    conn->user = user;
}

void peal_conn_set_ops(struct peal_conn *conn, const struct peal_conn_ops *ops)
{
    pl_loop_check(conn->io.loop, "peal_conn_set_ops");
    conn->ops = ops;
}

int peal_conn_fd(const struct peal_conn *conn)
{
    pl_loop_check(conn->io.loop, "peal_conn_fd");
    return conn->io.fd;
}
