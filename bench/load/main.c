/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-load CASE HOST PORT [OPTION...]: loads a server of the benchmark, checks what comes back,
 * and prints one line of JSON for each run.
 *
 * With --control it reads lines from stdin, "run SECONDS" and "quit", so that whoever measures can
 * interleave many short runs of several servers while the connections stay open. A run is over when
 * its deadline has passed and the last answer has come; messages counts all of them, and seconds is
 * the time that they took, last answer included.
 *
 * What can go wrong with a connection is counted, told, and makes the exit status 1 (net.c). A
 * server that does not answer is given ten seconds after the deadline. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#define EVENTS_MAX 512
#define GRACE_NS   10000000000ULL

static const struct load_case *const cases[] = {&load_echo, &load_churn,  &load_frames,
                                                &load_sink, &load_source, &load_broadcast};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static uint64_t deadline_ns;

void load_die(const char *what, int error)
{
    fprintf(stderr, "bench-load: %s: %s\n", what, strerror(error));
    exit(1);
}

void *load_need(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        load_die("memory", ENOMEM);
    }
    return memory;
}

uint64_t load_clock(struct load *load)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    load->now_ns = (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
    if (load->now_ns >= deadline_ns) {
        load->over = true;
    }
    return load->now_ns;
}

static void fail_busy(struct load *load)
{
    for (uint32_t i = 0; i < load->conns_count; i++) {
        if (load->conns[i].busy) {
            load_fail(load, &load->conns[i], "no answer within 10 s", 0);
        }
    }
}

static void turn(struct load *load)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(load->epoll, events, EVENTS_MAX, 20);
    if (count < 0 && errno != EINTR) {
        load_die("epoll_wait", errno);
    }
    for (int i = 0; i < count; i++) {
        struct load_conn *conn = events[i].data.ptr;
        load->kind->event(load, conn, events[i].events);
    }
    if (count == 0 && load_clock(load) >= deadline_ns + GRACE_NS) {
        fail_busy(load);
    }
}

static uint64_t used_us(struct timeval before, struct timeval after)
{
    return (uint64_t)((after.tv_sec - before.tv_sec) * 1000000L + after.tv_usec - before.tv_usec);
}

static double us_at(const struct load *load, double share)
{
    return (double)load_hist_at(&load->hist, share) / 1000.0;
}

static void print_run(const struct load *load, double seconds, uint64_t user_us, uint64_t sys_us)
{
    printf("{\"case\": \"%s\", \"conns\": %u, \"size\": %zu, \"pipeline\": %u, "
           "\"messages\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"rate\": %.1f, ",
           load->kind->name, load->kind->persistent ? load->alive : load->conns_count, load->size,
           load->pipeline, (unsigned long long)load->messages, (unsigned long long)load->bytes,
           seconds, (double)load->messages / seconds);
    printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f, ",
           us_at(load, 0.5), us_at(load, 0.99), us_at(load, 0.999), us_at(load, 1.0));
    printf("\"cpu_us\": %llu, \"cpu_user_us\": %llu, \"cpu_sys_us\": %llu, ",
           (unsigned long long)(user_us + sys_us), (unsigned long long)user_us,
           (unsigned long long)sys_us);
    printf("\"errors\": %llu, \"error\": \"%s\"}\n", (unsigned long long)load->errors, load->error);
    (void)fflush(stdout);
}

static void run(struct load *load, double seconds, bool print)
{
    struct rusage before;
    struct rusage after;
    load->messages = load->bytes = 0;
    if (load->kind->persistent && load->alive < load->conns_count && load->errors == 0) {
        load->errors = load->conns_count - load->alive;
        (void)snprintf(load->error, sizeof(load->error), "%llu connections were lost before",
                       (unsigned long long)load->errors);
    }
    load_hist_reset(&load->hist);
    (void)getrusage(RUSAGE_SELF, &before);
    load->over = false;
    deadline_ns = UINT64_MAX;
    uint64_t begin_ns = load_clock(load);
    deadline_ns = begin_ns + (uint64_t)(seconds * 1e9);
    for (uint32_t i = 0; i < load->conns_count; i++) {
        if (!load->kind->persistent || load->conns[i].fd >= 0) {
            load->kind->start(load, &load->conns[i]);
        }
    }
    while (load->busy > 0) {
        turn(load);
    }
    double took = (double)(load_clock(load) - begin_ns) / 1e9;
    (void)getrusage(RUSAGE_SELF, &after);
    if (print) {
        print_run(load, took, used_us(before.ru_utime, after.ru_utime),
                  used_us(before.ru_stime, after.ru_stime));
        load->errors = 0;
        load->error[0] = '\0';
    }
}

