/* SPDX-License-Identifier: BSD-2-Clause */
/* The seam to a real Linux: thin functions over libc, each a translation of -1 and errno to a
 * negative errno.
 *
 * Two things are added for the tests, and cost a predictable branch each when off:
 *  - the fault hook, asked before each allocation and each system call that can fail;
 *  - the ledger, which counts live allocations made through the seam. Counting starts with the
 *    first call of sys_ledger; memory from before then is not in it, and freeing that would count
 *    below what is true, so a ledger is compared as a difference over a stretch in which all that
 *    is freed was allocated. Bytes are those that malloc really set aside (malloc_usable_size).
 *
 * Nothing else is kept here: no state of the library, no retries, no policy. */
#include "sys/sys.h"

#include "sys/fault.h"
#include "sys/raw_call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- faults and the ledger */

static _Atomic(sys_fault_fn) fault_hook;
static _Atomic(void *) fault_user;
static _Atomic bool ledger_on;
static _Atomic int64_t ledger_allocations, ledger_bytes;

void sys_set_fault_hook(sys_fault_fn hook, void *user)
{
    atomic_store(&fault_user, user);
    atomic_store(&fault_hook, hook);
}

/* The calls that each message makes ask with this first, so that they need not keep their arguments
 * beyond the hook. */
static inline bool has_fault_hook(void)
{
    return __builtin_expect(atomic_load_explicit(&fault_hook, memory_order_relaxed) != NULL, 0);
}

static inline int fault(char kind, const char *name)
{
    sys_fault_fn hook = atomic_load_explicit(&fault_hook, memory_order_acquire);
    if (__builtin_expect(hook != NULL, 0)) {
        return hook(kind, name, atomic_load_explicit(&fault_user, memory_order_relaxed));
    }
    return 0;
}

int sys_fault(const char *name)
{
    return fault('s', name);
}

/* In a function that returns a negative errno: fails with the hook's. */
#define FAULT(name)                                                                                \
    do {                                                                                           \
        int injected = fault('s', name);                                                           \
        if (injected) {                                                                            \
            return -injected;                                                                      \
        }                                                                                          \
    } while (0)

static void ledger_add(void *memory, int sign)
{
    if (atomic_load_explicit(&ledger_on, memory_order_relaxed) && memory) {
        atomic_fetch_add_explicit(&ledger_allocations, sign, memory_order_relaxed);
        atomic_fetch_add_explicit(&ledger_bytes, sign * (int64_t)malloc_usable_size(memory),
                                  memory_order_relaxed);
    }
}

void sys_ledger(uint64_t *ret_allocations, uint64_t *ret_bytes)
{
    atomic_store(&ledger_on, true);
    *ret_allocations = (uint64_t)atomic_load(&ledger_allocations);
    *ret_bytes = (uint64_t)atomic_load(&ledger_bytes);
}

/* ---- memory */

void *sys_malloc(size_t size)
{
    void *memory = fault('a', "malloc") ? NULL : malloc(size);
    ledger_add(memory, 1);
    return memory;
}

void *sys_calloc(size_t count, size_t size)
{
    void *memory = fault('a', "calloc") ? NULL : calloc(count, size);
    ledger_add(memory, 1);
    return memory;
}

void *sys_realloc(void *memory, size_t size)
{
    if (fault('a', "realloc")) {
        return NULL;
    }
    ledger_add(memory, -1);
    void *moved = realloc(memory, size);
    ledger_add(moved ? moved : memory, 1);
    return moved;
}

void sys_free(void *memory)
{
    ledger_add(memory, -1);
    free(memory);
}

/* ---- clocks and chance */

/* Without the guard that the time on the stack would get: a turn reads the clock twice. */
#define READ_CLOCK(name, clock)                                                                    \
    __attribute__((no_stack_protector)) uint64_t name(void)                                        \
    {                                                                                              \
        struct timespec now;                                                                       \
        clock_gettime(clock, &now);                                                                \
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;                         \
    }
READ_CLOCK(sys_monotonic_ns, CLOCK_MONOTONIC)
READ_CLOCK(sys_realtime_ns, CLOCK_REALTIME)
#undef READ_CLOCK

uint64_t sys_random(void)
{
    uint64_t value;
    if (syscall(SYS_getrandom, &value, sizeof value, 1 /* GRND_NONBLOCK */) == (long)sizeof value) {
        return value;
    }
    return sys_monotonic_ns() * 0x9e3779b97f4a7c15u;
}

/* ---- straight to the kernel, where that is known (raw_call.h) */

