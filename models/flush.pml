/* SPDX-License-Identifier: BSD-2-Clause */
/* The output of one connection: src/net/conn_output.c, with the cap of conn_remote.c, pl_conn_enter
 * and leave of conn.c, the time-out of conn_limits.c, and what engines promise of sends (E3, E5 of
 * src/loop/engine.h). How connections end otherwise is the business of close.pml.
 *
 * Around it: a program whose callbacks send small and large pieces, flush, ask for on_drain, shut
 * down, close and abort; a thread that sends and then may close; an engine that makes a send at
 * once or queues it (PL_IO_QUEUED); a kernel that takes all, a part or nothing; a peer that reads,
 * resets or hangs. A byte stands for any number; the marks and the cap are a few of them.
 *
 * What is shown:
 *  - every byte that a send accepted is taken by the kernel once, or counted as unsent in the close
 *    record: accepted == taken + unsent, and taken is what the kernel took (A; G5);
 *  - what the engine has queued is neither sent again nor given up before it is known what became
 *    of it, also when the connection ends meanwhile (Q; E3, E5);
 *  - our FIN comes after the last byte accepted (F);
 *  - on_drain is called only if it was owed (the output was above the high mark, or the program
 *    asked), in the flush phase, once for each time that it was owed, with the output at the low
 *    mark (D); it comes in the end unless the connection ends first, and so does reading go on;
 *  - output is within the cap where its thread can see it; a refusal is right: there was that much
 *    (C); nobody is refused because bytes are counted twice while they move (0007);
 *  - closed once, with a close that goes on by itself to the end: when nothing can move any more,
 *    the connection has closed, or the kernel has all of its output and nobody is owed anything.
 *
 * One step is one system call, one access to what threads share (remote, output_seen, requests, the
 * queue), or what the program does in a callback, with the private steps after it.
 *
 * Left out: files and blobs (chunks like others), the budget of a turn, idle and half-closed
 * time-outs, limits that change. While lingering, the peer ends or the time-out comes: one event.
 *
 * Bugs that must be found:
 *  BUG_QUEUED_TAKEN  what the engine has queued is counted as taken
 *  BUG_SENDS_BLOCKED a flush does not look whether a send is under way
 *  BUG_SENT_UNHEARD  on_sent of a connection that has closed is not counted
 *  BUG_FIN_EARLY     the FIN does not wait for what is blocked
 *  BUG_NO_DRAIN      a flush from on_sent does not look whether on_drain is due
 *  BUG_DRAIN_AGAIN   DRAIN_WANTED stays set
 *  BUG_STAYS_HIGH    reading is not resumed when the output comes down to the low mark
 *  BUG_NO_MOVING     arriving bytes are in both counts, and no bit says so
 *  BUG_GATHER_LOST   a callback that ends its connection loses what it had gathered
 *  BUG_REST_LOST     the rest of a large piece for which there is no memory is counted nowhere
 *  BUG_NO_LEVEL      what went when there was no memory for a large piece is not noted
 *  BUG_NO_WATCH      nobody watches whether a blocked output goes on */

#include "moves.pml"

#ifndef LOCAL
#define LOCAL 3 /* what the program does in callbacks */
#endif
#ifndef REMOTE
#define REMOTE 1 /* what the other thread sends */
#endif
#ifndef DATA
#define DATA 1 /* how often on_data is called */
#endif
#ifndef HIGH_MARK
#define HIGH_MARK 1
#endif
#ifndef LOW_MARK
#define LOW_MARK 0
#endif
#ifndef CAP
#define CAP 2
#endif
#define GATHER_MAX 1 /* no more than the marks: ROOMY */
#define LARGE 2

/* Where conn->job is. */
#define NOWHERE 0
#define ON_FLUSH 1
#define ON_REAP 2
#define LEAVING 3

#define REQUEST_CLOSE 1
#define REQUEST_CAP 2

#define SEND 1
#define REQUEST 2

/* ---- what threads share */
byte remote_bytes; /* conn->remote: one word, with the next two */
bool remote_moving, remote_ended;
byte output_seen;
byte requests;
chan tasks = [4] of { byte };

/* The kernel's, and the peer's. */
byte room = 2; /* in the send buffer */
byte rx; /* times that it has something to read */
bool reset_in, fin_out, peer_gone;

/* What the checks go by. */
byte accepted, taken, got; /* got: what the kernel took */
byte closes;
bool owed; /* an on_drain */
byte worst; /* the most that was pending since the other thread looked */

#define pending (accepted - taken)

