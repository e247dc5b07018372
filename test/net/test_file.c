/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a file that is sent would arrive wrong, keep an fd open, hang when sendfile(2)
 * does not know the pair of fds, or kill the process when the peer has gone. */
#include "support/baseline.h"
#include "sys/sys.h"
#include "support/faults.h"
#include "support/raw.h"
#include "support/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1024 * 1024, FILE_BYTES = 8 * MIB };

static int make_file(size_t size)
{
    char name[] = "/tmp/peal-file-XXXXXX";
    unsigned char *bytes = malloc(size);
    int fd = mkostemp(name, O_CLOEXEC);
    assert_true(fd >= 0 && bytes);
    unlink(name);
    raw_pattern(bytes, size, 0);
    assert_int_equal(write(fd, bytes, size), size);
    free(bytes);
    return fd;
}

static void expect_pattern(struct rig *rig, int peer, size_t offset, size_t size)
{
    unsigned char *data = malloc(65536), *expected = malloc(65536);
    for (size_t got = 0; got < size;) {
        size_t want = size - got < 65536 ? size - got : 65536;
        ssize_t n = recv(peer, data, want, MSG_DONTWAIT);
        if (n <= 0) {
            assert_true(n < 0 && errno == EAGAIN);
            rig_turns(rig, 1);
            continue;
        }
        raw_pattern(expected, (size_t)n, offset + got);
        assert_memory_equal(data, expected, (size_t)n);
        got += (size_t)n;
    }
    free(data);
    free(expected);
}

static void sends_a_part_and_the_whole(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig), file = make_file(FILE_BYTES);
    unsigned fds = baseline_open_fds();
    assert_int_equal(peal_conn_send_file(rig.witness.conn, file, 100, 1000), 1000);
    assert_int_equal(peal_conn_send_file(rig.witness.conn, file, 0, FILE_BYTES), FILE_BYTES);
    assert_int_equal(baseline_open_fds(), fds + 2);
    close(file); /* its own are duplicates */
    assert_int_equal(peal_conn_output_bytes(rig.witness.conn), 1000 + FILE_BYTES);
    expect_pattern(&rig, peer, 100, 1000);
    expect_pattern(&rig, peer, 0, FILE_BYTES);
    rig_turns(&rig, 2);
    assert_int_equal(baseline_open_fds(), fds - 1);
    raw_close(peer);
    rig_close(&rig);
}

/* Also when the kernel took it piece by piece, and the file goes on behind it. */
static void sends_no_more_than_the_part(void **state)
{
    enum { PART = 2 * MIB + 300000 };
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig), file = make_file(FILE_BYTES);
    for (size_t at = 1; at < 5 * MIB; at += MIB + 12345) {
        assert_int_equal(peal_conn_send_file(rig.witness.conn, file, (off_t)at, PART), PART);
    }
    close(file);
    for (size_t at = 1; at < 5 * MIB; at += MIB + 12345) {
        expect_pattern(&rig, peer, at, PART);
    }
    assert_int_equal(peal_conn_send(rig.witness.conn, "end", 3), 3);
    rig_turns(&rig, 1);
    raw_expect(peer, "end");
    raw_close(peer);
    rig_close(&rig);
}

static void falls_back_where_sendfile_does_not_work(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig), file = make_file(FILE_BYTES);
    faults_start((struct faults){.name = "sendfile", .nth = 1, .for_ever = true, .error = EINVAL});
    assert_int_equal(peal_conn_send(rig.witness.conn, "before", 6), 6);
    assert_int_equal(peal_conn_send_file(rig.witness.conn, file, 0, FILE_BYTES), FILE_BYTES);
    assert_int_equal(peal_conn_send(rig.witness.conn, "after", 5), 5);
    close(file);
    rig_turns(&rig, 1);
    raw_expect(peer, "before");
    expect_pattern(&rig, peer, 0, FILE_BYTES);
    rig_turns(&rig, 2);
    raw_expect(peer, "after");
    assert_true(faults_stop() > 0);
    raw_close(peer);
    rig_until(&rig, rig.witness.closed == 1);
    assert_int_equal(rig.witness.record.bytes_taken, 6 + FILE_BYTES + 5);
    rig_close(&rig);
}

static int no_sendfile_and_no_memory(char kind, const char *name, void *user)
{
    (void)user;
    return kind == 'a' ? ENOMEM : strcmp(name, "sendfile") == 0 ? EINVAL : 0;
}

static void the_fallback_needs_memory(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig), file = make_file(1000);
    assert_int_equal(peal_conn_send_file(rig.witness.conn, file, 0, 1000), 1000);
    close(file);
    sys_set_fault_hook(no_sendfile_and_no_memory, NULL);
    rig_until(&rig, rig.witness.closed == 1);
    sys_set_fault_hook(NULL, NULL);
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_NO_MEMORY);
    assert_int_equal(rig.witness.record.error, -ENOMEM);
    assert_int_equal(rig.witness.record.bytes_unsent, 1000);
    raw_expect_reset(peer);
    raw_close(peer);
    rig_close(&rig);
}

