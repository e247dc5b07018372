/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop, as the layers above it inside the library see it.
 *
 * Everything but the fields marked "any thread" belongs to the loop's thread. The phases of a turn
 * are jobs: whoever has something to do in flush or reap puts its job on that list, at most one of
 * the two at a time. */
#ifndef PL_LOOP_H
#define PL_LOOP_H

#include <peal/loop.h>
#include <peal/stats.h>

#include <peal/buf.h>

#include "base/list.h"
#include "loop/engine.h"
#include "loop/recorder.h"
#include "loop/task.h"
#include "loop/wheel.h"
#include "sys/sys.h"

/* Something to do in the flush or the reap phase. run is called with the job already off its list.
 */
struct pl_job {
    struct pl_list link;
    void (*run)(struct pl_job *job);
};

/* Something that lives on a loop and must be told when the loop ends: a listener, a shard, a
 * client, a watch. */
struct pl_resident {
    struct pl_list link;
    /* Called once, at top level, with the resident already off the loop's list. It closes what it
     * has on the loop; jobs that it queues for reap still run, tasks that it posts are still run or
     * dropped. */
    void (*on_loop_end)(struct pl_resident *resident);
};

enum pl_loop_due {
    PL_DUE_JOBS = 1,  /* something may be on flush_jobs or reap_jobs, or deferred */
    PL_DUE_TIMERS = 2 /* a millisecond has begun */
};

enum pl_loop_life { PL_LOOP_ALIVE, PL_LOOP_ENDING, PL_LOOP_ENDED };

