/* SPDX-License-Identifier: BSD-2-Clause */
/* The notation of the conformance scripts. A script makes calls of the seam through these macros;
 * each writes one line of what was called and what came of it, with the caller's own names:
 *     SEND(a, "hello");         send(a, "hello") = 5
 *     EVENTS(b, EPOLLIN);       events(b) = IN OUT
 * Whatever a script opens is closed after it. conform.c tells the model. */
#ifndef CONFORM_H
#define CONFORM_H

#include "sys/sys.h"

enum family { TCP4, TCP6, UNIX, FAMILIES };

/* Which families a script is run for. */
enum { ON_TCP = 1 << TCP4 | 1 << TCP6, ON_UNIX = 1 << UNIX, ON_ALL = ON_TCP | ON_UNIX, ONCE = 0 };

struct script {
    const char *name;
    void (*run)(enum family family);
    int families;
};

/* Each file of scripts ends with its table, closed by a script without a name. */
extern const struct script state_scripts[], ending_scripts[], setup_scripts[], polling_scripts[],
    misuse_scripts[], ring_scripts[];
bool ring_can_open(void);

struct name {
    struct sockaddr_storage address;
    socklen_t size;
};

void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
int keep(int fd); /* closed after the script, unless FD_CLOSE did; returns fd */

/* Not recorded unless they fail: what a script needs before it begins. */
int open_socket(enum family family);
int open_listener(enum family family, int backlog, struct name *ret_name);
void open_pair(enum family family, int *ret_connector, int *ret_accepted);
struct name fresh_name(enum family family); /* to bind to: any port, or a path of its own */
bool await(int fd, uint32_t events);        /* until all are there; bounded, and a failure noted */
void await_sent(int fd);                    /* until nothing is unsent; bounded, as await */
void fill(int fd);                          /* writes until the kernel takes no more */
size_t drain(int fd);                       /* reads what is there */

/* Recorded: the line is the call as written here, and what it gave. */
void record_result(const char *call, long result);
void record_events(const char *fd_name, int fd, uint32_t awaited);
void record_send(const char *fd_name, int fd, const char *text);
void record_recv(const char *fd_name, int fd, size_t size, int flags);
void record_option(const char *fd_name, int fd, int level, int option, const char *option_name);
void record_error(const char *fd_name, int fd);
void record_count(const char *what, const char *fd_name, int fd,
                  int (*count)(int fd, int *ret_bytes));
void record_close(const char *fd_name, int fd);
void record_name(const char *what, const char *fd_name, int fd, const struct name *same,
                 int (*ask)(int fd, struct sockaddr *ret_address, socklen_t *inout_size));
void set_option(int fd, int level, int option, int value);
void set_linger_zero(int fd);

#define CALL(text, result)        record_result(text, (long)(result))
#define EVENTS(fd, awaited)       record_events(#fd, fd, awaited)
#define SEND(fd, text)            record_send(#fd, fd, text)
#define RECV(fd, size)            record_recv(#fd, fd, size, 0)
#define PEEK(fd, size)            record_recv(#fd, fd, size, MSG_PEEK)
#define SO_ERROR_OF(fd)           record_error(#fd, fd)
#define OPTION(fd, level, option) record_option(#fd, fd, level, option, #option)
#define SHUT(fd, how)             CALL("shutdown(" #fd ", " #how ")", sys_shutdown(fd, SHUT_##how))
#define FD_CLOSE(fd)              record_close(#fd, fd)
#define UNSENT(fd)                record_count("unsent", #fd, fd, sys_bytes_unsent)
#define UNREAD(fd)                record_count("unread", #fd, fd, sys_bytes_unread)
#define OWN_NAME(fd, same)        record_name("getsockname", #fd, fd, same, sys_getsockname)
#define PEER_NAME(fd, same)       record_name("getpeername", #fd, fd, same, sys_getpeername)
#define BIND(fd, name)                                                                             \
    record_result("bind(" #fd ")",                                                                 \
                  sys_bind(fd, (const struct sockaddr *)&(name).address, (name).size))

#endif
