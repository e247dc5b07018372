/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a program would die of SIGPIPE, or its loops would end in their first turn on an
 * older kernel or in a container's sandbox, though all is well where the library was written. */
#include "support/baseline.h"
#include "support/child.h"
#include "support/faults.h"

#include "sys/sys.h"

#include <peal.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MS = 1000000 };

/* ---- fds */

static void expect_fd(int fd, bool nonblocking)
{
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    if (nonblocking) {
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    }
    assert_int_equal(sys_close(fd), 0);
}

static void what_is_accepted_or_opened_is_closed_on_exec(void **state)
{
    sigset_t set;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int ends[2], enabled = 1;
    (void)state;
    sys_sigset_of(&set, SIGUSR1);
    expect_fd(sys_signalfd(-1, &set), true);
    expect_fd(sys_open("/", O_RDONLY, 0), false);
    int listener = sys_socket(AF_INET, SOCK_STREAM, 0),
        caller = sys_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(sys_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &enabled, sizeof enabled),
                     0);
    assert_int_equal(sys_bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(sys_listen(listener, 1), 0);
    assert_int_equal(sys_accept(listener, NULL, NULL), -EAGAIN);
    assert_int_equal(sys_getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(sys_connect(caller, (struct sockaddr *)&address, size), -EINPROGRESS);
    expect_fd(sys_accept(listener, NULL, NULL), true);
    expect_fd(listener, true);
    expect_fd(caller, true);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(sys_set_nonblocking(ends[0]), 0);
    assert_int_equal(sys_set_nonblocking(-1), -EBADF);
    expect_fd(ends[0], true);
    expect_fd(ends[1], false);
}

/* An engine that could not remove an fd would have to keep its memory for ever. */
static void what_lets_go_is_not_made_to_fail(void **state)
{
    int epoll_fd = sys_epoll_create(), fd = sys_eventfd();
    struct epoll_event event = {.events = EPOLLIN};
    (void)state;
    assert_int_equal(sys_epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), 0);
    faults_start((struct faults){.nth = 1, .for_ever = true, .error = EIO});
    assert_int_equal(sys_epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &event), 0);
    assert_int_equal(sys_close(fd), 0);
    assert_int_equal(sys_close(epoll_fd), 0);
    assert_int_equal(faults_stop(), 0);
}

/* ---- sendfile and SIGPIPE. The library sends files while the program's disposition is the
 * default, which kills. */

