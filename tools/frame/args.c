/* SPDX-License-Identifier: BSD-2-Clause */
/* The option parser of the program.
 *
 * An option is written --name value or --name=value; everything after a lone -- is an operand.
 * There are no one-letter options but -h, because nothing here is typed often enough to be worth
 * remembering letters for.
 *
 * Rules:
 *  1. A mistake never becomes a default: numbers are read whole ("5x" is no number), within bounds
 *     that the message names, and an option that is not known is an error, with the nearest name
 *     offered if it is near.
 *  2. Mistakes go to standard error and exit 2; help that was asked for goes to standard output and
 *     exits 0.
 *  3. The table is the help: what is not in it cannot be given, what is in it is printed.
 *
 * getopt_long was not used: it prints its own messages, knows no types, and permutes argv.
 */
#include "args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int args_mistake(const struct arg_command *command, const char *format, ...)
{
    va_list values;

    fprintf(stderr, "peal %s: ", command->name);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fprintf(stderr, "\nTry: peal %s --help\n", command->name);
    return 2;
}

const struct arg *args_join(const struct arg *first, const struct arg *second,
                            struct arg all[ARGS_MAX])
{
    size_t count = 0;

    for (; first != NULL && first->name != NULL && count < ARGS_MAX - 1; first++) {
        all[count++] = *first;
    }
    for (; second->name != NULL && count < ARGS_MAX - 1; second++) {
        all[count++] = *second;
    }
    all[count] = (struct arg){0};
    return all;
}

static void print_help(const struct arg_command *command)
{
    printf("usage: peal %s %s\n\n%s\n\n", command->name, command->synopsis, command->about);
    for (const struct arg *arg = command->args; arg->name != NULL; arg++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", arg->name, arg->value != NULL ? " " : "",
                 arg->value != NULL ? arg->value : "");
        printf("  %-24s %s\n", left, arg->help);
    }
    printf("  %-24s %s\n", "--help", "print this");
    if (command->notes != NULL) {
        printf("\n%s\n", command->notes);
    }
}

