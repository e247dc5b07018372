/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop: a turn, and the end.
 *
 * A turn is wait, events, tasks, timers, deferred, flush, reap. Each phase handles what was there
 * when it began, so that work that makes more of its own kind (a task that posts tasks, a drain
 * that sends) shares the loop with everything else; reap alone goes on until it is empty, because
 * ends that happen in on_close belong to the same end. What is left over keeps the next turn from
 * sleeping.
 *
 * Waking. A producer pushes its task and then looks whether the loop is asleep; the loop says that
 * it is asleep and then looks whether there is a task. Both in sequentially consistent order, so at
 * least one of the two sees the other (hazard 36). The producer that takes the word "asleep" back
 * writes the eventfd, once; all others, and all while the loop is awake, write nothing.
 *
 * Busy polling. A loop that was told to spin looks for events without sleeping for so long, and
 * then sleeps. It spins only while that pays off, which it learns from every wait, spun or slept:
 * one that was over within the time is for it, a longer one is against it. So a loop that gets
 * nothing to do for a while stops burning its core, and one that is asked again at short intervals
 * begins anew, after two waits that it sleeps through.
 *
 * The end, once, on the loop's thread: life becomes ENDING, and from then on the loop takes posts
 * (to drop them) but nothing that would have to be told of the end in its turn; residents are told
 * and close what they have; reap; the queue is closed, and the tasks still in it are dropped; reap
 * again, and as long as the engine has something in flight; then engine and memory go. So every
 * connection has had its on_close, and every accepted task was run or dropped, before peal_loop_run
 * or peal_loop_free returns. The structure itself stays until the last reference, to answer posts.
 *
 * The loop's thread is the one that made it; it is told by the address of a thread-local variable,
 * two instructions. A later thread can be given the same address only after the first has ended,
 * when calls from it would be as wrong as before but cannot be told. */
#include "loop/loop.h"

#include "base/assert.h"
#include "base/log.h"

#include <peal/error.h>

#include <errno.h>
#include <string.h>

/* Spinning is likely to pay off when of the last waits most were short. */
enum { SHORT_WAITS_MAX = 3, SHORT_WAITS_TO_SPIN = 2 };

_Thread_local char pl_thread_mark;
static _Thread_local struct peal_loop *current;

/* ---- references */

struct peal_loop *peal_loop_ref(struct peal_loop *loop)
{
    atomic_fetch_add_explicit(&loop->references, 1, memory_order_relaxed);
    return loop;
}

struct peal_loop *peal_loop_unref(struct peal_loop *loop)
{
    if (loop && atomic_fetch_sub_explicit(&loop->references, 1, memory_order_acq_rel) == 1) {
        if (atomic_load(&loop->life) != PL_LOOP_ENDED) {
            pl_misuse("peal_loop_unref gave up the last reference to loop \"%s\", which has not "
                      "ended. The owner's reference is given up by peal_loop_free.",
                      loop->name);
        }
        if (loop->handles) {
            loop->handles_free(loop->handles);
        }
        pl_recorder_deinit(&loop->recorder);
        sys_free(loop);
    }
    return NULL;
}

/* ---- making one */

/* The first is the default. */
static const struct pl_engine_ops *const engines[] = {
    &pl_engine_epoll,
#ifdef PL_HAS_URING
    &pl_engine_uring,
#endif
};

static const struct pl_engine_ops *find_engine(const char *name)
{
    if (!name || name[0] == '\0') {
        return engines[0];
    }
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        if (strcmp(engines[i]->name, name) == 0) {
            return engines[i];
        }
    }
    /* Known, but not in this build: as where the system forbids it. */
    return strcmp(name, "io_uring") == 0 ? engines[0] : NULL;
}

/* Whether an engine could not be made because this system does not have it, or forbids it. */
static bool is_not_here(int error)
{
    return error == -ENOSYS || error == -EPERM || error == -EACCES || error == -EINVAL ||
           error == -EOPNOTSUPP;
}

