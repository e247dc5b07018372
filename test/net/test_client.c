/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a client would report an attempt twice, wrongly or never, not come back when it
 * should, or come back when it should not. */
#include "net/client.h"
#include "support/baseline.h"
#include "support/caller.h"
#include "support/raw.h"
#include "sys/sys.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void close_both(struct rig *rig, struct caller *caller)
{
    caller->client = peal_client_unref(caller->client);
    rig_close(rig);
    assert_int_equal(caller->witness.opened, caller->witness.closed);
}

static void open_both(struct rig *rig, struct caller *caller,
                      const struct peal_client_options *options)
{
    struct peal_client_options own = *options;
    rig_open(rig, NULL);
    rig->witness.echo = true;
    if (!own.to && !own.addrs) {
        own.addrs = &rig->address;
        own.addr_count = 1;
    }
    caller_open(caller, rig->loop, &own);
}

static void talk(struct rig *rig, struct caller *caller)
{
    uint64_t bytes = caller->witness.bytes;
    assert_int_equal(peal_conn_send(caller->witness.conn, "hello", 5), 5);
    rig_until(rig, caller->witness.bytes == bytes + 5);
}

/* ---- success */

static void opens_and_closes_once(void **state)
{
    struct rig rig;
    struct caller caller;
    (void)state;
    open_both(&rig, &caller, &(struct peal_client_options){0});
    assert_null(peal_client_conn(caller.client));
    assert_int_equal(peal_client_connect(caller.client), 0);
    assert_int_equal(caller.witness.opened, 0); /* G2 */
    rig_until(&rig, caller.witness.opened == 1);
    assert_ptr_equal(peal_client_conn(caller.client), caller.witness.conn);
    assert_ptr_equal(peal_conn_client(caller.witness.conn), caller.client);
    assert_null(peal_conn_server(caller.witness.conn));
    rig_until(&rig, rig.witness.opened == 1);
    assert_null(peal_conn_client(rig.witness.conn));
    talk(&rig, &caller);
    peal_conn_close(caller.witness.conn);
    rig_until(&rig, caller.witness.closed == 1);
    assert_int_equal(caller.witness.record.cause, PEAL_CAUSE_LOCAL_CLOSE);
    assert_null(peal_client_conn(caller.client));
    rig_turns(&rig, 3);
    assert_int_equal(caller.witness.opened, 1);
    assert_int_equal(peal_client_connect(caller.client), 0); /* again, by hand */
    rig_until(&rig, caller.witness.opened == 2);
    talk(&rig, &caller);
    assert_int_equal(caller.fails, 0);
    close_both(&rig, &caller);
}

/* Listens on address besides, and connects to what that gave; to: other words for it, with %u for
 * the port. */
static int option_of(const struct peal_conn *conn, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(peal_conn_fd(conn), level, name, &value, &size), 0);
    return value;
}

static void sockets_are_as_the_options_say(void **state)
{
    (void)state;
    for (int plain = 0; plain < 2; plain++) {
        struct rig rig;
        struct caller caller;
        rig_open(&rig, NULL);
        caller_open(&caller, rig.loop,
                    &(struct peal_client_options){.addrs = &rig.address,
                                                  .addr_count = 1,
                                                  .delay = plain != 0,
                                                  .no_keepalive = plain != 0});
        peal_client_connect(caller.client);
        rig_until(&rig, caller.witness.opened == 1 && rig.witness.opened == 1);
        const struct peal_conn *conn = caller.witness.conn;
        assert_int_equal(option_of(conn, IPPROTO_TCP, TCP_NODELAY) != 0, !plain);
        assert_int_equal(option_of(conn, SOL_SOCKET, SO_KEEPALIVE) != 0, !plain);
        close_both(&rig, &caller);
    }
}

