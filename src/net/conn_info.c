/* SPDX-License-Identifier: BSD-2-Clause */
/* What a connection is: accessors. None of them changes its life. Those that any thread may call
 * read an atomic, or what does not change after open. */
#include "net/conn.h"

#include "base/assert.h"

#include <errno.h>

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
    if (conn->peer_size == 0 ||
        peal_addr_from_sockaddr(&conn->peer.any, conn->peer_size, ret_addr) < 0) {
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
