/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of one connection: src/net/conn.c, conn_output.c, conn_input.c, conn_limits.c (time-outs),
 * conn_remote.c, conn_refs.c, handle.c, with the moves of moves.def; decisions 0002, 0007, 0009.
 *
 * Around the connection: its loop; a kernel and a peer that sends, ends, resets or goes silent as it
 * likes; a program whose callbacks send, shut down, close and abort; a thread that holds a reference
 * and does the same; one that does it by id, without a reference. Where the loop is quit (QUIT), that
 * can be at any moment.
 *
 * What is shown:
 *  - only moves of moves.def are made;
 *  - on_open once, then on_close once, no callback after it, none inside another (G1, G2);
 *  - the fd is closed once, by the loop, right after on_close, and not used afterwards (G3);
 *  - memory is freed once, with the last reference, and never touched afterwards; the list of held
 *    connections has it from close to then, if somebody holds it (G4);
 *  - the record says of every byte accepted, on whichever thread, that it was taken or is unsent, and
 *    none is accepted afterwards (0007); our FIN comes after all of them (G5);
 *  - what had arrived before a reset is shown before on_close, also to a paused reader, unless the
 *    program ended the connection itself (G6, 0009);
 *  - a stale id finds nothing (G10); the task that is part of the connection is never queued twice;
 *  - whatever has begun to end ends, without the loop's end: when nothing can move any more, the
 *    connection is closed, or open and nothing has been asked of it; and at last its memory is gone.
 *
 * A byte stands for any number of bytes. One step is one access to what threads share (the word
 * "remote", the requests, the count of references, the queue, the table of ids, the kernel), with the
 * private steps after it. What the queue and the wake-up do is the business of wakeup.pml.
 *
 * Left out: memory limits, on_drain, files, codecs, allocation failures (each is a break at some
 * moment, which an abort stands for); the length of time (a time-out that is armed may have passed at
 * any moment). PL_REMOTE_MOVING concerns the cap alone.
 *
 * Bugs that must be found:
 *  BUG_FIN_EARLY     the FIN does not wait for bytes on their way from other threads
 *  BUG_HOLD_LATE     a task takes its reference after it was posted
 *  BUG_HELD_LATE     HELD is set after the loop gave up its reference (conn_refs.c, invariant 1)
 *  BUG_SERVE_LATE    serve clears the requests after it has served them
 *  BUG_ADD_BLINDLY   a send from another thread adds to the word without looking at its top bit
 *  BUG_TWO_ENDS      a break does not look whether the connection is closed already
 *  BUG_NO_LINGER     no time-out is armed when the FIN has been sent
 *  BUG_NO_REST       what had arrived is not shown to a paused reader
 *  BUG_FIND_BARE     an id is looked up without taking the reference under the mutex */

#include "moves.pml"

/* Budgets: what the program does in its callbacks, what the holder does, what is done by id. */
#ifndef LOCAL
#define LOCAL 1
#endif
#ifndef HOLDER
#define HOLDER 2
#endif
#ifndef BY_ID
#define BY_ID 1
#endif
#ifndef DATA
#define DATA 1 /* what the peer sends */
#endif

/* enum pl_conn_request */
#define REQUEST_SHUTDOWN 1
#define REQUEST_CLOSE 2
#define REQUEST_ABORT 4

/* Causes, as far as anything depends on them. */
#define CAUSE_NONE 0
#define CAUSE_PROGRAM 1
#define CAUSE_PEER_RESET 2
#define CAUSE_TIMEOUT 3
#define CAUSE_LOOP_ENDED 4
#define CAUSE_PEER_CLOSED 5

/* Where conn->job is. */
#define NOWHERE 0
#define ON_FLUSH 1
#define ON_REAP 2
#define LEAVING 3

/* ---- what threads share */

/* conn->remote: one word */
byte remote_bytes;
bool remote_ended;

byte requests;
byte references = 1; /* the loop's; the holder's is taken in on_open */
bool held, held_list; /* PL_CONN_HELD; being on the list, which is under a mutex */
bool in_table; /* the table of ids, under its mutex */
bool freed;

