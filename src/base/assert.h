/* SPDX-License-Identifier: BSD-2-Clause */
/* The two ways in which the library stops a program: a broken invariant of its own (pl_assert), and
 * a call that the program must not make, such as from the wrong thread (pl_misuse). Both stay in
 * release builds. */
#ifndef PL_ASSERT_H
#define PL_ASSERT_H

/* Says what was broken and where, prints the flight recorder of the loop that this thread is inside
 * of if there is one, and aborts. */
_Noreturn void pl_broken(const char *condition, const char *file, int line);

/* Says the sentence (printf-like), and aborts. */
_Noreturn void pl_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What pl_broken calls to add what the upper layers know (the flight recorder); NULL at first. */
extern void (*pl_broken_hook)(void);

#define pl_assert(condition)                                                                       \
    (__builtin_expect(!!(condition), 1) ? (void)0 : pl_broken(#condition, __FILE__, __LINE__))

#endif