/* The engine that was asked for, or epoll, which every system has. */
static int make_engine(struct peal_loop *loop, const char *asked)
{
    int result = loop->ops->new (loop, &loop->engine);
    if (loop->ops != &pl_engine_epoll && is_not_here(result)) {
        loop->ops = &pl_engine_epoll;
        pl_log(PEAL_LOG_WARNING,
               "loop %s runs on epoll: this system does not let it use %s (%s). Containers and "
               "sandboxes often forbid it; Linux has what is needed from 6.1 on.",
               loop->name, asked, peal_strerror(result));
        result = loop->ops->new (loop, &loop->engine);
    } else if (result == 0 && asked && strcmp(asked, loop->ops->name) != 0) {
        pl_log(PEAL_LOG_WARNING, "loop %s runs on %s: this library was built without %s",
               loop->name, loop->ops->name, asked);
    }
    return result;
}

void pl_loop_new_ms(struct peal_loop *loop)
{
    loop->now_ms = loop->now_ns / 1000000u;
    loop->ms_ends_ns = (loop->now_ms + 1) * 1000000u;
    loop->due |= PL_DUE_TIMERS;
}

/* For an engine that has no try_send. */
static ssize_t try_by_send(struct pl_io *io, const void *data, size_t size)
{
    struct peal_loop *loop = io->loop;
    loop->part = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return loop->ops->send(loop->engine, io, &loop->part, 1, 0);
}

static void init_fields(struct peal_loop *loop, const char *name)
{
    pl_list_init(&loop->flush_jobs);
    pl_list_init(&loop->reap_jobs);
    pl_list_init(&loop->leaving_jobs);
    pl_list_init(&loop->residents);
    pl_task_queue_init(&loop->tasks);
    atomic_init(&loop->references, 1);
    loop->thread_mark = &pl_thread_mark;
    pl_loop_set_clock(loop, sys_monotonic_ns());
    pl_wheel_init(&loop->wheel, pl_loop_now_ms(loop));
    loop->due = 0; /* no timer can be due yet */
    strncpy(loop->name, name ? name : "loop", sizeof loop->name - 1);
}

static void set_busy_poll(struct peal_loop *loop, uint32_t busy_poll_us)
{
    loop->busy_poll_us = busy_poll_us;
    loop->short_waits = SHORT_WAITS_MAX; /* hopeful at first */
}

static int init_resources(struct peal_loop *loop, const char *engine)
{
    loop->scratch = sys_malloc(PL_SCRATCH_BYTES);
    if (!loop->scratch) {
        return -ENOMEM;
    }
    int result = pl_recorder_init(&loop->recorder);
    if (result == 0) {
        result = make_engine(loop, engine);
    }
    loop->try_send = loop->ops->try_send ? loop->ops->try_send : try_by_send;
    return result;
}

int peal_loop_new(const struct peal_loop_options *options, struct peal_loop **ret_loop)
{
    const char *engine = options && options->engine ? options->engine : sys_getenv("PEAL_ENGINE");
    if (engine && engine[0] == '\0') {
        engine = NULL;
    }
    const struct pl_engine_ops *ops = find_engine(engine);
    if (!ops) {
        return -EINVAL;
    }
    struct peal_loop *loop = sys_calloc(1, sizeof *loop);
    if (!loop) {
        return -ENOMEM;
    }
    loop->ops = ops;
    init_fields(loop, options ? options->name : NULL);
    set_busy_poll(loop, options ? options->busy_poll_us : 0);
    int result = init_resources(loop, engine);
    if (result < 0) {
        sys_free(loop->scratch);
        pl_recorder_deinit(&loop->recorder);
        sys_free(loop);
        return result;
    }
    pl_record(loop, PL_RECORD_LOOP_START, 0, 0);
    *ret_loop = loop;
    return 0;
}

/* ---- what others put on it */

void pl_loop_flush_later(struct peal_loop *loop, struct pl_job *job)
{
    if (pl_list_is_empty(&job->link)) {
        pl_list_append(&loop->flush_jobs, &job->link);
        loop->due |= PL_DUE_JOBS;
    }
}

