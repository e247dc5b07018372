/* SPDX-License-Identifier: BSD-2-Clause */
/* A simulated stream socket, shared by the calls (socket.c) and the two protocols (tcp.c,
 * unix.c). socket.c tells the model. */
#ifndef PL_SIM_SOCKET_H
#define PL_SIM_SOCKET_H

#include "sys/sim/sim.h"

#include <netinet/in.h>
#include <sys/un.h>

struct pl_sim_bytes {
    uint8_t *data;
    size_t begin, size, capacity; /* size: of those from begin */
};

enum pl_sim_state {
    PL_SIM_FRESH,
    PL_SIM_LISTENING,
    PL_SIM_CONNECTING,
    PL_SIM_CONNECTED,
    PL_SIM_OVER /* was connected, or failed to be */
};

enum { PL_SIM_OPTIONS_MAX = 12 };

struct pl_sim_option {
    int level, name, value;
};

struct pl_sim_socket {
    struct pl_sim_file file; /* first */
    struct pl_sim_socket *next;
    uint64_t number; /* for the trace */
    int family;
    enum pl_sim_state state;
    int error; /* pending, taken by the next that asks */
    bool shut_in, shut_out;
    bool is_orphan; /* no fd is left; the network still knows it */
    bool is_bound, is_told_connected;
    bool fin_asked, fin_arrived; /* ours: after the last byte of out; at the peer */
    bool fin_got;                /* theirs */
    bool was_lost;               /* the peer does not know that this end is gone */
    struct pl_sim_socket *peer;  /* NULL: there is none, or none any more */
    struct pl_sim_bytes in, out;
    size_t in_max, out_max;
    size_t unacked;       /* arrived at the peer, and still counted here */
    int unsent_at_end;    /* what SIOCOUTQ says once the connection is over */
    uint64_t last_due_ns; /* of what it has sent: later things do not overtake */
    struct sockaddr_storage own, other;
    socklen_t own_size, other_size;
    struct pl_sim_option options[PL_SIM_OPTIONS_MAX];
    unsigned options_count;
    struct linger linger;
    struct pl_sim_node *node; /* unix: bound to */
    /* listening */
    unsigned backlog, queued;
    struct pl_sim_socket *queue; /* connections that nobody has accepted, oldest first */
    struct pl_sim_socket *next_queued;
    struct pl_sim_socket *listener; /* in whose queue it is */
};

/* ---- socket.c */
struct pl_sim_socket *pl_sim_new_socket(int family);
void pl_sim_free_socket(struct pl_sim_socket *socket); /* peers must be unlinked before */
size_t pl_sim_bytes_put(struct pl_sim_bytes *bytes, const void *data, size_t size);
size_t pl_sim_bytes_take(struct pl_sim_bytes *bytes, void *ret_data, size_t size);
void pl_sim_bytes_clear(struct pl_sim_bytes *bytes);
int pl_sim_option(const struct pl_sim_socket *socket, int level, int name);
int pl_sim_take_error(struct pl_sim_socket *socket); /* 0 or a negative errno */
void pl_sim_queue_child(struct pl_sim_socket *listener, struct pl_sim_socket *child);
struct pl_sim_socket *pl_sim_unqueue_child(struct pl_sim_socket *listener);
void pl_sim_drop_from_queue(struct pl_sim_socket *child);
struct pl_sim_socket *pl_sim_new_child(struct pl_sim_socket *listener,
                                       struct pl_sim_socket *connector);

/* What the calls do with a socket that they have found. */
int pl_sim_accept_from(struct pl_sim_socket *listener, struct sockaddr *ret_address,
                       socklen_t *inout_size);
ssize_t pl_sim_recv_from(struct pl_sim_socket *socket, void *data, size_t size, int flags);
ssize_t pl_sim_write_to(struct pl_sim_socket *socket, const struct iovec *pieces, size_t count,
                        int flags);

void pl_sim_deliveries_end(void); /* tcp.c */

/* ---- the protocols. Results as of the calls: a count or a negative errno. */
struct pl_sim_protocol {
    uint32_t (*poll)(struct pl_sim_file *file);
    void (*unnamed)(struct pl_sim_file *file);
    int (*bind)(struct pl_sim_socket *socket, const struct sockaddr *address, socklen_t size);
    int (*listen)(struct pl_sim_socket *socket, int backlog);
    int (*connect)(struct pl_sim_socket *socket, const struct sockaddr *address, socklen_t size);
    int (*may_accept)(struct pl_sim_socket *socket); /* 0: it listens */
    int (*shutdown)(struct pl_sim_socket *socket, int how);
    int (*may_send)(struct pl_sim_socket *socket); /* 0, or what sending fails with */
    size_t (*room)(struct pl_sim_socket *socket);
    void (*put)(struct pl_sim_socket *socket, const void *data, size_t size);
    void (*was_written)(struct pl_sim_socket *socket);
    int (*nothing_to_read)(struct pl_sim_socket *socket); /* 0: end of stream, or an error */
    void (*was_read)(struct pl_sim_socket *socket);
    int (*unsent)(struct pl_sim_socket *socket);
    void (*reset)(struct pl_sim_socket *socket); /* a fault: the connection breaks, for both */
    void (*lose)(struct pl_sim_socket *socket);  /* a fault: this end gives up, ETIMEDOUT */
};
extern const struct pl_sim_protocol pl_sim_tcp, pl_sim_unix;

static inline const struct pl_sim_protocol *pl_sim_protocol(const struct pl_sim_socket *socket)
{
    return socket->family == AF_UNIX ? &pl_sim_unix : &pl_sim_tcp;
}

#endif
