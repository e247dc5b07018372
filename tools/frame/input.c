/* SPDX-License-Identifier: BSD-2-Clause */
/* An input on a loop, by lines or as it comes.
 *
 * What can be waited for (a terminal, a pipe, a socket) has a watch. A plain file cannot, and need
 * not: it is always ready. For it a task reads a piece and posts itself again, so that the loop's
 * other work goes on between two pieces.
 *
 *  1. Nothing is read while it is paused or closed: a task that was posted before finds that out.
 *  2. Each read hands over all whole lines that it made; a pause from inside takes effect after
 *     the lines of that read, which are bounded by LINE_MAX.
 *  3. Reading blocks on nothing: the watch said that there is something, and a file always is. The
 *     terminal's fd stays as it was, because it is shared with whoever started the program. */
#include "input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <peal/watch.h>

static struct {
    struct peal_loop *loop;
    struct peal_watch *watch; /* NULL: a plain file */
    int fd;
    const struct input_ops *ops;
    void *user;
    bool is_open, is_paused, is_posted;
    size_t size;
    char line[INPUT_LINE_MAX_BYTES];
} input;

static void hand_over(void)
{
    if (input.ops->on_data != NULL) {
        input.ops->on_data(input.line, input.size, input.user);
        input.size = 0;
        return;
    }
    char *at = input.line, *end = input.line + input.size, *newline;
    while (input.is_open && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        input.ops->on_line(at, (size_t)(newline - at), input.user);
        at = newline + 1;
    }
    input.size = (size_t)(end - at);
    memmove(input.line, at, input.size);
    if (input.is_open && input.size == sizeof input.line) {
        input.ops->on_line(input.line, input.size, input.user);
        input.size = 0;
    }
}

static void finish(int error)
{
    if (input.size > 0) { /* never with on_data */
        input.ops->on_line(input.line, input.size, input.user);
    }
    const struct input_ops *ops = input.ops;
    input_close();
    ops->on_end(error, input.user);
}

static void read_some(void)
{
    ssize_t n = read(input.fd, input.line + input.size, sizeof input.line - input.size);
    if (n > 0) {
        input.size += (size_t)n;
        hand_over();
    } else if (n == 0) {
        finish(0);
    } else if (errno != EAGAIN && errno != EINTR) {
        finish(-errno);
    }
}

static void on_ready(struct peal_watch *watch, uint32_t events, void *user)
{
    (void)watch;
    (void)events;
    (void)user;
    read_some();
}

static void read_file(void *user);

static int post(void)
{
    int error = input.is_posted ? 0 : peal_loop_post(input.loop, read_file, NULL);
    input.is_posted = error == 0;
    return error;
}

/* As a file: on_end may have opened what has a watch. */
static bool is_to_be_read(void)
{
    return input.is_open && !input.is_paused && input.watch == NULL;
}

static void read_file(void *user)
{
    (void)user;
    input.is_posted = false;
    if (is_to_be_read()) {
        read_some();
    }
    int error = is_to_be_read() ? post() : 0;
    if (error < 0) {
        finish(error);
    }
}

int input_open(struct peal_loop *loop, int fd, const struct input_ops *ops, void *user)
{
    input.loop = loop;
    input.fd = fd;
    input.ops = ops;
    input.user = user;
    input.size = 0;
    input.is_open = true;
    input.is_paused = false;
    int error = peal_watch_open(loop, fd, PEAL_READABLE, on_ready, NULL, &input.watch);
    if (error == -EPERM) {
        input.watch = NULL;
        error = post();
    }
    input.is_open = error == 0;
    return error;
}

void input_close(void)
{
    input.is_open = false;
    input.watch = peal_watch_close(input.watch);
}

static void set_paused(bool is_paused)
{
    if (!input.is_open || input.is_paused == is_paused) {
        return;
    }
    input.is_paused = is_paused;
    int error = input.watch != NULL ? peal_watch_set(input.watch, is_paused ? 0 : PEAL_READABLE)
                : is_paused         ? 0
                                    : post();
    if (error < 0) {
        finish(error);
    }
}

void input_pause(void)
{
    set_paused(true);
}

void input_resume(void)
{
    set_paused(false);
}
