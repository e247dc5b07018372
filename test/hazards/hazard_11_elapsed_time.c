/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 11: a flush timer measures elapsed time. If this broke, a slow but steady reader of a long
 * reply would be cut off.
 *
 * The flush time-out asks for progress, and asks the peer's kernel, by SIOCOUTQ: our own takes the
 * next byte only when a good part of its buffer is free, which a slow reader may take long to bring
 * about (docs/decisions). */
#include "support/baseline.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { SIZE = 512 * 1024, FLUSH_MS = 400, SEND_BUFFER = 200 * 1024, READ_BYTES = 8 * 1024 };

static void a_slow_reader_gets_everything(void **state)
{
    struct rig rig;
    static unsigned char data[READ_BYTES], expected[READ_BYTES];
    unsigned char *reply = malloc(SIZE);
    (void)state;
    assert_non_null(reply);
    raw_pattern(reply, SIZE, 0);
    rig_open(&rig, &(struct peal_server_options){.limits.flush_ms = FLUSH_MS});
    int peer = raw_connect_small(&rig.address, READ_BYTES);
    int send_buffer = SEND_BUFFER; /* the kernel doubles it: most of the reply waits there */
    rig_until(&rig, rig.witness.opened == 1);
    assert_int_equal(setsockopt(peal_conn_fd(rig.witness.conn), SOL_SOCKET, SO_SNDBUF, &send_buffer,
                                sizeof send_buffer),
                     0);
    assert_int_equal(peal_conn_send(rig.witness.conn, reply, SIZE), SIZE);
    peal_conn_close(rig.witness.conn);
    uint64_t began_ms = rig_now_ms();
    size_t got = 0;
    for (;;) {
        rig_turn_ms(&rig, 50);
        ssize_t n = recv(peer, data, sizeof data, MSG_DONTWAIT);
        if (n == 0) {
            break;
        }
        assert_true(n > 0 || errno == EAGAIN);
        if (n > 0) {
            raw_pattern(expected, (size_t)n, got);
            assert_memory_equal(data, expected, (size_t)n);
            got += (size_t)n;
        }
    }
    assert_int_equal(got, SIZE);
    assert_true(rig_now_ms() - began_ms > 2 * FLUSH_MS); /* else it was no test */
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_LOCAL_CLOSE);
    free(reply);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_slow_reader_gets_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
