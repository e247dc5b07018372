/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls straight to the kernel, for the three that each message or turn makes: recv, send
 * and epoll_wait. libc's functions for them ask whether the thread can be cancelled, move the
 * result to errno, from where the seam would take it back, and cost as much as all that the library
 * does with a message besides. The library's threads are not cancelled inside of a loop.
 *
 * Only where it is known how (x86-64), and not under a sanitizer, which has to see libc's
 * functions. Elsewhere PL_RAW_CALLS is 0, and libc is called. */
#ifndef PL_RAW_CALL_H
#define PL_RAW_CALL_H

#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define PL_SANITIZED 1
#endif
#endif

#if defined __x86_64__ && defined __LP64__ && !defined __SANITIZE_ADDRESS__ &&                     \
    !defined __SANITIZE_THREAD__ && !defined PL_SANITIZED
#define PL_RAW_CALLS 1

#include <sys/syscall.h>

/* Returns the kernel's result: a negative errno on failure. */
static inline long raw_call(long number, long a, const void *b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#else
#define PL_RAW_CALLS 0
#endif

#endif
