/* SPDX-License-Identifier: BSD-2-Clause */
/* The runner's parts: one run in a process of its own (run.c), kept streams (stream.c), making a
 * stream shorter (shrink.c). runner.c puts them together. */
#ifndef PL_SIM_RUN_H
#define PL_SIM_RUN_H

#include <peal/sim.h>

#include "sys/sim/sim.h"

#include <signal.h>

enum {
    RUN_STREAM_MAX = 1 << 20,
    RUN_SPANS_MAX = 1 << 15,
    RUN_DRAWS_MAX = 1 << 14,
    RUN_WHY_MAX = 1024,
    RUN_SHARED_MAX = 1 << 16,
    RECORDER_LINES_MAX = 60,
    RUN_STUCK_S = 20 /* of real time, without an end */
};

enum run_outcome { RUN_UNFINISHED, RUN_PASSED, RUN_FAILED };

struct run_span {
    uint32_t begin, end, depth;
};

/* What a run tells its parent: memory that both share. */
struct run_report {
    enum run_outcome outcome;
    bool was_tortured; /* the n-th call was reached */
    bool is_lost;      /* it told nothing: its process was killed, and its choices with it */
    uint64_t steps, virtual_ns;
    uint64_t injected[PL_SIM_FAULTS];
    char why[RUN_WHY_MAX];
    size_t stream_size, spans_count, draws_count;
    uint8_t stream[RUN_STREAM_MAX];
    uint8_t marks[RUN_STREAM_MAX]; /* whose questions they answered: choice.h */
    struct run_span spans[RUN_SPANS_MAX];
    struct pl_choice_draw draws[RUN_DRAWS_MAX]; /* of a run that explores */
};

/* What a run is made of. A stream that is not NULL is replayed; beyond its end every answer is
 * 0. */
struct run_input {
    const struct peal_sim_scenario *scenario;
    uint64_t seed;
    const uint8_t *stream;
    size_t stream_size;
    const char *engine; /* NULL: drawn */
    uint64_t steps_max;
    uint64_t fail_call; /* torture: the n-th call that can fail does (0: none) ... */
    bool fails_on;      /* ... and all after it */
    char fail_kind;     /* 'a': allocations, 's': system calls */
    bool no_faults;     /* the swarm draws none */
    bool explores;      /* no swarm; lists what is drawn while the scenario explores */
    unsigned preemptions;
    bool is_traced;
};

struct run {
    struct run_input input;
    struct run_report *report; /* shared with the child */
    pid_t pid;                 /* 0: none is under way */
};

void run_init(struct run *run); /* exits if there is no memory */
void run_deinit(struct run *run);
void run_begin(struct run *run, const struct run_input *input);
/* Its process has, with this status of waitpid: the report is complete then. */
void run_ended(struct run *run, int status);
/* Begins, and waits for the end. */
const struct run_report *run_whole(struct run *run, const struct run_input *input);

/* Memory that all runs of this process add to, zero at first: a scenario's own counts. */
void *run_shared(void);

/* ---- stream.c */
struct stream {
    char scenario[64], engine[16], why[RUN_WHY_MAX];
    uint64_t seed, fail_call;
    bool fails_on, no_faults, explores;
    unsigned preemptions;
    char fail_kind;
    uint8_t *bytes;
    size_t size;
};
/* Each prints a sentence and returns false when it cannot. */
bool stream_write(const char *path, const struct stream *stream);
bool stream_read(const char *path, struct stream *ret_stream);
void stream_deinit(struct stream *stream);

/* ---- shrink.c: makes stream->bytes simpler as long as the run fails in the same way. Returns the
 * number of runs that it took. */
unsigned shrink_stream(struct run *run, const struct run_input *input, struct stream *stream,
                       unsigned runs_max);
/* Whether two failures are the same but for numbers. */
bool same_failure(const char *a, const char *b);

#endif
