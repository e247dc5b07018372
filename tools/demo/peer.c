/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw peers: an interpreter of small scripts over epoll.
 *
 * Each thread of a group owns every n-th peer. It runs a peer's steps until one would block, asks
 * epoll for just what that step waits for, and goes on with the next peer. Steps that wait for a
 * time or for the gate are looked at every few milliseconds; their sockets are taken out of epoll
 * meanwhile, because EPOLLHUP cannot be declined and would turn the wait into a spin.
 *
 * Rules:
 *  1. A peer never gives up on an error of sending: it notes it, skips to the next step, and reads
 *     what there is to read. So what arrived before a reset is counted.
 *  2. Who once met a reset has met it for good: the kernel reports it once, and says "end of
 *     stream" or EPIPE ever after. The first report is kept.
 *  3. All that arrives is compared with the pattern of this peer's key; a wrong byte is counted,
 *     never skipped.
 *  4. One step gets a bounded share of a turn, so that hundreds of peers move side by side.
 *
 * One thread a peer would have read more simply, and would have measured the scheduler.
 */
#include "peer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>

#include "pattern.h"

enum {
    BLOCK_BYTES = 64 * 1024,
    BLOCKS_PER_TURN = 8,
    EVENTS_MAX = 128,
    LOOK_MS = 3 /* how often waits for a time or the gate are looked at */
};

struct peer_thread {
    struct peer_group *group;
    unsigned index;
    unsigned active;
    int epoll;
    pthread_t thread;
    bool running;
    unsigned char block[BLOCK_BYTES];
};

/* What a step came to. */
enum outcome { STEP_DONE, STEP_READS, STEP_WRITES, STEP_WAITS, STEP_AGAIN, SCRIPT_OVER };

uint64_t peer_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void note_end(struct peer *peer, enum peer_end end, int error)
{
    if (peer->end == PEER_OPEN) {
        peer->end = end;
        peer->error = error;
    }
}

static void note_error(struct peer *peer, int error)
{
    bool reset = error == ECONNRESET || error == EPIPE;

    note_end(peer, reset ? PEER_BROKEN : PEER_FAULT, error);
}

static int make_socket(const struct peer_group *group)
{
    int fd = socket(group->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -errno;
    }
    if (group->receive_buffer != 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &group->receive_buffer, sizeof(int));
    }
    return fd;
}

static enum outcome step_connect(struct peer_thread *thread, struct peer *peer)
{
    struct peer_group *group = thread->group;

    if (!peer->entered) {
        if (peer->fd < 0) {
            peer->fd = make_socket(group);
        }
        if (peer->fd < 0) {
            note_end(peer, PEER_FAULT, -peer->fd);
            peer->fd = -1;
            return SCRIPT_OVER;
        }
        peer->entered = true;
    }
    if (connect(peer->fd, (const struct sockaddr *)&group->to, group->to_size) == 0 ||
        errno == EISCONN) {
        return STEP_DONE;
    }
    if (errno == EINPROGRESS || errno == EALREADY) {
        return STEP_WRITES;
    }
    if (errno == EAGAIN) {
        return STEP_WAITS; /* a unix listener's queue is full: there is no event to wait for */
    }
    note_end(peer, PEER_REFUSED, errno);
    return SCRIPT_OVER;
}

static enum outcome write_some(struct peer *peer, const void *data, size_t size, uint64_t *done)
{
    ssize_t n = send(peer->fd, data, size, MSG_NOSIGNAL);

    if (n >= 0) {
        *done += (uint64_t)n;
        return STEP_AGAIN;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return STEP_WRITES;
    }
    note_error(peer, errno);
    return STEP_DONE;
}

static enum outcome step_request(struct peer *peer)
{
    const struct peer_request request = {PEER_MAGIC, peer->key, peer->step->bytes};
    const char *from = (const char *)&request + peer->step_bytes;
    enum outcome outcome =
        write_some(peer, from, sizeof(request) - peer->step_bytes, &peer->step_bytes);

    return peer->step_bytes == sizeof(request) ? STEP_DONE : outcome;
}

static enum outcome step_send(struct peer_thread *thread, struct peer *peer)
{
    for (int i = 0; i < BLOCKS_PER_TURN; i++) {
        uint64_t left = peer->step->bytes - peer->step_bytes;
        size_t size = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
        uint64_t before = peer->step_bytes;
        if (size == 0) {
            return STEP_DONE;
        }
        pattern_fill(pattern_from_peer(peer->key), peer->sent, thread->block, size);
        enum outcome outcome = write_some(peer, thread->block, size, &peer->step_bytes);
        peer->sent += peer->step_bytes - before;
        if (outcome != STEP_AGAIN) {
            return outcome;
        }
    }
    return STEP_WRITES;
}

