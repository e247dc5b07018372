/* SPDX-License-Identifier: BSD-2-Clause */
/* Small things that several commands need: the limit on fds, the width of a terminal, and text in
 * JSON (RFC 8259, section 7: quotes, backslashes and control characters are escaped; UTF-8 goes
 * through as it is). What finds more than one user among the commands and is too small for a file
 * of its own belongs here; what grows moves out.
 */
#include "common.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

unsigned long common_raise_fd_limit(unsigned long fds_max)
{
    struct rlimit limit = {.rlim_cur = 0};

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < fds_max) {
        limit.rlim_cur = limit.rlim_max < fds_max ? limit.rlim_max : fds_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}

size_t common_terminal_width(int fd)
{
    struct winsize size;

    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void common_print_json_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            printf("\\%c", *text);
        } else if ((unsigned char)*text < ' ') {
            printf("\\u%04x", (unsigned)*text);
        } else {
            putchar(*text);
        }
    }
    putchar('"');
}
