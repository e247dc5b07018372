/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: a fault that is asked for would not strike, or with another error than Linux
 * has for that call, and the library would be thought safe from what it never met.
 *
 * Two doors lead in: the hook of the seam, which names a call, and the kinds of faults.def, which
 * a run draws. Here each is opened for one call at a time. */
#include "sys/sim/sim.h"
#include "sys/sys.h"
#ifdef PL_HAS_URING
#include "sys/sys_uring.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum {
    INJECTED = EXDEV,
    EVERY_TIME = 65536
}; /* EXDEV: an error that nothing here has of its own */

static int listener, connected, accepted, epoll, event, file;
static struct sockaddr_in here;
static const struct sockaddr *const to = (const struct sockaddr *)&here;
static const char path[] = "/notes";

static void begin(void)
{
    socklen_t size = sizeof here;
    pl_choice_init_seed(&pl_sim.choice, 3);
    pl_sim_begin();
    here = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = sys_socket(AF_INET, SOCK_STREAM, 0);
    connected = sys_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(sys_bind(listener, to, sizeof here), 0);
    assert_int_equal(sys_listen(listener, 4), 0);
    assert_int_equal(sys_getsockname(listener, (struct sockaddr *)&here, &size), 0);
    assert_int_equal(sys_connect(connected, to, sizeof here), -EINPROGRESS);
    accepted = sys_accept(listener, NULL, NULL);
    epoll = sys_epoll_create();
    event = sys_eventfd();
    file = sys_open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(sys_write(file, "0123456789", 10), 10);
    assert_true(accepted >= 0 && epoll >= 0 && event >= 0);
}

static void end(void)
{
    const int all[] = {listener, connected, accepted, epoll, event, file};
    memset(pl_sim.shares, 0, sizeof pl_sim.shares);
    sys_set_fault_hook(NULL, NULL);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(sys_close(all[i]), 0);
    }
    pl_sim_end();
    pl_choice_deinit(&pl_sim.choice);
}

/* ---- the calls */

