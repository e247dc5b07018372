/* SPDX-License-Identifier: BSD-2-Clause */
/* The measuring of posts.h, included when the library's functions are defined. */
#ifndef POSTS_RUN_H
#define POSTS_RUN_H

#include "posts.h"

enum { POSTS_LATENCIES = 4000, POSTS_ROUNDS = 7, POSTS_PRODUCERS = 4 };

static pthread_barrier_t posts_start;
static uint64_t posts_each;
static uint64_t posts_began_ns;        /* set by whom the barrier chose */
static uint64_t posts_producer_cpu_ns; /* of one producer */
static double posts_latencies[POSTS_LATENCIES];

static pthread_t posts_thread(void *(*fn)(void *))
{
    pthread_t thread;
    errno = pthread_create(&thread, NULL, fn, NULL);
    if (errno != 0) {
        micro_die("pthread_create");
    }
    return thread;
}

static void *posts_slowly(void *unused)
{
    for (uint64_t i = 0; i < posts_wanted; i++) {
        uint64_t before;
        micro_sleep_us(100);
        before = micro_now_ns();
        posts_one();
        while (__atomic_load_n(&posts_count, __ATOMIC_ACQUIRE) == i) {
            sched_yield();
        }
        posts_latencies[i] = (double)(posts_ran_ns - before);
    }
    return unused;
}

static double posts_latency_ns(void)
{
    pthread_t thread;
    posts_timed = true;
    posts_count = 0;
    posts_wanted = micro_quick ? POSTS_LATENCIES / 10 : POSTS_LATENCIES;
    thread = posts_thread(posts_slowly);
    posts_serve();
    pthread_join(thread, NULL);
    posts_timed = false;
    return micro_median(posts_latencies, posts_wanted);
}

static void *posts_fast(void *unused)
{
    uint64_t before;
    uint64_t now = 0;
    if (pthread_barrier_wait(&posts_start) == PTHREAD_BARRIER_SERIAL_THREAD) {
        now = micro_now_ns();
        __atomic_store_n(&posts_began_ns, now, __ATOMIC_RELEASE);
    }
    before = micro_ns(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t i = 0; i < posts_each; i++) {
        posts_one();
    }
    if (now != 0) {
        posts_producer_cpu_ns = micro_ns(CLOCK_THREAD_CPUTIME_ID) - before;
    }
    return unused;
}

/* A task each, for the time that a round takes, and for what it takes of a producer's. */
static double posts_cost_ns(unsigned producers, double *ret_producer_ns)
{
    double wall[POSTS_ROUNDS] = {0};
    double producer[POSTS_ROUNDS] = {0};
    unsigned rounds = micro_quick ? 3 : POSTS_ROUNDS;
    posts_wanted = micro_quick ? 100000 : 1000000;
    posts_each = posts_wanted / producers;
    for (unsigned round = 0; round < rounds; round++) {
        pthread_t threads[POSTS_PRODUCERS];
        posts_count = 0;
        errno = pthread_barrier_init(&posts_start, NULL, producers);
        if (errno != 0) {
            micro_die("pthread_barrier_init");
        }
        for (unsigned i = 0; i < producers; i++) {
            threads[i] = posts_thread(posts_fast);
        }
        posts_serve();
        for (unsigned i = 0; i < producers; i++) {
            pthread_join(threads[i], NULL);
        }
        pthread_barrier_destroy(&posts_start);
        wall[round] = (double)(posts_ran_ns - posts_began_ns) / (double)posts_wanted;
        producer[round] = (double)posts_producer_cpu_ns / (double)posts_each;
    }
    *ret_producer_ns = micro_median(producer, rounds);
    return micro_median(wall, rounds);
}

static void posts_run(void)
{
    double producer_ns;
    double wall_ns;
    posts_open();
    micro_emit("post to a sleeping loop, latency", posts_of, posts_latency_ns() / 1000, "us", 0);
    wall_ns = posts_cost_ns(1, &producer_ns);
    micro_emit("post, one producer", posts_of, wall_ns, "ns", POSTS_TARGET(100));
    micro_emit("post, CPU of its one producer", posts_of, producer_ns, "ns", 0);
    wall_ns = posts_cost_ns(POSTS_PRODUCERS, &producer_ns);
    micro_emit("post, four producers", posts_of, wall_ns, "ns", POSTS_TARGET(100));
    posts_close();
}

#endif
