/* SPDX-License-Identifier: BSD-2-Clause */
/* The output queue: a singly linked list of chunks.
 *
 * A chunk is a piece of memory that bytes were copied to, a blob that is shared with other
 * connections, or a range of a file. Small sends gather in the tail chunk until they are written; a
 * queue that was written out owns nothing, so an idle connection has no output memory.
 *
 * Invariants:
 *  1. queue_bytes of the head is the sum over the chunks of end - begin, queue_file_bytes the same
 * over those of kind FILE, last is the last; in other chunks the three mean nothing. No chunk is
 * empty.
 *  2. Bytes of a chunk never move and never change while they are queued, so an engine may point at
 * them during a send. Appending to the tail chunk writes behind its end only.
 *  3. An append happens whole or not at all.
 *
 * What a callback sent and the engine queued is cut out of an arena of the loop's, where the next
 * callback's bytes come behind it: the answers of a turn lie side by side, and an arena is used
 * again from its start when all that was cut out of it has gone. A connection that stays blocked
 * holds the whole arena.
 *
 * Other copy chunks come in one size (16 KiB, the loop keeps spares, so that a message costs no
 * malloc) and, for larger pieces, in a second of 64 KiB that is not kept. One growing vector was
 * rejected: it copies what it holds each time it grows, and never gives back the memory of its
 * worst moment.
 */
#include "net/outq.h"

#include "base/assert.h"
#include "loop/loop.h"

#include <errno.h>
#include <string.h>

enum {
    CHUNK_BIG_BYTES = 64 * 1024, /* with its header */
    SPARES_MAX = 64,
    ARENA_BYTES = 64 * 1024,
    ARENA_SPARES_MAX = 8,
    ARENA_GRAIN = 16 /* chunks begin at multiples of it */
};

struct arena {
    struct arena *next; /* of the spares */
    uint32_t holders;   /* chunks that were cut out of it, and the loop while it gathers here */
    uint32_t used;      /* bytes, this header included; the gather chunk is behind them */
};

_Static_assert(sizeof(struct arena) == ARENA_GRAIN, "an arena's first chunk has offset 1");
_Static_assert(ARENA_BYTES / ARENA_GRAIN <= UINT16_MAX, "an offset fits");

#define CHUNK_HEADER   offsetof(struct pl_chunk, data)
#define CHUNK_ROOM     (PL_CHUNK_BYTES - CHUNK_HEADER)
#define CHUNK_BIG_ROOM (CHUNK_BIG_BYTES - CHUNK_HEADER)

struct pl_chunk_cache {
    struct pl_chunk *spares;
    unsigned count;
    unsigned arena_spares_count;
    struct arena *arena, *arena_spares;
};

static bool is_alive(struct peal_loop *loop)
{
    return atomic_load_explicit(&loop->life, memory_order_relaxed) == PL_LOOP_ALIVE;
}

/* ---- arenas */

static void arena_release(struct peal_loop *loop, struct arena *arena)
{
    struct pl_chunk_cache *cache = loop->chunks;
    if (--arena->holders > 0) {
        return;
    }
    if (!is_alive(loop) || cache->arena_spares_count == ARENA_SPARES_MAX) {
        sys_free(arena);
        return;
    }
    arena->next = cache->arena_spares;
    cache->arena_spares = arena;
    cache->arena_spares_count++;
}

static struct arena *arena_of(struct pl_chunk *chunk)
{
    size_t offset = (size_t)chunk->arena_offset * ARENA_GRAIN;
    return (struct arena *)(void *)((char *)chunk - offset);
}

/* One with room for a gather chunk, while the loop has none; or NULL. */
static struct arena *arena_with_room(struct peal_loop *loop)
{
    struct pl_chunk_cache *cache = loop->chunks;
    struct arena *arena = cache->arena;
    if (arena && arena->holders == 1) {
        arena->used = sizeof *arena;
    }
    if (arena && ARENA_BYTES - arena->used >= sizeof(struct pl_chunk) + PL_GATHER_BYTES_MAX) {
        return arena;
    }
    struct arena *other = cache->arena_spares;
    if (other) {
        cache->arena_spares = other->next;
        cache->arena_spares_count--;
    } else {
        other = sys_malloc(ARENA_BYTES);
        if (!other) {
            return NULL;
        }
    }
    *other = (struct arena){.holders = 1, .used = sizeof *other};
    if (arena) {
        arena_release(loop, arena);
    }
    cache->arena = other;
    return other;
}

