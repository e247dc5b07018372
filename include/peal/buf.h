/* SPDX-License-Identifier: BSD-2-Clause */
/* A buffer: contiguous bytes, read from the front and written at the back, with room in front so
 * that a header can be put before a body that is already there.
 *
 * A buffer owns its storage, or it is a *view* of memory that belongs to someone else: on_data gets
 * a view of the loop's read buffer. The two behave alike. Reading and consuming a view never
 * allocates; whatever has to write moves the unread bytes to storage of the buffer's own first, and
 * can therefore fail with -ENOMEM.
 *
 * Zeroed storage is an empty buffer. Pointers into a buffer hold until the next call that takes it
 * without const. Arguments must not point into the buffer that they are given to. A buffer belongs
 * to one thread at a time; nothing here locks.
 *
 *     struct peal_buf buf;
 *     peal_buf_init(&buf);
 *     if (peal_buf_append(&buf, "hello", 5) == 0 && peal_buf_prepend_u32be(&buf, 5) == 0) {
 *         send_all(peal_buf_data(&buf), peal_buf_size(&buf));
 *         peal_buf_consume(&buf, 9);
 *     }
 *     peal_buf_deinit(&buf);
 */
#ifndef PEAL_BUF_H
#define PEAL_BUF_H

#include <stdarg.h>

#include <peal/base.h>

PEAL_BEGIN

/* The fields are private; the structure is public so that it can be a part of yours. */
struct peal_buf {
    const unsigned char *begin; /* the first unread byte */
    size_t size;                /* unread bytes */
    unsigned char *storage;     /* own memory, or NULL: empty, or a view */
    size_t capacity;            /* of storage */
};

/* ---- life */
PEAL_API void peal_buf_init(struct peal_buf *buf);

/* Frees the storage and leaves an empty buffer, which may be used again. NULL is allowed. */
PEAL_API void peal_buf_deinit(struct peal_buf *buf);

/* Moves from's bytes to to, whose own are dropped; from is left empty. On -ENOMEM (from was a view)
 * nothing has changed. Moving a buffer to itself does nothing. */
PEAL_API PEAL_MUST_USE int peal_buf_move(struct peal_buf *to, struct peal_buf *from);

/* Exchanges the contents. On -ENOMEM (one was a view) both hold what they held. */
PEAL_API PEAL_MUST_USE int peal_buf_swap(struct peal_buf *a, struct peal_buf *b);

/* Stops the program with a sentence: more was consumed than there is. */
PEAL_API __attribute__((noreturn, cold)) void peal_buf_misuse_consume(size_t size, size_t asked);

/* ---- reading. peal_buf_data is NULL only for a buffer that was never written. */
static inline const void *peal_buf_data(const struct peal_buf *buf)
{
    return buf->begin;
}

static inline size_t peal_buf_size(const struct peal_buf *buf)
{
    return buf->size;
}

/* Forgets the first size bytes. More than there are is a fault of the program and stops it. */
static inline void peal_buf_consume(struct peal_buf *buf, size_t size)
{
    if (__builtin_expect(size > buf->size, 0)) {
        peal_buf_misuse_consume(buf->size, size);
    }
    if (size != 0) {
        buf->begin += size;
        buf->size -= size;
    }
}

/* Forgets all bytes; own storage is kept for the next ones. */
PEAL_API void peal_buf_clear_storage(struct peal_buf *buf); /* peal_buf_clear, if there is any */
static inline void peal_buf_clear(struct peal_buf *buf)
{
    if (__builtin_expect(buf->storage != NULL, 0)) {
        peal_buf_clear_storage(buf);
        return;
    }
    buf->begin = NULL;
    buf->size = 0;
}

/* ---- finding: the offset of the first match from the first unread byte, or -1. The _from forms
 * begin to look at the offset at; the offset that they return counts from the first unread byte,
 * too. at past the end finds nothing. */
PEAL_API ssize_t peal_buf_find_from(const struct peal_buf *buf, size_t at, unsigned char byte);
PEAL_API ssize_t peal_buf_find_crlf_from(const struct peal_buf *buf, size_t at); /* the CR's */
PEAL_API ssize_t peal_buf_find_any_from(const struct peal_buf *buf, size_t at, const void *set,
                                        size_t set_size); /* any byte of the set */
