/* SPDX-License-Identifier: BSD-2-Clause */
/* What an accepted connection costs in memory while nothing happens on it and a read is armed.
 * Included by a program that has defined, for its library:
 *
 *   idle_of, IDLE_TARGET(bytes)   its title; bytes if it is ours, else 0
 *   uint16_t idle_open(void)      a loop and a server on 127.0.0.1; its port
 *   idle_turn()                   one turn, waiting for events, but not without limit
 *
 * and that counts in idle_accepted. A child process connects: first a hundred, which pay for what
 * is there once, then 10,000 more (2000 with --quick). What malloc has given out then and before,
 * with its own overhead, over 10,000 is the figure; the growth of the resident set is the other,
 * which also sees memory from mmap and what the allocator keeps. Memory in the kernel is in
 * neither. */
#ifndef IDLE_H
#define IDLE_H

#include "../servers/bench.h"
#include "micro.h"

#include <malloc.h>
#include <sys/wait.h>

enum { IDLE_FIRST = 100 };

static uint16_t idle_open(void);
static void idle_turn(void);

static void idle_connect_one(uint16_t port)
{
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        micro_die("connect");
    }
}

/* The child: as many connections as it is told to make, again and again. They end with it. */
static void idle_connect(uint16_t port, int orders)
{
    uint32_t count;
    while (read(orders, &count, sizeof(count)) == (ssize_t)sizeof(count)) {
        while (count-- > 0) {
            idle_connect_one(port);
        }
    }
    _exit(0);
}

static void idle_accept(int orders, uint32_t count)
{
    uint64_t wanted = idle_accepted + count;
    if (write(orders, &count, sizeof(count)) != (ssize_t)sizeof(count)) {
        micro_die("write");
    }
    while (idle_accepted < wanted) {
        idle_turn();
    }
    for (int i = 0; i < 3; i++) { /* what is armed at the end of a turn, or in the next */
        idle_turn();
    }
}

static double idle_allocated(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd);
}

static double idle_resident(void)
{
    unsigned long all;
    unsigned long resident;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%lu %lu", &all, &resident) != 2) {
        micro_die("/proc/self/statm");
    }
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void idle_run(void)
{
    uint32_t count = micro_quick ? 2000 : 10000;
    double allocated;
    double resident;
    struct rlimit files;
    int orders[2];
    pid_t child;
    uint16_t port;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0) {
        micro_die("getrlimit");
    }
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || pipe(orders) < 0) {
        micro_die("setrlimit");
    }
    port = idle_open();
    child = fork();
    if (child == 0) {
        close(orders[1]);
        idle_connect(port, orders[0]);
    }
    if (child < 0) {
        micro_die("fork");
    }
    close(orders[0]);
    idle_accept(orders[1], IDLE_FIRST);
    allocated = idle_allocated();
    resident = idle_resident();
    idle_accept(orders[1], count);
    allocated = idle_allocated() - allocated;
    resident = idle_resident() - resident;
    micro_emit("idle connection, allocated", idle_of, allocated / count, "bytes", IDLE_TARGET(256));
    micro_emit("idle connection, resident", idle_of, resident / count, "bytes", 0);
    close(orders[1]);
    if (waitpid(child, NULL, 0) < 0) {
        micro_die("waitpid");
    }
}

#endif