static enum outcome step_send_slowly(struct peer_thread *thread, struct peer *peer)
{
    uint64_t now_ms = peer_now_ms();
    uint64_t before = peer->step_bytes;

    if (now_ms < peer->due_ms) {
        return STEP_WAITS;
    }
    peer->due_ms = now_ms + peer->step->ms;
    pattern_fill(pattern_from_peer(peer->key), peer->sent, thread->block, 1);
    enum outcome outcome = write_some(peer, thread->block, 1, &peer->step_bytes);
    peer->sent += peer->step_bytes - before;
    if (outcome == STEP_DONE || peer->step_bytes == peer->step->bytes) {
        return STEP_DONE;
    }
    return STEP_WAITS;
}

/* Reads at most size bytes. STEP_AGAIN: some came. STEP_DONE: the stream has ended. */
static enum outcome read_some(struct peer_thread *thread, struct peer *peer, size_t size)
{
    size = size < BLOCK_BYTES ? size : BLOCK_BYTES;
    ssize_t n = recv(peer->fd, thread->block, size, 0);
    if (n > 0) {
        size_t right =
            pattern_check(pattern_to_peer(peer->key), peer->arrived, thread->block, (size_t)n);
        peer->wrong += (size_t)n - right;
        peer->arrived += (uint64_t)n;
        return STEP_AGAIN;
    }
    if (n == 0) {
        note_end(peer, PEER_EOF, 0);
        return STEP_DONE;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return STEP_READS;
    }
    note_error(peer, errno);
    return STEP_DONE;
}

static enum outcome step_read(struct peer_thread *thread, struct peer *peer, uint64_t until)
{
    for (int i = 0; i < BLOCKS_PER_TURN; i++) {
        if (peer->arrived >= until) {
            return STEP_DONE;
        }
        uint64_t left = until - peer->arrived;
        size_t size = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
        enum outcome outcome = read_some(thread, peer, size);
        if (outcome != STEP_AGAIN) {
            return outcome;
        }
    }
    return STEP_READS;
}

static enum outcome step_read_slowly(struct peer_thread *thread, struct peer *peer)
{
    uint64_t now_ms = peer_now_ms();

    if (now_ms < peer->due_ms) {
        return STEP_WAITS;
    }
    peer->due_ms = now_ms + peer->step->ms;
    enum outcome outcome = read_some(thread, peer, (size_t)peer->step->bytes);
    return outcome == STEP_DONE ? STEP_DONE : STEP_WAITS;
}

static enum outcome step_sleep(struct peer *peer)
{
    if (!peer->entered) {
        peer->entered = true;
        peer->due_ms = peer_now_ms() + peer->step->ms;
    }
    return peer_now_ms() >= peer->due_ms ? STEP_DONE : STEP_WAITS;
}

static void close_socket(struct peer *peer, bool reset)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (peer->fd < 0) {
        return;
    }
    if (reset) {
        setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    close(peer->fd); /* leaves epoll by that: there is no other descriptor for it */
    peer->fd = -1;
    peer->events = 0;
}

static enum outcome run_step(struct peer_thread *thread, struct peer *peer)
{
    switch (peer->step->what) {
    case PEER_DONE:
        return SCRIPT_OVER;
    case PEER_CONNECT:
        return step_connect(thread, peer);
    case PEER_REQUEST:
        return step_request(peer);
    case PEER_SEND:
        return step_send(thread, peer);
    case PEER_SEND_SLOWLY:
        return step_send_slowly(thread, peer);
    case PEER_READ:
        return step_read(thread, peer, peer->step->bytes);
    case PEER_READ_ALL:
        return step_read(thread, peer, UINT64_MAX);
    case PEER_READ_SLOWLY:
        return step_read_slowly(thread, peer);
    case PEER_SHUTDOWN:
        if (shutdown(peer->fd, SHUT_WR) < 0) {
            /* ENOTCONN is how shutdown says that a reset has come */
            note_end(peer, errno == ENOTCONN ? PEER_BROKEN : PEER_FAULT, errno);
        }
        return STEP_DONE;
    case PEER_RESET:
        close_socket(peer, true);
        return STEP_DONE;
    case PEER_CLOSE:
        close_socket(peer, false);
        return STEP_DONE;
    case PEER_SLEEP:
        return step_sleep(peer);
    case PEER_GATE:
        return atomic_load(&thread->group->gate) >= peer->step->bytes ? STEP_DONE : STEP_WAITS;
    }
    return SCRIPT_OVER;
}

static void ask_for(struct peer_thread *thread, struct peer *peer, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    int how = peer->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

    if (peer->fd >= 0 && events != peer->events) {
        if (epoll_ctl(thread->epoll, how, peer->fd, &event) < 0) {
            note_end(peer, PEER_FAULT, errno);
        }
        peer->events = events;
    }
}

