/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals: a signalfd and a watch for each.
 *
 * The kernel gives a signal of the process to any thread that does not block it, so it must be
 * blocked in all of them for the signalfd to see it: opening blocks it in the calling thread, and
 * threads started later inherit that. Closing restores what was before, in the same thread; when
 * the thread has the same number open several times, the last of them does, or the first to close
 * would leave the others a signal that kills. The fd of its own for each signal costs a little and
 * keeps each one's life apart from the others'. */
#include <peal/signal.h>
#include <peal/watch.h>

#include "base/assert.h"
#include "loop/loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

struct peal_signal {
    struct peal_signal *next; /* in opened */
    struct peal_watch *watch;
    struct peal_loop *loop;
    peal_signal_fn fn;
    void *user;
    int fd;
    int number;
    bool was_blocked;
};

static _Thread_local struct peal_signal *opened; /* those that this thread has open */

static void on_ready(struct peal_watch *watch, uint32_t events, void *user)
{
    struct peal_signal *signal = user;
    struct signalfd_siginfo info;
    (void)watch;
    (void)events;
    /* One a turn: the callback may close the signal, and level triggering brings the next. */
    if (sys_read(signal->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        signal->fn(signal, (int)info.ssi_signo, signal->user);
    }
}

static int block(struct peal_signal *signal)
{
    sigset_t set, old;
    sys_sigset_of(&set, signal->number);
    if (!sys_sigset_has(&set, signal->number)) {
        return -EINVAL; /* the C library keeps it for itself */
    }
    int result = sys_sigmask(SIG_BLOCK, &set, &old);
    if (result == 0) {
        signal->was_blocked = sys_sigset_has(&old, signal->number);
        signal->next = opened;
        opened = signal;
    }
    return result;
}

/* Restores the mask, unless the same signal is open once more: then that one takes over what was
 * before, and the last of them restores it, whatever the order in which they are closed. */
static void unblock(struct peal_signal *signal)
{
    sigset_t set;
    struct peal_signal **at = &opened, *other;
    while (*at != signal) {
        at = &(*at)->next;
    }
    *at = signal->next;
    for (other = opened; other && other->number != signal->number; other = other->next) {
    }
    if (other) {
        other->was_blocked = other->was_blocked && signal->was_blocked;
    } else if (!signal->was_blocked) {
        sys_sigset_of(&set, signal->number);
        sys_sigmask(SIG_UNBLOCK, &set, NULL);
    }
}

static int open_watch(struct peal_signal *signal)
{
    sigset_t set;
    sys_sigset_of(&set, signal->number);
    signal->fd = sys_signalfd(-1, &set);
    if (signal->fd < 0) {
        return signal->fd;
    }
    int result =
        peal_watch_open(signal->loop, signal->fd, PEAL_READABLE, on_ready, signal, &signal->watch);
    if (result < 0) {
        sys_close(signal->fd);
    }
    return result;
}

int peal_signal_open(struct peal_loop *loop, int number, peal_signal_fn fn, void *user,
                     struct peal_signal **ret_signal)
{
    pl_loop_check(loop, "peal_signal_open");
    if (number < 1 || number > 64 || number == SIGKILL || number == SIGSTOP || !fn) {
        return -EINVAL;
    }
    struct peal_signal *signal = sys_calloc(1, sizeof *signal);
    if (!signal) {
        return -ENOMEM;
    }
    signal->loop = loop;
    signal->number = number;
    signal->fn = fn;
    signal->user = user;
    int result = block(signal);
    if (result == 0) {
        result = open_watch(signal);
        if (result < 0) {
            unblock(signal);
        }
    }
    if (result < 0) {
        sys_free(signal);
        return result;
    }
    *ret_signal = signal;
    return 0;
}

struct peal_signal *peal_signal_close(struct peal_signal *signal)
{
    if (!signal) {
        return NULL;
    }
    /* Its watch holds a reference to the loop. */
    pl_loop_check(signal->loop, "peal_signal_close");
    peal_watch_close(signal->watch);
    sys_close(signal->fd);
    unblock(signal);
    sys_free(signal);
    return NULL;
}
