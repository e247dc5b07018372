/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a failed allocation or system call somewhere would crash, hang or leak (G9). Each
 * scenario is run with the n-th call failing, n = 1, 2, … until a run meets none; once, and from
 * there on for ever. Whatever fails: every open has its close, the server stops once, and all is
 * given back. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/raw.h"
#include "sys/sys.h"

#include <peal.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the fault: like support/faults.h, but leaves out what cannot fail for ever in earnest */

static struct {
    char kind;
    unsigned nth;
    bool for_ever;
    int error;
    _Atomic unsigned seen, injected;
} fault;

static int hook(char kind, const char *name, void *user)
{
    (void)user;
    if (kind != fault.kind) {
        return 0;
    }
    /* An eventfd that takes no more writes, ever, has no counterpart: a loop could not be woken. */
    if (fault.for_ever && strcmp(name, "write") == 0) {
        return 0;
    }
    unsigned number = atomic_fetch_add(&fault.seen, 1) + 1;
    if (number < fault.nth || (number > fault.nth && !fault.for_ever)) {
        return 0;
    }
    atomic_fetch_add(&fault.injected, 1);
    return fault.error;
}

/* ---- what is common to the scenarios: nothing here insists on anything but an end */

enum { PEERS = 3, TURNS = 400 };

struct stage {
    struct peal_loop *loop;
    struct peal_pool *pool;
    struct peal_server *server;
    struct peal_addr address;
    int peers[PEERS];
    int file;
    struct peal_conn *held;
    uint64_t id;
};

static _Atomic unsigned opened, closed, stopped, broken;
static struct peal_blob *blob;
static char large[300 * 1024];
static struct stage *stage;

static void on_open(struct peal_conn *conn, void *user)
{
    (void)user;
    atomic_fetch_add(&opened, 1);
    peal_conn_send(conn, "welcome", 7);
    if (!stage->pool && !stage->held) {
        stage->held = peal_conn_ref(conn);
    }
    stage->id = stage->pool ? stage->id : peal_conn_id(conn);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U8};
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_conn_send_message(conn, &codec, "message", 7);
    peal_conn_send(conn, large, sizeof large);
    peal_conn_send_ref(conn, blob);
    peal_conn_send_file(conn, stage->file, 0, 50 * 1000);
    peal_conn_want_drain(conn);
    peal_conn_pause_reading(conn);
    peal_conn_resume_reading(conn);
    int result = peal_conn_set_limits(
        conn, &(struct peal_conn_limits){.idle_ms = 5000, .output_high_bytes = 100 * 1024});
    atomic_fetch_add(&broken, result != 0 && result != -ENOMEM && result != -EPIPE);
    peal_buf_consume(input, 3); /* the rest is kept */
}

static void on_drain(struct peal_conn *conn, void *user)
{
    (void)user;
    peal_conn_send(conn, "drained", 7);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)user;
    atomic_fetch_add(&closed, 1);
    atomic_fetch_add(&broken, record->bytes_accepted != record->bytes_taken + record->bytes_unsent);
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    (void)server;
    (void)user;
    atomic_fetch_add(&stopped, 1);
    atomic_fetch_add(&broken,
                     report->connections !=
                         report->closed_clean + report->closed_otherwise + report->cut_off);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close};

static void turn(unsigned turns)
{
    static char data[65536];
    for (unsigned i = 0; i < turns; i++) {
        if (peal_loop_turn(stage->loop, 1) < 0) {
            return;
        }
        for (int peer = 0; peer < PEERS; peer++) {
            if (stage->peers[peer] >= 0) {
                while (recv(stage->peers[peer], data, sizeof data, MSG_DONTWAIT) > 0) {
                }
            }
        }
    }
}

static bool stage_open(struct peal_pool_options *pool_options)
{
    struct peal_server_options options = {.ops = &ops,
                                          .on_stopped = on_stopped,
                                          .accept_retry_ms = 2,
                                          .conns_per_addr_max = 100,
                                          .limits = {.linger_ms = 10}};
    for (int i = 0; i < PEERS; i++) {
        stage->peers[i] = -1;
    }
    if (peal_loop_new(NULL, &stage->loop) < 0) {
        return false;
    }
    if (pool_options && peal_pool_new(pool_options, &stage->pool) < 0) {
        return false;
    }
    options.pool = stage->pool;
    if (peal_server_new(stage->loop, &options, &stage->server) < 0) {
        return false;
    }
    if (peal_server_listen(stage->server, "127.0.0.1:0", NULL) < 0 ||
        peal_server_address(stage->server, 0, &stage->address) < 0) {
        return false;
    }
    for (int i = 0; i < PEERS; i++) {
        stage->peers[i] = raw_connect(&stage->address);
        send(stage->peers[i], "hello", 5, MSG_NOSIGNAL); /* it may be gone, as all below */
    }
    return true;
}

