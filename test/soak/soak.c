/* SPDX-License-Identifier: BSD-2-Clause */
/* Would break if anything were left behind by a connection: a million of them (soak.sh) or twenty
 * thousand (every `make test`) open, end in every way there is, and leave nothing.
 *
 *     soak [CONNECTIONS]
 *
 * Prints what it has measured, as comments of TAP, and a line for each of these:
 *
 *  1. fds: at rest as many as before the first connection; at the end as many as before the server.
 *  2. memory: what is resident grows by less than RSS_GROWTH_KIB after the first tenth, or past
 *     what the library has allocated (an engine's buffers become resident when first written to).
 *     The ledger of the library's own allocations is exact: the same at the end of all as before
 *     it, and at rest within bounds, as some things are kept for reuse.
 *  3. counts: on_open as often as on_close, on either side; and what was accepted is what was
 *     opened or refused, and is what the kernel let connect.
 *  4. bytes: every answer was right, and the only ones that did not come are those of connections
 *     that were refused. Every close record adds up.
 *
 * The kernel's count is what connect(2) said to the clients. Where a network namespace of the
 * process's own can be had, it is besides the kernel's own counter of connections accepted
 * (PassiveOpens), and the ports in TIME_WAIT trouble nobody else. */
#include "soak/soak.h"

#include "sys/sys.h"

#include <dirent.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS = 20 * 1000,
    RSS_GROWTH_KIB = 4 * 1024,
    LIVE_GROWTH = 200, /* allocations */
    LIVE_GROWTH_BYTES = 1024 * 1024,
    BUFFERS_GROWTH_BYTES = 24 * 1024 * 1024, /* io_uring: a loop that was held up adds 4 MiB */
    REST_S = 30,
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RSS_TELLS = 0 }; /* a sanitizer keeps memory that was freed, and shadows what is used */
#else
enum { RSS_TELLS = 1 };
#endif

struct rest {
    unsigned fds;
    unsigned long rss_kib;
    uint64_t allocations, bytes;
};

struct soak {
    unsigned long connections;
    bool alone; /* in a network namespace of its own */
    struct soak_server server;
    struct soak_peers peers;
    struct rest begin, tenth, end;
    double seconds;
};

static int cases, failures;

void soak_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("Bail out! ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    _exit(1);
}

static void check(bool good, const char *what)
{
    cases++;
    failures += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", cases, what);
}

/* ---- what the system says */

unsigned soak_open_fds(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (!folder) {
        soak_die("/proc/self/fd cannot be read");
    }
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count - 3; /* ".", ".." and the folder's own */
}

static unsigned long rss_kib(void)
{
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%lu %lu", &all, &resident) != 2) {
        soak_die("/proc/self/statm cannot be read");
    }
    fclose(file);
    return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

/* PassiveOpens: the sixth number of the second line that begins with "Tcp:". */
static unsigned long passive_opens(void)
{
    char line[1024];
    unsigned long value = 0;
    FILE *file = fopen("/proc/self/net/snmp", "re");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "Tcp: %*d %*d %*d %*d %*u %lu", &value);
    }
    if (file) {
        fclose(file);
    }
    return value;
}

/* While the process has one thread. */
static bool be_alone(void)
{
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback) < 0) {
        soak_die("the loopback of a network namespace could not be brought up");
    }
    close(fd);
    return true;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct rest look(void)
{
    struct rest rest = {.fds = soak_open_fds(), .rss_kib = rss_kib()};
    sys_ledger(&rest.allocations, &rest.bytes);
    return rest;
}

/* ---- the clients' thread */

/* Waits until all that was connected has been accepted and has ended, and its fds are closed (which
 * is after on_close). If that does not come about, the checks at the end say what is missing. */
static struct rest come_to_rest(const struct soak *soak)
{
    const struct timespec moment = {.tv_nsec = 1000 * 1000};
    struct peal_server_stats stats;
    for (int i = 0; i < REST_S * 1000; i++) {
        peal_server_get_stats(soak->server.server, &stats);
        if (stats.accepted == soak->peers.connected &&
            stats.opened + stats.refused == stats.accepted && stats.closed == stats.opened &&
            soak_open_fds() == soak->begin.fds) {
            break;
        }
        nanosleep(&moment, NULL);
    }
    return look();
}

static void *run(void *user)
{
    struct soak *soak = user;
    struct soak_peers *peers = &soak->peers;
    bool tenth = false;
    peers->server = &soak->server;
    if (peal_loop_new(&(struct peal_loop_options){.name = "clients"}, &peers->loop) < 0) {
        soak_die("the clients' loop could not be made");
    }
    soak->begin = look();
    double start = now_s();
    while (peers->next < soak->connections) {
        soak_batch(peers);
        if (!tenth && peers->next >= soak->connections / 10) {
            tenth = true;
            soak->tenth = come_to_rest(soak);
        }
    }
    soak->seconds = now_s() - start;
    soak->end = come_to_rest(soak);
    peers->loop = peal_loop_free(peers->loop);
    peal_server_stop(soak->server.server, REST_S * 1000);
    return NULL;
}

