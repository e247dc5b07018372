/* SPDX-License-Identifier: BSD-2-Clause */
/* Input beside the sockets, on a loop: a terminal, a pipe, a socket, or a file; by lines or as it
 * comes. */
#ifndef PEAL_TOOLS_INPUT_H
#define PEAL_TOOLS_INPUT_H

#include <stddef.h>

#include <peal/loop.h>

struct input_ops {
    /* One of the two. A line comes without its newline. The text is the callee's until it
     * returns. */
    void (*on_line)(const char *line, size_t size, void *user);
    void (*on_data)(const char *data, size_t size, void *user);

    /* The end of the input; or a negative errno. From inside it the next one may be opened. */
    void (*on_end)(int error, void *user);
};

enum { INPUT_LINE_MAX_BYTES = 65536 }; /* what is longer is handed over in pieces */

/* One at a time. The fd (0: standard input) stays the caller's. The loop's thread, as all calls. 0
 * or a negative errno. */
int input_open(struct peal_loop *loop, int fd, const struct input_ops *ops, void *user);

/* No line comes any more. Also if it is not open, or its loop has ended. */
void input_close(void);

/* Between pause and resume no line comes: for whoever cannot pass them on so fast. */
void input_pause(void);
void input_resume(void);

#endif