static void reach(const char *address, const char *to)
{
    struct rig rig;
    struct caller caller;
    struct peal_addr bound;
    char text[PEAL_ADDR_TEXT_MAX];
    rig_open(&rig, NULL);
    rig.witness.echo = true;
    int result = peal_server_listen(rig.server, address, NULL);
    if (result == -EADDRNOTAVAIL || result == -EAFNOSUPPORT) {
        rig_close(&rig);
        print_message("skipped: this machine has no %s\n", address);
        skip();
    }
    assert_int_equal(result, 0);
    assert_int_equal(peal_server_address(rig.server, 1, &bound), 0);
    assert_true(peal_addr_format(&bound, text, sizeof text) > 0);
    if (to) {
        snprintf(text, sizeof text, "%s:%u", to, (unsigned)peal_addr_port(&bound));
    }
    caller_open(&caller, rig.loop, &(struct peal_client_options){.to = text});
    memset(text, 'x', sizeof text); /* it was copied */
    assert_int_equal(peal_client_connect(caller.client), 0);
    rig_until(&rig, caller.witness.opened == 1);
    talk(&rig, &caller);
    assert_int_equal(caller.fails, 0);
    close_both(&rig, &caller);
}

static void reaches_ipv4(void **state)
{
    (void)state;
    reach("127.0.0.1:0", NULL);
}

static void reaches_ipv6(void **state)
{
    (void)state;
    reach("[::1]:0", NULL);
}

static void reaches_unix_sockets(void **state)
{
    char text[64];
    (void)state;
    snprintf(text, sizeof text, "unix:@peal-test-client-%ld", (long)getpid());
    reach(text, NULL);
}

static void reaches_names(void **state)
{
    (void)state;
    reach("127.0.0.1:0", "localhost");
}

static void reaches_the_first_that_answers(void **state)
{
    struct rig rig;
    struct caller caller;
    struct black_hole hole;
    (void)state;
    black_hole_open(&hole);
    rig_open(&rig, NULL);
    rig.witness.echo = true;
    pl_resolver = &slow_resolver;
    caller_open(&caller, rig.loop,
                &(struct peal_client_options){.to = "many.example:7", .stagger_ms = 10});
    peal_client_connect(caller.client);
    rig_until(&rig, slow_resolver_waiting);
    const struct peal_addr addrs[] = {hole.address, refusing_address(), rig.address};
    slow_resolver_answer(&(struct pl_resolved){.why = "", .addrs = addrs, .count = 3});
    rig_until(&rig, caller.witness.opened == 1);
    talk(&rig, &caller);
    assert_int_equal(caller.fails, 0);
    pl_resolver = &pl_resolver_threads;
    close_both(&rig, &caller);
    black_hole_close(&hole);
}

static void connecting_twice_is_connecting_once(void **state)
{
    struct rig rig;
    struct caller caller;
    (void)state;
    open_both(&rig, &caller, &(struct peal_client_options){0});
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(peal_client_connect(caller.client), 0);
    }
    rig_until(&rig, caller.witness.opened == 1);
    assert_int_equal(peal_client_connect(caller.client), 0);
    rig_turns(&rig, 5);
    assert_int_equal(caller.witness.opened, 1);
    assert_int_equal(rig.witness.opened, 1);
    peal_conn_abort(caller.witness.conn);
    rig_until(&rig, caller.witness.closed == 1);
    rig_turns(&rig, 5);
    assert_int_equal(caller.witness.opened,
                     1); /* the calls while it was open left nothing behind */
    close_both(&rig, &caller);
}

static void connecting_while_one_closes_opens_the_next(void **state)
{
    struct rig rig;
    struct caller caller;
    (void)state;
    open_both(&rig, &caller, &(struct peal_client_options){0});
    peal_client_connect(caller.client);
    rig_until(&rig, caller.witness.opened == 1);
    peal_conn_close(caller.witness.conn);
    peal_client_connect(caller.client);
    rig_until(&rig, caller.witness.opened == 2);
    assert_int_equal(caller.witness.closed, 1);
    talk(&rig, &caller);
    close_both(&rig, &caller);
}

/* ---- failure */

static void refusal_is_reported_once(void **state)
{
    struct rig rig;
    struct caller caller;
    struct peal_addr address = refusing_address();
    char text[PEAL_ADDR_TEXT_MAX];
    (void)state;
    assert_true(peal_addr_format(&address, text, sizeof text) > 0);
    open_both(&rig, &caller, &(struct peal_client_options){.to = text});
    for (unsigned round = 1; round <= 3; round++) {
        peal_client_connect(caller.client);
        assert_int_equal(caller.fails, round - 1);
        rig_until(&rig, caller.fails == round);
        rig_turns(&rig, 3);
        assert_int_equal(caller.fails, round);
        assert_int_equal(caller.failure.error, -ECONNREFUSED);
        assert_int_equal(caller.failure.attempt, 1); /* counted anew after each connect */
        assert_false(caller.failure.will_retry);
        assert_true(peal_addr_equal(&caller.failure.addr, &address));
        assert_non_null(strstr(caller.text, text));
    }
    assert_int_equal(caller.witness.opened, 0);
    close_both(&rig, &caller);
}

