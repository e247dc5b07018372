/* SPDX-License-Identifier: BSD-2-Clause */
/* What a load came to, for people or as JSON.
 *
 * Rates are what was complete within the time, over the time as it really was. MiB/s counts the
 * payload once, although it crosses twice: it is the echo server's goodput. Latencies are from the
 * call of send to the last byte of the echo; of churn, from the call of connect; with a rate, from
 * the time when the schedule asked for that call. What was due and never came back has no latency
 * that is known, and is told beside it: a percentile without that number would flatter the server.
 */
#include "load.h"

#include <inttypes.h>
#include <stdio.h>

#include <peal/error.h>

#include "common.h"

static const double shares[] = {0.5, 0.9, 0.99, 0.999};
enum { LATE_TOLD_NS = 10000000 };
enum { SHARE_COUNT = sizeof(shares) / sizeof(shares[0]) };

static double mib_per_s(const struct load_options *options, const struct load_counts *counts,
                        double seconds)
{
    return (double)counts->messages * (double)options->size / (1024 * 1024) / seconds;
}

void load_time_text(char text[32], uint64_t time_ns)
{
    if (time_ns < 10000) {
        snprintf(text, 32, "%" PRIu64 " ns", time_ns);
    } else if (time_ns < 10000000) {
        snprintf(text, 32, "%.1f us", (double)time_ns / 1e3);
    } else {
        snprintf(text, 32, "%.1f ms", (double)time_ns / 1e6);
    }
}

static void print_time(const char *name, uint64_t time_ns)
{
    char text[32];

    load_time_text(text, time_ns);
    printf("  %s %s", name, text);
}

static void print_latency(const struct histogram *latency_ns)
{
    static const char *const names[SHARE_COUNT] = {"p50", "p90", "p99", "p99.9"};

    if (latency_ns->count == 0) {
        printf("latency      none: no message came back\n");
        return;
    }
    printf("latency    ");
    for (int i = 0; i < SHARE_COUNT; i++) {
        print_time(names[i], histogram_at(latency_ns, shares[i]));
    }
    print_time("max", latency_ns->max);
    printf("\n");
}

static void print_errors(const struct load_counts *counts)
{
    bool any = counts->wrong > 0;

    printf("errors      ");
    if (counts->wrong > 0) {
        printf(" wrong bytes %" PRIu64, counts->wrong);
    }
    for (int i = 0; i < LOAD_ERRORS_MAX; i++) {
        if (counts->errors[i].count > 0) {
            printf(" %s %" PRIu64 " (%s)", peal_error_name(counts->errors[i].error),
                   counts->errors[i].count, peal_strerror(counts->errors[i].error));
            any = true;
        }
    }
    printf("%s\n", any ? "" : " none");
}

/* Unanswered alone is no news: something is always under way when time is up. */
static void print_schedule(const struct load_options *options, const struct load_counts *counts,
                           double seconds)
{
    double due_per_s = (double)counts->due / seconds;

    printf("schedule     asked for %" PRIu64 "/s", options->rate);
    if (options->ramp_ms > 0) {
        printf(" (%.0f/s with the ramp)", due_per_s);
    }
    printf(", reached %.0f/s", (double)counts->messages / seconds);
    if (counts->not_sent > 0 || counts->behind_ns > LOAD_BEHIND_TOLD_NS) {
        printf(": the schedule is %.3g s behind\n", (double)counts->behind_ns / 1e9);
        printf("             due and not sent %" PRIu64 ", sent and not answered %" PRIu64
               "; the latencies leave these out\n",
               counts->not_sent, counts->unanswered);
    } else {
        printf("\n");
    }
    if (counts->late_ns > LATE_TOLD_NS) {
        printf("             the load itself was late by up to %.3g s: it had too little of the "
               "processor\n",
               (double)counts->late_ns / 1e9);
    }
}

