/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of peal load.
 *
 * Each option says in the table what it is for. What the table cannot say is checked below, and
 * answered with the reason: an option that would do nothing in the mode that was asked for is a
 * mistake, because whoever gave it expects it to do something.
 */
#include "load.h"

#include <string.h>

#include <peal/error.h>

#include "plot.h"

enum { PIPELINED_BYTES_MAX = 128 * 1024 * 1024, SIZE_MAX_BYTES = 64 * 1024 * 1024 };

static const char *const mode_names[] = {"pingpong", "pipeline", "churn", "idle"};
enum { MODE_COUNT = sizeof(mode_names) / sizeof(mode_names[0]) };

static int check(const struct arg_command *command, const struct arg_texts *operands,
                 struct load_options *options)
{
    char host[PEAL_HOST_MAX];
    struct peal_addr address;
    const char *why = NULL;
    uint16_t port;
    int mode = 0;

    if (operands->count == 0) {
        return args_mistake(command, "one mode is needed: pingpong, pipeline, churn or idle");
    }
    if (operands->count > 1) {
        return args_mistake(command, "one mode is needed: \"%s\" is one argument too many",
                            operands->items[1]);
    }
    while (mode < MODE_COUNT && strcmp(operands->items[0], mode_names[mode]) != 0) {
        mode++;
    }
    if (mode == MODE_COUNT) {
        return args_mistake(command, "\"%s\" is no mode; there are pingpong, pipeline, churn, idle",
                            operands->items[0]);
    }
    options->mode = (enum load_mode)mode;
    options->mode_name = mode_names[mode];
    if (options->connect == NULL) {
        return args_mistake(command, "--connect ADDRESS is needed: where the server is");
    }
    if (peal_addr_parse(options->connect, &address, &why) < 0 &&
        peal_endpoint_split(options->connect, host, sizeof(host), &port, &why) < 0) {
        return args_mistake(command, "--connect %s: %s", options->connect, why);
    }
    if (options->depth != 0 && options->mode != LOAD_PIPELINE) {
        return args_mistake(command, "--depth goes with pipeline only");
    }
    if (options->mode != LOAD_PIPELINE) {
        options->depth = 1;
    } else if (options->depth == 0) {
        options->depth = 16;
    }
    if (options->depth * options->size > PIPELINED_BYTES_MAX) {
        return args_mistake(command, "--depth times --size is over 128 MiB for each connection");
    }
    if (options->threads > options->conns) {
        options->threads = options->conns;
    }
    return -1;
}

static int check_plot(const struct arg_command *command, const struct load_options *options)
{
    const char *path = options->plot.text;

    if (!options->plot.given) {
        return -1;
    }
    if (options->mode == LOAD_IDLE) {
        return args_mistake(command, "--plot: idle sends nothing whose latency could be drawn");
    }
    if (options->json && path == NULL) {
        return args_mistake(command, "--plot draws below the report, where --json allows nothing "
                                     "but JSON; --plot FILE.png goes with it");
    }
    if (path != NULL && !plot_png_is_possible()) {
        return args_mistake(command,
                            "--plot %s needs gnuplot, which is not installed; --plot "
                            "alone draws on the terminal",
                            path);
    }
    int error = path != NULL ? plot_png_check(path) : 0;
    if (error < 0) {
        return args_mistake(command, "--plot %s cannot be written: %s", path, peal_strerror(error));
    }
    return -1;
}

/* What goes with what. */
static int check_together(const struct arg_command *command, const struct load_options *options)
{
    if (options->rate > 0 && options->mode == LOAD_IDLE) {
        return args_mistake(command, "--rate: idle sends nothing that could have a rate; "
                                     "--ramp opens its connections gradually");
    }
    if (options->ramp_ms >= options->time_ms) {
        return args_mistake(command,
                            "--ramp %g is not shorter than --seconds %g: connections would still "
                            "be opening when time is up",
                            options->ramp_ms / 1e3, options->time_ms / 1e3);
    }
    return -1;
}

int load_options_read(int argc, char **argv, struct load_options *options)
{
    const char *end = NULL;
    struct arg_texts operands = {.count = 0};

    *options = (struct load_options){.conns = 100, .size = 64, .threads = 1, .time_ms = 5000};
    const struct arg args[] = {
        {"connect", "ADDRESS", "the server: 127.0.0.1:2007, [::1]:2007, host:2007, unix:PATH",
         ARG_TEXT, .into = &options->connect},
        {"conns", "N", "connections (100)", ARG_COUNT, .into = &options->conns, .min = 1,
         .max = 1000000},
        {"size", "BYTES", "of a message (64)", ARG_SIZE, .into = &options->size, .min = 1,
         .max = SIZE_MAX_BYTES},
        {"seconds", "S", "how long (5)", ARG_TIME, .into = &options->time_ms, .min = 1,
         .max = 86400000},
        {"rate", "N", "so many a second in all (churn: connections), whatever the server does",
         ARG_COUNT, .into = &options->rate, .min = 1, .max = 100000000},
        {"ramp", "S", "open connections evenly over so long, a part of --seconds", ARG_TIME,
         .into = &options->ramp_ms, .min = 1, .max = 86400000},
        {"threads", "N", "loops, each on a thread of its own (1)", ARG_COUNT,
         .into = &options->threads, .min = 1, .max = 1024},
        {"depth", "D", "pipeline: messages under way on a connection (16)", ARG_COUNT,
         .into = &options->depth, .min = 1, .max = 65536},
        {"end", "HOW", "churn: end connections by fin or by rst (fin)", ARG_CHOICE, .into = &end,
         .choices = "fin rst"},
        {"csv", "FILE", "write a line each second: connections, messages, latencies, errors",
         ARG_TEXT, .into = &options->csv_path},
        {"plot", "[FILE.png]", "draw latencies by percentile, here or, by gnuplot, into a file",
         ARG_MAYBE, .into = &options->plot, .choices = ".png"},
        {"json", NULL, "print JSON", ARG_FLAG, .into = &options->json},
        {0},
    };
    const struct arg_command command = {
        "load", "pingpong|pipeline|churn|idle --connect ADDRESS [OPTION]…",
        "Puts an echo server under load and prints what it did with it.\n\n"
        "  pingpong   one message under way on each connection\n"
        "  pipeline   several\n"
        "  churn      connect, one message, end; again and again\n"
        "  idle       connect, and do nothing; tells how many are still open in the end",
        args, "Exits 1 if a connection could not be made or bytes came back that were not sent."};

    int exit_code = args_parse(&command, argc, argv, &operands);
    if (exit_code < 0) {
        exit_code = check(&command, &operands, options);
    }
    if (exit_code < 0 && end != NULL && options->mode != LOAD_CHURN) {
        exit_code = args_mistake(&command, "--end goes with churn only");
    }
    if (exit_code >= 0) {
        return exit_code;
    }
    options->reset = end != NULL && strcmp(end, "rst") == 0;
    exit_code = check_together(&command, options);
    return exit_code >= 0 ? exit_code : check_plot(&command, options);
}
