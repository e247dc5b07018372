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

enum { RUN = 1, TORTURE = 2, EXHAUST = 4, REPLAY = 8, SHRINK = 16, LIST = 32 };

static const struct {
    int bit;
    const char *name, *operands, *about;
} commands[] = {
    {RUN, "run", "", "tries seeds; a run that fails is told, and kept as a file"},
    {TORTURE, "torture", "",
     "repeats each scenario with its n-th allocation or system call failing, for every n"},
    {EXHAUST, "exhaust", "--scenario NAME ",
     "tries every order of a small scenario's threads, with at most N preemptions"},
    {REPLAY, "replay", "FILE | --scenario NAME --seed S ",
     "repeats a kept run or a seed, and tells every call"},
    {SHRINK, "shrink", "FILE ", "makes a kept run simpler, as long as it fails in the same way"},
    {LIST, "list", "", "the scenarios"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

struct command {
    struct runner runner;
    const char *name, *program;
    const char *file, *output;
    uint64_t seed, runs, preemptions;
    bool has_seed, has_runs, wants_help;
    int bit;
};

static int misused(const struct command *command, const char *what, const char *which)
{
    fprintf(stderr, "%s: %s%s; `%s%s%s --help` tells what there is.\n", command->program, what,
            which, command->program, command->bit ? " " : "", command->bit ? command->name : "");
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
    PREEMPTIONS,
    UP_TO,
    HELP
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
    {"up-to", required_argument, NULL, UP_TO},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

/* Which commands take it, and what help says of it. */
static const struct {
    int commands;
    const char *form, *about;
} known[] = {
    [SEEDS] = {RUN, "--seeds N", "how many; 1000"},
    [FROM] = {RUN | TORTURE, "--from S", "the first seed; 1. torture takes only this one"},
    [SCENARIO] = {RUN | TORTURE | EXHAUST | REPLAY, "--scenario NAME", "only this one; else all"},
    [JOBS] = {RUN, "--jobs N", "so many runs at once, 1 to 64; 1"},
    [ENGINE] = {RUN | TORTURE | EXHAUST | REPLAY, "--engine NAME",
                "epoll or io_uring; else the seed decides (torture: epoll)"},
    [KEEP] = {RUN | TORTURE | EXHAUST, "--keep FOLDER",
              "where runs that fail are kept; sim-failures"},
    [FAILURES] = {RUN | TORTURE | EXHAUST, "--failures N", "end after so many; 1"},
    [NO_FAULTS] = {RUN | REPLAY, "--no-faults", "only the order of things is drawn"},
    [STEPS] = {RUN | REPLAY | SHRINK, "--steps N", "a run with more calls has failed; 2000000"},
    [SEED] = {REPLAY, "--seed S", "the seed to repeat"},
    [QUIET] = {TORTURE | REPLAY, "--quiet", "only what came of it"},
    [OUTPUT] = {SHRINK, "--output FILE", "where to write it; else it replaces the file"},
    [RUNS] = {EXHAUST | SHRINK, "--runs N", "at most so many; shrink: 3000, exhaust: no limit"},
    [PREEMPTIONS] = {EXHAUST, "--preemptions N",
                     "how often a thread is interrupted that could go on; 2"},
    [UP_TO] = {TORTURE, "--up-to N", "leaves out a scenario that makes more calls; no limit"},
    [HELP] = {RUN | TORTURE | EXHAUST | REPLAY | SHRINK | LIST, "--help", "this"},
};

static void print_usage(const struct command *command, FILE *to)
{
    fprintf(to, "usage: %s COMMAND [OPTION...]\n\n", command->program);
    for (size_t i = 0; i < COMMANDS; i++) {
        fprintf(to, "%-8s %s\n", commands[i].name, commands[i].about);
    }
    fprintf(to,
            "\n`%s COMMAND --help` tells its options. It ends with 0 if nothing failed, 1 if a run "
            "did,\n2 if it could not do what it was told.\n",
            command->program);
}

static void print_help(const struct command *command)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (commands[i].bit == command->bit) {
            printf("usage: %s %s %s[OPTION...]\n%s\n\n", command->program, command->name,
                   commands[i].operands, commands[i].about);
        }
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].commands & command->bit) {
            printf("  %-18s %s\n", known[i].form, known[i].about);
        }
    }
}

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
    case UP_TO:
        return &command->runner.tortured_max;
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

static bool is_engine(const char *name)
{
    return strcmp(name, "epoll") == 0 || strcmp(name, "io_uring") == 0;
}