static void unknown_name_is_reported(void **state)
{
    struct rig rig;
    struct caller caller;
    (void)state;
    open_both(&rig, &caller, &(struct peal_client_options){.to = "localhost:80"});
    peal_client_unref(caller.client);
    pl_resolver = &slow_resolver;
    caller_open(&caller, rig.loop, &(struct peal_client_options){.to = "no.example:80"});
    peal_client_connect(caller.client);
    rig_until(&rig, slow_resolver_waiting);
    slow_resolver_answer(
        &(struct pl_resolved){.error = PEAL_ERR_RESOLVE, .why = "Name or service not known"});
    rig_until(&rig, caller.fails == 1);
    pl_resolver = &pl_resolver_threads;
    assert_int_equal(caller.failure.error, PEAL_ERR_RESOLVE);
    assert_int_equal(peal_addr_kind(&caller.failure.addr), PEAL_ADDR_NONE);
    assert_non_null(strstr(caller.text, "no.example"));
    assert_non_null(strstr(caller.text, "Name or service not known"));
    close_both(&rig, &caller);
}

static void silence_times_out(void **state)
{
    struct rig rig;
    struct caller caller;
    struct black_hole hole;
    (void)state;
    black_hole_open(&hole);
    open_both(
        &rig, &caller,
        &(struct peal_client_options){.addrs = &hole.address, .addr_count = 1, .connect_ms = 30});
    peal_client_connect(caller.client);
    rig_until(&rig, caller.fails == 1);
    assert_int_equal(caller.failure.error, -ETIMEDOUT);
    assert_true(peal_addr_equal(&caller.failure.addr, &hole.address));
    close_both(&rig, &caller);
    black_hole_close(&hole);
}

static void silence_of_the_resolver_times_out(void **state)
{
    struct rig rig;
    struct caller caller;
    (void)state;
    pl_resolver = &slow_resolver;
    unsigned cancelled = slow_resolver_cancelled;
    open_both(&rig, &caller,
              &(struct peal_client_options){.to = "slow.example:80", .connect_ms = 30});
    peal_client_connect(caller.client);
    rig_until(&rig, caller.fails == 1);
    assert_int_equal(caller.failure.error, -ETIMEDOUT);
    assert_int_equal(peal_addr_kind(&caller.failure.addr), PEAL_ADDR_NONE);
    assert_int_equal(slow_resolver_cancelled, cancelled + 1);
    pl_resolver = &pl_resolver_threads;
    close_both(&rig, &caller);
}

/* The time-out is for both together, and goes on when the name is resolved. */
static void times_out_after_resolving(void **state)
{
    struct rig rig;
    struct caller caller;
    struct black_hole hole;
    (void)state;
    black_hole_open(&hole);
    pl_resolver = &slow_resolver;
    open_both(&rig, &caller,
              &(struct peal_client_options){.to = "slow.example:80", .connect_ms = 300});
    uint64_t began_ms = rig_now_ms();
    peal_client_connect(caller.client);
    rig_until(&rig, slow_resolver_waiting);
    rig_turn_ms(&rig, 30);
    struct pl_resolved resolved = {.why = "", .addrs = &hole.address, .count = 1};
    slow_resolver_answer(&resolved);
    rig_until(&rig, caller.fails == 1);
    assert_int_equal(caller.failure.error, -ETIMEDOUT);
    assert_true(peal_addr_equal(&caller.failure.addr, &hole.address));
    assert_true(rig_now_ms() - began_ms >= 299);
    pl_resolver = &pl_resolver_threads;
    close_both(&rig, &caller);
    black_hole_close(&hole);
}

/* ---- coming back */

