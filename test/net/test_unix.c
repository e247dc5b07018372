/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, unix sockets would differ from TCP in more than they must: a stale file would keep
 * a server from starting, a live one would be stolen, files would be left behind. */
#include "support/baseline.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[96], text[128];

static int setup(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/peal-unix-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(text, sizeof text, "unix:%s", path);
    return baseline_setup(state);
}

static int teardown(void **state)
{
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left in it */
    return baseline_teardown(state);
}

static bool exists(void)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

static void listen_on(struct rig *rig, const char *address)
{
    const char *why = NULL;
    rig_open(rig, NULL);
    if (peal_server_listen(rig->server, address, &why) != 0) {
        fail_msg("%s: %s", address, why);
    }
    assert_int_equal(peal_server_address(rig->server, 1, &rig->address), 0);
}

static void life_of_one(struct rig *rig)
{
    rig->witness.echo = true;
    int peer = rig_connect(rig);
    struct peal_addr addr;
    char found[PEAL_ADDR_TEXT_MAX];
    peal_conn_peer(rig->witness.conn, &addr);
    assert_true(peal_addr_format(&addr, found, sizeof found) > 0);
    assert_string_equal(found, "unix:"); /* it has no name */
    assert_int_equal(peal_conn_local(rig->witness.conn, &addr), 0);
    assert_true(peal_addr_equal(&addr, &rig->address));
    raw_send(peer, "hello", 5);
    rig_until(rig, rig->witness.bytes == 5);
    raw_expect(peer, "hello");
    raw_fin(peer);
    rig_until(rig, rig->witness.closed == rig->witness.opened);
    raw_expect_fin(peer);
    assert_int_equal(rig->witness.record.cause, PEAL_CAUSE_PEER_CLOSED);
    assert_true(rig->witness.record.clean);
    raw_close(peer);
}

static void serves_on_a_path(void **state)
{
    struct rig rig;
    (void)state;
    listen_on(&rig, text);
    assert_true(exists());
    life_of_one(&rig);
    rig_close(&rig);
    assert_false(exists());
}

static void serves_on_an_abstract_name(void **state)
{
    struct rig rig;
    char name[64];
    (void)state;
    snprintf(name, sizeof name, "unix:@peal-test-%d", (int)getpid());
    listen_on(&rig, name);
    life_of_one(&rig);
    rig_close(&rig);
}

static void leave_a_stale_file(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd); /* as a process that died would: the file stays */
    assert_true(exists());
}

static void a_stale_file_is_replaced(void **state)
{
    struct rig rig;
    (void)state;
    leave_a_stale_file();
    listen_on(&rig, text);
    life_of_one(&rig);
    rig_close(&rig);
    assert_false(exists());
}

/* Whether anybody listens there is asked with a socket: without one, or if the file cannot be
 * removed, it stays, and listening fails. */
static void what_is_stale_stays_if_it_must(void **state)
{
    static const struct {
        const char *call;
        unsigned nth;
        int error, result;
    } cases[] = {{"socket", 2, EMFILE, -EADDRINUSE},
                 {"connect", 1, EAGAIN, -EADDRINUSE},
                 {"lstat", 1, EACCES, -EADDRINUSE},
                 {"unlink", 1, EACCES, -EACCES},
                 {"bind", 2, EACCES, -EACCES}};
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    unsigned fds = baseline_open_fds();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why = NULL;
        leave_a_stale_file();
        faults_start(
            (struct faults){.name = cases[i].call, .nth = cases[i].nth, .error = cases[i].error});
        assert_int_equal(peal_server_listen(rig.server, text, &why), cases[i].result);
        assert_int_equal(faults_stop(), 1);
        assert_non_null(
            strstr(why, cases[i].result == -EACCES ? "may not bind" : "listens on that address"));
        assert_int_equal(baseline_open_fds(), fds);
        assert_true(exists() == (strcmp(cases[i].call, "bind") != 0));
        unlink(path);
    }
    rig_close(&rig);
}

