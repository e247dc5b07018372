/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 28: a connection closed, aborted or released in one of its own callbacks would be freed
 * under the feet of the code that called it, or be called again in its own middle.
 *
 * No callback runs inside a call of the program (G2); what ends is reaped at the end of the turn,
 * at top level, and until then the connection's memory is held by its loop. So each callback meets
 * each way to end here, with input and output pending; what is checked is that on_close comes
 * exactly once, later, and last (G1), and that the program's own pointer is good until it returns
 * from on_close. */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum place { ON_OPEN, ON_DATA, ON_EOF, ON_DRAIN, ON_CLOSE, PLACES };
static const char *const place_names[PLACES] = {"on_open", "on_data", "on_eof", "on_drain",
                                                "on_close"};

/* ---- ways to end: each has a reference of the test's in witness->tag */

static void close_it(struct peal_conn *conn)
{
    peal_conn_close(conn);
}

static void abort_it(struct peal_conn *conn)
{
    peal_conn_abort(conn);
}

static void all_at_once(struct peal_conn *conn)
{
    peal_conn_shutdown(conn);
    peal_conn_close(conn);
    peal_conn_flush(conn);
    peal_conn_abort(conn);
    peal_conn_abort(conn);
    peal_conn_close(conn);
}

static void send_and_close(struct peal_conn *conn)
{
    peal_conn_send(conn, "good bye", 8);
    peal_conn_flush(conn);
    peal_conn_close(conn);
}

static void pause_resume_and_close(struct peal_conn *conn)
{
    peal_conn_pause_reading(conn);
    peal_conn_resume_reading(conn);
    peal_conn_want_drain(conn);
    peal_conn_close(conn);
}

static void over_the_cap(struct peal_conn *conn)
{
    static const char much[65536];
    while (peal_conn_send(conn, much, sizeof much) > 0) {
    }
}

static void stop_its_server(struct peal_conn *conn)
{
    peal_server_stop(peal_conn_server(conn), 0);
}

static void drop_only(struct peal_conn *conn)
{
    (void)conn;
}

static const struct way {
    const char *name;
    void (*fn)(struct peal_conn *conn);
} ways[] = {
    {"close", close_it},
    {"abort", abort_it},
    {"all at once", all_at_once},
    {"send and close", send_and_close},
    {"pause, resume and close", pause_resume_and_close},
    {"over the cap", over_the_cap},
    {"stop its server", stop_its_server},
    {"give back the reference", drop_only},
};

/* ---- the callbacks */

static struct play {
    enum place place;
    const struct way *way;
    struct peal_conn *held;
    bool ended;
} play;

static void end_if(enum place place, struct peal_conn *conn, struct witness *witness)
{
    if (play.place != place || play.ended || !play.held) {
        return;
    }
    unsigned calls = witness->data_calls + witness->eofs + witness->drains + witness->closed;
    play.ended = true;
    assert_ptr_equal(conn, play.held);
    play.way->fn(conn);
    play.held = peal_conn_unref(play.held);
    play.way->fn(conn); /* still there, and as harmless as before */
    assert_int_equal(witness->data_calls + witness->eofs + witness->drains + witness->closed,
                     calls); /* G2 */
    assert_true(peal_conn_state(conn) != PEAL_CONN_CONNECTING);
    if (place == ON_CLOSE) {
        assert_int_equal(peal_conn_send(conn, "x", 1), -EPIPE);
    }
}

static void also_open(struct peal_conn *conn, struct witness *witness)
{
    play.held = peal_conn_ref(conn);
    peal_conn_want_drain(conn);
    end_if(ON_OPEN, conn, witness);
}

static void also_data(struct peal_conn *conn, struct peal_buf *input, struct witness *witness)
{
    size_t size = peal_buf_size(input);
    end_if(ON_DATA, conn, witness);
    assert_int_equal(peal_buf_size(input), size); /* the input is the callback's until it returns */
    assert_memory_equal(peal_buf_data(input), "hello", 5);
}

static void also_eof(struct peal_conn *conn, struct witness *witness)
{
    end_if(ON_EOF, conn, witness);
    peal_conn_close(conn);
}

static void also_drain(struct peal_conn *conn, struct witness *witness)
{
    end_if(ON_DRAIN, conn, witness);
}

static void also_close(struct peal_conn *conn, const struct peal_close_record *record,
                       struct witness *witness)
{
    (void)record;
    end_if(ON_CLOSE, conn, witness);
}

static void play_one(enum place place, const struct way *way)
{
    const struct peal_server_options options = {.ops = &witness_eof_ops,
                                                .limits = {.output_bytes_max = 1024 * 1024}};
    struct rig rig;
    play = (struct play){.place = place, .way = way};
    rig_open(&rig, &options);
    rig.witness.echo = place != ON_DATA;
    rig.witness.also_open = also_open;
    rig.witness.also_data = also_data;
    rig.witness.also_eof = also_eof;
    rig.witness.also_drain = also_drain;
    rig.witness.also_close = also_close;
    int peer = raw_connect(&rig.address);
    raw_send(peer, "hello", 5);
    rig_until(&rig, play.ended || rig.witness.data_calls > 0);
    shutdown(peer, SHUT_WR); /* may have been reset already */
    rig_until(&rig, rig.witness.closed == 1);
    assert_true(play.ended);
    rig_turns(&rig, 1);
    raw_close(peer);
    rig_close(&rig);
    assert_int_equal(rig.witness.opened, 1);
    assert_int_equal(rig.witness.closed, 1);
}

static void every_end_in_every_callback(void **state)
{
    (void)state;
    for (unsigned place = 0; place < PLACES; place++) {
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            print_message("%s: %s\n", place_names[place], ways[i].name);
            play_one(place, &ways[i]);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_end_in_every_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
