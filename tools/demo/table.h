/* SPDX-License-Identifier: BSD-2-Clause */
/* What the demo prints: a table for people, or JSON for programs. */
#ifndef PEAL_DEMO_TABLE_H
#define PEAL_DEMO_TABLE_H

#include "scenario.h"

struct table {
    bool json;
    bool colour;
    unsigned rows;
    unsigned bad;
    uint64_t connections;
    uint64_t bytes_arrived;
    uint64_t began_ms;
};

/* Colour: only on a terminal, and without NO_COLOR in the environment. */
void table_begin(struct table *table, bool json);

/* Tells that a scenario is under way; on a terminal only, and overwritten by its row. */
void table_announce(struct table *table, const char *name);

void table_row(struct table *table, const char *name, const struct scenario_result *result);

void table_end(struct table *table);

#endif
