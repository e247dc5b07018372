/* SPDX-License-Identifier: BSD-2-Clause */
/* The version: of the headers that a program was compiled with, and of the library that it runs
 * with. Within a major version (until 1.0: a minor one) the newer library serves the older program.
 *
 *     if (strcmp(peal_version(), PEAL_VERSION) != 0) {
 *         printf("compiled for %s, running with %s\n", PEAL_VERSION, peal_version());
 *     }
 */
#ifndef PEAL_VERSION_H
#define PEAL_VERSION_H

#include <peal/base.h>

PEAL_BEGIN

#define PEAL_VERSION_MAJOR 0
#define PEAL_VERSION_MINOR 1
#define PEAL_VERSION_PATCH 0
#define PEAL_VERSION       "0.1.0"

/* The version of the library in use, such as "0.1.0". Any thread. The string lives for ever. */
PEAL_API const char *peal_version(void);

PEAL_END
#endif
