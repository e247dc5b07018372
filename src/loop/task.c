/* SPDX-License-Identifier: BSD-2-Clause */
/* The task queue: a stack that producers push to with one compare-and-swap, and that the consumer
 * takes whole with one exchange and turns around. So pushing costs one atomic operation, taking a
 * batch costs one however long it is, and each producer's tasks come out in the order in which it
 * pushed them.
 *
 * Closing exchanges the head for a mark that no task has as its address. A push that finds the mark
 * fails and leaves the task with its caller; so every task is either in a batch, in what close
 * returned, or still its owner's - never lost between (hazard 20).
 *
 * The links are atomics with acquire and release on the head only; there are no fences, so that a
 * thread sanitizer can follow. The intrusive queue of Vyukov was rejected: its consumer can meet a
 * moment in which a task is pushed but not reachable, and would have to spin or sleep through it.
 */
#include "loop/task.h"

#include <stddef.h>

static struct pl_task closed_mark;

void pl_task_queue_init(struct pl_task_queue *queue)
{
    atomic_init(&queue->head, NULL);
}

void (*pl_task_bare_fn)(struct pl_bare_task *task, bool dropped);

static struct pl_task *link_to(struct pl_task *task, bool bare)
{
    return (struct pl_task *)((uintptr_t)task | bare);
}

static bool push(struct pl_task_queue *queue, struct pl_task *task, bool bare)
{
    struct pl_task *head = atomic_load_explicit(&queue->head, memory_order_acquire);
    do {
        if (head == &closed_mark) {
            return false;
        }
        atomic_store_explicit(&task->next, link_to(head, bare), memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&queue->head, &head, task, memory_order_seq_cst,
                                                    memory_order_acquire));
    return true;
}

bool pl_task_push(struct pl_task_queue *queue, struct pl_task *task)
{
    return push(queue, task, false);
}

bool pl_task_push_bare(struct pl_task_queue *queue, struct pl_bare_task *task)
{
    return push(queue, (struct pl_task *)task, true);
}

static struct pl_task *turn_around(struct pl_task *task)
{
    struct pl_task *first = NULL;
    while (task) {
        bool bare;
        struct pl_task *next = pl_task_next(task, &bare);
        atomic_store_explicit(&task->next, link_to(first, bare), memory_order_relaxed);
        first = task;
        task = next;
    }
    return first;
}

struct pl_task *pl_task_take_all(struct pl_task_queue *queue)
{
    struct pl_task *head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (!head || head == &closed_mark) {
        return NULL;
    }
    return turn_around(atomic_exchange_explicit(&queue->head, NULL, memory_order_acquire));
}

struct pl_task *pl_task_close(struct pl_task_queue *queue)
{
    struct pl_task *head =
        atomic_exchange_explicit(&queue->head, &closed_mark, memory_order_acq_rel);
    return head == &closed_mark ? NULL : turn_around(head);
}

bool pl_task_queue_is_empty(struct pl_task_queue *queue)
{
    struct pl_task *head = atomic_load_explicit(&queue->head, memory_order_seq_cst);
    return !head || head == &closed_mark;
}
