/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a server would spread its connections badly, let in more than it may, lose a
 * socket on its way to a loop, or take one that it cannot serve. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include "net/server.h"

#include <peal.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { LOOPS = 3 };

static struct peal_loop *loop;
static struct peal_pool *pool;
static struct peal_server *server;
static struct peal_addr address;
static _Atomic unsigned opened, closed, stopped, served[LOOPS];
static struct peal_drain_report report;
static unsigned pool_threads = LOOPS;

static unsigned index_of(const struct peal_loop *at)
{
    for (unsigned i = 0; pool && i < peal_pool_size(pool); i++) {
        if (peal_pool_loop(pool, i) == at) {
            return i;
        }
    }
    return 0;
}

static void on_open(struct peal_conn *conn, void *user)
{
    assert_ptr_equal(user, &report);
    assert_ptr_equal(peal_conn_server(conn), server);
    atomic_fetch_add(&served[index_of(peal_conn_loop(conn))], 1);
    atomic_fetch_add(&opened, 1);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)user;
    (void)record;
    assert_ptr_equal(peal_conn_server(conn), server);
    atomic_fetch_add(&closed, 1);
}

static void on_stopped(struct peal_server *which, const struct peal_drain_report *drained,
                       void *user)
{
    (void)which;
    (void)user;
    report = *drained;
    atomic_fetch_add(&stopped, 1);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

#define until(condition)                                                                           \
    do {                                                                                           \
        for (unsigned turns = 0; !(condition); turns++) {                                          \
            assert_true(peal_loop_turn(loop, 5) >= 0);                                             \
            if (turns > 4000) {                                                                    \
                fail_msg("line %d: waited in vain for: %s", __LINE__, #condition);                 \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static void begin(struct peal_server_options options, bool with_pool, const char *listen_on)
{
    opened = closed = stopped = 0;
    for (unsigned i = 0; i < LOOPS; i++) {
        served[i] = 0;
    }
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    pool = NULL;
    if (with_pool) {
        assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = pool_threads}, &pool),
                         0);
    }
    options.ops = &ops;
    options.user = &report;
    options.on_stopped = on_stopped;
    options.pool = pool;
    assert_int_equal(peal_server_new(loop, &options, &server), 0);
    assert_int_equal(peal_server_listen(server, listen_on, NULL), 0);
    assert_int_equal(peal_server_address(server, 0, &address), 0);
}

static void end(void)
{
    peal_server_stop(server, 0);
    until(stopped == 1);
    assert_int_equal(opened, closed);
    assert_int_equal(report.connections,
                     report.closed_clean + report.closed_otherwise + report.cut_off);
    server = peal_server_unref(server);
    pool = peal_pool_free(pool);
    loop = peal_loop_free(loop);
}

static struct peal_server_stats stats_of_server(void)
{
    struct peal_server_stats stats;
    peal_server_get_stats(server, &stats);
    return stats;
}

/* ---- spreading */

static void round_robin_is_even(void **state)
{
    enum { CONNS = 30 };
    int peers[CONNS];
    (void)state;
    begin((struct peal_server_options){0}, true, "127.0.0.1:0");
    for (unsigned i = 0; i < CONNS; i++) {
        peers[i] = raw_connect(&address);
        until(opened == i + 1);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(served[i], CONNS / LOOPS);
    }
    assert_int_equal(peal_server_connections(server), CONNS);
    for (unsigned i = 0; i < CONNS; i++) {
        raw_send(peers[i], "hello", 5);
        raw_expect(peers[i], "hello");
        raw_close(peers[i]);
    }
    until(peal_server_connections(server) == 0);
    struct peal_server_stats stats = stats_of_server();
    assert_int_equal(stats.accepted, CONNS);
    assert_int_equal(stats.opened, CONNS);
    assert_int_equal(stats.closed, CONNS);
    assert_int_equal(stats.closed_by_cause[PEAL_CAUSE_PEER_CLOSED], CONNS);
    assert_int_equal(stats.bytes_taken, CONNS * 5);
    end();
}

static atomic_bool is_made;

static void make_at_home(void *user)
{
    const struct peal_server_options options = {
        .ops = &ops, .user = &report, .on_stopped = on_stopped, .pool = pool};
    assert_int_equal(peal_server_new(user, &options, &server), 0);
    assert_int_equal(peal_server_listen(server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(peal_server_address(server, 0, &address), 0);
    atomic_store(&is_made, true);
}

/* A loop of the pool that is the server's home serves as the others do, and once. */
static void home_may_be_in_the_pool(void **state)
{
    enum { CONNS = 30 };
    int peers[CONNS];
    (void)state;
    opened = closed = stopped = 0;
    for (unsigned i = 0; i < LOOPS; i++) {
        served[i] = 0;
    }
    atomic_store(&is_made, false);
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = LOOPS}, &pool), 0);
    assert_int_equal(peal_loop_post(peal_pool_loop(pool, 1), make_at_home, peal_pool_loop(pool, 1)),
                     0);
    until(atomic_load(&is_made));
    for (unsigned i = 0; i < CONNS; i++) {
        peers[i] = raw_connect(&address);
        until(opened == i + 1);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(served[i], CONNS / LOOPS);
    }
    for (unsigned i = 0; i < CONNS; i++) {
        raw_send(peers[i], "hello", 5);
        raw_expect(peers[i], "hello");
        raw_close(peers[i]);
    }
    until(closed == CONNS);
    end();
}

static void round_robin_is_even_with_two(void **state)
{
    int peers[4];
    (void)state;
    pool_threads = 2;
    begin((struct peal_server_options){0}, true, "127.0.0.1:0");
    pool_threads = LOOPS;
    for (unsigned i = 0; i < 4; i++) {
        peers[i] = raw_connect(&address);
        until(opened == i + 1);
    }
    assert_int_equal(served[0], 2);
    assert_int_equal(served[1], 2);
    for (unsigned i = 0; i < 4; i++) {
        raw_close(peers[i]);
    }
    until(closed == 4);
    end();
}

static void least_fills_the_gap(void **state)
{
    enum { CONNS = 12 };
    int peers[CONNS];
    unsigned where[CONNS], before[LOOPS];
    (void)state;
    begin((struct peal_server_options){.balance = PEAL_BALANCE_LEAST}, true, "127.0.0.1:0");
    for (unsigned i = 0; i < CONNS; i++) {
        for (unsigned j = 0; j < LOOPS; j++) {
            before[j] = served[j];
        }
        peers[i] = raw_connect(&address);
        until(opened == i + 1);
        for (unsigned j = 0; j < LOOPS; j++) {
            if (served[j] > before[j]) {
                where[i] = j;
            }
        }
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(served[i], CONNS / LOOPS);
    }
    unsigned gone = 0;
    for (unsigned i = 0; i < CONNS; i++) { /* loop 1 becomes empty */
        if (where[i] == 1) {
            raw_close(peers[i]);
            peers[i] = -1;
            gone++;
        }
    }
    until(closed == gone && peal_server_connections(server) == CONNS - gone);
    int more[CONNS / LOOPS];
    for (unsigned i = 0; i < gone; i++) {
        more[i] = raw_connect(&address);
        until(opened == CONNS + i + 1);
    }
    assert_int_equal(served[1], CONNS / LOOPS + gone);
    for (unsigned i = 0; i < gone; i++) {
        raw_close(more[i]);
    }
    for (unsigned i = 0; i < CONNS; i++) {
        if (peers[i] >= 0) {
            raw_close(peers[i]);
        }
    }
    end();
}

static void reuseport_reaches_every_loop(void **state)
{
    enum { CONNS = 200 };
    int peers[CONNS];
    (void)state;
    begin((struct peal_server_options){.balance = PEAL_BALANCE_REUSEPORT}, true, "127.0.0.1:0");
    for (unsigned i = 0; i < CONNS; i++) {
        peers[i] = raw_connect(&address);
    }
    until(opened == CONNS);
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_true(served[i] > 0);
    }
    const char *why = NULL;
    assert_int_equal(peal_server_listen(server, "unix:@peal-no", &why), -EINVAL);
    assert_non_null(strstr(why, "IP addresses only"));
    peal_server_pause_accept(server);
    until(peal_loop_turn(loop, 50) > 0);
    for (unsigned i = 0; i < CONNS; i++) {
        raw_close(peers[i]);
    }
    until(closed == CONNS);
    end();
}