/* ---- chunks */

static void chunks_free(struct peal_loop *loop)
{
    struct pl_chunk_cache *cache = loop->chunks;
    loop->gather = &pl_no_gather;
    if (cache && cache->arena) {
        arena_release(loop, cache->arena);
    }
    while (cache && cache->arena_spares) {
        struct arena *arena = cache->arena_spares;
        cache->arena_spares = arena->next;
        sys_free(arena);
    }
    while (cache && cache->spares) {
        struct pl_chunk *chunk = cache->spares;
        cache->spares = chunk->next;
        sys_free(chunk);
    }
    sys_free(cache);
    loop->chunks = NULL;
}

/* Made where chunks are, not where they come back: no close allocates (G9). Without it, NULL,
 * spares are not kept. */
static struct pl_chunk_cache *cache_of(struct peal_loop *loop)
{
    if (!loop->chunks) {
        loop->chunks = sys_calloc(1, sizeof *loop->chunks);
        loop->chunks_free = chunks_free;
    }
    return loop->chunks;
}

static struct pl_chunk *chunk_new(struct peal_loop *loop, size_t room_wanted)
{
    struct pl_chunk_cache *cache = cache_of(loop);
    struct pl_chunk *chunk;
    bool big = room_wanted > CHUNK_ROOM;
    if (!big && cache && cache->spares) {
        chunk = cache->spares;
        cache->spares = chunk->next;
        cache->count--;
    } else {
        chunk = sys_malloc(big ? CHUNK_BIG_BYTES : PL_CHUNK_BYTES);
        if (!chunk) {
            return NULL;
        }
        chunk->capacity = (uint32_t)(big ? CHUNK_BIG_ROOM : CHUNK_ROOM);
        chunk->kind = PL_CHUNK_COPY;
        chunk->arena_offset = 0;
    }
    chunk->next = NULL;
    chunk->begin = chunk->end = 0;
    return chunk;
}

static void chunk_recycle(struct peal_loop *loop, struct pl_chunk *chunk)
{
    struct pl_chunk_cache *cache = loop->chunks;
    if (chunk->arena_offset) {
        arena_release(loop, arena_of(chunk));
        return;
    }
    if (chunk->capacity != CHUNK_ROOM || !is_alive(loop)) {
        sys_free(chunk);
        return;
    }
    if (!cache || cache->count >= SPARES_MAX) {
        sys_free(chunk);
        return;
    }
    chunk->next = cache->spares;
    cache->spares = chunk;
    cache->count++;
}

static void chunk_done(struct peal_loop *loop, struct pl_chunk *chunk)
{
    if (chunk->kind == PL_CHUNK_COPY) {
        chunk_recycle(loop, chunk);
    } else {
        pl_chunk_free(chunk);
    }
}

static void link_tail(struct pl_outq *queue, struct pl_chunk *chunk)
{
    if (queue->head) {
        queue->head->last->next = chunk;
    } else {
        queue->head = chunk;
        chunk->queue_bytes = chunk->queue_file_bytes = 0;
    }
    queue->head->last = chunk;
}

/* The head is done with: the next takes its accounts over. */
static void drop_head(struct pl_outq *queue, struct peal_loop *loop)
{
    struct pl_chunk *head = queue->head, *next = head->next;
    if (next) {
        next->last = head->last;
        next->queue_bytes = head->queue_bytes;
        next->queue_file_bytes = head->queue_file_bytes;
    }
    queue->head = next;
    chunk_done(loop, head);
}

struct pl_chunk pl_no_gather;

bool pl_gather_renew(struct peal_loop *loop)
{
    if (loop->gather == &pl_no_gather && is_alive(loop) && cache_of(loop)) {
        struct arena *arena = arena_with_room(loop);
        if (arena) {
            struct pl_chunk *chunk = (struct pl_chunk *)(void *)((char *)arena + arena->used);
            chunk->next = NULL;
            chunk->kind = PL_CHUNK_COPY;
            chunk->arena_offset = (uint16_t)(arena->used / ARENA_GRAIN);
            chunk->capacity = PL_GATHER_BYTES_MAX;
            chunk->begin = chunk->end = 0;
            loop->gather = chunk;
        }
    }
    return loop->gather != &pl_no_gather;
}

