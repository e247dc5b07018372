/* SPDX-License-Identifier: BSD-2-Clause */
/* A buffer of contiguous bytes (muduo's Buffer), and views of memory that is someone else's.
 *
 *     storage          begin            begin+size      storage+capacity
 *     |  room in front |  unread bytes  |  room at the back  |
 *
 * Consuming moves begin forward and nothing else, so what is consumed turns into room in front.
 * What has to write and finds too little room goes through make_room, the one function that moves
 * bytes: it lays them out anew, inside the storage if that is cheap, else in larger storage.
 *
 * Invariants:
 *  1. storage != NULL: storage <= begin and begin + size <= storage + capacity.
 *  2. storage == NULL and begin != NULL: a view. It is never written to, and capacity is 0.
 *  3. storage == NULL and begin == NULL: empty, size and capacity 0. This is zeroed memory.
 *  4. A failed call leaves begin, size and the bytes as they were.
 *
 * Cost: bytes are moved inside the storage only if they fill at most half of it; otherwise the
 * storage doubles. So at least half of the storage was consumed or filled since the last move, and
 * a byte is moved a bounded number of times however appends and consumes are mixed. Room made for
 * an append goes to the back, behind FRONT_ROOM; room made for a prepend is split, so that neither
 * repeated prepends nor prepends in turn with appends move everything each time.
 *
 * Rejected: realloc, which copies the consumed bytes too, and cannot make room in front; a flag for
 * views, since a missing storage says it; moving a view as it is to another buffer, since the
 * program would keep a pointer to the loop's memory beyond the callback (peal_buf_move and
 * peal_buf_swap make views their own first); keeping the storage when a buffer becomes a view,
 * since a connection would then pay for its largest leftover as long as it lives. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "base/buf.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "sys/sys.h"

/* What an append leaves in front of the bytes: a prefix of any usual protocol. */
#define FRONT_ROOM 16
/* The least storage; smaller ones would cost the allocator as much. */
#define CAPACITY_MIN 64

static size_t front_room(const struct peal_buf *buf)
{
    return buf->storage ? (size_t)(buf->begin - buf->storage) : 0;
}

/* Where the first free byte at the back is. Only with storage. */
static unsigned char *back(const struct peal_buf *buf)
{
    return buf->storage + front_room(buf) + buf->size;
}

static void check(const struct peal_buf *buf)
{
    pl_assert(buf->storage ? front_room(buf) + buf->size <= buf->capacity : buf->capacity == 0);
    pl_assert(buf->begin || buf->size == 0);
}

void peal_buf_init(struct peal_buf *buf)
{
    memset(buf, 0, sizeof *buf);
}

void peal_buf_deinit(struct peal_buf *buf)
{
    if (buf) {
        sys_free(buf->storage);
        peal_buf_init(buf);
    }
}

int peal_buf_move(struct peal_buf *to, struct peal_buf *from)
{
    if (to == from) {
        return 0;
    }
    int error = pl_buf_own(from);
    if (error < 0) {
        return error;
    }
    sys_free(to->storage);
    *to = *from;
    peal_buf_init(from);
    return 0;
}

int peal_buf_swap(struct peal_buf *a, struct peal_buf *b)
{
    int error = pl_buf_own(a);
    if (error == 0) {
        error = pl_buf_own(b);
    }
    if (error < 0) {
        return error;
    }
    struct peal_buf kept = *a;
    *a = *b;
    *b = kept;
    return 0;
}

void peal_buf_misuse_consume(size_t size, size_t asked)
{
    pl_misuse("peal_buf_consume: %zu bytes were asked for and only %zu are there", asked, size);
}

void peal_buf_clear_storage(struct peal_buf *buf)
{
    check(buf);
    pl_assert(buf->storage);
    buf->size = 0;
    buf->begin = buf->storage;
    if (buf->capacity > FRONT_ROOM) {
        buf->begin += FRONT_ROOM;
    }
}

/* ---- views */

void pl_buf_borrow(struct peal_buf *buf, const void *data, size_t size)
{
    pl_assert(buf->size == 0);
    pl_assert(data);
    sys_free(buf->storage);
    buf->begin = data;
    buf->size = size;
    buf->storage = NULL;
    buf->capacity = 0;
}

