/* SPDX-License-Identifier: BSD-2-Clause */
/* Making a failing stream simpler.
 *
 * Model. A candidate is a stream with something left out or made smaller. It is run; if it fails in
 * the same way (the same sentence but for its numbers), what the run really drew becomes the
 * stream, which also straightens out bytes that no question wanted. That goes on until a whole
 * round brings nothing, or the runs that were granted are used up. The order is from coarse to
 * fine:
 *   1. a kind of fault is taken out whole, or all switches of threads: the answer that let it
 *      happen becomes 0, and with it go all of its questions. To take out the one without the
 *      others would shift everything behind them;
 *   2. the end is cut off, by halves: beyond the end every answer is 0, the simplest;
 *   3. spans, the steps of the scenario, are left out whole, outer ones first;
 *   4. stretches of 64, 32 ... 1 bytes are left out, then set to zero;
 *   5. each byte is made smaller by halves.
 *
 * What is simpler: a shorter stream; of equal length, the one that is smaller byte by byte. So it
 * ends. */
#include "sim/run.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MAX = 64 };

struct shrinking {
    struct run *run;
    struct run_input input;
    struct stream *stream;
    struct run_span *spans; /* of the stream as it is, as the marks */
    size_t spans_count;
    uint8_t *marks;
    unsigned runs, runs_max;
    uint8_t *candidate;
};

bool same_failure(const char *a, const char *b)
{
    for (;;) {
        while (isdigit((unsigned char)*a)) {
            a++;
        }
        while (isdigit((unsigned char)*b)) {
            b++;
        }
        if (*a != *b) {
            return false;
        }
        if (*a == '\0') {
            return true;
        }
        a++;
        b++;
    }
}

static bool is_simpler(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    return a_size != b_size ? a_size < b_size : memcmp(a, b, a_size) < 0;
}

static void keep_parts(struct shrinking *shrinking, const struct run_report *report)
{
    memcpy(shrinking->marks, report->marks, report->stream_size);
    shrinking->spans_count = report->spans_count;
    memcpy(shrinking->spans, report->spans, report->spans_count * sizeof *report->spans);
}

static bool try_candidate(struct shrinking *shrinking, size_t size)
{
    struct stream *stream = shrinking->stream;
    if (shrinking->runs >= shrinking->runs_max) {
        return false;
    }
    shrinking->runs++;
    shrinking->input.stream = shrinking->candidate;
    shrinking->input.stream_size = size;
    const struct run_report *report = run_whole(shrinking->run, &shrinking->input);
    /* The zeros beyond the stream's end need not be kept. */
    size_t drawn = report->stream_size;
    while (drawn > 0 && report->stream[drawn - 1] == 0) {
        drawn--;
    }
    if (report->outcome != RUN_FAILED || !same_failure(report->why, stream->why) ||
        !is_simpler(report->stream, drawn, stream->bytes, stream->size)) {
        return false;
    }
    memcpy(stream->bytes, report->stream, drawn);
    stream->size = drawn;
    memcpy(stream->why, report->why, sizeof stream->why);
    keep_parts(shrinking, report);
    return true;
}

static bool try_without(struct shrinking *shrinking, size_t begin, size_t end)
{
    const struct stream *stream = shrinking->stream;
    if (begin >= end || end > stream->size) {
        return false;
    }
    memcpy(shrinking->candidate, stream->bytes, begin);
    memcpy(shrinking->candidate + begin, stream->bytes + end, stream->size - end);
    return try_candidate(shrinking, stream->size - (end - begin));
}

static bool try_zeros(struct shrinking *shrinking, size_t begin, size_t end)
{
    static const uint8_t zeros[CHUNK_MAX];
    const struct stream *stream = shrinking->stream;
    end = end < stream->size ? end : stream->size;
    if (begin >= end || memcmp(stream->bytes + begin, zeros, end - begin) == 0) {
        return false;
    }
    memcpy(shrinking->candidate, stream->bytes, stream->size);
    memset(shrinking->candidate + begin, 0, end - begin);
    return try_candidate(shrinking, stream->size);
}