/* ---- limits */

static void no_more_than_conns_max(void **state)
{
    (void)state;
    begin((struct peal_server_options){.conns_max = 2}, true, "127.0.0.1:0");
    int a = raw_connect(&address), b = raw_connect(&address);
    until(opened == 2);
    int c = raw_connect(&address);
    until(stats_of_server().refused == 1);
    raw_expect_fin(c);
    raw_close(a);
    until(peal_server_connections(server) == 1);
    int d = raw_connect(&address);
    until(opened == 3);
    raw_close(b);
    raw_close(c);
    raw_close(d);
    end();
}

static void no_more_than_its_share_for_an_address(void **state)
{
    (void)state;
    begin((struct peal_server_options){.conns_per_addr_max = 1}, true, "127.0.0.1:0");
    int a = raw_connect(&address);
    until(opened == 1);
    int b = raw_connect(&address);
    until(stats_of_server().refused == 1);
    raw_expect_fin(b);
    raw_close(a);
    until(peal_server_connections(server) == 0);
    int c = raw_connect(&address);
    until(opened == 2);
    int pair[2]; /* unix sockets have no share */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(peal_server_adopt(server, pair[0]), 0);
    int tcp[2];
    raw_pair(tcp);
    assert_int_equal(peal_server_adopt(server, tcp[0]), -EUSERS);
    until(opened == 3);
    raw_close(tcp[0]);
    raw_close(tcp[1]);
    raw_close(pair[1]);
    raw_close(b);
    raw_close(c);
    end();
}

