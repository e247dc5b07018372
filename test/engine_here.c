/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints the engine that loops of this environment really run on: PEAL_ENGINE's, if this machine
 * has it. For scripts/test.sh, which runs the tests on every engine that there is. */
#include <peal/loop.h>

#include <stdio.h>

int main(void)
{
    struct peal_loop *loop;
    if (peal_loop_new(NULL, &loop) < 0) {
        return 1;
    }
    puts(peal_loop_engine(loop));
    peal_loop_free(loop);
    return 0;
}
