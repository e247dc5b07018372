/* SPDX-License-Identifier: BSD-2-Clause */
/* What Peal's own work costs, counted exactly: a program that does the library's everyday things a
 * fixed number of times, for scripts/check-counts.py to count.
 *
 *     counts ENGINE [calls]     one JSON line for each case, on standard output
 *
 * The loop, its server and the raw peers live on one thread and take turns, so each run does the
 * same. Only what runs inside of a function whose name begins with measured_ counts: there the loop
 * turns, and nothing of the peers happens. Under
 *
 *     valgrind --tool=callgrind --toggle-collect='measured_*' --zero-before='case_begin*'
 *              --dump-after='case_end*'
 *
 * there is one dump for each case, in the order of the lines. With "calls" the lines tell the
 * system calls: those that the seam's hook is asked about, which are all that a message or a
 * connection makes but close(2) and getpeername(2) (strace -c shows these), and at last the bytes
 * of an idle connection, from the seam's ledger.
 *
 * Each case is warmed up first, so that buffers and batches have found their sizes. */
#include "sys/sys.h"

#include <peal.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif

enum { PEERS = 100, SMALL = 64, PAGE = 4096, FRAMES = 32, IDLE = 2000, WARM_UP = 20 };

static struct peal_loop *loop;
static struct peal_addr address;
static int peers[IDLE];
static unsigned peers_count;
static unsigned opened, closed;
static uint64_t received;
static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U32BE, .size_max = PAGE};

/* ---- the counted and the uncounted */

static bool is_counting;
static uint64_t calls;

static int count_call(char kind, const char *name, void *user)
{
    (void)name;
    (void)user;
    calls += is_counting && kind == 's';
    return 0;
}

NOINLINE static void case_begin(void)
{
    __asm__ volatile("" ::: "memory");
    calls = 0;
}

NOINLINE static void case_end(void)
{
    __asm__ volatile("" ::: "memory");
}

static void tell(const char *figure, uint64_t operations)
{
    case_end();
    printf("{\"figure\": \"%s\", \"operations\": %llu, \"calls\": %llu}\n", figure,
           (unsigned long long)operations, (unsigned long long)calls);
}

NOINLINE static void measured_turn(void)
{
    is_counting = true;
    if (peal_loop_turn(loop, 1000) < 0) {
        abort();
    }
    is_counting = false;
}

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "counts: %s failed: %s\n", what, strerror(errno));
        exit(1);
    }
}

/* ---- the server */

static void on_open(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
    opened++;
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)record;
    (void)user;
    closed++;
}

static void on_data_echo(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    received += peal_buf_size(input);
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
}

static void on_data_frames(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const void *message;
    size_t size;
    (void)user;
    while (peal_conn_next_message(conn, &codec, input, &message, &size) > 0) {
        received += size;
        peal_conn_send_message(conn, &codec, message, size);
    }
}

static const struct peal_conn_ops echo_ops = {
    .on_open = on_open, .on_data = on_data_echo, .on_close = on_close};
static const struct peal_conn_ops frames_ops = {
    .on_open = on_open, .on_data = on_data_frames, .on_close = on_close};

static struct peal_server *serve(const struct peal_conn_ops *ops)
{
    struct peal_server *server;
    must(peal_server_new(loop, &(struct peal_server_options){.ops = ops}, &server) == 0,
         "making a server");
    must(peal_server_listen(server, "127.0.0.1:0", NULL) == 0, "listening");
    must(peal_server_address(server, 0, &address) == 0, "asking for the address");
    opened = closed = 0;
    return server;
}

static void connect_peer(void)
{
    int one = 1;
    socklen_t size;
    const struct sockaddr *target = peal_addr_sockaddr(&address, &size);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0, "making a socket");
    must(connect(fd, target, size) == 0, "connecting");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    peers[peers_count++] = fd;
}

static void connect_peers(unsigned count)
{
    for (peers_count = 0; peers_count < count;) {
        connect_peer();
        while (opened < peers_count) {
            measured_turn();
        }
    }
}

static void disconnect_peers(struct peal_server *server)
{
    for (unsigned i = 0; i < peers_count; i++) {
        close(peers[i]);
    }
    while (closed < opened) {
        measured_turn();
    }
    peers_count = 0;
    peal_server_stop(server, 0);
    for (int i = 0; i < 3; i++) {
        peal_loop_turn(loop, 0);
    }
    peal_server_unref(server);
}

