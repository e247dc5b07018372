/* SPDX-License-Identifier: BSD-2-Clause */
/* A solver that tries the cell with the fewest candidates first.
 *
 * The digits that a row, a column and a box have are bits of three numbers, so a cell's candidates
 * are what none of the three has. Each step takes the empty cell with the fewest, tries them one by
 * one, and goes back when a cell has none left. With that choice a puzzle that has one solution
 * takes some dozens of steps, some hundreds where it is hard. One that was made to be endless is
 * given up after STEPS_MAX. The depth of the recursion is the number of empty cells. */
#include "solver.h"

#include <stdint.h>
#include <string.h>

enum { STEPS_MAX = 1000000, ALL_DIGITS = 0x1ff };

struct board {
    uint16_t rows[9], columns[9], boxes[9]; /* bit n: it has the digit n + 1 */
    char *cells;
    unsigned steps;
};

static unsigned box_of(unsigned cell)
{
    return cell / 27 * 3 + cell % 9 / 3;
}

static unsigned candidates(const struct board *board, unsigned cell)
{
    unsigned taken = board->rows[cell / 9] | board->columns[cell % 9] | board->boxes[box_of(cell)];
    return ~taken & ALL_DIGITS;
}

static void flip(struct board *board, unsigned cell, unsigned bit)
{
    board->rows[cell / 9] ^= (uint16_t)bit;
    board->columns[cell % 9] ^= (uint16_t)bit;
    board->boxes[box_of(cell)] ^= (uint16_t)bit;
}

/* The empty cell with the fewest candidates, or SUDOKU_CELLS if none is empty. */
static unsigned choose(const struct board *board)
{
    unsigned best = SUDOKU_CELLS;
    int fewest = 10;
    for (unsigned cell = 0; cell < SUDOKU_CELLS && fewest > 0; cell++) {
        if (board->cells[cell] == '0') {
            int count = __builtin_popcount(candidates(board, cell));
            if (count < fewest) {
                fewest = count;
                best = cell;
            }
        }
    }
    return best;
}

static bool search(struct board *board)
{
    unsigned cell = choose(board);
    if (cell == SUDOKU_CELLS) {
        return true;
    }
    for (unsigned left = candidates(board, cell); left != 0; left &= left - 1) {
        unsigned bit = left & -left;
        if (++board->steps > STEPS_MAX) {
            return false;
        }
        flip(board, cell, bit);
        board->cells[cell] = (char)('1' + __builtin_ctz(bit));
        if (search(board)) {
            return true;
        }
        flip(board, cell, bit);
        board->cells[cell] = '0';
    }
    return false;
}

bool sudoku_solve(const char puzzle[SUDOKU_CELLS], char ret_solution[SUDOKU_CELLS])
{
    char cells[SUDOKU_CELLS];
    struct board board = {.cells = cells};
    memcpy(cells, puzzle, SUDOKU_CELLS);
    for (unsigned cell = 0; cell < SUDOKU_CELLS; cell++) {
        if (cells[cell] != '0') {
            unsigned bit = 1u << (cells[cell] - '1');
            if ((candidates(&board, cell) & bit) == 0) {
                return false; /* it is there twice */
            }
            flip(&board, cell, bit);
        }
    }
    if (!search(&board)) {
        return false;
    }
    memcpy(ret_solution, cells, SUDOKU_CELLS);
    return true;
}

bool sudoku_is_solution(const char puzzle[SUDOKU_CELLS], const char solution[SUDOKU_CELLS])
{
    struct board board = {.steps = 0};
    for (unsigned cell = 0; cell < SUDOKU_CELLS; cell++) {
        if (solution[cell] < '1' || solution[cell] > '9' ||
            (puzzle[cell] != '0' && puzzle[cell] != solution[cell])) {
            return false;
        }
        unsigned bit = 1u << (solution[cell] - '1');
        if ((candidates(&board, cell) & bit) == 0) {
            return false;
        }
        flip(&board, cell, bit);
    }
    return true;
}