int pl_buf_own(struct peal_buf *buf)
{
    check(buf);
    if (!pl_buf_is_borrowed(buf)) {
        return 0;
    }
    if (buf->size == 0) {
        buf->begin = NULL;
        return 0;
    }
    unsigned char *storage = sys_malloc(buf->size);
    if (!storage) {
        return -ENOMEM;
    }
    memcpy(storage, buf->begin, buf->size);
    buf->begin = storage;
    buf->storage = storage;
    buf->capacity = buf->size;
    return 0;
}

/* ---- room */

/* Lays the bytes out in the storage, or in new storage of this capacity, at the given distance from
 * its start. */
static int lay_out(struct peal_buf *buf, size_t capacity, size_t front)
{
    unsigned char *storage = buf->storage;
    if (capacity != buf->capacity) {
        storage = sys_malloc(capacity);
        if (!storage) {
            return -ENOMEM;
        }
    }
    if (buf->size != 0) {
        memmove(storage + front, buf->begin, buf->size);
    }
    if (storage != buf->storage) {
        sys_free(buf->storage);
    }
    buf->storage = storage;
    buf->capacity = capacity;
    buf->begin = storage + front;
    return 0;
}

/* Makes at least so much room; one of the two is 0. */
static int make_room(struct peal_buf *buf, size_t front, size_t tail)
{
    check(buf);
    size_t least;
    if (__builtin_add_overflow(buf->size, front + tail, &least) ||
        __builtin_add_overflow(least, FRONT_ROOM, &least) || least > PTRDIFF_MAX) {
        return -ENOMEM;
    }
    size_t capacity = buf->capacity;
    if (capacity < least || buf->size > capacity / 2) {
        capacity = capacity * 2 > least ? capacity * 2 : least;
        capacity = capacity > CAPACITY_MIN ? capacity : CAPACITY_MIN;
    }
    size_t spare = capacity - buf->size - front - tail;
    return lay_out(buf, capacity, tail ? FRONT_ROOM : front + spare / 2);
}

size_t peal_buf_room(const struct peal_buf *buf)
{
    return buf->storage ? buf->capacity - front_room(buf) - buf->size : 0;
}

int peal_buf_reserve(struct peal_buf *buf, size_t size, void **ret_room)
{
    if (!buf->storage || peal_buf_room(buf) < size) {
        int error = make_room(buf, 0, size > 0 ? size : 1);
        if (error < 0) {
            return error;
        }
    }
    *ret_room = back(buf);
    return 0;
}

void peal_buf_commit(struct peal_buf *buf, size_t size)
{
    if (size > peal_buf_room(buf)) {
        pl_misuse("peal_buf_commit: %zu bytes were committed and there is room for %zu", size,
                  peal_buf_room(buf));
    }
    buf->size += size;
}

void peal_buf_shrink(struct peal_buf *buf)
{
    check(buf);
    if (!buf->storage || buf->size == buf->capacity) {
        return;
    }
    if (buf->size == 0) {
        peal_buf_deinit(buf);
        return;
    }
    (void)lay_out(buf, buf->size, 0); /* without memory, the larger storage stays */
}

/* ---- writing */

int peal_buf_append(struct peal_buf *buf, const void *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    void *room;
    int error = peal_buf_reserve(buf, size, &room);
    if (error < 0) {
        return error;
    }
    memcpy(room, data, size);
    buf->size += size;
    return 0;
}

int peal_buf_prepend(struct peal_buf *buf, const void *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (front_room(buf) < size) {
        int error = make_room(buf, size, 0);
        if (error < 0) {
            return error;
        }
    }
    unsigned char *front = buf->storage + front_room(buf) - size;
    memcpy(front, data, size);
    buf->begin = front;
    buf->size += size;
    return 0;
}

int peal_buf_vprintf(struct peal_buf *buf, const char *format, va_list args)
{
    /* First into the room that is there; if that is too small, the length is known for the second
     * time. The NUL needs room but is no part of the bytes. */
    size_t room_size = peal_buf_room(buf);
    va_list again;
    va_copy(again, args);
    int length = sys_vformat(room_size ? (char *)back(buf) : NULL, room_size, format, args);
    int error = length < 0 ? -EINVAL : 0;
    if (length >= 0 && (size_t)length >= room_size) {
        void *room;
        error = peal_buf_reserve(buf, (size_t)length + 1, &room);
        if (error == 0) {
            sys_vformat(room, (size_t)length + 1, format, again);
        }
    }
    va_end(again);
    if (error == 0) {
        buf->size += (size_t)length;
    }
    return error;
}

