/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, tasks would be lost, doubled, reordered, or vanish into a loop that has ended
 * (hazard 20). */
#include "loop/task.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PRODUCERS = 4, TASKS = 100000 };

struct item {
    struct pl_task task; /* the first member */
    unsigned producer, number;
};

struct producer {
    pthread_t thread;
    struct pl_task_queue *queue;
    struct item *items;
    unsigned index, accepted; /* accepted: read after the join */
};

static void *produce(void *arg)
{
    struct producer *producer = arg;
    for (unsigned i = 0; i < TASKS; i++) {
        struct item *item = &producer->items[i];
        item->producer = producer->index;
        item->number = i;
        if (!pl_task_push(producer->queue, &item->task)) {
            break;
        }
        producer->accepted++;
    }
    return NULL;
}

static void start(struct producer *producers, struct pl_task_queue *queue)
{
    pl_task_queue_init(queue);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.queue = queue, .index = i};
        producers[i].items = calloc(TASKS, sizeof(struct item));
        assert_non_null(producers[i].items);
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    }
}

static void join(struct producer *producers)
{
    for (unsigned i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(producers[i].thread, NULL), 0);
    }
}

static void release(struct producer *producers)
{
    for (unsigned i = 0; i < PRODUCERS; i++) {
        free(producers[i].items);
    }
}

/* Takes the batch in; each producer's numbers must follow each other without a gap. */
static unsigned consume(struct pl_task *batch, unsigned next[PRODUCERS])
{
    unsigned count = 0;
    while (batch) {
        struct item *item = (struct item *)(void *)batch;
        assert_int_equal(item->number, next[item->producer]);
        next[item->producer]++;
        batch = atomic_load(&batch->next);
        count++;
    }
    return count;
}

static void every_task_comes_once_and_in_its_producers_order(void **state)
{
    struct producer producers[PRODUCERS];
    struct pl_task_queue queue;
    unsigned next[PRODUCERS] = {0}, count = 0;
    (void)state;
    start(producers, &queue);
    while (count < PRODUCERS * TASKS) {
        unsigned batch = consume(pl_task_take_all(&queue), next);
        if (batch == 0) {
            sched_yield();
        }
        count += batch;
    }
    join(producers);
    assert_true(pl_task_queue_is_empty(&queue));
    assert_null(pl_task_close(&queue));
    release(producers);
}

/* Closing while four threads push: what was accepted comes out, what was not stays its owner's. */
static void a_close_in_the_midst_loses_nothing(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct producer producers[PRODUCERS];
        struct pl_task_queue queue;
        unsigned next[PRODUCERS] = {0}, count = 0, limit = round * 4000;
        start(producers, &queue);
        while (count < limit) {
            count += consume(pl_task_take_all(&queue), next);
        }
        consume(pl_task_close(&queue), next);
        assert_null(pl_task_take_all(&queue));
        join(producers);
        assert_null(pl_task_close(&queue)); /* nothing came in after the close */
        for (unsigned i = 0; i < PRODUCERS; i++) {
            assert_int_equal(producers[i].accepted, next[i]);
        }
        release(producers);
    }
}

static void a_closed_queue_refuses_and_leaves_the_task_alone(void **state)
{
    struct pl_task_queue queue;
    static struct pl_task task, other;
    (void)state;
    pl_task_queue_init(&queue);
    assert_true(pl_task_queue_is_empty(&queue));
    assert_null(pl_task_take_all(&queue));
    assert_true(pl_task_push(&queue, &task));
    assert_false(pl_task_queue_is_empty(&queue));
    assert_ptr_equal(pl_task_close(&queue), &task);
    assert_true(pl_task_queue_is_empty(&queue));
    atomic_store(&other.next, &task);
    assert_false(pl_task_push(&queue, &other));
    assert_ptr_equal(atomic_load(&other.next), &task);
    assert_null(pl_task_take_all(&queue));
    assert_null(pl_task_close(&queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_comes_once_and_in_its_producers_order),
        cmocka_unit_test(a_close_in_the_midst_loses_nothing),
        cmocka_unit_test(a_closed_queue_refuses_and_leaves_the_task_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
