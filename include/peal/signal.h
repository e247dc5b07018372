/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals as events on a loop, through signalfd(2): the callback is ordinary code, not a signal
 * handler.
 *
 * Opening blocks the signal for the calling thread, so open before other threads are started (they
 * inherit the mask); closing restores what was before. If a thread has the same signal open several
 * times, each arrival goes to one of them, and the last to be closed restores the mask.
 *
 *     static void on_int(struct peal_signal *signal, int number, void *user) {
 *         peal_loop_quit(user);
 *     }
 *
 *     struct peal_signal *signal;
 *     peal_signal_open(loop, SIGINT, on_int, loop, &signal);
 */
#ifndef PEAL_SIGNAL_H
#define PEAL_SIGNAL_H

#include <peal/base.h>

PEAL_BEGIN

struct peal_loop;
struct peal_signal;

typedef void (*peal_signal_fn)(struct peal_signal *signal, int number, void *user);

/* The loop's thread. Errors: -EINVAL (not a signal that can be caught), -ENOMEM, -EMFILE,
 * PEAL_ERR_LOOP_ENDED. */
PEAL_API PEAL_MUST_USE int peal_signal_open(struct peal_loop *loop, int number, peal_signal_fn fn,
                                            void *user, struct peal_signal **ret_signal);

/* Stops it and restores the signal mask. Also after its loop has ended, which has stopped it but
 * left it to be closed. The loop's thread. NULL is allowed. Returns NULL. */
PEAL_API struct peal_signal *peal_signal_close(struct peal_signal *signal);

PEAL_END
#endif
