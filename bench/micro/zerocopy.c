/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether sending without a copy pays: the same piece of memory is sent again and again over a
 * connection on loopback, by
 *
 *   send                    one system call a piece
 *   MSG_ZEROCOPY            the same with the flag; notices are read from the error queue
 *   io_uring send           one request, one io_uring_enter a piece
 *   io_uring SEND_ZC        the same; notices come as completions
 *   ... registered          with the piece registered, so that its pages need not be looked up
 *
 * Memory that is with the kernel must be left alone until the notice about it. So at most 4 MiB
 * are, or 16 pieces if that is more; an engine would hold a reference to each, and count them to
 * its connection's output. The receiver is a process that reads 256 KiB at a time. What counts is
 * CPU time, the sender's and both together, as on loopback the kernel may do the sender's work in
 * the receiver's name. For each way the share of the notices is told that say that the kernel has
 * copied after all. Lines for people; of the sizes 64 KiB and 1 MiB figures, too. */
#include "../servers/bench.h"
#include "micro.h"

#include <liburing.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <sys/wait.h>

/* Of Linux 6.2; the headers may be older. */
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE  (1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

enum { WAYS = 5, PIECE_MAX = 4 << 20, WINDOW = 4 << 20, PIECES_MIN = 16 };
enum way { SEND, ZEROCOPY, RING_SEND, RING_ZC, RING_ZC_FIXED };

static const char *const titles[WAYS] = {"send", "MSG_ZEROCOPY", "io_uring send",
                                         "io_uring SEND_ZC", "io_uring SEND_ZC registered"};

struct notices {
    uint64_t wanted; /* pieces for which one will come */
    uint64_t came;
    uint64_t copied; /* of those: said that there was a copy */
};

static char *piece;
static struct io_uring ring;

/* Takes what notices there are; false if there were none. */
static bool take_errors(int fd, struct notices *notices)
{
    char control[128];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof(control)};
    struct sock_extended_err error;
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
        if (errno != EAGAIN) {
            micro_die("recvmsg");
        }
        return false;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL) {
        errno = EPROTO;
        micro_die("error queue");
    }
    memcpy(&error, CMSG_DATA(header), sizeof(error));
    if (error.ee_errno != 0 || error.ee_origin != SO_EE_ORIGIN_ZEROCOPY) {
        errno = EPROTO;
        micro_die("error queue");
    }
    uint64_t count = (uint64_t)(error.ee_data - error.ee_info) + 1;
    notices->came += count;
    notices->copied += (error.ee_code & SO_EE_CODE_ZEROCOPY_COPIED) != 0 ? count : 0;
    return true;
}

static void wait_errors(int fd, struct notices *notices, uint64_t most)
{
    while (take_errors(fd, notices)) {
    }
    while (notices->wanted - notices->came > most) {
        struct pollfd poller = {.fd = fd};
        if (poll(&poller, 1, 10000) <= 0) {
            micro_die("poll");
        }
        while (take_errors(fd, notices)) {
        }
    }
}

static uint64_t pieces_with_kernel(size_t size)
{
    return WINDOW / size > PIECES_MIN ? WINDOW / size : PIECES_MIN;
}

static void send_piece(int fd, size_t size, int flags, struct notices *notices)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(fd, piece + sent, size - sent, flags | MSG_NOSIGNAL);
        if (n < 0 && errno == ENOBUFS && notices->wanted > notices->came) {
            wait_errors(fd, notices, notices->wanted - notices->came - 1);
            continue;
        }
        if (n < 0) {
            micro_die("send");
        }
        sent += (size_t)n;
        notices->wanted += flags != 0;
    }
    if (flags != 0) {
        wait_errors(fd, notices, pieces_with_kernel(size) - 1);
    }
}

/* Takes one completion; how much was sent, or -1: it was a notice. */
static ssize_t take_completion(struct notices *notices)
{
    struct io_uring_cqe *cqe;
    ssize_t result = -1;
    errno = -io_uring_wait_cqe(&ring, &cqe);
    if (errno != 0) {
        micro_die("io_uring_wait_cqe");
    }
    if ((cqe->flags & IORING_CQE_F_NOTIF) != 0) {
        notices->came++;
        notices->copied += ((unsigned)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED) != 0;
    } else {
        errno = cqe->res < 0 ? -cqe->res : 0;
        if (errno != 0) {
            micro_die("io_uring send");
        }
        result = cqe->res;
        notices->wanted += (cqe->flags & IORING_CQE_F_MORE) != 0;
    }
    io_uring_cqe_seen(&ring, cqe);
    return result;
}

static void ring_piece(int fd, size_t size, enum way way, struct notices *notices)
{
    for (size_t sent = 0; sent < size;) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        ssize_t n = -1;
        if (way == RING_SEND) {
            io_uring_prep_send(sqe, fd, piece + sent, size - sent, MSG_WAITALL);
        } else if (way == RING_ZC) {
            io_uring_prep_send_zc(sqe, fd, piece + sent, size - sent, MSG_WAITALL,
                                  IORING_SEND_ZC_REPORT_USAGE);
        } else {
            io_uring_prep_send_zc_fixed(sqe, fd, piece + sent, size - sent, MSG_WAITALL,
                                        IORING_SEND_ZC_REPORT_USAGE, 0);
        }
        if (io_uring_submit_and_wait(&ring, 1) < 0) {
            micro_die("io_uring_submit_and_wait");
        }
        while (n < 0) {
            n = take_completion(notices);
        }
        sent += (size_t)n;
    }
    while (notices->wanted - notices->came >= pieces_with_kernel(size)) {
        take_completion(notices);
    }
}

