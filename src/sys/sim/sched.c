/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads under a baton, and the clock that moves when all of them wait.
 *
 * Model. A simulated thread is a real one, with a real stack and thread-local variables, that runs
 * only while it holds the baton. It hands the baton on in two places: at a point (pl_sim_point),
 * where it could go on but the choice stream may prefer another, and in a wait (pl_sim_wait), where
 * it cannot. So exactly one thread runs at any time, the order is the stream's, and a run can be
 * repeated. Mutexes, condition variables, joins and all calls that block are made of waits.
 *
 * The clock stands still while any thread can go on. When none can, it jumps to the nearest moment
 * at which something happens: a wait ends, or the network delivers. When there is none either, the
 * program has stopped for ever, and the run has failed. A stall, one of the faults, moves the clock
 * at a point, as if the machine had been busy with something else.
 *
 * Which thread is next: with PL_SIM_RANDOM each that is ready has the same chance; with
 * PL_SIM_PRIORITIES each has a random priority, the highest that is ready runs, and now and then
 * the running one falls to the bottom (few changes at places that are hard to guess: Burckhardt et
 * al., "A randomized scheduler with probabilistic guarantees of finding bugs", 2010). With
 * PL_SIM_EVERY, while exploring, a thread is interrupted at most so many times as were granted, and
 * each answer is put down, so that somebody may try all of them, one run each (few interruptions
 * find most bugs: Musuvathi and Qadeer, "Iterative context bounding", 2007). The first answer of
 * each choice is "go on as you are".
 *
 * Real threads are kept over runs, as starting one costs more than many a run.
 *
 * Invariants
 *  1. Exactly one thread of the run has state RUNNING: the caller of any function here.
 *  2. A WAITING thread has an object or a moment; it becomes READY by a wake of its object, when
 *     its moment has come, or by a wake that the fault WOKEN_FOR_NOTHING made.
 *  3. A thread that has ENDED stays in the table until it is joined; a detached one leaves at once.
 *
 * Failure modes: waiting for ever, too many steps, a mutex locked twice or unlocked by a stranger,
 * all end the run with a sentence. If the real system has no thread for us, the process ends. */
#include "sys/sim/sim.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum thread_state { IDLE, RUNNING, READY, WAITING, ENDED };

struct pl_sim_thread {
    _Atomic uint32_t has_baton;
    enum thread_state state;
    const void *object;
    uint64_t until_ns;
    bool was_woken, is_detached;
    uint64_t number;
    uint64_t priority; /* higher goes first */
    char name[16];
    void *(*fn)(void *arg);
    void *arg;
    sigset_t mask;
    struct pl_sim_thread *next_idle;
};

enum {
    STEPS_USUAL = 20000000,
    STALL_MAX_MS = 400,
    IDLE_STEPS_MAX = 20000,
    YIELD_IDLE_STEPS_MAX = 1000 /* a yield that has moved nothing for so long is granted */
};
#define LAST_WORDS_NS      60000000000u
#define LAST_WORDS_STEP_NS 10000000u

static struct pl_sim_thread first_thread;
static struct pl_sim_thread *idle_threads;
static _Thread_local struct pl_sim_thread *self;

static struct pl_sim_thread *myself(void)
{
    if (!self) { /* the process's first thread, outside of any run */
        pl_sim_threads_begin();
    }
    return self;
}

uint64_t pl_sim_thread_number(void)
{
    return myself()->number;
}

const char *pl_sim_thread_name(void)
{
    return myself()->name;
}

uint64_t pl_sim_after(uint64_t ns)
{
    return ns < PL_SIM_NEVER - pl_sim.now_ns ? pl_sim.now_ns + ns : PL_SIM_NEVER;
}

/* ---- the baton */

