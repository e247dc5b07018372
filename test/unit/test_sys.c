/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, an error of the system would be lost or mistaken at the one place where the
 * library meets it, or the tests' own faults and ledger would not tell the truth. */
#include "sys/sys.h"
#include "support/baseline.h"
#include "support/child.h"
#include "support/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { NO_FD = 900 };

/* ---- every call: its error is a negative errno, and the hook can make it fail */

static struct stat a_stat;
static struct sockaddr_in an_address;
static socklen_t a_size;
static struct epoll_event an_event;
static char bytes[16];
static int an_int;
static off_t an_offset;
static sigset_t a_set;
static struct sys_thread a_thread;
static struct addrinfo *a_list;

static void *do_nothing(void *arg)
{
    return arg;
}

static ssize_t call_epoll_ctl(void)
{
    return sys_epoll_ctl(NO_FD, EPOLL_CTL_ADD, 0, &an_event);
}

static ssize_t call_epoll_wait(void)
{
    return sys_epoll_wait(NO_FD, &an_event, 1, 0);
}

static ssize_t call_epoll_wait_for(void)
{
    return sys_epoll_wait(NO_FD, &an_event, 1, 1000);
}

static ssize_t call_signalfd(void)
{
    return sys_signalfd(NO_FD, &a_set);
}

static ssize_t call_read(void)
{
    return sys_read(NO_FD, bytes, 1);
}

static ssize_t call_write(void)
{
    return sys_write(NO_FD, bytes, 1);
}

static ssize_t call_pread(void)
{
    return sys_pread(NO_FD, bytes, 1, 0);
}

static ssize_t call_open(void)
{
    return sys_open("/nowhere/at/all", O_RDONLY, 0);
}

static ssize_t call_fstat(void)
{
    return sys_fstat(NO_FD, &a_stat);
}

static ssize_t call_lstat(void)
{
    return sys_lstat("/nowhere/at/all", &a_stat);
}

static ssize_t call_unlink(void)
{
    return sys_unlink("/nowhere/at/all");
}

static ssize_t call_dup(void)
{
    return sys_dup(NO_FD);
}

static ssize_t call_fcntl(void)
{
    return sys_set_nonblocking(NO_FD);
}

static ssize_t call_socket(void)
{
    return sys_socket(-1, SOCK_STREAM, 0);
}

static ssize_t call_bind(void)
{
    return sys_bind(NO_FD, (struct sockaddr *)&an_address, sizeof an_address);
}

static ssize_t call_listen(void)
{
    return sys_listen(NO_FD, 1);
}

static ssize_t call_accept(void)
{
    return sys_accept(NO_FD, (struct sockaddr *)&an_address, &a_size);
}

static ssize_t call_connect(void)
{
    return sys_connect(NO_FD, (struct sockaddr *)&an_address, sizeof an_address);
}

static ssize_t call_shutdown(void)
{
    return sys_shutdown(NO_FD, SHUT_WR);
}

static ssize_t call_getsockopt(void)
{
    return sys_getsockopt(NO_FD, SOL_SOCKET, SO_ERROR, &an_int, &a_size);
}

static ssize_t call_setsockopt(void)
{
    return sys_setsockopt(NO_FD, SOL_SOCKET, SO_KEEPALIVE, &an_int, sizeof an_int);
}

static ssize_t call_getsockname(void)
{
    return sys_getsockname(NO_FD, (struct sockaddr *)&an_address, &a_size);
}

static ssize_t call_getpeername(void)
{
    return sys_getpeername(NO_FD, (struct sockaddr *)&an_address, &a_size);
}

static ssize_t call_recv(void)
{
    return sys_recv(NO_FD, bytes, 1, 0);
}

static ssize_t call_send(void)
{
    return sys_send(NO_FD, bytes, 1, MSG_NOSIGNAL);
}

static ssize_t call_sendmsg(void)
{
    const struct msghdr message = {0};
    return sys_sendmsg(NO_FD, &message, MSG_NOSIGNAL);
}

