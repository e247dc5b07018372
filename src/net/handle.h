/* SPDX-License-Identifier: BSD-2-Clause */
/* Handles: 64-bit ids that name a connection from any thread at any time, and never another one. */
#ifndef PL_HANDLE_H
#define PL_HANDLE_H

#include <stdint.h>

struct peal_conn;
struct peal_loop;
struct pl_handle_table;

/* Gives conn an id in its loop's table: conn->id. The loop's thread. 0, -ENOMEM, or -ENFILE: a loop
 * holds 4 million at once, a process 1,023 loops with connections. */
int pl_handle_take(struct peal_loop *loop, struct peal_conn *conn);

/* The connection at a place (the lower bits of its id) that is taken. The loop's thread. */
struct peal_conn *pl_handle_at(const struct peal_loop *loop, uint32_t place);
uint32_t pl_handle_place(uint64_t id);

/* From now on the id is stale. The loop's thread. */
void pl_handle_release(struct peal_loop *loop, const struct peal_conn *conn);

/* The connection with that id, with a reference (pl_conn_hold), or NULL. Any thread. */
struct peal_conn *pl_handle_find(uint64_t id);

#endif
