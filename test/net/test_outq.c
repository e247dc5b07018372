/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, the output queue would lose, double or reorder bytes, keep a blob or a file for
 * ever, or be left half changed when there is no memory. */
#include "net/outq.h"

#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"
#include "support/raw.h"

#include <peal.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STREAM_BYTES = 2 * 1024 * 1024 };

static struct peal_loop *loop;
static struct pl_outq queue;

static int setup(void **state)
{
    baseline_setup(state);
    memset(&queue, 0, sizeof queue);
    return peal_loop_new(NULL, &loop);
}

static int teardown(void **state)
{
    pl_outq_consume_all(&queue, loop);
    loop = peal_loop_free(loop);
    return baseline_teardown(state);
}

static int file_with_pattern(size_t size)
{
    char name[] = "/tmp/peal-outq-XXXXXX";
    unsigned char *bytes = malloc(size);
    int fd = mkostemp(name, O_CLOEXEC);
    assert_true(fd >= 0 && bytes);
    unlink(name);
    raw_pattern(bytes, size, 0);
    assert_int_equal(write(fd, bytes, size), size);
    free(bytes);
    return fd;
}

static void check_sums(void)
{
    size_t bytes = 0, file_bytes = 0;
    for (const struct pl_chunk *chunk = queue.head; chunk; chunk = chunk->next) {
        assert_true(chunk->begin < chunk->end);
        bytes += chunk->end - chunk->begin;
        file_bytes += chunk->kind == PL_CHUNK_FILE ? chunk->end - chunk->begin : 0;
        assert_true(chunk->next || chunk == queue.head->last);
    }
    assert_int_equal(pl_outq_bytes(&queue), bytes);
    assert_int_equal(pl_outq_bytes(&queue) - pl_outq_memory_bytes(&queue), file_bytes);
}

/* Takes up to most bytes off the head as a kernel would, and checks them against the pattern. */
static size_t take(size_t most, size_t offset)
{
    unsigned char expected[4096];
    struct iovec iov[4];
    size_t size;
    if (queue.head->kind == PL_CHUNK_FILE) {
        assert_true(pl_outq_read_file(&queue, loop) > 0);
    }
    int count = pl_outq_gather(&queue, iov, 4, &size);
    assert_true(count > 0);
    size_t taken = 0;
    for (int i = 0; i < count && taken < most; i++) {
        for (size_t at = 0; at < iov[i].iov_len && taken < most;) {
            size_t piece = iov[i].iov_len - at;
            piece = piece < sizeof expected ? piece : sizeof expected;
            piece = piece < most - taken ? piece : most - taken;
            raw_pattern(expected, piece, offset + taken);
            assert_memory_equal((char *)iov[i].iov_base + at, expected, piece);
            at += piece;
            taken += piece;
        }
    }
    pl_outq_consume(&queue, loop, taken);
    check_sums();
    return taken;
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 8;
}

/* Adds size bytes of the pattern at offset, in one of the ways there are. */
static void add(unsigned how, unsigned char *bytes, size_t size, size_t offset, int file)
{
    struct peal_blob *blob;
    size_t skip = size / 3;
    raw_pattern(bytes, size, offset);
    struct iovec parts[3] = {{bytes, skip}, {NULL, 0}, {bytes + skip, size - skip}};
    switch (how % 5) {
    case 0:
        assert_int_equal(pl_outq_append(&queue, loop, parts, 3, size, 0), 0);
        break;
    case 1: /* the first third was sent already, and is looked for elsewhere */
        assert_int_equal(pl_outq_append(&queue, loop, parts, 1, skip, 0), 0);
        assert_int_equal(pl_outq_append(&queue, loop, parts, 3, size - skip, skip), 0);
        break;
    case 2:
        assert_int_equal(peal_blob_copy(bytes, size, &blob), 0);
        assert_int_equal(pl_outq_append_blob(&queue, blob, 0), 0);
        peal_blob_unref(blob);
        break;
    case 3:
        pl_outq_append_chunk(&queue, loop, pl_chunk_copy(parts, 3, size));
        break;
    default:
        assert_int_equal(pl_outq_append_file(&queue, dup(file), (off_t)offset, size), 0);
        break;
    }
    check_sums();
}

static void keeps_the_stream_whole(void **state)
{
    (void)state;
    int file = file_with_pattern(STREAM_BYTES);
    unsigned char *bytes = malloc(80 * 1024);
    for (unsigned seed = 1; seed <= 4; seed++) {
        unsigned random = seed;
        size_t in = 0, out = 0;
        while (out < STREAM_BYTES) {
            size_t size = 1 + next_random(&random) % (next_random(&random) % 4 ? 300 : 79 * 1024);
            if (size > STREAM_BYTES - in) {
                size = STREAM_BYTES - in;
            }
            if (size > 0) {
                add(next_random(&random), bytes, size, in, file);
                in += size;
            }
            if (pl_outq_bytes(&queue) > 0 && (next_random(&random) % 2 || in == STREAM_BYTES)) {
                out += take(1 + next_random(&random) % (64 * 1024), out);
            }
            assert_int_equal(pl_outq_bytes(&queue), in - out);
        }
        assert_true(pl_outq_is_empty(&queue));
        assert_int_equal(pl_outq_bytes(&queue), 0);
    }
    free(bytes);
    close(file);
}