static void report_text(const struct load_options *options, const struct load_counts *counts,
                        double seconds)
{
    printf("%s against %s: connections %" PRIu64 ", threads %" PRIu64 ", %.2f s",
           options->mode_name, options->connect, options->conns, options->threads, seconds);
    if (options->mode == LOAD_IDLE) {
        printf("\nstill open   %" PRIu64 "\n", counts->still_open);
    } else {
        printf(", size %" PRIu64 ", depth %" PRIu64 "\n", options->size, options->depth);
        printf("messages     %" PRIu64 "  %.0f/s  %.2f MiB/s\n", counts->messages,
               (double)counts->messages / seconds, mib_per_s(options, counts, seconds));
        if (options->rate > 0) {
            print_schedule(options, counts, seconds);
        }
        print_latency(&counts->latency_ns);
    }
    printf("connections  opened %" PRIu64 ", closed %" PRIu64, counts->opened, counts->closed);
    for (int cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
        if (counts->causes[cause] > 0) {
            printf(", %s %" PRIu64, peal_cause_text((enum peal_cause)cause), counts->causes[cause]);
        }
    }
    printf("\n");
    print_errors(counts);
}

static void report_json(const struct load_options *options, const struct load_counts *counts,
                        double seconds)
{
    static const char *const names[SHARE_COUNT] = {"p50", "p90", "p99", "p99_9"};
    const char *comma = "";

    printf("{\"mode\": \"%s\", \"connect\": ", options->mode_name);
    common_print_json_text(options->connect);
    printf(", \"conns\": %" PRIu64 ", \"size\": %" PRIu64 ", \"depth\": %" PRIu64
           ", \"threads\": %" PRIu64 ", \"seconds\": %.3f",
           options->conns, options->size, options->depth, options->threads, seconds);
    printf(", \"ramp_seconds\": %.3f", options->ramp_ms / 1e3);
    printf(", \"messages\": %" PRIu64 ", \"messages_per_s\": %.1f, \"mib_per_s\": %.3f",
           counts->messages, (double)counts->messages / seconds,
           mib_per_s(options, counts, seconds));
    printf(", \"latency_ns\": {");
    for (int i = 0; i < SHARE_COUNT; i++) {
        printf("\"%s\": %" PRIu64 ", ", names[i], histogram_at(&counts->latency_ns, shares[i]));
    }
    printf("\"max\": %" PRIu64 "}", counts->latency_ns.max);
    printf(", \"opened\": %" PRIu64 ", \"closed\": %" PRIu64 ", \"still_open\": %" PRIu64
           ", \"causes\": {",
           counts->opened, counts->closed, counts->still_open);
    for (int cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
        if (counts->causes[cause] > 0) {
            printf("%s\"%s\": %" PRIu64, comma, peal_cause_text((enum peal_cause)cause),
                   counts->causes[cause]);
            comma = ", ";
        }
    }
    printf("}, \"schedule\": ");
    if (options->rate > 0) {
        printf("{\"asked_per_s\": %" PRIu64 ", \"due\": %" PRIu64 ", \"not_sent\": %" PRIu64
               ", \"unanswered\": %" PRIu64 ", \"behind_ns\": %" PRIu64
               ", \"load_late_ns\": %" PRIu64 "}",
               options->rate, counts->due, counts->not_sent, counts->unanswered, counts->behind_ns,
               counts->late_ns);
    } else {
        printf("null");
    }
    printf(", \"wrong\": %" PRIu64 ", \"errors\": {", counts->wrong);
    comma = "";
    for (int i = 0; i < LOAD_ERRORS_MAX; i++) {
        if (counts->errors[i].count > 0) {
            printf("%s\"%s\": %" PRIu64, comma, peal_error_name(counts->errors[i].error),
                   counts->errors[i].count);
            comma = ", ";
        }
    }
    printf("}}\n");
}

void load_report(const struct load_options *options, const struct load_counts *counts,
                 double seconds)
{
    if (options->json) {
        report_json(options, counts, seconds);
    } else {
        report_text(options, counts, seconds);
    }
    fflush(stdout);
}
