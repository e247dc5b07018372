/* SPDX-License-Identifier: BSD-2-Clause */
/* peal demo: every way that a TCP connection can end, on real sockets, a few hundred times each,
 * with the books checked from outside.
 *
 * Each scenario runs in a process of its own. What one does to the limit on fds is then nobody
 * else's business; one that crashes or hangs becomes a bad verdict instead of the end of the show;
 * and the count of fds and the ledger of memory begin at a known place. The result lies in memory
 * that both processes share, so that a process that died has left what it knew up to then.
 *
 * Three guards stand against hanging: a scenario's waits each end when its patience is over; the
 * parent kills a process that has not ended long after; and the verdict says what was waited for.
 *
 * With --no-fork all run in this process, for debuggers and for tools that follow one process only.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <peal/log.h>

#include "args.h"
#include "../commands.h"
#include "common.h"
#include "ledger.h"
#include "scenarios.h"
#include "table.h"

enum { KILL_AFTER_MS = 90000, LOOK_MS = 2, FDS_ENOUGH = 4096 };

struct entry {
    const char *name;
    const char *text;
    scenario_fn run;
};

static const struct entry entries[] = {
#define SCENARIO_ENTRY(function, name, text) {name, text, scenario_##function},
    SCENARIOS(SCENARIO_ENTRY)
#undef SCENARIO_ENTRY
};

enum { ENTRY_COUNT = sizeof(entries) / sizeof(entries[0]) };

struct demo_options {
    bool json;
    bool list;
    bool no_fork;
    bool verbose;
    struct arg_texts only;
    double scale;
};

static void run_here(const struct entry *entry, double scale, struct scenario_result *result)
{
    struct scenario scenario;
    uint64_t began_ms = peer_now_ms();

    scenario_begin(&scenario, entry->name, scale, result);
    entry->run(&scenario);
    scenario_end(&scenario);
    result->took_ms = peer_now_ms() - began_ms;
}

static void judge_exit(struct scenario_result *result, int status, bool killed)
{
    char before[VERDICT_SIZE];

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && result->complete) {
        return;
    }
    memcpy(before, result->verdict, sizeof(before));
    if (killed) {
        snprintf(result->verdict, VERDICT_SIZE, "hung, waiting for %.64s; %.200s",
                 result->waits_for[0] != '\0' ? result->waits_for : "a call to return", before);
    } else if (WIFSIGNALED(status)) {
        snprintf(result->verdict, VERDICT_SIZE, "crashed: %s; %.200s", strsignal(WTERMSIG(status)),
                 before);
    } else {
        snprintf(result->verdict, VERDICT_SIZE, "exited with %d; %.200s", WEXITSTATUS(status),
                 before);
    }
    result->faults++;
}

static void run_apart(const struct entry *entry, double scale, struct scenario_result *result)
{
    const struct timespec look = {.tv_nsec = LOOK_MS * 1000000};
    uint64_t kill_ms = peer_now_ms() + KILL_AFTER_MS;
    bool killed = false;
    int status = 0;

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run_here(entry, scale, result);
        exit(0); /* not _exit: a sanitizer looks for leaks on the way out */
    }
    if (child < 0) {
        snprintf(result->verdict, VERDICT_SIZE, "cannot fork: %s", strerror(errno));
        result->faults++;
        return;
    }
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (!killed && peer_now_ms() > kill_ms) {
            kill(child, SIGKILL);
            killed = true;
        }
        nanosleep(&look, NULL);
    }
    judge_exit(result, status, killed);
}

static bool is_wanted(const struct demo_options *options, const struct entry *entry)
{
    for (size_t i = 0; i < options->only.count; i++) {
        if (strcasecmp(options->only.items[i], entry->name) == 0) {
            return true;
        }
    }
    return options->only.count == 0;
}

static int run_all(const struct demo_options *options)
{
    struct table table;
    struct scenario_result *result =
        mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (result == MAP_FAILED) {
        fprintf(stderr, "peal demo: %s\n", strerror(errno));
        return 1;
    }
    table_begin(&table, options->json);
    for (int i = 0; i < ENTRY_COUNT; i++) {
        if (!is_wanted(options, &entries[i])) {
            continue;
        }
        memset(result, 0, sizeof(*result));
        table_announce(&table, entries[i].name);
        if (options->no_fork) {
            run_here(&entries[i], options->scale, result);
        } else {
            run_apart(&entries[i], options->scale, result);
        }
        table_row(&table, entries[i].name, result);
        if (options->verbose) {
            fprintf(stderr, "%s: %.2f s\n", entries[i].name, (double)result->took_ms / 1000);
        }
    }
    table_end(&table);
    munmap(result, sizeof(*result));
    return table.bad > 0 ? 1 : 0;
}

static int print_list(void)
{
    for (int i = 0; i < ENTRY_COUNT; i++) {
        printf("%-30s %s\n", entries[i].name, entries[i].text);
    }
    return 0;
}

static int check_names(const struct arg_command *command, const struct demo_options *options)
{
    for (size_t i = 0; i < options->only.count; i++) {
        const struct demo_options one = {.only = {{options->only.items[i]}, 1}};
        bool known = false;
        for (int j = 0; j < ENTRY_COUNT; j++) {
            known = known || is_wanted(&one, &entries[j]);
        }
        if (!known) {
            return args_mistake(command,
                                "there is no scenario \"%s\"; --list shows those there are",
                                options->only.items[i]);
        }
    }
    return -1;
}

/* Both ends of a connection are fds of one process here. Where few are allowed, fewer connections
 * are tried. */
static void fit_to_fds(struct demo_options *options)
{
    unsigned long allowed = common_raise_fd_limit(FDS_ENOUGH);
    double share = (double)allowed / FDS_ENOUGH;

    if (share < 1) {
        fprintf(stderr, "peal demo: only %lu fds are allowed here: fewer connections are tried\n",
                allowed);
        options->scale *= share;
    }
}

int demo_main(int argc, char **argv)
{
    struct demo_options options = {.scale = 1};
    const struct arg args[] = {
        {"json", NULL, "print JSON instead of a table", ARG_FLAG, .into = &options.json},
        {"only", "NAME", "try this scenario only; repeatable", ARG_TEXTS, .into = &options.only},
        {"list", NULL, "list the scenarios and what happens in them", ARG_FLAG,
         .into = &options.list},
        {"scale", "K", "so many times the usual number of connections (1)", ARG_SCALE,
         .into = &options.scale},
        {"no-fork", NULL, "run all in this process, for debuggers", ARG_FLAG,
         .into = &options.no_fork},
        {"verbose", NULL, "log the library's warnings, and how long each scenario took", ARG_FLAG,
         .into = &options.verbose},
        {0},
    };
    const struct arg_command command = {
        "demo", "[OPTION]…",
        "Ends connections in every way there is, on several loops, with raw sockets as peers, and "
        "checks\nthat each opened once, closed once, lost nothing that was promised, and left "
        "nothing behind.",
        args,
        "\"fds\" and \"memory\" (bytes) are what was left over. Exits 1 if any verdict is not ok."};

    int exit_code = args_parse(&command, argc, argv, NULL);
    if (exit_code < 0) {
        exit_code = check_names(&command, &options);
    }
    if (exit_code >= 0) {
        return exit_code;
    }
    if (options.list) {
        return print_list();
    }
    if (options.verbose) {
        peal_log_set(peal_log_to_stderr, NULL);
    }
    fit_to_fds(&options);
    ledger_start();
    return run_all(&options);
}
