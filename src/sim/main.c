/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of a program of scenarios: peal_sim_main. */
#include "sim/runner.h"

#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: %s run     [--seeds N] [--from S] [--scenario NAME] [--jobs N] [--engine NAME]\n"
    "                    [--keep FOLDER] [--failures N] [--no-faults] [--steps N]\n"
    "       %s torture [--scenario NAME] [--engine NAME] [--from S] [--keep FOLDER]\n"
    "       %s exhaust --scenario NAME [--preemptions N] [--runs N] [--engine NAME]\n"
    "       %s replay  FILE | --scenario NAME --seed S   [--quiet] [--engine NAME]\n"
    "       %s shrink  FILE [--output FILE] [--runs N]\n"
    "       %s list\n"
    "\n"
    "run      tries seeds; a run that fails is told, and kept as a file\n"
    "torture  repeats each scenario with its n-th allocation or system call failing, for every n\n"
    "exhaust  tries every order of a small scenario's threads, with at most N preemptions\n"
    "replay   repeats a kept run or a seed, and tells every call\n"
    "shrink   makes a kept run simpler, as long as it fails in the same way\n"
    "list     the scenarios\n";

struct command {
    struct runner runner;
    const char *name, *program;
    const char *file, *output;
    uint64_t seed, runs, preemptions;
    bool has_seed, has_runs;
};

static int misused(const struct command *command, const char *what, const char *which)
{
    fprintf(stderr, "%s: %s%s; `%s help` tells what there is.\n", command->program, what, which,
            command->program);
    return 2;
}

static bool read_number(const char *text, uint64_t *ret_number)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end) {
        return false;
    }
    *ret_number = number;
    return true;
}

enum what {
    SEEDS,
    FROM,
    SCENARIO,
    JOBS,
    ENGINE,
    KEEP,
    FAILURES,
    NO_FAULTS,
    STEPS,
    SEED,
    QUIET,
    OUTPUT,
    RUNS,
    PREEMPTIONS
};
static const struct option options[] = {
    {"seeds", required_argument, NULL, SEEDS},
    {"from", required_argument, NULL, FROM},
    {"scenario", required_argument, NULL, SCENARIO},
    {"jobs", required_argument, NULL, JOBS},
    {"engine", required_argument, NULL, ENGINE},
    {"keep", required_argument, NULL, KEEP},
    {"failures", required_argument, NULL, FAILURES},
    {"no-faults", no_argument, NULL, NO_FAULTS},
    {"steps", required_argument, NULL, STEPS},
    {"seed", required_argument, NULL, SEED},
    {"quiet", no_argument, NULL, QUIET},
    {"output", required_argument, NULL, OUTPUT},
    {"runs", required_argument, NULL, RUNS},
    {"preemptions", required_argument, NULL, PREEMPTIONS},
    {NULL, 0, NULL, 0},
};

/* Options that are numbers; NULL: another. */
static uint64_t *number_of(struct command *command, int option, uint64_t *jobs, uint64_t *failures)
{
    switch (option) {
    case SEEDS:
        return &command->runner.seeds;
    case FROM:
        return &command->runner.first_seed;
    case STEPS:
        return &command->runner.steps_max;
    case SEED:
        command->has_seed = true;
        return &command->seed;
    case RUNS:
        command->has_runs = true;
        return &command->runs;
    case PREEMPTIONS:
        return &command->preemptions;
    case JOBS:
        return jobs;
    case FAILURES:
        return failures;
    default:
        return NULL;
    }
}

static int read_options(struct command *command, int argc, char **argv)
{
    uint64_t jobs = 1, failures = 1;
    int option;
    optind = 2;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        uint64_t *number = number_of(command, option, &jobs, &failures);
        if (option == '?') {
            return misused(command, "no such option, or one without its value: ", argv[optind - 1]);
        }
        if (number && !read_number(optarg, number)) {
            return misused(command, "not a number: ", optarg);
        }
        switch (option) {
        case SCENARIO:
            command->runner.only = optarg;
            break;
        case ENGINE:
            command->runner.engine = optarg;
            break;
        case KEEP:
            command->runner.keep = optarg;
            break;
        case NO_FAULTS:
            command->runner.no_faults = true;
            break;
        case QUIET:
            command->runner.is_quiet = true;
            break;
        case OUTPUT:
            command->output = optarg;
            break;
        default:
            break;
        }
    }
    if (jobs < 1 || jobs > RUNNER_JOBS_MAX || failures < 1) {
        return misused(command, "--jobs is 1 to 64, --failures at least 1", "");
    }
    command->runner.jobs = (unsigned)jobs;
    command->runner.failures_max = failures > UINT32_MAX ? UINT32_MAX : (unsigned)failures;
    command->file = optind < argc ? argv[optind] : NULL;
    return 0;
}

