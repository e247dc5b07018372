/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, some allocation or system call, failing at some moment, would leak, hang, abort,
 * or leave an on_open without its on_close (G9).
 *
 * Each scenario is run again and again: in the n-th run the n-th allocation (or system call) fails,
 * once, or from there on for ever; n grows until a run meets none that is to fail. After each run
 * everything must have ended, and fds, threads and allocations must be what they were. What the
 * scenarios do in between is allowed to fail in any way that is told. */
#include "support/baseline.h"
#include "support/faults.h"
#include "support/raw.h"

#include "sys/sys.h"

#include <peal.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { BIG = 300 * 1024, PEERS = 4, FILE_BYTES = 100 * 1024, RUNS_MAX = 5000 };

/* ---- what fails */

static struct torture {
    char kind;
    bool for_ever;
    unsigned n;
    _Atomic unsigned met;
} torture;

static int errno_of(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {
        {"recv", ECONNRESET},   {"send", EPIPE},           {"sendmsg", ECONNRESET},
        {"accept4", EMFILE},    {"socket", EMFILE},        {"dup", EMFILE},
        {"eventfd", EMFILE},    {"epoll_create1", EMFILE}, {"sendfile", EIO},
        {"shutdown", ENOTCONN}, {"io_uring_setup", EPERM},
    };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (strcmp(errors[i].name, name) == 0) {
            return errors[i].error;
        }
    }
    return ENOMEM;
}

/* A write to an eventfd does not fail in a real kernel, and an interrupted wait is no failure. */
static int fail_nth(char kind, const char *name, void *user)
{
    (void)user;
    if (kind != torture.kind || strcmp(name, "write") == 0) {
        return 0;
    }
    unsigned met = atomic_fetch_add(&torture.met, 1) + 1;
    if (met < torture.n || (met > torture.n && !torture.for_ever)) {
        return 0;
    }
    return faults_is_wait(name) && !torture.for_ever ? EINTR : errno_of(name);
}

/* ---- what happens to connections, on any loop */

static _Atomic unsigned opened, closed;
static _Atomic bool stopped;
static int file_fd;
static char big[BIG];

static void on_open(struct peal_conn *conn, void *user)
{
    (void)user;
    atomic_fetch_add(&opened, 1);
    struct peal_conn *held = peal_conn_ref(conn);
    peal_conn_unref(held);
}

/* What is sent in answer depends on the first byte that came; that any of it may be refused is the
 * point. */
static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const char kind = *(const char *)peal_buf_data(input);
    struct peal_blob *blob;
    (void)user;
    switch (kind) {
    case 'k': /* keeps what came, once, in a buffer of the connection's own */
        if (peal_buf_size(input) < 8) {
            return;
        }
        peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
        break;
    case 'b': /* every kind of chunk, then a graceful end */
        peal_conn_send(conn, "head", 4);
        if (peal_blob_copy(big, BIG, &blob) == 0) {
            peal_conn_send_ref(conn, blob);
            peal_blob_unref(blob);
        }
        peal_conn_send_file(conn, file_fd, 0, FILE_BYTES);
        peal_conn_send(conn, big, BIG);
        peal_conn_close(conn);
        break;
    case 's':
        peal_conn_send(conn, "bye", 3);
        peal_conn_shutdown(conn);
        break;
    default:
        peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
        break;
    }
    peal_buf_clear(input);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)user;
    assert_int_equal(record->bytes_accepted, record->bytes_taken + record->bytes_unsent);
    atomic_fetch_add(&closed, 1);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    (void)server;
    (void)user;
    assert_false(atomic_load(&stopped));
    assert_int_equal(report->connections,
                     report->closed_clean + report->closed_otherwise + report->cut_off);
    atomic_store(&stopped, true);
}

/* ---- the peers: blocking sockets that are asked without waiting */

static const char *const greetings[PEERS] = {"echo this", "keep", "big", "shut"};

static void connect_peers(int peers[PEERS], const struct peal_addr *address)
{
    for (int i = 0; i < PEERS; i++) {
        peers[i] = raw_connect(address);
        raw_send(peers[i], greetings[i], strlen(greetings[i]));
    }
}

/* Reads what is there; true when the peer's stream has come to an end. */
static bool poll_peer(int peer)
{
    static char data[65536];
    ssize_t n;
    while ((n = recv(peer, data, sizeof data, MSG_DONTWAIT)) > 0) {
    }
    return n == 0 || errno != EAGAIN;
}

/* False: the loop can turn no more. */
static bool serve_peers(struct peal_loop *loop, int peers[PEERS])
{
    bool ended[PEERS] = {false};
    unsigned left = PEERS;
    for (int turn = 0; turn < 40 && left > 0; turn++) {
        if (peal_loop_turn(loop, 2) < 0) {
            return false;
        }
        if (turn == 4) {
            send(peers[1], "the rest of it", 14, MSG_NOSIGNAL);
        }
        if (turn == 6) {
            shutdown(peers[0], SHUT_WR);
            shutdown(peers[1], SHUT_WR);
            shutdown(peers[3], SHUT_WR);
        }
        for (int i = 0; i < PEERS; i++) {
            if (!ended[i] && turn > 4 && poll_peer(peers[i])) {
                ended[i] = true;
                left--;
                if (i == 2) {
                    shutdown(peers[i], SHUT_WR);
                }
            }
        }
    }
    return true;
}

