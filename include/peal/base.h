/* SPDX-License-Identifier: BSD-2-Clause */
/* What every Peal header shares: visibility, and the value that switches a limit off.
 *
 * Conventions that hold for the whole interface:
 *  - Functions that can fail return 0 (or a count) on success and a negative errno, or one of
 *    Peal's own errors of peal/error.h, on failure. Outputs come last, are named ret_, and are
 *    untouched on failure.
 *  - A field of an options structure that is left zero takes its default (docs/guide/limits.md).
 *  - "The loop's thread" is the thread that created the loop. A function not marked "any thread"
 *    stops the program with a sentence when it is called from another one.
 *  - No callback is ever called from inside a Peal function that the program called (G2), except
 *    those that run a loop: peal_loop_run, peal_loop_turn, peal_loop_free, peal_serve. */
#ifndef PEAL_BASE_H
#define PEAL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
#define PEAL_BEGIN extern "C" {
#define PEAL_END   }
#else
#define PEAL_BEGIN
#define PEAL_END
#endif

#define PEAL_API                         __attribute__((visibility("default")))
#define PEAL_PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))
#define PEAL_MUST_USE                    __attribute__((warn_unused_result))

/* For any limit or time-out of an options structure: there is none. (Zero means the default.) */
#define PEAL_NEVER     UINT32_MAX
#define PEAL_UNLIMITED SIZE_MAX

#endif
