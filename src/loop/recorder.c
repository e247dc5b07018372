/* SPDX-License-Identifier: BSD-2-Clause */
/* The flight recorder of a loop.
 *
 * A ring of fixed entries, written by the loop's thread only: an event costs one cache line and no
 * branch, so it is always on. Text is made when somebody asks. When an invariant breaks, the last
 * events of the loop that the thread is inside of go to standard error, which is where whoever
 * reads the report needs them. */
#include "loop/recorder.h"

#include "base/assert.h"
#include "loop/loop.h"

#include <errno.h>
#include <string.h>

enum { BROKEN_EVENTS = 64 };

void (*pl_recorder_describe_move)(uint32_t detail, char *text, size_t size);

static const char *const kind_texts[] = {
#define PL_RECORDER_TEXT(name, text) text,
    PL_RECORDER_KINDS(PL_RECORDER_TEXT)
#undef PL_RECORDER_TEXT
};

int pl_recorder_init(struct pl_recorder *recorder)
{
    recorder->ring = sys_calloc(PL_RECORDER_EVENTS, sizeof recorder->ring[0]);
    return recorder->ring ? 0 : -ENOMEM;
}

void pl_recorder_deinit(struct pl_recorder *recorder)
{
    sys_free(recorder->ring);
    recorder->ring = NULL;
}

void pl_record(struct peal_loop *loop, enum pl_recorder_kind kind, uint64_t subject,
               uint32_t detail)
{
    struct pl_recorder *recorder = &loop->recorder;
    recorder->ring[recorder->count++ % PL_RECORDER_EVENTS] = (struct pl_record_entry){
        .at_ns = loop->now_ns, .subject = subject, .detail = detail, .kind = (uint32_t)kind};
}

static void format_entry(const struct pl_record_entry *entry, uint64_t now_ns, char *text,
                         size_t size)
{
    char detail[96] = "";
    uint64_t ago_us = now_ns > entry->at_ns ? (now_ns - entry->at_ns) / 1000 : 0;
    if (entry->kind == PL_RECORD_MOVE && pl_recorder_describe_move) {
        pl_recorder_describe_move(entry->detail, detail, sizeof detail);
    } else if (entry->detail) {
        sys_format(detail, sizeof detail, "%u", entry->detail);
    }
    sys_format(text, size, "-%llu.%06llu s  %016llx  %s%s%s",
               (unsigned long long)(ago_us / 1000000), (unsigned long long)(ago_us % 1000000),
               (unsigned long long)entry->subject, kind_texts[entry->kind], detail[0] ? ": " : "",
               detail);
}

void pl_recorder_print(const struct peal_loop *loop, uint64_t subject, size_t events_max,
                       void (*line)(const char *text, void *user), void *user)
{
    const struct pl_recorder *recorder = &loop->recorder;
    uint64_t kept = recorder->count < PL_RECORDER_EVENTS ? recorder->count : PL_RECORDER_EVENTS;
    uint64_t oldest = recorder->count - kept, first = recorder->count, matching = 0;
    while (first > oldest && matching < events_max) { /* back from the newest */
        first--;
        matching += subject == 0 || recorder->ring[first % PL_RECORDER_EVENTS].subject == subject;
    }
    for (uint64_t i = first; i < recorder->count; i++) {
        const struct pl_record_entry *entry = &recorder->ring[i % PL_RECORDER_EVENTS];
        if (subject == 0 || entry->subject == subject) {
            char text[192];
            format_entry(entry, loop->now_ns, text, sizeof text);
            line(text, user);
        }
    }
}

void peal_loop_print_recorder(struct peal_loop *loop, void (*line)(const char *text, void *user),
                              void *user)
{
    pl_loop_check(loop, "peal_loop_print_recorder");
    pl_recorder_print(loop, 0, PL_RECORDER_EVENTS, line, user);
}

static void to_stderr(const char *text, void *user)
{
    (void)user;
    sys_write_stderr(text, strlen(text));
    sys_write_stderr("\n", 1);
}

static void print_on_broken(void)
{
    const struct peal_loop *loop = peal_loop_current();
    if (loop && loop->recorder.ring) {
        to_stderr("peal: the last events of the loop, oldest first:", NULL);
        pl_recorder_print(loop, 0, BROKEN_EVENTS, to_stderr, NULL);
    }
}

__attribute__((constructor)) static void hook_broken(void)
{
    pl_broken_hook = print_on_broken;
}
