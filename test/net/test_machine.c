/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a connection could take a move that nobody thought of, or forget how it came to
 * where it is. */
#include "net/machine.h"

#include "net/conn.h"
#include "support/baseline.h"
#include "support/child.h"
#include "support/raw.h"
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What 3-lifecycle allows, written down a second time: [state][event] is the state it leads to. */
enum { NO = PEAL_CONN_STATE_COUNT };
static const int expected[PEAL_CONN_STATE_COUNT][PL_EVENT_COUNT] = {
    [PEAL_CONN_CONNECTING] = {PEAL_CONN_OPEN, NO, NO, NO, NO, NO, NO},
    [PEAL_CONN_OPEN] = {NO, PEAL_CONN_CLOSING, PEAL_CONN_OPEN, PEAL_CONN_OPEN, NO, PEAL_CONN_CLOSED,
                        PEAL_CONN_CLOSED},
    [PEAL_CONN_CLOSING] = {NO, NO, PEAL_CONN_CLOSING, NO, PEAL_CONN_LINGERING, PEAL_CONN_CLOSED,
                           PEAL_CONN_CLOSED},
    [PEAL_CONN_LINGERING] = {NO, NO, NO, NO, NO, PEAL_CONN_CLOSED, PEAL_CONN_CLOSED},
    [PEAL_CONN_CLOSED] = {NO, NO, NO, NO, NO, NO, NO},
};

static void allows_these_moves_and_no_other(void **state)
{
    (void)state;
    for (int from = 0; from < PEAL_CONN_STATE_COUNT; from++) {
        for (int event = 0; event < PL_EVENT_COUNT; event++) {
            enum peal_conn_state to = PEAL_CONN_STATE_COUNT;
            bool allowed =
                pl_move_is_allowed((enum peal_conn_state)from, (enum pl_event)event, &to);
            assert_int_equal(allowed, expected[from][event] != NO);
            assert_int_equal(to, expected[from][event]); /* untouched when it is not */
            assert_int_equal(
                pl_move_is_allowed((enum peal_conn_state)from, (enum pl_event)event, NULL),
                allowed);
        }
    }
}

static void everything_has_a_name(void **state)
{
    (void)state;
    for (int event = 0; event < PL_EVENT_COUNT; event++) {
        assert_true(strlen(pl_event_text((enum pl_event)event)) > 2);
    }
    assert_string_equal(pl_event_text(PL_EVENT_COUNT), "?");
    assert_string_equal(peal_conn_state_text(PEAL_CONN_LINGERING), "LINGERING");
    assert_string_equal(peal_conn_state_text(PEAL_CONN_STATE_COUNT), "?");
    for (int cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
        assert_true(strlen(peal_cause_text((enum peal_cause)cause)) > 2);
    }
    assert_string_equal(peal_cause_text(PEAL_CAUSE_PEER_RESET), "peer reset");
    assert_string_equal(peal_cause_text(PEAL_CAUSE_COUNT), "?");
}

static void a_record_is_a_line(void **state)
{
    char text[PEAL_CLOSE_TEXT_MAX], small[12];
    const struct peal_close_record record = {.cause = PEAL_CAUSE_FLUSH_TIMEOUT,
                                             .state = PEAL_CONN_CLOSING,
                                             .error = -110,
                                             .bytes_received = 1,
                                             .bytes_accepted = 5,
                                             .bytes_taken = 3,
                                             .bytes_unsent = 2,
                                             .lifetime_ns = 2999 * 1000000ull};
    (void)state;
    assert_ptr_equal(peal_close_record_format(&record, text, sizeof text), text);
    assert_non_null(strstr(text, "flush timeout ETIMEDOUT in CLOSING"));
    assert_non_null(strstr(text, "accepted 5, taken 3, unsent 2"));
    assert_non_null(strstr(text, "lived 2.999 s"));
    peal_close_record_format(&record, small, sizeof small);
    assert_string_equal(small, "flush timeo");
    const struct peal_close_record extreme = {.cause = PEAL_CAUSE_HALF_CLOSE_TIMEOUT,
                                              .state = PEAL_CONN_LINGERING,
                                              .error = -4102,
                                              .clean = true,
                                              .bytes_received = UINT64_MAX,
                                              .bytes_accepted = UINT64_MAX,
                                              .bytes_taken = UINT64_MAX,
                                              .bytes_unsent = UINT64_MAX,
                                              .bytes_unacked = UINT64_MAX,
                                              .bytes_discarded = UINT64_MAX,
                                              .lifetime_ns = UINT64_MAX};
    peal_close_record_format(&extreme, text, sizeof text);
    assert_int_equal(text[strlen(text) - 1], 's'); /* PEAL_CLOSE_TEXT_MAX is enough for any */
}

static void illegal_move(void *arg)
{
    struct rig rig;
    (void)arg;
    rig_open(&rig, NULL);
    rig_connect(&rig);
    pl_conn_move(rig.witness.conn, PL_EVENT_FLUSHED);
}

static void any_other_move_stops_the_program(void **state)
{
    (void)state;
    child_expect_abort(illegal_move, NULL, "a connection in state OPEN met the event \"flushed\"");
}

/* ---- history */

static char lines[32][200];
static unsigned line_count;

static void note_line(const char *text, void *user)
{
    assert_string_equal(user, "user");
    assert_true(line_count < 32);
    snprintf(lines[line_count++], sizeof lines[0], "%s", text);
}

static void read_history(const struct peal_conn *conn)
{
    line_count = 0;
    peal_conn_print_history(conn, note_line, (void *)(uintptr_t) "user");
}

static void history_tells_a_life(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    struct peal_conn *conn = peal_conn_ref(rig.witness.conn);
    read_history(conn);
    assert_int_equal(line_count, 1);
    rig_turn_ms(&rig, 40);
    peal_conn_close(conn);
    rig_until(&rig, peal_conn_state(conn) == PEAL_CONN_LINGERING);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    read_history(conn);
    assert_int_equal(line_count, 4);
    assert_non_null(strstr(lines[0], "CONNECTING, opened -> OPEN"));
    assert_non_null(strstr(lines[1], "OPEN, close -> CLOSING"));
    assert_non_null(strstr(lines[2], "CLOSING, flushed -> LINGERING"));
    assert_non_null(strstr(lines[3], "LINGERING, both ended -> CLOSED"));
    unsigned long long pause_us = 0;
    assert_int_equal(sscanf(lines[1], "+%llu us", &pause_us), 1);
    assert_true(pause_us >= 25 * 1000); /* at least 40 ms less a turn, and exact to an eighth */
    rig_close(&rig);
    read_history(conn); /* the loop has ended, the reference still answers */
    assert_int_equal(line_count, 4);
    peal_conn_unref(conn);
}

static void history_keeps_the_last_six(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig);
    for (int i = 0; i < 20; i++) {
        pl_conn_move(rig.witness.conn, PL_EVENT_PEER_FIN); /* as often as one likes */
    }
    read_history(rig.witness.conn);
    assert_int_equal(line_count, 6);
    for (unsigned i = 0; i < line_count; i++) {
        assert_non_null(strstr(lines[i], "OPEN, peer FIN -> OPEN"));
    }
    raw_close(peer);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(allows_these_moves_and_no_other),
        TEST(everything_has_a_name),
        TEST(a_record_is_a_line),
        TEST(any_other_move_stops_the_program),
        TEST(history_tells_a_life),
        TEST(history_keeps_the_last_six),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