/* The number of single-letter changes between two words, counted up to a few. */
static size_t distance(const char *a, const char *b)
{
    enum { LENGTH_MAX = 32 };
    size_t row[LENGTH_MAX + 1];
    size_t a_length = strlen(a);
    size_t b_length = strlen(b);

    if (a_length > LENGTH_MAX || b_length > LENGTH_MAX) {
        return LENGTH_MAX;
    }
    for (size_t j = 0; j <= b_length; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[b_length];
}

static int unknown_option(const struct arg_command *command, const char *name)
{
    const struct arg *nearest = NULL;
    size_t nearest_distance = 4;

    for (const struct arg *arg = command->args; arg->name != NULL; arg++) {
        size_t d = distance(arg->name, name);
        if (d < nearest_distance && d < strlen(arg->name)) {
            nearest_distance = d;
            nearest = arg;
        }
    }
    if (nearest != NULL) {
        return args_mistake(command, "there is no option --%s; is --%s meant?", name,
                            nearest->name);
    }
    return args_mistake(command, "there is no option --%s", name);
}

static const struct arg *find(const struct arg_command *command, const char *name)
{
    for (const struct arg *arg = command->args; arg->name != NULL; arg++) {
        if (strcmp(arg->name, name) == 0) {
            return arg;
        }
    }
    return NULL;
}

/* Digits only: no sign, no space, no other base. */
static bool read_digits(const char *text, const char **ret_end, uint64_t *ret_number)
{
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    *ret_end = end;
    *ret_number = number;
    return true;
}

static bool in_bounds(const struct arg *arg, uint64_t number)
{
    return number >= arg->min && (arg->max == 0 || number <= arg->max);
}

static int read_count(const struct arg_command *command, const struct arg *arg, const char *text)
{
    const char *end;
    uint64_t number;

    if (!read_digits(text, &end, &number) || *end != '\0' || !in_bounds(arg, number)) {
        if (arg->max != 0) {
            return args_mistake(command, "--%s: \"%s\" is not a whole number from %llu to %llu",
                                arg->name, text, (unsigned long long)arg->min,
                                (unsigned long long)arg->max);
        }
        return args_mistake(command, "--%s: \"%s\" is not a whole number of %llu or more",
                            arg->name, text, (unsigned long long)arg->min);
    }
    *(uint64_t *)arg->into = number;
    return -1;
}

static int read_size(const struct arg_command *command, const struct arg *arg, const char *text)
{
    static const char units[] = "KMG";
    const char *end;
    uint64_t number;
    bool good = read_digits(text, &end, &number);

    if (good && *end != '\0') {
        const char *unit = strchr(units, *end);
        unsigned shift = unit != NULL ? 10u * (unsigned)(unit - units + 1) : 0;
        good = unit != NULL && end[1] == '\0' && number <= UINT64_MAX >> shift;
        number = good ? number << shift : number;
    }
    if (!good || !in_bounds(arg, number)) {
        return args_mistake(command,
                            "--%s: \"%s\" is not a size from %llu to %llu bytes "
                            "(such as 512, 16K or 8M)",
                            arg->name, text, (unsigned long long)arg->min,
                            (unsigned long long)(arg->max != 0 ? arg->max : UINT64_MAX));
    }
    *(uint64_t *)arg->into = number;
    return -1;
}

static int read_time(const struct arg_command *command, const struct arg *arg, const char *text)
{
    uint64_t time_max_ms = arg->max != 0 ? arg->max : UINT32_MAX - 1;
    const char *end;
    uint64_t seconds;
    uint64_t time_ms = 0;
    bool good = read_digits(text, &end, &seconds) && seconds <= UINT32_MAX / 1000;

    if (good) {
        time_ms = seconds * 1000;
        if (*end == '.') {
            unsigned worth_ms = 100;
            end++;
            good = *end != '\0';
            for (; *end >= '0' && *end <= '9' && worth_ms > 0; end++, worth_ms /= 10) {
                time_ms += (uint64_t)(*end - '0') * worth_ms;
            }
        }
        good = good && *end == '\0' && time_ms >= arg->min && time_ms <= time_max_ms;
    }
    if (!good) {
        return args_mistake(command,
                            "--%s: \"%s\" is not a time from %.3g to %.7g seconds "
                            "(such as 5 or 0.25)",
                            arg->name, text, (double)arg->min / 1000, (double)time_max_ms / 1000);
    }
    *(uint32_t *)arg->into = (uint32_t)time_ms;
    return -1;
}

static int read_scale(const struct arg_command *command, const struct arg *arg, const char *text)
{
    char *end;
    double number = text[0] >= '0' && text[0] <= '9' ? strtod(text, &end) : 0;

    if (!(number >= 0.01 && number <= 100) || *end != '\0') {
        return args_mistake(command, "--%s: \"%s\" is not a number from 0.01 to 100", arg->name,
                            text);
    }
    *(double *)arg->into = number;
    return -1;
}

static int read_choice(const struct arg_command *command, const struct arg *arg, const char *text)
{
    size_t length = strlen(text);

    for (const char *word = arg->choices; length > 0;) {
        size_t word_length = strcspn(word, " ");
        if (word_length == length && memcmp(word, text, length) == 0) {
            *(const char **)arg->into = text;
            return -1;
        }
        if (word[word_length] == '\0') {
            break;
        }
        word += word_length + 1;
    }
    return args_mistake(command, "--%s: \"%s\" is none of: %s", arg->name, text, arg->choices);
}

static bool ends_as(const struct arg *arg, const char *text)
{
    size_t length = strlen(text);
    size_t end_length = strlen(arg->choices);

    return length > end_length && strcmp(text + length - end_length, arg->choices) == 0;
}

static int read_maybe(const struct arg_command *command, const struct arg *arg, const char *text)
{
    struct arg_maybe *maybe = arg->into;

    if (text != NULL && !ends_as(arg, text)) {
        return args_mistake(command, "--%s: \"%s\" does not end in %s", arg->name, text,
                            arg->choices);
    }
    maybe->given = true;
    maybe->text = text;
    return -1;
}

static int read_value(const struct arg_command *command, const struct arg *arg, const char *text)
{
    switch (arg->kind) {
    case ARG_FLAG:
        return args_mistake(command, "--%s takes no value", arg->name);
    case ARG_COUNT:
        return read_count(command, arg, text);
    case ARG_SIZE:
        return read_size(command, arg, text);
    case ARG_TIME:
        return read_time(command, arg, text);
    case ARG_SCALE:
        return read_scale(command, arg, text);
    case ARG_CHOICE:
        return read_choice(command, arg, text);
    case ARG_MAYBE:
        return read_maybe(command, arg, text);
    case ARG_TEXT:
        if (text[0] == '\0') {
            return args_mistake(command, "--%s must not be empty", arg->name);
        }
        *(const char **)arg->into = text;
        return -1;
    case ARG_TEXTS: {
        struct arg_texts *texts = arg->into;
        if (texts->count == ARG_TEXTS_MAX) {
            return args_mistake(command, "--%s: at most %d can be given", arg->name, ARG_TEXTS_MAX);
        }
        texts->items[texts->count++] = text;
        return -1;
    }
    }
    return 2;
}

/* One option at argv[*at]; moves *at over a value that stands apart. */
static int read_option(const struct arg_command *command, int argc, char **argv, int *at)
{
    const char *text = argv[*at] + 2;
    size_t length = strcspn(text, "=");
    char name[64];

    if (strcmp(argv[*at], "-h") == 0 || strcmp(text, "help") == 0) {
        print_help(command);
        return 0;
    }
    if (argv[*at][1] != '-' || length == 0 || length >= sizeof(name)) {
        return args_mistake(command, "there is no option %s", argv[*at]);
    }
    memcpy(name, text, length);
    name[length] = '\0';
    const struct arg *arg = find(command, name);
    if (arg == NULL) {
        return unknown_option(command, name);
    }
    if (text[length] == '=') {
        return read_value(command, arg, text + length + 1);
    }
    if (arg->kind == ARG_FLAG) {
        *(bool *)arg->into = true;
        return -1;
    }
    if (arg->kind == ARG_MAYBE && (*at + 1 == argc || !ends_as(arg, argv[*at + 1]))) {
        return read_maybe(command, arg, NULL);
    }
    if (*at + 1 == argc) {
        return args_mistake(command, "--%s needs a value: --%s %s", name, name, arg->value);
    }
    *at += 1;
    return read_value(command, arg, argv[*at]);
}

int args_parse(const struct arg_command *command, int argc, char **argv,
               struct arg_texts *ret_operands)
{
    bool options_over = false;

    for (int at = 1; at < argc; at++) {
        if (!options_over && strcmp(argv[at], "--") == 0) {
            options_over = true;
        } else if (!options_over && argv[at][0] == '-' && argv[at][1] != '\0') {
            int exit_code = read_option(command, argc, argv, &at);
            if (exit_code >= 0) {
                return exit_code;
            }
        } else if (ret_operands == NULL || ret_operands->count == ARG_TEXTS_MAX) {
            return args_mistake(command, "\"%s\" is one argument too many", argv[at]);
        } else {
            ret_operands->items[ret_operands->count++] = argv[at];
        }
    }
    return -1;
}
