/* SPDX-License-Identifier: BSD-2-Clause */
/* Many runs: as many at once as there are jobs, each in its process, their failures told and kept.
 *
 * Which scenario a seed runs is the seed's remainder by the number of scenarios, so that a range of
 * seeds covers all of them evenly and a seed alone names a run. */
#include "sim/runner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { STEPS_MAX = 2000000 };

const struct peal_sim_scenario *runner_find(const struct runner *runner, const char *name)
{
    for (size_t i = 0; i < runner->scenarios_count; i++) {
        if (strcmp(runner->scenarios[i].name, name) == 0) {
            return &runner->scenarios[i];
        }
    }
    fprintf(stderr, "There is no scenario \"%s\"; `list` names those there are.\n", name);
    return NULL;
}

static uint64_t real_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void tell_failure(const struct runner *runner, const struct run *run)
{
    const struct run_report *report = run->report;
    const struct run_input *input = &run->input;
    char path[512];
    printf("FAILED %s, seed %" PRIu64, input->scenario->name, input->seed);
    if (input->fail_call) {
        printf(", %s %" PRIu64 "%s", input->fail_kind == 'a' ? "allocation" : "system call",
               input->fail_call, input->fails_on ? " and all after it" : "");
    }
    printf(", step %" PRIu64 ", at %.3f ms\n  %s\n", report->steps,
           (double)report->virtual_ns / 1e6, report->why);
    struct stream stream = {.seed = input->seed,
                            .fail_call = input->fail_call,
                            .fail_kind = input->fail_kind,
                            .fails_on = input->fails_on,
                            .no_faults = input->no_faults,
                            .explores = input->explores,
                            .preemptions = input->preemptions,
                            .size = report->stream_size};
    snprintf(stream.scenario, sizeof stream.scenario, "%s", input->scenario->name);
    snprintf(stream.engine, sizeof stream.engine, "%s", input->engine ? input->engine : "");
    snprintf(stream.why, sizeof stream.why, "%s", report->why);
    stream.bytes = run->report->stream;
    snprintf(path, sizeof path, "%s/%s-%" PRIu64 "%s%.0" PRIu64 ".sim", runner->keep,
             input->scenario->name, input->seed, input->fail_call ? "-torture" : "",
             input->fail_call);
    if (report->is_lost) {
        printf("  not kept: replay --scenario %s --seed %" PRIu64 " repeats it\n",
               input->scenario->name, input->seed);
        return;
    }
    mkdir(runner->keep, 0777);
    if (stream_write(path, &stream)) {
        printf("  kept as %s\n", path);
    }
}

static void count(const struct runner *runner, struct runner_result *result, const struct run *run)
{
    const struct run_report *report = run->report;
    result->runs++;
    result->steps += report->steps;
    result->virtual_ns += report->virtual_ns;
    for (unsigned kind = 0; kind < PL_SIM_FAULTS; kind++) {
        result->injected[kind] += report->injected[kind];
    }
    if (report->outcome == RUN_FAILED) {
        result->failed++;
        tell_failure(runner, run);
    }
}

static struct run *await_one(struct run *runs, unsigned jobs)
{
    for (;;) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 && errno != EINTR) {
            return NULL;
        }
        for (unsigned i = 0; i < jobs; i++) {
            if (pid > 0 && runs[i].pid == pid) {
                run_ended(&runs[i], status);
                return &runs[i];
            }
        }
    }
}

void runner_run(const struct runner *runner, struct runner_result *ret_result)
{
    struct run runs[RUNNER_JOBS_MAX];
    struct runner_result result = {0};
    uint64_t began_ns = real_ns(), next = 0;
    unsigned under_way = 0;
    for (unsigned i = 0; i < runner->jobs; i++) {
        run_init(&runs[i]);
    }
    const struct peal_sim_scenario *only = runner->only ? runner_find(runner, runner->only) : NULL;
    for (;;) {
        bool goes_on = next < runner->seeds && result.failed < runner->failures_max;
        if (goes_on && under_way < runner->jobs) {
            unsigned free_run = 0;
            while (runs[free_run].pid) {
                free_run++;
            }
            uint64_t seed = runner->first_seed + next++;
            struct run_input input = {
                .scenario = only ? only : &runner->scenarios[seed % runner->scenarios_count],
                .seed = seed,
                .engine = runner->engine,
                .no_faults = runner->no_faults,
                .steps_max = runner->steps_max ? runner->steps_max : STEPS_MAX,
            };
            run_begin(&runs[free_run], &input);
            under_way++;
        } else if (under_way > 0) {
            count(runner, &result, await_one(runs, runner->jobs));
            under_way--;
        } else {
            break;
        }
    }
    for (unsigned i = 0; i < runner->jobs; i++) {
        run_deinit(&runs[i]);
    }
    result.real_ns = real_ns() - began_ns;
    *ret_result = result;
}

