/* SPDX-License-Identifier: BSD-2-Clause */
/* How the library says something to the program: pl_log(PEAL_LOG_WARNING, "accept: %s", text). The
 * arguments are evaluated only when a handler wants that level, and the check is one relaxed load;
 * even so, nothing on the way of each message logs above debug. Lines are cut at 511 bytes. Any
 * thread. */
#ifndef PL_LOG_H
#define PL_LOG_H

#include <peal/log.h>

#include <stdatomic.h>

/* The least level that reaches the handler; PEAL_LOG_OFF while there is none. */
extern _Atomic int pl_log_threshold;

static inline bool pl_log_wants(enum peal_log_level level)
{
    return (int)level >= atomic_load_explicit(&pl_log_threshold, memory_order_relaxed);
}

void pl_log_write(enum peal_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* Puts '?' for control characters: names that came from outside are part of some sentences, and
 * must neither begin a line of their own nor speak to a terminal. */
void pl_make_line(char *text);

#define pl_log(level, ...) (pl_log_wants(level) ? pl_log_write(level, __VA_ARGS__) : (void)0)

#endif