static void a_live_one_is_not(void **state)
{
    struct rig first, second;
    const char *why = NULL;
    (void)state;
    listen_on(&first, text);
    rig_open(&second, NULL);
    assert_int_equal(peal_server_listen(second.server, text, &why), -EADDRINUSE);
    assert_non_null(strstr(why, "listens on that address already"));
    rig_close(&second);
    assert_true(exists());
    rig_until(&first, first.witness.closed == 1); /* the probe was a connection */
    life_of_one(&first);
    rig_close(&first);
}

static void what_is_no_socket_is_kept(void **state)
{
    struct rig rig;
    const char *why = NULL;
    (void)state;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    rig_open(&rig, NULL);
    assert_int_equal(peal_server_listen(rig.server, text, &why), -EADDRINUSE);
    assert_non_null(why);
    assert_true(exists());
    rig_close(&rig);
    assert_true(exists());
}

static void a_successor_keeps_its_file(void **state)
{
    struct rig first, second;
    (void)state;
    listen_on(&first, text);
    assert_int_equal(unlink(path), 0);
    listen_on(&second, text);
    rig_close(&first); /* must not remove what is not its own */
    assert_true(exists());
    life_of_one(&second);
    rig_close(&second);
    assert_false(exists());
}

static void folders_must_be_there(void **state)
{
    struct rig rig;
    const char *why = NULL;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(peal_server_listen(rig.server, "unix:/nowhere/at/all", &why), -ENOENT);
    assert_non_null(why);
    assert_int_equal(peal_server_listen(rig.server, "unix:@", &why), -EINVAL);
    rig_close(&rig);
}

static void a_peer_that_dies_is_told(void **state)
{
    struct rig rig;
    (void)state;
    listen_on(&rig, text);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, "never read", 10), 10);
    rig_turns(&rig, 2);
    raw_send(peer, "last words", 10);
    raw_close(peer); /* with unread input: a reset, as far as unix sockets have one */
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.bytes, 10); /* G6 */
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
    peer = rig_connect(&rig);
    peal_conn_abort(rig.witness.conn);
    rig_until(&rig, rig.witness.closed == 2);
    raw_expect_fin(peer);
    raw_close(peer);
    rig_close(&rig);
}

static void much_arrives_whole(void **state)
{
    enum { SIZE = 4 * 1024 * 1024 };
    struct rig rig;
    unsigned char *bytes = malloc(SIZE), *data = malloc(65536);
    (void)state;
    raw_pattern(bytes, SIZE, 0);
    listen_on(&rig, text);
    int peer = rig_connect(&rig);
    assert_int_equal(peal_conn_send(rig.witness.conn, bytes, SIZE), SIZE);
    peal_conn_close(rig.witness.conn);
    for (size_t got = 0; got < SIZE;) {
        ssize_t n = recv(peer, data, 65536, MSG_DONTWAIT);
        if (n > 0) {
            assert_memory_equal(data, bytes + got, (size_t)n);
            got += (size_t)n;
        } else {
            rig_turns(&rig, 1);
        }
    }
    rig_turns(&rig, 2);
    raw_expect_fin(peer);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_true(rig.witness.record.clean);
    free(bytes);
    free(data);
    rig_close(&rig);
}

static void adopts_one_end_of_a_pair(void **state)
{
    struct rig rig;
    int ends[2];
    (void)state;
    rig_open(&rig, NULL);
    rig.witness.echo = true;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(peal_server_adopt(rig.server, ends[0]), 0);
    raw_send(ends[1], "hello", 5);
    rig_until(&rig, rig.witness.bytes == 5);
    raw_expect(ends[1], "hello");
    raw_close(ends[1]);
    rig_until(&rig, rig.witness.closed == 1);
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(serves_on_a_path),           TEST(serves_on_an_abstract_name),
        TEST(a_stale_file_is_replaced),   TEST(what_is_stale_stays_if_it_must),
        TEST(a_live_one_is_not),          TEST(what_is_no_socket_is_kept),
        TEST(a_successor_keeps_its_file), TEST(folders_must_be_there),
        TEST(a_peer_that_dies_is_told),   TEST(much_arrives_whole),
        TEST(adopts_one_end_of_a_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