static void send_all(int fd, const char *data, size_t size)
{
    must(send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size, "sending");
}

static void recv_all(int fd, char *data, size_t size)
{
    must(recv(fd, data, size, MSG_WAITALL) == (ssize_t)size, "receiving");
}

/* ---- cases */

/* Each peer sends a message; the loop turns until all are answered. */
static void round_of(char *data, size_t size)
{
    uint64_t until = received + peers_count * size;
    for (unsigned i = 0; i < peers_count; i++) {
        send_all(peers[i], data, size);
    }
    while (received < until) {
        measured_turn();
    }
    for (unsigned i = 0; i < peers_count; i++) {
        recv_all(peers[i], data, size);
    }
}

static void echo(const char *figure, unsigned connections, size_t size, unsigned rounds)
{
    static char data[PAGE];
    struct peal_server *server = serve(&echo_ops);
    connect_peers(connections);
    for (unsigned i = 0; i < WARM_UP; i++) {
        round_of(data, size);
    }
    case_begin();
    for (unsigned i = 0; i < rounds; i++) {
        round_of(data, size);
    }
    tell(figure, (uint64_t)connections * rounds);
    disconnect_peers(server);
}

static void frames(void)
{
    enum { ROUNDS = 100, BYTES = FRAMES * (4 + SMALL) };
    static char data[BYTES];
    for (size_t i = 0; i < FRAMES; i++) {
        data[i * (4 + SMALL) + 3] = SMALL;
    }
    struct peal_server *server = serve(&frames_ops);
    connect_peers(1);
    for (unsigned i = 0; i < ROUNDS + WARM_UP; i++) {
        if (i == WARM_UP) {
            case_begin();
        }
        uint64_t until = received + FRAMES * SMALL;
        send_all(peers[0], data, BYTES);
        while (received < until) {
            measured_turn();
        }
        recv_all(peers[0], data, BYTES);
    }
    tell("frame of 64 B, 32 at a time", FRAMES * ROUNDS);
    disconnect_peers(server);
}

/* Connect, a byte there and back, the peer's FIN, ours, the end. */
static void lives(void)
{
    enum { LIVES = 200 };
    struct peal_server *server = serve(&echo_ops);
    for (unsigned i = 0; i < LIVES + WARM_UP; i++) {
        char byte = 'x';
        if (i == WARM_UP) {
            case_begin();
        }
        peers_count = 0;
        connect_peer();
        send_all(peers[0], &byte, 1);
        uint64_t until = received + 1;
        while (received < until) {
            measured_turn();
        }
        recv_all(peers[0], &byte, 1);
        shutdown(peers[0], SHUT_WR);
        while (closed <= i) {
            measured_turn();
        }
        must(recv(peers[0], &byte, 1, 0) == 0, "the server's FIN");
        close(peers[0]);
    }
    tell("connection: 1 byte and its end", LIVES);
    peers_count = 0;
    disconnect_peers(server);
}

NOINLINE static void measured_broadcast(struct peal_server *server, struct peal_blob *blob)
{
    is_counting = true;
    must(peal_server_broadcast(server, blob, NULL, NULL, NULL) == 0, "broadcasting");
    peal_loop_turn(loop, 0);
    peal_loop_turn(loop, 0);
    is_counting = false;
}

static void broadcast(void)
{
    enum { ROUNDS = 20, BYTES = 1024 };
    static char data[BYTES];
    struct peal_server *server = serve(&echo_ops);
    struct peal_blob *blob;
    must(peal_blob_copy(data, BYTES, &blob) == 0, "making a blob");
    connect_peers(PEERS);
    for (unsigned i = 0; i < ROUNDS + WARM_UP; i++) {
        if (i == WARM_UP) {
            case_begin();
        }
        measured_broadcast(server, blob);
        for (unsigned j = 0; j < PEERS; j++) {
            recv_all(peers[j], data, BYTES);
        }
    }
    tell("blob of 1 KiB to one of 100", PEERS * ROUNDS);
    peal_blob_unref(blob);
    disconnect_peers(server);
}

/* ---- timers and tasks */