/* The threads of a run take turns: on one core they hand over faster. */
static void stay_on_one_core(void)
{
    cpu_set_t set;
    int cpu = sched_getcpu();
    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((unsigned)cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
}

static int run_many(struct command *command)
{
    struct runner_result result;
    if (command->runner.only && !runner_find(&command->runner, command->runner.only)) {
        return 2;
    }
    if (command->runner.jobs == 1) {
        stay_on_one_core();
    }
    if (strcmp(command->name, "torture") == 0) {
        runner_torture(&command->runner, &result);
    } else {
        runner_run(&command->runner, &result);
    }
    runner_print(&result);
    return result.failed > 0 ? 1 : 0;
}

static int exhaust(struct command *command)
{
    struct runner_result result;
    bool is_complete;
    if (!command->runner.only) {
        return misused(command, "exhaust wants a --scenario", "");
    }
    if (!runner_find(&command->runner, command->runner.only)) {
        return 2;
    }
    stay_on_one_core();
    command->runner.seeds = command->has_runs ? command->runs : UINT64_MAX;
    command->runner.preemptions = command->preemptions < 100 ? (unsigned)command->preemptions : 100;
    runner_exhaust(&command->runner, &result, &is_complete);
    runner_print(&result);
    printf("%s with at most %u preemptions: %s\n", command->runner.only,
           command->runner.preemptions,
           is_complete ? "that is every order there is" : "there are more orders");
    return result.failed > 0 ? 1 : 0;
}

static int input_of_stream(struct command *command, const struct stream *stream,
                           struct run_input *ret_input)
{
    const struct peal_sim_scenario *scenario = runner_find(&command->runner, stream->scenario);
    if (!scenario) {
        return 2;
    }
    *ret_input = (struct run_input){
        .scenario = scenario,
        .stream = stream->bytes,
        .stream_size = stream->size,
        .engine = stream->engine[0] ? stream->engine : NULL,
        .fail_call = stream->fail_call,
        .fail_kind = stream->fail_kind,
        .fails_on = stream->fails_on,
        .no_faults = stream->no_faults,
        .explores = stream->explores,
        .preemptions = stream->preemptions,
        .steps_max = command->runner.steps_max ? command->runner.steps_max : 2000000,
    };
    return 0;
}

static int replay(struct command *command)
{
    struct stream stream = {0};
    struct run_input input = {0};
    int result = 0;
    if (command->file) {
        if (!stream_read(command->file, &stream)) {
            return 2;
        }
        result = input_of_stream(command, &stream, &input);
    } else if (command->has_seed && command->runner.only) {
        input = (struct run_input){.scenario = runner_find(&command->runner, command->runner.only),
                                   .seed = command->seed,
                                   .engine = command->runner.engine,
                                   .no_faults = command->runner.no_faults,
                                   .steps_max = 2000000};
        result = input.scenario ? 0 : 2;
    } else {
        return misused(command, "replay wants a FILE, or --scenario and --seed", "");
    }
    if (result == 0) {
        struct run run;
        run_init(&run);
        stay_on_one_core();
        input.is_traced = !command->runner.is_quiet;
        const struct run_report *report = run_whole(&run, &input);
        bool failed = report->outcome == RUN_FAILED;
        printf("%s: %s after %" PRIu64 " steps, at %.3f ms%s%s\n", input.scenario->name,
               failed ? "FAILED" : "passed", report->steps, (double)report->virtual_ns / 1e6,
               failed ? ":\n  " : "", failed ? report->why : "");
        result = failed ? 1 : 0;
        run_deinit(&run);
    }
    stream_deinit(&stream);
    return result;
}

static int shrink(struct command *command)
{
    struct stream stream = {0};
    struct run_input input;
    struct run run;
    if (!command->file || !stream_read(command->file, &stream)) {
        return command->file ? 2 : misused(command, "shrink wants a FILE", "");
    }
    if (input_of_stream(command, &stream, &input) != 0) {
        stream_deinit(&stream);
        return 2;
    }
    run_init(&run);
    stay_on_one_core();
    const struct run_report *report = run_whole(&run, &input);
    bool failed = report->outcome == RUN_FAILED;
    if (!failed) {
        printf("It passes: there is nothing to make simpler.\n");
    } else {
        size_t before = stream.size;
        snprintf(stream.why, sizeof stream.why, "%s", report->why);
        unsigned runs = shrink_stream(&run, &input, &stream, (unsigned)command->runs);
        failed = !stream_write(command->output ? command->output : command->file, &stream);
        printf("%zu bytes were %zu: %u runs. Now it says:\n  %s\n", stream.size, before, runs,
               stream.why);
    }
    run_deinit(&run);
    stream_deinit(&stream);
    return failed ? 1 : 0;
}

int peal_sim_main(int argc, char **argv, const struct peal_sim_scenario *scenarios, size_t count)
{
    const char *slash = strrchr(argv[0], '/');
    struct command command = {
        .program = slash ? slash + 1 : argv[0],
        .name = argc > 1 ? argv[1] : "help",
        .runs = 3000,
        .preemptions = 2,
        .runner = {.scenarios = scenarios,
                   .scenarios_count = count,
                   .keep = "sim-failures",
                   .first_seed = 1,
                   .seeds = 1000},
    };
    int result = argc > 1 ? read_options(&command, argc, argv) : 0;
    if (result != 0) {
        return result;
    }
    if (strcmp(command.name, "run") == 0 || strcmp(command.name, "torture") == 0) {
        return run_many(&command);
    }
    if (strcmp(command.name, "exhaust") == 0) {
        return exhaust(&command);
    }
    if (strcmp(command.name, "replay") == 0) {
        return replay(&command);
    }
    if (strcmp(command.name, "shrink") == 0) {
        return shrink(&command);
    }
    if (strcmp(command.name, "list") == 0) {
        for (size_t i = 0; i < count; i++) {
            printf("%-24s %s\n", scenarios[i].name, scenarios[i].about);
        }
        return 0;
    }
    if (strcmp(command.name, "help") == 0 || strcmp(command.name, "--help") == 0) {
        const char *name = command.program;
        printf(usage, name, name, name, name, name, name);
        return 0;
    }
    return misused(&command, "there is no command ", command.name);
}
