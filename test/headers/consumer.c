/* SPDX-License-Identifier: BSD-2-Clause */
/* Would break: what a program gets that finds Peal by pkg-config and includes one header. Compiled
 * as C and as C++ against an installed tree, linked with the shared and the static library. */
#include <peal.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    if (strcmp(peal_version(), PEAL_VERSION) != 0) {
        return 1;
    }
    puts(peal_version());
    return 0;
}
