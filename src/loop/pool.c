/* SPDX-License-Identifier: BSD-2-Clause */
/* A pool of loops on threads of their own.
 *
 * Each thread makes its own loop (a loop belongs to the thread that makes it), says so under the
 * pool's mutex, and runs. peal_pool_new waits for all of them to have said so, or to have failed;
 * if any failed, the others are told to quit and joined, and the first error is the result. The
 * pool holds a reference to each loop, so that a pointer from peal_pool_loop is good as long as the
 * pool is. */
#include <peal/pool.h>

#include "base/assert.h"
#include "loop/loop.h"

#include <errno.h>
#include <string.h>

enum { THREADS_MAX = 1024 };

struct member {
    struct peal_pool *pool;
    struct sys_thread thread;
    struct peal_loop
        *loop; /* with a reference of the pool's; NULL until it is ready, or when it failed */
    unsigned index;
};

struct peal_pool {
    struct peal_pool_options options;
    char name[16];
    struct sys_mutex mutex;
    struct sys_cond changed;
    unsigned said; /* members that are ready or have failed; under the mutex */
    int error;     /* the first failure; under the mutex */
    unsigned started;
    _Atomic unsigned next;
    struct member members[];
};

static void say(struct member *member, struct peal_loop *loop, int error)
{
    struct peal_pool *pool = member->pool;
    sys_mutex_lock(&pool->mutex);
    member->loop = loop;
    pool->said++;
    if (error < 0 && pool->error == 0) {
        pool->error = error;
    }
    sys_cond_signal(&pool->changed);
    sys_mutex_unlock(&pool->mutex);
}

static void member_name(const struct peal_pool *pool, unsigned index, char *name, size_t size)
{
    sys_format(name, size, "%.10s-%u", pool->name, index);
}

static void *member_main(void *arg)
{
    struct member *member = arg;
    const struct peal_pool_options *options = &member->pool->options;
    struct peal_loop *loop;
    char name[24];
    member_name(member->pool, member->index, name, sizeof name);
    const struct peal_loop_options loop_options = {
        .name = name, .engine = options->engine, .busy_poll_us = options->busy_poll_us};
    int result = peal_loop_new(&loop_options, &loop);
    if (result < 0) {
        say(member, NULL, result);
        return NULL;
    }
    if (options->on_start) {
        options->on_start(loop, member->index, options->user);
    }
    say(member, peal_loop_ref(loop), 0);
    peal_loop_run(loop); /* its own error is logged; the loop has ended either way */
    if (options->on_end) {
        options->on_end(loop, member->index, options->user);
    }
    peal_loop_free(loop);
    return NULL;
}

static void quit_all(struct peal_pool *pool)
{
    for (unsigned i = 0; i < pool->started; i++) {
        if (pool->members[i].loop) {
            peal_loop_quit(pool->members[i].loop);
        }
    }
}

static void join_all(struct peal_pool *pool)
{
    quit_all(pool);
    for (unsigned i = 0; i < pool->started; i++) {
        sys_thread_join(&pool->members[i].thread);
    }
    for (unsigned i = 0; i < pool->started; i++) {
        peal_loop_unref(pool->members[i].loop);
    }
}

static void pool_destroy(struct peal_pool *pool)
{
    sys_cond_deinit(&pool->changed);
    sys_mutex_deinit(&pool->mutex);
    sys_free(pool);
}

static int start_all(struct peal_pool *pool)
{
    int result = 0;
    for (unsigned i = 0; i < pool->options.threads && result == 0; i++) {
        struct member *member = &pool->members[i];
        char name[24];
        member_name(pool, i, name, sizeof name);
        member->pool = pool;
        member->index = i;
        result = sys_thread_start(&member->thread, name, member_main, member);
        pool->started += result == 0;
    }
    sys_mutex_lock(&pool->mutex);
    while (pool->said < pool->started) {
        sys_cond_wait(&pool->changed, &pool->mutex);
    }
    if (result == 0) {
        result = pool->error;
    }
    sys_mutex_unlock(&pool->mutex);
    return result;
}

int peal_pool_new(const struct peal_pool_options *options, struct peal_pool **ret_pool)
{
    const struct peal_pool_options defaults = {0};
    options = options ? options : &defaults;
    unsigned threads = options->threads ? options->threads : sys_cpu_count();
    if (threads > THREADS_MAX) {
        return -EINVAL;
    }
    struct peal_pool *pool = sys_calloc(1, sizeof *pool + threads * sizeof pool->members[0]);
    if (!pool) {
        return -ENOMEM;
    }
    pool->options = *options;
    pool->options.threads = threads;
    strncpy(pool->name, options->name ? options->name : "peal", sizeof pool->name - 1);
    sys_mutex_init(&pool->mutex);
    sys_cond_init(&pool->changed);
    int result = start_all(pool);
    if (result < 0) {
        join_all(pool);
        pool_destroy(pool);
        return result;
    }
    *ret_pool = pool;
    return 0;
}

struct peal_pool *peal_pool_free(struct peal_pool *pool)
{
    if (!pool) {
        return NULL;
    }
    for (unsigned i = 0; i < pool->started; i++) {
        if (sys_thread_is_self(&pool->members[i].thread)) {
            pl_misuse("peal_pool_free was called on thread %u of pool \"%s\" itself, which it "
                      "would have to wait for. Call "
                      "peal_pool_quit there, and peal_pool_free on the thread that made the pool.",
                      i, pool->name);
        }
    }
    join_all(pool);
    pool_destroy(pool);
    return NULL;
}

void peal_pool_quit(struct peal_pool *pool)
{
    quit_all(pool);
}

unsigned peal_pool_size(const struct peal_pool *pool)
{
    return pool->started;
}

struct peal_loop *peal_pool_loop(struct peal_pool *pool, unsigned index)
{
    return index < pool->started ? pool->members[index].loop : NULL;
}

struct peal_loop *peal_pool_next(struct peal_pool *pool)
{
    unsigned next = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
    return pool->members[next % pool->started].loop;
}

struct peal_loop *peal_pool_by_hash(struct peal_pool *pool, uint64_t hash)
{
    return pool->members[hash % pool->started].loop;
}

struct peal_loop *peal_pool_least(struct peal_pool *pool)
{
    struct peal_loop *least = NULL;
    uint32_t fewest = UINT32_MAX;
    unsigned first = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
    for (unsigned i = 0; i < pool->started; i++) { /* ties go round */
        struct peal_loop *loop = pool->members[(first + i) % pool->started].loop;
        uint32_t count = atomic_load_explicit(&loop->connections, memory_order_relaxed);
        if (!least || count < fewest) {
            least = loop;
            fewest = count;
        }
    }
    return least;
}
