/* SPDX-License-Identifier: BSD-2-Clause */
/* The items of the memcached server, shared by all its loops: a hash table of bounded memory that
 * gives up what has not been used for longest.
 *
 * Any thread may call anything here. Times are milliseconds of the monotonic clock; `now` is the
 * caller's, who has read it anyway. */
#ifndef MEMCACHED_STORE_H
#define MEMCACHED_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY_MAX = 250, STORE_LIVES_FOREVER = 0 };

struct store;

/* A key and its value. Nothing of it changes once it is in the store, but what the store's lock
 * guards; so who holds a reference reads it without a lock. A new value is a new item. */
struct item {
    struct item *next;           /* of its bucket; under the lock, as all until references */
    struct item *newer, *older;  /* in the order of use */
    uint64_t expires_ms;         /* or STORE_LIVES_FOREVER */
    _Atomic uint32_t references; /* one of them is the store's */
    uint32_t flags;              /* the client's */
    uint64_t cas;                /* names this value of the key and no other; from linking on */
    uint64_t hash;
    uint32_t value_size;
    uint8_t key_size;
    unsigned char bytes[]; /* key, value, CR and LF */
};

static inline unsigned char *item_value(struct item *item)
{
    return item->bytes + item->key_size;
}

struct store_key {
    const void *data;
    size_t size; /* 1 to KEY_MAX */
};

enum store_result {
    STORE_OK,
    STORE_NOT_STORED, /* add found the key, or replace, append and prepend did not */
    STORE_EXISTS,     /* with another cas */
    STORE_NOT_FOUND,
    STORE_NOT_NUMBER,
    STORE_TOO_LARGE,
    STORE_NO_MEMORY
};

enum store_mode { STORE_SET, STORE_ADD, STORE_REPLACE, STORE_APPEND, STORE_PREPEND, STORE_CAS };

struct store_change { /* incr and decr */
    uint64_t by;
    bool decrement;
    uint64_t cas; /* 0: any */
    bool create;  /* if it is not there, with initial and expires_ms */
    uint64_t initial;
    uint64_t expires_ms;
};

#define STORE_COUNTERS(X)                                                                          \
    X(cmd_get)                                                                                     \
    X(cmd_set)                                                                                     \
    X(cmd_touch)                                                                                   \
    X(get_hits)                                                                                    \
    X(get_misses)                                                                                  \
    X(delete_misses)                                                                               \
    X(delete_hits)                                                                                 \
    X(incr_misses)                                                                                 \
    X(incr_hits)                                                                                   \
    X(decr_misses)                                                                                 \
    X(decr_hits)                                                                                   \
    X(cas_misses)                                                                                  \
    X(cas_hits)                                                                                    \
    X(cas_badval)                                                                                  \
    X(touch_hits)                                                                                  \
    X(touch_misses)                                                                                \
    X(expired)                                                                                     \
    X(evictions)                                                                                   \
    X(total_items)

struct store_stats {
#define STORE_FIELD(name) uint64_t name;
    STORE_COUNTERS(STORE_FIELD)
#undef STORE_FIELD
    uint64_t curr_items, bytes; /* now; a reset leaves them */
};

/* A store of so many bytes, the items' headers and the table included, in at most shards_max parts
 * with a lock each. NULL: no memory. */
struct store *store_new(size_t memory_bytes, size_t value_max, unsigned shards_max);
struct store *store_free(struct store *store);
size_t store_value_max(const struct store *store);

/* The bytes it may use. Set to less, it evicts at once what is too much; its tables and parts
 * remain those that it was made with. */
size_t store_memory(const struct store *store);
void store_set_memory(struct store *store, size_t memory_bytes, uint64_t now);

/* A new item that is not in the store yet: value and the CRLF behind it are the caller's to write.
 * NULL: no memory. */
struct item *item_new(const struct store *store, struct store_key key, size_t value_size,
                      uint32_t flags, uint64_t expires_ms);
struct item *item_ref(struct item *item);
struct item *item_unref(struct item *item); /* NULL is allowed. Returns NULL. */

/* Puts an item in, as the mode says; the caller's reference remains his. cas 0: any. What the mode
 * makes of it (append joins two values) has the number *ret_cas. */
enum store_result store_put(struct store *store, struct item *item, enum store_mode mode,
                            uint64_t cas, uint64_t now, uint64_t *ret_cas);

/* A reference to the item, or NULL. */
struct item *store_get(struct store *store, struct store_key key, uint64_t now);

/* The same, and it expires at another time from now on. */
struct item *store_touch(struct store *store, struct store_key key, uint64_t expires_ms,
                         bool counts_as_get, uint64_t now);

enum store_result store_delete(struct store *store, struct store_key key, uint64_t cas,
                               uint64_t now);
enum store_result store_arith(struct store *store, struct store_key key,
                              const struct store_change *change, uint64_t now, uint64_t *ret_value,
                              uint64_t *ret_cas);

/* All items that are there at that time go; now, if it is not after now. */
void store_flush(struct store *store, uint64_t at_ms, uint64_t now);

void store_get_stats(struct store *store, struct store_stats *ret_stats);
void store_reset_stats(struct store *store);

#endif
