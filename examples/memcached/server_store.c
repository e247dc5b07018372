/* SPDX-License-Identifier: BSD-2-Clause */
/* The store: shards, each a hash table, a list in the order of use, and a lock.
 *
 * A shard has a fixed share of the memory, its table of buckets a fixed share of that, so a table
 * never grows and no request ever waits for one that does. With one shard the least recently used
 * item of all goes first; with several that of the shard that is full, which for keys spread by a
 * hash is nearly the same, and is the price of loops that do not wait for each other.
 *
 * Invariants:
 *  1. Key, value, flags and cas of an item in the store do not change, so they are sent without the
 *     lock and without a copy by whoever holds a reference. incr, append and the like make a new
 *     item. Links and the time of expiry are read and written under the lock.
 *  2. used <= limit whenever the lock is free, also when a smaller limit was just set. used counts
 *     what malloc really gave for each item.
 *     An item that was evicted while it is being sent is no longer counted: the output limits of
 *     the connections bound those.
 *  3. An item that has expired is never found. Its memory goes when its key is next asked for, or
 *     when it is the oldest.
 *  4. A flush at a later time is done by the first call that takes the lock at that time or after,
 *     before anything else: what is stored after that time cannot be hit by it.
 *  5. cas numbers are given under the lock from one counter of the store, and never again.
 *
 * Keys come from anybody, so the hash is keyed by a number that nobody outside knows: nobody can
 * send ten thousand keys of one bucket.
 *
 * Rejected: slabs, as the original has them: malloc of today has its own, and the original's price,
 * memory that is bound to one size for good, is the greater one here. A thread that looks for what
 * has expired: eviction does without it. */
#include "server_store.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    BUCKET_SHARE_BYTES = 256, /* of memory for each bucket */
    BUCKETS_MIN = 256,
    VALUES_PER_SHARD_MIN = 8, /* of the largest size: fewer, and luck decides what stays */
    NUMBER_DIGITS_MAX = 20
};

struct shard {
    pthread_mutex_t lock;
    struct item **buckets;
    size_t buckets_mask;
    struct item *newest, *oldest;
    size_t used, limit;
    uint64_t flush_at_ms; /* 0: never */
    struct store_stats stats;
};

struct store {
    struct shard *shards;
    unsigned shard_count; /* a power of two */
    size_t value_max;
    uint64_t seed;
    _Atomic uint64_t cas;
    _Atomic size_t memory_bytes;
};

/* ---- items */

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(const struct store *store, struct store_key key)
{
    const unsigned char *bytes = key.data;
    uint64_t hash = store->seed ^ key.size;
    for (size_t at = 0; at < key.size; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t left = key.size - at;
        memcpy(&word, bytes + at, left < sizeof(word) ? left : sizeof(word));
        hash = mix(hash ^ word, 0x9e3779b97f4a7c15) + store->seed;
    }
    return mix(hash, 0xd6e8feb86659fd93);
}

struct item *item_new(const struct store *store, struct store_key key, size_t value_size,
                      uint32_t flags, uint64_t expires_ms)
{
    struct item *item = malloc(sizeof(*item) + key.size + value_size + 2);
    if (item == NULL) {
        return NULL;
    }
    *item = (struct item){.expires_ms = expires_ms,
                          .flags = flags,
                          .hash = hash_of(store, key),
                          .value_size = (uint32_t)value_size,
                          .key_size = (uint8_t)key.size};
    atomic_init(&item->references, 1);
    memcpy(item->bytes, key.data, key.size);
    return item;
}

struct item *item_ref(struct item *item)
{
    atomic_fetch_add_explicit(&item->references, 1, memory_order_relaxed);
    return item;
}

struct item *item_unref(struct item *item)
{
    if (item != NULL &&
        atomic_fetch_sub_explicit(&item->references, 1, memory_order_acq_rel) == 1) {
        free(item);
    }
    return NULL;
}

static size_t charge(struct item *item)
{
    return malloc_usable_size(item) + sizeof(size_t); /* and malloc's own header */
}

static struct store_key item_key(const struct item *item)
{
    return (struct store_key){item->bytes, item->key_size};
}

/* ---- one shard, under its lock */

static struct item **bucket_of(struct shard *shard, uint64_t hash)
{
    return &shard->buckets[hash & shard->buckets_mask];
}

static void use(struct shard *shard, struct item *item)
{
    item->newer = NULL;
    item->older = shard->newest;
    *(shard->newest != NULL ? &shard->newest->newer : &shard->oldest) = item;
    shard->newest = item;
}

