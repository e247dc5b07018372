/* SPDX-License-Identifier: BSD-2-Clause */
/* Hazard 21: a server stopped from one of its own callbacks, or twice, or from two threads, would
 * wait for itself, free what its caller still stands on, or tell of its end twice.
 *
 * peal_server_stop waits for nothing: it notes the deadline and posts a task, so it may be called
 * anywhere (G2), and everything that a callback stands on is held until that returns. on_stopped
 * comes once, after the last on_close (G7). */
#include "support/baseline.h"
#include "support/caller.h"
#include "support/fd_limit.h"
#include "support/raw.h"
#include "support/rig.h"
#include "sys/sys.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum place { ON_OPEN, ON_DATA, ON_EOF, ON_DRAIN, ON_CLOSE, ON_PAUSE, ON_VISIT, ON_DONE, PLACES };

static const char *const names[PLACES] = {"on_open",  "on_data",         "on_eof",   "on_drain",
                                          "on_close", "on_accept_pause", "for_each", "done"};

static struct play {
    struct peal_loop *loop;
    struct peal_server *server;
    struct peal_addr address;
    enum place place;
    uint32_t deadline_ms;
    bool release;
    unsigned opened, closed, done, stops, stopped;
    struct peal_drain_report report;
} play;

static void stop_if(enum place place)
{
    if (play.place != place || play.stops++ > 0) {
        return;
    }
    unsigned closed = play.closed;
    peal_server_stop(play.server, play.deadline_ms);
    peal_server_stop(play.server, play.deadline_ms);
    if (play.release) {
        play.server = peal_server_unref(play.server);
    }
    assert_int_equal(play.closed, closed);
    assert_int_equal(play.stopped, 0);
}

static void on_open(struct peal_conn *conn, void *user)
{
    (void)user;
    play.opened++;
    peal_conn_want_drain(conn);
    stop_if(ON_OPEN);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
    stop_if(ON_DATA);
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)input;
    (void)user;
    stop_if(ON_EOF);
    peal_conn_close(conn);
}

static void on_drain(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
    stop_if(ON_DRAIN);
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)user;
    rig_check_record(record);
    assert_int_equal(play.stopped, 0);
    play.closed++;
    stop_if(ON_CLOSE);
}

static const struct peal_conn_ops ops = {.on_open = on_open,
                                         .on_data = on_data,
                                         .on_eof = on_eof,
                                         .on_drain = on_drain,
                                         .on_close = on_close};

static void on_visit(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
    stop_if(ON_VISIT);
}

static void on_done(void *user)
{
    (void)user;
    play.done++;
    stop_if(ON_DONE);
}

static void on_accept_pause(struct peal_server *server, int error, void *user)
{
    (void)server;
    (void)user;
    assert_true(error == 0 || error == -EMFILE);
    stop_if(ON_PAUSE);
}

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    (void)user;
    assert_int_equal(++play.stopped, 1);
    play.report = *report;
    peal_server_stop(server, 0); /* too late, and harmless */
    peal_server_unref(peal_server_ref(server));
    assert_int_equal(peal_server_for_each(server, on_visit, NULL, NULL), PEAL_ERR_STOPPED);
}

/* ---- the play: two connections; one ends by itself, the other is there for the stop */

static bool turns_until(bool (*happened)(void))
{
    uint64_t limit_ms = rig_now_ms() + 20 * 1000;
    while (!happened() && rig_now_ms() < limit_ms) {
        assert_true(peal_loop_turn(play.loop, 20) >= 0);
    }
    return happened();
}

static bool has_stopped(void)
{
    return play.stopped > 0;
}

static bool is_stopping(void)
{
    return play.stops > 0;
}

static bool opened_two(void)
{
    return play.opened == 2 || is_stopping();
}

static void open_play(void)
{
    struct peal_server_options options = {
        .ops = &ops, .on_accept_pause = on_accept_pause, .on_stopped = on_stopped};
    assert_int_equal(peal_loop_new(NULL, &play.loop), 0);
    assert_int_equal(peal_server_new(play.loop, &options, &play.server), 0);
    assert_int_equal(peal_server_listen(play.server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(peal_server_address(play.server, 0, &play.address), 0);
}

static void stop_at(enum place place, uint32_t deadline_ms, bool release)
{
    play = (struct play){.place = place, .deadline_ms = deadline_ms, .release = release};
    open_play();
    int peers[2] = {raw_connect(&play.address), raw_connect(&play.address)};
    if (place == ON_PAUSE) {
        fd_limit_start(0); /* the peers wait to be accepted: in vain */
    } else {
        assert_true(turns_until(opened_two));
    }
    if (!is_stopping()) {
        assert_int_equal(peal_server_for_each(play.server, on_visit, on_done, NULL), 0);
        raw_send(peers[0], "hello", 5);
        raw_fin(peers[0]);
    }
    assert_true(turns_until(is_stopping));
    shutdown(peers[0], SHUT_WR); /* fails where the stop was a reset already */
    shutdown(peers[1], SHUT_WR);
    assert_true(turns_until(has_stopped));
    if (place == ON_PAUSE) {
        fd_limit_end();
    }
    raw_close(peers[0]);
    raw_close(peers[1]);
    play.server = peal_server_unref(play.server);
    peal_loop_free(play.loop);
    assert_int_equal(play.opened, play.closed);
    assert_int_equal(play.stopped, 1);
    assert_int_equal(play.report.connections,
                     play.report.closed_clean + play.report.closed_otherwise + play.report.cut_off);
}

static void stop_in_every_callback(void **state)
{
    (void)state;
    for (unsigned place = 0; place < PLACES; place++) {
        for (unsigned way = 0; way < 4; way++) {
            print_message("%s, deadline %u ms%s\n", names[place], way % 2 ? 10000 : 0,
                          way / 2 ? ", released" : "");
            stop_at(place, way % 2 ? 10000 : 0, way / 2);
        }
    }
}

/* ---- from two threads at once, while connections arrive */

static void *stop_in_thread(void *arg)
{
    peal_server_stop(arg, 5000);
    peal_server_stop(arg, 1);
    peal_server_unref(arg);
    return NULL;
}

static void stop_from_two_threads(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 30; round++) {
        pthread_t threads[2];
        play = (struct play){.place = PLACES};
        open_play();
        int peers[2] = {raw_connect(&play.address), raw_connect(&play.address)};
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(
                pthread_create(&threads[i], NULL, stop_in_thread, peal_server_ref(play.server)), 0);
        }
        if (round % 2) {
            peal_server_stop(play.server, 100);
        }
        play.server = peal_server_unref(play.server);
        assert_true(turns_until(has_stopped));
        assert_int_equal(pthread_join(threads[0], NULL), 0);
        assert_int_equal(pthread_join(threads[1], NULL), 0);
        peal_loop_free(play.loop);
        assert_int_equal(play.opened, play.closed);
        assert_int_equal(play.stopped, 1);
        raw_close(peers[0]);
        raw_close(peers[1]);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(stop_in_every_callback),
        TEST(stop_from_two_threads),
    };
    return cmocka_run_group_tests(tests, first_thread, NULL);
}
