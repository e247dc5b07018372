/* SPDX-License-Identifier: BSD-2-Clause */
/* Stopping a server whose shards are on several loops, while sockets are handed over to them:
 * src/net/server_stop.c, accept.c, shard.c, the references of server.c, and end of src/loop/loop.c.
 *
 * A home loop listens and hands what it accepts to the loops of a pool (HOME_SERVES: and serves).
 * A thread adopts a socket meanwhile (peal_server_adopt) and gives up its reference. Another stops
 * the server - at once, or first without a deadline and then with one, or not at all, and then the
 * last unref does - and gives up its own. Peers connect, and end or never end their connections.
 * Loops of the pool, or home, are quit at any moment (QUIT_POOL, QUIT_HOME).
 *
 * What is shown:
 *  - on_stopped once, whatever happens, on a loop's thread and never inside a call; after all
 *    on_close, and not while a socket waits that was posted before its shard was through (S);
 *  - every socket taken is closed once, or stays its caller's; each is counted, and the count of
 *    those there are goes back to nothing (C);
 *  - nothing opens in a shard that stops (shard.c, invariant 3);
 *  - a shard finishes on its loop's thread alone, and no part of the report is written once the
 *    report is made (R);
 *  - the server's memory goes with the last reference, once, and is not touched after it; a loop
 *    that has been let go is not touched either (M);
 *  - when nothing can move any more, the server has stopped and its memory is gone; and without
 *    waiting for that, as liveness under weak fairness: it stops, though no peer ever ends.
 *
 * One step is one access to what threads share, with the private steps after it. A count that
 * nobody looks at goes with the step before it, and so does a reference taken by one who has
 * another. The queue is a channel: what it is, and the waking, is the business of wakeup.pml, and
 * how a connection ends is that of close.pml: here it has ended when its peer has, or when it is
 * broken.
 *
 * Left out: pausing (it has the control task in common with the stop, and a stop twice uses it as
 * much), limits, balance by SO_REUSEPORT (no hand-over; its listeners start by a task), visits.
 *
 * Bugs that must be found:
 *  BUG_FORGETS        a shard finishes without looking whether sockets are on their way to it
 *  BUG_LAST_TOO_EARLY at its loop's end a shard finishes before the queue is closed and emptied
 *  BUG_LAST_WAITS     at its loop's end a shard heeds incoming, which a refused sender lowers
 *  BUG_FINISHES_AFAR  a sender that is refused finishes the shard
 *  BUG_LATE_UNSETTLED a shard whose loop had ended when the server was made is left to that loop
 *  BUG_NO_HOME_REF    the last shard posts without a reference to home
 *  BUG_TWICE          nobody looks whether a shard has finished
 *  BUG_NO_DEADLINE    a stop starts no timer
 *  BUG_CONTROL_LATE   control says that it is no longer posted after it has looked
 *  BUG_NO_HOLD        a hand-over has no reference to the server
 *  BUG_OPENS          what arrives while the shard stops is opened
 *  BUG_DROPS          a socket that is dropped with its loop is not closed */

#ifndef POOL
#define POOL 1 /* loops besides home */
#endif
#ifndef ACCEPTS
#define ACCEPTS 1
#endif
#ifndef ADOPTS
#define ADOPTS 1
#endif
#ifndef STOPS
#define STOPS 2 /* how often the owner may ask */
#endif
#define LOOPS (POOL + 1)
#define SOCKS (ACCEPTS + ADOPTS)
#define HOME 0

/* enum pl_server_state */
#define RUNNING 0
#define STOPPING 1
#define STOPPED 2

/* Times: now is 0, and at some moment 1. */
#define DEADLINE 1
#define NEVER 2
#define NONE 3

/* Where a socket is. */
#define NOWHERE 0
#define BACKLOG 1
#define TAKEN 2 /* from the kernel or the program, and on its way to a shard */
#define OPEN 3
#define CLOSED 4
#define KEPT 5 /* adopting failed: it is the caller's still */

