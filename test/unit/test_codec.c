/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: a message that comes out cut, merged or twice when the network splits the
 * stream in another place, or a peer's size that is believed before it is compared with the limit.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <peal/codec.h>
#include <peal/error.h>

#include "base/buf.h"

static const enum peal_prefix prefixes[] = {PEAL_PREFIX_U32BE, PEAL_PREFIX_U32LE,
                                            PEAL_PREFIX_U16BE, PEAL_PREFIX_U16LE,
                                            PEAL_PREFIX_U8,    PEAL_PREFIX_VARINT};
#define PREFIX_COUNT (sizeof prefixes / sizeof prefixes[0])

/* Sizes on both sides of each length of a varint that a byte can still say, and empty ones. */
static const size_t sizes[] = {0, 1, 5, 127, 128, 0, 200, 255, 3};
#define SIZE_COUNT (sizeof sizes / sizeof sizes[0])

static unsigned char content(size_t message, size_t at)
{
    return (unsigned char)(message * 31 + at * 7 + 1);
}

static size_t write_stream(const struct peal_codec *codec, unsigned char *stream)
{
    size_t length = 0;
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        unsigned char prefix[PEAL_CODEC_PREFIX_MAX];
        ssize_t prefix_size = peal_codec_prefix(codec, sizes[i], prefix);
        assert_true(prefix_size > 0 && prefix_size <= PEAL_CODEC_PREFIX_MAX);
        memcpy(stream + length, prefix, (size_t)prefix_size);
        length += (size_t)prefix_size;
        for (size_t at = 0; at < sizes[i]; at++) {
            stream[length++] = content(i, at);
        }
    }
    return length;
}

/* Takes what is whole; returns how many messages have come in all. */
static size_t take_messages(const struct peal_codec *codec, struct peal_buf *in, size_t so_far)
{
    const void *message;
    size_t size;
    int result;
    while ((result = peal_codec_next(codec, in, &message, &size)) > 0) {
        assert_int_equal(result, 1);
        assert_true(so_far < SIZE_COUNT);
        assert_int_equal(size, sizes[so_far]);
        for (size_t at = 0; at < size; at++) {
            assert_int_equal(((const unsigned char *)message)[at], content(so_far, at));
        }
        so_far++;
    }
    assert_int_equal(result, 0);
    return so_far;
}

static void test_split_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < PREFIX_COUNT; i++) {
        const struct peal_codec codec = {.prefix = prefixes[i]};
        unsigned char stream[2048];
        size_t length = write_stream(&codec, stream);
        for (size_t split = 0; split <= length; split++) {
            /* As a connection does it: a view, of which the rest is kept. Each piece has a block of
             * just its size, so that a read past its end is seen. */
            unsigned char *first = malloc(split + 1);
            assert_non_null(first);
            memcpy(first + 1, stream, split);
            struct peal_buf in = {0};
            pl_buf_borrow(&in, first + 1, split);
            size_t count = take_messages(&codec, &in, 0);
            assert_int_equal(pl_buf_own(&in), 0);
            free(first);
            assert_int_equal(peal_buf_append(&in, stream + split, length - split), 0);
            assert_int_equal(take_messages(&codec, &in, count), SIZE_COUNT);
            assert_int_equal(peal_buf_size(&in), 0);
            peal_buf_deinit(&in);
        }
    }
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < PREFIX_COUNT; i++) {
        const struct peal_codec codec = {.prefix = prefixes[i]};
        unsigned char stream[2048];
        size_t length = write_stream(&codec, stream);
        struct peal_buf in = {0};
        size_t count = 0;
        for (size_t at = 0; at < length; at++) {
            assert_int_equal(peal_buf_append(&in, stream + at, 1), 0);
            count = take_messages(&codec, &in, count);
        }
        assert_int_equal(count, SIZE_COUNT);
        peal_buf_deinit(&in);
    }
}

