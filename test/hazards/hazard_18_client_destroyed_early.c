/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 18: a client destroyed while it connects, or with tasks queued, would be used after it was
 * freed, call back, or leak.
 *
 * Every phase of a client's life meets every way to end it. After the end nothing may be heard of
 * it but the close of a connection that had opened, and after the loop nothing may be left. */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/raw.h"
#include "sys/sys.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct stage {
    struct rig rig;
    struct caller caller;
    struct black_hole hole;
};

/* ---- phases: each brings the client there */

static void fresh(struct stage *stage)
{
    (void)stage;
}

static void asked(struct stage *stage) /* the task is queued, and not run */
{
    assert_int_equal(peal_client_connect(stage->caller.client), 0);
}

static void begun(struct stage *stage)
{
    asked(stage);
    rig_turn_once(&stage->rig);
}

static void resolving(struct stage *stage)
{
    asked(stage);
    rig_until(&stage->rig, slow_resolver_waiting);
}

static void pausing(struct stage *stage)
{
    asked(stage);
    rig_until(&stage->rig, stage->caller.fails == 1);
    stage->caller.fails = 0;
}

static void open(struct stage *stage)
{
    asked(stage);
    rig_until(&stage->rig, stage->caller.witness.opened == 1);
}

static void closing(struct stage *stage)
{
    open(stage);
    peal_conn_close(stage->caller.witness.conn);
    assert_int_equal(peal_client_connect(stage->caller.client), 0);
}

enum target { SERVER, HOLE, REFUSED, SLOW_NAME, NAME };

static const struct phase {
    const char *name;
    enum target target;
    void (*reach)(struct stage *stage);
    bool opens;
} phases[] = {
    {"fresh", SERVER, fresh, false},
    {"asked", SERVER, asked, false},
    {"asked for a name", NAME, asked, false},
    {"resolving", SLOW_NAME, resolving, false},
    {"resolving in a thread", NAME, begun, false},
    {"connecting", HOLE, begun, false},
    {"pausing", REFUSED, pausing, false},
    {"open", SERVER, open, true},
    {"closing", SERVER, closing, true},
};

/* ---- ends */

static void unref(struct stage *stage)
{
    stage->caller.client = peal_client_unref(stage->caller.client);
}

static void *unref_in_thread(void *arg)
{
    unref(arg);
    return NULL;
}

static void unref_elsewhere(struct stage *stage)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, unref_in_thread, stage), 0);
    rig_turn_once(&stage->rig); /* at the same time */
    assert_int_equal(pthread_join(thread, NULL), 0);
    stage->caller.fails = 0; /* what came before the other thread had begun */
}

static void cancel_then_unref(struct stage *stage)
{
    peal_client_cancel(stage->caller.client);
    rig_turn_once(&stage->rig);
    unref(stage);
}

static void connect_cancel_unref(struct stage *stage)
{
    assert_int_equal(peal_client_connect(stage->caller.client), 0);
    peal_client_cancel(stage->caller.client);
    assert_int_equal(peal_client_connect(stage->caller.client), 0);
    unref(stage);
}

static void end_of_loop(struct stage *stage)
{
    stage->rig.server = peal_server_unref(stage->rig.server);
    peal_loop_quit(stage->rig.loop);
    assert_int_equal(peal_loop_run(stage->rig.loop), 0);
    assert_int_equal(peal_client_connect(stage->caller.client), PEAL_ERR_LOOP_ENDED);
    peal_client_cancel(stage->caller.client);
    unref(stage);
}

static void unref_with_the_loop(struct stage *stage) /* the task that releases is dropped */
{
    unref(stage);
    stage->rig.server = peal_server_unref(stage->rig.server);
    peal_loop_free(peal_loop_ref(stage->rig.loop));
}

static const struct end {
    const char *name;
    void (*fn)(struct stage *stage);
    bool ends_loop;
} ends[] = {
    {"unref", unref, false},
    {"unref in another thread", unref_elsewhere, false},
    {"cancel, then unref", cancel_then_unref, false},
    {"connect, cancel, connect, unref", connect_cancel_unref, false},
    {"end of the loop", end_of_loop, true},
    {"unref, and the loop at once", unref_with_the_loop, true},
};

/* ---- the play */

static void no_more_failures(struct caller *caller, const struct peal_connect_failure *failure)
{
    (void)caller;
    fail_msg("a client that had been released said: %s", failure->why);
}

static void raise_curtain(struct stage *stage, enum target target)
{
    static struct peal_addr addr;
    struct peal_client_options options = {
        .addrs = &addr, .addr_count = 1, .reconnect = true, .retry_min_ms = 200};
    rig_open(&stage->rig, NULL);
    black_hole_open(&stage->hole);
    pl_resolver = target == SLOW_NAME ? &slow_resolver : &pl_resolver_threads;
    slow_resolver_waiting = false;
    addr = target == HOLE      ? stage->hole.address
           : target == REFUSED ? refusing_address()
                               : stage->rig.address;
    if (target == SLOW_NAME || target == NAME) {
        options.addrs = NULL;
        options.addr_count = 0;
        options.to = target == NAME ? "localhost:1" : "slow.example:1";
    }
    caller_open(&stage->caller, stage->rig.loop, &options);
}