int peal_buf_printf(struct peal_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int error = peal_buf_vprintf(buf, format, args);
    va_end(args);
    return error;
}

/* ---- finding */

static ssize_t offset_of(const struct peal_buf *buf, const void *found)
{
    return found ? (const unsigned char *)found - buf->begin : -1;
}

ssize_t peal_buf_find_from(const struct peal_buf *buf, size_t at, unsigned char byte)
{
    if (at >= buf->size) {
        return -1;
    }
    return offset_of(buf, memchr(buf->begin + at, byte, buf->size - at));
}

ssize_t peal_buf_find_crlf_from(const struct peal_buf *buf, size_t at)
{
    return peal_buf_find_bytes_from(buf, at, "\r\n", 2);
}

ssize_t peal_buf_find_any_from(const struct peal_buf *buf, size_t at, const void *set,
                               size_t set_size)
{
    /* A bit for each of the 256 values, so that the cost does not grow with the set. */
    uint64_t in_set[4] = {0};
    const unsigned char *bytes = set;
    for (size_t i = 0; i < set_size; i++) {
        in_set[bytes[i] / 64] |= UINT64_C(1) << bytes[i] % 64;
    }
    for (size_t i = at; i < buf->size; i++) {
        unsigned char byte = buf->begin[i];
        if (in_set[byte / 64] >> byte % 64 & 1) {
            return (ssize_t)i;
        }
    }
    return -1;
}

ssize_t peal_buf_find_bytes_from(const struct peal_buf *buf, size_t at, const void *bytes,
                                 size_t bytes_size)
{
    if (at > buf->size || bytes_size > buf->size - at) {
        return -1;
    }
    if (bytes_size == 0) {
        return (ssize_t)at;
    }
    return offset_of(buf, memmem(buf->begin + at, buf->size - at, bytes, bytes_size));
}

/* ---- integers. The shifts are the definition of the byte order, whatever the machine's own is;
 * the compiler makes one load of them. */

static uint64_t read_be(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static uint64_t read_le(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i > 0; i--) {
        value = value << 8 | bytes[i - 1];
    }
    return value;
}

static void write_be(unsigned char *bytes, size_t size, uint64_t value)
{
    for (size_t i = size; i > 0; i--) {
        bytes[i - 1] = (unsigned char)value;
        value >>= 8;
    }
}

static void write_le(unsigned char *bytes, size_t size, uint64_t value)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)value;
        value >>= 8;
    }
}

#define DEFINE_INTEGER(name, type, order)                                                          \
    bool peal_buf_peek_##name(const struct peal_buf *buf, size_t at, type *ret_value)              \
    {                                                                                              \
        if (at > buf->size || buf->size - at < sizeof(type)) {                                     \
            return false;                                                                          \
        }                                                                                          \
        *ret_value = (type)read_##order(buf->begin + at, sizeof(type));                            \
        return true;                                                                               \
    }                                                                                              \
    bool peal_buf_take_##name(struct peal_buf *buf, type *ret_value)                               \
    {                                                                                              \
        bool there = peal_buf_peek_##name(buf, 0, ret_value);                                      \
        peal_buf_consume(buf, there ? sizeof(type) : 0);                                           \
        return there;                                                                              \
    }                                                                                              \
    int peal_buf_append_##name(struct peal_buf *buf, type value)                                   \
    {                                                                                              \
        unsigned char bytes[sizeof(type)];                                                         \
        write_##order(bytes, sizeof(type), value);                                                 \
        return peal_buf_append(buf, bytes, sizeof(type));                                          \
    }                                                                                              \
    int peal_buf_prepend_##name(struct peal_buf *buf, type value)                                  \
    {                                                                                              \
        unsigned char bytes[sizeof(type)];                                                         \
        write_##order(bytes, sizeof(type), value);                                                 \
        return peal_buf_prepend(buf, bytes, sizeof(type));                                         \
    }

DEFINE_INTEGER(u8, uint8_t, be)
DEFINE_INTEGER(u16be, uint16_t, be)
DEFINE_INTEGER(u16le, uint16_t, le)
DEFINE_INTEGER(u32be, uint32_t, be)
DEFINE_INTEGER(u32le, uint32_t, le)
DEFINE_INTEGER(u64be, uint64_t, be)
DEFINE_INTEGER(u64le, uint64_t, le)