static ssize_t call_sendfile(void)
{
    return sys_sendfile(NO_FD, NO_FD, &an_offset, 1);
}

static ssize_t call_unsent(void)
{
    return sys_bytes_unsent(NO_FD, &an_int);
}

static ssize_t call_unread(void)
{
    return sys_bytes_unread(NO_FD, &an_int);
}

static const struct {
    const char *name; /* for the hook */
    ssize_t (*call)(void);
    int error; /* of the call itself */
} calls[] = {
    {"epoll_ctl", call_epoll_ctl, -EBADF},
    {"epoll_wait", call_epoll_wait, -EBADF},
    {"epoll_wait", call_epoll_wait_for, -EBADF},
    {"signalfd", call_signalfd, -EBADF},
    {"read", call_read, -EBADF},
    {"write", call_write, -EBADF},
    {"pread", call_pread, -EBADF},
    {"open", call_open, -ENOENT},
    {"fstat", call_fstat, -EBADF},
    {"lstat", call_lstat, -ENOENT},
    {"unlink", call_unlink, -ENOENT},
    {"dup", call_dup, -EBADF},
    {"fcntl", call_fcntl, -EBADF},
    {"socket", call_socket, -EAFNOSUPPORT},
    {"bind", call_bind, -EBADF},
    {"listen", call_listen, -EBADF},
    {"accept4", call_accept, -EBADF},
    {"connect", call_connect, -EBADF},
    {"shutdown", call_shutdown, -EBADF},
    {"getsockopt", call_getsockopt, -EBADF},
    {"setsockopt", call_setsockopt, -EBADF},
    {"getsockname", call_getsockname, -EBADF},
    {"getpeername", call_getpeername, -EBADF},
    {"recv", call_recv, -EBADF},
    {"send", call_send, -EBADF},
    {"sendmsg", call_sendmsg, -EBADF},
    {"sendfile", call_sendfile, -EBADF},
    {"ioctl", call_unsent, -EBADF},
    {"ioctl", call_unread, -EBADF},
};

static void every_call_tells_its_error_and_can_be_made_to_fail(void **state)
{
    (void)state;
    sys_sigset_of(&a_set, SIGUSR1);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_int_equal(calls[i].call(), calls[i].error);
        faults_start((struct faults){.name = calls[i].name, .nth = 1, .error = EPROTO});
        assert_int_equal(calls[i].call(), -EPROTO);
        assert_int_equal(faults_stop(), 1);
    }
}

static void what_makes_something_can_be_made_to_fail(void **state)
{
    (void)state;
    faults_start((struct faults){.nth = 1, .for_ever = true, .error = EMFILE});
    assert_int_equal(sys_epoll_create(), -EMFILE);
    assert_int_equal(sys_eventfd(), -EMFILE);
    assert_int_equal(sys_socket(AF_INET, SOCK_STREAM, 0), -EMFILE);
    assert_int_equal(sys_thread_start(&a_thread, "none", do_nothing, NULL), -EMFILE);
    assert_int_equal(sys_thread_start_detached("none", do_nothing, NULL), -EMFILE);
    assert_int_equal(sys_getaddrinfo("127.0.0.1", "80", NULL, &a_list), EAI_AGAIN);
    assert_null(sys_malloc(1));
    assert_null(sys_calloc(1, 1));
    assert_int_equal(faults_stop(), 8);
}

/* ---- memory */

static void the_ledger_counts_what_lives(void **state)
{
    struct baseline before = baseline_take(), during;
    char *one = sys_malloc(100), *two = sys_calloc(10, 10);
    (void)state;
    assert_true(one && two);
    during = baseline_take();
    assert_int_equal(during.allocations, before.allocations + 2);
    assert_true(during.bytes >= before.bytes + 200);
    one[99] = 'x';
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    assert_null(sys_realloc(one, 5000)); /* and leaves what there was */
    faults_stop();
    assert_int_equal(one[99], 'x');
    one = sys_realloc(one, 5000);
    assert_non_null(one);
    assert_int_equal(one[99], 'x');
    during = baseline_take();
    assert_int_equal(during.allocations, before.allocations + 2);
    assert_true(during.bytes >= before.bytes + 5100);
    sys_free(one);
    sys_free(two);
    sys_free(NULL);
    baseline_check(&before);
}

