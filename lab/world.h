/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts that the lab's worlds are put together from: loops, servers, clients, peers, users.
 * world.c tells how a world lives and ends. */
#ifndef LAB_WORLD_H
#define LAB_WORLD_H

#include "oracle.h"

enum {
    SERVERS_MAX = 2,
    CLIENTS_MAX = 3,
    PEERS_MAX = 4,
    USERS_MAX = 2,
    POOL_MAX = 3,
    RECENT_MAX = 16,
    HELD_MAX = 8,
    /* who sends: each thread is a writer of its own */
    WRITER_HOME = 0,
    WRITER_POOL = 1,
    WRITER_USER = WRITER_POOL + POOL_MAX,
    WRITER_PEER = WRITER_USER + USERS_MAX
};

struct world_server {
    struct lab_server lab; /* first: ops' user at on_open */
    struct peal_server *server;
    char address[64]; /* as bound */
    bool is_unix;
    struct peal_conn_limits limits;
    uint64_t stop_by_ms; /* in virtual time; 0: not told to stop */
};

struct world_client {
    struct peal_client *client;
    bool is_unix;
    unsigned attempts_max; /* 0: no end */
    bool is_cancelled;     /* by the loop's thread, and not told to connect since */
    struct peal_conn_limits limits;
};

struct world_hold {
    struct peal_conn *conn; /* with a reference */
    struct lab_conn *lab;
};

/* One a run, since a run is a process. */
struct world {
    struct peal_loop *home;
    struct peal_pool *pool;
    struct peal_loop *loops[1 + POOL_MAX]; /* home and the pool's, with a reference to each */
    unsigned loops_count;
    struct world_server servers[SERVERS_MAX];
    unsigned servers_count;
    struct world_client clients[CLIENTS_MAX];
    unsigned clients_count;
    struct lab_conn *recent[RECENT_MAX];
    unsigned recent_next;
    struct world_hold held[HELD_MAX];
    bool home_is_ready, home_failed, is_ending, is_rude;
    int64_t tasks_left, visits_left; /* accepted, and neither run nor dropped */
    uint64_t calm_ms;
    struct peal_sim_thread *home_thread;
};
extern struct world world;

/* How one connection's program behaves: which acts, how many at most in a callback. */
struct world_style {
    unsigned acts_on_open, acts_on_data, acts_on_eof, acts_on_drain, acts_on_close;
};
extern struct world_style world_style;
extern const struct peal_conn_ops world_server_ops, world_client_ops;

/* A scenario that tells one story sets these; what is NULL is done as in a random world. The oracle
 * has its turn before them (for closed: after). */
struct world_hooks {
    void (*opened)(struct lab_conn *lab, struct peal_conn *conn);
    void (*data)(struct lab_conn *lab, struct peal_conn *conn);
    void (*eof)(struct lab_conn *lab, struct peal_conn *conn);
    void (*drained)(struct lab_conn *lab, struct peal_conn *conn);
    void (*closed)(struct lab_conn *lab, struct peal_conn *conn);
};
extern struct world_hooks world_hooks;

void client_connect(struct world_client *client);
void client_cancel(struct world_client *client);

/* ---- acts.c: what a program may do with a connection, or with something else; drawn. */
void act_in_callback(struct lab_conn *lab, struct peal_conn *conn);
void act_on_world(void);           /* on a loop's thread, beside any connection */
void act_as_user(unsigned writer); /* on any thread, with a reference to everything */
unsigned writer_of_loop(void);

/* ---- world.c */
void world_begin(unsigned pool_threads); /* the loops; world.home is NULL if that failed */
void world_in_home(void (*fn)(void *user), void *user); /* and waits for it; not if home has gone */
bool world_add_server(const struct peal_server_options *options, const char *address);
bool world_add_client(const struct peal_client_options *options);
void world_stop_server(struct world_server *server, uint32_t deadline_ms);
/* Calm; joins the threads, stops, ends and checks everything. */
void world_end(struct peal_sim_thread **threads, unsigned count);
void world_hold(struct lab_conn *lab, struct peal_conn *conn);
void world_drop_holds(void);
void world_limits(struct peal_conn_limits *ret_limits); /* drawn */

/* ---- peers.c: the other side, played through the sockets of the simulated network. */
struct lab_peer {
    struct peal_sim_peer *peer;
    struct lab_stream *out;
    struct lab_reader in;
    unsigned writer;
    bool is_torn; /* a chunk could not be sent whole: it will reset */
    bool is_shut, is_over, saw_end;
};
struct lab_peer lab_peer_of(struct peal_sim_peer *peer, unsigned number, bool is_unix);
bool lab_peer_connect(const struct world_server *server, unsigned number,
                      struct lab_peer *ret_peer);
void lab_peer_send(struct lab_peer *peer, size_t size);
bool lab_peer_read(struct lab_peer *peer,
                   size_t most); /* false: nothing came in time, or the end */
void lab_peer_read_all(struct lab_peer *peer);
void lab_peer_shutdown(struct lab_peer *peer);
void lab_peer_end(struct lab_peer *peer, bool reset);

/* Threads that play at random. */
void peer_client(void *user); /* of a thread; user: its number */
void peer_server(void *user);
extern char peer_server_address[PEERS_MAX][64];

#endif