void pl_loop_reap_later(struct peal_loop *loop, struct pl_job *job)
{
    pl_list_remove(&job->link); /* it may be waiting for flush, which it no longer needs */
    pl_list_append(&loop->reap_jobs, &job->link);
    loop->due |= PL_DUE_JOBS;
}

void pl_loop_reap_when_detached(struct peal_loop *loop, struct pl_job *job)
{
    pl_list_remove(&job->link);
    pl_list_append(&loop->leaving_jobs, &job->link);
}

void pl_loop_settle(struct peal_loop *loop, struct pl_resident *resident)
{
    pl_list_append(&loop->residents, &resident->link);
}

void pl_loop_leave(struct pl_resident *resident)
{
    pl_list_remove(&resident->link);
}

static void wake(struct peal_loop *loop)
{
    if (!atomic_load_explicit(&loop->asleep, memory_order_seq_cst)) {
        return;
    }
    atomic_fetch_add_explicit(&loop->waking, 1, memory_order_seq_cst);
    if (atomic_exchange_explicit(&loop->asleep, false, memory_order_seq_cst)) {
        atomic_fetch_add_explicit(&loop->counters.wakes.value, 1, memory_order_relaxed);
        loop->ops->wake(loop->engine); /* the end of the loop waits for us: waking is not 0 */
    }
    atomic_fetch_sub_explicit(&loop->waking, 1, memory_order_release);
}

bool pl_loop_post_task(struct peal_loop *loop, struct pl_task *task)
{
    if (!pl_task_push(&loop->tasks, task)) {
        return false;
    }
    wake(loop);
    return true;
}

bool pl_loop_post_bare(struct peal_loop *loop, struct pl_bare_task *task)
{
    if (!pl_task_push_bare(&loop->tasks, task)) {
        return false;
    }
    wake(loop);
    return true;
}

void pl_loop_defer_task(struct peal_loop *loop, struct pl_task *task)
{
    atomic_store_explicit(&task->next, NULL, memory_order_relaxed);
    if (loop->deferred_last) {
        atomic_store_explicit(&loop->deferred_last->next, task, memory_order_relaxed);
    } else {
        loop->deferred = task;
    }
    loop->deferred_last = task;
    loop->due |= PL_DUE_JOBS;
}

void pl_loop_wrong_thread(const struct peal_loop *loop, const char *what)
{
    pl_misuse("%s was called from a thread that is not loop \"%s\"'s own. Call it from one of the "
              "loop's callbacks, or "
              "post it there with peal_loop_post.",
              what, loop->name);
}

/* ---- the phases */

static void run_batch(struct peal_loop *loop, struct pl_task *batch, bool dropped)
{
    struct pl_counter *counter = dropped ? &loop->counters.tasks_dropped : &loop->counters.tasks;
    while (batch) {
        struct pl_task *task = batch;
        bool bare;
        batch = pl_task_next(task, &bare); /* the call may free or repost it */
        pl_count(counter, 1);
        if (bare) {
            pl_task_bare_fn((struct pl_bare_task *)task, dropped);
        } else {
            task->fn(task, dropped);
        }
    }
}

/* The queue is not closed while the loop turns. */
static inline bool has_tasks(struct peal_loop *loop)
{
    return atomic_load_explicit(&loop->tasks.head, memory_order_seq_cst) != NULL;
}

__attribute__((noinline)) static void run_deferred(struct peal_loop *loop, bool dropped)
{
    struct pl_task *batch = loop->deferred;
    loop->deferred = loop->deferred_last = NULL;
    run_batch(loop, batch, dropped);
}

__attribute__((noinline)) static void run_jobs(struct pl_list *batch)
{
    while (!pl_list_is_empty(batch)) {
        struct pl_job *job = pl_container(batch->next, struct pl_job, link);
        pl_list_remove(&job->link);
        job->run(job);
    }
}

__attribute__((noinline)) static void run_flush(struct peal_loop *loop)
{
    struct pl_list batch;
    pl_list_init(&batch);
    pl_list_splice(&batch, &loop->flush_jobs);
    run_jobs(&batch);
}

