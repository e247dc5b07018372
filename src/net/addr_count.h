/* SPDX-License-Identifier: BSD-2-Clause */
/* How many connections each peer's IP address has open: the limit conns_per_addr_max. Any thread:
 * it has its own mutex. */
#ifndef PL_ADDR_COUNT_H
#define PL_ADDR_COUNT_H

#include <sys/socket.h>

#include "sys/sys.h"

struct pl_addr_node;

struct pl_addr_count {
    struct sys_mutex mutex;
    struct pl_addr_node **buckets; /* NULL until the first */
    size_t bucket_count, node_count;
    uint64_t seed;
};

void pl_addr_count_init(struct pl_addr_count *counts);
void pl_addr_count_deinit(
    struct pl_addr_count *counts); /* every address must have been given back */

/* One more for this peer: 0, -EDQUOT when it has count_max already, -ENOMEM. Other families than IP
 * are not counted. */
int pl_addr_count_take(struct pl_addr_count *counts, const struct sockaddr *peer, size_t count_max);
void pl_addr_count_give_back(struct pl_addr_count *counts, const struct sockaddr *peer);

#endif
