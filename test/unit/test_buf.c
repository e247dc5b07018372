/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: a buffer that loses, repeats or reorders a byte, writes to memory that is not
 * its own, allocates where it promised not to, or changes on a failed call. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "support/child.h"
#include "sys/sys.h"

_Static_assert(sizeof(struct peal_buf) <= 32, "a connection carries one");

/* ---- allocation: counted, and made to fail */

struct faults {
    unsigned allocations;
    unsigned fail_one_in; /* 0: none fails */
    uint64_t random;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int on_allocation(char kind, const char *name, void *user)
{
    struct faults *faults = user;
    (void)name;
    if (kind != 'a') {
        return 0;
    }
    faults->allocations++;
    bool fails = faults->fail_one_in && next_random(&faults->random) % faults->fail_one_in == 0;
    return fails ? ENOMEM : 0;
}

static struct faults faults;

static int setup(void **state)
{
    static uint64_t baseline[2];
    sys_ledger(&baseline[0], &baseline[1]);
    *state = baseline;
    faults = (struct faults){.random = 88172645463325252U};
    sys_set_fault_hook(on_allocation, &faults);
    return 0;
}

static int teardown(void **state)
{
    const uint64_t *baseline = *state;
    uint64_t allocations, bytes;
    sys_set_fault_hook(NULL, NULL);
    sys_ledger(&allocations, &bytes);
    assert_int_equal(allocations, baseline[0]);
    assert_int_equal(bytes, baseline[1]);
    return 0;
}

static void assert_holds(const struct peal_buf *buf, const void *bytes, size_t size)
{
    assert_int_equal(peal_buf_size(buf), size);
    if (size > 0) {
        assert_memory_equal(peal_buf_data(buf), bytes, size);
    }
}

/* ---- the model: random operations on two buffers and on two plain arrays */

#define MODEL_MAX 20000

struct model {
    struct peal_buf buf;
    unsigned char bytes[MODEL_MAX];
    size_t size;
};

struct play {
    struct model sides[2];
    uint64_t random;
    unsigned char noise[512];
    unsigned char lent[4096]; /* what views are of */
    unsigned char lent_copy[4096];
    unsigned views, failures;
};

static size_t below(struct play *play, size_t limit)
{
    return limit ? (size_t)(next_random(&play->random) >> 11) % limit : 0;
}

static void model_append(struct model *model, const void *data, size_t size)
{
    memcpy(model->bytes + model->size, data, size);
    model->size += size;
}

static void model_prepend(struct model *model, const void *data, size_t size)
{
    memmove(model->bytes + size, model->bytes, model->size);
    memcpy(model->bytes, data, size);
    model->size += size;
}

static void model_consume(struct model *model, size_t size)
{
    memmove(model->bytes, model->bytes + size, model->size - size);
    model->size -= size;
}

/* Returns the buffer's answer; the model follows if it was yes. */
static int step_write(struct play *play, struct model *model)
{
    size_t size = below(play, below(play, 4) ? 40 : sizeof play->noise);
    const unsigned char *data = play->noise + below(play, sizeof play->noise - size + 1);
    int error = 0;
    void *room;
    switch (below(play, 5)) {
    case 0:
        error = peal_buf_append(&model->buf, data, size);
        break;
    case 1:
        error = peal_buf_prepend(&model->buf, data, size);
        if (error == 0) {
            model_prepend(model, data, size);
        }
        return error;
    case 2:
        error = peal_buf_reserve(&model->buf, size, &room);
        if (error == 0) {
            assert_true(peal_buf_room(&model->buf) >= size);
            memcpy(room, data, size);
            memset((char *)room + size, 0xee, peal_buf_room(&model->buf) - size);
            peal_buf_commit(&model->buf, size);
        }
        break;
    case 3:
        error = peal_buf_printf(&model->buf, "%.*s", (int)size, (const char *)data);
        break;
    default:
        error = peal_buf_append_u32le(&model->buf, 0x04030201);
        data = (const unsigned char *)"\1\2\3\4";
        size = 4;
        break;
    }
    if (error == 0) {
        model_append(model, data, size);
    }
    return error;
}

static void step_borrow(struct play *play, struct model *model)
{
    if (model->size > 0) {
        return;
    }
    size_t size = below(play, sizeof play->lent + 1);
    size_t at = below(play, sizeof play->lent - size + 1);
    pl_buf_borrow(&model->buf, play->lent + at, size);
    model_append(model, play->lent + at, size);
    play->views++;
}

static int step_both(struct play *play)
{
    static struct model kept;
    struct model *a = &play->sides[0], *b = &play->sides[1];
    int error;
    if (below(play, 2)) {
        error = peal_buf_swap(&a->buf, &b->buf);
        if (error == 0) {
            memcpy(kept.bytes, a->bytes, a->size);
            kept.size = a->size;
            memcpy(a->bytes, b->bytes, b->size);
            a->size = b->size;
            memcpy(b->bytes, kept.bytes, kept.size);
            b->size = kept.size;
        }
        return error;
    }
    error = peal_buf_move(&a->buf, &b->buf);
    if (error == 0) {
        memcpy(a->bytes, b->bytes, b->size);
        a->size = b->size;
        b->size = 0;
    }
    return error;
}

static int step(struct play *play, struct model *model)
{
    size_t size;
    switch (below(play, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
        size = below(play, model->size + 1);
        size = below(play, 3) ? size : model->size;
        peal_buf_consume(&model->buf, size);
        model_consume(model, size);
        return 0;
    case 6:
        peal_buf_shrink(&model->buf);
        return 0;
    case 7:
        if (below(play, 8) == 0) {
            peal_buf_clear(&model->buf);
            model->size = 0;
        }
        return 0;
    case 8:
        step_borrow(play, model);
        return 0;
    case 9:
        return pl_buf_own(&model->buf);
    case 10:
        return below(play, 8) == 0 ? step_both(play) : 0;
    default:
        return model->size + 1024 < MODEL_MAX ? step_write(play, model) : 0;
    }
}

static void test_model(void **state)
{
    (void)state;
    static struct play play;
    memset(&play, 0, sizeof play);
    play.random = 20261123;
    for (size_t i = 0; i < sizeof play.lent; i++) {
        play.lent[i] = (unsigned char)next_random(&play.random);
    }
    for (size_t i = 0; i < sizeof play.noise; i++) {
        play.noise[i] = (unsigned char)('!' + below(&play, 90)); /* no NUL: it goes to printf */
    }
    memcpy(play.lent_copy, play.lent, sizeof play.lent);
    faults.fail_one_in = 7;
    for (unsigned i = 0; i < 100000; i++) {
        struct model *model = &play.sides[below(&play, 2)];
        int error = step(&play, model);
        assert_true(error == 0 || error == -ENOMEM);
        play.failures += error < 0;
        for (unsigned side = 0; side < 2; side++) {
            assert_holds(&play.sides[side].buf, play.sides[side].bytes, play.sides[side].size);
        }
    }
    assert_memory_equal(play.lent, play.lent_copy, sizeof play.lent);
    assert_true(play.views > 100 && play.failures > 100);
    peal_buf_deinit(&play.sides[0].buf);
    peal_buf_deinit(&play.sides[1].buf);
}

/* ---- views */

static void test_view_reads_without_allocating(void **state)
{
    (void)state;
    static const char lent[] = "\0\0\0\5hello\r\nrest";
    struct peal_buf buf;
    peal_buf_init(&buf);
    pl_buf_borrow(&buf, lent, sizeof lent - 1);
    assert_true(pl_buf_is_borrowed(&buf));
    assert_ptr_equal(peal_buf_data(&buf), lent);
    assert_int_equal(peal_buf_room(&buf), 0);
    uint32_t size = 0;
    assert_true(peal_buf_take_u32be(&buf, &size));
    assert_int_equal(size, 5);
    assert_int_equal(peal_buf_find_crlf(&buf), 5);
    assert_int_equal(peal_buf_find_bytes(&buf, "rest", 4), 7);
    peal_buf_consume(&buf, 7);
    assert_ptr_equal(peal_buf_data(&buf), lent + 11);
    peal_buf_shrink(&buf);
    assert_ptr_equal(peal_buf_data(&buf), lent + 11);
    peal_buf_consume(&buf, 4);
    assert_true(pl_buf_is_borrowed(&buf));
    assert_int_equal(pl_buf_own(&buf), 0); /* nothing is left: nothing to allocate */
    assert_false(pl_buf_is_borrowed(&buf));
    pl_buf_borrow(&buf, lent, 4);
    peal_buf_clear(&buf);
    assert_false(pl_buf_is_borrowed(&buf));
    assert_int_equal(peal_buf_size(&buf), 0);
    assert_int_equal(faults.allocations, 0);
    peal_buf_deinit(&buf);
}

static void test_view_becomes_own_when_written(void **state)
{
    (void)state;
    char lent[8] = "abcdefgh";
    struct peal_buf buf = {0};
    pl_buf_borrow(&buf, lent, 8);
    peal_buf_consume(&buf, 2);
    faults.fail_one_in = 1;
    assert_int_equal(peal_buf_append(&buf, "ij", 2), -ENOMEM);
    assert_int_equal(peal_buf_prepend(&buf, "ij", 2), -ENOMEM);
    assert_int_equal(peal_buf_printf(&buf, "%d", 7), -ENOMEM);
    assert_int_equal(pl_buf_own(&buf), -ENOMEM);
    assert_true(pl_buf_is_borrowed(&buf));
    assert_holds(&buf, "cdefgh", 6);
    faults.fail_one_in = 0;
    /* Room in front of the view is the lender's: a prepend that would fit must not go there. */
    assert_int_equal(peal_buf_prepend(&buf, "XY", 2), 0);
    assert_false(pl_buf_is_borrowed(&buf));
    assert_memory_equal(lent, "abcdefgh", 8);
    memset(lent, 0, sizeof lent);
    assert_holds(&buf, "XYcdefgh", 8);
    peal_buf_deinit(&buf);
}

static void test_own_takes_just_the_unread(void **state)
{
    (void)state;
    static const char lent[1000];
    struct peal_buf buf = {0};
    pl_buf_borrow(&buf, lent, sizeof lent);
    peal_buf_consume(&buf, 990);
    assert_int_equal(pl_buf_own(&buf), 0);
    assert_int_equal(buf.capacity, 10);
    assert_int_equal(pl_buf_own(&buf), 0);
    assert_int_equal(faults.allocations, 1);
    /* A buffer that has storage but no bytes may become a view; the storage goes. */
    peal_buf_consume(&buf, 10);
    pl_buf_borrow(&buf, lent, 1);
    assert_true(pl_buf_is_borrowed(&buf));
    peal_buf_deinit(&buf);
}

static void test_move_and_swap(void **state)
{
    (void)state;
    char lent[4] = "view";
    struct peal_buf a = {0}, b = {0};
    assert_int_equal(peal_buf_append(&a, "own", 3), 0);
    pl_buf_borrow(&b, lent, 4);
    faults.fail_one_in = 1;
    assert_int_equal(peal_buf_move(&a, &b), -ENOMEM);
    assert_int_equal(peal_buf_swap(&a, &b), -ENOMEM);
    assert_holds(&a, "own", 3);
    assert_holds(&b, "view", 4);
    assert_int_equal(peal_buf_move(&b, &b), 0);
    assert_holds(&b, "view", 4);
    faults.fail_one_in = 0;
    assert_int_equal(peal_buf_swap(&a, &b), 0);
    memset(lent, 0, sizeof lent);
    assert_holds(&a, "view", 4);
    assert_holds(&b, "own", 3);
    assert_int_equal(peal_buf_move(&a, &b), 0);
    assert_holds(&a, "own", 3);
    assert_int_equal(peal_buf_size(&b), 0);
    peal_buf_deinit(&a);
    peal_buf_deinit(&a);
    peal_buf_deinit(NULL);
}

/* ---- finding */

static void test_find(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t at;
        const char *bytes, *set;
        ssize_t crlf_at, bytes_at, set_at, first_at; /* first: of the first byte of bytes */
    } rows[] = {
        {"", 0, "a", "a", -1, -1, -1, -1},
        {"", 1, "a", "a", -1, -1, -1, -1},
        {"", 0, "", "", -1, 0, -1, -1},
        {"abc", 3, "", "", -1, 3, -1, -1},
        {"abc", 4, "", "", -1, -1, -1, -1},
        {"GET /\r\n\r\n", 0, "\r\n\r\n", " /", 5, 5, 3, 5},
        {"GET /\r\n\r\n", 6, "\r\n\r\n", " /", 7, -1, -1, 7},
        {"a\rb\nc\r", 0, "\nc", "\n\r", -1, 3, 1, 3},
        {"\r\r\n", 0, "\r\n", "\n", 1, 1, 2, 0},
        {"\r\n", 1, "\n", "xyz", -1, 1, -1, 1},
        {"aaab", 0, "aab", "b", -1, 1, 3, 0},
        {"aaab", 2, "aab", "b", -1, -1, 3, 2},
        {"ab\xff", 0, "\xff", "\xff", -1, 2, 2, 2},
        {"abc", SIZE_MAX, "c", "c", -1, -1, -1, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct peal_buf buf = {0};
        size_t size = strlen(rows[i].text);
        assert_int_equal(peal_buf_append(&buf, rows[i].text, size), 0);
        peal_buf_shrink(&buf); /* so that a step past the end is past the storage, too */
        size_t at = rows[i].at;
        const char *bytes = rows[i].bytes, *set = rows[i].set;
        assert_int_equal(peal_buf_find_crlf_from(&buf, at), rows[i].crlf_at);
        assert_int_equal(peal_buf_find_bytes_from(&buf, at, bytes, strlen(bytes)),
                         rows[i].bytes_at);
        assert_int_equal(peal_buf_find_any_from(&buf, at, set, strlen(set)), rows[i].set_at);
        if (*bytes) {
            unsigned char first = (unsigned char)*bytes;
            assert_int_equal(peal_buf_find_from(&buf, at, first), rows[i].first_at);
        }
        if (at == 0) {
            assert_int_equal(peal_buf_find_crlf(&buf), rows[i].crlf_at);
            assert_int_equal(peal_buf_find_any(&buf, set, strlen(set)), rows[i].set_at);
        }
        peal_buf_deinit(&buf);
    }
}

/* ---- integers */

static void test_integers(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {
        0xfe,                                           /* u8 */
        0x01, 0x82,                                     /* u16be 0x0182 */
        0x82, 0x01,                                     /* u16le */
        0x81, 0x02, 0x03, 0x84,                         /* u32be 0x81020384 */
        0x84, 0x03, 0x02, 0x81,                         /* u32le */
        0x81, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x88, /* u64be */
        0x88, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x81, /* u64le */
    };
    const uint64_t wide = UINT64_C(0x8102030405060788);
    struct peal_buf buf = {0};
    assert_int_equal(peal_buf_append_u8(&buf, 0xfe), 0);
    assert_int_equal(peal_buf_append_u16be(&buf, 0x0182), 0);
    assert_int_equal(peal_buf_append_u16le(&buf, 0x0182), 0);
    assert_int_equal(peal_buf_append_u32be(&buf, 0x81020384), 0);
    assert_int_equal(peal_buf_append_u32le(&buf, 0x81020384), 0);
    assert_int_equal(peal_buf_append_u64be(&buf, wide), 0);
    assert_int_equal(peal_buf_append_u64le(&buf, wide), 0);
    assert_holds(&buf, bytes, sizeof bytes);
    peal_buf_clear(&buf);
    assert_int_equal(peal_buf_prepend_u64le(&buf, wide), 0);
    assert_int_equal(peal_buf_prepend_u64be(&buf, wide), 0);
    assert_int_equal(peal_buf_prepend_u32le(&buf, 0x81020384), 0);
    assert_int_equal(peal_buf_prepend_u32be(&buf, 0x81020384), 0);
    assert_int_equal(peal_buf_prepend_u16le(&buf, 0x0182), 0);
    assert_int_equal(peal_buf_prepend_u16be(&buf, 0x0182), 0);
    assert_int_equal(peal_buf_prepend_u8(&buf, 0xfe), 0);
    assert_holds(&buf, bytes, sizeof bytes);
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    assert_true(peal_buf_peek_u64le(&buf, 21, &u64));
    assert_true(u64 == wide);
    assert_true(peal_buf_take_u8(&buf, &u8));
    assert_int_equal(u8, 0xfe);
    assert_true(peal_buf_take_u16be(&buf, &u16));
    assert_int_equal(u16, 0x0182);
    assert_true(peal_buf_take_u16le(&buf, &u16));
    assert_int_equal(u16, 0x0182);
    assert_true(peal_buf_take_u32be(&buf, &u32));
    assert_true(u32 == 0x81020384);
    assert_true(peal_buf_take_u32le(&buf, &u32));
    assert_true(u32 == 0x81020384);
    assert_true(peal_buf_take_u64be(&buf, &u64));
    assert_true(u64 == wide);
    assert_true(peal_buf_take_u64le(&buf, &u64));
    assert_true(u64 == wide);
    assert_int_equal(peal_buf_size(&buf), 0);
    peal_buf_deinit(&buf);
}

static void test_integers_that_are_not_whole(void **state)
{
    (void)state;
    for (size_t size = 0; size < 8; size++) {
        struct peal_buf buf = {0};
        uint16_t u16 = 16;
        uint32_t u32 = 32;
        uint64_t u64 = 64;
        uint8_t u8 = 8;
        assert_int_equal(peal_buf_append(&buf, "\1\1\1\1\1\1\1", size), 0);
        assert_int_equal(peal_buf_peek_u64be(&buf, 0, &u64), false);
        assert_int_equal(peal_buf_take_u64le(&buf, &u64), false);
        assert_int_equal(peal_buf_take_u32be(&buf, &u32), size >= 4);
        assert_int_equal(u32, size >= 4 ? 0x01010101 : 32);
        assert_int_equal(peal_buf_size(&buf), size >= 4 ? size - 4 : size);
        assert_int_equal(peal_buf_peek_u16le(&buf, peal_buf_size(&buf), &u16), false);
        assert_int_equal(peal_buf_peek_u8(&buf, SIZE_MAX, &u8), false);
        assert_int_equal(peal_buf_peek_u16be(&buf, SIZE_MAX, &u16), false);
        assert_int_equal(u8, 8);
        assert_int_equal(u16, 16);
        assert_int_equal(u64, 64);
        peal_buf_deinit(&buf);
    }
}

/* ---- writing */

static void test_printf(void **state)
{
    (void)state;
    /* Every combination of what is there and what comes, so that the text ends before, at and after
     * the end of the room. */
    for (int before = 0; before < 80; before++) {
        for (int length = 0; length < 80; length++) {
            struct peal_buf buf = {0};
            char expected[256];
            int size = snprintf(expected, sizeof expected, "%*s%0*d", before, "", length, 7);
            assert_int_equal(peal_buf_printf(&buf, "%*s", before, ""), 0);
            assert_int_equal(peal_buf_printf(&buf, "%0*d", length, 7), 0);
            assert_holds(&buf, expected, (size_t)size);
            peal_buf_deinit(&buf);
        }
    }
}

static void test_sizes_that_no_machine_has(void **state)
{
    (void)state;
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 16, SIZE_MAX - 20, (size_t)PTRDIFF_MAX,
                                   (size_t)PTRDIFF_MAX + 1};
    struct peal_buf buf = {0};
    assert_int_equal(peal_buf_append(&buf, "abcd", 4), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *room = &buf;
        assert_int_equal(peal_buf_reserve(&buf, sizes[i], &room), -ENOMEM);
        assert_ptr_equal(room, &buf);
        assert_int_equal(peal_buf_prepend(&buf, "", sizes[i]), -ENOMEM);
        assert_holds(&buf, "abcd", 4);
    }
    peal_buf_deinit(&buf);
}

static void test_nothing_to_write(void **state)
{
    (void)state;
    struct peal_buf buf = {0};
    assert_int_equal(peal_buf_append(&buf, NULL, 0), 0);
    assert_int_equal(peal_buf_prepend(&buf, NULL, 0), 0);
    peal_buf_consume(&buf, 0);
    peal_buf_clear(&buf);
    peal_buf_shrink(&buf);
    assert_null(peal_buf_data(&buf));
    assert_int_equal(faults.allocations, 0);
    void *room;
    assert_int_equal(peal_buf_reserve(&buf, 0, &room), 0);
    assert_non_null(room);
    peal_buf_commit(&buf, 0);
    assert_int_equal(peal_buf_size(&buf), 0);
    peal_buf_deinit(&buf);
}

static void test_room_in_front(void **state)
{
    (void)state;
    struct peal_buf buf = {0};
    assert_int_equal(peal_buf_append(&buf, "body", 4), 0);
    assert_int_equal(peal_buf_prepend_u64be(&buf, 1), 0);
    assert_int_equal(peal_buf_prepend_u64be(&buf, 2), 0);
    assert_int_equal(faults.allocations, 1); /* a prefix costs no move */
    assert_int_equal(peal_buf_size(&buf), 20);
    peal_buf_deinit(&buf);
}

static void test_cost_is_bounded(void **state)
{
    (void)state;
    struct peal_buf buf = {0};
    for (unsigned i = 0; i < 100000; i++) {
        assert_int_equal(peal_buf_append_u8(&buf, (uint8_t)i), 0);
    }
    assert_true(faults.allocations < 20);
    peal_buf_deinit(&buf);
    faults.allocations = 0;
    for (unsigned i = 0; i < 100000; i++) {
        assert_int_equal(peal_buf_prepend_u8(&buf, (uint8_t)i), 0);
    }
    assert_true(faults.allocations < 40);
    peal_buf_deinit(&buf);
    /* A window that slides for ever: the storage stops growing. */
    faults.allocations = 0;
    unsigned char chunk[100] = {0};
    assert_int_equal(peal_buf_append(&buf, chunk, 100), 0);
    for (unsigned i = 0; i < 100000; i++) {
        assert_int_equal(peal_buf_append(&buf, chunk, 1 + i % 100), 0);
        peal_buf_consume(&buf, 1 + i % 100);
    }
    assert_true(faults.allocations < 5);
    assert_true(buf.capacity < 1000);
    /* Prepends in turn with appends. */
    peal_buf_deinit(&buf);
    faults.allocations = 0;
    for (unsigned i = 0; i < 50000; i++) {
        assert_int_equal(peal_buf_append_u8(&buf, 1), 0);
        assert_int_equal(peal_buf_prepend_u8(&buf, 2), 0);
    }
    assert_true(faults.allocations < 40);
    assert_int_equal(peal_buf_size(&buf), 100000);
    peal_buf_deinit(&buf);
}

static void test_shrink(void **state)
{
    (void)state;
    static const char text[5000] = "some text";
    struct peal_buf buf = {0};
    assert_int_equal(peal_buf_append(&buf, text, sizeof text), 0);
    peal_buf_consume(&buf, 4000);
    faults.fail_one_in = 1;
    peal_buf_shrink(&buf);
    assert_true(buf.capacity >= 5000);
    assert_holds(&buf, text + 4000, 1000);
    faults.fail_one_in = 0;
    peal_buf_shrink(&buf);
    assert_int_equal(buf.capacity, 1000);
    assert_holds(&buf, text + 4000, 1000);
    peal_buf_consume(&buf, 1000);
    peal_buf_shrink(&buf);
    assert_int_equal(buf.capacity, 0);
    peal_buf_deinit(&buf);
}

/* ---- misuse */

static void consume_too_much(void *arg)
{
    (void)arg;
    struct peal_buf buf = {0};
    (void)!peal_buf_append(&buf, "abc", 3);
    peal_buf_consume(&buf, 4);
}

static void commit_too_much(void *arg)
{
    (void)arg;
    struct peal_buf buf = {0};
    void *room;
    (void)!peal_buf_reserve(&buf, 10, &room);
    peal_buf_commit(&buf, peal_buf_room(&buf) + 1);
}

static void borrow_over_bytes(void *arg)
{
    (void)arg;
    struct peal_buf buf = {0};
    (void)!peal_buf_append(&buf, "abc", 3);
    pl_buf_borrow(&buf, "x", 1);
}

static void test_misuse(void **state)
{
    (void)state;
    child_expect_abort(consume_too_much, NULL,
                       "peal_buf_consume: 4 bytes were asked for and only 3 are there");
    child_expect_abort(commit_too_much, NULL, "peal_buf_commit: ");
    child_expect_abort(borrow_over_bytes, NULL, "broken invariant: buf->size == 0");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_model),
        TEST(test_view_reads_without_allocating),
        TEST(test_view_becomes_own_when_written),
        TEST(test_own_takes_just_the_unread),
        TEST(test_move_and_swap),
        TEST(test_find),
        TEST(test_integers),
        TEST(test_integers_that_are_not_whole),
        TEST(test_printf),
        TEST(test_sizes_that_no_machine_has),
        TEST(test_nothing_to_write),
        TEST(test_room_in_front),
        TEST(test_cost_is_bounded),
        TEST(test_shrink),
        TEST(test_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
