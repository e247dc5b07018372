/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw peers: the other ends of the demo's connections. They use sockets and nothing of Peal, so
 * that what they saw is evidence.
 *
 * A peer follows a script, one step after the other; a group of peers shares a few threads.
 *
 *     static const struct peer_step steps[] = {
 *         {PEER_CONNECT}, {PEER_REQUEST, 65536}, {PEER_READ_ALL}, {PEER_CLOSE}, {PEER_DONE}};
 *
 *     group.to = address; group.steps = steps; group.count = 300;
 *     peer_group_start(&group);
 *     ...                       // until group.finished == group.count
 *     peer_group_join(&group);
 *     // group.peers[i] says what came of each
 */
#ifndef PEAL_DEMO_PEER_H
#define PEAL_DEMO_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum peer_do {
    PEER_DONE,        /* the end of the script; a socket still open is closed */
    PEER_CONNECT,     /* to the group's address */
    PEER_REQUEST,     /* send a request (struct peer_request) that asks for so many bytes */
    PEER_SEND,        /* send so many bytes of the pattern */
    PEER_SEND_SLOWLY, /* so many bytes in all, one every ms */
    PEER_READ,        /* until so many bytes have arrived in all, or the stream has ended */
    PEER_READ_ALL,    /* until the stream has ended */
    PEER_READ_SLOWLY, /* the same, so many bytes every ms at most */
    PEER_SHUTDOWN,    /* end this side: FIN */
    PEER_RESET,       /* close with a reset */
    PEER_CLOSE,
    PEER_SLEEP, /* for ms */
    PEER_GATE   /* until the group's gate is at the number in bytes, or above */
};

struct peer_step {
    enum peer_do what;
    uint64_t bytes;
    uint32_t ms;
};

/* What goes first on a connection, in this machine's byte order: who it is and what it wants. */
struct peer_request {
    uint32_t magic;
    uint32_t key;
    uint64_t bytes;
};
enum { PEER_MAGIC = 0x7065616c };

enum peer_end {
    PEER_OPEN,    /* it saw no end of its stream */
    PEER_EOF,     /* an orderly end */
    PEER_BROKEN,  /* a reset: ECONNRESET or EPIPE, on reading or on writing */
    PEER_REFUSED, /* it could not connect */
    PEER_FAULT    /* an error that no peer should meet; see error */
};

struct peer {
    uint32_t key;
    int fd; /* -1: none */
    const struct peer_step *step;
    uint64_t step_bytes; /* done of this step */
    uint64_t due_ms;     /* of this step, if it waits for a time */
    uint32_t events;     /* what epoll was asked for */
    bool started;
    bool entered; /* the step has begun */
    /* What came of it. */
    enum peer_end end;
    int error;        /* the errno of what ended it */
    uint64_t sent;    /* taken by this side's kernel, without the request */
    uint64_t arrived; /* read here */
    uint64_t wrong;   /* bytes of those that did not belong where they were */
};

struct peer_group {
    struct sockaddr_storage to;
    socklen_t to_size;
    const struct peer_step *steps;
    const struct peer_step *(*steps_for)(uint32_t key); /* or: each its own */
    unsigned count;
    unsigned at_once_max; /* so many at a time; 0: all */
    unsigned threads;     /* 0: 2 */
    int receive_buffer;   /* SO_RCVBUF; 0: the system's */
    bool sockets_first;   /* make all sockets in peer_group_start, none later */
    uint32_t key_first;   /* peers[i].key is key_first + i */
    struct peer *peers;   /* made by start, freed by peer_group_free */
    _Atomic uint64_t gate;
    _Atomic bool stop; /* give up: close all, end the threads */
    _Atomic unsigned finished;
    struct peer_thread *workers;
};

/* 0 or a negative errno. */
int peer_group_start(struct peer_group *group);

/* Waits for the threads: they end when all peers have finished, or when stop is set. */
void peer_group_join(struct peer_group *group);

/* After join, or if it was never started. */
void peer_group_free(struct peer_group *group);

/* Listens on loopback without Peal; the port is the kernel's choice. Returns the fd, or a negative
 * errno. */
int peer_listen(int backlog, struct sockaddr_storage *ret_address, socklen_t *ret_size);

uint64_t peer_now_ms(void);

#endif