void pl_outq_append_gathered(struct pl_outq *queue, struct peal_loop *loop)
{
    struct pl_chunk *chunk = loop->gather;
    pl_assert(chunk->begin == 0 && chunk->end > 0);
    struct arena *arena = arena_of(chunk);
    size_t bytes = CHUNK_HEADER + chunk->end;
    bytes = bytes < sizeof *chunk ? sizeof *chunk : bytes;
    arena->used += (uint32_t)((bytes + ARENA_GRAIN - 1) & ~(size_t)(ARENA_GRAIN - 1));
    arena->holders++;
    chunk->capacity = (uint32_t)chunk->end; /* what comes behind it is another's */
    loop->gather = &pl_no_gather;
    link_tail(queue, chunk);
    queue->head->queue_bytes += chunk->end;
}

/* Chunks with room for size bytes, as a chain, or NULL. */
static struct pl_chunk *chain_new(struct peal_loop *loop, size_t size)
{
    struct pl_chunk *first = NULL, **link = &first;
    for (size_t left = size; left > 0;) {
        struct pl_chunk *chunk = chunk_new(loop, left);
        if (!chunk) {
            while (first) {
                struct pl_chunk *next = first->next;
                chunk_recycle(loop, first);
                first = next;
            }
            return NULL;
        }
        *link = chunk;
        link = &chunk->next;
        left -= left < chunk->capacity ? left : chunk->capacity;
    }
    return first;
}

static size_t tail_room(const struct pl_outq *queue)
{
    const struct pl_chunk *tail = queue->head ? queue->head->last : NULL;
    return tail && tail->kind == PL_CHUNK_COPY ? tail->capacity - tail->end : 0;
}

int pl_outq_append(struct pl_outq *queue, struct peal_loop *loop, const struct iovec *parts,
                   int count, size_t size, size_t skip)
{
    size_t room = tail_room(queue);
    struct pl_chunk *chain = NULL;
    if (size > room) {
        chain = chain_new(loop, size - room);
        if (!chain) {
            return -ENOMEM;
        }
    }
    struct pl_chunk *tail = room ? queue->head->last : NULL, *into = room ? tail : chain;
    for (int i = 0; i < count; i++) {
        const unsigned char *from = parts[i].iov_base;
        size_t left = parts[i].iov_len;
        size_t skipped = skip < left ? skip : left;
        if (left == 0) {
            continue; /* it may have no address */
        }
        skip -= skipped;
        from += skipped;
        left -= skipped;
        while (left > 0) {
            if (into->end == into->capacity) {
                into = into == tail ? chain : into->next;
            }
            size_t piece = into->capacity - into->end;
            piece = piece < left ? piece : left;
            memcpy(into->data + into->end, from, piece);
            into->end += piece;
            from += piece;
            left -= piece;
        }
    }
    while (chain) {
        struct pl_chunk *next = chain->next;
        chain->next = NULL;
        link_tail(queue, chain);
        chain = next;
    }
    if (size > 0) {
        queue->head->queue_bytes += size;
    }
    return 0;
}

static struct pl_chunk *small_chunk(uint8_t kind, size_t begin, size_t end)
{
    struct pl_chunk *chunk = sys_malloc(sizeof *chunk);
    if (chunk) {
        *chunk = (struct pl_chunk){.kind = kind, .begin = begin, .end = end};
    }
    return chunk;
}

struct pl_chunk *pl_chunk_copy(const struct iovec *parts, int count, size_t size)
{
    struct pl_chunk *chunk;
    if (size > UINT32_MAX) {
        return NULL;
    }
    /* Small data ends inside the union, but the structure is written whole. */
    size_t whole = CHUNK_HEADER + size < sizeof *chunk ? sizeof *chunk : CHUNK_HEADER + size;
    chunk = sys_malloc(whole);
    if (!chunk) {
        return NULL;
    }
    *chunk = (struct pl_chunk){.kind = PL_CHUNK_COPY, .capacity = (uint32_t)size};
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > 0) {
            memcpy(chunk->data + chunk->end, parts[i].iov_base, parts[i].iov_len);
            chunk->end += parts[i].iov_len;
        }
    }
    return chunk;
}

struct pl_chunk *pl_chunk_blob(struct peal_blob *blob, size_t skip)
{
    struct pl_chunk *chunk = small_chunk(PL_CHUNK_BLOB, skip, peal_blob_size(blob));
    if (chunk) {
        chunk->blob = peal_blob_ref(blob);
    }
    return chunk;
}

void pl_chunk_free(struct pl_chunk *chunk)
{
    if (chunk->kind == PL_CHUNK_BLOB) {
        peal_blob_unref(chunk->blob);
    } else if (chunk->kind == PL_CHUNK_FILE) {
        sys_close(chunk->file.fd);
    }
    sys_free(chunk);
}

