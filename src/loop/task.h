/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks: the intrusive queue through which other threads reach a loop. Many producers, one
 * consumer, first in first out for each producer, no lock, no allocation of its own. */
#ifndef PL_TASK_H
#define PL_TASK_H

#include <stdatomic.h>
#include <stdbool.h>

struct peal_loop;
struct pl_task;

/* dropped: the loop ended before it came to the task. Either way the call owns the task's memory
 * from then on. */
typedef void (*pl_task_fn)(struct pl_task *task, bool dropped);

struct pl_task {
    _Atomic(struct pl_task *) next;
    pl_task_fn fn;
};

struct pl_task_queue {
    _Atomic(struct pl_task *) head; /* producers push here; a mark when the queue is closed */
};

void pl_task_queue_init(struct pl_task_queue *queue);

/* Any thread. Returns false when the queue has been closed: the task is untouched and the caller's.
 */
bool pl_task_push(struct pl_task_queue *queue, struct pl_task *task);

/* The consumer. Everything pushed so far, in order, as a chain through next; NULL when there is
 * nothing. */
struct pl_task *pl_task_take_all(struct pl_task_queue *queue);

/* The consumer. Closes the queue for ever and returns what was still in it, in order. */
struct pl_task *pl_task_close(struct pl_task_queue *queue);

bool pl_task_queue_is_empty(struct pl_task_queue *queue); /* the consumer */

#endif
