/* SPDX-License-Identifier: BSD-2-Clause */
/* What the small programs of the benchmark share: a clock, chance that is the same each time, and
 * the line of JSON in which each figure is said. Compiles as C and as C++.
 *
 * A program measures one thing (timers, posts, idle connections) with one library. The measuring
 * itself is in a header (timers.h, posts.h, idle.h), which a program includes after it has defined
 * the few static functions that the header names; so all libraries do the same work, and no call
 * through a pointer stands between. With --quick as its only word a program takes a second or two.
 */
#ifndef MICRO_H
#define MICRO_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool micro_quick;

__attribute__((noreturn)) static inline void micro_die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static inline void micro_begin(int argc, char **argv)
{
    micro_quick = argc == 2 && strcmp(argv[1], "--quick") == 0;
    if (argc > 1 && !micro_quick) {
        fprintf(stderr, "usage: %s [--quick]\n", argv[0]);
        exit(2);
    }
    if (setvbuf(stdout, NULL, _IOLBF, BUFSIZ) != 0) {
        micro_die("setvbuf");
    }
}

static inline void *micro_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) {
        micro_die("calloc");
    }
    return memory;
}

static inline uint64_t micro_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) < 0) {
        micro_die("clock_gettime");
    }
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t micro_now_ns(void)
{
    return micro_ns(CLOCK_MONOTONIC);
}

static inline void micro_sleep_us(uint64_t us)
{
    struct timespec left;
    left.tv_sec = (time_t)(us / 1000000);
    left.tv_nsec = (long)(us % 1000000) * 1000;
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

/* xorshift64: the same numbers in each run and for each library. */
static inline uint64_t micro_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int micro_order(const void *one, const void *other)
{
    double a = *(const double *)one;
    double b = *(const double *)other;
    return (a > b) - (a < b);
}

/* Sorts them. */
static inline double micro_median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), micro_order);
    return values[count / 2];
}

/* A target of 0: there is none. All figures are costs: less is better. */
static inline void micro_emit(const char *figure, const char *of, double value, const char *unit,
                              double target)
{
    printf("{\"figure\": \"%s\", \"of\": \"%s\", \"value\": %.2f, \"unit\": \"%s\"", figure, of,
           value, unit);
    if (target > 0) {
        printf(", \"target\": %g", target);
    }
    puts("}");
}

#endif
