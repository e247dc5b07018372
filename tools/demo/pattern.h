/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes that say where they belong: each depends on its stream's key and on its position in it, so
 * that a reader can tell what it got from what was lost, repeated, moved or taken from another
 * stream. Every connection has two streams: towards the peer, and from it. */
#ifndef PEAL_DEMO_PATTERN_H
#define PEAL_DEMO_PATTERN_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t pattern_to_peer(uint32_t key)
{
    return 2 * (uint64_t)key;
}

static inline uint64_t pattern_from_peer(uint32_t key)
{
    return 2 * (uint64_t)key + 1;
}

/* Writes the stream's bytes from position on. */
void pattern_fill(uint64_t stream, uint64_t position, void *data, size_t size);

/* The offset of the first byte that does not belong there, or size if all do. */
size_t pattern_check(uint64_t stream, uint64_t position, const void *data, size_t size);

#endif