static void pauses_double_and_stay_in_their_upper_half(void **state)
{
    static const uint64_t chances[] = {0, 1, 249, 250, 251, UINT64_MAX / 2, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof chances / sizeof chances[0]; i++) {
        for (unsigned failures = 0; failures < 100; failures++) {
            uint64_t whole = failures > 1 ? 500ull << (failures > 20 ? 20 : failures - 1) : 500;
            whole = whole < 30000 ? whole : 30000;
            uint32_t pause = pl_client_pause_ms(500, 30000, failures, chances[i]);
            assert_in_range(pause, whole - whole / 2, whole);
        }
    }
    assert_int_equal(pl_client_pause_ms(500, 30000, 1, 0), 500);
    assert_int_equal(pl_client_pause_ms(500, 30000, 1, 250), 250);
    assert_int_equal(pl_client_pause_ms(500, 30000, 2, 500), 500);
    assert_int_equal(pl_client_pause_ms(1, 1, 7, UINT64_MAX), 1);
    assert_int_equal(pl_client_pause_ms(PEAL_NEVER, PEAL_NEVER, 1000, 0), PEAL_NEVER);
    assert_in_range(pl_client_pause_ms(3, PEAL_NEVER, 1000, UINT64_MAX), PEAL_NEVER / 2,
                    PEAL_NEVER);
}

static void gives_up_after_as_many_failures(void **state)
{
    struct rig rig;
    struct caller caller;
    struct peal_addr address = refusing_address();
    (void)state;
    open_both(&rig, &caller,
              &(struct peal_client_options){.addrs = &address,
                                            .addr_count = 1,
                                            .retry = true,
                                            .attempts_max = 5,
                                            .retry_min_ms = 4,
                                            .retry_max_ms = 16});
    for (unsigned round = 1; round <= 2; round++) {
        peal_client_connect(caller.client);
        rig_until(&rig, caller.fails == 5 * round);
        assert_int_equal(caller.failure.attempt, 5);
        assert_false(caller.failure.will_retry);
    }
    rig_turn_ms(&rig, 40);
    assert_int_equal(caller.fails, 10);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t whole = i < 2 ? 4u << i : 16;
        assert_in_range(caller.pauses_ms[i], whole / 2, whole);
    }
    assert_int_equal(caller.pauses_ms[4], 0);
    close_both(&rig, &caller);
}

static void listen_after_two(struct caller *caller, const struct peal_connect_failure *failure)
{
    struct rig *rig = caller->witness.tag;
    assert_true(failure->will_retry);
    if (caller->fails == 2) {
        assert_int_equal(peal_server_listen_addr(rig->server, &failure->addr, NULL), 0);
    }
}

static void comes_back_until_somebody_listens(void **state)
{
    struct rig rig;
    struct caller caller;
    struct peal_addr address = refusing_address();
    (void)state;
    open_both(&rig, &caller,
              &(struct peal_client_options){.addrs = &address,
                                            .addr_count = 1,
                                            .retry = true,
                                            .retry_min_ms = 1,
                                            .retry_max_ms = 4});
    caller.witness.tag = &rig;
    caller.also_fail = listen_after_two;
    peal_client_connect(caller.client);
    rig_until(&rig, caller.witness.opened == 1);
    assert_int_equal(caller.fails, 2);
    assert_int_equal(caller.failure.attempt, 2);
    rig_until(&rig, rig.witness.opened == 1);
    peal_conn_abort(rig.witness.conn);
    rig_until(&rig, caller.witness.closed == 1);
    rig_turn_ms(&rig, 30);
    assert_int_equal(caller.witness.opened, 1); /* retry alone does not reconnect */
    close_both(&rig, &caller);
}

static void comes_back_after_the_peer_has_gone(void **state)
{
    struct rig rig;
    struct caller caller;
    (void)state;
    open_both(&rig, &caller, &(struct peal_client_options){.reconnect = true, .retry_min_ms = 1});
    peal_client_connect(caller.client);
    for (unsigned round = 1; round <= 5; round++) {
        rig_until(&rig, rig.witness.opened == round && caller.witness.opened == round);
        talk(&rig, &caller);
        if (round % 2) {
            peal_conn_abort(rig.witness.conn);
        } else {
            peal_conn_close(rig.witness.conn);
        }
        rig_until(&rig, caller.witness.closed == round);
    }
    rig_until(&rig, caller.witness.opened == 6);
    assert_int_equal(caller.fails, 0);
    close_both(&rig, &caller);
}

