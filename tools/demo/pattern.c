/* SPDX-License-Identifier: BSD-2-Clause */
/* The pattern: the stream is cut into words of eight bytes, and each is the hash of the stream and
 * of the word's number.
 *
 * Gigabytes of it are written and checked in a run, so it is done a word at a time where the
 * position allows, and the hash is two multiplications. It need not resist anybody; it must only
 * make it most unlikely that bytes fit where they do not belong. One that is right by accident is
 * one in 256; a run of eight, one in 2^64.
 */
#include "pattern.h"

#include <string.h>

static uint64_t word_at(uint64_t stream, uint64_t number)
{
    uint64_t word = (number + 1) * 0x9e3779b97f4a7c15u ^ (stream + 1) * 0xd1342543de82ef95u;

    word = (word ^ word >> 32) * 0xda942042e4dd58b5u;
    return word ^ word >> 29;
}

static unsigned char byte_at(uint64_t stream, uint64_t position)
{
    return (unsigned char)(word_at(stream, position / 8) >> position % 8 * 8);
}

void pattern_fill(uint64_t stream, uint64_t position, void *data, size_t size)
{
    unsigned char *to = data;
    size_t done = 0;

    for (; done < size && (position + done) % 8 != 0; done++) {
        to[done] = byte_at(stream, position + done);
    }
    for (; done + 8 <= size; done += 8) {
        uint64_t word = word_at(stream, (position + done) / 8);
        memcpy(to + done, &word, 8); /* both sides run on this machine: its byte order will do */
    }
    for (; done < size; done++) {
        to[done] = byte_at(stream, position + done);
    }
}

size_t pattern_check(uint64_t stream, uint64_t position, const void *data, size_t size)
{
    const unsigned char *from = data;
    size_t done = 0;

    while (done < size) {
        if ((position + done) % 8 == 0 && done + 8 <= size) {
            uint64_t word;
            memcpy(&word, from + done, 8);
            if (word == word_at(stream, (position + done) / 8)) {
                done += 8;
                continue;
            }
        }
        if (from[done] != byte_at(stream, position + done)) {
            return done;
        }
        done++;
    }
    return size;
}