static int64_t call_socket(void)
{
    return sys_socket(AF_INET, SOCK_STREAM, 0);
}
static int64_t call_bind(void)
{
    return sys_bind(listener, to, sizeof here);
}
static int64_t call_listen(void)
{
    return sys_listen(listener, 1);
}
static int64_t call_accept(void)
{
    return sys_accept(listener, NULL, NULL);
}
static int64_t call_connect(void)
{
    return sys_connect(connected, to, sizeof here);
}
static int64_t call_shutdown(void)
{
    return sys_shutdown(connected, SHUT_WR);
}
static int64_t call_getsockname(void)
{
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    return sys_getsockname(connected, (struct sockaddr *)&name, &size);
}
static int64_t call_getpeername(void)
{
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    return sys_getpeername(connected, (struct sockaddr *)&name, &size);
}
static int64_t call_recv(void)
{
    char data[16];
    return sys_recv(accepted, data, sizeof data, 0);
}
static int64_t call_send(void)
{
    return sys_send(connected, "0123456789", 10, MSG_NOSIGNAL);
}
static int64_t call_sendmsg(void)
{
    struct iovec pieces[] = {{.iov_base = (char[]){"01234"}, .iov_len = 5},
                             {.iov_base = (char[]){"56789"}, .iov_len = 5}};
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    return sys_sendmsg(connected, &message, MSG_NOSIGNAL);
}
static int64_t call_sendfile(void)
{
    off_t offset = 0;
    return sys_sendfile(connected, file, &offset, 10);
}
static int64_t call_getsockopt(void)
{
    int value;
    socklen_t size = sizeof value;
    return sys_getsockopt(connected, SOL_SOCKET, SO_KEEPALIVE, &value, &size);
}
static int64_t call_setsockopt(void)
{
    return sys_setsockopt(connected, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
}
static int64_t call_unsent(void)
{
    int bytes;
    return sys_bytes_unsent(connected, &bytes);
}
static int64_t call_unread(void)
{
    int bytes;
    return sys_bytes_unread(accepted, &bytes);
}
static int64_t call_epoll_create(void)
{
    return sys_epoll_create();
}
static int64_t call_epoll_add(void)
{
    return sys_epoll_ctl(epoll, EPOLL_CTL_ADD, event, &(struct epoll_event){.events = EPOLLIN});
}
static int64_t call_epoll_wait(void)
{
    struct epoll_event events[4];
    return sys_epoll_wait(epoll, events, 4, 1000);
}
static int64_t call_eventfd(void)
{
    return sys_eventfd();
}
static int64_t call_signalfd(void)
{
    sigset_t mask;
    sys_sigset_of(&mask, SIGUSR1);
    return sys_signalfd(-1, &mask);
}
static int64_t call_read(void)
{
    uint64_t value;
    return sys_read(event, &value, sizeof value);
}
static int64_t call_write(void)
{
    return sys_write(event, &(uint64_t){1}, sizeof(uint64_t));
}
static int64_t call_pread(void)
{
    char data[10];
    return sys_pread(file, data, sizeof data, 0);
}
static int64_t call_open(void)
{
    return sys_open(path, O_RDONLY, 0);
}
static int64_t call_fstat(void)
{
    struct stat status;
    return sys_fstat(file, &status);
}
static int64_t call_lstat(void)
{
    struct stat status;
    return sys_lstat(path, &status);
}
static int64_t call_unlink(void)
{
    return sys_unlink(path);
}
static int64_t call_dup(void)
{
    return sys_dup(file);
}
static int64_t call_set_nonblocking(void)
{
    return sys_set_nonblocking(connected);
}
static int64_t call_thread(void)
{
    struct sys_thread thread;
    return sys_thread_start(&thread, "none", NULL, NULL);
}
#ifdef PL_HAS_URING
static int64_t call_uring_open(void)
{
    struct sys_uring ring;
    return sys_uring_open(&ring, 4, 8);
}
#endif

static const struct {
    const char *name; /* as the hook hears it */
    int64_t (*call)(void);
} calls[] = {
    {"socket", call_socket},
    {"bind", call_bind},
    {"listen", call_listen},
    {"accept4", call_accept},
    {"connect", call_connect},
    {"shutdown", call_shutdown},
    {"getsockname", call_getsockname},
    {"getpeername", call_getpeername},
    {"recv", call_recv},
    {"send", call_send},
    {"sendmsg", call_sendmsg},
    {"sendfile", call_sendfile},
    {"getsockopt", call_getsockopt},
    {"setsockopt", call_setsockopt},
    {"ioctl", call_unsent},
    {"ioctl", call_unread},
    {"epoll_create1", call_epoll_create},
    {"epoll_ctl", call_epoll_add},
    {"epoll_pwait2", call_epoll_wait},
    {"eventfd", call_eventfd},
    {"signalfd", call_signalfd},
    {"read", call_read},
    {"write", call_write},
    {"pread", call_pread},
    {"open", call_open},
    {"fstat", call_fstat},
    {"lstat", call_lstat},
    {"unlink", call_unlink},
    {"dup", call_dup},
    {"fcntl", call_set_nonblocking},
    {"pthread_create", call_thread},
#ifdef PL_HAS_URING
    {"io_uring_setup", call_uring_open},
#endif
};

static int fail_named(char kind, const char *name, void *user)
{
    return kind == 's' && strcmp(name, user) == 0 ? INJECTED : 0;
}

static void the_hook_reaches_each_call(void **state)
{
    (void)state;
    begin();
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s", calls[i].name);
        sys_set_fault_hook(fail_named, name);
        if (calls[i].call() != -INJECTED) {
            fail_msg("%s was not made to fail", name);
        }
    }
    end();
}

static int fail_allocations(char kind, const char *name, void *user)
{
    return kind == 'a' && strcmp(name, user) == 0 ? ENOMEM : 0;
}