/* How an open one is. */
#define LIVES 0
#define CLOSING 1
#define BROKEN 2 /* on the reap list of its loop */

/* Tasks. */
#define SETTLE 0
#define CONTROL 1
#define ARRIVE 2
#define STOPPED_TASK 3
#define LAST 4 /* settle_task once more: queue_closed */

/* ---- the server */
byte state = RUNNING;
byte users = 1 + (ADOPTS > 0); /* the owner, and the one who adopts */
byte references = 3; /* the users', while it runs, the listener */
byte shards_left = LOOPS;
byte deadline = NONE;
bool freed, made; /* made: peal_server_new has returned */

/* ---- its shards */
byte conns[LOOPS], incoming[LOOPS], timer[LOOPS];
bool stopping[LOOPS], finished[LOOPS], control_posted[LOOPS], loop_gone[LOOPS], resident[LOOPS];
bool listening, listener_closing; /* home's */

/* ---- loops */
chan tasks[LOOPS] = [7] of { byte, byte };
bool queue_closed[LOOPS], quit[LOOPS], ended[LOOPS], loop_freed[LOOPS];
byte loop_references[LOOPS] = 2; /* the owner's, and the server's */

/* ---- sockets */
byte sock[SOCKS], phase[SOCKS], at[SOCKS];
bool peer_ended[SOCKS];
bit now;

/* What the checks go by. */
byte stops; /* calls of on_stopped */
byte counted; /* conns_now */
bool sealed[LOOPS]; /* nothing was on its way to it when it finished */
bool late[SOCKS]; /* sent off after that, or not at all */

#define touch() assert(!freed)
#define touch_loop(l) assert(!loop_freed[l])

/* ---- references (server.c) */

inline unref_loop(l) /* peal_loop_unref; inside an atomic step */
{
    touch_loop(l);
    loop_references[l]--;
    if
    :: loop_references[l] == 0 -> assert(ended[l]); loop_freed[l] = true
    :: else
    fi
}

inline release() /* pl_server_release, destroy */
{
    atomic {
        touch(); /* M */
        assert(references > 0);
        references--;
        if
        :: references == 0 ->
            freed = true;
            i = 0;
            do
            :: i < LOOPS -> assert(conns[i] == 0); unref_loop(i); i++
            :: else -> break
            od;
            i = 0
        :: else
        fi
    }
}

/* pl_loop_post_task, pl_loop_post_bare. The look at asleep in wake, which follows, is written out
 * where it matters: who has a reference to the server has one to its loops. */
inline post(to_loop, what, which)
{
    atomic {
        touch_loop(to_loop);
        ok = !queue_closed[to_loop];
        if
        :: ok -> tasks[to_loop]!what, which
        :: else
        fi
    }
}

/* ---- finishing */

inline stopped() /* server_stop.c */
{
    atomic {
        touch();
        assert(me < LOOPS); /* S: never inside a call */
        state = STOPPED;
        stops++;
        assert(stops == 1); /* S */
        i = 0;
        do
        :: i < SOCKS ->
            assert(sock[i] != OPEN && (sock[i] != TAKEN || late[i])); /* S */
            i++
        :: else -> break
        od;
        i = 0;
        quit[HOME] = true; /* as peal_serve does in on_stopped */
        if
        :: quit[POOL] = true
        :: true
        fi
    };
    release()
}

inline shard_finished() /* pl_server_shard_finished */
{
    atomic { touch(); assert(shards_left > 0); shards_left--; ok = shards_left == 0 };
    if
    :: atomic { ok ->
        touch();
        if
        :: state == RUNNING -> state = STOPPING
        :: else
        fi }
#ifndef BUG_NO_HOME_REF
        atomic { touch(); touch_loop(HOME); loop_references[HOME]++ };
#endif
        post(HOME, STOPPED_TASK, 0);
        atomic { touch_loop(HOME) }; /* wake; M */
        if
        :: atomic { !ok -> skip } stopped()
        :: atomic { ok -> ok = false }
        fi;
#ifndef BUG_NO_HOME_REF
        atomic { unref_loop(HOME) }
#endif
    :: atomic { !ok -> skip }
    fi
}