inline accept_bytes(n)
{
    accepted = accepted + n;
    if
    :: pending > worst -> worst = pending
    :: else
    fi
}

/* ---- the other thread (conn_remote.c) */

inline request(what) /* pl_conn_request: its task is posted if none is on its way */
{
    atomic {
        if
        :: requests == 0 -> tasks!REQUEST
        :: else
        fi;
        requests = requests | what
    }
}

proctype other()
{
    byte sends, seen, level;
    bool seen_moving;
    do
    :: atomic { sends < REMOTE ->
        sends++;
        worst = pending;
        seen = remote_bytes; seen_moving = remote_moving }
        do /* reserve, is_over_cap */
        :: atomic { remote_ended -> break } /* -EPIPE */
        :: atomic { !remote_ended -> level = output_seen + seen } /* as it was when it looked */
            if
            :: atomic { level + 1 > CAP && !remote_ended && remote_bytes == seen &&
                        remote_moving == seen_moving && !seen_moving ->
                assert(worst + 1 > CAP); /* C */
                level = 0 }
                request(REQUEST_CAP);
                break
            :: atomic { level + 1 > CAP && (remote_ended || remote_bytes != seen ||
                                            remote_moving != seen_moving || seen_moving) ->
                seen = remote_bytes; seen_moving = remote_moving } /* and again */
            :: atomic { level + 1 <= CAP && !remote_ended && remote_bytes == seen &&
                        remote_moving == seen_moving -> /* atomic_compare_exchange */
                remote_bytes++; accept_bytes(1);
                level = 0 }
                tasks!SEND; /* the reference that it has: close.pml */
                break
            :: atomic { level + 1 <= CAP && (remote_ended || remote_bytes != seen ||
                                             remote_moving != seen_moving) ->
                seen = remote_bytes; seen_moving = remote_moving }
            fi
        od;
        atomic { seen = 0; level = 0; seen_moving = false }
    :: atomic { sends == REMOTE -> break }
    od;
    if
    :: atomic { remote_ended = true } request(REQUEST_CLOSE)
    :: true
    fi;
    sends = 0
}

proctype peer()
{
    byte sent;
    do
    :: atomic { closes == 0 && sent < DATA -> sent++; rx++ }
    :: atomic { closes == 0 && room == 0 -> room = 1 }
    :: atomic { closes == 0 -> reset_in = true; break }
    :: atomic { true -> break } /* hangs */
    od;
    atomic { sent = 0; peer_gone = true }
}

/* ---- the loop's thread, conn_output.c. All but flush inside atomic steps. */

#define can_write (state != S_CLOSED && !blocked && !failed)
#define is_plain (state == S_OPEN && recv_on && !blocked && !watched && !high && !drain_wanted && \
                  !fin_wanted && !fin_sent && !failed && !queued && !flush_due)
#define fin_due (state == S_CLOSING || (state == S_OPEN && fin_wanted && !fin_sent))
#define drain_due (drain_wanted && state == S_OPEN && !failed && out <= LOW_MARK)

inline flush_later()
{
    if
    :: state != S_CLOSED && !failed && job == NOWHERE -> job = ON_FLUSH
    :: else
    fi
}

inline flush_soon() /* pl_conn_flush_soon */
{
    if
    :: in_callback -> flush_due = true
    :: else -> flush_later()
    fi
}

inline reap_soon() { job = ON_REAP }

inline fail() /* pl_conn_fail */
{
    if
    :: state != S_CLOSED && !failed -> remote_ended = true; failed = true; reap_soon()
    :: else
    fi
}

inline break_now() /* pl_conn_break */
{
    if
    :: state != S_CLOSED -> remote_ended = true; move(E_BREAK); reap_soon()
    :: else
    fi
}

inline update_recv() /* pl_conn_update_recv */
{
    if
    :: state != S_CLOSED && !failed -> recv_on = state != S_OPEN || !high
    :: else
    fi
}

inline close_now() /* pl_conn_close_for */
{
    if
    :: state == S_OPEN && !failed ->
        remote_ended = true; move(E_CLOSE); update_recv(); flush_soon()
    :: else
    fi
}

inline note_level()
{
    output_seen = out;
    if
    :: out > HIGH_MARK && !high -> high = true; drain_wanted = true; owed = true; update_recv()
    :: out <= LOW_MARK && high ->
        high = false;
#ifndef BUG_STAYS_HIGH
        update_recv()
#endif
    :: else
    fi
}

