/* SPDX-License-Identifier: BSD-2-Clause */
/* The part of the seam that asks no kernel for anything: text, and sets of signals. The real system
 * (sys_linux.c) and the simulated one (sim/) are both linked with it, so that they agree here by
 * being the same.
 *
 * The calling thread's signal mask stands here too: a simulated thread has a real one below it,
 * and its mask is that one's. */
#include "sys/sys.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- signals */

int sys_sigmask(int how, const sigset_t *mask, sigset_t *ret_old)
{
    return -pthread_sigmask(how, mask, ret_old);
}

void sys_sigset_of(sigset_t *set, int number)
{
    sigemptyset(set);
    sigaddset(set, number);
}

bool sys_sigset_has(const sigset_t *set, int number)
{
    return sigismember(set, number) == 1;
}

/* ---- text */

int sys_vformat(char *text, size_t size, const char *format, va_list args)
{
    return vsnprintf(text, size, format, args);
}

int sys_format(char *text, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, size, format, args);
    va_end(args);
    return length;
}

void sys_strerror(int positive_errno, char *text, size_t size)
{
    const char *found = strerror_r(positive_errno, text, size); /* the GNU one */
    if (found != text && size > 0) {
        strncpy(text, found, size - 1);
        text[size - 1] = '\0';
    }
}
