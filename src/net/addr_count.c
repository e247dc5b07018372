/* SPDX-License-Identifier: BSD-2-Clause */
/* Counting connections by address: a hash table of 16-byte addresses (IPv4 as ::ffff:a.b.c.d, so
 * that a dual-stack listener counts a host once), chained, doubled when it holds more nodes than
 * buckets. The hash is seeded, so that a peer with many addresses cannot aim at one bucket. A node
 * lives while its address has a connection; giving one back never allocates. */
#include "net/addr_count.h"

#include "base/assert.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

enum { FIRST_BUCKETS = 64 };

struct pl_addr_node {
    struct pl_addr_node *next;
    uint64_t key[2];
    size_t count;
};

static bool key_of(const struct sockaddr *peer, uint64_t key[2])
{
    unsigned char bytes[16] = {[10] = 0xff, [11] = 0xff};
    if (peer->sa_family == AF_INET) {
        memcpy(bytes + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        memcpy(bytes, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
    } else {
        return false;
    }
    memcpy(key, bytes, sizeof bytes);
    return true;
}

/* Two rounds of multiply and fold. */
static uint64_t hash(const struct pl_addr_count *counts, const uint64_t key[2])
{
    uint64_t value = counts->seed;
    for (int i = 0; i < 2; i++) {
        value = (value ^ key[i]) * 0x9e3779b97f4a7c15u;
        value ^= value >> 29;
    }
    return value;
}

void pl_addr_count_init(struct pl_addr_count *counts)
{
    memset(counts, 0, sizeof *counts);
    sys_mutex_init(&counts->mutex);
    counts->seed = sys_random();
}

void pl_addr_count_deinit(struct pl_addr_count *counts)
{
    pl_assert(counts->node_count == 0);
    sys_free(counts->buckets);
    sys_mutex_deinit(&counts->mutex);
}

/* Where the pointer to the node with that key is or would be. There must be buckets. */
static struct pl_addr_node **find(struct pl_addr_count *counts, const uint64_t key[2])
{
    struct pl_addr_node **at = &counts->buckets[hash(counts, key) & (counts->bucket_count - 1)];
    while (*at && ((*at)->key[0] != key[0] || (*at)->key[1] != key[1])) {
        at = &(*at)->next;
    }
    return at;
}

static int grow(struct pl_addr_count *counts)
{
    size_t old_count = counts->bucket_count;
    size_t new_count = old_count ? old_count * 2 : FIRST_BUCKETS;
    struct pl_addr_node **old = counts->buckets;
    struct pl_addr_node **buckets = sys_calloc(new_count, sizeof(struct pl_addr_node *));
    if (!buckets) {
        return old ? 0 : -ENOMEM; /* a fuller table works too */
    }
    counts->buckets = buckets;
    counts->bucket_count = new_count;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i]) {
            struct pl_addr_node *node = old[i];
            old[i] = node->next;
            struct pl_addr_node **at = find(counts, node->key);
            node->next = *at;
            *at = node;
        }
    }
    sys_free(old);
    return 0;
}

static int take(struct pl_addr_count *counts, const uint64_t key[2], size_t count_max)
{
    if (counts->node_count >= counts->bucket_count && grow(counts) < 0) {
        return -ENOMEM;
    }
    struct pl_addr_node **at = find(counts, key);
    if (!*at) {
        struct pl_addr_node *node = sys_calloc(1, sizeof *node);
        if (!node) {
            return -ENOMEM;
        }
        memcpy(node->key, key, sizeof node->key);
        *at = node;
        counts->node_count++;
    }
    if ((*at)->count >= count_max) {
        return -EDQUOT;
    }
    (*at)->count++;
    return 0;
}

int pl_addr_count_take(struct pl_addr_count *counts, const struct sockaddr *peer, size_t count_max)
{
    uint64_t key[2];
    if (!key_of(peer, key)) {
        return 0;
    }
    sys_mutex_lock(&counts->mutex);
    int result = take(counts, key, count_max);
    sys_mutex_unlock(&counts->mutex);
    return result;
}

void pl_addr_count_give_back(struct pl_addr_count *counts, const struct sockaddr *peer)
{
    uint64_t key[2];
    if (!key_of(peer, key)) {
        return;
    }
    sys_mutex_lock(&counts->mutex);
    struct pl_addr_node **at = find(counts, key);
    struct pl_addr_node *node = *at;
    pl_assert(node && node->count > 0);
    if (--node->count == 0) {
        *at = node->next;
        sys_free(node);
        counts->node_count--;
    }
    sys_mutex_unlock(&counts->mutex);
}
