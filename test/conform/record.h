/* SPDX-License-Identifier: BSD-2-Clause */
/* The text that a run of a script leaves, for the driver. */
#ifndef RECORD_H
#define RECORD_H

void record_begin(void);
char *record_end(void); /* closes what the script left open; the text is to be freed */

#endif