#define SEND 1
#define REQUEST 2
chan tasks = [6] of { byte };
byte request_tasks; /* in the queue */
bool queue_closed, quit;
bool go; /* on_open has been called: the holder has its reference, ids are known */

/* The kernel's, and the peer's. */
bool fd_open = true;
byte rx; /* arrived and not read */
bool fin_in, reset_in; /* arrived after that */
bool room = true; /* in the send buffer */
bool fin_out; /* we have sent it */
bool peer_gone; /* the peer does nothing any more */

/* What the checks go by. */
byte accepted; /* by any send that said so */
byte closes, frees;
bool program_ended; /* the program asked for an end, on any thread */
byte unseen; /* requests that serve has not seen */

#define touch() assert(!freed)

/* ---- references (conn_refs.c) */

inline hold()
{
    atomic { touch(); references++ }
}

inline free_conn()
{
    if
    :: atomic { held -> assert(held_list); held_list = false }
    :: atomic { !held -> assert(!held_list) }
    fi;
    atomic { freed = true; frees++ }
}

/* pl_conn_release */
inline release()
{
    if
    :: atomic { references == 1 -> touch(); references = 0 } free_conn()
    :: atomic { references != 1 -> touch(); assert(references > 0); references-- }
    fi
}

/* ---- other threads (conn_remote.c) */

/* reserve and the rest of post_chunk */
inline remote_send()
{
    if
#ifdef BUG_ADD_BLINDLY
    :: atomic { touch(); remote_bytes++; accepted++; assert(closes == 0) }
#else
    /* atomic_compare_exchange(&conn->remote, …) after a look at it: the last try, as the ones before
     * change nothing */
    :: atomic { !remote_ended -> touch(); remote_bytes++; accepted++ }
#endif
#ifndef BUG_HOLD_LATE
        hold();
#endif
        if
        :: atomic { !queue_closed -> touch(); tasks!SEND } /* pl_loop_post_task */
        :: atomic { queue_closed -> skip } release() /* arrive(…, dropped): counted at the loop's end */
        fi
#ifdef BUG_HOLD_LATE
        ; hold()
#endif
    :: atomic { remote_ended -> touch() } /* -EPIPE */
    fi
}

/* pl_conn_request */
inline request(what)
{
    atomic { touch(); remote_ended = true; program_ended = true }; /* pl_conn_end_output */
    if
    :: atomic { requests != 0 -> /* its task is on its way */
        touch(); requests = requests | what; unseen = unseen | what }
    :: atomic { requests == 0 -> touch(); requests = what; unseen = unseen | what }
        hold();
        if
        :: atomic { !queue_closed ->
            assert(request_tasks == 0);
            request_tasks++;
            tasks!REQUEST }
        :: atomic { queue_closed -> requests = 0; unseen = 0 } release() /* serve(…, dropped) */
        fi
    fi
}

inline any_remote_call()
{
    if
    :: remote_send()
    :: request(REQUEST_SHUTDOWN)
    :: request(REQUEST_CLOSE)
    :: request(REQUEST_ABORT)
    fi
}

/* A thread with a reference, from on_open until it is done. */
proctype holder()
{
    byte calls;
    go;
    do
    :: atomic { calls < HOLDER -> calls++ } any_remote_call()
    :: atomic { true -> calls = 0 } break
    od;
    /* peal_conn_unref: this is no misuse, and is not taken for one */
    atomic { assert(!(references == 1 && fd_open)) };
    release()
}

/* A thread with nothing but the id: pl_handle_find, a call, pl_conn_release. */
proctype by_id()
{
    byte calls;
    go;
    do
    :: atomic { calls < BY_ID -> calls++ }
        if
#ifdef BUG_FIND_BARE
        :: atomic { in_table -> skip } hold(); any_remote_call(); release()
#else
        :: atomic { in_table -> touch(); references++ } any_remote_call(); release()
#endif
        :: atomic { !in_table -> skip } /* -ESTALE */
        fi
    :: atomic { true -> calls = 0 } break
    od
}

/* ---- the peer, and the kernel between */