static inline ssize_t direct_recv(int fd, void *data, size_t size, int flags)
{
#if PL_RAW_CALLS
    return raw_call(SYS_recvfrom, fd, data, (long)size, flags);
#else
    ssize_t result = recv(fd, data, size, flags);
    return result < 0 ? -errno : result;
#endif
}

static inline ssize_t direct_send(int fd, const void *data, size_t size, int flags)
{
#if PL_RAW_CALLS
    return raw_call(SYS_sendto, fd, data, (long)size, flags);
#else
    ssize_t result = send(fd, data, size, flags);
    return result < 0 ? -errno : result;
#endif
}

static inline int direct_epoll_pwait2(int epoll_fd, struct epoll_event *events, int events_max,
                                      const struct timespec *timeout)
{
#if PL_RAW_CALLS
    return (int)raw_call(SYS_epoll_pwait2, epoll_fd, events, events_max, (long)timeout);
#else
    int result = epoll_pwait2(epoll_fd, events, events_max, timeout, NULL);
    return result < 0 ? -errno : result;
#endif
}

static inline int direct_epoll_wait(int epoll_fd, struct epoll_event *events, int events_max,
                                    int timeout_ms)
{
#if PL_RAW_CALLS
    return (int)raw_call(SYS_epoll_wait, epoll_fd, events, events_max, timeout_ms);
#else
    int result = epoll_wait(epoll_fd, events, events_max, timeout_ms);
    return result < 0 ? -errno : result;
#endif
}

/* ---- fds */

static int checked(int result)
{
    return result < 0 ? -errno : result;
}

static ssize_t checked_size(ssize_t result)
{
    return result < 0 ? -errno : result;
}

int sys_close(int fd)
{
    return checked(close(fd));
}

int sys_epoll_create(void)
{
    FAULT("epoll_create1");
    return checked(epoll_create1(EPOLL_CLOEXEC));
}

int sys_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    if (op != EPOLL_CTL_DEL) { /* removing does not fail for want of anything */
        FAULT("epoll_ctl");
    }
    return checked(epoll_ctl(epoll_fd, op, fd, event));
}

/* With a time limit; 0 and without a limit is the caller's. No guard for the time on the stack, as
 * with the clock. */
__attribute__((noinline, no_stack_protector)) static int
epoll_wait_for(int epoll_fd, struct epoll_event *events, int events_max, int64_t timeout_ns)
{
    enum { NS_A_MS = 1000000, LONGEST_MS = 86400000 };
    static _Atomic bool old_kernel;
    if (!atomic_load_explicit(&old_kernel, memory_order_relaxed)) {
        struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                   .tv_nsec = timeout_ns % 1000000000};
        int result = direct_epoll_pwait2(epoll_fd, events, events_max, &timeout);
        /* epoll_wait knows no EPERM: it is how older sandboxes of containers refuse what they have
         * not heard of. */
        if (result != -ENOSYS && result != -EPERM) {
            return result;
        }
        atomic_store_explicit(&old_kernel, true, memory_order_relaxed);
    }
    int64_t timeout_ms = timeout_ns / NS_A_MS;
    timeout_ms += timeout_ms * NS_A_MS < timeout_ns;
    return direct_epoll_wait(epoll_fd, events, events_max,
                             timeout_ms > LONGEST_MS ? LONGEST_MS : (int)timeout_ms);
}

static inline int epoll_wait_any(int epoll_fd, struct epoll_event *events, int events_max,
                                 int64_t timeout_ns)
{
    return timeout_ns > 0
               ? epoll_wait_for(epoll_fd, events, events_max, timeout_ns)
               : direct_epoll_wait(epoll_fd, events, events_max, timeout_ns < 0 ? -1 : 0);
}

__attribute__((noinline, cold)) static int epoll_wait_unless_fault(int epoll_fd,
                                                                   struct epoll_event *events,
                                                                   int events_max,
                                                                   int64_t timeout_ns)
{
    FAULT("epoll_wait");
    return epoll_wait_any(epoll_fd, events, events_max, timeout_ns);
}

int sys_epoll_wait(int epoll_fd, struct epoll_event *events, int events_max, int64_t timeout_ns)
{
    return has_fault_hook() ? epoll_wait_unless_fault(epoll_fd, events, events_max, timeout_ns)
                            : epoll_wait_any(epoll_fd, events, events_max, timeout_ns);
}

