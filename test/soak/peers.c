/* SPDX-License-Identifier: BSD-2-Clause */
/* The clients of the soak: batches of connections, each of which ends in one of the ways there are.
 *
 * Most are blocking sockets of plain libc, which share no code with the library. All of a batch
 * connect, then all send, then each ends its own way, so that the server has the whole batch open.
 * One batch in ten is of Peal's own clients, one in eight goes over a unix socket, and one in
 * sixteen is larger than the server's limit. The way of a connection follows from its number, so
 * every run does the same.
 *
 * TCP connections go to many addresses of 127.0.0.0/8 in turn. The end that closes first keeps the
 * pair of ports in TIME_WAIT, and one pair of addresses has only some 28,000 of them.
 *
 * A connection that is refused at the limit sees its end without an answer, and is counted; nothing
 * else may. */
#include "soak/soak.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum way {
    ANSWER_THEN_FIN,   /* our FIN after the request, then the whole answer and the server's FIN */
    ANSWER_THEN_CLOSE, /* close(2) when the answer has come */
    ANSWER_THEN_RESET,
    CLOSE_UNREAD, /* close(2) right after the request: FIN, or a reset if the answer was quicker */
    RESET_UNREAD,
    CLOSE_SILENT, /* nothing was sent */
    RESET_SILENT,
    SERVER_CLOSES,
    SERVER_SHUTS_DOWN, /* its FIN, then more from us, then ours */
    SERVER_ABORTS,
    WAYS,
    SERVER_IDLES = WAYS /* rare, because it takes its time */
};

enum { ADDRESSES = 200, WAIT_S = 60 };

struct peer {
    int fd;
    enum way way;
    uint32_t size;
    unsigned char first; /* byte of the payload; each next is one more */
};

static unsigned char request[SOAK_HEAD_BYTES + SOAK_PAYLOAD_BYTES_MAX];
static unsigned char answer[SOAK_PAYLOAD_BYTES_MAX];

static uint64_t mixed(uint64_t number)
{
    number = (number + 1) * 0x9e3779b97f4a7c15u;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
    return number ^ (number >> 27);
}

static struct peer plan(uint64_t number)
{
    uint64_t drawn = mixed(number);
    struct peer peer = {.fd = -1, .way = (enum way)(drawn % WAYS), .first = (drawn >> 8) & 255};
    peer.size = 1 + (uint32_t)(drawn >> 16) % 200;
    if ((drawn >> 48) % 32 == 0) {
        peer.size = SOAK_PAYLOAD_BYTES_MAX;
    }
    if ((drawn >> 40) % 2048 == 0) {
        peer.way = SERVER_IDLES;
    }
    return peer;
}

static bool sends(const struct peer *peer)
{
    return peer->way != CLOSE_SILENT && peer->way != RESET_SILENT;
}

static unsigned char word_of(enum way way)
{
    switch (way) {
    case SERVER_CLOSES:
        return SOAK_CLOSE;
    case SERVER_SHUTS_DOWN:
        return SOAK_SHUTDOWN;
    case SERVER_ABORTS:
        return SOAK_ABORT;
    case SERVER_IDLES:
        return SOAK_IDLE;
    default:
        return SOAK_STAY;
    }
}

static struct peal_addr address_of(const struct soak_peers *peers)
{
    struct peal_addr address = peers->server->tcp;
    if (peers->batch % 8 == 7) {
        return peers->server->local;
    }
    address.socket.ipv4.sin_addr.s_addr = htonl(0x7f000001u + peers->batch % ADDRESSES);
    return address;
}

/* ---- plain sockets */

static void connect_peer(struct soak_peers *peers, struct peer *peer)
{
    const struct timeval limit = {.tv_sec = WAIT_S};
    struct peal_addr address = address_of(peers);
    socklen_t size;
    const struct sockaddr *to = peal_addr_sockaddr(&address, &size);
    peer->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->fd < 0 || setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
        setsockopt(peer->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
        connect(peer->fd, to, size) < 0) {
        soak_die("a client could not connect: %s", strerror(errno));
    }
    peers->connected++;
    peers->over_tcp += to->sa_family == AF_INET;
}

