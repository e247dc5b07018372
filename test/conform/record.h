/* SPDX-License-Identifier: BSD-2-Clause */
/* The text that a run of a script leaves, for the driver. */
#ifndef RECORD_H
#define RECORD_H

#include <stddef.h>
#include <stdint.h>

void record_begin(void);
char *record_end(void); /* closes what the script left open; the text is to be freed */

const char *error_name(long number);
const char *event_names(uint32_t events, char *names, size_t size);

#endif