static void small_pieces_share_a_chunk(void **state)
{
    struct iovec part = {(char[]){"abcdefgh"}, 8};
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(pl_outq_append(&queue, loop, &part, 1, 8, 0), 0);
        pl_outq_append_chunk(&queue, loop, pl_chunk_copy(&part, 1, 8));
    }
    assert_ptr_equal(queue.head, queue.head->last);
    assert_int_equal(pl_outq_bytes(&queue), 1600);
}

static void gather(const char *text)
{
    assert_true(pl_gather_renew(loop));
    memcpy(loop->gather->data, text, strlen(text));
    loop->gather->end = strlen(text);
    pl_outq_append_gathered(&queue, loop);
}

/* What was gathered goes behind what is queued, as it is; what follows gets a chunk of its own. */
static void gathered_bytes_join_the_queue(void **state)
{
    struct iovec part = {(char[]){"abcdefgh"}, 8};
    (void)state;
    pl_gather_init(loop);
    assert_true(pl_gather_renew(loop));
    struct pl_chunk *gathered = loop->gather;
    memcpy(gathered->data, "ijkl", 4);
    gathered->end = 4;
    assert_int_equal(pl_outq_append(&queue, loop, &part, 1, 8, 0), 0);
    pl_outq_append_gathered(&queue, loop);
    assert_ptr_equal(queue.head->last, gathered);
    assert_ptr_equal(loop->gather, &pl_no_gather);
    assert_int_equal(pl_outq_bytes(&queue), 12);
    assert_true(pl_gather_renew(loop));
    assert_int_equal(loop->gather->end, 0);
    memset(loop->gather->data, 'x', PL_GATHER_BYTES_MAX); /* is behind it, not in it */
    assert_int_equal(pl_outq_append(&queue, loop, &part, 1, 8, 0), 0);
    assert_ptr_not_equal(queue.head->last, gathered);
    assert_memory_equal(gathered->data, "ijkl", 4);
    check_sums();
}

/* Small pieces of a turn lie side by side, and the next turn's in the same place. An arena from
 * which a piece is still queued is left alone, and is used again when that has gone. */
static void gathered_pieces_share_memory_and_give_it_back(void **state)
{
    enum { PIECES = 5000, TURNS = 20 };
    uint64_t allocations, before, bytes, settled = 0;
    struct pl_outq blocked;
    (void)state;
    pl_gather_init(loop);
    gather("stays");
    blocked = queue;
    queue.head = NULL;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (unsigned i = 0; i < PIECES; i++) {
            gather("piece");
        }
        check_sums();
        for (struct pl_chunk *chunk = queue.head; chunk; chunk = chunk->next) {
            assert_memory_equal(chunk->data, "piece", 5);
        }
        pl_outq_consume(&queue, loop, PIECES / 2 * 5);
        pl_outq_consume_all(&queue, loop);
        sys_ledger(&allocations, &bytes);
        if (turn > 1) {
            assert_int_equal(bytes, settled); /* no more than after the second */
        }
        settled = bytes;
    }
    sys_ledger(&allocations, &before);
    assert_memory_equal(blocked.head->data, "stays", 5);
    pl_outq_consume_all(&blocked, loop);
    sys_ledger(&allocations, &bytes);
    assert_true(bytes <= before);
}

static unsigned releases;
static void on_release(void *data, size_t size, void *user)
{
    (void)data;
    assert_int_equal(size, 5);
    assert_null(user);
    releases++;
}

static void a_blob_goes_when_its_last_byte_does(void **state)
{
    struct peal_blob *blob;
    char bytes[] = "hello";
    (void)state;
    releases = 0;
    assert_int_equal(peal_blob_wrap(bytes, 5, on_release, NULL, &blob), 0);
    assert_int_equal(pl_outq_append_blob(&queue, blob, 0), 0);
    assert_int_equal(pl_outq_append_blob(&queue, blob, 3), 0);
    peal_blob_unref(blob);
    assert_int_equal(pl_outq_bytes(&queue), 7);
    pl_outq_consume(&queue, loop, 4);
    assert_int_equal(releases, 0);
    pl_outq_consume(&queue, loop, 1);
    assert_int_equal(releases, 0);
    pl_outq_consume(&queue, loop, 2);
    assert_int_equal(releases, 1);
}