static void connect_cuts_a_pause_short(void **state)
{
    struct rig rig;
    struct caller caller;
    struct peal_addr address = refusing_address();
    (void)state;
    open_both(&rig, &caller,
              &(struct peal_client_options){.addrs = &address,
                                            .addr_count = 1,
                                            .retry = true,
                                            .retry_min_ms = 3600 * 1000,
                                            .retry_max_ms = 3600 * 1000});
    for (unsigned round = 1; round <= 3; round++) {
        peal_client_connect(caller.client);
        rig_until(&rig, caller.fails == round);
        assert_int_equal(caller.failure.attempt, 1);
    }
    close_both(&rig, &caller);
}

/* ---- from inside callbacks */

static void connect_again(struct caller *caller, const struct peal_connect_failure *failure)
{
    (void)failure;
    if (caller->fails < 4) {
        assert_int_equal(peal_client_connect(caller->client), 0);
    }
}

static void cancel_inside(struct caller *caller, const struct peal_connect_failure *failure)
{
    assert_true(failure->will_retry);
    peal_client_cancel(caller->client);
}

static void on_fail_may_call_anything(void **state)
{
    struct rig rig;
    struct caller caller;
    struct peal_addr address = refusing_address();
    (void)state;
    open_both(&rig, &caller,
              &(struct peal_client_options){.addrs = &address,
                                            .addr_count = 1,
                                            .retry = true,
                                            .retry_min_ms = 3600 * 1000,
                                            .retry_max_ms = 3600 * 1000});
    caller.also_fail = connect_again;
    peal_client_connect(caller.client);
    rig_until(&rig, caller.fails == 4);
    peal_client_cancel(caller.client);
    caller.also_fail = cancel_inside;
    peal_client_connect(caller.client);
    rig_until(&rig, caller.fails == 5);
    rig_turns(&rig, 3);
    assert_int_equal(caller.fails, 5);
    close_both(&rig, &caller);
}

static void connect_on_close(struct peal_conn *conn, const struct peal_close_record *record,
                             struct witness *witness)
{
    struct caller *caller = (struct caller *)(void *)witness;
    assert_ptr_equal(peal_conn_client(conn), caller->client);
    assert_null(peal_client_conn(caller->client));
    bool ended = record->cause == PEAL_CAUSE_LOOP_ENDED;
    assert_int_equal(peal_client_connect(caller->client), ended ? PEAL_ERR_LOOP_ENDED : 0);
}

static void on_close_may_connect(void **state)
{
    struct rig rig;
    struct caller caller;
    (void)state;
    open_both(&rig, &caller, &(struct peal_client_options){0});
    caller.witness.also_close = connect_on_close;
    peal_client_connect(caller.client);
    for (unsigned round = 1; round <= 3; round++) {
        rig_until(&rig, caller.witness.opened == round);
        peal_conn_abort(caller.witness.conn);
        rig_until(&rig, caller.witness.closed == round);
    }
    rig_until(&rig, caller.witness.opened == 4);
    rig.server = peal_server_unref(rig.server);
    rig_close(&rig); /* the fourth ends with the loop */
    assert_int_equal(caller.witness.record.cause, PEAL_CAUSE_LOOP_ENDED);
    assert_int_equal(caller.witness.closed, 4);
    assert_int_equal(peal_client_connect(caller.client), PEAL_ERR_LOOP_ENDED);
    peal_client_cancel(caller.client);
    peal_client_unref(caller.client);
}

/* ---- options */

static char logged[512];
static void note_log(enum peal_log_level level, const char *text, void *user)
{
    (void)level;
    (void)user;
    snprintf(logged, sizeof logged, "%s", text);
}

