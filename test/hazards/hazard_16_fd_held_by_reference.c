/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 16: the fd lives as long as a forgotten reference. If this broke, each forgotten reference
 * would leave a socket in CLOSE_WAIT until the table of fds is full.
 *
 * The fd is closed right after on_close, whoever holds what; a reference keeps memory (G3, G4).
 * What is forgotten is named by the report (hazard 30). */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CONNS = 100 };

/* Sockets of this port that the kernel lists in CLOSE_WAIT (state 08). */
static unsigned close_waits(uint16_t port)
{
    char line[512], local[16];
    unsigned count = 0;
    FILE *table = fopen("/proc/net/tcp", "r");
    assert_non_null(table);
    snprintf(local, sizeof local, ":%04X", port);
    while (fgets(line, sizeof line, table)) {
        char address[64], state[8];
        if (sscanf(line, " %*d: %63s %*s %7s", address, state) == 2 &&
            strcmp(address + 8, local) == 0 && strcmp(state, "08") == 0) {
            count++;
        }
    }
    fclose(table);
    return count;
}

static void sockets_go_although_references_are_held(void **state)
{
    struct rig rig;
    struct peal_conn *held[CONNS];
    (void)state;
    rig_open(&rig, NULL);
    unsigned fds = baseline_open_fds();
    for (unsigned i = 0; i < CONNS; i++) {
        int peer = rig_connect(&rig);
        held[i] = peal_conn_ref(rig.witness.conn);
        raw_close(peer);
        rig_until(&rig, rig.witness.closed == i + 1);
        assert_int_equal(baseline_open_fds(), fds);
    }
    assert_int_equal(close_waits(peal_addr_port(&rig.address)), 0);
    assert_int_equal(peal_refs_report(NULL, NULL), CONNS);
    for (unsigned i = 0; i < CONNS; i++) {
        assert_int_equal(peal_conn_state(held[i]), PEAL_CONN_CLOSED); /* safe to ask (G4) */
        assert_int_equal(peal_conn_send(held[i], "x", 1), -EPIPE);
        peal_conn_close(held[i]);
        peal_conn_abort(held[i]);
        peal_conn_unref(held[i]);
    }
    assert_int_equal(peal_refs_report(NULL, NULL), 0);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(sockets_go_although_references_are_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
