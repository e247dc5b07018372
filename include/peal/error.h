/* SPDX-License-Identifier: BSD-2-Clause */
/* Errors: negative errno values, and Peal's own, all below -4096 so that the two never meet. */
#ifndef PEAL_ERROR_H
#define PEAL_ERROR_H

#include <peal/base.h>

PEAL_BEGIN

/* Each with its sentence: X(name, value, sentence). */
#define PEAL_ERRORS(X)                                                                             \
    X(LOOP_ENDED, -4097, "the loop has ended; nothing can be posted to it any more")               \
    X(RESOLVE, -4098, "the name could not be resolved to an address")                              \
    X(SELF_CONNECT, -4099,                                                                         \
      "the connection reached itself: nobody listens on that port of this machine")                \
    X(STOPPED, -4100, "the server has been stopped; it takes no new listeners or connections")     \
    X(CANCELLED, -4101, "the operation was cancelled before it finished")                          \
    X(OVERSIZE, -4102, "the message is larger than the limit set for it")                          \
    X(MALFORMED, -4103, "the message does not follow its format")

enum peal_error {
#define PEAL_ERROR_ENUM(name, value, sentence) PEAL_ERR_##name = (value),
    PEAL_ERRORS(PEAL_ERROR_ENUM)
#undef PEAL_ERROR_ENUM
};

/* The sentence for an error of Peal's or the system's text for a negative (or positive) errno.
 * Never NULL; static storage; any thread. */
PEAL_API const char *peal_strerror(int error);

/* The error's name: "EPIPE", "PEAL_ERR_LOOP_ENDED"; "0" for 0; "?" for an unknown one. Any thread.
 */
PEAL_API const char *peal_error_name(int error);

PEAL_END
#endif
