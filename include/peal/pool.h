/* SPDX-License-Identifier: BSD-2-Clause */
/* A pool of loops, each on a thread of its own: one loop a core is the usual choice.
 *
 *     struct peal_pool *pool;
 *     if (peal_pool_new(&(struct peal_pool_options){.threads = 4}, &pool) == 0) {
 *         int error = peal_loop_post(peal_pool_next(pool), work, NULL);
 *         ...
 *         peal_pool_free(pool);               // quits and joins all
 *     }
 */
#ifndef PEAL_POOL_H
#define PEAL_POOL_H

#include <peal/base.h>

PEAL_BEGIN

struct peal_loop;
struct peal_pool;

struct peal_pool_options {
    unsigned threads;      /* 1 to 1024; default: the cores that this process may use */
    const char *name;      /* threads are called NAME-0, NAME-1 …; default "peal" */
    const char *engine;    /* as in struct peal_loop_options */
    uint32_t busy_poll_us; /* as there */
    /* Both optional, run on the loop's own thread: before its first turn, and after it has ended.
     */
    void (*on_start)(struct peal_loop *loop, unsigned index, void *user);
    void (*on_end)(struct peal_loop *loop, unsigned index, void *user);
    void *user;
};

/* Starts the threads; returns when every loop is ready and on_start has returned on each, or, with
 * an error, when all that had started have gone. Errors: -EINVAL, -ENOMEM, -EAGAIN (no thread),
 * -EMFILE. */
PEAL_API PEAL_MUST_USE int peal_pool_new(const struct peal_pool_options *options,
                                         struct peal_pool **ret_pool);

/* Quits every loop and joins every thread: on return all connections of these loops have closed.
 * Any thread but the pool's own (that would wait for itself: the program is stopped with a
 * sentence). NULL is allowed. */
PEAL_API struct peal_pool *peal_pool_free(struct peal_pool *pool);

/* Quits every loop without waiting. Any thread, the pool's own included. */
PEAL_API void peal_pool_quit(struct peal_pool *pool);

PEAL_API unsigned peal_pool_size(const struct peal_pool *pool); /* any thread, as all below */
PEAL_API struct peal_loop *peal_pool_loop(struct peal_pool *pool,
                                          unsigned index);         /* NULL past the end */
PEAL_API struct peal_loop *peal_pool_next(struct peal_pool *pool); /* round robin */
PEAL_API struct peal_loop *peal_pool_by_hash(struct peal_pool *pool, uint64_t hash);
PEAL_API struct peal_loop *
peal_pool_least(struct peal_pool *pool); /* with the fewest open connections */

PEAL_END
#endif
