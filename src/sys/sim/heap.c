/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of a simulated run: failing when asked to, and kept after it was freed.
 *
 * Each block has a head before it and a mark behind it. Freeing checks both, fills the block with a
 * pattern and keeps it back, so that a use after the end reads nonsense that points nowhere, and a
 * write after the end is found when the block really goes, at the latest at the run's end. What is
 * kept back is bounded, the oldest goes first. With an address sanitizer it knows better, and all
 * of this is left out but for the counts.
 *
 * What the counts say is live, at the run's end, has leaked. */
#include "sys/sim/sim.h"

#include <stdlib.h>
#include <string.h>

struct pl_sim_block {
    uint64_t mark;
    size_t size;
    struct pl_sim_block *next_freed;
    uint64_t number; /* of the allocation, in its run */
};

enum { CHECKED_MAX = 32768, KEPT_MAX = 64 << 20, FRESH = 0xa5, GONE = 0xdd };
#define MARK_LIVE  0x5045414c6c697665u
#define MARK_FREED 0x5045414c66726565u

#if defined __SANITIZE_ADDRESS__
#define KEEPS_BACK 0
#else
#define KEEPS_BACK 1
#endif

void *pl_sim_take(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) {
        abort();
    }
    return memory;
}

static size_t checked(size_t size)
{
    return size < CHECKED_MAX ? size : CHECKED_MAX;
}

static struct pl_sim_block *block_of(void *memory)
{
    return (struct pl_sim_block *)memory - 1;
}

static uint8_t *bytes_of(struct pl_sim_block *block)
{
    return (uint8_t *)(block + 1);
}

static void *allocate(size_t size, bool is_zeroed, const char *name)
{
    if (pl_sim_hook('a', name) || pl_sim_strikes(PL_SIM_NO_MEMORY)) {
        return NULL;
    }
    struct pl_sim_block *block = malloc(sizeof *block + size + sizeof(uint64_t));
    if (!block) {
        return NULL;
    }
    *block = (struct pl_sim_block){MARK_LIVE, size, NULL, ++pl_sim.blocks_made};
    uint64_t mark = MARK_LIVE;
    memcpy(bytes_of(block) + size, &mark, sizeof mark);
    if (is_zeroed) {
        memset(bytes_of(block), 0, size);
    } else {
        memset(bytes_of(block), FRESH, checked(size));
    }
    pl_sim.allocations++;
    pl_sim.allocated_bytes += size;
    return bytes_of(block);
}

static void release_oldest(void)
{
    struct pl_sim_block *block = pl_sim.freed_first;
    const uint8_t *bytes = bytes_of(block);
    for (size_t i = 0; i < checked(block->size); i++) {
        if (bytes[i] != GONE) {
            pl_sim_fail("byte %zu of a block of %zu was written after the block was freed", i,
                        block->size);
        }
    }
    pl_sim.freed_first = block->next_freed;
    pl_sim.freed_last = pl_sim.freed_first ? pl_sim.freed_last : NULL;
    pl_sim.freed_bytes -= block->size;
    free(block);
}

static void keep_back(struct pl_sim_block *block)
{
    memset(bytes_of(block), GONE, checked(block->size));
    block->mark = MARK_FREED;
    if (pl_sim.freed_last) {
        pl_sim.freed_last->next_freed = block;
    } else {
        pl_sim.freed_first = block;
    }
    pl_sim.freed_last = block;
    pl_sim.freed_bytes += block->size;
    while (pl_sim.freed_bytes > KEPT_MAX) {
        release_oldest();
    }
}

void *sys_malloc(size_t size)
{
    return allocate(size, false, "malloc");
}

void *sys_calloc(size_t count, size_t size)
{
    size_t all;
    return __builtin_mul_overflow(count, size, &all) ? NULL : allocate(all, true, "calloc");
}

void *sys_realloc(void *memory, size_t size)
{
    void *moved = allocate(size, false, "realloc");
    if (moved && memory) {
        size_t old_size = block_of(memory)->size;
        memcpy(moved, memory, old_size < size ? old_size : size);
        sys_free(memory);
    }
    return moved;
}

void sys_free(void *memory)
{
    if (!memory) {
        return;
    }
    struct pl_sim_block *block = block_of(memory);
    uint64_t behind;
    if (block->mark != MARK_LIVE) {
        pl_sim_fail(block->mark == MARK_FREED ? "a block of memory is freed twice"
                                              : "what is freed was never allocated");
    }
    memcpy(&behind, bytes_of(block) + block->size, sizeof behind);
    if (behind != MARK_LIVE) {
        pl_sim_fail("something was written beyond the end of a block of %zu bytes", block->size);
    }
    pl_sim.allocations--;
    pl_sim.allocated_bytes -= block->size;
    if (KEEPS_BACK) {
        keep_back(block);
    } else {
        free(block);
    }
}

void sys_ledger(uint64_t *ret_allocations, uint64_t *ret_bytes)
{
    *ret_allocations = pl_sim.allocations;
    *ret_bytes = pl_sim.allocated_bytes;
}

void pl_sim_heap_end(void)
{
    while (pl_sim.freed_first) {
        release_oldest();
    }
    if (pl_sim.allocations > 0) {
        pl_sim_fail("%llu allocations of %llu bytes in all were not freed",
                    (unsigned long long)pl_sim.allocations,
                    (unsigned long long)pl_sim.allocated_bytes);
    }
}
