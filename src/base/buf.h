/* SPDX-License-Identifier: BSD-2-Clause */
/* What the library alone does with a buffer: make it a view, and end that. */
#ifndef PL_BUF_H
#define PL_BUF_H

#include <peal/buf.h>

/* Makes buf, which must hold no bytes, a view of memory that belongs to the caller and stays as it
 * is until the view has been consumed, cleared or made its own. Storage that buf has is freed. */
void pl_buf_borrow(struct peal_buf *buf, const void *data, size_t size);

/* Copies the unread bytes of a view to storage of just their size; a view of nothing becomes an
 * empty buffer. What is its own already stays untouched. Error: -ENOMEM, and it is still a view. */
int pl_buf_own(struct peal_buf *buf);

/* A new view. What pl_buf_borrow does to storage that has never been used, in two stores. */
static inline struct peal_buf pl_buf_view(const void *data, size_t size)
{
    return (struct peal_buf){.begin = data, .size = size};
}

/* True for a view, also when all of it has been consumed. */
static inline bool pl_buf_is_borrowed(const struct peal_buf *buf)
{
    return buf->begin && !buf->storage;
}

#endif
