/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 30: a reference that is never given back, or given back twice, would be found by nobody:
 * memory grows, or is freed under another holder, far from the mistake.
 *
 * A reference keeps memory and never the socket (G3, G4), so a lost one costs a few hundred bytes;
 * and it is named: by the report, with file and line, age and count, and in the drain report of the
 * server (G7). One unref too many on a connection that somebody still counts on stops the program
 * with a sentence, at the call that is wrong. */
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

struct report {
    char text[4096];
    unsigned lines;
};

static void add_line(const char *text, void *user)
{
    struct report *report = user;
    size_t used = strlen(report->text);
    snprintf(report->text + used, sizeof report->text - used, "%s\n", text);
    report->lines++;
}

static size_t take_report(struct report *report)
{
    memset(report, 0, sizeof *report);
    return peal_refs_report(add_line, report);
}

static bool names(const struct report *report, int line)
{
    char place[64];
    snprintf(place, sizeof place, "hazard_30_lost_reference.c:%d", line);
    return strstr(report->text, place) != NULL;
}

/* Opens one, loses two references to it, lets it close. Returns it; the lines go to the outputs. */
static struct peal_conn *lose_two(struct rig *rig, int *ret_first, int *ret_second)
{
    int peer = rig_connect(rig);
    struct peal_conn *conn = rig->witness.conn;
    peal_conn_ref(conn), *ret_first = __LINE__;
    peal_conn_ref(conn), *ret_second = __LINE__;
    peal_conn_unref(peal_conn_ref(conn)); /* this one is no one's loss */
    unsigned closed = rig->witness.closed;
    raw_fin(peer);
    rig_until(rig, rig->witness.closed == closed + 1);
    raw_expect_fin(peer); /* the socket is not kept */
    raw_close(peer);
    return conn;
}

static void a_lost_reference_is_named_until_it_is_given_back(void **state)
{
    struct rig rig;
    struct report report;
    int first, second;
    (void)state;
    peal_refs_track(true);
    rig_open(&rig, NULL);
    assert_int_equal(take_report(&report), 0);
    struct peal_conn *conn = lose_two(&rig, &first, &second);
    assert_int_equal(peal_conn_fd(conn), -1);
    assert_int_equal(take_report(&report), 1);
    print_message("%s", report.text);
    assert_true(names(&report, first) && names(&report, second));
    peal_conn_unref(conn);
    assert_int_equal(take_report(&report), 1);
    assert_true(names(&report, first) && !names(&report, second)); /* the newest of the file */
    peal_conn_unref(conn);
    assert_int_equal(take_report(&report), 0);
    assert_int_equal(report.lines, 0);
    rig_close(&rig);
    peal_refs_track(false);
}

static void the_drain_report_counts_them(void **state)
{
    struct rig rig;
    int line;
    (void)state;
    rig_open(&rig, NULL);
    struct peal_conn *first = lose_two(&rig, &line, &line);
    struct peal_conn *second = lose_two(&rig, &line, &line);
    peal_server_stop(rig.server, 0);
    rig_until(&rig, rig.stopped == 1);
    assert_int_equal(rig.report.references_held, 2); /* connections */
    rig_close(&rig);
    assert_int_equal(peal_refs_report(NULL, NULL), 2); /* server and loop have gone */
    for (unsigned i = 0; i < 2; i++) {
        peal_conn_unref(first);
        peal_conn_unref(second);
    }
    assert_int_equal(peal_refs_report(NULL, NULL), 0);
}

/* Without tracking the connection is still found; only the places are not known. */
static void untracked_ones_are_reported_without_their_place(void **state)
{
    struct rig rig;
    struct report report;
    int first, second;
    (void)state;
    assert_false(peal_refs_tracked());
    rig_open(&rig, NULL);
    struct peal_conn *conn = lose_two(&rig, &first, &second);
    assert_int_equal(take_report(&report), 1);
    assert_false(names(&report, first) || names(&report, second));
    assert_non_null(strstr(report.text, "2 references"));
    peal_conn_unref(conn);
    peal_conn_unref(conn);
    rig_close(&rig);
}

static void give_back_what_was_not_taken(void *arg)
{
    struct rig rig;
    (void)arg;
    rig_open(&rig, NULL);
    raw_connect(&rig.address);
    rig_until(&rig, rig.witness.opened == 1);
    peal_conn_unref(rig.witness.conn);
    rig_turns(&rig, 1);
}

static void one_unref_too_many_stops_the_program(void **state)
{
    (void)state;
    child_expect_abort(give_back_what_was_not_taken, NULL, "hazard_30_lost_reference.c");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_lost_reference_is_named_until_it_is_given_back),
        TEST(the_drain_report_counts_them),
        TEST(untracked_ones_are_reported_without_their_place),
        TEST(one_unref_too_many_stops_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
