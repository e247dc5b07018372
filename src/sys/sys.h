/* SPDX-License-Identifier: BSD-2-Clause */
/* The one seam to the system: every system call, clock, thread primitive and allocation that the
 * library makes.
 *
 * sys_linux.c implements it on libc and the kernel. A simulated kernel implements the same symbols
 * and is linked in its place; the rest of the library is then byte for byte the same. What asks no
 * kernel is in sys_common.c, for both. Hence the rules:
 *  - Calls that can fail return a negative errno (never -1 with errno on the side).
 *  - EINTR is passed on, not retried: what to do about it is the caller's decision and must be
 *    tested.
 *  - Nothing here keeps state of the library. */
#ifndef PL_SYS_H
#define PL_SYS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct addrinfo;
struct stat;

/* ---- memory. Sizes as malloc(3); NULL when there is none. sys_free takes NULL. */
void *sys_malloc(size_t size) __attribute__((malloc, warn_unused_result));
void *sys_calloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
void *sys_realloc(void *memory, size_t size) __attribute__((warn_unused_result));
void sys_free(void *memory);

/* Test hook of the real seam: called before each allocation (kind 'a') and each system call that
 * may be made to fail (kind 's', name its function); a non-zero return, a positive errno, makes it
 * fail with that. NULL (the default) costs one predictable branch. Set it only while no other
 * thread is inside the library. */
typedef int (*sys_fault_fn)(char kind, const char *name, void *user);
void sys_set_fault_hook(sys_fault_fn hook, void *user);

/* Live allocations and bytes (as asked for) made through the seam by this process: the tests'
 * ledger. Counting is off until the first call. */
void sys_ledger(uint64_t *ret_allocations, uint64_t *ret_bytes);

/* ---- clocks and chance */
uint64_t sys_monotonic_ns(void);
uint64_t sys_realtime_ns(void);
uint64_t sys_random(void); /* 64 bits, not for secrets */

/* ---- fds. All fds made here are close-on-exec, sockets also non-blocking. */
int sys_close(int fd);
int sys_epoll_create(void);
int sys_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
/* timeout_ns < 0: without limit. Nanoseconds where the kernel has epoll_pwait2 and a sandbox does
 * not forbid it, else rounded up to milliseconds. */
int sys_epoll_wait(int epoll_fd, struct epoll_event *events, int events_max, int64_t timeout_ns);
int sys_eventfd(void);
int sys_signalfd(int fd, const sigset_t *mask); /* fd -1: a new one */
ssize_t sys_read(int fd, void *data, size_t size);
ssize_t sys_write(int fd, const void *data, size_t size);
ssize_t sys_pread(int fd, void *data, size_t size, off_t offset);
int sys_open(const char *path, int flags, mode_t mode);
int sys_fstat(int fd, struct stat *ret_stat);
int sys_lstat(const char *path, struct stat *ret_stat);
int sys_unlink(const char *path);
int sys_dup(int fd);
int sys_set_nonblocking(int fd);

/* ---- sockets */
int sys_socket(int domain, int type, int protocol);
int sys_bind(int fd, const struct sockaddr *address, socklen_t size);
int sys_listen(int fd, int backlog);
int sys_accept(int fd, struct sockaddr *ret_address, socklen_t *inout_size);
int sys_connect(int fd, const struct sockaddr *address, socklen_t size);
int sys_shutdown(int fd, int how);
int sys_getsockopt(int fd, int level, int name, void *ret_value, socklen_t *inout_size);
int sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int sys_getsockname(int fd, struct sockaddr *ret_address, socklen_t *inout_size);
int sys_getpeername(int fd, struct sockaddr *ret_address, socklen_t *inout_size);
ssize_t sys_recv(int fd, void *data, size_t size, int flags);
ssize_t sys_send(int fd, const void *data, size_t size, int flags);
ssize_t sys_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t sys_sendfile(int out_fd, int in_fd, off_t *inout_offset,
                     size_t size); /* raises no SIGPIPE */
int sys_bytes_unsent(int fd,
                     int *ret_bytes); /* SIOCOUTQ: written, not yet acknowledged by the peer */
int sys_bytes_unread(int fd, int *ret_bytes); /* FIONREAD */

/* ---- names */
int sys_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                    struct addrinfo **ret_list); /* 0, or an EAI_ code as it is */
void sys_freeaddrinfo(struct addrinfo *list);
const char *sys_gai_strerror(int code);
unsigned sys_if_nametoindex(const char *name); /* 0: there is none */
int sys_if_indextoname(unsigned index, char *ret_name /* IF_NAMESIZE */);

/* ---- threads */
struct sys_thread {
    pthread_t handle;
};
struct sys_mutex {
    pthread_mutex_t handle;
};
struct sys_cond {
    pthread_cond_t handle; /* on the monotonic clock */
};
int sys_thread_start(struct sys_thread *thread, const char *name, void *(*fn)(void *), void *arg);
int sys_thread_start_detached(const char *name, void *(*fn)(void *), void *arg);
void sys_thread_join(struct sys_thread *thread);
bool sys_thread_is_self(const struct sys_thread *thread);
uint64_t sys_thread_id(void);
void sys_thread_yield(void);
unsigned sys_cpu_count(void); /* that this process may use; at least 1 */
#define SYS_MUTEX_INIT                                                                             \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER                                                                  \
    }
void sys_mutex_init(struct sys_mutex *mutex);
void sys_mutex_deinit(struct sys_mutex *mutex);
void sys_mutex_lock(struct sys_mutex *mutex);
void sys_mutex_unlock(struct sys_mutex *mutex);
void sys_cond_init(struct sys_cond *cond);
void sys_cond_deinit(struct sys_cond *cond);
void sys_cond_wait(struct sys_cond *cond, struct sys_mutex *mutex);
bool sys_cond_wait_for(struct sys_cond *cond, struct sys_mutex *mutex,
                       uint64_t timeout_ns); /* false: timed out */
void sys_cond_signal(struct sys_cond *cond);
void sys_cond_broadcast(struct sys_cond *cond);
int sys_sigmask(int how, const sigset_t *mask, sigset_t *ret_old);
void sys_sigset_of(sigset_t *set, int number); /* the set with just this signal */
bool sys_sigset_has(const sigset_t *set, int number);

/* ---- text and the last resort */
int sys_vformat(char *text, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
int sys_format(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sys_strerror(int positive_errno, char *text, size_t size);
const char *sys_getenv(const char *name);
void sys_write_stderr(const char *text, size_t size);
_Noreturn void sys_abort(void);

#endif
