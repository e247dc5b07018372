/* SPDX-License-Identifier: BSD-2-Clause */
/* Small things that several commands need. */
#ifndef PEAL_TOOLS_COMMON_H
#define PEAL_TOOLS_COMMON_H

#include <stddef.h>

/* Lets the process have so many fds, or as many as it may: shells allow 1,024 by default, which is
 * few connections. Returns how many it may have now. */
unsigned long common_raise_fd_limit(unsigned long fds_max);

/* Of the terminal behind an fd, or 80. */
size_t common_terminal_width(int fd);

/* Prints text as a JSON string, with its quotes, to standard output. */
void common_print_json_text(const char *text);

#endif
