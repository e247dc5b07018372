/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks: the intrusive queue through which other threads reach a loop. Many producers, one
 * consumer, first in first out for each producer, no lock, no allocation of its own. */
#ifndef PL_TASK_H
#define PL_TASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct peal_loop;
struct pl_task;

/* dropped: the loop ended before it came to the task. Either way the call owns the task's memory
 * from then on. */
typedef void (*pl_task_fn)(struct pl_task *task, bool dropped);

struct pl_task {
    _Atomic(struct pl_task *) next;
    pl_task_fn fn;
};

/* A task without a function of its own: all of them have the one that src/net sets. There is one in
 * every connection. That it is bare is noted in the lowest bit of its own link. */
struct pl_bare_task {
    _Atomic(struct pl_task *) next;
};
extern void (*pl_task_bare_fn)(struct pl_bare_task *task, bool dropped);

struct pl_task_queue {
    _Atomic(struct pl_task *) head; /* producers push here; a mark when the queue is closed */
};

void pl_task_queue_init(struct pl_task_queue *queue);

/* Any thread. Returns false when the queue has been closed: the task is untouched and the caller's.
 */
bool pl_task_push(struct pl_task_queue *queue, struct pl_task *task);

bool pl_task_push_bare(struct pl_task_queue *queue, struct pl_bare_task *task);

/* The next in a chain, and whether this one is bare. */
static inline struct pl_task *pl_task_next(const struct pl_task *task, bool *ret_bare)
{
    uintptr_t link = (uintptr_t)atomic_load_explicit(&task->next, memory_order_relaxed);
    *ret_bare = link & 1;
    return (struct pl_task *)(link & ~(uintptr_t)1);
}

/* The consumer. Everything pushed so far, in order, as a chain through pl_task_next; NULL when
 * there is nothing. */
struct pl_task *pl_task_take_all(struct pl_task_queue *queue);

/* The consumer. Closes the queue for ever and returns what was still in it, in order. */
struct pl_task *pl_task_close(struct pl_task_queue *queue);

bool pl_task_queue_is_empty(struct pl_task_queue *queue); /* the consumer */

#endif
