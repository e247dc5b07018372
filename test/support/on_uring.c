/* SPDX-License-Identifier: BSD-2-Clause */
/* The wish is the environment's, because that reaches every loop of a test: a rig's, a pool's. */
#include "support/on_uring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void on_uring_ask(void)
{
    setenv("PEAL_ENGINE", "io_uring", 1);
}

struct peal_loop *on_uring_loop(void)
{
    struct peal_loop *loop;
    assert_int_equal(peal_loop_new(&(struct peal_loop_options){.engine = "io_uring"}, &loop), 0);
    if (strcmp(peal_loop_engine(loop), "io_uring") != 0) {
        peal_loop_free(loop);
        print_message("skipped: this system has or allows no io_uring\n");
        skip();
    }
    return loop;
}

void on_uring_or_skip(void)
{
    peal_loop_free(on_uring_loop());
}