/* ---- the verdict */

static void print_figures(const struct soak *soak, const struct peal_server_stats *stats)
{
    printf("# %lu connections in %.1f s: %.0f a second, %s%s\n", soak->peers.connected,
           soak->seconds, (double)soak->peers.connected / soak->seconds,
           peal_loop_engine(peal_pool_loop(soak->server.pool, 0)),
           soak->alone ? ", in a network namespace of its own" : "");
    printf("# fds: %u before, %u at most, %u after\n", soak->begin.fds, soak->peers.fds_peak,
           soak->end.fds);
    printf("# resident: %lu KiB at 10%%, %lu KiB at 100%%, growth %ld KiB\n", soak->tenth.rss_kib,
           soak->end.rss_kib, (long)soak->end.rss_kib - (long)soak->tenth.rss_kib);
    printf("# live allocations of the library: %llu (%llu bytes) at 10%%, %llu (%llu) at 100%%\n",
           (unsigned long long)soak->tenth.allocations, (unsigned long long)soak->tenth.bytes,
           (unsigned long long)soak->end.allocations, (unsigned long long)soak->end.bytes);
    printf("# accepted %llu, opened %llu, closed %llu, refused %llu\n",
           (unsigned long long)stats->accepted, (unsigned long long)stats->opened,
           (unsigned long long)stats->closed, (unsigned long long)stats->refused);
    for (int i = 0; i < PEAL_CAUSE_COUNT; i++) {
        if (stats->closed_by_cause[i]) {
            printf("# %10llu %s\n", (unsigned long long)stats->closed_by_cause[i],
                   peal_cause_text((enum peal_cause)i));
        }
    }
}

static void judge(const struct soak *soak, const struct peal_server_stats *stats)
{
    const struct soak_server *server = &soak->server;
    const struct soak_peers *peers = &soak->peers;
    check(peers->fds_peak > soak->begin.fds && soak->tenth.fds == soak->begin.fds &&
              soak->end.fds == soak->begin.fds,
          "at rest as many fds as before the first connection");
    unsigned long live_kib = (unsigned long)(soak->end.bytes / 1024);
    unsigned long expected_kib = soak->tenth.rss_kib > live_kib ? soak->tenth.rss_kib : live_kib;
    check(!RSS_TELLS || soak->end.rss_kib <= expected_kib + RSS_GROWTH_KIB,
          "resident memory does not grow with the connections");
    const char *engine = peal_loop_engine(peal_pool_loop(server->pool, 0));
    uint64_t growth = LIVE_GROWTH_BYTES + (strcmp(engine, "epoll") ? BUFFERS_GROWTH_BYTES : 0);
    check(soak->end.bytes <= soak->tenth.bytes + growth &&
              soak->end.allocations <= soak->tenth.allocations + LIVE_GROWTH,
          "the library's memory does not grow with the connections");
    check(server->opened == server->closed, "on_open and on_close are called equally often");
    check(server->opened == stats->opened && server->closed == stats->closed,
          "they are called as often as the statistics say");
    check(stats->accepted == stats->opened + stats->refused && stats->refused > 0,
          "what was accepted was opened, or refused at the limit");
    check(stats->accepted == peers->connected && peers->connected >= soak->connections,
          "every connection that the kernel made was accepted");
    check(!soak->alone || passive_opens() == peers->over_tcp,
          "the kernel has counted as many over TCP");
    check(peers->client_failed == 0 && peers->client_opened > 0 &&
              peers->client_opened == peers->client_closed,
          "a client's connection opens once and closes once");
    check(peers->wrong == 0, "every answer is what was sent");
    check(peers->unanswered <= stats->refused, "only the refused were not answered");
    check(server->bad_records == 0, "the bytes of every close record add up");
}

int main(int argc, char **argv)
{
    static struct soak soak;
    struct peal_loop *home;
    struct peal_server_stats stats;
    pthread_t clients;
    soak.connections = argc > 1 ? strtoul(argv[1], NULL, 10) : CONNECTIONS;
    if (argc > 2 || soak.connections < 10 * SOAK_BATCH) {
        fprintf(stderr, "usage: soak [CONNECTIONS]  (1,000 or more; without it %d)\n", CONNECTIONS);
        return 2;
    }
    soak.alone = be_alone();
    const struct rest before = look();
    if (peal_loop_new(NULL, &home) < 0) {
        soak_die("the home loop could not be made");
    }
    soak_serve(&soak.server, home);
    if (pthread_create(&clients, NULL, run, &soak) != 0) {
        soak_die("no thread for the clients");
    }
    peal_loop_run(home);
    pthread_join(clients, NULL);
    peal_server_get_stats(soak.server.server, &stats);
    print_figures(&soak, &stats);
    judge(&soak, &stats);
    soak_serve_end(&soak.server);
    home = peal_loop_free(home);
    const struct rest after = look();
    check(after.fds == before.fds, "in the end as many fds as before the server");
    check(after.allocations == before.allocations && after.bytes == before.bytes,
          "in the end nothing is allocated that was not before");
    printf("1..%d\n", cases);
    return failures > 0;
}
