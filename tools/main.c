/* SPDX-License-Identifier: BSD-2-Clause */
/* peal: the command-line program.
 *
 * One executable with a table of commands, in the manner of git: `peal NAME …` calls the function
 * behind NAME with argv moved on by one. Each command owns its options (args.h), its help and its
 * exit code; this file knows only the names. What is not in its table may be a program of its own,
 * as those of examples/ are: run_program looks for it where they are built or installed.
 *
 * Exit codes, for all commands: 0 all went well; 1 it was tried and did not go well; 2 the command
 * line was wrong, and a sentence on standard error says how.
 *
 * The program uses nothing of the library but its public headers: what it does, any program can.
 */
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <peal/version.h>

#include "commands.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
};

static const struct command commands[] = {
    {"demo", demo_main, "end thousands of connections in every way there is, and check the books"},
    {"echo", echo_main, "serve: send back what comes"},
    {"discard", discard_main, "serve: read what comes and throw it away"},
    {"chargen", chargen_main, "serve: send characters for as long as they are read"},
    {"daytime", daytime_main, "serve: send the date and time as a line, and close"},
    {"time", time_main, "serve: send the time as a number of four bytes, and close"},
    {"load", load_main, "put an echo server under load, and measure it"},
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

/* Of examples/, for the help; test/cli/test_args.py compares. */
static const struct program {
    const char *name;
    const char *about;
    bool has_client; /* NAME-client */
} programs[] = {
    {"balancer", "pass each connection on to one of several backends", false},
    {"chat", "send each message to all who are there", true},
    {"filetransfer", "send a file to each who connects", true},
    {"finger", "tell of a user, by name", false},
    {"hub", "publish and subscribe, by topic", true},
    {"idle", "echo, and end connections on which nothing moves", false},
    {"latency", "send records back, for measuring their way", true},
    {"maxconn", "echo, on so many connections at once", false},
    {"memcached", "keep values under keys, in memory", false},
    {"multiplexer", "join many clients into one connection", false},
    {"pingpong", "send blocks back, for measuring throughput", true},
    {"roundtrip", "tell how far two clocks are apart", true},
    {"socks", "connect on behalf of others: SOCKS 4, 4a and 5", false},
    {"sudoku", "solve puzzles, on threads of their own", true},
    {"tcprelay", "pass connections on to another address", false},
    {"ttcp", "acknowledge records, for measuring throughput", true},
    {"wordcount", "add up what clients have counted", true},
};

enum { PROGRAM_COUNT = sizeof(programs) / sizeof(programs[0]) };

static void print_usage(FILE *to)
{
    fprintf(to, "usage: peal COMMAND [OPTION]…\n\n");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].about);
    }
    fprintf(to, "  %-10s %s\n", "version", "print the version");
    fprintf(to, "  %-10s %s\n\n", "help", "print this");
    fprintf(to, "Servers as muduo has them; + where there is a NAME-client too:\n\n");
    for (int i = 0; i < PROGRAM_COUNT; i++) {
        fprintf(to, "  %-12s %c %s\n", programs[i].name, programs[i].has_client ? '+' : ' ',
                programs[i].about);
    }
    fprintf(to, "\npeal COMMAND --help tells the options of a command.\n");
}

/* Becomes the program, if there is one. Returns if there is none. */
static void run_program(char **argv)
{
    static const char *const folders[] = {"examples", "../" PEAL_LIBEXEC "/peal"};
    char self[PATH_MAX], path[PATH_MAX + 64];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (length < 0 || argv[0][strspn(argv[0], "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0') {
        return;
    }
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        int size = snprintf(path, sizeof(path), "%s/%s/%s", self, folders[i], argv[0]);
        if (size > 0 && (size_t)size < sizeof(path)) {
            execv(path, argv);
        }
    }
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    /* A reader of our output that goes away must not end a server. */
    signal(SIGPIPE, SIG_IGN);

    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("peal %s\n", peal_version());
        return 0;
    }
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (argc > 1) {
        run_program(argv + 1);
        fprintf(stderr, "peal: there is no command \"%s\"\n", name);
    }
    print_usage(stderr);
    return 2;
}
