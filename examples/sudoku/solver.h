/* SPDX-License-Identifier: BSD-2-Clause */
/* Sudoku: 81 digits row by row, '0' where there is none. */
#ifndef SUDOKU_SOLVER_H
#define SUDOKU_SOLVER_H

#include <stdbool.h>

enum { SUDOKU_CELLS = 81 };

/* A solution of the puzzle, if there is one; of several, any. False also when none was found in a
 * million steps, which no puzzle with one solution takes. The puzzle has digits only. */
bool sudoku_solve(const char puzzle[SUDOKU_CELLS], char ret_solution[SUDOKU_CELLS]);

/* Whether the digits are a whole sudoku, and the puzzle's own are among them in their places. */
bool sudoku_is_solution(const char puzzle[SUDOKU_CELLS], const char solution[SUDOKU_CELLS]);

#endif
