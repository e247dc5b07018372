/* SPDX-License-Identifier: BSD-2-Clause */
/* Handles: generation (32 bits) over table (10 bits) and slot (22 bits).
 *
 * Each loop that has had a connection owns a table; its thread takes and releases slots, any thread
 * looks up. Looking up must be safe against a connection that is closing and a loop that is ending,
 * so all of it happens under the table's mutex: the owner pays for it twice in a connection's life,
 * uncontended, and never for a message.
 *
 * A slot is one word: the connection's address, or, while it is free, its last generation and the
 * next free slot, marked by a lowest bit that no address has. The generation of a slot in use is in
 * its connection's id. Slots come in segments that never move, so that a table with one connection
 * too many for its memory grows by a segment and not by its own size again.
 *
 * Invariants:
 *  1. The array of tables is static and never freed: looking up an id made of any 64 bits reads no
 *     freed memory.
 *  2. A slot that holds a connection holds one that the loop has a reference to; reading it, and
 *     taking a further reference, under the mutex is therefore safe. The slot is emptied, under the
 *     mutex, before the loop gives its reference up.
 *  3. An id is never given out twice: a slot's generation grows with each use, a slot whose
 *     generation has run out is retired, and a table that is given back remembers the highest
 *     generation it ever used, for the next loop that takes it.
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
    SEGMENT_BITS = 8,
    TABLES = 1 << TABLE_BITS,
    SLOTS_MAX = 1 << SLOT_BITS,
    SEGMENT_SLOTS = 1 << SEGMENT_BITS,
    SEGMENTS_MAX = SLOTS_MAX / SEGMENT_SLOTS,
    NO_SLOT = SLOTS_MAX
};

#define SLOT_FREE 1u

struct segment {
    uint64_t slots[SEGMENT_SLOTS];
};

struct pl_handle_table {
    struct sys_mutex mutex;
    struct segment **segments; /* NULL: the table belongs to no loop, or has no connection yet */
    uint32_t segment_count, segment_room;
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

/* ---- slots: the caller holds the mutex */

static uint64_t *slot_at(const struct pl_handle_table *table, uint32_t at)
{
    return &table->segments[at >> SEGMENT_BITS]->slots[at & (SEGMENT_SLOTS - 1)];
}

static uint64_t free_slot(uint32_t generation, uint32_t next_free)
{
    return (uint64_t)generation << 32 | next_free << 1 | SLOT_FREE;
}

static uint32_t generation_of_free(uint64_t slot)
{
    return (uint32_t)(slot >> 32);
}

static uint32_t next_of_free(uint64_t slot)
{
    return (uint32_t)slot >> 1;
}

static struct peal_conn *conn_in(uint64_t slot)
{
    return slot & SLOT_FREE ? NULL : (struct peal_conn *)(uintptr_t)slot;
}

/* The loop is being freed: all its connections have closed. */
static void table_give_back(struct pl_handle_table *table)
{
    sys_mutex_lock(&table->mutex);
    struct segment **segments = table->segments;
    uint32_t count = table->segment_count;
    for (uint32_t i = 0; i < count * SEGMENT_SLOTS; i++) {
        uint64_t slot = *slot_at(table, i);
        pl_assert(slot & SLOT_FREE);
        if (generation_of_free(slot) > table->generation_base) {
            table->generation_base = generation_of_free(slot);
        }
    }
    table->segments = NULL;
    table->segment_count = table->segment_room = 0;
    sys_mutex_unlock(&table->mutex);
    for (uint32_t i = 0; i < count; i++) {
        sys_free(segments[i]);
    }
    sys_free(segments);
    sys_mutex_lock(&tables_mutex);
    table->taken = false;
    sys_mutex_unlock(&tables_mutex);
}

static int make_room_for_segment(struct pl_handle_table *table)
{
    if (table->segment_count < table->segment_room) {
        return 0;
    }
    uint32_t room = table->segment_room ? table->segment_room * 2 : 8;
    struct segment **segments = sys_realloc(table->segments, room * sizeof(struct segment *));
    if (!segments) {
        return -ENOMEM;
    }
    table->segments = segments;
    table->segment_room = room;
    return 0;
}

/* One segment more, all of it free. */
static int table_grow(struct pl_handle_table *table)
{
    if (table->segment_count == SEGMENTS_MAX) {
        return -ENFILE;
    }
    int result = make_room_for_segment(table);
    if (result < 0) {
        return result;
    }
    struct segment *segment = sys_malloc(sizeof *segment);
    if (!segment) {
        return -ENOMEM;
    }
    uint32_t first = table->segment_count * SEGMENT_SLOTS;
    for (uint32_t i = 0; i < SEGMENT_SLOTS; i++) {
        segment->slots[i] =
            free_slot(table->generation_base, i + 1 < SEGMENT_SLOTS ? first + i + 1 : NO_SLOT);
    }
    table->segments[table->segment_count++] = segment;
    table->first_free = first;
    return 0;
}

/* ---- for src/net */

int pl_handle_take(struct peal_loop *loop, struct peal_conn *conn)
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
    if (table->segment_count == 0 || table->first_free == NO_SLOT) {
        int result = table_grow(table);
        if (result < 0) {
            sys_mutex_unlock(&table->mutex);
            return result;
        }
    }
    uint32_t at = table->first_free;
    uint64_t *slot = slot_at(table, at);
    table->first_free = next_of_free(*slot);
    conn->id = (uint64_t)(generation_of_free(*slot) + 1) << 32 |
               (uint64_t)(table - tables) << SLOT_BITS | at;
    *slot = (uintptr_t)conn;
    sys_mutex_unlock(&table->mutex);
    return 0;
}

void pl_handle_release(struct peal_loop *loop, const struct peal_conn *conn)
{
    struct pl_handle_table *table = loop->handles;
    uint32_t at = (uint32_t)conn->id & (SLOTS_MAX - 1);
    uint32_t generation = (uint32_t)(conn->id >> 32);
    sys_mutex_lock(&table->mutex);
    uint64_t *slot = slot_at(table, at);
    pl_assert(conn_in(*slot) == conn);
    if (generation == UINT32_MAX) { /* retired: it could only repeat itself */
        *slot = free_slot(generation, NO_SLOT);
    } else {
        *slot = free_slot(generation, table->first_free);
        table->first_free = at;
    }
    sys_mutex_unlock(&table->mutex);
}

uint32_t pl_handle_place(uint64_t id)
{
    return (uint32_t)id & (SLOTS_MAX - 1);
}

/* Only the loop's thread writes the table, so it may read without the mutex. */
struct peal_conn *pl_handle_at(const struct peal_loop *loop, uint32_t place)
{
    struct peal_conn *conn = conn_in(*slot_at(loop->handles, place));
    pl_assert(conn);
    return conn;
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
    if (at < table->segment_count * SEGMENT_SLOTS) {
        conn = conn_in(*slot_at(table, at));
        if (conn && conn->id == id) {
            pl_conn_hold(conn);
        } else {
            conn = NULL;
        }
    }
    sys_mutex_unlock(&table->mutex);
    return conn;
}