static void stage_close(void)
{
    bool had_server = stage->server != NULL;
    if (stage->server) {
        peal_server_stop(stage->server, 5);
        for (unsigned i = 0; i < TURNS && stopped == 0; i++) {
            if (peal_loop_turn(stage->loop, 1) < 0) {
                break;
            }
        }
        peal_server_unref(stage->server);
    }
    peal_pool_free(stage->pool);
    peal_loop_free(stage->loop);
    peal_conn_unref(stage->held);
    for (int i = 0; i < PEERS; i++) {
        if (stage->peers[i] >= 0) {
            raw_close(stage->peers[i]);
        }
    }
    assert_int_equal(stopped, had_server);
    assert_int_equal(opened, closed);
    assert_int_equal(broken, 0);
    assert_int_equal(peal_refs_report(NULL, NULL), 0);
}

/* ---- the scenarios */

static void life_of_connections(void)
{
    if (stage_open(NULL)) {
        turn(6);
        send(stage->peers[0], "more", 4, MSG_NOSIGNAL);
        if (stage->held) {
            peal_conn_shutdown(stage->held);
        }
        shutdown(stage->peers[1], SHUT_WR);
        turn(4);
        peal_conn_close_id(stage->id);
        turn(4);
        raw_reset(stage->peers[2]);
        stage->peers[2] = -1;
        turn(4);
    }
    stage_close();
}

static void visit(struct peal_conn *conn, void *user)
{
    (void)user;
    peal_conn_send(conn, "visited", 7);
}

static void server_with_a_pool(void)
{
    int pair[2] = {-1, -1};
    if (stage_open(&(struct peal_pool_options){.threads = 1})) {
        turn(4);
        raw_pair(pair);
        if (peal_server_adopt(stage->server, pair[0]) < 0) {
            raw_close(pair[0]);
        }
        int result = peal_server_for_each(stage->server, visit, NULL, NULL);
        atomic_fetch_add(&broken, result != 0 && result != -ENOMEM && result != PEAL_ERR_STOPPED);
        result = peal_server_broadcast(stage->server, blob, NULL, NULL, NULL);
        atomic_fetch_add(&broken, result != 0 && result != -ENOMEM && result != PEAL_ERR_STOPPED);
        peal_server_pause_accept(stage->server);
        turn(2);
        peal_server_resume_accept(stage->server);
        turn(4);
        shutdown(stage->peers[0], SHUT_WR);
        turn(2);
    }
    stage_close();
    if (pair[1] >= 0) {
        raw_close(pair[1]);
    }
}

static void stopped_while_all_goes_on(void)
{
    if (stage_open(NULL)) {
        turn(1);
        peal_server_stop(stage->server, PEAL_NEVER);
        stage->server = peal_server_ref(stage->server);
        peal_server_unref(stage->server);
        turn(3);
        if (stage->held) {
            peal_conn_abort(stage->held);
        }
        shutdown(stage->peers[1], SHUT_WR);
        turn(2);
    }
    stage_close();
}

/* ---- the torture */

static int make_file(void)
{
    char name[] = "/tmp/peal-torture-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(ftruncate(fd, 50 * 1000), 0);
    return fd;
}

static unsigned run(void (*scenario)(void), char kind, unsigned nth, bool for_ever, int error)
{
    struct stage own = {.file = make_file()};
    stage = &own;
    opened = closed = stopped = 0;
    assert_int_equal(peal_blob_copy("blob", 4, &blob), 0);
    fault.kind = kind;
    fault.nth = nth;
    fault.for_ever = for_ever;
    fault.error = error;
    atomic_store(&fault.seen, 0);
    atomic_store(&fault.injected, 0);
    sys_set_fault_hook(hook, NULL);
    scenario();
    sys_set_fault_hook(NULL, NULL);
    blob = peal_blob_unref(blob);
    close(own.file);
    return atomic_load(&fault.injected);
}

static void torture(void (*scenario)(void), char kind, int error)
{
    struct baseline before = baseline_take();
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        unsigned n = 1;
        while (run(scenario, kind, n, for_ever, error) > 0) {
            baseline_check(&before);
            n++;
            assert_true(n < 5000);
        }
        assert_true(n > 20); /* it did meet the calls that there are */
    }
}

#define TORTURE(name, scenario, kind, error)                                                       \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        torture(scenario, kind, error);                                                            \
    }
TORTURE(connections_without_memory, life_of_connections, 'a', ENOMEM)
TORTURE(connections_without_system_calls, life_of_connections, 's', ENOMEM)
TORTURE(connections_interrupted, life_of_connections, 's', EINTR)
TORTURE(a_pool_without_memory, server_with_a_pool, 'a', ENOMEM)
TORTURE(a_pool_without_system_calls, server_with_a_pool, 's', EMFILE)
TORTURE(stopping_without_memory, stopped_while_all_goes_on, 'a', ENOMEM)
TORTURE(stopping_without_system_calls, stopped_while_all_goes_on, 's', EIO)

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(connections_without_memory),    TEST(connections_without_system_calls),
        TEST(connections_interrupted),       TEST(a_pool_without_memory),
        TEST(a_pool_without_system_calls),   TEST(stopping_without_memory),
        TEST(stopping_without_system_calls),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
