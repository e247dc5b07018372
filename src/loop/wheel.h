/* SPDX-License-Identifier: BSD-2-Clause */
/* A hierarchical timing wheel of peal_timer_nodes (Varghese and Lauck, 1987): add and cancel in
 * O(1) without allocation. */
#ifndef PL_WHEEL_H
#define PL_WHEEL_H

#include <peal/timer.h>

enum { PL_WHEEL_BITS = 8, PL_WHEEL_SLOTS = 1 << PL_WHEEL_BITS, PL_WHEEL_LEVELS = 5 };

/* A node's kind: who it is told to (timer.c). The wheel does not look at it. */
enum pl_timer_kind { PL_TIMER_USER, PL_TIMER_CONN };

/* 8,900 years: what is later is due then. */
#define PL_WHEEL_DUE_MAX ((1ull << 48) - 1)

struct pl_wheel {
    uint64_t now_ms; /* all timers due up to here have been taken out */
    uint64_t count;  /* armed timers */
    uint64_t occupied[PL_WHEEL_LEVELS * PL_WHEEL_SLOTS / 64];
    struct peal_timer_node *slots[PL_WHEEL_LEVELS * PL_WHEEL_SLOTS]; /* level by level */
    struct peal_timer_node
        *due; /* taken out by advance, not fired yet; cancel takes from here too */
};

void pl_wheel_init(struct pl_wheel *wheel, uint64_t now_ms);

/* Puts a timer that is not armed in, for due_ms (already past: at the next advance). */
void pl_wheel_add(struct pl_wheel *wheel, struct peal_timer_node *timer, uint64_t due_ms);
void pl_wheel_remove(struct pl_wheel *wheel, struct peal_timer_node *timer);

/* Moves an armed timer to a moment not before its own without hanging it anew, where that can be:
 * else false, and nothing has changed. pl_wheel_next_ms stays what it was. */
bool pl_wheel_move_later(struct pl_wheel *wheel, struct peal_timer_node *timer, uint64_t due_ms);

/* Moves time on to now_ms and what has come due to the due list, in the order of due_ms. */
void pl_wheel_advance(struct pl_wheel *wheel, uint64_t now_ms);

/* Takes the next timer off the due list (it is then not armed), or NULL. */
struct peal_timer_node *pl_wheel_take_due(struct pl_wheel *wheel);

/* Takes any timer at all out (a loop that ends disarms what is left), or NULL. */
struct peal_timer_node *pl_wheel_take_any(struct pl_wheel *wheel);

/* The moment at which advance will next have something to do (an expiry or a cascade), or
 * UINT64_MAX: there are no timers. */
uint64_t pl_wheel_next_ms(const struct pl_wheel *wheel);

#endif