static void disuse(struct shard *shard, struct item *item)
{
    *(item->newer != NULL ? &item->newer->older : &shard->newest) = item->older;
    *(item->older != NULL ? &item->older->newer : &shard->oldest) = item->newer;
}

static void take_out(struct shard *shard, struct item *item)
{
    struct item **link = bucket_of(shard, item->hash);
    while (*link != item) {
        link = &(*link)->next;
    }
    *link = item->next;
    disuse(shard, item);
    shard->used -= charge(item);
    shard->stats.curr_items--;
    item_unref(item);
}

static bool is_expired(const struct item *item, uint64_t now)
{
    return item->expires_ms != STORE_LIVES_FOREVER && item->expires_ms <= now;
}

static struct item *find(struct shard *shard, uint64_t hash, struct store_key key, uint64_t now)
{
    for (struct item *item = *bucket_of(shard, hash); item != NULL; item = item->next) {
        if (item->hash == hash && item->key_size == key.size &&
            memcmp(item->bytes, key.data, key.size) == 0) {
            if (is_expired(item, now)) {
                shard->stats.expired++;
                take_out(shard, item);
                return NULL;
            }
            disuse(shard, item);
            use(shard, item);
            return item;
        }
    }
    return NULL;
}

/* Evicts until so many bytes more are within the limit, which is no less than they are. */
static void make_room(struct shard *shard, size_t bytes, uint64_t now)
{
    while (shard->used + bytes > shard->limit) {
        shard->stats.evictions += !is_expired(shard->oldest, now);
        take_out(shard, shard->oldest);
    }
}

/* Puts a new item in the place of old, which may be NULL. */
static enum store_result put_in(struct store *store, struct shard *shard, struct item *item,
                                struct item *old, uint64_t now)
{
    size_t bytes = charge(item);
    if (bytes > shard->limit) {
        return STORE_NO_MEMORY;
    }
    if (old != NULL) {
        take_out(shard, old);
    }
    make_room(shard, bytes, now);
    item->cas = atomic_fetch_add_explicit(&store->cas, 1, memory_order_relaxed) + 1;
    struct item **bucket = bucket_of(shard, item->hash);
    item->next = *bucket;
    *bucket = item_ref(item);
    use(shard, item);
    shard->used += bytes;
    shard->stats.curr_items++;
    shard->stats.total_items++;
    return STORE_OK;
}

static void clear(struct shard *shard)
{
    while (shard->oldest != NULL) {
        take_out(shard, shard->oldest);
    }
}

static struct shard *lock_shard(struct store *store, uint64_t hash, uint64_t now)
{
    struct shard *shard = &store->shards[(hash >> 48) & (store->shard_count - 1)];
    pthread_mutex_lock(&shard->lock);
    if (shard->flush_at_ms != 0 && shard->flush_at_ms <= now) {
        shard->flush_at_ms = 0;
        clear(shard);
    }
    return shard;
}

static void unlock(struct shard *shard)
{
    pthread_mutex_unlock(&shard->lock);
}

/* ---- life */

/* The table is part of what a shard may use. */
static void set_limit(struct shard *shard, size_t memory_bytes)
{
    size_t table = (shard->buckets_mask + 1) * sizeof(struct item *);
    shard->limit = memory_bytes > table ? memory_bytes - table : 0;
}

static bool shard_init(struct shard *shard, size_t memory_bytes)
{
    size_t count = BUCKETS_MIN;
    while (count * BUCKET_SHARE_BYTES < memory_bytes) {
        count *= 2;
    }
    shard->buckets_mask = count - 1;
    shard->buckets = calloc(count, sizeof(struct item *));
    set_limit(shard, memory_bytes);
    pthread_mutex_init(&shard->lock, NULL);
    return shard->buckets != NULL;
}

struct store *store_new(size_t memory_bytes, size_t value_max, unsigned shards_max)
{
    struct store *store = calloc(1, sizeof(*store));
    if (store == NULL || getrandom(&store->seed, sizeof(store->seed), 0) < 0) {
        return store_free(store);
    }
    store->value_max = value_max;
    atomic_init(&store->memory_bytes, memory_bytes);
    unsigned count = 1;
    while (count * 2 <= shards_max &&
           memory_bytes / (count * 2) >= VALUES_PER_SHARD_MIN * value_max) {
        count *= 2;
    }
    store->shards = calloc(count, sizeof(*store->shards));
    if (store->shards == NULL) {
        return store_free(store);
    }
    for (; store->shard_count < count; store->shard_count++) {
        if (!shard_init(&store->shards[store->shard_count], memory_bytes / count)) {
            return store_free(store);
        }
    }
    return store;
}

