/* SPDX-License-Identifier: BSD-2-Clause */
/* Handles: generation (32 bits) over table (10 bits) and slot (22 bits).
 *
 * Each loop that has had a connection owns a table; its thread takes and releases slots, any thread
 * looks up. Looking up must be safe against a connection that is closing and a loop that is ending,
 * so all of it happens under the table's mutex: the owner pays for it twice in a connection's life,
 * uncontended, and never for a message.
 *
 * Invariants:
 *  1. The array of tables is static and never freed: looking up an id made of any 64 bits reads no
 * freed memory.
 *  2. A slot that holds a connection holds one that the loop has a reference to; taking a further
 * one under the mutex is therefore safe. The slot is emptied, under the mutex, before the loop
 * gives its reference up.
 *  3. An id is never given out twice: a slot's generation grows with each use, a slot whose
 * generation has run out is retired, and a table that is given back remembers the highest
 * generation it ever used, for the next loop that takes it.
 *
 * Rejected: one table for the process (all loops would meet at its lock), and reading slots without
 * a lock (needs hazard pointers or epochs; nobody looks up ids often enough to pay for that). */
#include "net/handle.h"

#include "base/assert.h"
#include "net/conn.h"

#include <errno.h>
#include <string.h>

enum {
    TABLE_BITS = 10,
    SLOT_BITS = 22,
    TABLES = 1 << TABLE_BITS,
    SLOTS_MAX = 1 << SLOT_BITS,
    NO_SLOT = SLOTS_MAX
};

struct slot {
    struct peal_conn *conn; /* NULL: free or retired */
    uint32_t generation;    /* of the connection in it, or of the last */
    uint32_t next_free;
};

struct pl_handle_table {
    struct sys_mutex mutex;
    struct slot *slots; /* NULL: the table belongs to no loop, or has no connection yet */
    uint32_t capacity;
    uint32_t first_free;
    uint32_t generation_base; /* no id at or below it is given out */
    bool taken;
};

static struct pl_handle_table tables[TABLES];
static struct sys_mutex tables_mutex = SYS_MUTEX_INIT;
static _Atomic bool tables_ready;

/* Table 0 is never used, so that no id is 0. */
static struct pl_handle_table *table_take(void)
{
    struct pl_handle_table *table = NULL;
    sys_mutex_lock(&tables_mutex);
    if (!atomic_load(&tables_ready)) {
        for (unsigned i = 0; i < TABLES; i++) {
            sys_mutex_init(&tables[i].mutex);
        }
        atomic_store(&tables_ready, true);
    }
    for (unsigned i = 1; i < TABLES && !table; i++) {
        if (!tables[i].taken && tables[i].generation_base != UINT32_MAX) {
            table = &tables[i];
            table->taken = true;
        }
    }
    sys_mutex_unlock(&tables_mutex);
    return table;
}

/* The loop is being freed: all its connections have closed. */
static void table_give_back(struct pl_handle_table *table)
{
    sys_mutex_lock(&table->mutex);
    struct slot *slots = table->slots;
    for (uint32_t i = 0; i < table->capacity; i++) {
        pl_assert(slots[i].conn == NULL);
        if (slots[i].generation > table->generation_base) {
            table->generation_base = slots[i].generation;
        }
    }
    table->slots = NULL;
    table->capacity = 0;
    sys_mutex_unlock(&table->mutex);
    sys_free(slots);
    sys_mutex_lock(&tables_mutex);
    table->taken = false;
    sys_mutex_unlock(&tables_mutex);
}

/* Doubles the table. The caller holds its mutex. */
static int table_grow(struct pl_handle_table *table)
{
    uint32_t capacity = table->capacity ? table->capacity * 2 : 16;
    if (capacity > SLOTS_MAX) {
        return -ENFILE;
    }
    struct slot *slots = sys_realloc(table->slots, capacity * sizeof *slots);
    if (!slots) {
        return -ENOMEM;
    }
    for (uint32_t i = table->capacity; i < capacity; i++) {
        slots[i] = (struct slot){.generation = table->generation_base,
                                 .next_free = i + 1 < capacity ? i + 1 : NO_SLOT};
    }
    table->first_free = table->capacity;
    table->slots = slots;
    table->capacity = capacity;
    return 0;
}

int pl_handle_take(struct peal_loop *loop, struct peal_conn *conn, uint64_t *ret_id)
{
    struct pl_handle_table *table = loop->handles;
    if (!table) {
        table = table_take();
        if (!table) {
            return -ENFILE;
        }
        loop->handles = table;
        loop->handles_free = table_give_back;
    }
    sys_mutex_lock(&table->mutex);
    if (table->capacity == 0 || table->first_free == NO_SLOT) {
        int result = table_grow(table);
        if (result < 0) {
            sys_mutex_unlock(&table->mutex);
            return result;
        }
    }
    uint32_t at = table->first_free;
    struct slot *slot = &table->slots[at];
    table->first_free = slot->next_free;
    slot->generation++;
    slot->conn = conn;
    uint64_t id = (uint64_t)slot->generation << 32 | (uint64_t)(table - tables) << SLOT_BITS | at;
    sys_mutex_unlock(&table->mutex);
    *ret_id = id;
    return 0;
}

void pl_handle_release(struct peal_loop *loop, uint64_t id)
{
    struct pl_handle_table *table = loop->handles;
    uint32_t at = (uint32_t)id & (SLOTS_MAX - 1);
    sys_mutex_lock(&table->mutex);
    struct slot *slot = &table->slots[at];
    pl_assert(slot->conn && slot->generation == (uint32_t)(id >> 32));
    slot->conn = NULL;
    if (slot->generation != UINT32_MAX) { /* else retired: it could only repeat itself */
        slot->next_free = table->first_free;
        table->first_free = at;
    }
    sys_mutex_unlock(&table->mutex);
}

struct peal_conn *pl_handle_find(uint64_t id)
{
    if (!atomic_load(&tables_ready)) {
        return NULL;
    }
    struct pl_handle_table *table = &tables[(uint32_t)id >> SLOT_BITS];
    uint32_t at = (uint32_t)id & (SLOTS_MAX - 1);
    struct peal_conn *conn = NULL;
    sys_mutex_lock(&table->mutex);
    if (at < table->capacity && table->slots[at].generation == (uint32_t)(id >> 32)) {
        conn = table->slots[at].conn;
        if (conn) {
            pl_conn_hold(conn);
        }
    }
    sys_mutex_unlock(&table->mutex);
    return conn;
}