static void the_hook_reaches_memory(void **state)
{
    (void)state;
    begin();
    char *memory = sys_malloc(8);
    memcpy(memory, "kept", 5);
    sys_set_fault_hook(fail_allocations, (char[]){"malloc"});
    assert_null(sys_malloc(1));
    sys_set_fault_hook(fail_allocations, (char[]){"calloc"});
    assert_null(sys_calloc(1, 1));
    sys_set_fault_hook(fail_allocations, (char[]){"realloc"});
    assert_null(sys_realloc(memory, 100));
    assert_string_equal(memory, "kept");
    sys_free(memory);
    end();
}

static void the_hook_reaches_names(void **state)
{
    (void)state;
    struct addrinfo *list = NULL;
    begin();
    sys_set_fault_hook(fail_named, (char[]){"getaddrinfo"});
    assert_int_equal(sys_getaddrinfo("localhost", "80", NULL, &list), EAI_AGAIN);
    assert_null(list);
    end();
}

/* A removal from an epoll, and an undone connection, ask for nothing that could be lacking. */
static void the_hook_spares_what_cannot_fail(void **state)
{
    (void)state;
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    begin();
    assert_int_equal(call_epoll_add(), 0);
    sys_set_fault_hook(fail_named, (char[]){"epoll_ctl"});
    assert_int_equal(sys_epoll_ctl(epoll, EPOLL_CTL_DEL, event, NULL), 0);
    sys_set_fault_hook(fail_named, (char[]){"connect"});
    assert_int_equal(sys_connect(connected, &none, sizeof none), 0);
    end();
}

/* ---- kinds of faults */

static void connect_another(void)
{
    int fd = sys_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(sys_connect(fd, to, sizeof here), -EINPROGRESS);
    sys_close(fd); /* what has connected stays in the queue */
}

static enum pl_sim_fault told_kind;
static unsigned told_count;

static void on_fault(enum pl_sim_fault kind)
{
    told_kind = kind;
    told_count++;
}

static void strikes(enum pl_sim_fault kind, int64_t (*call)(void), int64_t expected)
{
    memset(pl_sim.shares, 0, sizeof pl_sim.shares);
    pl_sim.on_fault = on_fault;
    told_count = 0;
    uint64_t before = pl_sim.injected[kind];
    pl_sim.shares[kind] = EVERY_TIME;
    int64_t result = call();
    pl_sim.shares[kind] = 0;
    pl_sim.on_fault = NULL;
    if (result != expected) {
        fail_msg("%s (%s): %lld, not %lld", pl_sim_fault_name(kind), pl_sim_fault_words(kind),
                 (long long)result, (long long)expected);
    }
    assert_true(pl_sim.injected[kind] > before);
    assert_int_equal(told_kind, kind);
    assert_int_equal(told_count, pl_sim.injected[kind] - before);
}

static void faults_of_fds(void **state)
{
    (void)state;
    int64_t (*const openers[])(void) = {call_socket, call_epoll_create, call_eventfd, call_signalfd,
                                        call_open,   call_dup,          call_accept};
    begin();
    for (size_t i = 0; i < sizeof openers / sizeof *openers; i++) {
        strikes(PL_SIM_TOO_MANY_FDS, openers[i], -EMFILE);
        strikes(PL_SIM_TOO_MANY_FILES, openers[i], -ENFILE);
        strikes(PL_SIM_KERNEL_NO_MEMORY, openers[i], -ENOMEM);
    }
    strikes(PL_SIM_THREAD_REFUSED, call_thread, -EAGAIN);
    strikes(PL_SIM_NO_BUFFERS, call_socket, -ENOBUFS);
    strikes(PL_SIM_INTERRUPTED, call_read, -EINTR);
    strikes(PL_SIM_INTERRUPTED, call_write, -EINTR);
    strikes(PL_SIM_INTERRUPTED, call_epoll_wait, -EINTR);
    strikes(PL_SIM_FILE_ERROR, call_pread, -EIO);
    strikes(PL_SIM_FILE_ERROR, call_sendfile, -EIO);
    end();
}