proctype peer()
{
    byte sent;
    do
    :: atomic { !peer_gone && fd_open && sent < DATA && !fin_in -> sent++; rx++ }
    :: atomic { !peer_gone && fd_open && !fin_in -> fin_in = true }
    :: atomic { !peer_gone && fd_open -> reset_in = true; peer_gone = true }
    :: atomic { !peer_gone && fd_open && !room -> room = true }
    :: atomic { true -> peer_gone = true } break /* silence */
    od
}

#ifdef QUIT
proctype quitter()
{
    quit = true
}
#endif

/* ---- the loop's thread: the first half of the end (conn.c) */

inline arm_timer() /* pl_conn_arm_timer: whether next_look_ms has anything */
{
    if
    :: state == S_LINGERING || (state != S_CLOSED && watched) ||
       (state == S_OPEN && (peer_fin || fin_sent)) -> timer_armed = true
    :: else
    fi
}

inline reap_soon() { job = ON_REAP; job_is_reap = true }

inline flush_soon() /* pl_conn_flush_soon, flush_later (conn_output.c) */
{
    if
    :: in_callback -> flush_due = true
    :: !in_callback && state != S_CLOSED && !failed ->
        job_is_reap = false;
        if
        :: job == NOWHERE -> job = ON_FLUSH
        :: else
        fi
    :: else
    fi
}

inline update_recv() /* pl_conn_update_recv */
{
    if
    :: state != S_CLOSED && !failed -> recv_on = !peer_fin && (state != S_OPEN || !paused)
    :: else
    fi
}

#ifdef BUG_TWO_ENDS
#define may_break true
#else
#define may_break (state != S_CLOSED)
#endif

inline break_for(why) /* pl_conn_break */
{
    if
    :: atomic { may_break ->
        remote_ended = true; /* pl_conn_end_output */
        if
        :: why == CAUSE_PROGRAM -> program_ended = true
        :: else
        fi;
        if
        :: !failed -> cause = why
        :: else
        fi;
        move(E_BREAK);
        reap_soon() }
    :: atomic { !may_break -> skip }
    fi
}

inline fail(has_rest) /* pl_conn_fail, always with a reset here; inside an atomic step */
{
    if
    :: state != S_CLOSED && !failed ->
        remote_ended = true;
        cause = CAUSE_PEER_RESET; failed = true; rest = has_rest; reap_soon()
    :: else
    fi
}

inline close_for(why) /* pl_conn_close_for; inside an atomic step */
{
    if
    :: state == S_OPEN && !failed ->
        remote_ended = true;
        if
        :: why == CAUSE_PROGRAM -> program_ended = true
        :: else
        fi;
        cause = why; move(E_CLOSE); update_recv(); flush_soon()
    :: else
    fi
}

inline shutdown_here() /* inside an atomic step */
{
    if
    :: state == S_OPEN && !fin_wanted && !failed ->
        remote_ended = true; program_ended = true;
        fin_wanted = true; flush_soon()
    :: else
    fi
}

inline both_ended() { clean = true; move(E_BOTH_ENDED); reap_soon() }

#define can_write (state != S_CLOSED && !blocked && !failed)
#define readable (attached && recv_on && (rx > 0 || reset_in || fin_in))
#define faulty (attached && !recv_on && reset_in && !told)
#define writable (attached && blocked && (room || reset_in))
#define fin_due ((state == S_OPEN && fin_wanted && !fin_sent) || state == S_CLOSING)

/* Where a callback, or a flush, goes on when it is over. */
#define TO_TURN 0
#define TO_EVENTS 1
#define TO_EOF 2
#define TO_REST 3
#define TO_REAP 4
#define TO_LEFT 5

/* The code's functions are the labels below. What is a call there is a jump here, with the place to
 * go on at: Promela has no calls, and to write a callback out at each of its places would make the
 * search's program as large as a book. */
