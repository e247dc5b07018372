/* SPDX-License-Identifier: BSD-2-Clause */
/* Length-prefixed messages.
 *
 * Two steps: read_prefix makes the size of the next message from the first bytes without consuming
 * them; peal_codec_next compares it with the limit, waits for the rest, and consumes both.
 *
 * Invariants:
 *  1. A size that came from the peer is compared with the limit before anything is computed from
 *     it. It has at most 32 bits, and is compared with what the buffer holds by subtraction, so
 *     that no sum can overflow.
 *  2. Nothing is consumed unless a whole message is returned; errors and incomplete messages can be
 *     asked for again and answer the same.
 *  3. peal_codec_prefix writes exactly what read_prefix takes.
 *
 * A varint must be in its shortest form: a second way to write the same size is of use only to
 * someone who wants to get past a filter. For the same reason its fifth byte may carry four bits
 * only. Both are malformed as soon as the byte is seen, even if the message would be too large as
 * well.
 *
 * Rejected: sizes that include the prefix, and trailers. A protocol that has them is a few lines
 * over peal_buf_peek and peal_buf_find. */
#include <peal/codec.h>

#include <errno.h>
#include <peal/error.h>

#define SIZE_MAX_DEFAULT (1024 * 1024)

static size_t size_max_of(const struct peal_codec *codec)
{
    return codec->size_max ? codec->size_max : SIZE_MAX_DEFAULT;
}

/* Returns the length of the prefix, 0 if it is not all there, or an error. */
static int read_varint(const struct peal_buf *in, uint32_t *ret_size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < PEAL_CODEC_PREFIX_MAX; i++) {
        uint8_t byte;
        if (!peal_buf_peek_u8(in, i, &byte)) {
            return 0;
        }
        if (i == PEAL_CODEC_PREFIX_MAX - 1 && byte > 0x0f) {
            return PEAL_ERR_MALFORMED; /* goes on, or needs more than 32 bits */
        }
        value |= (uint32_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            if (byte == 0 && i > 0) {
                return PEAL_ERR_MALFORMED; /* not the shortest form */
            }
            *ret_size = value;
            return (int)i + 1;
        }
    }
    return PEAL_ERR_MALFORMED;
}

/* Returns as read_varint does. */
static int read_prefix(enum peal_prefix prefix, const struct peal_buf *in, uint32_t *ret_size)
{
    uint8_t u8;
    uint16_t u16;
    switch (prefix) {
    case PEAL_PREFIX_U32BE:
        return peal_buf_peek_u32be(in, 0, ret_size) ? 4 : 0;
    case PEAL_PREFIX_U32LE:
        return peal_buf_peek_u32le(in, 0, ret_size) ? 4 : 0;
    case PEAL_PREFIX_U16BE:
        if (!peal_buf_peek_u16be(in, 0, &u16)) {
            return 0;
        }
        *ret_size = u16;
        return 2;
    case PEAL_PREFIX_U16LE:
        if (!peal_buf_peek_u16le(in, 0, &u16)) {
            return 0;
        }
        *ret_size = u16;
        return 2;
    case PEAL_PREFIX_U8:
        if (!peal_buf_peek_u8(in, 0, &u8)) {
            return 0;
        }
        *ret_size = u8;
        return 1;
    case PEAL_PREFIX_VARINT:
        return read_varint(in, ret_size);
    }
    return -EINVAL;
}

int peal_codec_next(const struct peal_codec *codec, struct peal_buf *in, const void **ret_message,
                    size_t *ret_size)
{
    uint32_t size;
    int length = read_prefix(codec->prefix, in, &size);
    if (length <= 0) {
        return length;
    }
    if (size > size_max_of(codec)) {
        return PEAL_ERR_OVERSIZE;
    }
    if (peal_buf_size(in) - (size_t)length < size) {
        return 0;
    }
    peal_buf_consume(in, (size_t)length);
    *ret_message = peal_buf_data(in);
    *ret_size = size;
    peal_buf_consume(in, size);
    return 1;
}

static ssize_t write_be(unsigned char *bytes, unsigned length, uint32_t size)
{
    for (unsigned i = 0; i < length; i++) {
        bytes[i] = (unsigned char)(size >> 8 * (length - 1 - i));
    }
    return length;
}

static ssize_t write_le(unsigned char *bytes, unsigned length, uint32_t size)
{
    for (unsigned i = 0; i < length; i++) {
        bytes[i] = (unsigned char)(size >> 8 * i);
    }
    return length;
}

static ssize_t write_varint(unsigned char *bytes, uint32_t size)
{
    ssize_t length = 0;
    for (; size > 0x7f; size >>= 7) {
        bytes[length++] = (unsigned char)(size | 0x80);
    }
    bytes[length++] = (unsigned char)size;
    return length;
}

ssize_t peal_codec_prefix(const struct peal_codec *codec, size_t size,
                          unsigned char ret_prefix[PEAL_CODEC_PREFIX_MAX])
{
    static const size_t says_max[] = {
        [PEAL_PREFIX_U32BE] = UINT32_MAX, [PEAL_PREFIX_U32LE] = UINT32_MAX,
        [PEAL_PREFIX_U16BE] = UINT16_MAX, [PEAL_PREFIX_U16LE] = UINT16_MAX,
        [PEAL_PREFIX_U8] = UINT8_MAX,     [PEAL_PREFIX_VARINT] = UINT32_MAX,
    };
    if ((unsigned)codec->prefix >= sizeof says_max / sizeof says_max[0]) {
        return -EINVAL;
    }
    if (size > size_max_of(codec) || size > says_max[codec->prefix]) {
        return PEAL_ERR_OVERSIZE;
    }
    switch (codec->prefix) {
    case PEAL_PREFIX_U32BE:
        return write_be(ret_prefix, 4, (uint32_t)size);
    case PEAL_PREFIX_U32LE:
        return write_le(ret_prefix, 4, (uint32_t)size);
    case PEAL_PREFIX_U16BE:
        return write_be(ret_prefix, 2, (uint32_t)size);
    case PEAL_PREFIX_U16LE:
        return write_le(ret_prefix, 2, (uint32_t)size);
    case PEAL_PREFIX_U8:
        return write_be(ret_prefix, 1, (uint32_t)size);
    case PEAL_PREFIX_VARINT:
        return write_varint(ret_prefix, (uint32_t)size);
    }
    return -EINVAL;
}
