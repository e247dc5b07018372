/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, an id could name another connection than the one it was given to, or a stale one
 * could touch freed memory (G10). */
#include "loop/loop.h"
#include "net/conn.h"
#include "net/handle.h"
#include "support/baseline.h"
#include "support/caller.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLOT_MASK = (1 << 22) - 1 };

static void expect_stale(uint64_t id)
{
    struct peal_conn *untouched = (struct peal_conn *)(void *)&untouched, *conn = untouched;
    assert_int_equal(peal_conn_find(id, &conn), -ESTALE);
    assert_ptr_equal(conn, untouched);
    assert_int_equal(peal_conn_send_to_id(id, "x", 1), -ESTALE);
    assert_int_equal(peal_conn_shutdown_id(id), -ESTALE);
    assert_int_equal(peal_conn_close_id(id), -ESTALE);
    assert_int_equal(peal_conn_abort_id(id), -ESTALE);
}

static void calls_by_id_do_as_their_names_say(void **state)
{
    struct rig rig;
    struct peal_conn *found = NULL;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    uint64_t id = peal_conn_id(rig.witness.conn);
    assert_true(id != 0);
    assert_int_equal(peal_conn_find(id, &found), 0);
    assert_ptr_equal(found, rig.witness.conn);
    peal_conn_unref(found);
    assert_int_equal(peal_conn_send_to_id(id, "hello", 5), 5);
    rig_turns(&rig, 2);
    raw_expect(peer, "hello");
    assert_int_equal(peal_conn_shutdown_id(id), 0);
    rig_turns(&rig, 2);
    raw_expect_fin(peer);
    assert_int_equal(peal_conn_send_to_id(id, "x", 1), -EPIPE);
    assert_int_equal(peal_conn_close_id(id), 0);
    assert_int_equal(peal_conn_abort_id(id), 0);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_ABORT);
    expect_stale(id);
    raw_close(peer);
    rig_close(&rig);
    expect_stale(id); /* the loop has ended */
}

static uint64_t id_in_on_close;
static void look_up_itself(struct peal_conn *conn, const struct peal_close_record *record,
                           struct witness *witness)
{
    struct peal_conn *found;
    (void)record;
    (void)witness;
    id_in_on_close = peal_conn_id(conn);
    assert_int_equal(peal_conn_find(id_in_on_close, &found), -ESTALE);
}

static void stale_from_on_close_on(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.also_close = look_up_itself;
    raw_close(rig_connect(&rig));
    rig_until(&rig, rig.witness.closed == 1);
    expect_stale(id_in_on_close);
    rig_close(&rig);
}

static void a_place_is_reused_an_id_never(void **state)
{
    enum { ROUNDS = 50 };
    struct rig rig;
    uint64_t ids[ROUNDS];
    (void)state;
    rig_open(&rig, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        int peer = rig_connect(&rig);
        ids[i] = peal_conn_id(rig.witness.conn);
        for (unsigned j = 0; j < i; j++) {
            assert_true(ids[i] != ids[j]);
            expect_stale(ids[j]);
        }
        assert_int_equal(ids[i] & SLOT_MASK, ids[0] & SLOT_MASK); /* the same place */
        assert_int_equal(ids[i] >> 32, (ids[0] >> 32) + i);       /* the next generation */
        expect_stale(ids[i] + (1ull << 32));
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == i + 1);
    }
    rig_close(&rig);
    rig_open(&rig, NULL); /* a loop that takes the table over goes on where the last one stopped */
    int peer = rig_connect(&rig);
    uint64_t id = peal_conn_id(rig.witness.conn);
    for (unsigned j = 0; j < ROUNDS; j++) {
        assert_true(id != ids[j]);
        expect_stale(ids[j]);
    }
    raw_close(peer);
    rig_close(&rig);
}

static void the_table_grows(void **state)
{
    enum { CONNS = 70 };
    struct rig rig;
    int peers[CONNS];
    uint64_t ids[CONNS];
    struct peal_conn *found;
    (void)state;
    rig_open(&rig, NULL);
    for (unsigned i = 0; i < CONNS; i++) {
        peers[i] = rig_connect(&rig);
        ids[i] = peal_conn_id(rig.witness.conn);
        for (unsigned j = 0; j <= i; j++) {
            assert_int_equal(peal_conn_find(ids[j], &found), 0);
            assert_int_equal(peal_conn_id(found), ids[j]);
            peal_conn_unref(found);
        }
    }
    for (unsigned i = 0; i < CONNS; i++) {
        raw_close(peers[i]);
    }
    rig_until(&rig, rig.witness.closed == CONNS);
    rig_close(&rig);
}

/* As many ids as a loop can have at once: the next connection is refused, and a place that is given
 * back is enough for it. The table looks at nothing but the addresses of connections. */
