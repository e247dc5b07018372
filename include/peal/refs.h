/* SPDX-License-Identifier: BSD-2-Clause */
/* Who holds on to connections that have closed.
 *
 * A reference that is never given back keeps a closed connection's memory (never its socket). The
 * report names each such connection, how long ago it closed, how many references are held, and,
 * when tracking was on while they were taken, the file and line of each. With tracking off a
 * reference costs one atomic addition, with it on also a small record.
 *
 * References are told apart by file: an unref gives back the newest one taken in the same file,
 * else the oldest of all.
 *
 *     peal_refs_track(true);       // or PEAL_TRACK_REFS=1 in the environment
 *     ...
 *     peal_refs_report(print_line, NULL);
 */
#ifndef PEAL_REFS_H
#define PEAL_REFS_H

#include <peal/base.h>

PEAL_BEGIN

/* Any thread, at any time; references taken before are reported without their place. */
PEAL_API void peal_refs_track(bool on);
PEAL_API bool peal_refs_tracked(void);

/* Hands to line one line for each closed connection that is still referenced, and one for each
 * place. Returns the number of such connections; line may be NULL. Any thread; line must not call
 * Peal. */
PEAL_API size_t peal_refs_report(void (*line)(const char *text, void *user), void *user);

PEAL_END
#endif
