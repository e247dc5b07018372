/* SPDX-License-Identifier: BSD-2-Clause */
/* The program's tasks: a function and its argument, in a small allocation that lives from the post
 * to the call. Inside the library tasks are parts of what they are about (pl_loop_post_task) and
 * allocate nothing. */
#include "loop/loop.h"

#include "base/assert.h"

#include <peal/error.h>

#include <errno.h>

struct user_task {
    struct pl_task task;
    peal_task_fn fn, drop;
    void *user;
};

static void run(struct pl_task *task, bool dropped)
{
    struct user_task copy = *pl_container(task, struct user_task, task);
    sys_free(pl_container(task, struct user_task, task));
    peal_task_fn fn = dropped ? copy.drop : copy.fn;
    if (fn) {
        fn(copy.user);
    }
}

static struct user_task *make(peal_task_fn fn, peal_task_fn drop, void *user)
{
    struct user_task *task = sys_malloc(sizeof *task);
    if (task) {
        atomic_init(&task->task.next, NULL);
        task->task.fn = run;
        task->fn = fn;
        task->drop = drop;
        task->user = user;
    }
    return task;
}

int peal_loop_post_or_drop(struct peal_loop *loop, peal_task_fn fn, peal_task_fn drop, void *user)
{
    if (!fn) {
        return -EINVAL;
    }
    struct user_task *task = make(fn, drop, user);
    if (!task) {
        return -ENOMEM;
    }
    if (!pl_loop_post_task(loop, &task->task)) {
        sys_free(task);
        return PEAL_ERR_LOOP_ENDED;
    }
    return 0;
}

int peal_loop_post(struct peal_loop *loop, peal_task_fn fn, void *user)
{
    return peal_loop_post_or_drop(loop, fn, NULL, user);
}

int peal_loop_run_in(struct peal_loop *loop, peal_task_fn fn, void *user)
{
    if (!fn) {
        return -EINVAL;
    }
    if (!pl_loop_is_mine(loop)) {
        return peal_loop_post(loop, fn, user);
    }
    if (atomic_load(&loop->life) == PL_LOOP_ENDED) {
        return PEAL_ERR_LOOP_ENDED;
    }
    fn(user);
    return 0;
}

int peal_loop_defer(struct peal_loop *loop, peal_task_fn fn, void *user)
{
    pl_loop_check(loop, "peal_loop_defer");
    if (!fn) {
        return -EINVAL;
    }
    if (atomic_load(&loop->life) != PL_LOOP_ALIVE) { /* a loop that ends has no later */
        return PEAL_ERR_LOOP_ENDED;
    }
    struct user_task *task = make(fn, NULL, user);
    if (!task) {
        return -ENOMEM;
    }
    pl_loop_defer_task(loop, &task->task);
    return 0;
}
