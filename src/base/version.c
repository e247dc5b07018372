/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's version, as a function.
 *
 * A macro tells a program which headers it was compiled with; only a function tells which library
 * the dynamic linker gave it. The two differ after an upgrade of one and not of the other, and the
 * first question of most bug reports is which it was.
 *
 * 1. The text is made from the three numbers, and the header's own text is compared with it when
 *    this file is compiled, so that a release that changes one and forgets the other does not
 *    build.
 * 2. The same number is in meson.build, for peal.pc and the file name; `make check` compares what
 *    an installed pkg-config file says with what this function answers.
 *
 * Rejected: making the header from meson.build. A header that exists only after configuring cannot
 * be read in the repository, and cannot be compiled in place. */
#include <peal/version.h>

#define TEXT_OF(x) #x
#define NUMBER(x)  TEXT_OF(x)
#define FROM_PARTS                                                                                 \
    NUMBER(PEAL_VERSION_MAJOR) "." NUMBER(PEAL_VERSION_MINOR) "." NUMBER(PEAL_VERSION_PATCH)

_Static_assert(sizeof FROM_PARTS == sizeof PEAL_VERSION, "PEAL_VERSION differs from its parts");
_Static_assert(__builtin_strcmp(FROM_PARTS, PEAL_VERSION) == 0,
               "PEAL_VERSION differs from its parts");

const char *peal_version(void)
{
    return FROM_PARTS;
}