/* ---- clocks, chance, limits */

static void clocks_go_on(void **state)
{
    uint64_t first_ns = sys_monotonic_ns(), real_ns = sys_realtime_ns();
    (void)state;
    usleep(2000);
    assert_true(sys_monotonic_ns() >= first_ns + 2000 * 1000u);
    assert_true(real_ns / 1000000000u > 1600000000u);
    assert_true(sys_random() != sys_random());
    assert_true(sys_cpu_count() >= 1);
    assert_true(sys_thread_id() == (uint64_t)getpid());
}

static void fds_are_closed_on_exec_and_sockets_do_not_block(void **state)
{
    int fds[4] = {sys_epoll_create(), sys_eventfd(), sys_socket(AF_INET, SOCK_STREAM, 0),
                  sys_dup(0)};
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        assert_true(fds[i] >= 0);
        assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        assert_true(i == 0 || i == 3 || fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        assert_int_equal(sys_close(fds[i]), 0);
    }
    assert_int_equal(sys_close(NO_FD), -EBADF);
}

static void a_wait_is_never_short(void **state)
{
    static const int64_t timeouts_ns[] = {0, 1, 999, 1500000, 20000000};
    int fd = sys_epoll_create();
    (void)state;
    for (size_t i = 0; i < sizeof timeouts_ns / sizeof timeouts_ns[0]; i++) {
        uint64_t began_ns = sys_monotonic_ns();
        assert_int_equal(sys_epoll_wait(fd, &an_event, 1, timeouts_ns[i]), 0);
        assert_true(sys_monotonic_ns() - began_ns >= (uint64_t)timeouts_ns[i]);
    }
    sys_close(fd);
}

static void interfaces_have_names(void **state)
{
    char name[IF_NAMESIZE];
    unsigned index = sys_if_nametoindex("lo");
    (void)state;
    assert_int_equal(sys_if_nametoindex("no such one"), 0);
    assert_int_equal(sys_if_indextoname(1u << 30, name), -ENXIO);
    if (index > 0) {
        assert_int_equal(sys_if_indextoname(index, name), 0);
        assert_string_equal(name, "lo");
    }
}

static void names_are_resolved(void **state)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    (void)state;
    assert_int_equal(sys_getaddrinfo("127.0.0.1", "80", &hints, &list), 0);
    assert_int_equal(list->ai_family, AF_INET);
    sys_freeaddrinfo(list);
    assert_true(strlen(sys_gai_strerror(EAI_NONAME)) > 0);
}

/* ---- threads */

struct meeting {
    struct sys_mutex mutex;
    struct sys_cond changed;
    int steps; /* under the mutex */
    struct sys_thread thread;
    bool self_seen;
    char name[16];
};

static void *take_part(void *arg)
{
    struct meeting *meeting = arg;
    sys_mutex_lock(&meeting->mutex);
    while (meeting->steps < 1) {
        sys_cond_wait(&meeting->changed, &meeting->mutex);
    }
    pthread_getname_np(pthread_self(), meeting->name, sizeof meeting->name);
    meeting->self_seen = sys_thread_is_self(&meeting->thread);
    meeting->steps = 2;
    sys_cond_broadcast(&meeting->changed);
    sys_mutex_unlock(&meeting->mutex);
    return NULL;
}