static void receive(int fd)
{
    static char buffer[BENCH_PIECE_BYTES];
    while (recv(fd, buffer, sizeof(buffer), 0) > 0) {
    }
    _exit(0);
}

static int connect_to_receiver(pid_t *ret_child)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    int listener = bench_listen(0, false, BENCH_ECHO);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
        connect(fd, (const struct sockaddr *)&address, size) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) < 0) {
        micro_die("connect");
    }
    pid_t child = fork();
    if (child == 0) {
        int accepted = accept(listener, NULL, NULL);
        close(fd);
        receive(accepted);
    }
    if (child < 0) {
        micro_die("fork");
    }
    close(listener);
    *ret_child = child;
    return fd;
}

static double cpu_us(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e6 +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

static void drain_notices(int fd, enum way way, struct notices *notices)
{
    if (way == ZEROCOPY) {
        wait_errors(fd, notices, 0);
    }
    while (way >= RING_ZC && notices->came < notices->wanted) {
        take_completion(notices);
    }
}

struct cost {
    double sender_us, both_us, wall_us; /* a MiB */
    double copied;                      /* share */
};

static struct cost measure(enum way way, size_t size, size_t bytes)
{
    struct notices notices = {0};
    struct rusage usage;
    pid_t child;
    int fd = connect_to_receiver(&child);
    uint64_t cpu_ns = micro_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t began_ns = micro_now_ns();
    for (size_t sent = 0; sent < bytes; sent += size) {
        if (way == SEND || way == ZEROCOPY) {
            send_piece(fd, size, way == ZEROCOPY ? MSG_ZEROCOPY : 0, &notices);
        } else {
            ring_piece(fd, size, way, &notices);
        }
    }
    drain_notices(fd, way, &notices);
    cpu_ns = micro_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
    shutdown(fd, SHUT_WR);
    if (wait4(child, NULL, 0, &usage) < 0) {
        micro_die("wait4");
    }
    began_ns = micro_now_ns() - began_ns;
    close(fd);
    double mib = (double)bytes / (1 << 20);
    return (struct cost){
        .sender_us = (double)cpu_ns / 1000 / mib,
        .both_us = ((double)cpu_ns / 1000 + cpu_us(&usage)) / mib,
        .wall_us = (double)began_ns / 1000 / mib,
        .copied = notices.came > 0 ? (double)notices.copied / (double)notices.came : 0,
    };
}

enum { ROUNDS_MAX = 15 };

/* Of one way, round by round. */
struct rounds {
    double sender_us[ROUNDS_MAX], both_us[ROUNDS_MAX], wall_us[ROUNDS_MAX], ratio[ROUNDS_MAX];
    double copied;
};

static void print_way(enum way way, size_t size, struct rounds *of, size_t count)
{
    double both_us = micro_median(of->both_us, count);
    char figure[64];
    printf("%5zu KiB  %-28s %7.1f %7.1f %7.1f %7.2f %5.0f%%\n", size / 1024, titles[way],
           micro_median(of->sender_us, count), both_us, micro_median(of->wall_us, count),
           micro_median(of->ratio, count), of->copied * 100);
    if (size == 1 << 16 || size == 1 << 20) {
        (void)snprintf(figure, sizeof(figure), "%s, %zu KiB", titles[way], size / 1024);
        micro_emit(figure, "Linux", both_us, "us CPU a MiB", 0);
    }
}

/* The ways take turns, so that all see the same of what else the machine does. The first round
 * warms up and is thrown away. */
static void measure_size(size_t size, size_t ways)
{
    struct rounds rounds[WAYS] = {0};
    size_t count = micro_quick ? 1 : ROUNDS_MAX;
    for (size_t i = 0; i <= count; i++) {
        for (enum way way = SEND; way < ways; way++) {
            struct cost cost = measure(way, size, micro_quick ? 8 << 20 : 64 << 20);
            struct rounds *of = &rounds[way];
            size_t at = i > 0 ? i - 1 : 0;
            of->sender_us[at] = cost.sender_us;
            of->both_us[at] = cost.both_us;
            of->wall_us[at] = cost.wall_us;
            of->ratio[at] = cost.both_us / rounds[SEND].both_us[at];
            of->copied = cost.copied;
        }
    }
    for (enum way way = SEND; way < ways; way++) {
        print_way(way, size, &rounds[way], count);
    }
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    piece = aligned_alloc(4096, PIECE_MAX);
    if (piece == NULL || io_uring_queue_init(1024, &ring, 0) < 0) {
        micro_die("io_uring");
    }
    memset(piece, 'p', PIECE_MAX);
    struct iovec all = {.iov_base = piece, .iov_len = PIECE_MAX};
    size_t ways = io_uring_register_buffers(&ring, &all, 1) == 0 ? WAYS : RING_ZC_FIXED;
    printf(
        "us a MiB: CPU time of the sender, of both, on the clock; of both as a multiple of send's;"
        " notices that say copied\n");
    for (size_t size = 4096; size <= PIECE_MAX; size *= 4) {
        measure_size(size, ways);
    }
    return 0;
}