static void run_peer(struct peer_thread *thread, struct peer *peer)
{
    enum outcome outcome = STEP_DONE;

    while ((outcome = run_step(thread, peer)) == STEP_DONE || outcome == STEP_AGAIN) {
        if (outcome == STEP_DONE) {
            peer->step++;
            peer->step_bytes = 0;
            peer->entered = false;
            peer->due_ms = 0;
        }
    }
    if (outcome == SCRIPT_OVER) {
        close_socket(peer, false);
        peer->step = NULL;
        thread->active--;
        atomic_fetch_add(&thread->group->finished, 1);
        return;
    }
    ask_for(thread, peer, outcome == STEP_READS ? EPOLLIN : outcome == STEP_WRITES ? EPOLLOUT : 0);
}

/* Starts peers as far as at_once_max allows, and looks at those that wait without an event. */
static void look_around(struct peer_thread *thread, unsigned threads)
{
    struct peer_group *group = thread->group;
    unsigned active_max = group->at_once_max / threads;

    for (unsigned i = thread->index; i < group->count; i += threads) {
        struct peer *peer = &group->peers[i];
        if (!peer->started) {
            if (group->at_once_max != 0 && thread->active > 0 && thread->active >= active_max) {
                return; /* those that come later have not started either */
            }
            peer->started = true;
            thread->active++;
            run_peer(thread, peer);
        } else if (peer->step != NULL && peer->events == 0) {
            run_peer(thread, peer);
        }
    }
}

static bool all_over(const struct peer_thread *thread, unsigned threads)
{
    const struct peer_group *group = thread->group;

    for (unsigned i = thread->index; i < group->count; i += threads) {
        if (!group->peers[i].started || group->peers[i].step != NULL) {
            return false;
        }
    }
    return true;
}

static void *run_thread(void *user)
{
    struct peer_thread *thread = user;
    struct peer_group *group = thread->group;
    struct epoll_event events[EVENTS_MAX];
    uint64_t looked_ms = 0;

    while (!atomic_load(&group->stop)) {
        if (peer_now_ms() >= looked_ms + LOOK_MS) {
            look_around(thread, group->threads);
            looked_ms = peer_now_ms();
            if (all_over(thread, group->threads)) {
                break;
            }
        }
        int n = epoll_wait(thread->epoll, events, EVENTS_MAX, LOOK_MS);
        for (int i = 0; i < n; i++) {
            run_peer(thread, events[i].data.ptr);
        }
    }
    return NULL;
}

static int start_thread(struct peer_group *group, unsigned index)
{
    struct peer_thread *thread = &group->workers[index];
    sigset_t all;
    sigset_t before;

    thread->group = group;
    thread->index = index;
    thread->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (thread->epoll < 0) {
        return -errno;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->thread, NULL, run_thread, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    thread->running = error == 0;
    return -error;
}

int peer_group_start(struct peer_group *group)
{
    group->threads = group->threads == 0 ? 2 : group->threads;
    group->peers = calloc(group->count, sizeof(*group->peers));
    group->workers = calloc(group->threads, sizeof(*group->workers));
    if (group->peers == NULL || group->workers == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < group->threads; i++) {
        group->workers[i].epoll = -1;
    }
    for (unsigned i = 0; i < group->count; i++) {
        struct peer *peer = &group->peers[i];
        peer->key = group->key_first + i;
        peer->step = group->steps_for != NULL ? group->steps_for(peer->key) : group->steps;
        peer->fd = -1;
        if (group->sockets_first && (peer->fd = make_socket(group)) < 0) {
            return peer->fd;
        }
    }
    for (unsigned i = 0; i < group->threads; i++) {
        int error = start_thread(group, i);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

void peer_group_join(struct peer_group *group)
{
    for (unsigned i = 0; group->workers != NULL && i < group->threads; i++) {
        if (group->workers[i].running) {
            pthread_join(group->workers[i].thread, NULL);
            group->workers[i].running = false;
        }
        if (group->workers[i].epoll >= 0) {
            close(group->workers[i].epoll);
            group->workers[i].epoll = -1;
        }
    }
    for (unsigned i = 0; group->peers != NULL && i < group->count; i++) {
        close_socket(&group->peers[i], false);
    }
}

void peer_group_free(struct peer_group *group)
{
    free(group->peers);
    free(group->workers);
    group->peers = NULL;
    group->workers = NULL;
}

int peer_listen(int backlog, struct sockaddr_storage *ret_address, socklen_t *ret_size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, size) < 0 ||
        listen(fd, backlog) < 0 || getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return -error;
    }
    memcpy(ret_address, &address, size);
    *ret_size = size;
    return fd;
}
