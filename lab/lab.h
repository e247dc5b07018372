/* SPDX-License-Identifier: BSD-2-Clause */
/* The scenarios of the lab. Each is one function; main.c has the list. */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include <peal/sim.h>

void lab_anything(void);

#endif
