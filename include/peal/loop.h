/* SPDX-License-Identifier: BSD-2-Clause */
/* The event loop: one thread that waits for events and runs callbacks, one at a time.
 *
 * A loop belongs to the thread that creates it. It has one owner (peal_loop_new / peal_loop_free);
 * threads that post to it hold a reference (peal_loop_ref / peal_loop_unref), which keeps its
 * memory, not its life.
 *
 * One turn: wait, events, tasks, timers, flush, reap. Connections that ended during the turn run
 * on_close in reap. A loop has ended when peal_loop_run returned or peal_loop_free was called: by
 * then every connection on it was closed and told so, and every task that had been accepted was run
 * or dropped.
 *
 *     static void hello(void *user) { puts(user); }
 *
 *     struct peal_loop *loop;
 *     if (peal_loop_new(NULL, &loop) == 0) {
 *         int error = peal_loop_post(loop, hello, "hello");
 *         peal_loop_quit(loop);
 *         peal_loop_run(loop);
 *         peal_loop_free(loop);
 *     }
 */
#ifndef PEAL_LOOP_H
#define PEAL_LOOP_H

#include <peal/base.h>

PEAL_BEGIN

struct peal_loop;

struct peal_loop_options {
    const char *name; /* for logs and reports; copied, at most 15 bytes; default "loop" */
    /* "epoll" or "io_uring"; default: PEAL_ENGINE from the environment, else epoll.
     * Where the system has or allows no io_uring the loop runs on epoll, which it logs as a
     * warning; peal_loop_engine tells. */
    const char *engine;
    uint32_t busy_poll_us; /* as peal_loop_set_busy_poll_us; default: 0 */
};

typedef void (*peal_task_fn)(void *user);

/* Creates a loop for the calling thread. Errors: -EINVAL (unknown engine), -ENOMEM, -EMFILE,
 * -ENFILE. */
PEAL_API PEAL_MUST_USE int peal_loop_new(const struct peal_loop_options *options,
                                         struct peal_loop **ret_loop);

/* Ends the loop if it has not ended: closes what is left on it (cause PEAL_CAUSE_LOOP_ENDED,
 * callbacks run), drops its tasks, and gives up the owner's reference. The loop's thread, outside
 * of any callback. NULL is allowed. Returns NULL.
 *
 * A loop that ran on io_uring: the kernel takes its ring down a moment later, and may interrupt one
 * blocking system call of this thread for it (EINTR, as after a signal). */
PEAL_API struct peal_loop *peal_loop_free(struct peal_loop *loop);

/* A reference keeps the loop's memory, so that peal_loop_post can answer after it has ended. ref
 * returns the loop, unref NULL, and it takes NULL. Any thread. */
PEAL_API struct peal_loop *peal_loop_ref(struct peal_loop *loop);
PEAL_API struct peal_loop *peal_loop_unref(struct peal_loop *loop);

/* Runs turns until peal_loop_quit, then ends the loop. A quit that came before is not lost: the
 * loop then runs the tasks it has accepted, and ends; a loop that has ended says
 * PEAL_ERR_LOOP_ENDED. Returns 0, or the error that made waiting impossible. */
PEAL_API int peal_loop_run(struct peal_loop *loop);

/* Runs one turn, waiting at most timeout_ms for an event (0: not at all; negative: without limit),
 * less when a signal handler ran. What the turn sent has then been handed to the system. Returns 1
 * while the loop lives, 0 once peal_loop_quit was called, or a negative errno. For programs that
 * own their outer loop; end it with peal_loop_free. */
PEAL_API int peal_loop_turn(struct peal_loop *loop, int timeout_ms);

/* Makes run return after the turn under way. Any thread, any number of times, before or after run.
 */
PEAL_API void peal_loop_quit(struct peal_loop *loop);

/* Posts fn(user) to the loop, in order with the caller's other posts. Any thread with a reference.
 * Returns 0, or -ENOMEM, or PEAL_ERR_LOOP_ENDED: then neither fn nor drop is called. */
PEAL_API PEAL_MUST_USE int peal_loop_post(struct peal_loop *loop, peal_task_fn fn, void *user);

/* The same, with drop(user) called instead of fn if the loop ends before it comes to fn: one of the
 * two is called, exactly once, on the loop's thread. */
PEAL_API PEAL_MUST_USE int peal_loop_post_or_drop(struct peal_loop *loop, peal_task_fn fn,
                                                  peal_task_fn drop, void *user);

/* Runs fn(user) now if called on the loop's thread (the one exception to G2, asked for by name),
 * else posts it. Errors as peal_loop_post. Any thread with a reference. */
PEAL_API PEAL_MUST_USE int peal_loop_run_in(struct peal_loop *loop, peal_task_fn fn, void *user);

/* Runs fn(user) at the end of the turn under way, after timers and before flush; outside of a turn,
 * in the next one. The loop's thread. Errors as peal_loop_post; a loop that is ending takes no
 * more. */
PEAL_API PEAL_MUST_USE int peal_loop_defer(struct peal_loop *loop, peal_task_fn fn, void *user);

/* The loop that the calling thread is inside of (running a turn of), or NULL. Any thread. */
PEAL_API struct peal_loop *peal_loop_current(void);

/* True on the loop's thread. Any thread. */
PEAL_API bool peal_loop_is_mine(const struct peal_loop *loop);

/* The monotonic clock as read at the start of the turn, in nanoseconds. The loop's thread. */
PEAL_API uint64_t peal_loop_now_ns(const struct peal_loop *loop);

/* Spins for up to this many microseconds before it sleeps, as long as most of its recent waits were
 * over within that time; 0 (the default) sleeps at once. Saves the wake-up, which is most of the
 * time of a short answer between two cores, at the price of a core that is busy while it has
 * nothing to do. A loop without events soon sleeps as if this were 0. 50 is a good value. The
 * loop's thread. */
PEAL_API void peal_loop_set_busy_poll_us(struct peal_loop *loop, uint32_t busy_poll_us);

PEAL_API const char *peal_loop_name(const struct peal_loop *loop);   /* any thread */
PEAL_API const char *peal_loop_engine(const struct peal_loop *loop); /* any thread: "epoll" … */

/* The last 4096 lifecycle events of the loop and its connections, oldest first, as lines. The
 * loop's thread. */
PEAL_API void peal_loop_print_recorder(struct peal_loop *loop,
                                       void (*line)(const char *text, void *user), void *user);

PEAL_END
#endif
