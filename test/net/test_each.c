/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a broadcast would miss connections, reach them on the wrong thread, keep its blob
 * for ever, or tell that it is done twice or never. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { PEERS = 12 };

static _Atomic unsigned opened, visited, done, filtered, released, stopped;
static struct peal_loop *done_on;

static void on_open(struct peal_conn *conn, void *user)
{
    (void)user;
    peal_conn_set_user(conn, (void *)(uintptr_t)(atomic_fetch_add(&opened, 1) + 1));
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    (void)server;
    (void)report;
    (void)user;
    atomic_fetch_add(&stopped, 1);
}

static const struct peal_conn_ops ops = {.on_open = on_open};

struct crowd {
    struct rig rig; /* only its loop is used */
    struct peal_pool *pool;
    struct peal_server *server;
    int peers[PEERS];
};

static void crowd_open(struct crowd *crowd)
{
    memset(crowd, 0, sizeof *crowd);
    opened = visited = done = filtered = released = stopped = 0;
    struct peal_server_options options = {.ops = &ops, .on_stopped = on_stopped};
    assert_int_equal(peal_loop_new(NULL, &crowd->rig.loop), 0);
    assert_int_equal(peal_pool_new(&(struct peal_pool_options){.threads = 3}, &crowd->pool), 0);
    options.pool = crowd->pool;
    assert_int_equal(peal_server_new(crowd->rig.loop, &options, &crowd->server), 0);
    assert_int_equal(peal_server_listen(crowd->server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(peal_server_address(crowd->server, 0, &crowd->rig.address), 0);
    for (int i = 0; i < PEERS; i++) {
        crowd->peers[i] = raw_connect(&crowd->rig.address);
    }
    rig_until(&crowd->rig, opened == PEERS);
}

static void crowd_close(struct crowd *crowd)
{
    peal_server_stop(crowd->server, 0);
    if (crowd->rig.loop) {
        rig_until(&crowd->rig, stopped == 1);
    }
    peal_server_unref(crowd->server);
    peal_pool_free(crowd->pool);
    peal_loop_free(crowd->rig.loop);
    assert_int_equal(stopped, 1);
    for (int i = 0; i < PEERS; i++) {
        raw_close(crowd->peers[i]);
    }
}

static void visit(struct peal_conn *conn, void *user)
{
    assert_ptr_equal(user, &visited);
    if (!peal_loop_is_mine(peal_conn_loop(conn)) || peal_conn_state(conn) != PEAL_CONN_OPEN) {
        abort(); /* not on a cmocka thread */
    }
    peal_conn_send(conn, "visited", 7);
    atomic_fetch_add(&visited, 1);
}

static void note_done(void *user)
{
    assert_ptr_equal(user, &visited);
    done_on = peal_loop_current();
    atomic_fetch_add(&done, 1);
}

static void reaches_all_once_then_tells_home(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    assert_int_equal(peal_server_for_each(crowd.server, visit, note_done, &visited), 0);
    assert_int_equal(done, 0);
    rig_until(&crowd.rig, done == 1);
    assert_int_equal(visited, PEERS);
    assert_ptr_equal(done_on, crowd.rig.loop);
    for (int i = 0; i < PEERS; i++) {
        raw_expect(crowd.peers[i], "visited");
    }
    assert_int_equal(peal_server_for_each(crowd.server, visit, NULL, &visited), 0);
    rig_until(&crowd.rig, visited == 2 * PEERS);
    assert_int_equal(peal_server_for_each(crowd.server, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(peal_server_broadcast(crowd.server, NULL, NULL, NULL, NULL), -EINVAL);
    rig_turns(&crowd.rig, 2);
    assert_int_equal(done, 1);
    crowd_close(&crowd);
}

static void end_it(struct peal_conn *conn, void *user)
{
    (void)user;
    if (atomic_fetch_add(&visited, 1) % 2) {
        peal_conn_abort(conn);
    } else {
        peal_conn_close(conn);
    }
}

static void what_it_ends_does_not_disturb_it(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    assert_int_equal(peal_server_for_each(crowd.server, end_it, NULL, NULL), 0);
    rig_until(&crowd.rig, visited == PEERS);
    assert_int_equal(peal_server_for_each(crowd.server, end_it, note_done, &visited), 0);
    rig_until(&crowd.rig, done == 1);
    assert_int_equal(visited, PEERS); /* those that are closing are not visited */
    crowd_close(&crowd);
}

static void on_release(void *data, size_t size, void *user)
{
    (void)data;
    (void)size;
    (void)user;
    atomic_fetch_add(&released, 1);
}

static bool every_other(struct peal_conn *conn, void *user)
{
    assert_ptr_equal(user, &visited);
    atomic_fetch_add(&filtered, 1);
    return (uintptr_t)peal_conn_user(conn) % 2 == 0;
}

static void broadcasts_to_all_or_some(void **state)
{
    struct crowd crowd;
    struct peal_blob *blob;
    char bytes[] = "news;";
    (void)state;
    crowd_open(&crowd);
    assert_int_equal(peal_blob_wrap(bytes, 5, on_release, NULL, &blob), 0);
    assert_int_equal(peal_server_broadcast(crowd.server, blob, every_other, note_done, &visited),
                     0);
    rig_until(&crowd.rig, done == 1);
    assert_int_equal(filtered, PEERS);
    assert_ptr_equal(done_on, crowd.rig.loop);
    assert_int_equal(peal_server_broadcast(crowd.server, blob, NULL, NULL, NULL), 0);
    peal_blob_unref(blob);
    rig_until(&crowd.rig, released == 1);
    unsigned twice = 0;
    for (int i = 0; i < PEERS; i++) {
        char text[16] = {0};
        raw_expect(crowd.peers[i], "news;");
        if (recv(crowd.peers[i], text, 5, MSG_DONTWAIT) == 5) {
            assert_string_equal(text, "news;");
            twice++;
        }
    }
    assert_int_equal(twice, PEERS / 2);
    crowd_close(&crowd);
    assert_int_equal(released, 1);
}

static void without_memory_nobody_is_called(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    assert_int_equal(peal_server_for_each(crowd.server, visit, note_done, &visited), -ENOMEM);
    assert_int_equal(faults_stop(), 1);
    rig_turns(&crowd.rig, 3);
    assert_int_equal(visited, 0);
    assert_int_equal(done, 0);
    crowd_close(&crowd);
}

static void a_stopped_server_visits_nobody(void **state)
{
    struct crowd crowd;
    struct peal_blob *blob;
    (void)state;
    crowd_open(&crowd);
    peal_server_stop(crowd.server, 0);
    rig_until(&crowd.rig, stopped == 1);
    assert_int_equal(peal_blob_copy("x", 1, &blob), 0);
    assert_int_equal(peal_server_for_each(crowd.server, visit, note_done, &visited),
                     PEAL_ERR_STOPPED);
    assert_int_equal(peal_server_broadcast(crowd.server, blob, NULL, NULL, NULL), PEAL_ERR_STOPPED);
    peal_blob_unref(blob);
    crowd_close(&crowd);
    assert_int_equal(done, 0);
}

static void the_pool_ends_under_it(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    assert_int_equal(peal_server_for_each(crowd.server, visit, note_done, &visited), 0);
    crowd.pool = peal_pool_free(crowd.pool);
    rig_until(&crowd.rig, done == 1);
    unsigned before = visited;
    assert_int_equal(peal_server_for_each(crowd.server, visit, note_done, &visited), 0);
    rig_until(&crowd.rig, done == 2); /* nobody there any more, and it says so */
    assert_int_equal(visited, before);
    crowd_close(&crowd);
}

/* done then comes on another of the server's loops, never inside the call. */
static void the_home_loop_has_ended(void **state)
{
    struct crowd crowd;
    (void)state;
    crowd_open(&crowd);
    struct peal_loop *home = crowd.rig.loop;
    crowd.rig.loop = peal_loop_free(crowd.rig.loop);
    for (unsigned i = 1; i <= 50; i++) {
        done_on = home;
        assert_int_equal(peal_server_for_each(crowd.server, visit, note_done, &visited), 0);
        while (done < i) {
            rig_now_ms();
        }
        assert_int_equal(visited, i * PEERS);
        assert_non_null(done_on);
        assert_ptr_not_equal(done_on, home);
    }
    crowd.pool = peal_pool_free(crowd.pool); /* the last loops: that stops it */
    assert_int_equal(peal_server_for_each(crowd.server, visit, note_done, &visited),
                     PEAL_ERR_STOPPED);
    crowd_close(&crowd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(reaches_all_once_then_tells_home), TEST(what_it_ends_does_not_disturb_it),
        TEST(broadcasts_to_all_or_some),        TEST(without_memory_nobody_is_called),
        TEST(a_stopped_server_visits_nobody),   TEST(the_pool_ends_under_it),
        TEST(the_home_loop_has_ended),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