/* What belongs together; after all options were read. */
static int check_options(struct command *command, uint64_t jobs, uint64_t failures, int operands)
{
    if (command->bit != REPLAY && command->bit != SHRINK && operands > 0) {
        return misused(command, "too much on the line: ", command->file);
    }
    if (operands > 1) {
        return misused(command, "one file at a time", "");
    }
    if (jobs < 1 || jobs > RUNNER_JOBS_MAX || failures < 1) {
        return misused(command, "--jobs is 1 to 64, --failures at least 1", "");
    }
    if (command->runner.engine && !is_engine(command->runner.engine)) {
        return misused(command, "no such engine: ", command->runner.engine);
    }
    if (command->bit == REPLAY && command->file &&
        (command->has_seed || command->runner.only || command->runner.engine ||
         command->runner.no_faults)) {
        return misused(command, "the file says itself what to repeat: give it, or a seed", "");
    }
    command->runner.jobs = (unsigned)jobs;
    command->runner.failures_max = failures > UINT32_MAX ? UINT32_MAX : (unsigned)failures;
    return 0;
}

static int read_options(struct command *command, int argc, char **argv)
{
    uint64_t jobs = 1, failures = 1;
    int option;
    optind = 2;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        uint64_t *number = number_of(command, option, &jobs, &failures);
        if (option == '?' || !(known[option].commands & command->bit)) {
            return misused(
                command, "not an option of this command, or one without its value: ",
                argv[option == '?' || !optarg || strchr(argv[optind - 1], '=') ? optind - 1
                                                                               : optind - 2]);
        }
        if (option == HELP) {
            command->wants_help = true;
            return 0;
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
    command->file = optind < argc ? argv[optind] : NULL;
    return check_options(command, jobs, failures, argc - optind);
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
    if (command->bit == TORTURE) {
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

static uint64_t steps_max(const struct command *command)
{
    return command->runner.steps_max ? command->runner.steps_max : 2000000;
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
        .steps_max = steps_max(command),
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
                                   .steps_max = steps_max(command)};
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
    bool could_write = true;
    if (report->outcome != RUN_FAILED) {
        printf("It passes: there is nothing to make simpler.\n");
    } else {
        size_t before = stream.size;
        snprintf(stream.why, sizeof stream.why, "%s", report->why);
        unsigned runs = shrink_stream(&run, &input, &stream, (unsigned)command->runs);
        const char *path = command->output ? command->output : command->file;
        could_write = stream_write(path, &stream);
        printf("%zu bytes were %zu: %u runs. Now it says:\n  %s\n  kept as %s\n", stream.size,
               before, runs, stream.why, path);
    }
    run_deinit(&run);
    stream_deinit(&stream);
    return could_write ? 0 : 2;
}

static int obey(struct command *command)
{
    switch (command->bit) {
    case EXHAUST:
        return exhaust(command);
    case REPLAY:
        return replay(command);
    case SHRINK:
        return shrink(command);
    case LIST:
        for (size_t i = 0; i < command->runner.scenarios_count; i++) {
            const struct peal_sim_scenario *scenario = &command->runner.scenarios[i];
            printf("%-24s %s\n", scenario->name, scenario->about);
        }
        return 0;
    default:
        return run_many(command);
    }
}

int peal_sim_main(int argc, char **argv, const struct peal_sim_scenario *scenarios, size_t count)
{
    const char *slash = strrchr(argv[0], '/');
    struct command command = {
        .program = slash ? slash + 1 : argv[0],
        .name = argc > 1 ? argv[1] : "",
        .runs = 3000,
        .preemptions = 2,
        .runner = {.scenarios = scenarios,
                   .scenarios_count = count,
                   .keep = "sim-failures",
                   .first_seed = 1,
                   .seeds = 1000},
    };
    for (size_t i = 0; i < COMMANDS; i++) {
        command.bit |= strcmp(commands[i].name, command.name) == 0 ? commands[i].bit : 0;
    }
    if (!command.bit) {
        bool is_asked = strcmp(command.name, "help") == 0 || strcmp(command.name, "--help") == 0;
        if (command.name[0] && !is_asked) {
            return misused(&command, "there is no command ", command.name);
        }
        print_usage(&command, is_asked ? stdout : stderr);
        return is_asked ? 0 : 2;
    }
    int result = read_options(&command, argc, argv);
    if (result != 0 || command.wants_help) {
        if (result == 0) {
            print_help(&command);
        }
        return result;
    }
    return obey(&command);
}