int sys_eventfd(void)
{
    FAULT("eventfd");
    return checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int sys_signalfd(int fd, const sigset_t *mask)
{
    FAULT("signalfd");
    return checked(signalfd(fd, mask, SFD_CLOEXEC | SFD_NONBLOCK));
}

ssize_t sys_read(int fd, void *data, size_t size)
{
    FAULT("read");
    return checked_size(read(fd, data, size));
}

ssize_t sys_write(int fd, const void *data, size_t size)
{
    FAULT("write");
    return checked_size(write(fd, data, size));
}

ssize_t sys_pread(int fd, void *data, size_t size, off_t offset)
{
    FAULT("pread");
    return checked_size(pread(fd, data, size, offset));
}

int sys_open(const char *path, int flags, mode_t mode)
{
    FAULT("open");
    return checked(open(path, flags | O_CLOEXEC, mode));
}

int sys_fstat(int fd, struct stat *ret_stat)
{
    FAULT("fstat");
    return checked(fstat(fd, ret_stat));
}

int sys_lstat(const char *path, struct stat *ret_stat)
{
    FAULT("lstat");
    return checked(lstat(path, ret_stat));
}

int sys_unlink(const char *path)
{
    FAULT("unlink");
    return checked(unlink(path));
}

int sys_dup(int fd)
{
    FAULT("dup");
    return checked(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int sys_set_nonblocking(int fd)
{
    FAULT("fcntl");
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -errno : checked(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

/* ---- sockets */

int sys_socket(int domain, int type, int protocol)
{
    FAULT("socket");
    return checked(socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
}

int sys_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    FAULT("bind");
    return checked(bind(fd, address, size));
}

int sys_listen(int fd, int backlog)
{
    FAULT("listen");
    return checked(listen(fd, backlog));
}

int sys_accept(int fd, struct sockaddr *ret_address, socklen_t *inout_size)
{
    FAULT("accept4");
    return checked(accept4(fd, ret_address, inout_size, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int sys_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    FAULT("connect");
    return checked(connect(fd, address, size));
}

int sys_shutdown(int fd, int how)
{
    FAULT("shutdown");
    return checked(shutdown(fd, how));
}

int sys_getsockopt(int fd, int level, int name, void *ret_value, socklen_t *inout_size)
{
    FAULT("getsockopt");
    return checked(getsockopt(fd, level, name, ret_value, inout_size));
}

int sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    FAULT("setsockopt");
    return checked(setsockopt(fd, level, name, value, size));
}

int sys_getsockname(int fd, struct sockaddr *ret_address, socklen_t *inout_size)
{
    FAULT("getsockname");
    return checked(getsockname(fd, ret_address, inout_size));
}

int sys_getpeername(int fd, struct sockaddr *ret_address, socklen_t *inout_size)
{
    FAULT("getpeername");
    return checked(getpeername(fd, ret_address, inout_size));
}

__attribute__((noinline, cold)) static ssize_t recv_unless_fault(int fd, void *data, size_t size,
                                                                 int flags)
{
    FAULT("recv");
    return direct_recv(fd, data, size, flags);
}

ssize_t sys_recv(int fd, void *data, size_t size, int flags)
{
    return has_fault_hook() ? recv_unless_fault(fd, data, size, flags)
                            : direct_recv(fd, data, size, flags);
}

__attribute__((noinline, cold)) static ssize_t send_unless_fault(int fd, const void *data,
                                                                 size_t size, int flags)
{
    FAULT("send");
    return direct_send(fd, data, size, flags);
}

ssize_t sys_send(int fd, const void *data, size_t size, int flags)
{
    return has_fault_hook() ? send_unless_fault(fd, data, size, flags)
                            : direct_send(fd, data, size, flags);
}

ssize_t sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
    FAULT("sendmsg");
    return checked_size(sendmsg(fd, message, flags));
}

/* sendfile(2) has no MSG_NOSIGNAL: towards a peer that is gone it would kill the process. So
 * SIGPIPE is blocked for the call, and the one that it raised, if it did, is taken away again. One
 * that was pending before belongs to somebody else and stays. */
ssize_t sys_sendfile(int out_fd, int in_fd, off_t *inout_offset, size_t size)
{
    FAULT("sendfile");
    sigset_t pipe_only, old, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
    sigemptyset(&pending);
    bool was_blocked = sigismember(&old, SIGPIPE) == 1;
    bool was_pending =
        was_blocked && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    ssize_t result = checked_size(sendfile(out_fd, in_fd, inout_offset, size));
    /* Also a call that took a part before the peer went raises it, and says nothing of it. */
    if (result != (ssize_t)size && !was_pending) {
        const struct timespec at_once = {0};
        while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR) {
        }
    }
    if (!was_blocked) {
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    return result;
}

int sys_bytes_unsent(int fd, int *ret_bytes)
{
    FAULT("ioctl");
    return checked(ioctl(fd, SIOCOUTQ, ret_bytes));
}

int sys_bytes_unread(int fd, int *ret_bytes)
{
    FAULT("ioctl");
    return checked(ioctl(fd, FIONREAD, ret_bytes));
}

/* ---- names */

int sys_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                    struct addrinfo **ret_list)
{
    if (fault('s', "getaddrinfo")) {
        return EAI_AGAIN;
    }
    return getaddrinfo(host, service, hints, ret_list);
}

void sys_freeaddrinfo(struct addrinfo *list)
{
    freeaddrinfo(list);
}

const char *sys_gai_strerror(int code)
{
    return gai_strerror(code);
}

unsigned sys_if_nametoindex(const char *name)
{
    return if_nametoindex(name);
}

int sys_if_indextoname(unsigned index, char *ret_name)
{
    return if_indextoname(index, ret_name) ? 0 : -errno;
}

/* ---- threads */

struct thread_start {
    void *(*fn)(void *);
    void *arg;
    char name[16];
};

static void *thread_main(void *arg)
{
    struct thread_start start = *(struct thread_start *)arg;
    free(arg);
    pthread_setname_np(pthread_self(), start.name);
    return start.fn(start.arg);
}

static int start_thread(pthread_t *ret_handle, const pthread_attr_t *attributes, const char *name,
                        void *(*fn)(void *), void *arg)
{
    FAULT("pthread_create");
    struct thread_start *start = malloc(sizeof *start);
    if (!start) {
        return -ENOMEM;
    }
    *start = (struct thread_start){.fn = fn, .arg = arg};
    strncpy(start->name, name, sizeof start->name - 1);
    int error = pthread_create(ret_handle, attributes, thread_main, start);
    if (error) {
        free(start);
    }
    return -error;
}

int sys_thread_start(struct sys_thread *thread, const char *name, void *(*fn)(void *), void *arg)
{
    return start_thread(&thread->handle, NULL, name, fn, arg);
}

/* All signals are blocked in a detached thread: it is the library's own business. */
int sys_thread_start_detached(const char *name, void *(*fn)(void *), void *arg)
{
    pthread_t handle;
    pthread_attr_t attributes;
    sigset_t all, old;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int result = start_thread(&handle, &attributes, name, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return result;
}

void sys_thread_join(struct sys_thread *thread)
{
    pthread_join(thread->handle, NULL);
}

bool sys_thread_is_self(const struct sys_thread *thread)
{
    return pthread_equal(thread->handle, pthread_self());
}

uint64_t sys_thread_id(void)
{
    return (uint64_t)syscall(SYS_gettid);
}

void sys_thread_yield(void)
{
    sched_yield();
}

unsigned sys_cpu_count(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? (unsigned)count : 1;
}

void sys_mutex_init(struct sys_mutex *mutex)
{
    pthread_mutex_init(&mutex->handle, NULL);
}

void sys_mutex_deinit(struct sys_mutex *mutex)
{
    pthread_mutex_destroy(&mutex->handle);
}

void sys_mutex_lock(struct sys_mutex *mutex)
{
    pthread_mutex_lock(&mutex->handle);
}

void sys_mutex_unlock(struct sys_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->handle);
}

void sys_cond_init(struct sys_cond *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&cond->handle, &attributes);
    pthread_condattr_destroy(&attributes);
}

void sys_cond_deinit(struct sys_cond *cond)
{
    pthread_cond_destroy(&cond->handle);
}

void sys_cond_wait(struct sys_cond *cond, struct sys_mutex *mutex)
{
    pthread_cond_wait(&cond->handle, &mutex->handle);
}

bool sys_cond_wait_for(struct sys_cond *cond, struct sys_mutex *mutex, uint64_t timeout_ns)
{
    uint64_t until_ns = sys_monotonic_ns() + timeout_ns;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};
    return pthread_cond_timedwait(&cond->handle, &mutex->handle, &until) != ETIMEDOUT;
}

void sys_cond_signal(struct sys_cond *cond)
{
    pthread_cond_signal(&cond->handle);
}

void sys_cond_broadcast(struct sys_cond *cond)
{
    pthread_cond_broadcast(&cond->handle);
}

/* ---- the environment, and the last resort */

const char *sys_getenv(const char *name)
{
    return secure_getenv(name);
}

void sys_write_stderr(const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = write(STDERR_FILENO, text, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return;
        }
        text += n;
        size -= (size_t)n;
    }
}

void sys_abort(void)
{
    abort();
}