static void faults_of_accepting(void **state)
{
    (void)state;
    begin();
    connect_another();
    strikes(PL_SIM_NOT_READY, call_accept, -EAGAIN);
    strikes(PL_SIM_INTERRUPTED, call_accept, -EINTR);
    strikes(PL_SIM_NO_BUFFERS, call_accept, -ENOBUFS);
    strikes(PL_SIM_ACCEPT_ABORTED, call_accept, -ECONNABORTED);
    assert_int_equal(call_accept(), -EAGAIN); /* it has taken the connection with it */
    connect_another();
    strikes(PL_SIM_ACCEPT_PROTOCOL, call_accept, -EPROTO);
    assert_int_equal(call_accept(), -EAGAIN);
    end();
}

static int64_t send_and_recv(void)
{
    assert_int_equal(sys_send(connected, "x", 1, MSG_NOSIGNAL), 1);
    return call_recv();
}

static void faults_of_reading_and_writing(void **state)
{
    (void)state;
    begin();
    strikes(PL_SIM_NOT_READY, call_send, -EAGAIN);
    strikes(PL_SIM_INTERRUPTED, call_sendmsg, -EINTR);
    strikes(PL_SIM_NO_BUFFERS, call_send, -ENOBUFS);
    assert_int_equal(call_recv(), -EAGAIN); /* nothing has gone */
    strikes(PL_SIM_DELAYED, send_and_recv, -EAGAIN);
    assert_int_equal(
        sys_epoll_ctl(epoll, EPOLL_CTL_ADD, accepted, &(struct epoll_event){.events = EPOLLIN}), 0);
    struct epoll_event events[1];
    assert_int_equal(sys_epoll_wait(epoll, events, 1, -1), 1); /* the delay is over */
    strikes(PL_SIM_NOT_READY, call_recv, -EAGAIN);
    strikes(PL_SIM_INTERRUPTED, call_recv, -EINTR);
    assert_int_equal(call_recv(), 1);
    end();
}

/* Less than there is, at least a byte, and the rest is there afterwards. */
static void faults_of_counts(void **state)
{
    (void)state;
    char data[10];
    off_t offset = 0;
    begin();
    pl_sim.shares[PL_SIM_SHORT_SEND] = EVERY_TIME;
    int64_t sent = call_sendmsg();
    assert_in_range(sent, 1, 9);
    pl_sim.shares[PL_SIM_SHORT_SEND] = 0;
    assert_int_equal(sys_recv(accepted, data, sizeof data, MSG_PEEK), sent);
    pl_sim.shares[PL_SIM_SHORT_RECV] = EVERY_TIME;
    ssize_t got = sys_recv(accepted, data, sizeof data, 0);
    assert_true(got == sent ? sent == 1 : got >= 1 && got < sent);
    assert_in_range(sys_pread(file, data, sizeof data, 0), 1, 9);
    ssize_t filed = sys_sendfile(connected, file, &offset, 10);
    assert_in_range(filed, 1, 9);
    assert_int_equal(offset, filed);
    pl_sim.shares[PL_SIM_SHORT_RECV] = 0;
    assert_int_equal(sys_recv(accepted, data, sizeof data, 0),
                     sent - got + filed < 10 ? sent - got + filed : 10);
    end();
}

static void faults_of_options(void **state)
{
    (void)state;
    begin();
    strikes(PL_SIM_OPTION_REFUSED, call_setsockopt, -ENOMEM);
    strikes(PL_SIM_OPTION_REFUSED, call_getsockopt, -ENOMEM);
    strikes(PL_SIM_OPTION_REFUSED, call_getsockname, -ENOBUFS);
    strikes(PL_SIM_OPTION_REFUSED, call_getpeername, -ENOBUFS);
    pl_sim.shares[PL_SIM_WATCH_REFUSED] = EVERY_TIME;
    int64_t result = call_epoll_add();
    assert_true(result == -ENOSPC || result == -ENOMEM);
    end();
}

