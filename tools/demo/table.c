/* SPDX-License-Identifier: BSD-2-Clause */
/* The demo's table. A row appears when its scenario is over, so that one can watch; JSON is written
 * as it goes as well, so that a run that is killed leaves what it found.
 *
 * A row has a line for each cause by which its connections ended: most have one or two. The verdict
 * stands on the first, at its end, because it is the longest when it is not "ok".
 *
 * Sizes are in the table as people read them (8.0M) and in JSON to the byte.
 */
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

enum { CAUSES_MAX = PEAL_CAUSE_COUNT + OTHER_CAUSES_MAX, SIZE_TEXT = 16 };

struct cause_count {
    const char *text;
    uint64_t count;
};

/* All causes that there were, the most frequent first. Returns how many. */
static int list_causes(const struct scenario_result *result, struct cause_count *ret_causes)
{
    int count = 0;

    for (int cause = 0; cause < PEAL_CAUSE_COUNT; cause++) {
        if (result->causes[cause] != 0) {
            ret_causes[count].text = peal_cause_text((enum peal_cause)cause);
            ret_causes[count++].count = result->causes[cause];
        }
    }
    for (int i = 0; i < OTHER_CAUSES_MAX; i++) {
        if (result->other_causes[i].count != 0) {
            ret_causes[count].text = result->other_causes[i].text;
            ret_causes[count++].count = result->other_causes[i].count;
        }
    }
    for (int i = 1; i < count; i++) {
        for (int j = i; j > 0 && ret_causes[j].count > ret_causes[j - 1].count; j--) {
            struct cause_count other = ret_causes[j];
            ret_causes[j] = ret_causes[j - 1];
            ret_causes[j - 1] = other;
        }
    }
    return count;
}

static const char *size_text(uint64_t bytes, char text[SIZE_TEXT])
{
    static const char units[] = "KMGT";
    double size = (double)bytes;
    int unit = -1;

    while (size >= 1024 && unit < 3) {
        size /= 1024;
        unit++;
    }
    if (unit < 0) {
        snprintf(text, SIZE_TEXT, "%" PRIu64, bytes);
    } else {
        snprintf(text, SIZE_TEXT, "%.1f%c", size, units[unit]);
    }
    return text;
}

static const char *colour(const struct table *table, const char *code)
{
    return table->colour ? code : "";
}

/* ---- for people */

static void print_row(const struct table *table, const char *name,
                      const struct scenario_result *result)
{
    struct cause_count causes[CAUSES_MAX];
    char accepted[SIZE_TEXT];
    char taken[SIZE_TEXT];
    char arrived[SIZE_TEXT];
    char first[48] = "";
    char memory[SIZE_TEXT] = "-";
    bool bad = result->faults != 0;
    int count = list_causes(result, causes);

    if (count > 0) {
        snprintf(first, sizeof(first), "%" PRIu64 " %s", causes[0].count, causes[0].text);
    }
    if (result->memory_measured) {
        snprintf(memory, sizeof(memory), "%" PRId64, result->memory_left);
    }
    printf("%-30s %6" PRIu64 " %6" PRIu64 " %6" PRIu64 "  %-24s %8s %8s %8s %4" PRId64 " %6s  ",
           name, result->connections, result->opened, result->closed, first,
           size_text(result->bytes_accepted, accepted), size_text(result->bytes_taken, taken),
           size_text(result->bytes_arrived, arrived), result->fds_left, memory);
    printf("%s%s%s", colour(table, bad ? "\033[1;31m" : "\033[32m"), bad ? result->verdict : "ok",
           colour(table, "\033[0m"));
    if (result->faults > 1) {
        printf(" (and %u more)", result->faults - 1);
    }
    printf("\n");
    for (int i = 1; i < count; i++) {
        printf("%-30s %20s  %" PRIu64 " %s\n", "", "", causes[i].count, causes[i].text);
    }
}

/* ---- for programs */

static void print_json_row(const struct table *table, const char *name,
                           const struct scenario_result *result)
{
    struct cause_count causes[CAUSES_MAX];
    int count = list_causes(result, causes);

    printf("%s\n  {\"name\": ", table->rows > 0 ? "," : "");
    common_print_json_text(name);
    printf(", \"connections\": %" PRIu64 ", \"opened\": %" PRIu64 ", \"closed\": %" PRIu64,
           result->connections, result->opened, result->closed);
    printf(", \"causes\": {");
    for (int i = 0; i < count; i++) {
        printf("%s", i > 0 ? ", " : "");
        common_print_json_text(causes[i].text);
        printf(": %" PRIu64, causes[i].count);
    }
    printf("}, \"bytes_accepted\": %" PRIu64 ", \"bytes_taken\": %" PRIu64
           ", \"bytes_arrived\": %" PRIu64 ", \"fds_left\": %" PRId64,
           result->bytes_accepted, result->bytes_taken, result->bytes_arrived, result->fds_left);
    if (result->memory_measured) {
        printf(", \"memory_left\": %" PRId64, result->memory_left);
    } else {
        printf(", \"memory_left\": null");
    }
    printf(", \"verdict\": ");
    common_print_json_text(result->faults != 0 ? result->verdict : "ok");
    printf("}");
}

/* ---- both */

void table_begin(struct table *table, bool json)
{
    *table = (struct table){.json = json, .began_ms = peer_now_ms()};
    table->colour = !json && isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
    if (json) {
        printf("{\"scenarios\": [");
    } else {
        printf("%s%-30s %6s %6s %6s  %-24s %8s %8s %8s %4s %6s  %s%s\n", colour(table, "\033[1m"),
               "scenario", "conns", "opened", "closed", "ended by", "accepted", "taken", "arrived",
               "fds", "memory", "verdict", colour(table, "\033[0m"));
    }
    fflush(stdout);
}

void table_announce(struct table *table, const char *name)
{
    if (table->colour) {
        printf("%s …\r", name);
        fflush(stdout);
    }
}

void table_row(struct table *table, const char *name, const struct scenario_result *result)
{
    if (table->json) {
        print_json_row(table, name, result);
    } else {
        print_row(table, name, result);
    }
    table->rows++;
    table->bad += result->faults != 0;
    table->connections += result->connections;
    table->bytes_arrived += result->bytes_arrived;
    fflush(stdout);
}

void table_end(struct table *table)
{
    char arrived[SIZE_TEXT];
    double seconds = (double)(peer_now_ms() - table->began_ms) / 1000;

    if (table->json) {
        printf("\n]}\n");
    } else {
        printf("\n%s%u scenarios, %" PRIu64 " connections, %s arrived and compared, %.1f s: ",
               colour(table, "\033[1m"), table->rows, table->connections,
               size_text(table->bytes_arrived, arrived), seconds);
        if (table->bad == 0) {
            printf("each opened once, closed once, and accounted for to the byte.");
        } else {
            printf("%u went wrong.", table->bad);
        }
        printf("%s\n", colour(table, "\033[0m"));
    }
    fflush(stdout);
}
