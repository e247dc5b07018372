/* SPDX-License-Identifier: BSD-2-Clause */
/* The load generator from inside: one thread, one epoll set, and a case that says what is sent and
 * what must come back. Nothing of the library is used here, so that a fault in it cannot hide
 * itself.
 *
 * A run: case->start for each connection, then events until the deadline; from then on nothing new
 * is begun, and the run is over when the last answer has come. So between two runs nothing is in
 * flight, and every message that the server was given is counted. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>

/* ---- latencies: log-linear, 64 steps for each power of two (1.6%), up to 2^40 ns */
#define LOAD_STEPS      64
#define LOAD_HIST_SLOTS ((40 - 5) * LOAD_STEPS)

struct load_hist {
    uint64_t count;
    uint64_t max;
    uint64_t slots[LOAD_HIST_SLOTS];
};

void load_hist_reset(struct load_hist *hist);
void load_hist_add(struct load_hist *hist, uint64_t value, uint64_t times);
/* The value below or at which this share (0 to 1) of all lies; 0 if there are none. */
uint64_t load_hist_at(const struct load_hist *hist, double share);

/* ---- connections */
struct load_conn {
    int fd;           /* -1: none */
    uint32_t index;   /* its place in load->conns */
    uint32_t waiting; /* for these events */
    bool busy;        /* something is in flight: the run is not over */
    uint8_t phase;    /* churn, sink, source: the case's own */
    uint32_t number;  /* messages begun: what comes back must be of this number */
    uint64_t began_ns;
    uint64_t sent; /* bytes; of the message, or (frames) of all */
    uint64_t got;
    uint64_t *times_ns; /* frames, broadcast: when each of those in flight was begun */
};

struct load;

struct load_case {
    const char *name;
    bool persistent;     /* the connections are opened once, and kept from run to run */
    size_t size_default; /* --size */
    unsigned pipeline_default;
    void (*prepare)(struct load *load);                       /* once; may be NULL */
    void (*start)(struct load *load, struct load_conn *conn); /* begins a message, if it is to */
    void (*event)(struct load *load, struct load_conn *conn, uint32_t events);
};

struct load {
    const struct load_case *kind;
    struct sockaddr_in server;
    size_t size;
    unsigned pipeline;
    uint32_t conns_count;
    bool verify; /* every byte, not only the ends of what is read */
    double seconds;
    double warmup;
    unsigned slices;
    bool control;

    int epoll;
    struct load_conn *conns;
    uint32_t alive;
    uint32_t busy;
    uint32_t addresses; /* churn: sources used so far */
    bool over;          /* the deadline has passed: begin nothing */
    uint64_t now_ns;    /* as of the last load_clock */

    uint64_t messages;
    uint64_t bytes; /* received; for sink: sent */
    uint64_t errors;
    uint64_t errors_all; /* of all runs */
    char error[160];     /* the first one of the run */
    struct load_hist hist;
    unsigned char *scratch; /* what is read */
    unsigned char *pattern; /* what is sent */
};

#define LOAD_SCRATCH_BYTES 262144
#define LOAD_PIECE_BYTES   262144
#define LOAD_BLOCK_BYTES   1024

extern const struct load_case load_echo, load_churn, load_frames, load_sink, load_source,
    load_broadcast;

/* Reads the clock into load->now_ns, and returns it. */
uint64_t load_clock(struct load *load);

/* Memory, or the end of the program. */
void *load_need(size_t size);
void load_die(const char *what, int error);

/* ---- net.c */
/* Opens a nonblocking socket, begins to connect, and waits for events. spread: from the next source
 * address of 127.0.0.0/24, so that ports do not run out. 0, or a negative errno. */
int load_connect(struct load *load, struct load_conn *conn, bool spread, uint32_t events);
/* Opens all connections, and waits until all are. */
void load_open_all(struct load *load);
void load_wait_for(struct load *load, struct load_conn *conn, uint32_t events);
/* Closes the connection: it is not busy any more. */
void load_close(struct load *load, struct load_conn *conn);
/* The same, because of an error, which is counted and told. error is an errno, or 0. */
void load_fail(struct load *load, struct load_conn *conn, const char *what, int error);
void load_set_busy(struct load *load, struct load_conn *conn, bool busy);
/* Sends, as far as the kernel takes it: the bytes taken (0: none now), or -1, and the connection
 * has failed. */
ssize_t load_send(struct load *load, struct load_conn *conn, const void *data, size_t size);
/* Reads into load->scratch: the bytes read, 0 at the peer's end, -1 if there is nothing, -2, and
 * the connection has failed. */
ssize_t load_read(struct load *load, struct load_conn *conn, size_t size);
/* Whether what was read is what was expected: both ends of it, or with --verify every byte. */
bool load_same(const struct load *load, const void *got, const void *expected, size_t size);

/* The stream that source and broadcast send: byte i is (i ^ i >> 8) & 255, which repeats after
 * 64 KiB. Checks size bytes from offset at. */
void load_fill_stream(unsigned char *bytes, size_t size);

#endif
