/* SPDX-License-Identifier: BSD-2-Clause */
/* What the servers of the benchmark share: the contract with whoever runs them, and nothing of how
 * they move bytes. Compiles as C and as C++.
 *
 *     SERVER MODE PORT [LOOPS]
 *     SERVER --version
 *
 * MODE is one of
 *   echo       what is read is sent back; the peer's FIN ends the connection
 *   frames     frames of a 4-byte big-endian length and so many bytes; each is answered by itself,
 *              with a send call of its own
 *   sink       what is read is thrown away; at the peer's FIN one byte is sent, then FIN
 *   source     the peer sends 8 bytes, a big-endian count; it is sent so many pieces of 256 KiB,
 *              no faster than it reads, then FIN
 *   broadcast  for each byte that any peer sends, every peer is sent one block of 1 KiB
 *
 * The server listens on 127.0.0.1, port 0 being the kernel's choice, prints "ready PORT", and ends
 * at SIGTERM. What it cannot do it says, and exits with 3. LOOPS is the number of threads, each
 * with a loop of its own. Every server has Nagle's algorithm off, the same backlog, reads into 64
 * KiB where that is its program's choice, and may use all file descriptors that it can get. */
#ifndef BENCH_H
#define BENCH_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BENCH_BACKLOG     4096
#define BENCH_READ_BYTES  65536
#define BENCH_PIECE_BYTES 262144
#define BENCH_BLOCK_BYTES 1024
#define BENCH_SINK_RCVBUF 212992 /* what an unconfigured kernel allows */
#define BENCH_FRAME_MAX   65532  /* payload; with its prefix a frame fits into one read */
#define BENCH_LOOPS_MAX   64

enum bench_mode { BENCH_ECHO, BENCH_FRAMES, BENCH_SINK, BENCH_SOURCE, BENCH_BROADCAST };

struct bench_args {
    enum bench_mode mode;
    uint16_t port;
    int loops;
};

/* Sent by source, and by broadcast from its beginning. Filled by bench_begin. */
static unsigned char bench_piece[BENCH_PIECE_BYTES];

__attribute__((noreturn)) static inline void bench_die(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, strerror(error < 0 ? -error : error));
    exit(1);
}

__attribute__((noreturn)) static inline void bench_cannot(const char *sentence)
{
    fprintf(stderr, "%s\n", sentence);
    exit(3);
}

__attribute__((noreturn)) static inline void bench_usage(const char *program)
{
    fprintf(stderr,
            "usage: %s echo|frames|sink|source|broadcast PORT [LOOPS]\n"
            "       %s --version\n",
            program, program);
    exit(2);
}

static inline void bench_parse(int argc, char **argv, struct bench_args *args)
{
    static const char *const names[] = {"echo", "frames", "sink", "source", "broadcast"};
    int mode = 0;
    if (argc < 3 || argc > 4) {
        bench_usage(argv[0]);
    }
    while (mode < 5 && strcmp(argv[1], names[mode]) != 0) {
        mode++;
    }
    args->mode = (enum bench_mode)mode;
    args->port = (uint16_t)atoi(argv[2]);
    args->loops = argc > 3 ? atoi(argv[3]) : 1;
    if (mode == 5 || args->loops < 1 || args->loops > BENCH_LOOPS_MAX) {
        bench_usage(argv[0]);
    }
}

/* Reads the arguments and makes the process ready. version: "name number". */
static inline void bench_begin(int argc, char **argv, const char *version, struct bench_args *args)
{
    struct rlimit files;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts(version);
        exit(0);
    }
    bench_parse(argc, argv, args);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof(bench_piece); i++) {
        bench_piece[i] = (unsigned char)(i ^ (i >> 8));
    }
}

/* In sink mode. A receive buffer that the kernel sizes by itself grows, or does not, by chance to
 * what no cache holds, and then each byte costs three times as much: that is not what is measured.
 */
static inline bool bench_bound_receive(int fd)
{
    int bytes = BENCH_SINK_RCVBUF;
    return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0;
}

/* A nonblocking listener. Accepted sockets inherit its options. */
static inline int bench_listen(uint16_t port, bool reuse_port, enum bench_mode mode)
{
    struct sockaddr_in address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        (mode == BENCH_SINK && !bench_bound_receive(fd)) ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, BENCH_BACKLOG) < 0) {
        bench_die("cannot listen", errno);
    }
    return fd;
}

static inline uint16_t bench_port(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0) {
        bench_die("getsockname", errno);
    }
    return ntohs(address.sin_port);
}

static inline void bench_ready(uint16_t port)
{
    printf("ready %u\n", (unsigned)port);
    (void)fflush(stdout);
}

/* For servers whose loop is a thread around a listener: one SO_REUSEPORT listener each, and serve
 * on each; the last on the calling thread. */
typedef void *(*bench_serve_fn)(void *listener);

static inline void bench_run(const struct bench_args *args, bench_serve_fn serve)
{
    int listeners[BENCH_LOOPS_MAX];
    uint16_t port = args->port;
    for (int i = 0; i < args->loops; i++) {
        listeners[i] = bench_listen(port, args->loops > 1, args->mode);
        port = bench_port(listeners[i]);
    }
    for (int i = 1; i < args->loops; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, serve, &listeners[i]);
        if (error != 0) {
            bench_die("pthread_create", error);
        }
    }
    bench_ready(port);
    serve(&listeners[0]);
}

static inline uint64_t bench_u64be(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static inline uint32_t bench_u32be(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           (uint32_t)bytes[3];
}

#endif