PEAL_API ssize_t peal_buf_find_bytes_from(const struct peal_buf *buf, size_t at, const void *bytes,
                                          size_t bytes_size); /* no bytes are found at at */

static inline ssize_t peal_buf_find(const struct peal_buf *buf, unsigned char byte)
{
    return peal_buf_find_from(buf, 0, byte);
}

static inline ssize_t peal_buf_find_crlf(const struct peal_buf *buf)
{
    return peal_buf_find_crlf_from(buf, 0);
}

static inline ssize_t peal_buf_find_any(const struct peal_buf *buf, const void *set,
                                        size_t set_size)
{
    return peal_buf_find_any_from(buf, 0, set, set_size);
}

static inline ssize_t peal_buf_find_bytes(const struct peal_buf *buf, const void *bytes,
                                          size_t bytes_size)
{
    return peal_buf_find_bytes_from(buf, 0, bytes, bytes_size);
}

/* ---- writing. Errors: -ENOMEM; the bytes held are then as before. */
PEAL_API PEAL_MUST_USE int peal_buf_append(struct peal_buf *buf, const void *data, size_t size);
PEAL_API PEAL_MUST_USE int peal_buf_prepend(struct peal_buf *buf, const void *data, size_t size);

/* Appends formatted text, without a NUL. Error also: -EINVAL, the format cannot be printed. */
PEAL_API PEAL_MUST_USE int peal_buf_printf(struct peal_buf *buf, const char *format, ...)
    PEAL_PRINTF(2, 3);
PEAL_API PEAL_MUST_USE int peal_buf_vprintf(struct peal_buf *buf, const char *format, va_list args)
    PEAL_PRINTF(2, 0);

/* Makes room for at least size bytes at the back and says where; peal_buf_commit then appends what
 * was written there. Committing more than peal_buf_room is a fault of the program and stops it. */
PEAL_API PEAL_MUST_USE int peal_buf_reserve(struct peal_buf *buf, size_t size, void **ret_room);
PEAL_API void peal_buf_commit(struct peal_buf *buf, size_t size);

/* How many bytes can be appended without moving anything; 0 for a view. */
PEAL_API size_t peal_buf_room(const struct peal_buf *buf);

/* Gives back storage that holds no unread bytes; all of it if there are none. Without memory for
 * the smaller storage the larger one is kept. */
PEAL_API void peal_buf_shrink(struct peal_buf *buf);

/* ---- integers: peal_buf_peek_u32be and so on, for u8, u16be, u16le, u32be, u32le, u64be, u64le.
 *
 *     bool peal_buf_peek_u32be(const struct peal_buf *buf, size_t at, uint32_t *ret_value);
 *     bool peal_buf_take_u32be(struct peal_buf *buf, uint32_t *ret_value);
 *     int peal_buf_append_u32be(struct peal_buf *buf, uint32_t value);
 *     int peal_buf_prepend_u32be(struct peal_buf *buf, uint32_t value);
 *
 * peek reads at the offset at; take reads at the front and consumes; both return false, and touch
 * nothing, if not all bytes of the integer are there. append and prepend fail as above. */
#define PEAL_BUF_INTEGERS(X)                                                                       \
    X(u8, uint8_t)                                                                                 \
    X(u16be, uint16_t)                                                                             \
    X(u16le, uint16_t)                                                                             \
    X(u32be, uint32_t)                                                                             \
    X(u32le, uint32_t)                                                                             \
    X(u64be, uint64_t)                                                                             \
    X(u64le, uint64_t)

#define PEAL_BUF_DECLARE(name, type)                                                               \
    PEAL_API PEAL_MUST_USE bool peal_buf_peek_##name(const struct peal_buf *buf, size_t at,        \
                                                     type *ret_value);                             \
    PEAL_API PEAL_MUST_USE bool peal_buf_take_##name(struct peal_buf *buf, type *ret_value);       \
    PEAL_API PEAL_MUST_USE int peal_buf_append_##name(struct peal_buf *buf, type value);           \
    PEAL_API PEAL_MUST_USE int peal_buf_prepend_##name(struct peal_buf *buf, type value);
PEAL_BUF_INTEGERS(PEAL_BUF_DECLARE)
#undef PEAL_BUF_DECLARE

PEAL_END
#endif