/* A connection that the network breaks: both ends hear of it, or, of silence, one by one. */
static void faults_of_the_network(void **state)
{
    (void)state;
    begin();
    strikes(PL_SIM_RESET, call_send, -ECONNRESET);
    assert_int_equal(call_send(), -EPIPE);
    assert_int_equal(call_recv(), -ECONNRESET);
    end();
    begin();
    strikes(PL_SIM_TIMED_OUT, call_send, -ETIMEDOUT);
    assert_int_equal(call_recv(), -EAGAIN); /* the other end does not know */
    assert_int_equal(sys_send(accepted, "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(sys_send(accepted, "x", 1, MSG_NOSIGNAL), -ECONNRESET);
    end();
}

static int error_of(int fd)
{
    int error = -1;
    socklen_t size = sizeof error;
    assert_int_equal(sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    return error;
}

/* What a connect to this address comes to, in the end. */
static int connect_in_the_end(const char *text, uint64_t *ret_ms)
{
    struct sockaddr_in far = here;
    struct epoll_event events[1];
    uint64_t before_ns = sys_monotonic_ns();
    int fd = sys_socket(AF_INET, SOCK_STREAM, 0), waiting = sys_epoll_create();
    if (text) {
        struct addrinfo *list;
        assert_int_equal(sys_getaddrinfo(text, "7", NULL, &list), 0);
        memcpy(&far, list->ai_addr, sizeof far);
        sys_freeaddrinfo(list);
    }
    int result = sys_connect(fd, (const struct sockaddr *)&far, sizeof far);
    if (result == -EINPROGRESS) {
        result = sys_connect(fd, (const struct sockaddr *)&far, sizeof far);
        result = result == -EALREADY ? -EINPROGRESS : result; /* and is not told twice */
    }
    if (result == -EINPROGRESS) {
        sys_epoll_ctl(waiting, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLOUT});
        assert_int_equal(sys_epoll_wait(waiting, events, 1, -1), 1);
        result = -error_of(fd);
    }
    sys_close(waiting);
    sys_close(fd);
    *ret_ms = (sys_monotonic_ns() - before_ns) / 1000000u;
    return result;
}

static void faults_of_connecting(void **state)
{
    (void)state;
    uint64_t ms;
    begin();
    pl_sim.shares[PL_SIM_CONNECT_REFUSED] = EVERY_TIME;
    assert_int_equal(connect_in_the_end(NULL, &ms), -ECONNREFUSED);
    memset(pl_sim.shares, 0, sizeof pl_sim.shares);
    pl_sim.shares[PL_SIM_CONNECT_HANGS] = EVERY_TIME;
    assert_int_equal(connect_in_the_end(NULL, &ms), -ETIMEDOUT);
    assert_int_equal(ms, 127000);
    memset(pl_sim.shares, 0, sizeof pl_sim.shares);
    pl_sim.shares[PL_SIM_CONNECT_UNREACHABLE] = EVERY_TIME;
    int result = connect_in_the_end(NULL, &ms);
    assert_true(result == -EADDRNOTAVAIL || result == -ENETUNREACH);
    memset(pl_sim.shares, 0, sizeof pl_sim.shares);
    /* Addresses that the simulated network has for this. */
    assert_int_equal(connect_in_the_end("192.0.2.7", &ms), -ETIMEDOUT);
    assert_int_equal(ms, 127000);
    assert_int_equal(connect_in_the_end("203.0.113.7", &ms), -EHOSTUNREACH);
    assert_int_equal(connect_in_the_end("198.51.100.7", &ms), -ECONNREFUSED);
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000207)};
    int fd = sys_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(sys_bind(fd, (const struct sockaddr *)&far, sizeof far), -EADDRNOTAVAIL);
    sys_close(fd);
    end();
}

