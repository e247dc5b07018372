/* SPDX-License-Identifier: BSD-2-Clause */
/* What it costs to hand a task to a loop from another thread. Included by a program that has
 * defined, for its library:
 *
 *   posts_of, POSTS_TARGET(ns)   its title; ns if it is ours, else 0
 *   posts_open(), posts_close()  a loop on the calling thread
 *   posts_one()                  any thread: has posts_ran called on the loop's thread, once
 *   posts_serve()                runs the loop until posts_ran has returned true, which is then
 *                                called no more
 *
 * with posts_ran declared ahead. Most libraries can wake a loop and leave the tasks to the program;
 * for these there is a queue here as their users write it: a list under a mutex, taken whole, with
 * an allocation for each task.
 *
 * Latency: the loop sleeps, a post is made, the task notes the time; the median of many, 100 us
 * apart. Cost: a million tasks posted by one thread or four as fast as they can; the time from the
 * first post to the end of the last task, and, with one thread, what the posting itself took of its
 * CPU time. The median of the rounds. */
#ifndef POSTS_H
#define POSTS_H

#include "micro.h"

#include <pthread.h>
#include <sched.h>

/* ---- the queue */

struct posts_task {
    struct posts_task *next;
    void (*fn)(void *user);
    void *user;
};

static pthread_mutex_t posts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct posts_task *posts_first;
static struct posts_task **posts_end = &posts_first;

static inline void posts_push(void (*fn)(void *user), void *user)
{
    struct posts_task *task = (struct posts_task *)malloc(sizeof(*task));
    if (task == NULL) {
        micro_die("malloc");
    }
    task->next = NULL;
    task->fn = fn;
    task->user = user;
    pthread_mutex_lock(&posts_lock);
    *posts_end = task;
    posts_end = &task->next;
    pthread_mutex_unlock(&posts_lock);
}

static inline void posts_drain(void)
{
    struct posts_task *task;
    pthread_mutex_lock(&posts_lock);
    task = posts_first;
    posts_first = NULL;
    posts_end = &posts_first;
    pthread_mutex_unlock(&posts_lock);
    while (task != NULL) {
        struct posts_task *next = task->next;
        task->fn(task->user);
        free(task);
        task = next;
    }
}

/* ---- what the task does */

static uint64_t posts_count; /* atomic: tasks run in this round */
static uint64_t posts_wanted;
static uint64_t posts_ran_ns; /* when the last ran, where each is timed */
static bool posts_timed;

/* True for the last task of the round. */
static inline bool posts_ran(void)
{
    uint64_t count = __atomic_load_n(&posts_count, __ATOMIC_RELAXED) + 1;
    if (posts_timed || count == posts_wanted) {
        posts_ran_ns = micro_now_ns();
    }
    __atomic_store_n(&posts_count, count, __ATOMIC_RELEASE);
    return count == posts_wanted;
}

#endif