void pl_outq_append_chunk(struct pl_outq *queue, struct peal_loop *loop, struct pl_chunk *chunk)
{
    size_t size = chunk->end - chunk->begin;
    if (chunk->kind == PL_CHUNK_COPY &&
        size <= tail_room(queue)) { /* small ones share a chunk, and a write */
        const struct iovec part = {.iov_base = chunk->data + chunk->begin, .iov_len = size};
        int result = pl_outq_append(queue, loop, &part, 1, size, 0);
        pl_assert(result == 0);
        pl_chunk_free(chunk);
        return;
    }
    link_tail(queue, chunk);
    queue->head->queue_bytes += size;
}

int pl_outq_append_blob(struct pl_outq *queue, struct peal_blob *blob, size_t skip)
{
    struct pl_chunk *chunk = pl_chunk_blob(blob, skip);
    if (!chunk) {
        return -ENOMEM;
    }
    link_tail(queue, chunk);
    queue->head->queue_bytes += chunk->end - chunk->begin;
    return 0;
}

int pl_outq_append_file(struct pl_outq *queue, int fd, off_t offset, size_t size)
{
    struct pl_chunk *chunk = small_chunk(PL_CHUNK_FILE, 0, size);
    if (!chunk) {
        return -ENOMEM;
    }
    chunk->file.fd = fd;
    chunk->file.offset = offset;
    link_tail(queue, chunk);
    queue->head->queue_bytes += size;
    queue->head->queue_file_bytes += size;
    return 0;
}

int pl_outq_gather(const struct pl_outq *queue, struct iovec *iov, int iov_max, size_t *ret_size)
{
    int count = 0;
    size_t size = 0;
    for (struct pl_chunk *chunk = queue->head;
         chunk && count < iov_max && chunk->kind != PL_CHUNK_FILE; chunk = chunk->next) {
        const unsigned char *base =
            chunk->kind == PL_CHUNK_COPY ? chunk->data : peal_blob_data(chunk->blob);
        iov[count].iov_base = (void *)(uintptr_t)(base + chunk->begin);
        iov[count].iov_len = chunk->end - chunk->begin;
        size += iov[count].iov_len;
        count++;
    }
    *ret_size = size;
    return count;
}

void pl_outq_consume(struct pl_outq *queue, struct peal_loop *loop, size_t n)
{
    pl_assert(n <= pl_outq_bytes(queue));
    while (n > 0) {
        struct pl_chunk *chunk = queue->head;
        size_t piece = chunk->end - chunk->begin;
        piece = piece < n ? piece : n;
        chunk->begin += piece;
        n -= piece;
        if (chunk->kind == PL_CHUNK_FILE) {
            chunk->queue_file_bytes -= piece;
        }
        chunk->queue_bytes -= piece;
        if (chunk->begin == chunk->end) {
            drop_head(queue, loop);
        }
    }
}

ssize_t pl_outq_read_file(struct pl_outq *queue, struct peal_loop *loop)
{
    struct pl_chunk *file = queue->head;
    pl_assert(file && file->kind == PL_CHUNK_FILE);
    size_t want = file->end - file->begin;
    struct pl_chunk *copy = chunk_new(loop, CHUNK_BIG_ROOM);
    if (!copy) {
        return -ENOMEM;
    }
    want = want < copy->capacity ? want : copy->capacity;
    ssize_t n = sys_pread(file->file.fd, copy->data, want, file->file.offset + (off_t)file->begin);
    if (n <= 0) {
        chunk_recycle(loop, copy);
        return n == 0 ? -ENODATA : n;
    }
    copy->end = (size_t)n;
    file->begin += (size_t)n;
    copy->last = file->last;
    copy->queue_bytes = file->queue_bytes;
    copy->queue_file_bytes = file->queue_file_bytes - (size_t)n;
    copy->next = file;
    queue->head = copy;
    if (file->begin == file->end) { /* the file is all in memory now */
        copy->next = file->next;
        if (copy->last == file) {
            copy->last = copy;
        }
        chunk_done(loop, file);
    }
    return n;
}

void pl_outq_consume_all(struct pl_outq *queue, struct peal_loop *loop)
{
    struct pl_chunk *chunk = queue->head;
    queue->head = NULL;
    while (chunk) {
        struct pl_chunk *next = chunk->next;
        chunk_done(loop, chunk);
        chunk = next;
    }
}