/* What is put on the flush list or deferred from here on is for the next turn. */
__attribute__((noinline)) static void run_timers_and_jobs(struct peal_loop *loop)
{
    pl_loop_run_timers(loop);
    run_deferred(loop, false);
    run_flush(loop);
    run_jobs(&loop->reap_jobs);
    loop->due = loop->deferred || !pl_list_is_empty(&loop->flush_jobs) ? PL_DUE_JOBS : 0;
}

/* What follows the events. Mostly there is nothing of any kind, which is to cost nothing. */
static inline void run_phases(struct peal_loop *loop)
{
    if (has_tasks(loop)) {
        run_batch(loop, pl_task_take_all(&loop->tasks), false);
    }
    if (loop->due) {
        run_timers_and_jobs(loop);
    }
}

static inline bool has_quit_or_tasks(struct peal_loop *loop)
{
    return has_tasks(loop) || atomic_load_explicit(&loop->quit, memory_order_seq_cst);
}

/* Nanoseconds to the moment at which the wheel has something to do, or most_ns, if that is less. */
__attribute__((noinline)) static int64_t until_timer_ns(const struct peal_loop *loop,
                                                        int64_t most_ns, uint64_t now_ns)
{
    uint64_t next_ns = loop->next_timer_ms * 1000000u;
    int64_t left_ns = next_ns > now_ns ? (int64_t)(next_ns - now_ns) : 0;
    return most_ns >= 0 && most_ns < left_ns ? most_ns : left_ns;
}

static inline int64_t wait_ns(struct peal_loop *loop, int64_t most_ns, uint64_t now_ns)
{
    if (loop->due & PL_DUE_JOBS || has_tasks(loop)) {
        return 0; /* whether to quit is asked before sleeping */
    }
    if (loop->next_timer_ms == 0) {
        loop->next_timer_ms = pl_wheel_next_ms(&loop->wheel);
    }
    return loop->next_timer_ms == UINT64_MAX ? most_ns : until_timer_ns(loop, most_ns, now_ns);
}

/* Polls without sleeping for up to busy_poll_us. Returns events, 0 when none came, or a negative
 * errno. */
static int busy_poll(struct peal_loop *loop, int64_t timeout_ns)
{
    uint64_t began_ns = sys_monotonic_ns(), most_ns = loop->busy_poll_us * 1000ull, spent_ns = 0;
    if (timeout_ns >= 0 && (uint64_t)timeout_ns < most_ns) {
        most_ns = (uint64_t)timeout_ns;
    }
    int result = 0;
    while (result == 0 && spent_ns < most_ns && !has_quit_or_tasks(loop)) {
        result = loop->ops->wait(loop->engine, 0);
        spent_ns = sys_monotonic_ns() - began_ns;
    }
    return result;
}

static int sleep_for_events(struct peal_loop *loop, int64_t timeout_ns)
{
    atomic_store_explicit(&loop->asleep, true, memory_order_seq_cst);
    return loop->ops->wait(loop->engine, has_quit_or_tasks(loop) ? 0 : timeout_ns);
}

static void note_wait(struct peal_loop *loop, uint64_t began_ns)
{
    bool is_short = loop->now_ns - began_ns <= loop->busy_poll_us * 1000ull;
    if (is_short && loop->short_waits < SHORT_WAITS_MAX) {
        loop->short_waits++;
    } else if (!is_short && loop->short_waits > 0) {
        loop->short_waits--;
    }
}

__attribute__((noinline)) static int poll_then_sleep(struct peal_loop *loop, int64_t most_ns,
                                                     int64_t timeout_ns)
{
    uint64_t began_ns = loop->slept_ns;
    int result = 0;
    if (loop->short_waits >= SHORT_WAITS_TO_SPIN) {
        result = busy_poll(loop, timeout_ns);
        uint64_t now_ns = sys_monotonic_ns();
        if (most_ns >= 0) {
            int64_t spent_ns = (int64_t)(now_ns - began_ns);
            most_ns = most_ns > spent_ns ? most_ns - spent_ns : 0;
        }
        timeout_ns = wait_ns(loop, most_ns, now_ns);
    }
    if (result == 0) {
        result =
            timeout_ns == 0 ? loop->ops->wait(loop->engine, 0) : sleep_for_events(loop, timeout_ns);
    }
    note_wait(loop, began_ns);
    return result;
}