proctype loop()
{
    byte state = S_CONNECTING, ended_in, cause, job, out, taken, on_the_way, serving, batch;
    byte actions = LOCAL, after_callback, after_flush;
    bool attached, recv_on, paused, has_eof, in_callback, flush_due, peer_fin, fin_wanted, fin_sent;
    bool blocked, watched, failed, rest, clean, timer_armed, told, job_is_reap, waits, ending;

    /* pl_conn_open. The program may pause reading, and may hear ends of stream; in on_open it gives
     * the holder a reference, and the id to everybody. */
    atomic {
        attached = true; recv_on = true; in_table = true;
        if :: has_eof = true :: true fi;
        if :: paused = true; recv_on = false :: true fi;
        move(E_OPENED);
        references++; go = true;
        after_callback = TO_TURN; goto call_back
    };

turn: /* one begins when there is something to do; where nothing can move any more, all rests */
    if
    :: atomic { !quit && (readable || faulty || writable || nempty(tasks) || timer_armed ||
                          job != NOWHERE) -> goto events }
    :: atomic { quit -> goto loop_end }
    :: atomic { timeout ->
        assert(state == S_CLOSED ||
               (state == S_OPEN && !remote_ended && !peer_fin && (!reset_in || told)));
        assert(state == S_CLOSED || (remote_bytes == 0 && out == 0));
        assert(state != S_CLOSED || (closes == 1 && frees == 1));
        assert(unseen == 0); /* every request came to the loop */
        goto loop_end }
    fi;

    /* dispatch_stream (engine_epoll.c), pl_conn_on_recv, pl_conn_on_sent */
events:
    if
    :: atomic { writable -> /* on_sent */
        blocked = false;
        if
        :: state != S_CLOSED -> after_flush = TO_EVENTS; goto flush
        :: else -> goto events
        fi }
    :: atomic { readable && rx > 0 ->
        assert(fd_open);
        rx--;
        if
        :: state == S_OPEN -> after_callback = TO_EVENTS; goto call_back /* deliver: on_data */
        :: state == S_LINGERING ->
            if
            :: break_for(CAUSE_TIMEOUT) /* linger_bytes_max */
            :: true
            fi
        :: else /* discarded; or ended earlier in this batch */
        fi;
        goto events }
    :: atomic { readable && rx == 0 && reset_in ->
        assert(fd_open);
        recv_on = false; told = true;
        fail(false);
        goto events }
    :: atomic { readable && rx == 0 && !reset_in && fin_in -> /* pl_conn_peer_ended */
        assert(fd_open);
        recv_on = false;
        if
        :: state == S_CLOSED || failed
        :: else ->
            peer_fin = true;
            if
            :: state == S_OPEN ->
                move(E_PEER_FIN);
                if
                :: has_eof -> after_callback = TO_EOF; goto call_back /* on_eof */
                :: !has_eof && fin_sent -> both_ended()
                :: !has_eof && !fin_sent -> close_for(CAUSE_PEER_CLOSED)
                fi
            :: state == S_CLOSING -> move(E_PEER_FIN)
            :: state == S_LINGERING -> both_ended()
            fi
        fi;
        goto events }
    :: atomic { faulty -> told = true; fail(true); goto events } /* fault_while_paused */
    :: atomic { job == LEAVING -> goto detached }
    :: goto take_tasks
    fi;
detached: /* on_sent of what was queued, then on_detached (E5) */
    atomic {
        if
        :: blocked && out > 0 -> out--; taken++
        :: true
        fi;
        job = ON_REAP;
        goto reap
    };
eof_heard: /* the rest of pl_conn_peer_ended */
    atomic {
        if
        :: state == S_OPEN && fin_sent && !failed -> both_ended()
        :: else -> arm_timer()
        fi;
        goto events
    };

    /* run_batch (loop.c): those that were there when it began. At the loop's end they are dropped. */
take_tasks:
    atomic { batch = len(tasks) };
next_task:
    if
    :: atomic { batch > 0 && tasks?[SEND] -> /* arrive (conn_remote.c) */
        tasks?SEND;
        batch--;
        touch();
        if
        :: ending || state == S_CLOSED || failed /* its byte stays in the word: accepted, unsent */
        :: else -> out++; flush_soon(); remote_bytes-- /* pl_conn_accept_remote */
        fi }
    :: atomic { batch > 0 && tasks?[REQUEST] -> /* serve */
        tasks?REQUEST;
        request_tasks--;
        batch--;
        touch();
        serving = requests; unseen = unseen & ~requests;
#ifdef BUG_SERVE_LATE
        };
#else
        requests = 0 };