/* ---- pausing */

static void paused_connections_wait_in_the_kernel(bool with_pool, enum peal_balance balance)
{
    enum { LATE = 24 }; /* by SO_REUSEPORT some of them are each loop's */
    int late[LATE];
    begin((struct peal_server_options){.balance = balance}, with_pool, "127.0.0.1:0");
    int first = raw_connect(&address);
    until(opened == 1);
    peal_server_pause_accept(server);
    peal_server_pause_accept(server);
    for (int i = 0; i < 4; i++) { /* the pool's loops have heard of it */
        assert_true(peal_loop_turn(loop, 20) > 0);
    }
    for (int i = 0; i < LATE; i++) {
        late[i] = raw_connect(&address);
    }
    peal_server_resume_accept(server);
    for (int i = 0; i < 4; i++) {
        assert_true(peal_loop_turn(loop, 20) > 0);
    }
    assert_int_equal(opened, 1);
    raw_send(first, "lives", 5); /* those that are there go on */
    until(peal_loop_turn(loop, 10) > 0);
    raw_expect(first, "lives");
    assert_int_equal(closed, 0);
    peal_server_resume_accept(server);
    until(opened == 1 + LATE);
    raw_close(first);
    for (int i = 0; i < LATE; i++) {
        raw_close(late[i]);
    }
    end();
}

static void pausing_accept_at_home(void **state)
{
    (void)state;
    paused_connections_wait_in_the_kernel(false, PEAL_BALANCE_ROUND_ROBIN);
}

static void pausing_accept_with_a_pool(void **state)
{
    (void)state;
    paused_connections_wait_in_the_kernel(true, PEAL_BALANCE_ROUND_ROBIN);
}

static void pausing_accept_on_every_loop(void **state)
{
    (void)state;
    paused_connections_wait_in_the_kernel(true, PEAL_BALANCE_REUSEPORT);
}

/* A peer that has gone already has no address: it is one of conns_max, and of no address's. */
static void who_has_no_address_is_not_counted_by_it(void **state)
{
    (void)state;
    begin((struct peal_server_options){.conns_max = 2, .conns_per_addr_max = 1}, false,
          "127.0.0.1:0");
    assert_true(pl_server_admit(server, NULL, 0));
    assert_true(pl_server_admit(server, NULL, 0));
    assert_false(pl_server_admit(server, NULL, 0));
    pl_server_discount(server, NULL, 0);
    assert_true(pl_server_admit(server, NULL, 0));
    pl_server_discount(server, NULL, 0);
    pl_server_discount(server, NULL, 0);
    end();
}

/* ---- its name */

static char logged[512];
static void note_log(enum peal_log_level level, const char *text, void *user)
{
    (void)level;
    (void)user;
    snprintf(logged, sizeof logged, "%s", text);
}

static void logs_by_its_name_or_the_first_of_it(void **state)
{
    (void)state;
    rig_skip_unless_accept_is_called();
    peal_log_set(note_log, NULL);
    begin((struct peal_server_options){.name = "0123456789abcdef"}, false, "127.0.0.1:0");
    faults_start((struct faults){.name = "accept4", .nth = 1, .error = EMFILE});
    int peer = raw_connect(&address);
    until(opened == 1);
    faults_stop();
    peal_log_set(NULL, NULL);
    assert_memory_equal(logged, "0123456789abcde: accepting pauses", 33);
    raw_close(peer);
    until(closed == 1);
    end();
}

/* ---- adopting */