enum { TIMERS = 1000 };
static struct peal_timer timers[TIMERS];
static unsigned fired;

static void on_timer(struct peal_timer *timer, void *user)
{
    (void)timer;
    (void)user;
    fired++;
}

NOINLINE static void measured_arm_and_cancel(void)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        peal_timer_start(&timers[i], 1000 + i * 7, 0);
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        peal_timer_cancel(&timers[i]);
    }
}

NOINLINE static void measured_arm(void)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        peal_timer_start(&timers[i], 1, 0);
    }
}

/* As a time-out is, with all that is heard. */
NOINLINE static void measured_move(void)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        peal_timer_start(&timers[i], 60000, 0);
    }
}

/* The wheel hangs a timer lower at every multiple of 256 ms, which is exact but depends on the time
 * of day: what is measured next begins well before one. */
static void turn_at_the_start_of_a_slot(void)
{
    struct timespec now;
    unsigned ms;
    do {
        usleep(1000);
        clock_gettime(CLOCK_MONOTONIC, &now);
        ms = (unsigned)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
    } while ((ms & 255) > 64);
    peal_loop_turn(loop, 0);
}

static void timers_of_a_loop(void)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        peal_timer_init(&timers[i], loop, on_timer, NULL);
    }
    measured_arm_and_cancel();
    case_begin();
    measured_arm_and_cancel();
    tell("timer armed and cancelled", TIMERS);
    measured_move();
    case_begin();
    measured_move();
    tell("timer moved", TIMERS);
    for (unsigned i = 0; i < TIMERS; i++) {
        peal_timer_cancel(&timers[i]);
    }
    turn_at_the_start_of_a_slot();
    case_begin();
    measured_arm();
    usleep(5000); /* all are due, and run in one turn */
    for (fired = 0; fired < TIMERS;) {
        measured_turn();
    }
    tell("timer armed and fired", TIMERS);
}

static unsigned ran;

static void task(void *user)
{
    (void)user;
    ran++;
}

NOINLINE static void measured_posts(void)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        must(peal_loop_post(loop, task, NULL) == 0, "posting");
    }
}

static void posts(void)
{
    for (unsigned i = 0; i < 2; i++) {
        case_begin();
        measured_posts();
        for (ran = 0; ran < TIMERS;) {
            measured_turn();
        }
    }
    tell("task posted and run", TIMERS);
}

/* ---- memory */

static void idle_bytes(void)
{
    uint64_t allocations, before, after;
    struct peal_server *server = serve(&echo_ops);
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "asking for the limit of fds");
    limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 2 * IDLE + 100,
         "raising the limit of fds");
    connect_peers(IDLE / 2); /* tables have grown, and hold a round number */
    sys_ledger(&allocations, &before);
    while (peers_count < IDLE) {
        connect_peer();
        while (opened < peers_count) {
            measured_turn();
        }
    }
    sys_ledger(&allocations, &after);
    printf("{\"figure\": \"idle connection\", \"operations\": %d, \"bytes\": %llu}\n", IDLE / 2,
           (unsigned long long)(after - before));
    disconnect_peers(server);
}

int main(int argc, char **argv)
{
    uint64_t allocations, bytes;
    if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[2], "calls") != 0)) {
        fputs("usage: counts ENGINE [calls]\n", stderr);
        return 2;
    }
    sys_ledger(&allocations, &bytes); /* counts from now on */
    must(peal_loop_new(&(struct peal_loop_options){.engine = argv[1]}, &loop) == 0,
         "making a loop");
    if (strcmp(peal_loop_engine(loop), argv[1]) != 0) {
        fprintf(stderr, "counts: this machine does not let a loop run on %s\n", argv[1]);
        peal_loop_free(loop);
        return 77;
    }
    if (argc == 3) {
        sys_set_fault_hook(count_call, NULL); /* not free: instructions are counted without */
    }
    echo("echo of 64 B, 1 connection", 1, SMALL, 500);
    echo("echo of 64 B, 100 connections", PEERS, SMALL, 20);
    echo("echo of 4 KiB, 100 connections", PEERS, PAGE, 20);
    frames();
    broadcast();
    lives();
    timers_of_a_loop();
    posts();
    idle_bytes();
    peal_loop_free(loop);
    return 0;
}