static void obey(struct load *load)
{
    char line[128];
    double seconds;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (sscanf(line, "run %lf", &seconds) == 1 && seconds > 0) {
            run(load, seconds, true);
        } else if (strcmp(line, "quit\n") == 0) {
            return;
        } else {
            fprintf(stderr, "bench-load: \"run SECONDS\" or \"quit\", not %s", line);
        }
    }
}

static void usage(void)
{
    fputs("usage: bench-load echo|churn|frames|sink|source|broadcast HOST PORT [OPTION...]\n"
          "  --conns N       connections, or those open at a time (default 1)\n"
          "  --size BYTES    of a message; of a frame without its prefix (default 64)\n"
          "  --pipeline K    frames, broadcasts in flight; pieces asked for of a source\n"
          "  --seconds S     of a run (default 1)\n"
          "  --warmup S      a run before the first that is not printed (default none)\n"
          "  --slices N      so many runs, a line for each (default 1)\n"
          "  --control       runs as lines on stdin ask for: \"run SECONDS\", \"quit\"\n"
          "  --verify        compares every byte, not only both ends of what is read\n",
          stderr);
    exit(2);
}

static void parse_server(struct load *load, char **argv)
{
    const char *host = strcmp(argv[1], "localhost") == 0 ? "127.0.0.1" : argv[1];
    int port = atoi(argv[2]);
    for (size_t i = 0; i < CASES; i++) {
        if (strcmp(argv[0], cases[i]->name) == 0) {
            load->kind = cases[i];
        }
    }
    load->server.sin_family = AF_INET;
    load->server.sin_port = htons((uint16_t)port);
    if (load->kind == NULL || port < 1 || port > 65535 ||
        inet_pton(AF_INET, host, &load->server.sin_addr) != 1) {
        usage();
    }
}

static void parse(struct load *load, int argc, char **argv)
{
    static const struct option options[] = {{"conns", required_argument, NULL, 'c'},
                                            {"size", required_argument, NULL, 's'},
                                            {"pipeline", required_argument, NULL, 'p'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"warmup", required_argument, NULL, 'w'},
                                            {"slices", required_argument, NULL, 'n'},
                                            {"control", no_argument, NULL, 'C'},
                                            {"verify", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    int letter;
    while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (letter) {
        case 'c':
            load->conns_count = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 's':
            load->size = strtoul(optarg, NULL, 10);
            break;
        case 'p':
            load->pipeline = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            load->seconds = atof(optarg);
            break;
        case 'w':
            load->warmup = atof(optarg);
            break;
        case 'n':
            load->slices = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'C':
            load->control = true;
            break;
        case 'v':
            load->verify = true;
            break;
        default:
            usage();
        }
    }
    if (argc - optind != 3 || load->conns_count == 0 || load->seconds <= 0) {
        usage();
    }
    parse_server(load, argv + optind);
    load->size = load->size != 0 ? load->size : load->kind->size_default;
    load->pipeline = load->pipeline != 0 ? load->pipeline : load->kind->pipeline_default;
}

static void prepare(struct load *load)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    deadline_ns = UINT64_MAX;
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0) {
        load_die("epoll_create1", errno);
    }
    load->scratch = load_need(LOAD_SCRATCH_BYTES);
    load->conns = load_need(load->conns_count * sizeof(struct load_conn));
    for (uint32_t i = 0; i < load->conns_count; i++) {
        load->conns[i].fd = -1;
        load->conns[i].index = i;
    }
    if (load->kind->prepare != NULL) {
        load->kind->prepare(load);
    }
    if (load->kind->persistent) {
        load_open_all(load);
    }
}

int main(int argc, char **argv)
{
    static struct load load = {.conns_count = 1, .seconds = 1, .slices = 1};
    parse(&load, argc, argv);
    prepare(&load);
    if (load.warmup > 0) {
        run(&load, load.warmup, false);
    }
    if (load.control) {
        obey(&load);
    } else {
        for (unsigned i = 0; i < load.slices; i++) {
            run(&load, load.seconds, true);
        }
    }
    return load.errors_all > 0;
}
