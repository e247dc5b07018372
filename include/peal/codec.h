/* SPDX-License-Identifier: BSD-2-Clause */
/* Length-prefixed messages: each is its size as an integer, then so many bytes.
 *
 * The codec is a value without state; all state is in the buffer that is read. The size is checked
 * against the limit as soon as the prefix is whole, before anything waits for the body.
 *
 *     static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U16BE, .size_max = 4096};
 *
 *     const void *message;
 *     size_t size;
 *     int result;
 *     while ((result = peal_codec_next(&codec, in, &message, &size)) > 0) {
 *         handle(message, size);
 *     }
 *     if (result < 0) {
 *         peal_conn_abort(conn);    // its peer does not follow the protocol
 *     }
 *
 * All calls: any thread.
 */
#ifndef PEAL_CODEC_H
#define PEAL_CODEC_H

#include <peal/base.h>
#include <peal/buf.h>

PEAL_BEGIN

enum peal_prefix {
    PEAL_PREFIX_U32BE, /* the default */
    PEAL_PREFIX_U32LE,
    PEAL_PREFIX_U16BE,
    PEAL_PREFIX_U16LE,
    PEAL_PREFIX_U8,
    PEAL_PREFIX_VARINT /* unsigned LEB128, at most 5 bytes and 32 bits, in its shortest form */
};

struct peal_codec {
    enum peal_prefix prefix;
    size_t size_max; /* of a message, without its prefix; default 1 MiB; PEAL_UNLIMITED */
};

#define PEAL_CODEC_PREFIX_MAX 5

/* Takes the next message from in. Returns 1: message and size, consumed, to be read until in is
 * touched again; 0: it is not all there yet; PEAL_ERR_OVERSIZE, PEAL_ERR_MALFORMED (a varint that
 * is too long), or -EINVAL (no such prefix): nothing was consumed, and no call will ever get
 * further. */
PEAL_API PEAL_MUST_USE int peal_codec_next(const struct peal_codec *codec, struct peal_buf *in,
                                           const void **ret_message, size_t *ret_size);

/* Writes the prefix for a message of this size and returns its length: send the two together, as
 * with peal_conn_sendv. Errors: PEAL_ERR_OVERSIZE (over the limit, or more than the prefix can
 * say), -EINVAL. */
PEAL_API PEAL_MUST_USE ssize_t peal_codec_prefix(const struct peal_codec *codec, size_t size,
                                                 unsigned char ret_prefix[PEAL_CODEC_PREFIX_MAX]);

PEAL_END
#endif
