/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, the program of ten lines would not start, not say why, or not end when it is told
 * to. It runs in children, because it takes their signals. */
#include "support/baseline.h"
#include "support/child.h"
#include "support/faults.h"
#include "support/raw.h"

#include <peal.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int said; /* where the child's log goes */

static void echo(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
}

static void say(enum peal_log_level level, const char *text, void *user)
{
    char line[600];
    (void)user;
    int length = snprintf(line, sizeof line, "%d %s\n", (int)level, text);
    if (write(said, line, (size_t)length) < 0) {
        _exit(9);
    }
}

static const struct peal_conn_ops ops = {.on_data = echo};

/* A child that serves on the address. *ret_said: what it logs. */
static pid_t serve(const char *address, int *ret_said)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(60);
        close(ends[0]);
        said = ends[1];
        peal_log_set(say, NULL);
        peal_log_set_level(PEAL_LOG_INFO);
        int result = peal_serve(address, &ops);
        child_note_coverage();
        _exit(result == 0 ? 0 : result == -EADDRINUSE ? 3 : result == -EINVAL ? 4 : 5);
    }
    close(ends[1]);
    *ret_said = ends[0];
    return pid;
}

static int end_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void read_text(int fd, char *text, size_t size)
{
    size_t length = 0;
    for (ssize_t n; length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0;) {
        length += (size_t)n;
    }
    text[length] = '\0';
    close(fd);
}

/* Keeps trying until the child listens. */
static int connect_to(const struct peal_addr *address)
{
    socklen_t size;
    const struct sockaddr *socket_address = peal_addr_sockaddr(address, &size);
    for (int i = 0; i < 2000; i++) {
        int fd = socket(socket_address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, socket_address, size) == 0) {
            return fd;
        }
        close(fd);
        usleep(5000);
    }
    fail_msg("the child never listened");
    return -1;
}

static struct peal_addr own_address(char *text, size_t size)
{
    struct peal_addr address;
    snprintf(text, size, "unix:@peal-serve-%d", (int)getpid());
    assert_int_equal(peal_addr_parse(text, &address, NULL), 0);
    return address;
}

static void serves_until_a_signal_then_drains(void **state)
{
    static const int signals[2] = {SIGTERM, SIGINT};
    char text[64], log[2000];
    int log_fd;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct peal_addr address = own_address(text, sizeof text);
        pid_t pid = serve(text, &log_fd);
        int peer = connect_to(&address);
        raw_send(peer, "hello", 5);
        raw_expect(peer, "hello");
        assert_int_equal(kill(pid, signals[i]), 0);
        raw_expect_fin(peer);
        raw_close(peer);
        assert_int_equal(end_of(pid), 0);
        read_text(log_fd, log, sizeof log);
        assert_non_null(strstr(log, "drained 1 connections"));
        assert_non_null(strstr(log, "1 clean"));
    }
}

static void a_second_signal_cuts_the_drain_short(void **state)
{
    char text[64], log[2000];
    int log_fd;
    (void)state;
    struct peal_addr address = own_address(text, sizeof text);
    pid_t pid = serve(text, &log_fd);
    int peer = connect_to(&address);
    raw_send(peer, "hello", 5);
    raw_expect(peer, "hello");
    assert_int_equal(kill(pid, SIGTERM), 0);
    raw_expect_fin(peer); /* it drains, and waits for our end */
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(end_of(pid), 0);
    read_text(log_fd, log, sizeof log);
    assert_non_null(strstr(log, "1 cut off"));
    raw_close(peer);
}

static void says_why_it_cannot(void **state)
{
    char text[64], log[2000];
    int log_fd;
    struct peal_addr address;
    (void)state;
    int listener = raw_listen(&address, 1);
    snprintf(text, sizeof text, "127.0.0.1:%u", peal_addr_port(&address));
    pid_t pid = serve(text, &log_fd);
    assert_int_equal(end_of(pid), 3);
    read_text(log_fd, log, sizeof log);
    assert_non_null(strstr(log, "3 cannot serve on \"127.0.0.1:"));
    assert_non_null(strstr(log, "somebody listens on that address already"));
    raw_close(listener);
    pid = serve("nonsense", &log_fd);
    assert_int_equal(end_of(pid), 4);
    read_text(log_fd, log, sizeof log);
    assert_non_null(strstr(log, "3 cannot serve on \"nonsense\": "));
}

/* A signal that waits ends it as soon as it serves; a call that fails ends it before, or is
 * mended. */
static void every_step_may_fail(void **state)
{
    sigset_t mask, old;
    const struct timespec at_once = {0};
    (void)state;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &mask, &old), 0);
    unsigned refused = 0;
    for (unsigned n = 1;; n++) {
        assert_int_equal(raise(SIGTERM), 0);
        faults_start((struct faults){.nth = n, .error = ENOMEM});
        int result = peal_serve("127.0.0.1:0", &ops);
        unsigned failed = faults_stop();
        refused += result < 0;
        if (failed == 0) {
            assert_int_equal(result, 0);
            break;
        }
    }
    assert_true(refused > 10); /* memory, the loop, two signals, the listener */
    while (sigtimedwait(&mask, NULL, &at_once) == SIGTERM) {
    }
    assert_int_equal(sigprocmask(SIG_SETMASK, &old, NULL), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(serves_until_a_signal_then_drains),
        TEST(a_second_signal_cuts_the_drain_short),
        TEST(says_why_it_cannot),
        TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
