/* SPDX-License-Identifier: BSD-2-Clause */
/* The output queue of a connection: bytes that were accepted and that the kernel has not taken. */
#ifndef PL_OUTQ_H
#define PL_OUTQ_H

#include <peal/blob.h>

#include "loop/loop.h"

/* Copy chunks are of this size, with their header; larger pieces get larger ones. */
enum { PL_CHUNK_BYTES = 16 * 1024 };

enum pl_chunk_kind { PL_CHUNK_COPY, PL_CHUNK_BLOB, PL_CHUNK_FILE };

struct pl_chunk {
    struct pl_chunk *next;
    uint8_t kind;
    uint16_t arena_offset;                /* COPY: where in its arena, in 16 bytes; 0: in none */
    uint32_t capacity;                    /* COPY: bytes of data[] */
    struct pl_chunk *last;                /* the queue's, kept in its head alone, as the next two */
    size_t queue_bytes, queue_file_bytes; /* all that is queued; of that, in files */
    size_t begin,
        end; /* COPY: in data[]; BLOB: in the blob; FILE: begin and end counted from offset */
    union {
        struct peal_blob *blob;
        struct {
            off_t offset;
            int fd;
        } file;
        unsigned char data[0]; /* COPY: capacity bytes, the allocation goes on */
    };
};

/* From here on writing at once costs less than copying: a piece of this size is not gathered, and a
 * loop's gather chunk does not hold as much. */
enum { PL_DIRECT_BYTES = 8 * 1024, PL_GATHER_BYTES_MAX = PL_DIRECT_BYTES - 1 };

/* One pointer, as there is a queue in every connection and something in few of them: the head has
 * the rest. */
struct pl_outq {
    struct pl_chunk *head;
};

static inline bool pl_outq_is_empty(const struct pl_outq *queue)
{
    return queue->head == NULL;
}

static inline size_t pl_outq_bytes(const struct pl_outq *queue)
{
    return queue->head ? queue->head->queue_bytes : 0;
}
/* Without what is in files, which takes no memory. */
static inline size_t pl_outq_memory_bytes(const struct pl_outq *queue)
{
    return queue->head ? queue->head->queue_bytes - queue->head->queue_file_bytes : 0;
}

/* The gather chunk (loop->gather) takes what a callback sends until it returns; then it is written,
 * and empty again. Only what the kernel did not take, or takes later in the turn (PL_IO_QUEUED),
 * makes it a part of a queue, cut to its size, and the loop gets another, behind it in the same
 * arena: pl_gather_renew (false: no memory). A loop without one has pl_no_gather, in which there
 * is no room, so that the way of a message needs no test for NULL. */
extern struct pl_chunk pl_no_gather;
static inline void pl_gather_init(struct peal_loop *loop)
{
    if (!loop->gather) {
        loop->gather = &pl_no_gather;
    }
}
bool pl_gather_renew(struct peal_loop *loop);

/* Moves what was gathered to the end of the queue. */
void pl_outq_append_gathered(struct pl_outq *queue, struct peal_loop *loop);

/* Each is all or nothing: 0, or -ENOMEM with the queue as it was. The loop lends spare chunks; its
 * thread. */
int pl_outq_append(
    struct pl_outq *queue, struct peal_loop *loop, const struct iovec *parts, int count,
    size_t size, size_t skip); /* leaves out the first skip bytes of parts; size is what remains */
int pl_outq_append_blob(struct pl_outq *queue, struct peal_blob *blob,
                        size_t skip); /* takes its own reference */
void pl_outq_append_chunk(struct pl_outq *queue, struct peal_loop *loop,
                          struct pl_chunk *chunk); /* takes it over */
int pl_outq_append_file(struct pl_outq *queue, int fd, off_t offset,
                        size_t size); /* on success fd is the queue's */

/* Fills iov with the memory at the head, up to the first file; returns how many were filled.
 * *ret_size: their bytes. */
int pl_outq_gather(const struct pl_outq *queue, struct iovec *iov, int iov_max, size_t *ret_size);

/* Drops n bytes at the head: the kernel took them. */
void pl_outq_consume(struct pl_outq *queue, struct peal_loop *loop, size_t n);

void pl_outq_consume_all(struct pl_outq *queue, struct peal_loop *loop);

/* Moves up to a chunk of the file at the head into memory, for sockets and files that sendfile(2)
 * does not know. Returns bytes moved, -ENOMEM, or the file's error; -ENODATA if the file ends
 * early. */
ssize_t pl_outq_read_file(struct pl_outq *queue, struct peal_loop *loop);

/* Chunks made on any thread, of just their size. pl_chunk_free frees one that is on no queue. */
struct pl_chunk *pl_chunk_copy(const struct iovec *parts, int count, size_t size);
struct pl_chunk *pl_chunk_blob(struct peal_blob *blob,
                               size_t skip); /* with a reference of its own */
void pl_chunk_free(struct pl_chunk *chunk);

#endif