/* Counters written by one thread and read by any: no lock, no read-modify-write. */
struct pl_counter {
    _Atomic uint64_t value;
};
static inline void pl_count(struct pl_counter *counter, uint64_t n)
{
#if defined __x86_64__ && !defined __SANITIZE_THREAD__
    /* What the other branch does, in one instruction: a compiler would take three. */
    __asm__("addq %1, %0" : "+m"(counter->value) : "er"(n) : "cc");
#else
    atomic_store_explicit(&counter->value,
                          atomic_load_explicit(&counter->value, memory_order_relaxed) + n,
                          memory_order_relaxed);
#endif
}
static inline void pl_counter_set(struct pl_counter *counter, uint64_t value)
{
    atomic_store_explicit(&counter->value, value, memory_order_relaxed);
}
static inline uint64_t pl_counter_get(const struct pl_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

struct pl_loop_counters {
#define PL_COUNTER_FIELD(name, sentence) struct pl_counter name;
    PEAL_LOOP_STATS(PL_COUNTER_FIELD)
#undef PL_COUNTER_FIELD
};

struct peal_loop {
    /* hot: touched for each event */
    const struct pl_engine_ops *ops;
    struct pl_engine *engine;
    char *scratch;           /* PL_SCRATCH_BYTES, for the engine's reads */
    const char *thread_mark; /* &pl_thread_mark of the loop's thread */
    uint64_t now_ms;         /* of now_ns: what timers and activity stamps are in */
    ssize_t (*try_send)(struct pl_io *io, const void *data, size_t size); /* as the engine has it */
    struct pl_chunk *gather; /* what the callback that is running sends (src/net/outq.h); or NULL */
    struct peal_buf view;    /* what that callback is shown; between callbacks empty */
    struct iovec part;       /* for a send of one piece: not on the stack, where its address would
                                cost a guard */
    uint64_t now_ns;         /* the monotonic clock at the start of the turn's work */
    struct pl_list flush_jobs;
    struct pl_list reap_jobs;
    struct pl_list leaving_jobs; /* of ios that were detached with something in flight */
    struct pl_chunk_cache
        *chunks; /* spare output chunks (src/net/outq.c); NULL until there are any */
    void (*chunks_free)(struct peal_loop *loop); /* called when the loop ends */

    struct pl_wheel wheel;
    uint64_t next_timer_ms; /* pl_wheel_next_ms when it was last asked; 0: ask again */
    struct pl_list residents;
    struct pl_task *deferred, *deferred_last; /* peal_loop_defer: run after the timers */
    uint32_t busy_poll_us;
    uint8_t short_waits; /* for spinning or against it: see loop.c */
    uint64_t ms_ends_ns; /* when now_ms will be past */
    uint64_t slept_ns;   /* when the wait under way, or the last, began */
    bool in_turn;
    uint8_t due; /* enum pl_loop_due: what the phases after the events have to look at */

    struct pl_loop_counters counters; /* any thread reads */
    struct pl_recorder recorder;

    /* any thread */
    struct pl_task_queue tasks;
    _Atomic bool asleep; /* inside or about to enter a wait that a push must end */
    _Atomic bool quit;
    _Atomic uint8_t life;    /* enum pl_loop_life */
    _Atomic uint32_t waking; /* threads between taking asleep back and the engine's wake */
    _Atomic uint32_t references;
    _Atomic uint32_t connections;    /* open on this loop: what balancing goes by */
    struct pl_handle_table *handles; /* src/net/handle.c; made with the first connection */
    void (*handles_free)(struct pl_handle_table *handles); /* called with the last reference */
    char name[16];
};

/* Queues a job for this turn's flush or reap (outside of a turn: the next one's). Already queued on
 * that list: nothing. */
void pl_loop_flush_later(struct peal_loop *loop, struct pl_job *job);
void pl_loop_reap_later(struct peal_loop *loop, struct pl_job *job);
/* For an io whose detach returned false: its job is run in reap if the engine breaks and
 * on_detached cannot come. on_detached queues it with pl_loop_reap_later. */
void pl_loop_reap_when_detached(struct peal_loop *loop, struct pl_job *job);
static inline void pl_job_init(struct pl_job *job)
{
    pl_list_init(&job->link);
}
static inline void pl_job_cancel(struct pl_job *job)
{
    pl_list_remove(&job->link);
}

/* Runs the task at the end of the turn. The loop's thread, while the loop lives. */
void pl_loop_defer_task(struct peal_loop *loop, struct pl_task *task);

/* The turn's clock. Milliseconds are divided out when a new one has begun, which is also when
 * timers may be due. */
void pl_loop_new_ms(struct peal_loop *loop);
static inline void pl_loop_set_clock(struct peal_loop *loop, uint64_t now_ns)
{
    loop->now_ns = now_ns;
    if (__builtin_expect(now_ns >= loop->ms_ends_ns, 0)) {
        pl_loop_new_ms(loop);
    }
}

/* The engine's: after it has waited, before it dispatches. The turn's clock is read here. */
static inline void pl_loop_awake(struct peal_loop *loop)
{
    atomic_store_explicit(&loop->asleep, false, memory_order_relaxed);
    uint64_t now_ns = sys_monotonic_ns();
    pl_count(&loop->counters.wait_ns, now_ns - loop->slept_ns);
    loop->slept_ns = now_ns; /* a busy loop waits several times a turn */
    pl_loop_set_clock(loop, now_ns);
}

void pl_loop_run_timers(struct peal_loop *loop); /* timer.c */

/* Bare nodes, whose kind the owner has set. The loop's thread. */
void pl_timer_start(struct peal_loop *loop, struct peal_timer_node *node, uint64_t delay_ms);
void pl_timer_cancel(struct peal_loop *loop, struct peal_timer_node *node);
extern void (*pl_timer_conn_fn)(struct peal_timer_node *node); /* told of PL_TIMER_CONN */

/* Any thread. Posts an intrusive task; false: the loop has ended and the task is the caller's
 * still. */
bool pl_loop_post_task(struct peal_loop *loop, struct pl_task *task);

bool pl_loop_post_bare(struct peal_loop *loop, struct pl_bare_task *task);

/* Stops the program with a sentence unless called on the loop's thread. what: the public function's
 * name. */
void pl_loop_wrong_thread(const struct peal_loop *loop, const char *what)
    __attribute__((noreturn, cold));
extern _Thread_local char pl_thread_mark; /* its address names the thread */
static inline bool pl_loop_is_mine(const struct peal_loop *loop)
{
    return loop->thread_mark == &pl_thread_mark;
}
static inline void pl_loop_check(const struct peal_loop *loop, const char *what)
{
    if (__builtin_expect(!pl_loop_is_mine(loop), 0)) {
        pl_loop_wrong_thread(loop, what);
    }
}

/* Milliseconds of the turn's clock: what timers and activity stamps are in. */
static inline uint64_t pl_loop_now_ms(const struct peal_loop *loop)
{
    return loop->now_ms;
}

/* Makes known, or no longer, something that lives on the loop. The loop's thread. */
void pl_loop_settle(struct peal_loop *loop, struct pl_resident *resident);
void pl_loop_leave(struct pl_resident *resident);

#endif
