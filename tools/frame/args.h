/* SPDX-License-Identifier: BSD-2-Clause */
/* Options of a command: a table that parses the command line, answers every mistake with a
 * sentence, and prints the command's help.
 *
 *     struct echo_options options = {.threads = 1};
 *     const struct arg args[] = {
 *         {"threads", "N", "serve on N loops", ARG_COUNT, &options.threads, .min = 1, .max = 64},
 *         {"verbose", NULL, "log connections", ARG_FLAG, &options.verbose},
 *         {0},
 *     };
 *     const struct arg_command command = {"echo", "[OPTION]…", "Sends back what it gets.", args};
 *     int exit_code = args_parse(&command, argc, argv, NULL);
 *     if (exit_code >= 0) {
 *         return exit_code;
 *     }
 */
#ifndef PEAL_TOOLS_ARGS_H
#define PEAL_TOOLS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum arg_kind {
    ARG_FLAG,   /* bool: takes no value */
    ARG_COUNT,  /* uint64_t: a whole number from min to max */
    ARG_SIZE,   /* uint64_t: bytes, with K, M or G behind for powers of 1024; from min to max */
    ARG_TIME,   /* uint32_t: seconds, with up to three decimals, kept as milliseconds; from min to
                   max, both in milliseconds */
    ARG_SCALE,  /* double: a positive number */
    ARG_TEXT,   /* const char * */
    ARG_TEXTS,  /* struct arg_texts: may be given several times */
    ARG_CHOICE, /* const char *: one of the words in choices */
    ARG_MAYBE   /* struct arg_maybe: may have a value, which ends as choices says; a word apart is
                   one only if it does */
};

enum { ARG_TEXTS_MAX = 64 };

struct arg_texts {
    const char *items[ARG_TEXTS_MAX];
    size_t count;
};

struct arg_maybe {
    bool given;
    const char *text; /* NULL: without a value */
};

/* One option. A table ends with one that has no name. */
struct arg {
    const char *name;  /* without its dashes */
    const char *value; /* what the help calls its value; NULL for a flag */
    const char *help;
    enum arg_kind kind;
    void *into;          /* untouched if the option is not given */
    uint64_t min, max;   /* of ARG_COUNT, ARG_SIZE, ARG_TIME; max 0: no limit */
    const char *choices; /* of ARG_CHOICE: words with a space between them; of
                            ARG_MAYBE: the end of its value, such as ".png" */
};

struct arg_command {
    const char *name;
    const char *synopsis; /* what follows the name in the first line of the help */
    const char *about;
    const struct arg *args;
    const char *notes; /* printed after the options; may be NULL */
};

/* Reads argv[1] to argv[argc - 1]. What is no option goes to ret_operands (NULL: none is allowed).
 * Returns -1 to go on, or the code to exit with: 0 when help was asked for and printed, 2 when a
 * mistake was answered with a sentence on standard error. */
int args_parse(const struct arg_command *command, int argc, char **argv,
               struct arg_texts *ret_operands);

enum { ARGS_MAX = 64 };

/* Puts the options of two tables, the first of which may be NULL, into one. Returns all. */
const struct arg *args_join(const struct arg *first, const struct arg *second,
                            struct arg all[ARGS_MAX]);

/* "peal echo: SENTENCE", and where help is to be found, to standard error. Returns 2. */
int args_mistake(const struct arg_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