static int send_to_nobody(void)
{
    int ends[2], file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    off_t at = 0;
    assert_true(file >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    close(ends[1]);
    ssize_t result = sys_sendfile(ends[0], file, &at, 100);
    close(ends[0]);
    close(file);
    return (int)result;
}

static bool is_pending(void)
{
    sigset_t pending;
    assert_int_equal(sigpending(&pending), 0);
    return sigismember(&pending, SIGPIPE) == 1;
}

static void sending_a_file_to_nobody_raises_no_signal(void **state)
{
    sigset_t pipe_only, now;
    (void)state;
    sys_sigset_of(&pipe_only, SIGPIPE);
    assert_int_equal(send_to_nobody(), -EPIPE);
    assert_int_equal(sys_sigmask(SIG_BLOCK, NULL, &now), 0);
    assert_false(sys_sigset_has(&now, SIGPIPE)); /* as before */
    assert_int_equal(sys_sigmask(SIG_BLOCK, &pipe_only, NULL), 0);
    assert_int_equal(send_to_nobody(), -EPIPE);
    assert_false(is_pending());
    assert_int_equal(sys_sigmask(SIG_BLOCK, NULL, &now), 0);
    assert_true(sys_sigset_has(&now, SIGPIPE));
    raise(SIGPIPE); /* somebody else's: not ours to take */
    assert_int_equal(send_to_nobody(), -EPIPE);
    assert_true(is_pending());
    const struct timespec at_once = {0};
    assert_int_equal(sigtimedwait(&pipe_only, NULL, &at_once), SIGPIPE);
    assert_int_equal(sys_sigmask(SIG_UNBLOCK, &pipe_only, NULL), 0);
}

/* ---- waiting, also where epoll_pwait2 does not exist or is forbidden */

static void waits_in_full(const char *where)
{
    struct epoll_event event = {.events = EPOLLIN}, got;
    int epoll_fd = sys_epoll_create(), fd = sys_eventfd();
    if (sys_epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        dprintf(STDERR_FILENO, "%s: no epoll\n", where);
    }
    static const int64_t timeouts_ns[] = {0, 1, 999999, 1500000, 3 * MS};
    for (size_t i = 0; i < sizeof timeouts_ns / sizeof timeouts_ns[0]; i++) {
        uint64_t began_ns = sys_monotonic_ns();
        int result = sys_epoll_wait(epoll_fd, &got, 1, timeouts_ns[i]);
        uint64_t waited_ns = sys_monotonic_ns() - began_ns;
        if (result != 0 || waited_ns < (uint64_t)timeouts_ns[i]) {
            dprintf(STDERR_FILENO, "%s: waiting %lld ns gave %d after %llu ns\n", where,
                    (long long)timeouts_ns[i], result, (unsigned long long)waited_ns);
        }
    }
    const uint64_t one = 1;
    sys_write(fd, &one, sizeof one);
    static const int64_t long_ones_ns[] = {-1, 1000ll * MS, INT64_MAX};
    for (size_t i = 0; i < sizeof long_ones_ns / sizeof long_ones_ns[0]; i++) {
        int result = sys_epoll_wait(epoll_fd, &got, 1, long_ones_ns[i]);
        if (result != 1) {
            dprintf(STDERR_FILENO, "%s: an event that is there gave %d\n", where, result);
        }
    }
    sys_close(fd);
    sys_close(epoll_fd);
}

static void on_alarm(int number)
{
    (void)number;
}

/* 2^32 ms and one: an int of milliseconds would make it a wait of one. The alarm comes again and
 * again, so that one that came before the wait does not leave it hanging. */
static void waits_for_weeks(const char *where)
{
    const struct itimerval often = {.it_interval.tv_usec = 30000, .it_value.tv_usec = 30000};
    const struct itimerval never = {0};
    struct epoll_event got;
    int epoll_fd = sys_epoll_create();
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    int result = sys_epoll_wait(epoll_fd, &got, 1, ((1ll << 32) + 1) * MS);
    setitimer(ITIMER_REAL, &never, NULL);
    if (result != -EINTR) {
        dprintf(STDERR_FILENO, "%s: a wait of weeks gave %d\n", where, result);
    }
    sys_close(epoll_fd);
}

static void on_timer(struct peal_timer *timer, void *user)
{
    (void)timer;
    *(uint64_t *)user = sys_monotonic_ns();
}

static void a_loop_keeps_time(const char *where)
{
    struct peal_loop *loop;
    struct peal_timer timer;
    uint64_t fired_ns = 0, began_ns;
    int result = peal_loop_new(NULL, &loop);
    if (result == 0) {
        peal_timer_init(&timer, loop, on_timer, &fired_ns);
        began_ns = sys_monotonic_ns();
        peal_timer_start(&timer, 5, 0);
        while (fired_ns == 0 && result >= 0) {
            result = peal_loop_turn(loop, -1);
        }
        if (result != 1 || fired_ns < began_ns + 5 * MS) {
            dprintf(STDERR_FILENO, "%s: a turn gave %d, or the timer was early\n", where, result);
        }
        peal_loop_free(loop);
    }
}

/* From here on the kernel answers epoll_pwait2 with the errno. Returns 0 if it really does. */
static int forbid_pwait2(int error)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof steps / sizeof steps[0], .filter = steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        return -errno;
    }
    return syscall(SYS_epoll_pwait2, -1, NULL, 1, NULL, NULL, 0) < 0 && errno == error ? 0
                                                                                       : -ENOTSUP;
}

enum { NO_FILTER = 77 };

static void wait_without_pwait2(void *arg)
{
    int error = *(int *)arg;
    if (error != 0 && forbid_pwait2(error) < 0) {
        _exit(NO_FILTER);
    }
    const char *where = error == 0 ? "as it is" : error == ENOSYS ? "old kernel" : "sandbox";
    waits_in_full(where);
    a_loop_keeps_time(where);
    waits_for_weeks(where);
}

static void waiting_needs_no_new_kernel(void **state)
{
    int errors[] = {0, ENOSYS, EPERM};
    char text[4096];
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        int status = child_run(wait_without_pwait2, &errors[i], text, sizeof text);
        if (WIFEXITED(status) && WEXITSTATUS(status) == NO_FILTER) {
            print_message("no system call filters here\n");
            skip();
        }
        assert_string_equal(text, "");
        assert_int_equal(status, 0);
    }
}

static void cores_are_those_that_may_be_used(void **state)
{
    cpu_set_t all, one;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_int_equal(sys_cpu_count(), CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
        }
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(sys_cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

/* A standard error that is full and does not block: what does not fit is given up. */
static void write_too_much(void *arg)
{
    static char text[200000];
    int ends[2];
    (void)arg;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
        dup2(ends[1], STDERR_FILENO);
        sys_write_stderr(text, sizeof text);
        close(STDERR_FILENO);
        sys_write_stderr("nowhere to go", 13);
    }
}

static void the_last_word_waits_for_nobody(void **state)
{
    char text[16];
    (void)state;
    assert_int_equal(child_run(write_too_much, NULL, text, sizeof text), 0);
    assert_string_equal(text, "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_accepted_or_opened_is_closed_on_exec),
        TEST(what_lets_go_is_not_made_to_fail),
        TEST(sending_a_file_to_nobody_raises_no_signal),
        TEST(waiting_needs_no_new_kernel),
        TEST(the_last_word_waits_for_nobody),
        TEST(cores_are_those_that_may_be_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