/* A backlog that nobody empties: the SYN is sent again and again, and given up. */
static void a_backlog_stays_full(void **state)
{
    (void)state;
    uint64_t ms;
    begin();
    for (int i = 0; i < 5; i++) {
        connect_another();
    }
    assert_int_equal(connect_in_the_end(NULL, &ms), -ETIMEDOUT);
    assert_int_equal(ms, 127000);
    end();
}

static void names_are_found_or_not(void **state)
{
    (void)state;
    struct addrinfo *list = NULL;
    const struct addrinfo six = {.ai_family = AF_INET6, .ai_socktype = SOCK_STREAM};
    begin();
    pl_sim_add_host("two", "192.0.2.1", 5000000);
    pl_sim_add_host("other", "192.0.2.9", 0);
    pl_sim_add_host("two", "192.0.2.2", 5000000);
    uint64_t before_ns = sys_monotonic_ns();
    const struct addrinfo stream = {.ai_socktype = SOCK_STREAM};
    assert_int_equal(sys_getaddrinfo("two", "80", &stream, &list), 0);
    assert_int_equal(sys_monotonic_ns() - before_ns, 5000000);
    assert_non_null(list->ai_next);
    assert_null(list->ai_next->ai_next);
    sys_freeaddrinfo(list);
    list = NULL;
    assert_int_equal(sys_getaddrinfo("none", "80", &stream, &list), EAI_NONAME);
    assert_null(list);
    sys_freeaddrinfo(NULL);
    assert_int_equal(sys_getaddrinfo("localhost", "80", &six, &list), 0);
    assert_int_equal(list->ai_family, AF_INET6);
    sys_freeaddrinfo(list);
    assert_int_equal(sys_getaddrinfo(NULL, "80", &stream, &list), 0);
    sys_freeaddrinfo(list);
    pl_sim.shares[PL_SIM_NAME_FAILS] = EVERY_TIME;
    int result = sys_getaddrinfo("two", "80", &stream, &list);
    assert_true(result == EAI_FAIL || result == EAI_AGAIN);
    end();
}

/* Nothing strikes what is exempt but the world, and nothing at all when it is calm. */
static void who_is_spared(void **state)
{
    (void)state;
    begin();
    pl_sim.shares[PL_SIM_INTERRUPTED] = EVERY_TIME;
    pl_sim_is_exempt = true;
    assert_int_equal(call_write(), sizeof(uint64_t));
    pl_sim_is_exempt = false;
    assert_int_equal(call_read(), -EINTR);
    pl_sim.is_calm = true;
    assert_int_equal(call_read(), sizeof(uint64_t));
    pl_sim.is_calm = false;
    /* The limit of fds is the program's, too. */
    memset(pl_sim.shares, 0, sizeof pl_sim.shares);
    pl_sim.fds_max = 9;
    assert_int_equal(call_eventfd(), -EMFILE);
    pl_sim_is_exempt = true;
    int fd = sys_eventfd();
    assert_int_equal(fd, 9);
    pl_sim_is_exempt = false;
    sys_close(fd);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hook_reaches_each_call),
        cmocka_unit_test(the_hook_reaches_memory),
        cmocka_unit_test(the_hook_reaches_names),
        cmocka_unit_test(the_hook_spares_what_cannot_fail),
        cmocka_unit_test(faults_of_fds),
        cmocka_unit_test(faults_of_accepting),
        cmocka_unit_test(faults_of_reading_and_writing),
        cmocka_unit_test(faults_of_counts),
        cmocka_unit_test(faults_of_options),
        cmocka_unit_test(faults_of_the_network),
        cmocka_unit_test(faults_of_connecting),
        cmocka_unit_test(a_backlog_stays_full),
        cmocka_unit_test(names_are_found_or_not),
        cmocka_unit_test(who_is_spared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