static void clear_releases_everything(void **state)
{
    struct peal_blob *blob;
    char bytes[] = "hello";
    struct iovec part = {bytes, 5};
    unsigned fds = baseline_open_fds();
    (void)state;
    releases = 0;
    assert_int_equal(peal_blob_wrap(bytes, 5, on_release, NULL, &blob), 0);
    assert_int_equal(pl_outq_append(&queue, loop, &part, 1, 5, 0), 0);
    assert_int_equal(pl_outq_append_blob(&queue, blob, 0), 0);
    peal_blob_unref(blob);
    assert_int_equal(pl_outq_append_file(&queue, file_with_pattern(10), 0, 10), 0);
    pl_outq_append_chunk(&queue, loop, pl_chunk_copy(&part, 1, 5));
    pl_outq_consume_all(&queue, loop);
    assert_int_equal(releases, 1);
    assert_int_equal(baseline_open_fds(), fds);
    assert_int_equal(pl_outq_bytes(&queue), 0);
    assert_true(pl_outq_is_empty(&queue));
}

static void gather_stops_at_a_file(void **state)
{
    struct iovec part = {(char[]){"abc"}, 3}, iov[8];
    size_t size;
    (void)state;
    assert_int_equal(pl_outq_append(&queue, loop, &part, 1, 3, 0), 0);
    assert_int_equal(pl_outq_append_file(&queue, file_with_pattern(10), 0, 10), 0);
    assert_int_equal(pl_outq_append(&queue, loop, &part, 1, 3, 0), 0);
    assert_int_equal(pl_outq_gather(&queue, iov, 8, &size), 1);
    assert_int_equal(size, 3);
    pl_outq_consume(&queue, loop, 3);
    assert_int_equal(pl_outq_gather(&queue, iov, 8, &size), 0);
    assert_int_equal(size, 0);
    assert_int_equal(queue.head->queue_file_bytes, 10);
    pl_outq_consume(&queue, loop, 10);
    assert_int_equal(queue.head->queue_file_bytes, 0);
    assert_int_equal(pl_outq_bytes(&queue), 3);
}

static void a_file_that_cannot_be_read_says_so(void **state)
{
    (void)state;
    int file = file_with_pattern(10);
    assert_int_equal(pl_outq_append_file(&queue, file, 0, 20), 0);
    assert_int_equal(pl_outq_read_file(&queue, loop), 10);
    pl_outq_consume(&queue, loop, 10);
    assert_int_equal(pl_outq_read_file(&queue, loop), -ENODATA);
    assert_int_equal(pl_outq_bytes(&queue), 10);
    faults_start((struct faults){.name = "pread", .nth = 1, .error = EIO});
    assert_int_equal(pl_outq_read_file(&queue, loop), -EIO);
    faults_stop();
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM});
    assert_int_equal(pl_outq_read_file(&queue, loop), -ENOMEM);
    faults_stop();
    check_sums();
}

/* Every allocation of every kind of append fails once: the queue is as it was. */
static void without_memory_nothing_changes(void **state)
{
    unsigned char *bytes = calloc(1, 300 * 1024);
    struct iovec part = {bytes, 300 * 1024};
    struct peal_blob *blob;
    (void)state;
    assert_int_equal(peal_blob_copy("hello", 5, &blob), 0);
    assert_int_equal(pl_outq_append(&queue, loop, &(struct iovec){bytes, 1000}, 1, 1000, 0), 0);
    size_t before = pl_outq_bytes(&queue);
    int result = -ENOMEM;
    for (unsigned n = 1; result < 0; n++) {
        faults_start((struct faults){.kind = 'a', .nth = n, .error = ENOMEM});
        result = pl_outq_append(&queue, loop, &part, 1, part.iov_len, 0);
        unsigned failed = faults_stop();
        assert_int_equal(result, failed ? -ENOMEM : 0);
        assert_int_equal(pl_outq_bytes(&queue), before + (failed ? 0 : part.iov_len));
        check_sums();
    }
    before = pl_outq_bytes(&queue);
    faults_start((struct faults){.kind = 'a', .nth = 1, .for_ever = true, .error = ENOMEM});
    assert_int_equal(pl_outq_append_blob(&queue, blob, 0), -ENOMEM);
    assert_int_equal(pl_outq_append_file(&queue, 0, 0, 5), -ENOMEM);
    assert_null(pl_chunk_copy(&part, 1, 5));
    assert_null(pl_chunk_blob(blob, 0));
    pl_gather_init(loop);
    assert_false(pl_gather_renew(loop));
    faults_stop();
    assert_int_equal(pl_outq_bytes(&queue), before);
    check_sums();
    peal_blob_unref(blob);
    free(bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keeps_the_stream_whole),
        TEST(small_pieces_share_a_chunk),
        TEST(gathered_bytes_join_the_queue),
        TEST(gathered_pieces_share_memory_and_give_it_back),
        TEST(a_blob_goes_when_its_last_byte_does),
        TEST(clear_releases_everything),
        TEST(gather_stops_at_a_file),
        TEST(a_file_that_cannot_be_read_says_so),
        TEST(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