inline took_some(n)
{
    if
    :: n > 0 -> assert(out >= n); out = out - n; taken = taken + n; note_level()
    :: else
    fi
}

inline output_queued() /* queued */
{
    queued = true; note_level(); flush_soon()
}

inline is_blocked() /* blocked */
{
    blocked = true;
    if
    :: io_queued == 0 ->
#ifndef BUG_NO_WATCH
        watched = true
#else
        skip
#endif
    :: else
    fi
}

inline stop_gathering() /* pl_conn_stop_gathering */
{
    gathering = false;
    if
    :: gathered > 0 -> out = out + gathered; gathered = 0; output_queued()
    :: else
    fi
}

/* ops->send: n is what the kernel took, 0 if it is queued; failure as it says. */
inline engine_send(size, now)
{
    assert(io_queued == 0 && !fin_out && closes == 0); /* Q, F */
    broken = false; n = 0;
    if
    :: reset_in -> broken = true
    :: !reset_in && room >= size -> n = size
    :: !reset_in && room > 0 && size > room -> n = room
    :: !reset_in && room == 0
    :: queues && !now -> io_queued = size
    fi;
    room = room - n; got = got + n;
    io_send = !broken && io_queued == 0 && n < size
}

inline drain_if_due() /* the last of pl_conn_flush */
{
#ifdef BUG_NO_DRAIN
    skip
#else
    if
    :: drain_due -> flush_later()
    :: else
    fi
#endif
}

