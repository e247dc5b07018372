/* SPDX-License-Identifier: BSD-2-Clause */
/* Posting tasks to a loop that may be asleep, and the end of the loop: src/loop/task.c (the stack),
 * wake, sleep_for_events, run_phases and end of src/loop/loop.c, docs/decisions/0006.
 *
 * What is shown:
 *  - every task that a post accepted is run or dropped exactly once, a refused one neither (T);
 *  - the tasks of one producer come out in the order in which it pushed them (O);
 *  - the loop never sleeps for ever with a task in its queue or a quit asked for (a state in which
 *    nothing can move is an error; and `served`, without a quit, as liveness);
 *  - at most one write to the eventfd for each time that the loop said it would sleep (W);
 *  - nobody writes to an engine that has been freed (F).
 *
 * One step is one access to shared memory, or one system call, with the private steps after it.
 * What is sequentially consistent in C happens at once. The one store that is relaxed and is looked
 * at by others, "asleep = false" in pl_loop_awake, goes through a store buffer of one place, which
 * is emptied whenever it likes, and at the latest before the loop's next atomic operation that is
 * a read-modify-write or sequentially consistent store: the loop's later loads may come first, as on
 * a machine with store buffers.
 *
 * Left out: a weak compare-and-swap that fails for no reason (it only tries again); bare tasks
 * (their mark is a bit of a link); busy polling (it waits without sleeping and looks at the queue).
 *
 * Bugs that must be found:
 *  BUG_LOOK_FIRST     looks for tasks before it says that it is asleep (hazard 36)
 *  BUG_RELAXED_SLEEP  says that it is asleep in a relaxed store
 *  BUG_ALL_WRITE      a producer that sees the loop asleep writes without taking the word back
 *  BUG_NO_MARK        the end takes what is queued, but leaves no mark (hazard 20)
 *  BUG_NO_WAKING      the end does not wait for threads inside wake
 *  BUG_NO_TURN        the batch is not turned around
 *  BUG_QUIT_UNSEEN    the second look, after "asleep", is for tasks only */

#ifndef POSTS
#define POSTS 1 /* of the second producer; the first posts 2 */
#endif
#define TASKS (2 + POSTS + 1)
#define OWN TASKS /* posted by the loop's own thread, from the first task that it runs */
#define PRODUCER_OF(task) (task > 2)
#define NONE 0
#define MARK 255 /* closed_mark of task.c */
#ifndef STRAY_EVENTS
#define STRAY_EVENTS 1 /* what ends a sleep without a wake-up: a socket, a timer */
#endif

byte head = NONE; /* tasks.head */
byte next_of[TASKS + 1];
bool asleep, quit, ended;
byte waking;
byte eventfd;
bool engine_freed;

bool buffered; /* the loop's store buffer: a store to asleep waits in it … */
bool buffered_value; /* … of this value */

/* What the checks go by. */
byte accepted[TASKS + 1], refused[TASKS + 1], done[TASKS + 1];
byte last_done[2]; /* the newest task of each producer that was run or dropped */
bool claimable; /* the loop said that it would sleep, and nobody has taken that back with a write */
byte stray = STRAY_EVENTS;
bool first_posted; /* task 1 was accepted */

#define empty_buffer() if :: buffered -> asleep = buffered_value; buffered = false :: else fi

/* ---- any thread */

/* wake (loop.c) */
inline wake()
{
    if
    :: atomic { asleep ->
        skip }
#ifdef BUG_ALL_WRITE
        waking++;
        atomic { assert(claimable); claimable = false }; /* W */
        atomic { assert(!engine_freed); eventfd = 1 }; /* F */
        waking--
#else
        waking++; /* atomic_fetch_add(&loop->waking) */
        if
        :: atomic { asleep -> /* atomic_exchange(&loop->asleep, false) */
            asleep = false;
            assert(claimable); /* W */
            claimable = false }
            atomic { assert(!engine_freed); eventfd = 1 } /* F; ops->wake: write(eventfd) */
        :: atomic { !asleep -> skip }
        fi;
        waking-- /* atomic_fetch_sub(&loop->waking) */
#endif
    :: atomic { !asleep -> skip }
    fi
}

/* pl_task_push (task.c), then wake: pl_loop_post_task */
inline post(task)
{
    atomic { seen = head }; /* atomic_load(&queue->head) */
    do
    :: atomic { seen == MARK ->
        refused[task]++; /* it is its caller's still: pl_loop_post_task returns false */
        break }
    :: atomic { seen != MARK ->
        next_of[task] = seen; /* nobody else can see the task yet */
        /* atomic_compare_exchange(&queue->head, &seen, task) */
        if
        :: head == seen ->
            head = task;
            accepted[task]++;
            seen = NONE;
            if :: task == 1 -> first_posted = true :: else fi
        :: else -> seen = head
        fi };
        if
        :: atomic { accepted[task] > 0 -> skip } wake(); break
        :: atomic { else -> skip }
        fi
    od
}

proctype producer(byte task; byte last)
{
    byte seen;
    do
    :: atomic { task <= last -> skip } post(task); task++
    :: atomic { task > last -> break }
    od
}

#ifndef NO_QUIT
/* peal_loop_quit, by a thread that has a reference to the loop and nothing else to do. */
proctype quitter()
{
    quit = true;
    wake()
}
#endif