static void hand_baton(struct pl_sim_thread *to)
{
    atomic_store_explicit(&to->has_baton, 1, memory_order_release);
    syscall(SYS_futex, &to->has_baton, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void (*on_each)(void); /* the run is over: see pl_sim_on_each_thread */
static struct pl_sim_thread *asker;

static void take_baton(struct pl_sim_thread *thread)
{
    while (!atomic_load_explicit(&thread->has_baton, memory_order_acquire)) {
        syscall(SYS_futex, &thread->has_baton, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    }
    atomic_store_explicit(&thread->has_baton, 0, memory_order_relaxed);
}

static void await_baton(struct pl_sim_thread *thread)
{
    take_baton(thread);
    while (on_each) {
        on_each();
        hand_baton(asker);
        take_baton(thread);
    }
}

void pl_sim_on_each_thread(void (*fn)(void))
{
    asker = myself();
    on_each = fn;
    for (unsigned i = 0; i < pl_sim.threads_count; i++) {
        if (pl_sim.threads[i] != asker) {
            hand_baton(pl_sim.threads[i]);
            take_baton(asker);
        }
    }
}

static void become_ready(struct pl_sim_thread *thread, bool was_woken)
{
    thread->state = READY;
    thread->was_woken = was_woken;
    thread->object = NULL;
    thread->until_ns = PL_SIM_NEVER;
}

/* Those whose moment has come. Returns the nearest moment of the others. */
static uint64_t ready_by_time(void)
{
    uint64_t nearest = PL_SIM_NEVER;
    for (unsigned i = 0; i < pl_sim.threads_count; i++) {
        struct pl_sim_thread *thread = pl_sim.threads[i];
        if (thread->state == WAITING && thread->until_ns <= pl_sim.now_ns) {
            become_ready(thread, false);
        } else if (thread->state == WAITING && thread->until_ns < nearest) {
            nearest = thread->until_ns;
        }
    }
    return nearest;
}

static unsigned list_ready(struct pl_sim_thread **list)
{
    unsigned count = 0;
    for (unsigned i = 0; i < pl_sim.threads_count; i++) {
        if (pl_sim.threads[i]->state == READY) {
            list[count++] = pl_sim.threads[i];
        }
    }
    return count;
}

static struct pl_sim_thread *choose(struct pl_sim_thread **ready, unsigned count)
{
    if (pl_sim.schedule == PL_SIM_RANDOM ||
        (pl_sim.schedule == PL_SIM_EVERY && pl_sim.is_exploring)) {
        return ready[pl_choice_below(&pl_sim.choice, count)];
    }
    struct pl_sim_thread *best = ready[0];
    for (unsigned i = 1; i < count; i++) {
        if (ready[i]->priority > best->priority) {
            best = ready[i];
        }
    }
    return best;
}

static void list_who_waits(char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < pl_sim.threads_count && used < size; i++) {
        struct pl_sim_thread *thread = pl_sim.threads[i];
        if (thread->state == WAITING) {
            int n = snprintf(text + used, size - used, "%s%s (%llu)", used ? ", " : "",
                             thread->name, (unsigned long long)thread->number);
            used += n > 0 ? (size_t)n : 0;
        }
    }
}

/* The one that goes on now that the caller cannot. Time moves if nobody can. */
static struct pl_sim_thread *next_thread(void)
{
    struct pl_sim_thread *ready[PL_SIM_THREADS_MAX];
    for (;;) {
        pl_sim_network_run();
        uint64_t nearest = ready_by_time();
        unsigned count = list_ready(ready);
        if (count > 0) {
            return choose(ready, count);
        }
        uint64_t arrives = pl_sim_network_next_ns();
        nearest = arrives < nearest ? arrives : nearest;
        if (nearest == PL_SIM_NEVER) {
            char names[256];
            list_who_waits(names, sizeof names);
            pl_sim_fail("every thread waits for ever: %s", names);
        }
        pl_sim.now_ns = nearest > pl_sim.now_ns ? nearest : pl_sim.now_ns;
        pl_sim_progress();
    }
}

static void switch_to(struct pl_sim_thread *to)
{
    struct pl_sim_thread *from = self;
    to->state = RUNNING;
    if (to != from) {
        hand_baton(to);
        await_baton(from);
    }
}

void pl_sim_progress(void)
{
    pl_sim.idle_steps = 0;
}

static void count_step(void)
{
    if (++pl_sim.idle_steps > IDLE_STEPS_MAX && pl_sim.is_strict) {
        pl_sim_fail("%u calls have moved nothing: something spins", IDLE_STEPS_MAX);
    }
    uint64_t most = pl_sim.steps_max ? pl_sim.steps_max : STEPS_USUAL;
    if (++pl_sim.steps > most) {
        pl_sim_fail("no end after %llu steps: something goes round in circles",
                    (unsigned long long)most);
    }
}

/* Which of the ready threads interrupts the running one; NULL: none. */
static struct pl_sim_thread *interrupting(struct pl_sim_thread **ready, unsigned count)
{
    if (pl_sim.schedule != PL_SIM_EVERY) {
        size_t from = pl_sim.choice.size;
        bool is_switched = pl_choice_chance(&pl_sim.choice, pl_sim.switch_share);
        struct pl_sim_thread *to = is_switched ? choose(ready, count) : NULL;
        pl_choice_mark(&pl_sim.choice, from, PL_SIM_MARK_SWITCH);
        return to;
    }
    if (!pl_sim.is_exploring || pl_sim.preemptions_left == 0) {
        return NULL;
    }
    uint64_t which = pl_choice_below(&pl_sim.choice, count + 1);
    pl_sim.preemptions_left -= which > 0;
    return which > 0 ? ready[which - 1] : NULL;
}

void pl_sim_point(void)
{
    count_step();
    if (pl_sim_strikes(PL_SIM_STALL)) {
        pl_sim.now_ns += (pl_choice_below(&pl_sim.choice, STALL_MAX_MS) + 1) * 1000000u;
        TRACE("-- time passes");
    }
    pl_sim_network_run();
    ready_by_time();
    pl_sim_small_point();
}

void pl_sim_small_point(void)
{
    struct pl_sim_thread *thread = myself();
    struct pl_sim_thread *ready[PL_SIM_THREADS_MAX];
    unsigned count = list_ready(ready);
    struct pl_sim_thread *next = count > 0 ? interrupting(ready, count) : NULL;
    if (!next) {
        return;
    }
    if (pl_sim.schedule == PL_SIM_PRIORITIES) {
        thread->priority = PL_SIM_NEVER / 2 - pl_sim.steps; /* below all, those that fell too */
    }
    thread->state = READY;
    switch_to(next);
}

bool pl_sim_wait(const void *object, uint64_t until_ns)
{
    struct pl_sim_thread *thread = myself();
    count_step();
    if (until_ns <= pl_sim.now_ns) {
        return false;
    }
    if (pl_sim_strikes(PL_SIM_WOKEN_FOR_NOTHING)) {
        pl_sim_point();
        return true;
    }
    thread->state = WAITING;
    thread->object = object;
    thread->until_ns = until_ns;
    switch_to(next_thread());
    return thread->was_woken;
}

void pl_sim_wake(const void *object)
{
    for (unsigned i = 0; i < pl_sim.threads_count; i++) {
        struct pl_sim_thread *thread = pl_sim.threads[i];
        if (thread->state == WAITING && thread->object == object) {
            become_ready(thread, true);
        }
    }
}

void pl_sim_wake_one(const void *object)
{
    struct pl_sim_thread *waiting[PL_SIM_THREADS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < pl_sim.threads_count; i++) {
        struct pl_sim_thread *thread = pl_sim.threads[i];
        if (thread->state == WAITING && thread->object == object) {
            waiting[count++] = thread;
        }
    }
    if (count > 0) {
        become_ready(waiting[pl_choice_below(&pl_sim.choice, count)], true);
    }
}

/* ---- threads */

static void add_thread(struct pl_sim_thread *thread, const char *name)
{
    thread->number = ++pl_sim.threads_started;
    strncpy(thread->name, name, sizeof thread->name - 1);
    thread->name[sizeof thread->name - 1] = '\0';
    thread->priority = PL_SIM_NEVER / 2;
    if (pl_sim.schedule == PL_SIM_PRIORITIES) {
        thread->priority += pl_choice_below(&pl_sim.choice, 1u << 16);
    }
    pl_sim.threads[pl_sim.threads_count++] = thread;
}

static void remove_thread(struct pl_sim_thread *thread)
{
    for (unsigned i = 0; i < pl_sim.threads_count; i++) {
        if (pl_sim.threads[i] == thread) {
            memmove(&pl_sim.threads[i], &pl_sim.threads[i + 1],
                    (pl_sim.threads_count - i - 1) * sizeof(struct pl_sim_thread *));
            pl_sim.threads_count--;
            return;
        }
    }
}

static void make_idle(struct pl_sim_thread *thread)
{
    remove_thread(thread);
    thread->state = IDLE;
    thread->next_idle = idle_threads;
    idle_threads = thread;
}

/* A real thread's life: one simulated thread after the other. */
static void *real_main(void *arg)
{
    self = arg;
    for (;;) {
        await_baton(self);
        pthread_sigmask(SIG_SETMASK, &self->mask, NULL);
        self->fn(self->arg);
        TRACE("thread ends");
        self->state = ENDED;
        pl_sim_wake(self);
        struct pl_sim_thread *next = next_thread();
        if (self->is_detached) {
            make_idle(self);
        }
        next->state = RUNNING;
        hand_baton(next);
    }
    return NULL;
}

static struct pl_sim_thread *real_thread(void)
{
    if (idle_threads) {
        struct pl_sim_thread *thread = idle_threads;
        idle_threads = thread->next_idle;
        return thread;
    }
    struct pl_sim_thread *thread = calloc(1, sizeof *thread);
    pthread_t handle;
    if (!thread || pthread_create(&handle, NULL, real_main, thread) != 0) {
        abort();
    }
    pthread_detach(handle);
    return thread;
}

static int start(struct pl_sim_thread **ret_thread, const char *name, void *(*fn)(void *),
                 void *arg, bool is_detached)
{
    int injected = pl_sim_hook('s', "pthread_create");
    if (injected) {
        return -injected;
    }
    pl_sim_point();
    if (pl_sim_strikes(PL_SIM_THREAD_REFUSED) || pl_sim.threads_count == PL_SIM_THREADS_MAX) {
        TRACE("thread %s: EAGAIN", name);
        return -EAGAIN;
    }
    struct pl_sim_thread *thread = real_thread();
    thread->fn = fn;
    thread->arg = arg;
    thread->is_detached = is_detached;
    pthread_sigmask(SIG_SETMASK, NULL, &thread->mask);
    if (is_detached) {
        sigfillset(&thread->mask);
    }
    become_ready(thread, false);
    add_thread(thread, name);
    TRACE("thread %s (%llu) starts", name, (unsigned long long)thread->number);
    if (ret_thread) {
        *ret_thread = thread;
    }
    pl_sim_point();
    return 0;
}

static struct pl_sim_thread *thread_of(const struct sys_thread *thread)
{
    struct pl_sim_thread *found;
    _Static_assert(sizeof found <= sizeof thread->handle, "a handle holds a pointer");
    memcpy(&found, &thread->handle, sizeof found);
    return found;
}

int sys_thread_start(struct sys_thread *thread, const char *name, void *(*fn)(void *), void *arg)
{
    struct pl_sim_thread *started = NULL;
    int result = start(&started, name, fn, arg, false);
    if (result == 0) {
        memcpy(&thread->handle, &started, sizeof started);
    }
    return result;
}

int sys_thread_start_detached(const char *name, void *(*fn)(void *), void *arg)
{
    return start(NULL, name, fn, arg, true);
}

void sys_thread_join(struct sys_thread *thread)
{
    struct pl_sim_thread *other = thread_of(thread);
    pl_sim_point();
    while (other->state != ENDED) {
        pl_sim_wait(other, PL_SIM_NEVER);
    }
    make_idle(other);
}

bool sys_thread_is_self(const struct sys_thread *thread)
{
    return thread_of(thread) == myself();
}

uint64_t sys_thread_id(void)
{
    return myself()->number;
}

/* Who yields waits for another: where threads are not interrupted by chance, one of the others goes
 * on, each in its turn. So it is where chance has let nobody else go on for long: a stream that is
 * used up never would. */
void sys_thread_yield(void)
{
    struct pl_sim_thread *thread = myself();
    pl_sim_point();
    if (pl_sim.schedule != PL_SIM_EVERY && pl_sim.idle_steps <= YIELD_IDLE_STEPS_MAX) {
        return;
    }
    unsigned at = 0;
    while (pl_sim.threads[at] != thread) {
        at++;
    }
    for (unsigned i = 1; i < pl_sim.threads_count; i++) {
        struct pl_sim_thread *next = pl_sim.threads[(at + i) % pl_sim.threads_count];
        if (next->state == READY) {
            thread->state = READY;
            switch_to(next);
            return;
        }
    }
}

unsigned sys_cpu_count(void)
{
    return pl_sim.cpus ? pl_sim.cpus : 2;
}

void pl_sim_forked(void)
{
    idle_threads = NULL; /* they stayed with the parent */
}

void pl_sim_threads_begin(void)
{
    if (!self) {
        self = &first_thread;
    }
    self->state = RUNNING;
    self->object = NULL;
    self->until_ns = PL_SIM_NEVER;
    pl_sim.threads_count = 0;
    pl_sim.threads_started = 0;
    add_thread(self, "first");
}

/* Threads that nobody joins may be at their last words still, as those of the resolver: they have
 * time to end. */
void pl_sim_threads_end(void)
{
    static const char nothing;
    uint64_t until_ns = pl_sim_after(LAST_WORDS_NS);
    while (pl_sim.threads_count > 1 && pl_sim.now_ns < until_ns) {
        pl_sim_wait(&nothing, pl_sim_after(LAST_WORDS_STEP_NS));
    }
    if (pl_sim.threads_count > 1) {
        struct pl_sim_thread *left = pl_sim.threads[pl_sim.threads[0] == self ? 1 : 0];
        pl_sim_fail("the program has ended, and its thread %s (%llu) has not%s", left->name,
                    (unsigned long long)left->number, left->state == ENDED ? " been joined" : "");
    }
}

/* ---- mutexes: the first bytes hold the owner; all zero is free, as SYS_MUTEX_INIT makes it */

static struct pl_sim_thread **owner_of(struct sys_mutex *mutex)
{
    return (struct pl_sim_thread **)(void *)mutex;
}

void sys_mutex_init(struct sys_mutex *mutex)
{
    memset(mutex, 0, sizeof *mutex);
}

void sys_mutex_deinit(struct sys_mutex *mutex)
{
    if (*owner_of(mutex)) {
        pl_sim_fail("a mutex is destroyed while %s has it", (*owner_of(mutex))->name);
    }
    memset(mutex, 0xdd, sizeof *mutex);
    *owner_of(mutex) = NULL;
}

static void take_mutex(struct sys_mutex *mutex)
{
    while (*owner_of(mutex)) {
        if (*owner_of(mutex) == self) {
            pl_sim_fail("%s locks a mutex that it has", self->name);
        }
        pl_sim_wait(mutex, PL_SIM_NEVER);
    }
    *owner_of(mutex) = myself();
}

static void give_mutex(struct sys_mutex *mutex)
{
    if (*owner_of(mutex) != self) {
        pl_sim_fail("%s unlocks a mutex that it has not", myself()->name);
    }
    *owner_of(mutex) = NULL;
    pl_sim_wake(mutex);
}

void sys_mutex_lock(struct sys_mutex *mutex)
{
    pl_sim_point();
    take_mutex(mutex);
}

void sys_mutex_unlock(struct sys_mutex *mutex)
{
    give_mutex(mutex);
    pl_sim_point();
}

/* ---- condition variables: their address is all they need */

void sys_cond_init(struct sys_cond *cond)
{
    memset(cond, 0, sizeof *cond);
}

void sys_cond_deinit(struct sys_cond *cond)
{
    for (unsigned i = 0; i < pl_sim.threads_count; i++) {
        if (pl_sim.threads[i]->state == WAITING && pl_sim.threads[i]->object == cond) {
            pl_sim_fail("a condition variable is destroyed while %s waits for it",
                        pl_sim.threads[i]->name);
        }
    }
}

static bool wait_for_cond(struct sys_cond *cond, struct sys_mutex *mutex, uint64_t until_ns)
{
    give_mutex(mutex);
    bool was_woken = pl_sim_wait(cond, until_ns);
    take_mutex(mutex);
    return was_woken;
}

void sys_cond_wait(struct sys_cond *cond, struct sys_mutex *mutex)
{
    wait_for_cond(cond, mutex, PL_SIM_NEVER);
}

bool sys_cond_wait_for(struct sys_cond *cond, struct sys_mutex *mutex, uint64_t timeout_ns)
{
    return wait_for_cond(cond, mutex, pl_sim_after(timeout_ns));
}

void sys_cond_signal(struct sys_cond *cond)
{
    pl_sim_wake_one(cond);
    pl_sim_point();
}

void sys_cond_broadcast(struct sys_cond *cond)
{
    pl_sim_wake(cond);
    pl_sim_point();
}