static void a_file_that_ends_early_ends_the_connection(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    for (unsigned fallback = 0; fallback < 2; fallback++) {
        int peer = rig_connect(&rig), file = make_file(1000);
        if (fallback) {
            faults_start(
                (struct faults){.name = "sendfile", .nth = 1, .for_ever = true, .error = EINVAL});
        }
        assert_int_equal(peal_conn_send_file(rig.witness.conn, file, 0, 1500), 1500);
        close(file);
        rig_until(&rig, rig.witness.closed == fallback + 1);
        faults_stop();
        assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_IO_ERROR);
        assert_int_equal(rig.witness.record.error, -ENODATA);
        assert_int_equal(rig.witness.record.bytes_unsent, 500);
        raw_expect_reset(peer); /* so that nobody takes it for a whole file */
        raw_close(peer);
    }
    rig_close(&rig);
}

static void truncated_while_it_is_being_sent(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int peer = rig_connect(&rig), file = make_file(FILE_BYTES);
    assert_int_equal(peal_conn_send_file(rig.witness.conn, file, 0, FILE_BYTES), FILE_BYTES);
    rig_turns(&rig, 2); /* as much as the kernel takes */
    assert_true(peal_conn_output_bytes(rig.witness.conn) > 0);
    assert_int_equal(ftruncate(file, 10), 0);
    close(file);
    unsigned char *data = malloc(65536);
    while (rig.witness.closed == 0) {
        assert_true(recv(peer, data, 65536, MSG_DONTWAIT) > 0 || errno == EAGAIN ||
                    errno == ECONNRESET);
        rig_turns(&rig, 1);
    }
    assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_IO_ERROR);
    assert_int_equal(rig.witness.record.error, -ENODATA);
    free(data);
    raw_close(peer);
    rig_close(&rig);
}

static void what_is_no_file_ends_the_connection(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    int folder = open("/tmp", O_RDONLY | O_CLOEXEC);
    int write_only = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int fds[2] = {folder, write_only};
    const int errors[2] = {-EISDIR, -EBADF};
    for (unsigned i = 0; i < 2; i++) {
        int peer = rig_connect(&rig);
        assert_int_equal(peal_conn_send_file(rig.witness.conn, fds[i], 0, 10), 10);
        close(fds[i]);
        rig_until(&rig, rig.witness.closed == i + 1);
        assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_IO_ERROR);
        assert_int_equal(rig.witness.record.error, errors[i]);
        raw_close(peer);
    }
    rig_close(&rig);
}

static void files_are_not_counted_against_the_cap(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, &(struct peal_server_options){
                       .limits = {.output_bytes_max = 100, .output_cap_refuses = true}});
    int peer = rig_connect(&rig), file = make_file(FILE_BYTES);
    assert_int_equal(peal_conn_send_file(rig.witness.conn, file, 0, FILE_BYTES), FILE_BYTES);
    close(file);
    rig_turns(&rig, 1);
    assert_int_equal(peal_conn_send(rig.witness.conn, "x", 1), 1);
    assert_int_equal(peal_conn_send_file(rig.witness.conn, -1, 0, 1), -EBADF);
    expect_pattern(&rig, peer, 0, FILE_BYTES);
    rig_turns(&rig, 2);
    raw_expect(peer, "x");
    raw_close(peer);
    rig_close(&rig);
}

/* sendfile(2) raises SIGPIPE towards a peer that has gone after its FIN. */
static void a_peer_that_goes_does_not_end_the_process(void **state)
{
    struct rig rig;
    (void)state;
    assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_DFL);
    rig_open(&rig, NULL);
    for (unsigned i = 0; i < 10; i++) {
        int peer = rig_connect(&rig), file = make_file(FILE_BYTES);
        assert_int_equal(peal_conn_send_file(rig.witness.conn, file, 0, FILE_BYTES), FILE_BYTES);
        close(file);
        raw_close(peer); /* FIN first, then a reset for what comes */
        rig_until(&rig, rig.witness.closed == i + 1);
        assert_int_equal(rig.witness.record.cause, PEAL_CAUSE_PEER_RESET);
        assert_true(rig.witness.record.bytes_unsent > 0);
    }
    rig_close(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(sends_a_part_and_the_whole),
        TEST(sends_no_more_than_the_part),
        TEST(falls_back_where_sendfile_does_not_work),
        TEST(the_fallback_needs_memory),
        TEST(a_file_that_ends_early_ends_the_connection),
        TEST(truncated_while_it_is_being_sent),
        TEST(what_is_no_file_ends_the_connection),
        TEST(files_are_not_counted_against_the_cap),
        TEST(a_peer_that_goes_does_not_end_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