/* Empties the store buffer at any moment. */
active proctype machine()
{
end: do
    :: atomic { buffered -> empty_buffer() }
    od
}

/* ---- the loop's thread */

/* atomic_store_explicit(&loop->asleep, value, memory_order_relaxed) */
inline store_relaxed(value)
{
    atomic { empty_buffer(); buffered = true; buffered_value = value }
}

/* turn_around (task.c): batch, newest first, becomes a chain that begins with the oldest. Private. */
inline turn_around()
{
#ifdef BUG_NO_TURN
    skip
#else
    first = NONE;
    do
    :: batch != NONE -> other = next_of[batch]; next_of[batch] = first; first = batch; batch = other
    :: else -> break
    od;
    batch = first;
    first = NONE
#endif
}

/* run_batch (loop.c). The task that is run first makes the loop's thread post one of its own. */
inline run_batch(dropped)
{
    do
    :: atomic { batch != NONE ->
        task = batch;
        batch = next_of[task];
        next_of[task] = NONE;
        done[task]++;
        assert(done[task] == 1); /* T */
        if
        :: task != OWN ->
            assert(task > last_done[PRODUCER_OF(task)]); /* O */
            last_done[PRODUCER_OF(task)] = task
        :: else
        fi };
        if
        :: atomic { task == 1 && !dropped -> task = NONE } post(OWN)
        :: atomic { else -> task = NONE }
        fi
    :: atomic { batch == NONE -> break }
    od
}

/* sleep_for_events (loop.c) and wait_events (engine_epoll.c) */
inline sleep_for_events()
{
#ifdef BUG_LOOK_FIRST
    atomic { blocking = head == NONE && !quit };
    atomic { empty_buffer(); asleep = true; claimable = true };
#else
#ifdef BUG_RELAXED_SLEEP
    atomic { empty_buffer(); buffered = true; buffered_value = true; claimable = true };
#else
    atomic { empty_buffer(); asleep = true; claimable = true };
#endif
    /* has_quit_or_tasks: two loads */
    atomic { blocking = head == NONE };
#ifndef BUG_QUIT_UNSEEN
    if
    :: atomic { blocking -> blocking = !quit }
    :: atomic { !blocking -> skip }
    fi;
#endif
#endif
    /* epoll_wait(…, blocking ? without limit : 0). A system call is no barrier in C. */
    if
    :: atomic { eventfd > 0 -> woken = true }
    :: atomic { !blocking && eventfd == 0 -> woken = false }
    :: atomic { blocking && eventfd == 0 && stray > 0 -> stray--; woken = false }
    fi;
    atomic { blocking = false };
    store_relaxed(false); /* pl_loop_awake */
    if
    :: atomic { woken -> eventfd = 0; woken = false } /* drain_wake */
    :: atomic { !woken -> skip }
    fi
}

/* wait_for_events (loop.c): with tasks queued it polls, and says nothing */
inline wait_for_events()
{
    atomic { blocking = head == NONE };
    if
    :: blocking -> sleep_for_events()
    :: else ->
        atomic { woken = eventfd > 0 };
        store_relaxed(false);
        if
        :: atomic { woken -> eventfd = 0; woken = false }
        :: atomic { !woken -> skip }
        fi
    fi
}

/* pl_task_take_all (task.c), from run_phases */
inline take_all()
{
    if
    :: atomic { head != NONE -> empty_buffer(); batch = head; head = NONE; turn_around() }
    :: atomic { head == NONE -> skip }
    fi
}

/* end (loop.c) */
inline end_loop()
{
    /* life = ENDING, residents, reap: no part of this. Then pl_task_close: */
#ifdef BUG_NO_MARK
    atomic { empty_buffer(); batch = head; head = NONE; turn_around() };
#else
    atomic { empty_buffer(); batch = head; head = MARK; turn_around() };
#endif
    run_batch(true);
    atomic { empty_buffer(); asleep = false }; /* atomic_exchange(&loop->asleep, false) */
#ifndef BUG_NO_WAKING
    waking == 0; /* sys_thread_yield until it is */
#endif
    engine_freed = true; /* ops->free */
    ended = true /* life = ENDED; the structure stays until the last reference */
}

proctype loop()
{
    byte seen, batch, first, other, task;
    bool blocking, woken;
    do
    ::  wait_for_events();
        take_all();
        run_batch(false);
        if
        :: atomic { quit -> break } /* peal_loop_run */
        :: atomic { !quit -> skip }
        fi
    od;
    end_loop()
}

init
{
    atomic {
        run loop();
        run producer(1, 2);
        run producer(3, 2 + POSTS);
#ifndef NO_QUIT
        run quitter()
#endif
    };
    /* When all has come to rest: */
    _nr_pr == 2; /* this one and the machine: the loop has ended, and all producers */
    byte i;
    atomic {
        i = 1;
        do
        :: i <= TASKS ->
            assert(accepted[i] + refused[i] <= 1);
            assert(done[i] == accepted[i]); /* T */
            i++
        :: else -> break
        od;
        assert(ended && waking == 0)
    }
}

#ifdef NO_QUIT
/* Without a quit the loop turns for ever, and what was posted is run. */
ltl served { [] (first_posted -> <> (done[1] > 0)) }
#endif
