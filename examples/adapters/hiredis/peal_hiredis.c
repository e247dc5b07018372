/* SPDX-License-Identifier: BSD-2-Clause */
/* Five hooks of hiredis around one watch.
 *
 *  1. hiredis calls cleanup once, before it closes its socket and on every way to its end; that is
 *     where the watch is closed.
 *  2. It may do so inside the calls by which on_ready tells it of events. Then only the watch goes;
 *     the memory waits for on_ready, which looks before it makes a second call.
 *  3. What is wanted is set only when it differs: hiredis asks to write with each command.
 *  4. The hooks return nothing, but peal_watch_set can fail for want of memory. It is tried again
 *     some time later: a connection that is never heard of any more would be worse.
 *
 * A hang-up or a fault is told as readable: hiredis reads, and finds out what it is. */
#include "peal_hiredis.h"

#include <peal/timer.h>
#include <peal/watch.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { AGAIN_MS = 100 };

struct attached {
    redisAsyncContext *redis;
    struct peal_watch *watch; /* NULL after cleanup */
    struct peal_timer again;
    uint32_t wanted, set;
    bool telling;
};

static void set(struct attached *attached)
{
    if (attached->set != attached->wanted) {
        if (peal_watch_set(attached->watch, attached->wanted) < 0) {
            peal_timer_start(&attached->again, AGAIN_MS, 0);
        } else {
            attached->set = attached->wanted;
        }
    }
}

static void on_again(struct peal_timer *timer, void *user)
{
    (void)timer;
    set(user);
}

static void on_ready(struct peal_watch *watch, uint32_t events, void *user)
{
    struct attached *attached = user;

    (void)watch;
    attached->telling = true;
    if (events & (PEAL_READABLE | PEAL_HANGUP | PEAL_FAULT)) {
        redisAsyncHandleRead(attached->redis);
    }
    if (events & PEAL_WRITABLE && attached->watch) {
        redisAsyncHandleWrite(attached->redis);
    }
    attached->telling = false;
    if (!attached->watch) {
        free(attached);
    }
}

/* ---- called by hiredis */

static void add_read(void *user)
{
    struct attached *attached = user;
    attached->wanted |= PEAL_READABLE;
    set(attached);
}

static void del_read(void *user)
{
    struct attached *attached = user;
    attached->wanted &= ~(uint32_t)PEAL_READABLE;
    set(attached);
}

static void add_write(void *user)
{
    struct attached *attached = user;
    attached->wanted |= PEAL_WRITABLE;
    set(attached);
}

static void del_write(void *user)
{
    struct attached *attached = user;
    attached->wanted &= ~(uint32_t)PEAL_WRITABLE;
    set(attached);
}

static void cleanup(void *user)
{
    struct attached *attached = user;

    memset(&attached->redis->ev, 0, sizeof(attached->redis->ev));
    peal_timer_deinit(&attached->again);
    attached->watch = peal_watch_close(attached->watch);
    if (!attached->telling) {
        free(attached);
    }
}

int peal_hiredis_attach(struct peal_loop *loop, redisAsyncContext *redis)
{
    if (redis->ev.data) {
        return -EBUSY;
    }
    struct attached *attached = calloc(1, sizeof(*attached));
    if (!attached) {
        return -ENOMEM;
    }
    attached->redis = redis;
    attached->wanted = attached->set = PEAL_WRITABLE; /* that it has connected */
    int result =
        peal_watch_open(loop, redis->c.fd, PEAL_WRITABLE, on_ready, attached, &attached->watch);
    if (result < 0) {
        free(attached);
        return result;
    }
    peal_timer_init(&attached->again, loop, on_again, attached);
    redis->ev.data = attached;
    redis->ev.addRead = add_read;
    redis->ev.delRead = del_read;
    redis->ev.addWrite = add_write;
    redis->ev.delWrite = del_write;
    redis->ev.cleanup = cleanup;
    return 0;
}