static inline int wait_for_events(struct peal_loop *loop, int64_t most_ns)
{
    int64_t timeout_ns = wait_ns(loop, most_ns, loop->slept_ns);
    if (timeout_ns == 0) {
        return loop->ops->wait(loop->engine, 0);
    }
    if (__builtin_expect(loop->busy_poll_us > 0, 0)) {
        return poll_then_sleep(loop, most_ns, timeout_ns);
    }
    return sleep_for_events(loop, timeout_ns);
}

/* Around turns, one or many: the calling thread is inside of the loop. Returns the one that it was
 * inside of before. */
static struct peal_loop *enter(struct peal_loop *loop)
{
    struct peal_loop *outer = current;
    if (loop->in_turn) {
        pl_misuse("peal_loop_run or peal_loop_turn was called from inside a callback of the same "
                  "loop (\"%s\"). Return from "
                  "the callback instead; to be called again later, use peal_loop_post or a timer.",
                  loop->name);
    }
    current = loop;
    loop->in_turn = true;
    loop->slept_ns = sys_monotonic_ns();
    return outer;
}

static void leave(struct peal_loop *loop, struct peal_loop *outer)
{
    loop->in_turn = false;
    current = outer;
}

static inline __attribute__((always_inline)) int turn(struct peal_loop *loop, int64_t most_ns)
{
    int result = wait_for_events(loop, most_ns);
    run_phases(loop);
    uint64_t now_ns = sys_monotonic_ns(), worked_ns = now_ns - loop->now_ns;
    loop->slept_ns = now_ns;
    pl_count(&loop->counters.turns, 1);
    pl_count(&loop->counters.work_ns, worked_ns);
    if (__builtin_expect(worked_ns > pl_counter_get(&loop->counters.lag_max_ns), 0)) {
        pl_counter_set(&loop->counters.lag_max_ns, worked_ns);
    }
    if (result <= 0) {
        return result;
    }
    pl_count(&loop->counters.events, (uint64_t)result);
    return 0;
}

/* ---- the end */

/* The newest first: what was opened later may stand on what was opened earlier. */
static void tell_residents(struct peal_loop *loop)
{
    while (!pl_list_is_empty(&loop->residents)) {
        struct pl_resident *resident = pl_container(loop->residents.prev, struct pl_resident, link);
        pl_list_remove(&resident->link);
        resident->on_loop_end(resident);
        run_jobs(&loop->reap_jobs);
    }
}

/* Reaps until nothing is left, also what the engine must first let go. */
static void reap_all(struct peal_loop *loop)
{
    run_jobs(&loop->reap_jobs);
    while (!pl_list_is_empty(&loop->leaving_jobs)) {
        if (loop->ops->wait(loop->engine, -1) < 0) { /* then nothing is in flight any more */
            pl_list_splice(&loop->reap_jobs, &loop->leaving_jobs);
        }
        run_jobs(&loop->reap_jobs);
    }
}

static void end(struct peal_loop *loop)
{
    struct peal_loop *outer = current;
    if (atomic_load(&loop->life) != PL_LOOP_ALIVE) {
        return;
    }
    current = loop;
    loop->in_turn = true;
    pl_loop_set_clock(loop, sys_monotonic_ns());
    atomic_store(&loop->life, PL_LOOP_ENDING);
    pl_record(loop, PL_RECORD_LOOP_END, 0, 0);
    tell_residents(loop);
    reap_all(loop);
    run_deferred(loop, true);
    run_batch(loop, pl_task_close(&loop->tasks), true);
    tell_residents(loop); /* a dropped task may have left something */
    run_deferred(loop, true);
    reap_all(loop);
    while (pl_wheel_take_any(&loop->wheel)) {
    }
    /* Whoever takes the word "asleep" after this finds it false and writes nothing; whoever took it
     * before is counted in waking by now. */
    atomic_exchange_explicit(&loop->asleep, false, memory_order_seq_cst);
    while (atomic_load_explicit(&loop->waking, memory_order_seq_cst) > 0) {
        sys_thread_yield(); /* a thread is inside wake: a few instructions and one write */
    }
    pl_assert(pl_list_is_empty(&loop->flush_jobs) && pl_list_is_empty(&loop->reap_jobs));
    pl_assert(!loop->deferred);
    if (loop->chunks_free) {
        loop->chunks_free(loop);
    }
    loop->ops->free(loop->engine);
    loop->engine = NULL;
    sys_free(loop->scratch);
    loop->scratch = NULL;
    loop->in_turn = false;
    current = outer;
    atomic_store(&loop->life, PL_LOOP_ENDED);
}