static bool try_without_mark(struct shrinking *shrinking, unsigned mark)
{
    const struct stream *stream = shrinking->stream;
    size_t size = 0;
    for (size_t i = 0; i < stream->size; i++) {
        bool has_mark = shrinking->marks[i] % PL_CHOICE_MARKS == mark;
        if (!has_mark) {
            shrinking->candidate[size++] = stream->bytes[i];
        } else if (shrinking->marks[i] & PL_CHOICE_SWITCH_OFF) {
            shrinking->candidate[size++] = 0;
        }
    }
    return size < stream->size && try_candidate(shrinking, size);
}

static bool drop_marks(struct shrinking *shrinking)
{
    bool any = false;
    for (unsigned mark = 1; mark < PL_CHOICE_MARKS; mark++) {
        any |= try_without_mark(shrinking, mark);
    }
    return any;
}

static bool cut_end(struct shrinking *shrinking)
{
    bool any = false;
    for (size_t cut = shrinking->stream->size / 2; cut > 0;) {
        size_t size = shrinking->stream->size;
        if (cut <= size && try_without(shrinking, size - cut, size)) {
            any = true;
        } else {
            cut /= 2;
        }
    }
    return any;
}

static bool drop_spans(struct shrinking *shrinking)
{
    bool any = false;
    for (unsigned depth = 0; depth < 4; depth++) {
        for (size_t i = shrinking->spans_count; i-- > 0;) {
            if (i < shrinking->spans_count && shrinking->spans[i].depth == depth) {
                struct run_span span = shrinking->spans[i];
                any |= try_without(shrinking, span.begin, span.end);
            }
        }
    }
    return any;
}

static bool drop_and_zero(struct shrinking *shrinking)
{
    bool any = false;
    for (size_t chunk = CHUNK_MAX; chunk > 0; chunk /= 2) {
        for (size_t at = shrinking->stream->size; at > 0;) {
            at = at > chunk ? at - chunk : 0;
            any |= try_without(shrinking, at, at + chunk) || try_zeros(shrinking, at, at + chunk);
        }
    }
    return any;
}

static bool try_lower(struct shrinking *shrinking, size_t at, uint8_t byte)
{
    const struct stream *stream = shrinking->stream;
    if (at >= stream->size || byte >= stream->bytes[at]) {
        return false;
    }
    memcpy(shrinking->candidate, stream->bytes, stream->size);
    shrinking->candidate[at] = byte;
    return try_candidate(shrinking, stream->size);
}

static bool lower_bytes(struct shrinking *shrinking)
{
    bool any = false;
    for (size_t at = 0; at < shrinking->stream->size; at++) {
        while (at < shrinking->stream->size &&
               (try_lower(shrinking, at, shrinking->stream->bytes[at] / 2) ||
                try_lower(shrinking, at, (uint8_t)(shrinking->stream->bytes[at] - 1)))) {
            any = true;
        }
    }
    return any;
}

unsigned shrink_stream(struct run *run, const struct run_input *input, struct stream *stream,
                       unsigned runs_max)
{
    struct shrinking shrinking = {
        .run = run,
        .input = *input,
        .stream = stream,
        .runs_max = runs_max,
        .candidate = malloc(RUN_STREAM_MAX),
        .spans = malloc(RUN_SPANS_MAX * sizeof(struct run_span)),
        .marks = malloc(RUN_STREAM_MAX),
    };
    uint8_t *room = realloc(stream->bytes, RUN_STREAM_MAX);
    if (shrinking.candidate && shrinking.spans && shrinking.marks && room) {
        stream->bytes = room;
        shrinking.input.is_traced = false;
        shrinking.input.stream = stream->bytes;
        shrinking.input.stream_size = stream->size;
        keep_parts(&shrinking, run_whole(run, &shrinking.input));
        bool any = true;
        while (any && shrinking.runs < runs_max) {
            any = drop_marks(&shrinking);
            any |= cut_end(&shrinking);
            any |= drop_spans(&shrinking);
            any |= drop_and_zero(&shrinking);
            any |= lower_bytes(&shrinking);
        }
    }
    free(shrinking.candidate);
    free(shrinking.spans);
    free(shrinking.marks);
    return shrinking.runs;
}