static void threads_meet(void **state)
{
    struct meeting meeting = {.steps = 0};
    (void)state;
    sys_mutex_init(&meeting.mutex);
    sys_cond_init(&meeting.changed);
    sys_mutex_lock(&meeting.mutex);
    uint64_t began_ns = sys_monotonic_ns();
    assert_false(sys_cond_wait_for(&meeting.changed, &meeting.mutex, 3000000)); /* nobody there */
    assert_true(sys_monotonic_ns() - began_ns >= 3000000);
    assert_int_equal(sys_thread_start(&meeting.thread, "a name of 20 letters", take_part, &meeting),
                     0);
    meeting.steps = 1;
    sys_cond_signal(&meeting.changed);
    while (meeting.steps < 2) {
        sys_cond_wait_for(&meeting.changed, &meeting.mutex, 1000000000);
    }
    sys_mutex_unlock(&meeting.mutex);
    assert_false(sys_thread_is_self(&meeting.thread));
    sys_thread_join(&meeting.thread);
    assert_true(meeting.self_seen);
    assert_string_equal(meeting.name, "a name of 20 le");
    sys_cond_deinit(&meeting.changed);
    sys_mutex_deinit(&meeting.mutex);
}

static _Atomic int detached_mask = -1;

static void *look_at_mask(void *arg)
{
    sigset_t now;
    (void)arg;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    atomic_store(&detached_mask, sys_sigset_has(&now, SIGINT) && sys_sigset_has(&now, SIGTERM));
    return NULL;
}

static void a_detached_thread_takes_no_signals(void **state)
{
    sigset_t before, after;
    (void)state;
    sys_sigset_of(&a_set, SIGINT);
    assert_int_equal(sys_sigmask(SIG_UNBLOCK, &a_set, &before), 0);
    assert_int_equal(sys_thread_start_detached("helper", look_at_mask, NULL), 0);
    while (atomic_load(&detached_mask) < 0) {
        sys_thread_yield();
    }
    assert_int_equal(atomic_load(&detached_mask), 1);
    assert_int_equal(sys_sigmask(SIG_SETMASK, NULL, &after), 0);
    assert_false(sys_sigset_has(&after, SIGINT)); /* the caller's mask is as it was */
    assert_int_equal(sys_sigmask(77, &a_set, NULL), -EINVAL);
    assert_int_equal(sys_sigmask(SIG_SETMASK, &before, NULL), 0);
}

/* ---- text and the last resort */

static void texts_fit_their_room(void **state)
{
    char text[8];
    (void)state;
    assert_int_equal(sys_format(text, sizeof text, "%d and %s", 12, "more"), 11);
    assert_string_equal(text, "12 and ");
    sys_strerror(EPIPE, text, sizeof text);
    assert_int_equal(strlen(text), 7);
    assert_memory_equal(text, "Broken ", 7);
    setenv("PEAL_TEST", "here", 1);
    assert_string_equal(sys_getenv("PEAL_TEST"), "here");
    unsetenv("PEAL_TEST");
    assert_null(sys_getenv("PEAL_TEST"));
}

static void on_alarm(int number)
{
    (void)number;
}

/* More than a pipe holds, while signals interrupt the writing. */
static void write_much(void *arg)
{
    static char line[100000];
    const struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    const struct itimerspec often = {.it_interval.tv_nsec = 200000, .it_value.tv_nsec = 200000};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    (void)arg;
    memset(line, 'x', sizeof line);
    sigaction(SIGUSR1, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &often, NULL) != 0) {
        _exit(1);
    }
    for (unsigned i = 0; i < 20; i++) {
        sys_write_stderr(line, sizeof line);
    }
}

static void a_last_word_is_written_whole(void **state)
{
    enum { SIZE = 3000000 };
    char *text = malloc(SIZE);
    (void)state;
    assert_non_null(text);
    assert_int_equal(child_run(write_much, NULL, text, SIZE), 0);
    assert_int_equal(strlen(text), 20 * 100000);
    free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_call_tells_its_error_and_can_be_made_to_fail),
        TEST(what_makes_something_can_be_made_to_fail),
        TEST(the_ledger_counts_what_lives),
        TEST(clocks_go_on),
        TEST(fds_are_closed_on_exec_and_sockets_do_not_block),
        TEST(a_wait_is_never_short),
        TEST(interfaces_have_names),
        TEST(names_are_resolved),
        TEST(threads_meet),
        TEST(a_detached_thread_takes_no_signals),
        TEST(texts_fit_their_room),
        TEST(a_last_word_is_written_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