static void play(const struct phase *phase, const struct end *end)
{
    struct stage stage;
    struct baseline before = baseline_take();
    raise_curtain(&stage, phase->target);
    phase->reach(&stage);
    bool may_fail_meanwhile = end->fn == unref_elsewhere || end->fn == cancel_then_unref;
    if (!may_fail_meanwhile) {
        stage.caller.also_fail = no_more_failures;
    }
    end->fn(&stage);
    stage.caller.also_fail = no_more_failures;
    assert_false(slow_resolver_waiting && end->ends_loop);
    if (!end->ends_loop) {
        unsigned opened = stage.caller.witness.opened;
        rig_turn_ms(&stage.rig, 5);
        assert_false(slow_resolver_waiting);
        if (!may_fail_meanwhile) {
            assert_int_equal(stage.caller.witness.opened, opened);
        }
        if (stage.caller.witness.conn) { /* lives its own life */
            assert_null(peal_conn_client(stage.caller.witness.conn));
            peal_conn_abort(stage.caller.witness.conn);
        }
        rig_turn_ms(&stage.rig, 5);
        rig_close(&stage.rig);
    } else if (end->fn == unref_with_the_loop) {
        peal_loop_unref(stage.rig.loop);
    } else {
        peal_loop_free(stage.rig.loop);
    }
    assert_int_equal(stage.caller.witness.opened, stage.caller.witness.closed);
    assert_true(!phase->opens || stage.caller.witness.opened >= 1);
    black_hole_close(&stage.hole);
    pl_resolver = &pl_resolver_threads;
    baseline_check(&before);
}

static void every_end_in_every_phase(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        for (size_t j = 0; j < sizeof ends / sizeof ends[0]; j++) {
            print_message("%s: %s\n", phases[i].name, ends[j].name);
            play(&phases[i], &ends[j]);
        }
    }
}

/* ---- released by its own callbacks */

static void release_on_fail(struct caller *caller, const struct peal_connect_failure *failure)
{
    (void)failure;
    assert_null(peal_client_unref(caller->client)); /* valid until on_fail returns */
    assert_int_equal(peal_client_connect(caller->client), 0);
    caller->client = NULL;
}

static void release_on_open(struct peal_conn *conn, struct witness *witness)
{
    struct caller *caller = (struct caller *)(void *)witness;
    caller->client = peal_client_unref(caller->client);
    assert_null(peal_conn_client(conn));
}

static void release_on_close(struct peal_conn *conn, const struct peal_close_record *record,
                             struct witness *witness)
{
    (void)record;
    release_on_open(conn, witness);
}

static void released_inside_its_callbacks(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 3; which++) {
        struct stage stage;
        struct baseline before = baseline_take();
        raise_curtain(&stage, which == 0 ? REFUSED : SERVER);
        struct caller *caller = &stage.caller;
        caller->also_fail = release_on_fail;
        caller->witness.also_open = which == 1 ? release_on_open : NULL;
        caller->witness.also_close = which == 2 ? release_on_close : NULL;
        peal_client_connect(caller->client);
        if (which > 0) {
            rig_until(&stage.rig, caller->witness.opened == 1);
            peal_conn_abort(caller->witness.conn);
        }
        rig_until(&stage.rig, !caller->client && caller->witness.closed == (which > 0));
        rig_turn_ms(&stage.rig, 5);
        rig_close(&stage.rig);
        assert_int_equal(caller->fails, which == 0);
        black_hole_close(&stage.hole);
        baseline_check(&before);
    }
}

/* ---- many threads */

static void *harass(void *arg)
{
    struct peal_client *client = arg;
    for (unsigned i = 0; i < 2000; i++) {
        switch (sys_random() % 4) {
        case 0:
            peal_client_connect(client);
            break;
        case 1:
            peal_client_cancel(client);
            break;
        case 2:
            peal_client_unref(peal_client_ref(client));
            break;
        default:
            sys_thread_yield();
            break;
        }
    }
    peal_client_unref(client);
    return NULL;
}

static void abort_on_open(struct peal_conn *conn, struct witness *witness)
{
    (void)witness;
    peal_conn_abort(conn);
}

/* The threads hold the only references; the loop ends while they are at it, or long after. */
static void many_threads_at_once(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct stage stage;
        pthread_t threads[4];
        raise_curtain(&stage, round % 3 == 0 ? SERVER : round % 3 == 1 ? REFUSED : NAME);
        stage.caller.witness.also_open = abort_on_open;
        for (size_t i = 0; i < 4; i++) {
            struct peal_client *client = peal_client_ref(stage.caller.client);
            assert_int_equal(pthread_create(&threads[i], NULL, harass, client), 0);
        }
        stage.caller.client = peal_client_unref(stage.caller.client);
        rig_turn_ms(&stage.rig, round < 3 ? 3 : 30);
        stage.rig.server = peal_server_unref(stage.rig.server);
        rig_close(&stage.rig);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        assert_int_equal(stage.caller.witness.opened, stage.caller.witness.closed);
        black_hole_close(&stage.hole);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_end_in_every_phase),
        TEST(released_inside_its_callbacks),
        TEST(many_threads_at_once),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