/* A run is repeated for each of its calls: with their number, the time grows by its square. */
static bool is_too_large(const struct runner *runner, struct run *run,
                         const struct run_input *input)
{
    if (runner->tortured_max == 0) {
        return false;
    }
    uint64_t steps = run_whole(run, input)->steps;
    if (steps > runner->tortured_max) {
        printf("%-24s left out: %" PRIu64 " calls\n", input->scenario->name, steps);
    }
    return steps > runner->tortured_max;
}

static void torture_one(const struct runner *runner, struct run *run, struct run_input *input,
                        struct runner_result *result)
{
    for (input->fail_call = 1; result->failed < runner->failures_max; input->fail_call++) {
        run_whole(run, input);
        count(runner, result, run);
        if (!run->report->was_tortured) {
            return;
        }
    }
}

void runner_torture(const struct runner *runner, struct runner_result *ret_result)
{
    struct run run;
    struct runner_result result = {0};
    uint64_t began_ns = real_ns();
    run_init(&run);
    for (size_t i = 0; i < runner->scenarios_count; i++) {
        const struct peal_sim_scenario *scenario = &runner->scenarios[i];
        if (runner->only && strcmp(runner->only, scenario->name) != 0) {
            continue;
        }
        uint64_t runs_before = result.runs;
        struct run_input input = {
            .scenario = scenario,
            .seed = runner->first_seed,
            .engine = runner->engine ? runner->engine : "epoll",
            .steps_max = STEPS_MAX,
            .no_faults = true,
        };
        if (is_too_large(runner, &run, &input)) {
            continue;
        }
        for (unsigned way = 0; way < 4; way++) {
            input.fail_kind = way < 2 ? 'a' : 's';
            input.fails_on = way % 2 == 1;
            torture_one(runner, &run, &input, &result);
        }
        if (!runner->is_quiet) {
            printf("%-24s %" PRIu64 " runs\n", scenario->name, result.runs - runs_before);
        }
    }
    run_deinit(&run);
    result.real_ns = real_ns() - began_ns;
    *ret_result = result;
}

/* Makes the stream of a run that of the next in order: the last answer that can be another is the
 * next one, and what came after it is drawn anew. False: that was the last. */
static bool make_next(const struct run_report *report, uint8_t *bytes, size_t *ret_size)
{
    for (size_t i = report->draws_count; i-- > 0;) {
        const struct pl_choice_draw *draw = &report->draws[i];
        uint64_t answer = 0;
        memcpy(&answer, report->stream + draw->at, draw->width); /* little-endian, as recorded */
        if (answer + 1 < draw->limit) {
            answer++;
            memcpy(bytes, report->stream, draw->at);
            memcpy(bytes + draw->at, &answer, draw->width);
            *ret_size = draw->at + draw->width;
            return true;
        }
    }
    return false;
}

void runner_exhaust(const struct runner *runner, struct runner_result *ret_result,
                    bool *ret_is_complete)
{
    struct run run;
    struct runner_result result = {0};
    uint64_t began_ns = real_ns();
    uint8_t *bytes = calloc(1, RUN_STREAM_MAX);
    struct run_input input = {
        .scenario = runner_find(runner, runner->only),
        .stream = bytes,
        .engine = runner->engine ? runner->engine : "epoll",
        .steps_max = STEPS_MAX,
        .explores = true,
        .preemptions = runner->preemptions,
    };
    run_init(&run);
    *ret_is_complete = false;
    while (bytes && input.scenario && result.runs < runner->seeds &&
           result.failed < runner->failures_max) {
        const struct run_report *report = run_whole(&run, &input);
        input.seed++; /* the number of the run: a failure is kept by it */
        run.input.seed = input.seed;
        count(runner, &result, &run);
        if (report->draws_count == RUN_DRAWS_MAX || !make_next(report, bytes, &input.stream_size)) {
            *ret_is_complete = report->draws_count < RUN_DRAWS_MAX;
            break;
        }
    }
    run_deinit(&run);
    free(bytes);
    result.real_ns = real_ns() - began_ns;
    *ret_result = result;
}

void runner_print(const struct runner_result *result)
{
    double seconds = (double)result->real_ns / 1e9;
    uint64_t faults = 0;
    for (unsigned kind = 0; kind < PL_SIM_FAULTS; kind++) {
        faults += result->injected[kind];
    }
    printf("%" PRIu64 " runs, %" PRIu64 " failed; %" PRIu64 " steps, %" PRIu64
           " faults, %.1f h of simulated time; %.1f s, %.0f runs a minute\n",
           result->runs, result->failed, result->steps, faults, (double)result->virtual_ns / 3.6e12,
           seconds, seconds > 0 ? (double)result->runs / seconds * 60 : 0.0);
}
