/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, some call made in some callback would run a callback inside itself, touch what has
 * gone, end a connection twice or never (G1, G2, G4). Every callback is paired with every call. */
#include "support/baseline.h"
#include "support/raw.h"

#include <peal.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum place { IN_OPEN, IN_DATA, IN_EOF, IN_DRAIN, IN_CLOSE, IN_TASK, IN_TIMER, PLACES };

struct scene {
    struct peal_loop *loop;
    struct peal_server *server;
    struct peal_conn *conn, *other; /* with a reference each */
    enum place place;
    void (*call)(struct scene *scene);
    bool called;
    unsigned inside; /* callbacks on the stack */
    unsigned opened, closed, stopped;
};

static struct scene *scene;

static void here(enum place place, struct peal_conn *conn)
{
    if (scene->place == place && !scene->called && (!conn || conn == scene->conn)) {
        scene->called = true;
        scene->call(scene);
    }
}

static void enter(struct peal_conn *conn)
{
    if (scene->inside != 0) {
        fail_msg("a callback was called inside a call");
    }
    scene->inside++;
    assert_true(conn == NULL || peal_loop_is_mine(peal_conn_loop(conn)));
}

static void leave(void)
{
    scene->inside--;
}

static void on_open(struct peal_conn *conn, void *user)
{
    enter(conn);
    assert_ptr_equal(user, scene);
    scene->opened++;
    if (!scene->other) {
        scene->other = peal_conn_ref(conn); /* the first is the other one */
    } else {
        scene->conn = peal_conn_ref(conn);
        here(IN_OPEN, conn);
        if (scene->place == IN_DRAIN) {
            peal_conn_want_drain(conn);
        }
    }
    leave();
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    enter(conn);
    (void)user;
    assert_int_equal(peal_conn_state(conn), PEAL_CONN_OPEN);
    here(IN_DATA, conn);
    peal_buf_clear(input);
    leave();
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    enter(conn);
    (void)input;
    (void)user;
    assert_int_equal(peal_conn_state(conn), PEAL_CONN_OPEN);
    here(IN_EOF, conn);
    peal_conn_close(conn);
    leave();
}

static void on_drain(struct peal_conn *conn, void *user)
{
    enter(conn);
    (void)user;
    assert_int_equal(peal_conn_state(conn), PEAL_CONN_OPEN);
    here(IN_DRAIN, conn);
    leave();
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    enter(conn);
    (void)user;
    assert_int_equal(record->bytes_accepted, record->bytes_taken + record->bytes_unsent);
    scene->closed++;
    here(IN_CLOSE, conn);
    leave();
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    enter(NULL);
    (void)user;
    assert_int_equal(report->connections,
                     report->closed_clean + report->closed_otherwise + report->cut_off);
    assert_ptr_equal(peal_server_loop(server), scene->loop);
    scene->stopped++;
    leave();
}

static void on_task(void *user)
{
    enter(NULL);
    (void)user;
    here(IN_TASK, NULL);
    leave();
}

static void on_timer(struct peal_timer *timer, void *user)
{
    enter(NULL);
    (void)timer;
    (void)user;
    here(IN_TIMER, NULL);
    leave();
}

static const struct peal_conn_ops ops = {.on_open = on_open,
                                         .on_data = on_data,
                                         .on_eof = on_eof,
                                         .on_drain = on_drain,
                                         .on_close = on_close};

/* ---- the calls */

static void do_abort(struct scene *s)
{
    peal_conn_abort(s->conn);
}
static void do_close(struct scene *s)
{
    peal_conn_close(s->conn);
}
static void do_shutdown(struct scene *s)
{
    peal_conn_shutdown(s->conn);
}
static void do_everything(struct scene *s)
{
    peal_conn_send(s->conn, "x", 1);
    peal_conn_shutdown(s->conn);
    peal_conn_flush(s->conn);
    peal_conn_close(s->conn);
    peal_conn_flush(s->conn);
    peal_conn_want_drain(s->conn);
    peal_conn_abort(s->conn);
    peal_conn_close(s->conn);
    peal_conn_shutdown(s->conn);
    peal_conn_flush(s->conn);
    peal_conn_pause_reading(s->conn);
    peal_conn_resume_reading(s->conn);
    peal_conn_want_drain(s->conn);
}
static void do_close_and_flush(struct scene *s)
{
    peal_conn_send(s->conn, "x", 1);
    peal_conn_close(s->conn);
    peal_conn_flush(s->conn);
}
static void do_shutdown_and_flush(struct scene *s)
{
    peal_conn_send(s->conn, "x", 1);
    peal_conn_shutdown(s->conn);
    peal_conn_flush(s->conn);
}
static void do_send(struct scene *s)
{
    static char large[4 * 1024 * 1024];
    ssize_t n = peal_conn_send(s->conn, "x", 1);
    assert_true(n == 1 || n == -EPIPE);
    n = peal_conn_send(s->conn, large, sizeof large);
    assert_true(n == sizeof large || n == -EPIPE);
}
static void do_pause(struct scene *s)
{
    peal_conn_pause_reading(s->conn);
}
static void do_pause_and_resume(struct scene *s)
{
    peal_conn_pause_reading(s->conn);
    peal_conn_resume_reading(s->conn);
    peal_conn_want_drain(s->conn);
}
static void do_unref(struct scene *s)
{
    s->conn = peal_conn_unref(s->conn);
}
static void do_abort_other(struct scene *s)
{
    peal_conn_abort(s->other);
}
static void do_close_other(struct scene *s)
{
    peal_conn_send(s->other, "bye", 3);
    peal_conn_close(s->other);
    peal_conn_flush(s->other);
}
static void do_stop_now(struct scene *s)
{
    peal_server_stop(s->server, 0);
}
static void do_stop_later(struct scene *s)
{
    peal_server_stop(s->server, 100);
    peal_server_stop(s->server, PEAL_NEVER);
}
static void do_release_server(struct scene *s)
{
    s->server = peal_server_unref(s->server);
}
static void do_stop_and_release(struct scene *s)
{
    peal_server_stop(s->server, 0);
    s->server = peal_server_unref(s->server);
}
static void do_quit(struct scene *s)
{
    peal_loop_quit(s->loop);
}
static void do_pause_accept(struct scene *s)
{
    peal_server_pause_accept(s->server);
    peal_server_resume_accept(s->server);
}