#endif
        if
        :: atomic { !ending && (serving & REQUEST_ABORT) -> skip } break_for(CAUSE_PROGRAM)
        :: atomic { ending || !(serving & REQUEST_ABORT) -> skip }
        fi;
        atomic {
            if
            :: !ending && (serving & REQUEST_CLOSE) -> close_for(CAUSE_PROGRAM)
            :: else
            fi;
            if
            :: !ending && (serving & REQUEST_SHUTDOWN) -> shutdown_here()
            :: else
            fi;
#ifdef BUG_SERVE_LATE
            requests = 0;
#endif
            serving = 0
        }
    :: atomic { batch == 0 && ending -> goto ended }
    :: atomic { batch == 0 && !ending -> goto time_out }
    fi;
    release();
    goto next_task;

time_out: /* on_timer (conn_limits.c): any of the limits that apply may have passed */
    if
    :: atomic { timer_armed ->
        timer_armed = false;
        if
        :: !failed && (state == S_LINGERING || (state != S_CLOSED && watched) ||
                       (state == S_OPEN && (peer_fin || fin_sent))) -> break_for(CAUSE_TIMEOUT)
        :: else
        fi }
    :: true
    fi;
    atomic { /* the flush phase */
        if
        :: job == ON_FLUSH -> job = NOWHERE; after_flush = TO_REAP; goto flush
        :: else -> goto reap
        fi
    };

    /* ---- pl_conn_enter, a callback of the program, pl_conn_leave */
call_back:
    atomic { touch(); assert(!in_callback && closes == 0 && fd_open); in_callback = true };
    if
    :: atomic { actions > 0 -> actions-- }
        if
        :: atomic { remote_ended -> skip } /* peal_conn_send: -EPIPE */
        :: atomic { !remote_ended -> accepted++; out++; flush_soon() }
        :: atomic { true -> close_for(CAUSE_PROGRAM) }
        :: atomic { true -> break_for(CAUSE_PROGRAM) }
        :: atomic { true -> shutdown_here() }
        fi
    :: true
    fi;
    atomic {
        in_callback = false;
        if
        :: flush_due -> flush_due = false; after_flush = TO_LEFT; goto flush
        :: else -> goto left
        fi
    };
left:
    atomic {
        if
        :: after_callback == TO_TURN -> after_callback = 0; arm_timer(); goto turn
        :: after_callback == TO_EVENTS -> after_callback = 0; goto events
        :: after_callback == TO_EOF -> after_callback = 0; goto eof_heard
        :: after_callback == TO_REST -> after_callback = 0; goto show_rest
        fi
    };

    /* ---- pl_conn_flush (conn_output.c), without on_drain */
flush:
    if
    :: atomic { can_write && out > 0 && reset_in -> assert(fd_open); fail(true); goto flushed }
    :: atomic { can_write && out > 0 && !reset_in && room ->
        assert(fd_open && !fin_out);
        taken = taken + out; out = 0;
        goto flush }
    :: atomic { can_write && out > 0 && !reset_in && room -> /* a part of it */
        assert(fd_open && !fin_out);
        taken++; out--; room = false;
        if
        :: out > 0 -> blocked = true; watched = true; arm_timer()
        :: else
        fi;
        goto flush }
    :: atomic { can_write && out > 0 && !reset_in && !room ->
        blocked = true; watched = true; arm_timer();
        goto flush }
    :: atomic { !can_write || (out == 0 && !fin_due) ->
        if
        :: can_write -> watched = false
        :: else
        fi;
        goto flushed }
    :: atomic { can_write && out == 0 && fin_due -> watched = false } /* pl_conn_output_empty */
        if
#ifndef BUG_FIN_EARLY
        :: atomic { remote_bytes > 0 -> goto flushed } /* the FIN goes after them */
        :: atomic { remote_bytes == 0 -> skip }
#else
        :: true