static void a_full_table_says_so(void **state)
{
    enum { PLACES = 1 << 22 };
    struct peal_loop *loop = calloc(1, sizeof *loop);
    struct peal_conn *conn = calloc(1, sizeof *conn);
    (void)state;
    uint64_t first = 0;
    for (uint32_t i = 0; i < PLACES; i++) {
        if (pl_handle_take(loop, conn) != 0) {
            fail_msg("only %u places", i);
        }
        first = i == 0 ? conn->id : first;
    }
    uint64_t last = conn->id;
    assert_int_equal(pl_handle_take(loop, conn), -ENFILE);
    assert_true(conn->id == last); /* untouched */
    pl_handle_release(loop, conn);
    assert_int_equal(pl_handle_take(loop, conn), 0);
    assert_int_equal(conn->id, last + (1ull << 32));
    pl_handle_release(loop, conn);
    for (uint32_t i = 0; i < PLACES - 1; i++) {
        conn->id = first + i;
        pl_handle_release(loop, conn);
    }
    loop->handles_free(loop->handles);
    free(conn);
    free(loop);
}

static void more_loops_than_tables_say_so(void **state)
{
    enum { LOOPS = 1023 };
    struct peal_loop *loops = calloc(LOOPS + 1, sizeof *loops);
    struct peal_conn *conns = calloc(LOOPS + 1, sizeof *conns);
    (void)state;
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(pl_handle_take(&loops[i], &conns[i]), 0);
    }
    assert_int_equal(pl_handle_take(&loops[LOOPS], &conns[LOOPS]), -ENFILE);
    assert_null(loops[LOOPS].handles);
    for (unsigned i = 0; i < LOOPS; i++) {
        pl_handle_release(&loops[i], &conns[i]);
        loops[i].handles_free(loops[i].handles);
    }
    assert_int_equal(pl_handle_take(&loops[LOOPS], &conns[LOOPS]), 0); /* now there are some */
    pl_handle_release(&loops[LOOPS], &conns[LOOPS]);
    loops[LOOPS].handles_free(loops[LOOPS].handles);
    free(conns);
    free(loops);
}

static void any_64_bits_are_safe(void **state)
{
    struct rig rig;
    uint64_t random = 88172645463325252u;
    struct peal_conn *found;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    uint64_t id = peal_conn_id(rig.witness.conn);
    expect_stale(0);
    expect_stale(UINT64_MAX);
    for (unsigned bit = 0; bit < 64; bit++) {
        expect_stale(id ^ 1ull << bit);
    }
    for (unsigned i = 0; i < 100000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if (random != id && peal_conn_find(random, &found) != -ESTALE) {
            fail_msg("id %llx was found", (unsigned long long)random);
        }
    }
    raw_close(peer);
    rig_close(&rig);
}

/* ---- from other threads, while connections open and close */

static _Atomic uint64_t shared_id;
static _Atomic bool enough;
static _Atomic unsigned hits;

static void *hunt(void *arg)
{
    while (!atomic_load(&enough)) {
        struct peal_conn *conn;
        uint64_t id = atomic_load(&shared_id);
        if (peal_conn_find(id, &conn) == 0) {
            if (peal_conn_id(conn) != id) {
                return arg; /* another one than was named */
            }
            peal_conn_send(conn, "x", 1);
            atomic_fetch_add(&hits, 1);
            peal_conn_unref(conn);
        }
        peal_conn_send_to_id(id, "y", 1);
        usleep(20); /* where threads take turns (valgrind) the loop needs one, too */
    }
    return NULL;
}

static void found_while_it_closes(void **state)
{
    enum { THREADS = 4, ROUNDS = 200 };
    struct rig rig;
    pthread_t threads[THREADS];
    (void)state;
    atomic_store(&enough, false);
    rig_open(&rig, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hunt, &shared_id), 0);
    }
    for (unsigned i = 0; i < ROUNDS || atomic_load(&hits) == 0; i++) {
        int peer = rig_connect(&rig);
        atomic_store(&shared_id, peal_conn_id(rig.witness.conn));
        rig_turns(&rig, 1);
        peal_conn_abort(rig.witness.conn);
        rig_until(&rig, rig.witness.closed == rig.witness.opened);
        raw_close(peer);
    }
    atomic_store(&enough, true);
    for (unsigned i = 0; i < THREADS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    rig_close(&rig);
}

static void without_memory_for_an_id_it_never_opens(void **state)
{
    struct rig rig;
    struct peal_server_stats stats;
    (void)state;
    rig_open(&rig, NULL);
    faults_start((struct faults){.kind = 'a', .name = "realloc", .nth = 1, .error = ENOMEM});
    int peer = raw_connect(&rig.address);
    rig_turns(&rig, 3);
    assert_int_equal(faults_stop(), 1);
    raw_expect_fin(peer);
    assert_int_equal(rig.witness.opened, 0);
    peal_server_get_stats(rig.server, &stats);
    assert_int_equal(stats.handover_lost, 1);
    assert_int_equal(peal_server_connections(rig.server), 0);
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(calls_by_id_do_as_their_names_say),
        TEST(stale_from_on_close_on),
        TEST(a_place_is_reused_an_id_never),
        TEST(the_table_grows),
        TEST(a_full_table_says_so),
        TEST(more_loops_than_tables_say_so),
        TEST(any_64_bits_are_safe),
        TEST(found_while_it_closes),
        TEST(without_memory_for_an_id_it_never_opens),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