static const struct {
    const char *name;
    void (*call)(struct scene *scene);
} calls[] = {
    {"abort", do_abort},
    {"close", do_close},
    {"shutdown", do_shutdown},
    {"everything", do_everything},
    {"close and flush", do_close_and_flush},
    {"shutdown and flush", do_shutdown_and_flush},
    {"send", do_send},
    {"pause", do_pause},
    {"pause and resume", do_pause_and_resume},
    {"unref", do_unref},
    {"abort another", do_abort_other},
    {"close another", do_close_other},
    {"stop now", do_stop_now},
    {"stop later", do_stop_later},
    {"release the server", do_release_server},
    {"stop and release the server", do_stop_and_release},
    {"quit the loop", do_quit},
    {"pause accepting", do_pause_accept},
};

/* ---- the scene: two connections; the second one lives through every callback */

/* False: it did not come to that, because of what was called. */
static bool turn_until(const unsigned *count, unsigned want, unsigned turns)
{
    for (unsigned i = 0; i < turns && *count < want; i++) {
        if (peal_loop_turn(scene->loop, 5) <= 0) {
            return false; /* it was quit */
        }
    }
    return *count >= want;
}

static void read_all(int peer)
{
    char data[65536];
    while (recv(peer, data, sizeof data, MSG_DONTWAIT) > 0) {
    }
}

static void play(enum place place, void (*call)(struct scene *scene), bool polite)
{
    struct scene own = {.place = place, .call = call};
    struct peal_server_options options = {
        .ops = &ops, .user = &own, .on_stopped = on_stopped, .drain_ms = 200};
    struct peal_timer timer;
    struct peal_addr address;
    scene = &own;
    assert_int_equal(peal_loop_new(NULL, &own.loop), 0);
    assert_int_equal(peal_server_new(own.loop, &options, &own.server), 0);
    assert_int_equal(peal_server_listen(own.server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(peal_server_address(own.server, 0, &address), 0);
    peal_timer_init(&timer, own.loop, on_timer, &own);
    int other = raw_connect(&address);
    turn_until(&own.opened, 1, 1000);
    int peer = raw_connect(&address);
    turn_until(&own.opened, 2, 1000);
    assert_int_equal(peal_loop_post(own.loop, on_task, &own), 0);
    peal_timer_start(&timer, 1, 0);
    send(peer, "hello", 5, MSG_NOSIGNAL);
    for (int i = 0; i < 4 && !own.called && peal_loop_turn(own.loop, 2) > 0; i++) {
    }
    if (polite) {
        shutdown(peer, SHUT_WR);
    }
    for (int i = 0; i < 10 && peal_loop_turn(own.loop, 2) > 0; i++) {
        read_all(peer);
        read_all(other);
    }
    close(peer);
    close(other);
    peal_timer_deinit(&timer);
    turn_until(&own.closed, 2, 10);
    if (own.server) {
        peal_server_stop(own.server, 0);
    }
    turn_until(&own.stopped, 1, 1000);
    peal_server_unref(own.server);
    peal_loop_free(own.loop);
    peal_conn_unref(own.conn);
    peal_conn_unref(own.other);
    assert_int_equal(own.opened, 2);
    assert_int_equal(own.closed, 2);
    assert_int_equal(own.stopped, 1);
    assert_true(own.called);
    assert_int_equal(own.inside, 0);
    assert_int_equal(peal_refs_report(NULL, NULL), 0);
}

static const char *volatile now_playing; /* for whoever looks with a debugger */

static void every_call_in(enum place place)
{
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        for (int polite = 0; polite < 2; polite++) {
            if (place == IN_EOF && !polite) {
                continue;
            }
            now_playing = calls[i].name;
            play(place, calls[i].call, polite);
        }
    }
}

#define EVERY_CALL_IN(name, place)                                                                 \
    static void every_call_in_##name(void **state)                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        every_call_in(place);                                                                      \
    }
EVERY_CALL_IN(on_open, IN_OPEN)
EVERY_CALL_IN(on_data, IN_DATA)
EVERY_CALL_IN(on_eof, IN_EOF)
EVERY_CALL_IN(on_drain, IN_DRAIN)
EVERY_CALL_IN(on_close, IN_CLOSE)
EVERY_CALL_IN(a_task, IN_TASK)
EVERY_CALL_IN(a_timer, IN_TIMER)

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_call_in_on_open),  TEST(every_call_in_on_data),  TEST(every_call_in_on_eof),
        TEST(every_call_in_on_drain), TEST(every_call_in_on_close), TEST(every_call_in_a_task),
        TEST(every_call_in_a_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