struct store *store_free(struct store *store)
{
    for (unsigned i = 0; store != NULL && i < store->shard_count; i++) {
        clear(&store->shards[i]);
        pthread_mutex_destroy(&store->shards[i].lock);
        free(store->shards[i].buckets);
    }
    if (store != NULL) {
        free(store->shards);
        free(store);
    }
    return NULL;
}

size_t store_value_max(const struct store *store)
{
    return store->value_max;
}

size_t store_memory(const struct store *store)
{
    return atomic_load(&store->memory_bytes);
}

void store_set_memory(struct store *store, size_t memory_bytes, uint64_t now)
{
    atomic_store(&store->memory_bytes, memory_bytes);
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        set_limit(shard, store_memory(store) / store->shard_count); /* another may have set it */
        make_room(shard, 0, now);
        unlock(shard);
    }
}

/* ---- operations */

/* What append or prepend makes of two items. */
static struct item *join(const struct store *store, struct item *old, struct item *added,
                         bool behind)
{
    struct item *first = behind ? old : added, *second = behind ? added : old;
    struct item *joined = item_new(store, item_key(old), old->value_size + added->value_size,
                                   old->flags, old->expires_ms);
    if (joined != NULL) {
        unsigned char *value = item_value(joined);
        memcpy(value, item_value(first), first->value_size);
        memcpy(value + first->value_size, item_value(second), second->value_size);
        memcpy(value + joined->value_size, "\r\n", 2);
    }
    return joined;
}

static enum store_result put_joined(struct store *store, struct shard *shard, struct item *item,
                                    struct item *old, bool behind, uint64_t now, uint64_t *ret_cas)
{
    if ((size_t)old->value_size + item->value_size > store->value_max) {
        return STORE_TOO_LARGE;
    }
    struct item *joined = join(store, old, item, behind);
    if (joined == NULL) {
        return STORE_NO_MEMORY;
    }
    enum store_result result = put_in(store, shard, joined, old, now);
    *ret_cas = joined->cas;
    item_unref(joined);
    return result;
}

static enum store_result put_locked(struct store *store, struct shard *shard, struct item *item,
                                    enum store_mode mode, uint64_t cas, uint64_t now,
                                    uint64_t *ret_cas)
{
    struct item *old = find(shard, item->hash, item_key(item), now);

    shard->stats.cmd_set++;
    if (mode == STORE_CAS || cas != 0) {
        if (old == NULL) {
            shard->stats.cas_misses++;
            return STORE_NOT_FOUND;
        }
        if (old->cas != cas) {
            shard->stats.cas_badval++;
            return STORE_EXISTS;
        }
        shard->stats.cas_hits++;
    }
    bool must_be_there = mode == STORE_REPLACE || mode == STORE_APPEND || mode == STORE_PREPEND;
    if (mode == STORE_ADD ? old != NULL : must_be_there && old == NULL) {
        return STORE_NOT_STORED;
    }
    if (mode == STORE_APPEND || mode == STORE_PREPEND) {
        return put_joined(store, shard, item, old, mode == STORE_APPEND, now, ret_cas);
    }
    enum store_result result = put_in(store, shard, item, old, now);
    *ret_cas = item->cas;
    return result;
}

enum store_result store_put(struct store *store, struct item *item, enum store_mode mode,
                            uint64_t cas, uint64_t now, uint64_t *ret_cas)
{
    struct shard *shard = lock_shard(store, item->hash, now);
    enum store_result result = put_locked(store, shard, item, mode, cas, now, ret_cas);
    unlock(shard);
    return result;
}

struct item *store_get(struct store *store, struct store_key key, uint64_t now)
{
    uint64_t hash = hash_of(store, key);
    struct shard *shard = lock_shard(store, hash, now);
    struct item *item = find(shard, hash, key, now);

    shard->stats.cmd_get++;
    if (item != NULL) {
        shard->stats.get_hits++;
        item_ref(item);
    } else {
        shard->stats.get_misses++;
    }
    unlock(shard);
    return item;
}

struct item *store_touch(struct store *store, struct store_key key, uint64_t expires_ms,
                         bool counts_as_get, uint64_t now)
{
    uint64_t hash = hash_of(store, key);
    struct shard *shard = lock_shard(store, hash, now);
    struct item *item = find(shard, hash, key, now);

    shard->stats.cmd_touch++;
    shard->stats.cmd_get += counts_as_get;
    if (item != NULL) {
        shard->stats.touch_hits++;
        shard->stats.get_hits += counts_as_get;
        item->expires_ms = expires_ms;
        item_ref(item);
    } else {
        shard->stats.touch_misses++;
        shard->stats.get_misses += counts_as_get;
    }
    unlock(shard);
    return item;
}