static void visit(struct peal_conn *conn, void *user)
{
    (void)user;
    peal_conn_send(conn, "visited", 7);
}

static void no_more(void *user)
{
    (void)user;
}

static void reach_all(struct peal_server *server)
{
    struct peal_blob *blob;
    if (peal_server_for_each(server, visit, no_more, NULL) < 0) {
        return;
    }
    if (peal_blob_copy("to all", 6, &blob) == 0) {
        int result = peal_server_broadcast(server, blob, NULL, NULL, NULL);
        (void)result; /* refused or not: it must not leak */
        peal_blob_unref(blob);
    }
}

static void use_server(struct peal_loop *loop, struct peal_server *server)
{
    int peers[PEERS];
    struct peal_addr address;
    if (peal_server_listen(server, "127.0.0.1:0", NULL) < 0 ||
        peal_server_address(server, 0, &address) < 0) {
        return;
    }
    connect_peers(peers, &address);
    if (serve_peers(loop, peers)) {
        reach_all(server);
        peal_loop_turn(loop, 1);
    }
    peal_server_stop(server, 50);
    for (int turn = 0; turn < 5000 && !atomic_load(&stopped) && peal_loop_turn(loop, 2) >= 0;
         turn++) {
        for (int i = 0; i < PEERS; i++) {
            poll_peer(peers[i]);
        }
    }
    for (int i = 0; i < PEERS; i++) {
        raw_close(peers[i]);
    }
}

static void run(unsigned pool_threads)
{
    struct peal_loop *loop;
    struct peal_pool *pool = NULL;
    struct peal_server *server = NULL;
    if (peal_loop_new(NULL, &loop) < 0) {
        return;
    }
    const struct peal_server_options options = {.ops = &ops,
                                                .on_stopped = on_stopped,
                                                .accept_retry_ms = 1,
                                                .conns_per_addr_max = 100,
                                                .limits.idle_ms = 5000};
    struct peal_server_options with_pool = options;
    if (pool_threads == 0 ||
        peal_pool_new(&(struct peal_pool_options){.threads = pool_threads}, &pool) == 0) {
        with_pool.pool = pool;
        if (peal_server_new(loop, &with_pool, &server) == 0) {
            use_server(loop, server);
            peal_server_unref(server);
        }
    }
    peal_pool_free(pool);
    peal_loop_free(loop);
    if (server) {
        assert_true(atomic_load(&stopped));
    }
}

static void torture_all(char kind, bool for_ever, unsigned pool_threads)
{
    unsigned n = 1;
    for (; n < RUNS_MAX; n++) {
        struct baseline before = baseline_take();
        torture = (struct torture){.kind = kind, .for_ever = for_ever, .n = n};
        atomic_store(&opened, 0);
        atomic_store(&closed, 0);
        atomic_store(&stopped, false);
        sys_set_fault_hook(fail_nth, NULL);
        run(pool_threads);
        sys_set_fault_hook(NULL, NULL);
        assert_int_equal(atomic_load(&opened), atomic_load(&closed));
        baseline_check(&before);
        if (atomic_load(&torture.met) < n) {
            break;
        }
    }
    assert_true(n > 20 && n < RUNS_MAX);
    print_message("# %u runs, kind %c, %s, %u loops in the pool\n", n, kind,
                  for_ever ? "for ever" : "once", pool_threads);
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    torture_all('a', false, 0);
}

static void each_allocation_fails_for_ever(void **state)
{
    (void)state;
    torture_all('a', true, 0);
}

static void each_system_call_fails_once(void **state)
{
    (void)state;
    torture_all('s', false, 0);
}

static void each_system_call_fails_for_ever(void **state)
{
    (void)state;
    torture_all('s', true, 0);
}

static void with_a_pool_each_allocation_fails_once(void **state)
{
    (void)state;
    torture_all('a', false, 2);
}

static void with_a_pool_each_allocation_fails_for_ever(void **state)
{
    (void)state;
    torture_all('a', true, 2);
}

static void with_a_pool_each_system_call_fails_once(void **state)
{
    (void)state;
    torture_all('s', false, 2);
}

static int make_file(void **state)
{
    FILE *file = tmpfile();
    (void)state;
    memset(big, 'x', sizeof big);
    if (!file || fwrite(big, 1, FILE_BYTES, file) != FILE_BYTES || fflush(file) != 0) {
        return -1;
    }
    file_fd = dup(fileno(file));
    fclose(file);
    peal_refs_track(true);
    return file_fd < 0 ? -1 : 0;
}

static int close_file(void **state)
{
    (void)state;
    return close(file_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_fails_once),
        cmocka_unit_test(each_allocation_fails_for_ever),
        cmocka_unit_test(each_system_call_fails_once),
        cmocka_unit_test(each_system_call_fails_for_ever),
        cmocka_unit_test(with_a_pool_each_allocation_fails_once),
        cmocka_unit_test(with_a_pool_each_allocation_fails_for_ever),
        cmocka_unit_test(with_a_pool_each_system_call_fails_once),
    };
    return cmocka_run_group_tests(tests, make_file, close_file);
}