struct peal_loop *peal_loop_free(struct peal_loop *loop)
{
    if (!loop) {
        return NULL;
    }
    pl_loop_check(loop, "peal_loop_free");
    if (loop->in_turn) {
        pl_misuse("peal_loop_free was called from inside a callback of loop \"%s\". Call "
                  "peal_loop_quit there, and "
                  "peal_loop_free when peal_loop_run has returned.",
                  loop->name);
    }
    end(loop);
    return peal_loop_unref(loop);
}

/* ---- running it */

int peal_loop_run(struct peal_loop *loop)
{
    int result = 0;
    pl_loop_check(loop, "peal_loop_run");
    if (atomic_load(&loop->life) != PL_LOOP_ALIVE) {
        return PEAL_ERR_LOOP_ENDED;
    }
    struct peal_loop *outer = enter(loop);
    do {
        result = turn(loop, -1);
    } while (result == 0 && !atomic_load_explicit(&loop->quit, memory_order_acquire));
    leave(loop, outer);
    if (result < 0) {
        pl_log(PEAL_LOG_ERROR, "loop %s cannot wait for events and ends: %s", loop->name,
               peal_strerror(result));
    }
    end(loop);
    return result;
}

int peal_loop_turn(struct peal_loop *loop, int timeout_ms)
{
    pl_loop_check(loop, "peal_loop_turn");
    if (atomic_load(&loop->life) != PL_LOOP_ALIVE) {
        return PEAL_ERR_LOOP_ENDED;
    }
    struct peal_loop *outer = enter(loop);
    int result = turn(loop, timeout_ms < 0 ? -1 : timeout_ms * 1000000ll);
    if (loop->ops->push) {
        loop->ops->push(loop->engine); /* the next turn may be long in coming */
    }
    leave(loop, outer);
    return result < 0 ? result : !atomic_load_explicit(&loop->quit, memory_order_acquire);
}

void peal_loop_quit(struct peal_loop *loop)
{
    atomic_store_explicit(&loop->quit, true, memory_order_seq_cst);
    wake(loop);
}

/* ---- what it is */

struct peal_loop *peal_loop_current(void)
{
    return current;
}

bool peal_loop_is_mine(const struct peal_loop *loop)
{
    return pl_loop_is_mine(loop);
}

uint64_t peal_loop_now_ns(const struct peal_loop *loop)
{
    pl_loop_check(loop, "peal_loop_now_ns");
    return loop->now_ns;
}

void peal_loop_set_busy_poll_us(struct peal_loop *loop, uint32_t busy_poll_us)
{
    pl_loop_check(loop, "peal_loop_set_busy_poll_us");
    set_busy_poll(loop, busy_poll_us);
}

const char *peal_loop_name(const struct peal_loop *loop)
{
    return loop->name;
}

const char *peal_loop_engine(const struct peal_loop *loop)
{
    return loop->ops->name;
}

void peal_loop_get_stats(const struct peal_loop *loop, struct peal_loop_stats *ret_stats)
{
#define READ_COUNTER(name, sentence) ret_stats->name = pl_counter_get(&loop->counters.name);
    PEAL_LOOP_STATS(READ_COUNTER)
#undef READ_COUNTER
    ret_stats->connections_now = atomic_load_explicit(&loop->connections, memory_order_relaxed);
}
