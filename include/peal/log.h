/* SPDX-License-Identifier: BSD-2-Clause */
/* Logging: the library hands each line to the handler that the program sets. There is none at
 * first, and then the library is silent: it never prints by itself. */
#ifndef PEAL_LOG_H
#define PEAL_LOG_H

#include <peal/base.h>

PEAL_BEGIN

enum peal_log_level {
    PEAL_LOG_DEBUG,
    PEAL_LOG_INFO,
    PEAL_LOG_WARNING,
    PEAL_LOG_ERROR,
    PEAL_LOG_OFF
};

/* Called on whichever thread has something to say; text is one line without its newline and without
 * control characters, valid for the call. */
typedef void (*peal_log_fn)(enum peal_log_level level, const char *text, void *user);

/* Sets the handler (NULL: none) and the least level that reaches it (the default is
 * PEAL_LOG_WARNING). Any thread, but set it before loops run: a line under way may still reach the
 * old handler. */
PEAL_API void peal_log_set(peal_log_fn handler, void *user);
PEAL_API void peal_log_set_level(enum peal_log_level level);

/* A ready-made handler: "peal: warning: text" to standard error. Any thread, as the next. */
PEAL_API void peal_log_to_stderr(enum peal_log_level level, const char *text, void *user);

PEAL_API const char *peal_log_level_name(enum peal_log_level level);

PEAL_END
#endif