/* pl_conn_flush, and pl_conn_output_empty of conn.c */
inline flush()
{
    atomic { stop_gathering() };
    do
#ifdef BUG_SENDS_BLOCKED
    :: atomic { state != S_CLOSED && !failed && out > 0 && !io_send ->
#else
    :: atomic { can_write && out > 0 ->
#endif
        engine_send(out, false);
        if
        :: broken -> fail()
        :: !broken ->
#ifdef BUG_QUEUED_TAKEN
            if
            :: io_queued > 0 -> taken = taken + io_queued; out = out - io_queued; note_level()
            :: else
            fi;
#endif
            m = out;
            took_some(n);
            if
            :: n < m -> is_blocked()
            :: else
            fi
        fi;
        n = 0; m = 0; broken = false }
#ifdef BUG_SENDS_BLOCKED
    :: atomic { state == S_CLOSED || failed || out == 0 || io_send -> break }
#else
    :: atomic { !can_write || out == 0 -> break }
#endif
    od;
    if
#ifdef BUG_FIN_EARLY
    :: atomic { state != S_CLOSED && !failed && (out == 0 || io_queued == out) ->
#else
    :: atomic { can_write && out == 0 ->
#endif
        watched = false; queued = false;
        if
        :: remote_bytes > 0 || !fin_due /* the FIN goes after them */
        :: remote_bytes == 0 && fin_due && reset_in && !fin_sent -> fail() /* ENOTCONN */
        :: remote_bytes == 0 && fin_due && (!reset_in || fin_sent) -> /* shutdown(fd, SHUT_WR) */
            assert(remote_ended && taken == accepted && io_queued == 0); /* F */
            fin_out = true; fin_sent = true;
            if
            :: state == S_OPEN -> move(E_FIN_SENT)
            :: state == S_CLOSING -> move(E_FLUSHED)
            fi
        fi;
        drain_if_due() }
    :: atomic { else -> drain_if_due() }
    fi
}

/* peal_conn_send of size bytes, in a callback. */
inline send(size)
{
    if
    :: remote_ended /* -EPIPE */
    :: !remote_ended && gathering && gathered + size <= GATHER_MAX ->
        gathered = gathered + size; accept_bytes(size)
    :: !remote_ended && !(gathering && gathered + size <= GATHER_MAX) -> /* pl_conn_queue */
        stop_gathering();
        if
        :: out + size > CAP -> /* -ENOBUFS */
            if
            :: !refuses -> break_now()
            :: else
            fi
        :: out + size <= CAP && size == LARGE && !blocked -> /* write_direct */
            engine_send(out + size, true);
            if
            :: broken -> fail() /* -EPIPE */
            :: !broken ->
                m = out + size - n; /* what is left of all */
                if
                :: m == 0 -> accept_bytes(size); taken = taken + n; out = 0; note_level()
                :: m > 0 -> /* the kernel took the queue's bytes first */
                    is_blocked();
                    if
                    :: accept_bytes(size); taken = taken + n; out = m; output_queued()
                    :: n <= out -> /* no memory, nothing of it is gone: it is not accepted */
                        taken = taken + n; out = out - n;
#ifndef BUG_NO_LEVEL
                        note_level()
#endif
                    :: n > out -> /* no memory, a part is gone */
                        accept_bytes(size); taken = taken + n; out = 0;
                        break_now();
#ifndef BUG_REST_LOST
                        remote_bytes = remote_bytes + m
#endif
                    fi
                fi
            fi;
            n = 0; m = 0; broken = false
        :: else ->
            accept_bytes(size); out = out + size; output_queued()
        fi
    fi
}

#define TO_EVENTS 0
#define TO_REAP 1

proctype loop()
{
    byte state = S_CONNECTING, ended_in, job, out, gathered, io_queued, n, m, batch;
    byte actions = LOCAL, after_callback, serving;
    bool recv_on, in_callback, gathering, flush_due, queued, blocked, watched, high, drain_wanted;
    bool fin_wanted, fin_sent, failed, io_send, broken, told, queues, refuses;

    atomic {
        if :: queues = true :: true fi;
        if :: refuses = true :: true fi;
        move(E_OPENED);
        recv_on = true
    };

turn:
    if
    :: atomic { closes == 0 && (job != NOWHERE || io_queued > 0 || nempty(tasks) || watched ||
                                (io_send && (room > 0 || reset_in)) || (reset_in && !told) ||
                                (recv_on && rx > 0) || state == S_LINGERING ||
                                (state == S_OPEN && fin_sent)) -> skip }
    :: atomic { closes == 1 -> goto closed }
    :: atomic { timeout ->
        assert(state == S_OPEN && !remote_ended && !failed);
        assert(out == 0 && gathered == 0 && remote_bytes == 0 && accepted == taken && taken == got);
        assert(!owed && !high && recv_on && !blocked && output_seen == 0); /* D */
        goto end }
    fi;

events: /* what the engine tells; sends that it had queued go to the kernel when it waits */
    if
    :: atomic { io_queued > 0 -> /* uring_tell_sends */
        m = io_queued;
        if
        :: reset_in -> broken = true
        :: !reset_in && room >= m -> n = m
        :: !reset_in && room > 0 && m > room -> n = room
        :: !reset_in && room == 0
        fi;
        room = room - n; got = got + n; io_queued = 0;
        if
        :: job == LEAVING -> goto sent /* detached */
        :: else -> io_send = !broken && n < m
        fi;
        m = 0;
        goto sent }
    :: atomic { io_send && (room > 0 || reset_in) && job != LEAVING -> io_send = false; goto sent }
    :: atomic { reset_in && !told && job != LEAVING -> told = true; recv_on = false; fail() }
    :: atomic { rx > 0 && recv_on && !reset_in && job != LEAVING ->
        rx--;
        if
        :: state == S_OPEN -> after_callback = TO_EVENTS; goto call_back /* on_data */
        :: else -> goto events /* discarded */
        fi }
    :: atomic { (state == S_LINGERING || (state == S_OPEN && fin_sent)) && !failed ->
        /* the peer's FIN, or the time-out: pl_conn_peer_ended, on_timer */
        if
        :: move(E_BOTH_ENDED)
        :: remote_ended = true; move(E_BREAK)
        fi;
        reap_soon() }
    :: atomic { true -> skip }
    fi;
    goto run_tasks;

sent: /* pl_conn_on_sent */
    if
    :: atomic { state == S_CLOSED ->
#ifndef BUG_SENT_UNHEARD
        taken = taken + n; out = out - n;
#endif
        n = 0; m = 0; broken = false;
        if
        :: job == LEAVING -> goto finish /* on_detached */
        :: else -> goto run_tasks
        fi }
    :: atomic { state != S_CLOSED && broken ->
        blocked = false; fail(); broken = false; n = 0; goto run_tasks }
    :: atomic { state != S_CLOSED && !broken ->
        blocked = false;
#ifdef BUG_QUEUED_TAKEN
        n = 0;
#endif
        took_some(n);
        n = 0;
        if
        :: io_send -> is_blocked(); goto run_tasks
        :: else
        fi }
        flush()
    fi;

run_tasks:
    atomic { batch = len(tasks) };
    do
    :: atomic { batch > 0 && tasks?[SEND] -> tasks?SEND; batch-- } /* arrive (conn_remote.c) */
        if
        :: atomic { state == S_CLOSED || failed -> skip } /* its byte stays in the word */
        :: atomic { state != S_CLOSED && !failed ->
#ifndef BUG_NO_MOVING
            remote_moving = true
#endif
            }
            atomic { out++; output_queued() }; /* pl_conn_accept_remote */
            atomic { remote_bytes--; remote_moving = false }
        fi
    :: atomic { batch > 0 && tasks?[REQUEST] -> /* serve */
        tasks?REQUEST;
        batch--;
        serving = requests;
        requests = 0;
        if
        :: (serving & REQUEST_CAP) && !refuses -> break_now()
        :: else
        fi;
        if
        :: serving & REQUEST_CLOSE -> close_now()
        :: else
        fi;
        serving = 0 }
    :: atomic { batch == 0 -> break }
    od;

    /* on_timer (conn_limits.c) */
    if
    :: atomic { watched && !failed && state != S_CLOSED -> break_now() }
    :: true
    fi;

    /* flush_job */
    if
    :: atomic { job == ON_FLUSH -> job = NOWHERE }
        flush();
        atomic {
            if
            :: drain_due ->
#ifndef BUG_DRAIN_AGAIN
                drain_wanted = false;
#endif
                assert(owed && out <= LOW_MARK && closes == 0); /* D */
                owed = false;
                after_callback = TO_REAP;
                goto call_back
            :: else
            fi
        }
    :: atomic { job != ON_FLUSH -> skip }
    fi;

reap: /* conn.c */
    if
    :: atomic { job == ON_REAP ->
        job = NOWHERE;
        if
        :: state != S_CLOSED -> move(E_BREAK)
        :: else
        fi;
        io_send = false;
        if
        :: io_queued > 0 -> job = LEAVING; goto turn /* detach: it is in flight */
        :: else -> goto finish
        fi }
    :: atomic { job != ON_REAP -> goto turn }
    fi;
finish:
    atomic {
        assert(io_queued == 0 && gathered == 0 && state == S_CLOSED && remote_ended); /* Q */
        assert(accepted == taken + out + remote_bytes && taken == got); /* A */
        closes++;
        assert(closes == 1);
        job = NOWHERE;
        goto turn
    };

    /* ---- pl_conn_enter, a callback, pl_conn_leave */
call_back:
    atomic { assert(!in_callback && closes == 0); gathering = is_plain; in_callback = true };
    do
    :: atomic { actions > 0 -> actions--;
        if
        :: true -> send(1)
        :: true -> send(LARGE)
        :: true -> drain_wanted = true; owed = true; stop_gathering(); /* peal_conn_want_drain */
            if
            :: drain_due -> flush_later()
            :: else
            fi
        :: state == S_OPEN && !fin_wanted && !failed -> /* peal_conn_shutdown */
            remote_ended = true; fin_wanted = true; flush_soon()
        :: true -> close_now()
        :: true -> break_now() /* peal_conn_abort */
        fi }
    :: atomic { actions > 0 -> actions-- } flush() /* peal_conn_flush */
    :: atomic { true -> break }
    od;
    if
    :: atomic { gathering && is_plain -> /* pl_conn_leave_plain, pl_conn_sent_in_part */
        in_callback = false; gathering = false;
        if
        :: gathered > 0 ->
            engine_send(gathered, false);
            if
            :: broken -> out = gathered; queued = true; note_level(); fail()
            :: !broken && n == gathered -> taken = taken + n
            :: !broken && n < gathered ->
                out = gathered - n; taken = taken + n; queued = true; note_level(); is_blocked()
            fi;
            gathered = 0; n = 0; broken = false
        :: else
        fi }
    :: atomic { !(gathering && is_plain) ->
#ifdef BUG_GATHER_LOST
        if
        :: state == S_CLOSED -> gathered = 0; gathering = false
        :: else
        fi;
#endif
        stop_gathering();
        in_callback = false }
        if
        :: atomic { flush_due -> flush_due = false } flush()
        :: atomic { !flush_due -> skip }
        fi
    fi;
    atomic {
        if
        :: after_callback == TO_EVENTS -> goto run_tasks
        :: after_callback == TO_REAP -> after_callback = TO_EVENTS; goto reap
        fi
    };

closed:
    /* What still arrives finds it closed: tasks are taken until the other thread is done. */
    do
    :: atomic { tasks?[SEND] -> tasks?SEND }
    :: atomic { tasks?[REQUEST] -> tasks?REQUEST; requests = 0 }
    :: atomic { timeout -> break }
    od;
end:
    skip
}

init
{
    atomic {
        run loop();
        run other();
        run peer()
    };
    _nr_pr == 1;
    assert(empty(tasks));
    assert(closes == 1 || (accepted == got && taken == got))
}