static void adopts_what_is_connected(void **state)
{
    int pair[2], nothing[2];
    (void)state;
    begin((struct peal_server_options){0}, true, "127.0.0.1:0");
    raw_pair(pair);
    assert_int_equal(fcntl(pair[0], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(peal_server_adopt(server, pair[0]), 0);
    assert_int_equal(fcntl(pair[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    until(opened == 1);
    raw_send(pair[1], "hello", 5);
    raw_expect(pair[1], "hello");
    raw_close(pair[1]);
    until(closed == 1);
    assert_int_equal(stats_of_server().accepted, 1);

    struct peal_addr unused;
    int listener = raw_listen(&unused, 1), unconnected = socket(AF_INET, SOCK_STREAM, 0);
    int datagrams[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams), 0);
    assert_int_equal(pipe(nothing), 0);
    assert_int_equal(peal_server_adopt(server, listener), -ENOTCONN);
    assert_int_equal(peal_server_adopt(server, unconnected), -ENOTCONN);
    assert_int_equal(peal_server_adopt(server, datagrams[0]), -EPROTOTYPE);
    assert_int_equal(peal_server_adopt(server, nothing[0]), -ENOTSOCK);
    assert_int_equal(peal_server_adopt(server, -1), -EBADF);
    raw_pair(pair);
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    assert_int_equal(peal_server_adopt(server, pair[0]), -ENOMEM);
    faults_stop();
    int local[2]; /* whose address takes memory of its own */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, local), 0);
    for (unsigned nth = 1; nth <= 2; nth++) {
        faults_start((struct faults){.kind = 'a', .nth = nth, .error = ENOMEM});
        assert_int_equal(peal_server_adopt(server, local[0]), -ENOMEM);
        assert_int_equal(faults_stop(), 1);
    }
    raw_close(local[0]);
    raw_close(local[1]);
    peal_server_stop(server, 0);
    assert_int_equal(peal_server_adopt(server, pair[0]), PEAL_ERR_STOPPED);
    raw_close(pair[0]); /* they stayed ours */
    raw_close(pair[1]);
    raw_close(listener);
    raw_close(unconnected);
    raw_close(datagrams[0]);
    raw_close(datagrams[1]);
    raw_close(nothing[0]);
    raw_close(nothing[1]);
    assert_int_equal(peal_server_connections(server), 0);
    end();
}

static int no_delay_of_adopted(bool delay)
{
    int pair[2], on = -1;
    socklen_t size = sizeof on;
    begin((struct peal_server_options){.delay = delay}, false, "127.0.0.1:0");
    raw_pair(pair);
    assert_int_equal(peal_server_adopt(server, pair[1]), 0);
    until(opened == 1);
    assert_int_equal(getsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    raw_close(pair[0]);
    until(closed == 1);
    end();
    return on != 0;
}

static void adopted_ones_wait_for_no_more_bytes_either(void **state)
{
    (void)state;
    assert_int_equal(no_delay_of_adopted(false), 1);
    assert_int_equal(no_delay_of_adopted(true), 0);
}

static void the_defaults_are_what_is_promised(void **state)
{
    (void)state;
    begin((struct peal_server_options){0}, false, "127.0.0.1:0");
    assert_int_equal(server->options.drain_ms, 10000);
    assert_string_equal(server->name, "server");
    end();
}

static void a_pool_that_has_ended_loses_nothing_silently(void **state)
{
    int pair[2];
    (void)state;
    begin((struct peal_server_options){0}, true, "127.0.0.1:0");
    int peer = raw_connect(&address);
    until(opened == 1);
    pool = peal_pool_free(pool);
    assert_int_equal(closed, 1);
    raw_expect_reset(peer);
    raw_close(peer);
    assert_int_equal(stats_of_server().closed_by_cause[PEAL_CAUSE_LOOP_ENDED], 1);
    peer = raw_connect(&address);
    until(stats_of_server().handover_lost == 1);
    raw_expect_fin(peer);
    raw_close(peer);
    raw_pair(pair);
    assert_int_equal(peal_server_adopt(server, pair[0]), PEAL_ERR_LOOP_ENDED);
    raw_close(pair[0]);
    raw_close(pair[1]);
    assert_int_equal(peal_server_connections(server), 0);
    end();
}

static sem_t all_held, may_go;

static void hold_loop(void *user)
{
    (void)user;
    sem_post(&all_held);
    sem_wait(&may_go);
}

/* The sockets are on their way when the loops are told to end: nobody will take them in. */
static void what_is_on_its_way_to_a_loop_that_ends_is_closed_and_counted(void **state)
{
    int pairs[LOOPS][2], late[2];
    (void)state;
    assert_int_equal(sem_init(&all_held, 0, 0), 0);
    assert_int_equal(sem_init(&may_go, 0, 0), 0);
    begin((struct peal_server_options){.conns_per_addr_max = LOOPS}, true, "127.0.0.1:0");
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(peal_loop_post(peal_pool_loop(pool, i), hold_loop, NULL), 0);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        sem_wait(&all_held);
    }
    peal_pool_quit(pool);
    for (unsigned i = 0; i < LOOPS; i++) {
        raw_pair(pairs[i]);
        assert_int_equal(peal_server_adopt(server, pairs[i][0]), 0);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        sem_post(&may_go);
    }
    pool = peal_pool_free(pool);
    assert_int_equal(stats_of_server().handover_lost, LOOPS);
    for (unsigned i = 0; i < LOOPS; i++) {
        raw_expect_fin(pairs[i][1]);
        raw_close(pairs[i][1]);
    }
    raw_pair(late); /* the share of the address was given back: it is the loop that is missing */
    assert_int_equal(peal_server_adopt(server, late[0]), PEAL_ERR_LOOP_ENDED);
    raw_close(late[0]);
    raw_close(late[1]);
    assert_int_equal(peal_server_connections(server), 0);
    assert_int_equal(opened, 0);
    end();
    sem_destroy(&all_held);
    sem_destroy(&may_go);
}

/* ---- making one */

static void says_what_it_does_not_take(void **state)
{
    struct peal_server *none = NULL;
    (void)state;
    begin((struct peal_server_options){.name = "a name that is much too long"}, false,
          "127.0.0.1:0");
    struct peal_server_options options = {0};
    assert_int_equal(peal_server_new(loop, NULL, &none), -EINVAL);
    assert_int_equal(peal_server_new(loop, &options, &none), -EINVAL);
    options.ops = &ops;
    options.balance = (enum peal_balance)17;
    assert_int_equal(peal_server_new(loop, &options, &none), -EINVAL);
    options.balance = PEAL_BALANCE_LEAST;
    options.backlog = -1;
    assert_int_equal(peal_server_new(loop, &options, &none), -EINVAL);
    options.backlog = 0;
    for (unsigned n = 1;; n++) {
        faults_start((struct faults){.kind = 'a', .nth = n, .error = ENOMEM});
        int result = peal_server_new(loop, &options, &none);
        if (faults_stop() == 0) {
            assert_int_equal(result, 0);
            break;
        }
        assert_int_equal(result, -ENOMEM);
        assert_null(none);
    }
    assert_ptr_equal(peal_server_loop(none), loop);
    assert_ptr_equal(peal_server_ref(none), none);
    assert_null(peal_server_unref(none));
    assert_null(peal_server_unref(none));
    assert_null(peal_server_unref(NULL));
    end();
}

static struct peal_server *made_late;
static int made_late_result = 1;
static void make_one(void *user)
{
    (void)user;
    made_late_result =
        peal_server_new(loop, &(struct peal_server_options){.ops = &ops}, &made_late);
}

static void no_server_on_a_loop_that_ends(void **state)
{
    (void)state;
    begin((struct peal_server_options){0}, false, "127.0.0.1:0");
    end();
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    assert_int_equal(peal_loop_post_or_drop(loop, make_one, make_one, NULL), 0);
    loop = peal_loop_free(loop);
    assert_int_equal(made_late_result, PEAL_ERR_LOOP_ENDED);
    assert_null(made_late);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(round_robin_is_even),
        TEST(home_may_be_in_the_pool),
        TEST(round_robin_is_even_with_two),
        TEST(least_fills_the_gap),
        TEST(reuseport_reaches_every_loop),
        TEST(no_more_than_conns_max),
        TEST(no_more_than_its_share_for_an_address),
        TEST(pausing_accept_at_home),
        TEST(pausing_accept_with_a_pool),
        TEST(pausing_accept_on_every_loop),
        TEST(who_has_no_address_is_not_counted_by_it),
        TEST(logs_by_its_name_or_the_first_of_it),
        TEST(adopts_what_is_connected),
        TEST(adopted_ones_wait_for_no_more_bytes_either),
        TEST(the_defaults_are_what_is_promised),
        TEST(a_pool_that_has_ended_loses_nothing_silently),
        TEST(what_is_on_its_way_to_a_loop_that_ends_is_closed_and_counted),
        TEST(says_what_it_does_not_take),
        TEST(no_server_on_a_loop_that_ends),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