#endif
        fi;
        atomic { /* send_fin: shutdown(fd, SHUT_WR) */
            if
            :: reset_in && !fin_sent -> fail(true) /* ENOTCONN */
            :: !reset_in || fin_sent ->
                assert(fd_open && remote_ended && taken == accepted); /* G5 */
                fin_out = true; fin_sent = true;
                if
                :: state == S_OPEN -> move(E_FIN_SENT); arm_timer()
                :: state == S_CLOSING && !peer_fin ->
                    move(E_FLUSHED);
#ifndef BUG_NO_LINGER
                    arm_timer()
#endif
                :: else
                fi;
                if
                :: peer_fin -> both_ended()
                :: else
                fi
            fi
        }
    fi;
flushed:
    atomic {
        if
        :: after_flush == TO_EVENTS -> after_flush = 0; goto events
        :: after_flush == TO_REAP -> after_flush = 0; goto reap
        :: after_flush == TO_LEFT -> after_flush = 0; goto left
        fi
    };

    /* ---- the second half of the end: reap (conn.c), and at the loop's end reap_all */
reap:
    atomic {
        if
        :: job == ON_REAP ->
            assert(job_is_reap);
            job = NOWHERE;
            if
            :: state != S_CLOSED && rest -> rest = false; goto show_rest
            :: state != S_CLOSED && !rest -> move(E_BREAK); goto detach
            :: state == S_CLOSED -> goto detach
            fi
        :: job != ON_REAP && !ending -> goto turn
        :: job == LEAVING && ending -> goto detached
        :: job != ON_REAP && job != LEAVING && ending -> goto close_queue
        fi
    };
show_rest:
    atomic {
        if
#ifndef BUG_NO_REST
        :: state == S_OPEN && !peer_fin && rx > 0 -> rx--; after_callback = TO_REST; goto call_back
#endif
        :: else
        fi;
        if
        :: state != S_CLOSED -> move(E_BREAK)
        :: else
        fi;
        job = NOWHERE /* pl_job_cancel: the program may have ended it once more meanwhile */
    };
detach:
    atomic {
        if
        :: attached ->
            attached = false;
            if
            :: job = LEAVING; goto reap /* something is in flight: pl_loop_reap_when_detached */
            :: true
            fi
        :: else
        fi
    };
    /* finish */
    atomic {
        assert(fd_open && state == S_CLOSED && closes == 0);
        on_the_way = remote_bytes; /* fill_record */
        assert(remote_ended);
        assert(accepted == taken + out + on_the_way); /* 0007; after this nothing is accepted */
        assert(!clean || (out == 0 && on_the_way == 0 && fin_in && fin_out)); /* G5 */
        assert(!(cause == CAUSE_PEER_RESET && ended_in == S_OPEN && !peer_fin && !program_ended) ||
               rx == 0); /* G6 */
        out = 0; on_the_way = 0
    };
    atomic { assert(in_table); in_table = false; timer_armed = false }; /* pl_handle_release */
    atomic { touch(); closes++; fd_open = false }; /* on_close, whose calls change nothing; close(2) */
    /* pl_conn_closed_refs */
#ifdef BUG_HELD_LATE
    atomic { waits = references > 1 };
    release();
    atomic {
        if
        :: waits -> held = true; held_list = true
        :: else
        fi
    };
#else
    if
    :: atomic { references > 1 -> touch() } atomic { held = true; held_list = true }
    :: atomic { references == 1 -> touch() }
    fi;
    release();
#endif
    goto reap;

    /* ---- end (loop.c): tell_residents breaks what is left (shard.c); reap; the queue */
loop_end:
    ending = true;
    if
    :: atomic { closes == 0 -> skip } break_for(CAUSE_LOOP_ENDED)
    :: atomic { closes > 0 -> skip }
    fi;
    goto reap;
close_queue:
    atomic { queue_closed = true; goto take_tasks }; /* pl_task_close */
ended:
    assert(empty(tasks) && job == NOWHERE)
}

init
{
    atomic {
        run loop();
        run peer();
        run holder();
        run by_id();
#ifdef QUIT
        run quitter()
#endif
    };
    _nr_pr == 1;
    assert(closes == 1 && frees == 1 && references == 0 && !held_list && !fd_open && !in_table)
}