/* An error is that of a connection that was refused, and shows when the answer is read. */
static void send_request(const struct peer *peer)
{
    request[0] = word_of(peer->way);
    const uint32_t size = htonl(peer->size);
    memcpy(request + 1, &size, sizeof size);
    for (uint32_t i = 0; i < peer->size; i++) {
        request[SOAK_HEAD_BYTES + i] = (unsigned char)(peer->first + i);
    }
    if (send(peer->fd, request, SOAK_HEAD_BYTES + peer->size, MSG_NOSIGNAL) < 0 &&
        (errno == EAGAIN || errno == EINTR)) {
        soak_die("a request was not taken");
    }
}

static ssize_t receive(int fd, void *data, size_t size)
{
    ssize_t n;
    do {
        n = recv(fd, data, size, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        soak_die("nothing came for %d s", WAIT_S);
    }
    return n;
}

/* After an abort by the server a part of the answer may be missing. */
static void read_answer(struct soak_peers *peers, const struct peer *peer)
{
    size_t have = 0;
    while (have < peer->size) {
        ssize_t n = receive(peer->fd, answer + have, peer->size - have);
        if (n <= 0) {
            break;
        }
        have += (size_t)n;
    }
    for (size_t i = 0; i < have; i++) {
        if (answer[i] != (unsigned char)(peer->first + i)) {
            peers->wrong++;
            return;
        }
    }
    peers->unanswered += have < peer->size && peer->way != SERVER_ABORTS;
}

/* A byte past the answer would be wrong. */
static void read_end(struct soak_peers *peers, const struct peer *peer)
{
    unsigned char more;
    peers->wrong += receive(peer->fd, &more, 1) > 0;
}

static void close_peer(const struct peer *peer, bool reset)
{
    const struct linger at_once = {.l_onoff = 1};
    if (reset) {
        setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close(peer->fd);
}

static void end_peer(struct soak_peers *peers, const struct peer *peer)
{
    switch (peer->way) {
    case ANSWER_THEN_FIN:
        shutdown(peer->fd, SHUT_WR);
        read_answer(peers, peer);
        read_end(peers, peer);
        break;
    case ANSWER_THEN_CLOSE:
    case ANSWER_THEN_RESET:
        read_answer(peers, peer);
        break;
    case SERVER_CLOSES:
    case SERVER_ABORTS:
    case SERVER_IDLES:
    case SERVER_SHUTS_DOWN:
        read_answer(peers, peer);
        read_end(peers, peer);
        if (peer->way == SERVER_SHUTS_DOWN) {
            send(peer->fd, request, peer->size, MSG_NOSIGNAL);
        }
        break;
    default:
        break;
    }
    close_peer(peer, peer->way == ANSWER_THEN_RESET || peer->way == RESET_UNREAD ||
                         peer->way == RESET_SILENT);
}

/* The crowd is whole at the server before the first of it leaves: so some are surely refused. */
static void wait_accepted(const struct soak_peers *peers)
{
    const struct timespec moment = {.tv_nsec = 100 * 1000};
    struct peal_server_stats stats;
    time_t end = time(NULL) + WAIT_S;
    for (;;) {
        peal_server_get_stats(peers->server->server, &stats);
        if (stats.accepted >= peers->connected) {
            return;
        }
        if (time(NULL) > end) {
            soak_die("%lu connected and only %lu were accepted", peers->connected,
                     (unsigned long)stats.accepted);
        }
        nanosleep(&moment, NULL);
    }
}

static void raw_batch(struct soak_peers *peers, unsigned count)
{
    static struct peer batch[SOAK_CROWD];
    for (unsigned i = 0; i < count; i++) {
        batch[i] = plan(peers->next++);
        connect_peer(peers, &batch[i]);
    }
    if (count > SOAK_CONNS_MAX) {
        wait_accepted(peers);
    }
    unsigned fds = soak_open_fds();
    peers->fds_peak = fds > peers->fds_peak ? fds : peers->fds_peak;
    for (unsigned i = 0; i < count; i++) {
        if (sends(&batch[i])) {
            send_request(&batch[i]);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        end_peer(peers, &batch[i]);
    }
}

/* ---- Peal's clients. They end by what the number in their user pointer says, or are ended. */

static struct soak_peers *here; /* the callbacks' */

static void client_on_open(struct peal_conn *conn, void *user)
{
    const struct peer *peer = user;
    here->client_opened++;
    request[0] = word_of(peer->way);
    memcpy(request + 1, &(uint32_t){htonl(peer->size)}, sizeof(uint32_t));
    if (sends(peer) && peal_conn_send(conn, request, SOAK_HEAD_BYTES + peer->size) < 0) {
        soak_die("a client's request was refused");
    }
    if (peer->way == CLOSE_SILENT || peer->way == CLOSE_UNREAD) {
        peal_conn_close(conn);
    } else if (peer->way == RESET_SILENT || peer->way == RESET_UNREAD) {
        peal_conn_abort(conn);
    } else if (peer->way == ANSWER_THEN_FIN) {
        peal_conn_shutdown(conn);
    }
}

static void client_on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const struct peer *peer = user;
    if (peal_buf_size(input) < peer->size) {
        return;
    }
    peal_buf_consume(input, peer->size);
    if (peer->way == ANSWER_THEN_CLOSE) {
        peal_conn_close(conn);
    } else if (peer->way == ANSWER_THEN_RESET) {
        peal_conn_abort(conn);
    }
}

static void client_on_close(struct peal_conn *conn, const struct peal_close_record *record,
                            void *user)
{
    (void)conn;
    (void)record;
    (void)user;
    here->client_closed++;
}

static void client_on_fail(struct peal_client *client, const struct peal_connect_failure *failure,
                           void *user)
{
    (void)client;
    (void)failure;
    (void)user;
    here->client_failed++;
}

static const struct peal_conn_ops client_ops = {
    .on_open = client_on_open, .on_data = client_on_data, .on_close = client_on_close};

static void peal_batch(struct soak_peers *peers)
{
    static struct peer batch[SOAK_BATCH];
    static struct peal_client *clients[SOAK_BATCH];
    struct peal_addr address = address_of(peers);
    unsigned long before = peers->client_closed + peers->client_failed;
    time_t end = time(NULL) + WAIT_S;
    here = peers;
    for (unsigned i = 0; i < SOAK_BATCH; i++) {
        batch[i] = plan(peers->next++);
        const struct peal_client_options options = {.addrs = &address,
                                                    .addr_count = 1,
                                                    .ops = &client_ops,
                                                    .user = &batch[i],
                                                    .on_fail = client_on_fail};
        if (peal_client_new(peers->loop, &options, &clients[i]) < 0 ||
            peal_client_connect(clients[i]) < 0) {
            soak_die("a client could not be made");
        }
    }
    while (peers->client_closed + peers->client_failed < before + SOAK_BATCH) {
        if (peal_loop_turn(peers->loop, 1000) < 0 || time(NULL) > end) {
            soak_die("%lu clients opened, %lu closed, and no more does", peers->client_opened,
                     peers->client_closed);
        }
    }
    for (unsigned i = 0; i < SOAK_BATCH; i++) {
        clients[i] = peal_client_unref(clients[i]);
    }
    peers->connected += SOAK_BATCH;
    peers->over_tcp += peal_addr_family(&address) == AF_INET ? SOAK_BATCH : 0;
}

void soak_batch(struct soak_peers *peers)
{
    if (peers->batch % 10 == 5) {
        peal_batch(peers);
    } else {
        raw_batch(peers, peers->batch % 16 == 3 ? SOAK_CROWD : SOAK_BATCH);
    }
    peers->batch++;
}