enum store_result store_delete(struct store *store, struct store_key key, uint64_t cas,
                               uint64_t now)
{
    enum store_result result = STORE_OK;
    uint64_t hash = hash_of(store, key);
    struct shard *shard = lock_shard(store, hash, now);
    struct item *item = find(shard, hash, key, now);

    if (item == NULL) {
        shard->stats.delete_misses++;
        result = STORE_NOT_FOUND;
    } else if (cas != 0 && item->cas != cas) {
        result = STORE_EXISTS;
    } else {
        shard->stats.delete_hits++;
        take_out(shard, item);
    }
    unlock(shard);
    return result;
}

/* The number that a value is; blanks behind it are allowed, as other servers leave them. */
static bool number_of(struct item *item, uint64_t *ret_number)
{
    const unsigned char *value = item_value(item);
    size_t size = item->value_size;
    uint64_t number = 0;

    while (size > 1 && value[size - 1] == ' ') {
        size--;
    }
    if (size == 0 || size > NUMBER_DIGITS_MAX) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (value[i] < '0' || value[i] > '9' ||
            __builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(value[i] - '0'), &number)) {
            return false;
        }
    }
    *ret_number = number;
    return true;
}

/* Puts a number in as the value of a key. */
static enum store_result put_number(struct store *store, struct shard *shard, struct store_key key,
                                    struct item *old, const struct store_change *change,
                                    uint64_t number, uint64_t now, uint64_t *ret_cas)
{
    char text[NUMBER_DIGITS_MAX + 4];
    int size = snprintf(text, sizeof(text), "%llu\r\n", (unsigned long long)number);
    struct item *item = item_new(store, key, (size_t)size - 2, old != NULL ? old->flags : 0,
                                 old != NULL ? old->expires_ms : change->expires_ms);
    if (item == NULL) {
        return STORE_NO_MEMORY;
    }
    memcpy(item_value(item), text, (size_t)size);
    enum store_result result = put_in(store, shard, item, old, now);
    *ret_cas = item->cas;
    item_unref(item);
    return result;
}

static enum store_result arith_locked(struct store *store, struct shard *shard,
                                      struct store_key key, struct item *old,
                                      const struct store_change *change, uint64_t now,
                                      uint64_t *ret_value, uint64_t *ret_cas)
{
    uint64_t number = change->initial;

    if (old == NULL) {
        *(change->decrement ? &shard->stats.decr_misses : &shard->stats.incr_misses) += 1;
        if (!change->create) {
            return STORE_NOT_FOUND;
        }
    } else {
        if (change->cas != 0 && old->cas != change->cas) {
            return STORE_EXISTS;
        }
        if (!number_of(old, &number)) {
            return STORE_NOT_NUMBER;
        }
        *(change->decrement ? &shard->stats.decr_hits : &shard->stats.incr_hits) += 1;
        if (change->decrement) {
            number = number > change->by ? number - change->by : 0;
        } else {
            number += change->by; /* 2^64 is 0 again, as the protocol has it */
        }
    }
    *ret_value = number;
    return put_number(store, shard, key, old, change, number, now, ret_cas);
}

enum store_result store_arith(struct store *store, struct store_key key,
                              const struct store_change *change, uint64_t now, uint64_t *ret_value,
                              uint64_t *ret_cas)
{
    uint64_t hash = hash_of(store, key);
    struct shard *shard = lock_shard(store, hash, now);
    struct item *old = find(shard, hash, key, now);
    enum store_result result =
        arith_locked(store, shard, key, old, change, now, ret_value, ret_cas);
    unlock(shard);
    return result;
}

void store_flush(struct store *store, uint64_t at_ms, uint64_t now)
{
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        shard->flush_at_ms = at_ms > now ? at_ms : 0;
        if (at_ms <= now) {
            clear(shard);
        }
        unlock(shard);
    }
}

void store_get_stats(struct store *store, struct store_stats *ret_stats)
{
    *ret_stats = (struct store_stats){0};
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
#define ADD_FIELD(name) ret_stats->name += shard->stats.name;
        STORE_COUNTERS(ADD_FIELD)
#undef ADD_FIELD
        ret_stats->curr_items += shard->stats.curr_items;
        ret_stats->bytes += shard->used;
        unlock(shard);
    }
}

void store_reset_stats(struct store *store)
{
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        shard->stats = (struct store_stats){.curr_items = shard->stats.curr_items};
        unlock(shard);
    }
}
