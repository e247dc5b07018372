/* SPDX-License-Identifier: BSD-2-Clause */
/* Standard input as lines, on a loop: a terminal, a pipe, a socket, or a file. */
#ifndef PEAL_TOOLS_INPUT_H
#define PEAL_TOOLS_INPUT_H

#include <stddef.h>

#include <peal/loop.h>

struct input_ops {
    /* A line without its newline; it is the callee's until it returns. */
    void (*on_line)(const char *line, size_t size, void *user);
    void (*on_end)(void *user); /* the end of the input, or an error of it (which was told) */
};

enum { INPUT_LINE_MAX_BYTES = 65536 }; /* what is longer is handed over in pieces */

/* One at a time. The loop's thread, as both calls. 0 or a negative errno. */
int input_open(struct peal_loop *loop, const struct input_ops *ops, void *user);

/* No line comes any more. Also if it is not open, or its loop has ended. */
void input_close(void);

/* Between pause and resume no line comes: for whoever cannot pass them on so fast. */
void input_pause(void);
void input_resume(void);

#endif