inline finish(shard)
{
    if
#ifndef BUG_TWICE
    :: atomic { finished[shard] -> touch() }
    :: atomic { !finished[shard] ->
#else
    :: atomic { true ->
#endif
        touch();
        assert(me == shard || !made); /* R */
        finished[shard] = true; timer[shard] = 0; resident[shard] = false }
        shard_finished()
    fi
}

inline check_finished() /* pl_shard_check_finished */
{
    if
#ifdef BUG_FORGETS
    :: atomic { !stopping[me] || loop_gone[me] || conns[me] > 0 -> touch() }
    :: atomic { stopping[me] && !loop_gone[me] && conns[me] == 0 ->
#else
#ifdef BUG_LAST_TOO_EARLY
    :: atomic { !stopping[me] || conns[me] > 0 || (incoming[me] > 0 && !loop_gone[me]) -> touch() }
    :: atomic { stopping[me] && conns[me] == 0 && (incoming[me] == 0 || loop_gone[me]) ->
#else
    :: atomic { !stopping[me] || loop_gone[me] || conns[me] > 0 || incoming[me] > 0 -> touch() }
    :: atomic { stopping[me] && !loop_gone[me] && conns[me] == 0 && incoming[me] == 0 ->
#endif
#endif
        touch();
        sealed[me] = true }
        finish(me)
    fi
}

/* ---- a loop's part in the stop (shard.c) */

inline break_all() /* inside an atomic step */
{
    i = 0;
    do
    :: i < SOCKS ->
        if
        :: sock[i] == OPEN && at[i] == me -> phase[i] = BROKEN
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline begin_stopping(graceful) /* inside an atomic step */
{
    assert(stops == 0); /* R: report.connections */
    stopping[me] = true;
    if
    :: me == HOME && listening -> listening = false; listener_closing = true
    :: else
    fi;
    i = 0;
    do
    :: i < SOCKS && graceful -> /* pl_conn_close_for */
        if
        :: sock[i] == OPEN && at[i] == me && phase[i] == LIVES -> phase[i] = CLOSING
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline shard_loop_ended()
{
    atomic {
        touch();
        loop_gone[me] = true; timer[me] = 0; resident[me] = false;
        if
        :: !stopping[me] -> begin_stopping(false)
        :: else
        fi;
        break_all();
        references++ /* for the last look */
    };
    post(me, LAST, 0);
    atomic {
        if
        :: !ok -> deferred = true /* queue_closed: the task that settles was dropped */
        :: else -> ok = false
        fi
    }
#ifdef BUG_LAST_TOO_EARLY
    ; check_finished()
#endif
}

inline shard_stop()
{
    if
    :: atomic { finished[me] || loop_gone[me] -> touch() }
    :: atomic { !finished[me] && !loop_gone[me] -> touch() }
        atomic {
            touch();
            if
            :: !stopping[me] -> begin_stopping(true)
            :: else
            fi
        };
        atomic {
            touch();
            if
            :: deadline <= now -> break_all()
            :: else ->
#ifndef BUG_NO_DEADLINE
                timer[me] = deadline
#endif
            fi
        };
        check_finished()
    fi
}

/* ---- taking sockets (accept.c) */

inline discard(s) /* pl_conn_discard, pl_server_discount, handover_lost; inside an atomic step */
{
    assert(sock[s] == TAKEN); /* C */
    sock[s] = CLOSED; counted--
}

inline shard_add(s)
{
    atomic {
        touch();
        if
#ifndef BUG_OPENS
        :: stopping[me] -> discard(s)
#endif
        :: else ->
            assert(sock[s] == TAKEN && stops == 0);
            assert(!finished[me] && !stopping[me]); /* nothing opens in a shard that stops */
            sock[s] = OPEN; phase[s] = LIVES; at[s] = me; conns[me]++
        fi
    }
}

inline choose_shard() /* pl_server_choose_shard, by whichever balance */
{
#ifdef HOME_SERVES
    to = HOME;
#else
    to = HOME + 1;
#endif
    do
    :: to < POOL -> to++
    :: break
    od
}

inline hand_over(s) /* ok says what it returns */
{
    atomic {
        touch();
#ifndef BUG_NO_HOLD
        references++;
#endif
        incoming[to]++
    };
    atomic {
        post(to, ARRIVE, s);
        if
        :: ok -> late[s] = sealed[to]
        :: else
        fi
    };
    if
    :: atomic { ok -> skip }
    :: atomic { !ok -> touch(); assert(incoming[to] > 0); incoming[to]-- }
#ifdef BUG_FINISHES_AFAR
        if
        :: atomic { stopping[to] && conns[to] == 0 && incoming[to] == 0 -> skip } finish(to)
        :: atomic { !(stopping[to] && conns[to] == 0 && incoming[to] == 0) -> skip }
        fi;
#endif
#ifndef BUG_NO_HOLD
        release();
#endif
        ok = false
    fi
}

/* ---- any thread (server_stop.c) */

inline shard_call(shard) /* pl_shard_call */
{
    if
    :: atomic { control_posted[shard] -> touch() }
    :: atomic { !control_posted[shard] -> touch(); control_posted[shard] = true; references++ }
        post(shard, CONTROL, 0);
        if
        :: atomic { ok -> ok = false }
        :: atomic { !ok -> skip } release()
        fi
    fi
}

inline stop(until) /* peal_server_stop */
{
    if
    :: atomic { state == STOPPED -> touch() }
    :: atomic { state != STOPPED -> touch() }
        atomic { /* note_deadline: a loop of compare-and-swap, of which the last changes it */
            touch();
            if
            :: until < deadline -> deadline = until
            :: else
            fi
        };
        atomic {
            touch();
            if
            :: state == RUNNING -> state = STOPPING
            :: else
            fi;
            references++ /* its caller may have none of its own */
        };
        do
        :: atomic { to < LOOPS -> skip } shard_call(to); to++
        :: atomic { to == LOOPS -> to = 0; break }
        od;
        release()
    fi
}

inline unref() /* peal_server_unref */
{
    atomic { touch(); assert(users > 0); users--; ok = users == 0 };
    if
    :: atomic { ok -> ok = false }
        if
        :: atomic { state == RUNNING -> touch() } stop(DEADLINE)
        :: atomic { state != RUNNING -> touch() }
        fi;
        release()
    :: atomic { !ok -> skip }
    fi
}

proctype owner()
{
    byte i, to;
    bool ok;
    made;
    if
#if STOPS > 1
    :: stop(NEVER); stop(DEADLINE)
#endif
#if STOPS > 0
    :: stop(DEADLINE)
#endif
    :: true
    fi;
    unref()
}

proctype adopter() /* peal_server_adopt */
{
    byte me = LOOPS, i, to, next = ACCEPTS; /* me: on no loop's thread */
    bool ok;
    made;
    do
    :: atomic { next < SOCKS && state == RUNNING ->
            touch(); /* pl_server_admit, pl_conn_new */
            sock[next] = TAKEN; late[next] = true; counted++;
            choose_shard() }
        hand_over(next);
        atomic {
            if
            :: !ok -> assert(sock[next] == TAKEN); sock[next] = KEPT; counted--
            :: else -> ok = false
            fi;
            to = 0;
            next++
        }
    :: atomic { next < SOCKS && state != RUNNING -> touch(); sock[next] = KEPT; next++ }
    :: atomic { next == SOCKS -> break }
    od;
    unref()
}

proctype quitter(byte which)
{
    quit[which] = true
}

proctype clock()
{
    now = 1
}

/* Peers connect, in their order, and end what is open, or never do. */
proctype peers()
{
    byte connected;
    do
    :: atomic { connected < ACCEPTS && listening -> sock[connected] = BACKLOG; connected++ }
    :: atomic { sock[0] == OPEN && !peer_ended[0] -> peer_ended[0] = true }
#if ACCEPTS + ADOPTS > 1
    :: atomic { sock[1] == OPEN && !peer_ended[1] -> peer_ended[1] = true }
#endif
#if ACCEPTS + ADOPTS > 2
    :: atomic { sock[2] == OPEN && !peer_ended[2] -> peer_ended[2] = true }
#endif
    :: atomic { true -> connected = 0; break }
    od
}

/* ---- a loop's thread (loop.c) */

#define acceptable(s) (me == HOME && listening && sock[s] == BACKLOG)
#define has_end(s) (sock[s] == OPEN && at[s] == me && phase[s] != BROKEN && peer_ended[s])
#if ACCEPTS + ADOPTS == 1
#define any_event (acceptable(0) || has_end(0))
#elif ACCEPTS + ADOPTS == 2
#define any_event (acceptable(0) || acceptable(1) || has_end(0) || has_end(1))
#else
#define any_event (acceptable(0) || acceptable(1) || acceptable(2) || \
                   has_end(0) || has_end(1) || has_end(2))
#endif
#define timer_due (timer[me] == DEADLINE && now == 1)

proctype loop(byte me)
{
    byte i, s, to, batch, kind;
    bool ok, ending, deferred;

    /* peal_server_new on home's thread: settle_shards; and a listen call */
    if
    :: me == HOME ->
        atomic { resident[me] = true; to = 1 };
        do
        :: atomic { to < LOOPS -> references++ }
            post(to, SETTLE, 0);
            if
            :: atomic { ok -> ok = false }
            :: atomic { !ok -> skip }
#ifndef BUG_LATE_UNSETTLED
                atomic { loop_gone[to] = true; stopping[to] = true }; /* pl_shard_had_no_loop */
                finish(to);
#endif
                release()
            fi;
            to++
        :: atomic { to == LOOPS -> to = 0; listening = true; made = true; break }
        od
    :: me != HOME
    fi;

turn: /* one begins when there is something to do */
    atomic { nempty(tasks[me]) || timer_due || any_event || quit[me] -> s = 0 };
    /* What comes of the connections is first. */
events:
    atomic {
        do
        :: s < SOCKS && has_end(s) -> phase[s] = BROKEN; s++
        :: s < SOCKS && acceptable(s) -> goto accept
        :: s < SOCKS && !has_end(s) && !acceptable(s) -> s++
        :: s == SOCKS -> s = 0; batch = len(tasks[me]); goto run_tasks
        od
    };
accept: /* on_accept (accept.c) */
    atomic {
        touch();
        sock[s] = TAKEN; late[s] = true; counted++;
        choose_shard()
    };
    if
    :: atomic { to == me -> to = 0 } shard_add(s)
    :: atomic { to != me -> skip } hand_over(s);
        atomic {
            if
            :: !ok -> touch(); discard(s)
            :: else -> ok = false
            fi;
            to = 0
        }
    fi;
    atomic { s++; goto events };

run_tasks: /* run_batch: those that were there when it began; at the loop's end they are dropped */
    do
    :: atomic { batch > 0 -> tasks[me]?kind, s; batch-- }
        if
        :: atomic { kind == SETTLE -> kind = 0 }
            if
            :: atomic { !ending -> touch(); resident[me] = true } /* pl_shard_settle */
            :: atomic { ending -> skip } shard_loop_ended()
            fi;
            release()
        :: atomic { kind == CONTROL -> kind = 0 } /* control (server_stop.c) */
#ifdef BUG_CONTROL_LATE
            if
            :: atomic { !ending && state != RUNNING -> touch() } shard_stop()
            :: atomic { ending || state == RUNNING -> touch() }
            fi;
            atomic { touch(); control_posted[me] = false };
#else
            atomic { touch(); control_posted[me] = false };
            if
            :: atomic { !ending && state != RUNNING -> touch() } shard_stop()
            :: atomic { ending || state == RUNNING -> touch() }
            fi;
#endif
            release()
        :: atomic { kind == ARRIVE -> kind = 0 } /* pl_conn_arrived (accept.c) */
            if
            :: atomic { ending ->
                touch();
#ifdef BUG_DROPS
                counted--
#else
                discard(s)
#endif
                }
            :: atomic { !ending -> skip } shard_add(s)
            fi;
            atomic { touch(); s = 0; assert(incoming[me] > 0); incoming[me]-- };
            check_finished();
#ifndef BUG_NO_HOLD
            release()
#endif
        :: atomic { kind == STOPPED_TASK -> kind = 0 } stopped()
        :: atomic { kind == LAST -> kind = 0; assert(ending); deferred = true } /* queue_closed */
        fi
    :: atomic { batch == 0 && ending -> goto end }
    :: atomic { batch == 0 && !ending -> break }
    od;

    /* on_deadline (shard.c) */
    if
    :: atomic { timer_due -> timer[me] = 0 } shard_stop()
    :: atomic { !timer_due -> skip }
    fi;

reap: /* finish (conn.c) and conn_closed (shard.c); the listener's destroy and on_closed */
    atomic {
        do
        :: s < SOCKS && sock[s] == OPEN && at[s] == me && phase[s] == BROKEN ->
            touch();
            assert(stops == 0); /* on_close; R: the report */
            assert(conns[me] > 0);
            sock[s] = CLOSED; conns[me]--; counted--;
            s++;
            if
            :: stopping[me] -> goto closed
            :: else
            fi
        :: s < SOCKS && !(sock[s] == OPEN && at[s] == me && phase[s] == BROKEN) -> s++
        :: s == SOCKS -> s = 0; goto reaped
        od
    };
closed:
    check_finished();
    goto reap;
reaped:
    if
    :: atomic { me == HOME && listener_closing -> listener_closing = false } release()
    :: atomic { me != HOME || !listener_closing -> skip }
    fi;
    if
    :: atomic { ending -> goto close_queue }
    :: atomic { !ending && quit[me] -> ending = true }
    :: atomic { !ending && !quit[me] -> goto turn }
    fi;

    /* end: tell_residents, reap_all, the queue */
    if
    :: atomic { resident[me] -> skip } shard_loop_ended()
    :: atomic { !resident[me] -> skip }
    fi;
    goto reap;
close_queue:
    atomic { queue_closed[me] = true; batch = len(tasks[me]); goto run_tasks };
end: /* run_deferred: last_look */
    if
#ifdef BUG_LAST_WAITS
    :: atomic { deferred && incoming[me] > 0 -> deferred = false } release()
    :: atomic { deferred && incoming[me] == 0 ->
#else
    :: atomic { deferred ->
#endif
        touch();
        deferred = false;
        assert(conns[me] == 0);
        sealed[me] = true }
        finish(me);
        release()
    :: atomic { !deferred -> skip }
    fi;
    atomic { ended[me] = true; unref_loop(me) } /* peal_loop_free, on its thread */
}

init
{
    byte i;
    atomic {
        do
        :: i < LOOPS -> run loop(i); i++
        :: else -> break
        od;
        run owner();
#if ADOPTS > 0
        run adopter();
#endif
        run peers();
        run clock();
#ifdef QUIT_POOL
        run quitter(POOL);
#endif
#ifdef QUIT_HOME
        run quitter(HOME);
#endif
        i = 0
    };
#ifndef LIVENESS
    atomic {
        timeout -> /* nothing can move any more */
        assert(stops == 1 && freed && references == 0 && users == 0);
        do
        :: i < SOCKS -> assert(sock[i] != OPEN && sock[i] != TAKEN); i++ /* C */
        :: else -> break
        od;
        assert(counted == 0);
        i = 0;
        do
        :: i < LOOPS -> quit[i] = true; i++
        :: else -> break
        od;
        i = 0
    };
    _nr_pr == 1;
    atomic {
        do
        :: i < LOOPS -> assert(loop_freed[i] && empty(tasks[i]) && incoming[i] == 0); i++
        :: else -> break
        od
    }
#endif
}

#ifdef LIVENESS
ltl ends { <> (stops == 1) }
#endif