static void bad_options_are_refused(void **state)
{
    struct rig rig;
    struct caller caller;
    struct peal_addr address, none = {0}, no_port;
    struct peal_client *client = NULL;
    (void)state;
    assert_int_equal(peal_addr_parse("127.0.0.1:80", &address, NULL), 0);
    no_port = address;
    assert_int_equal(peal_addr_set_port(&no_port, 0), 0);
    peal_log_set(note_log, NULL);
    const struct peal_client_options cases[] = {
        {0},
        {.to = "127.0.0.1:80", .addrs = &address, .addr_count = 1},
        {.addrs = &address},
        {.addr_count = 1},
        {.addrs = &none, .addr_count = 1},
        {.addrs = &no_port, .addr_count = 1},
        {.to = ""},
        {.to = "localhost"},
        {.to = "localhost:"},
        {.to = "localhost:0"},
        {.to = "localhost:65536"},
        {.to = "127.0.0.1:0"},
        {.to = "127.0.0.256:80"},
        {.to = "[::1]"},
        {.to = "fd:3"},
        {.to = "unix:"},
        {.to = "127.0.0.1:80", .retry_min_ms = 2, .retry_max_ms = 1},
        {.to = "127.0.0.1:80", .limits = {.output_high_bytes = 1, .output_low_bytes = 2}},
    };
    rig_open(&rig, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct peal_client_options options = caller_options(&caller, &cases[i]);
        logged[0] = '\0';
        if (peal_client_new(rig.loop, &options, &client) != -EINVAL) {
            fail_msg("case %zu was taken", i);
        }
        const char *to = cases[i].to;
        bool has_sentence = strstr(logged, "a client cannot connect to \"") == logged;
        if (has_sentence != (to != NULL && strcmp(to, "127.0.0.1:80") != 0) ||
            (has_sentence && (strstr(logged, to) == NULL || strlen(logged) < strlen(to) + 40 ||
                              strstr(logged, "(null)") != NULL))) {
            fail_msg("case %zu: the log says \"%s\"", i, logged);
        }
    }
    peal_log_set(NULL, NULL);
    struct peal_client_options options =
        caller_options(&caller, &(struct peal_client_options){.to = "127.0.0.1:80"});
    options.ops = NULL;
    assert_int_equal(peal_client_new(rig.loop, &options, &client), -EINVAL);
    assert_int_equal(peal_client_new(rig.loop, NULL, &client), -EINVAL);
    options =
        caller_options(&caller, &(struct peal_client_options){.to = "[fe80::1%no-such-if]:80"});
    assert_int_equal(peal_client_new(rig.loop, &options, &client), -ENODEV);
    assert_null(client); /* untouched on failure */
    assert_null(peal_client_unref(NULL));
    rig_close(&rig);
}

static void defaults_give_way_to_what_is_asked_for(void **state)
{
    static const struct peal_conn_ops ops;
    struct pl_client_setup setup;
    struct peal_client_options options = {.to = "name.example:80", .ops = &ops};
    (void)state;
    assert_int_equal(pl_client_set_up(&options, &setup), 0);
    assert_int_equal(setup.options.connect_ms, 30000);
    assert_int_equal(setup.options.stagger_ms, 250);
    assert_int_equal(setup.options.retry_min_ms, 500);
    assert_int_equal(setup.options.retry_max_ms, 30000);
    assert_string_equal(setup.host, "name.example");
    assert_int_equal(setup.port, 80);
    options.retry_min_ms = 60000;
    assert_int_equal(pl_client_set_up(&options, &setup), 0);
    assert_int_equal(setup.options.retry_max_ms, 60000);
    options.retry_min_ms = 0;
    options.retry_max_ms = 100;
    assert_int_equal(pl_client_set_up(&options, &setup), 0);
    assert_int_equal(setup.options.retry_min_ms, 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(opens_and_closes_once),
        TEST(sockets_are_as_the_options_say),
        TEST(reaches_ipv4),
        TEST(reaches_ipv6),
        TEST(reaches_unix_sockets),
        TEST(reaches_names),
        TEST(reaches_the_first_that_answers),
        TEST(connecting_twice_is_connecting_once),
        TEST(connecting_while_one_closes_opens_the_next),
        TEST(refusal_is_reported_once),
        TEST(unknown_name_is_reported),
        TEST(silence_times_out),
        TEST(silence_of_the_resolver_times_out),
        TEST(times_out_after_resolving),
        TEST(pauses_double_and_stay_in_their_upper_half),
        TEST(gives_up_after_as_many_failures),
        TEST(comes_back_until_somebody_listens),
        TEST(comes_back_after_the_peer_has_gone),
        TEST(connect_cuts_a_pause_short),
        TEST(on_fail_may_call_anything),
        TEST(on_close_may_connect),
        TEST(bad_options_are_refused),
        TEST(defaults_give_way_to_what_is_asked_for),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
