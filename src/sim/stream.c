/* SPDX-License-Identifier: BSD-2-Clause */
/* A kept stream: a text file with what is needed to repeat a run.
 *
 *     peal-sim stream 1
 *     scenario chat
 *     engine epoll
 *     why two members left, and one is still counted
 *     bytes 37
 *     00 01 0a ...
 *
 * Lines before "bytes" stand in any order; one that is not known is an error, so that a stream of a
 * later form is not misread. `explores 2` is a run of exhaust with two preemptions, `fault-call a
 * 12 on` is a torture: allocations ('a') or system calls ('s') fail from the 12th ("on") or at the
 * 12th ("once"). */
#include "sim/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 2048, BYTES_A_LINE = 32 };

bool stream_write(const char *path, const struct stream *stream)
{
    FILE *file = fopen(path, "w");
    if (!file) {
        fprintf(stderr, "%s cannot be written: %s.\n", path, strerror(errno));
        return false;
    }
    fprintf(file, "peal-sim stream 1\nscenario %s\nengine %s\n", stream->scenario,
            stream->engine[0] ? stream->engine : "drawn");
    if (stream->fail_call) {
        fprintf(file, "fault-call %c %llu %s\n", stream->fail_kind,
                (unsigned long long)stream->fail_call, stream->fails_on ? "on" : "once");
    }
    if (stream->no_faults) {
        fprintf(file, "faults none\n");
    }
    if (stream->explores) {
        fprintf(file, "explores %u\n", stream->preemptions);
    }
    fprintf(file, "why %s\nbytes %zu\n", stream->why, stream->size);
    for (size_t i = 0; i < stream->size; i++) {
        bool ends = i % BYTES_A_LINE == BYTES_A_LINE - 1 || i + 1 == stream->size;
        fprintf(file, "%02x%c", stream->bytes[i], ends ? '\n' : ' ');
    }
    bool failed = ferror(file) != 0;
    failed |= fclose(file) != 0;
    if (failed) {
        fprintf(stderr, "%s could not be written whole: %s.\n", path, strerror(errno));
    }
    return !failed;
}

static void copy_word(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from, size - 1);
    memcpy(to, from, length);
    to[length] = '\0';
}

/* Returns 1 for the line "bytes", 0 for another that is known, -1 for one that is not. */
static int read_line(const char *line, struct stream *stream)
{
    char text[LINE_MAX_BYTES], word[16];
    unsigned long long number;
    if (sscanf(line, "scenario %2047s", text) == 1) {
        copy_word(stream->scenario, sizeof stream->scenario, text);
    } else if (sscanf(line, "engine %2047s", text) == 1) {
        copy_word(stream->engine, sizeof stream->engine, strcmp(text, "drawn") ? text : "");
    } else if (strncmp(line, "why ", 4) == 0) {
        copy_word(stream->why, sizeof stream->why, line + 4);
    } else if (sscanf(line, "fault-call %c %llu %15s", &stream->fail_kind, &number, word) == 3) {
        stream->fail_call = number;
        stream->fails_on = strcmp(word, "on") == 0;
    } else if (strcmp(line, "faults none") == 0) {
        stream->no_faults = true;
    } else if (sscanf(line, "explores %u", &stream->preemptions) == 1) {
        stream->explores = true;
    } else if (sscanf(line, "bytes %llu", &number) == 1 && number <= RUN_STREAM_MAX) {
        stream->size = (size_t)number;
        return 1;
    } else {
        return -1;
    }
    return 0;
}

static bool read_bytes(FILE *file, struct stream *stream)
{
    stream->bytes = malloc(stream->size + 1);
    if (!stream->bytes) {
        return false;
    }
    for (size_t i = 0; i < stream->size; i++) {
        unsigned byte;
        if (fscanf(file, "%2x", &byte) != 1) {
            return false;
        }
        stream->bytes[i] = (uint8_t)byte;
    }
    return true;
}

bool stream_read(const char *path, struct stream *ret_stream)
{
    char line[LINE_MAX_BYTES];
    struct stream stream = {0};
    FILE *file = fopen(path, "r");
    if (!file) {
        fprintf(stderr, "%s cannot be read: %s.\n", path, strerror(errno));
        return false;
    }
    int kind = -1;
    bool is_ours = fgets(line, sizeof line, file) && strcmp(line, "peal-sim stream 1\n") == 0;
    while (is_ours && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        kind = read_line(line, &stream);
        if (kind != 0) {
            break;
        }
    }
    bool is_whole = kind == 1 && read_bytes(file, &stream);
    fclose(file);
    if (!is_whole) {
        fprintf(stderr, "%s is no kept stream of this program%s%s.\n", path,
                is_ours ? ": it stops making sense at: " : "", is_ours ? line : "");
        free(stream.bytes);
        return false;
    }
    *ret_stream = stream;
    return true;
}

void stream_deinit(struct stream *stream)
{
    free(stream->bytes);
    *stream = (struct stream){0};
}