static void test_prefix(void **state)
{
    (void)state;
    static const struct {
        enum peal_prefix prefix;
        size_t size_max, size;
        ssize_t result;
        const char *bytes;
    } rows[] = {
        {PEAL_PREFIX_U8, 0, 0, 1, "\x00"},
        {PEAL_PREFIX_U8, 0, 255, 1, "\xff"},
        {PEAL_PREFIX_U8, 0, 256, PEAL_ERR_OVERSIZE, ""},
        {PEAL_PREFIX_U8, 10, 10, 1, "\x0a"},
        {PEAL_PREFIX_U8, 10, 11, PEAL_ERR_OVERSIZE, ""},
        {PEAL_PREFIX_U16BE, 0, 0x1234, 2, "\x12\x34"},
        {PEAL_PREFIX_U16LE, 0, 0x1234, 2, "\x34\x12"},
        {PEAL_PREFIX_U16BE, 0, 0xffff, 2, "\xff\xff"},
        {PEAL_PREFIX_U16LE, 0, 0x10000, PEAL_ERR_OVERSIZE, ""},
        {PEAL_PREFIX_U32BE, 0, 0x100000, 4, "\x00\x10\x00\x00"},
        {PEAL_PREFIX_U32BE, 0, 0x100001, PEAL_ERR_OVERSIZE, ""}, /* the default limit */
        {PEAL_PREFIX_U32BE, PEAL_UNLIMITED, 0x12345678, 4, "\x12\x34\x56\x78"},
        {PEAL_PREFIX_U32LE, PEAL_UNLIMITED, 0x12345678, 4, "\x78\x56\x34\x12"},
        {PEAL_PREFIX_U32BE, PEAL_UNLIMITED, UINT32_MAX, 4, "\xff\xff\xff\xff"},
        {PEAL_PREFIX_U32BE, PEAL_UNLIMITED, (size_t)UINT32_MAX + 1, PEAL_ERR_OVERSIZE, ""},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0, 1, "\x00"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0x7f, 1, "\x7f"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0x80, 2, "\x80\x01"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0x3fff, 2, "\xff\x7f"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0x4000, 3, "\x80\x80\x01"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0x1fffff, 3, "\xff\xff\x7f"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0x200000, 4, "\x80\x80\x80\x01"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0xfffffff, 4, "\xff\xff\xff\x7f"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 0x10000000, 5, "\x80\x80\x80\x80\x01"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, UINT32_MAX, 5, "\xff\xff\xff\xff\x0f"},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, (size_t)UINT32_MAX + 1, PEAL_ERR_OVERSIZE, ""},
        {(enum peal_prefix)6, 0, 0, -EINVAL, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct peal_codec codec = {.prefix = rows[i].prefix, .size_max = rows[i].size_max};
        unsigned char bytes[PEAL_CODEC_PREFIX_MAX] = {0xaa, 0xaa, 0xaa, 0xaa, 0xaa};
        assert_int_equal(peal_codec_prefix(&codec, rows[i].size, bytes), rows[i].result);
        size_t written = rows[i].result > 0 ? (size_t)rows[i].result : 0;
        assert_memory_equal(bytes, rows[i].bytes, written);
        for (size_t at = written; at < sizeof bytes; at++) {
            assert_int_equal(bytes[at], 0xaa);
        }
    }
}

/* What a peer can send that is no message, or not yet one. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        enum peal_prefix prefix;
        size_t size_max;
        size_t length;
        const char *bytes;
        int result;
    } rows[] = {
        {PEAL_PREFIX_U8, 4, 1, "\x05", PEAL_ERR_OVERSIZE},
        {PEAL_PREFIX_U8, 4, 1, "\x04", 0},
        {PEAL_PREFIX_U16BE, 0xff, 2, "\x01\x00", PEAL_ERR_OVERSIZE},
        {PEAL_PREFIX_U16LE, 0xff, 2, "\x00\x01", PEAL_ERR_OVERSIZE},
        {PEAL_PREFIX_U16LE, 0xff, 2, "\x01\x00", 0},
        {PEAL_PREFIX_U32BE, 0, 4, "\x00\x10\x00\x01", PEAL_ERR_OVERSIZE},
        {PEAL_PREFIX_U32BE, 0, 4, "\x00\x10\x00\x00", 0},
        {PEAL_PREFIX_U32BE, 0, 3, "\xff\xff\xff", 0},
        {PEAL_PREFIX_U32LE, 0, 4, "\xff\xff\xff\xff", PEAL_ERR_OVERSIZE},
        {PEAL_PREFIX_U32BE, PEAL_UNLIMITED, 8, "\xff\xff\xff\xff....", 0},
        {PEAL_PREFIX_VARINT, 0, 0, "", 0},
        {PEAL_PREFIX_VARINT, 0, 4, "\x80\x80\x80\x80", 0},
        {PEAL_PREFIX_VARINT, 0, 5, "\x80\x80\x80\x80\x80", PEAL_ERR_MALFORMED},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 5, "\xff\xff\xff\xff\x0f", 0},
        {PEAL_PREFIX_VARINT, PEAL_UNLIMITED, 5, "\xff\xff\xff\xff\x10", PEAL_ERR_MALFORMED},
        {PEAL_PREFIX_VARINT, 0, 5, "\xff\xff\xff\xff\x0f", PEAL_ERR_OVERSIZE},
        {PEAL_PREFIX_VARINT, 0, 2, "\x80\x00", PEAL_ERR_MALFORMED},
        {PEAL_PREFIX_VARINT, 0, 3, "\x85\x80\x00", PEAL_ERR_MALFORMED},
        {PEAL_PREFIX_VARINT, 0, 5, "\x81\x80\x80\x80\x00", PEAL_ERR_MALFORMED},
        {PEAL_PREFIX_VARINT, 0x7f, 2, "\x80\x01", PEAL_ERR_OVERSIZE},
        {(enum peal_prefix)6, 0, 4, "....", -EINVAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct peal_codec codec = {.prefix = rows[i].prefix, .size_max = rows[i].size_max};
        struct peal_buf in = {0};
        assert_int_equal(peal_buf_append(&in, rows[i].bytes, rows[i].length), 0);
        const void *message = &in;
        size_t size = 77;
        for (unsigned again = 0; again < 2; again++) { /* the answer stays, nothing is consumed */
            assert_int_equal(peal_codec_next(&codec, &in, &message, &size), rows[i].result);
            assert_int_equal(peal_buf_size(&in), rows[i].length);
            assert_ptr_equal(message, &in);
            assert_int_equal(size, 77);
        }
        peal_buf_deinit(&in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_at_every_byte),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
