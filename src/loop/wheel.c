/* SPDX-License-Identifier: BSD-2-Clause */
/* The timing wheel: five levels of 256 slots, a tick of one millisecond.
 *
 * A timer that is due within 256 ms hangs in level 0, in the slot of its own millisecond; one
 * within 65 s in level 1, in a slot of 256 ms; and so on to 34 years. Adding finds the level from
 * the highest bit in which due and now differ, so a slot of level n is looked at exactly when time
 * enters it: then its timers are hung lower (a cascade), at most four times in a timer's life.
 *
 * Removing unlinks. Moving a timer to a later moment, as time-outs are with all that is heard of a
 * connection, only notes the moment, if the timer hangs in level 1 or higher: its slot is looked
 * at too early then, and hangs it where it belongs. So a time-out of a minute is hung once a
 * minute, however often it is moved, and moving it does not touch its neighbours.
 *
 * A bit for each slot says whether it holds anything, so that finding the next moment of interest
 * reads a few words and an idle wheel never ticks.
 *
 * Invariants:
 *  1. A timer is armed exactly when it is linked: in a slot, or on the due list. What is due
 *     keeps its slot's number: the lists of level 0 go over whole, so the nodes are not touched.
 *  2. Lists are circular and doubly linked, the head pointer names the oldest; a lone timer
 *     links to itself.
 *  3. Every timer in level 0 is due at the millisecond of its slot, which lies after now_ms;
 *     one in a higher level is due in its slot's time or, if it was moved, later.
 *  4. Slots hold timers in the order in which they were armed, cascades keep it, so ties fire
 *     in that order - but for a timer that was armed while it was near and one that was armed
 *     earlier while it was far, or moved: those meet in level 0 in the order of arrival.
 *
 * Rejected: a binary heap (three times the cost at a million timers, from cache misses), and a
 * red-black tree (muduo's; thirty times, with an allocation for each). */
#include "loop/wheel.h"

#include "base/assert.h"

#include <stddef.h>
#include <string.h>

enum { SLOT_MASK = PL_WHEEL_SLOTS - 1, SLOT_NUMBER_MASK = (1 << 11) - 1 };

void pl_wheel_init(struct pl_wheel *wheel, uint64_t now_ms)
{
    memset(wheel, 0, sizeof *wheel);
    wheel->now_ms = now_ms;
}

static void push(struct peal_timer_node **head, struct peal_timer_node *timer)
{
    if (!*head) {
        timer->next = timer->prev = timer;
        *head = timer;
        return;
    }
    timer->next = *head;
    timer->prev = (*head)->prev;
    timer->prev->next = timer;
    (*head)->prev = timer;
}

/* Returns true when the list has become empty. */
static bool unlink_from(struct peal_timer_node **head, struct peal_timer_node *timer)
{
    if (timer->next == timer) {
        *head = NULL;
    } else {
        timer->next->prev = timer->prev;
        timer->prev->next = timer->next;
        if (*head == timer) {
            *head = timer->next;
        }
    }
    timer->next = timer->prev = NULL;
    return *head == NULL;
}

static void hang(struct pl_wheel *wheel, struct peal_timer_node *timer)
{
    uint64_t differs = (timer->due_ms ^ wheel->now_ms) | 1;
    unsigned level = (63u - (unsigned)__builtin_clzll(differs)) / PL_WHEEL_BITS;
    uint64_t at = timer->due_ms;
    if (level >= PL_WHEEL_LEVELS) { /* the last level goes round; beyond its end: its farthest slot,
                                       and from there again */
        uint64_t farthest =
            wheel->now_ms + ((uint64_t)SLOT_MASK << (PL_WHEEL_BITS * (PL_WHEEL_LEVELS - 1)));
        level = PL_WHEEL_LEVELS - 1;
        at = at < farthest ? at : farthest;
    }
    unsigned index = (unsigned)(at >> (PL_WHEEL_BITS * level)) & SLOT_MASK;
    unsigned slot = level * PL_WHEEL_SLOTS + index;
    timer->slot = slot & SLOT_NUMBER_MASK;
    push(&wheel->slots[slot], timer);
    wheel->occupied[slot / 64] |= 1ull << (slot % 64);
}

static uint64_t possible(const struct pl_wheel *wheel, uint64_t due_ms)
{
    due_ms = due_ms > wheel->now_ms ? due_ms : wheel->now_ms + 1;
    return due_ms < PL_WHEEL_DUE_MAX ? due_ms : PL_WHEEL_DUE_MAX;
}

void pl_wheel_add(struct pl_wheel *wheel, struct peal_timer_node *timer, uint64_t due_ms)
{
    pl_assert(timer->next == NULL);
    timer->due_ms = possible(wheel, due_ms) & PL_WHEEL_DUE_MAX;
    wheel->count++;
    hang(wheel, timer);
}

void pl_wheel_remove(struct pl_wheel *wheel, struct peal_timer_node *timer)
{
    wheel->count--;
    if (timer == wheel->due) {
        unlink_from(&wheel->due, timer);
        return;
    }
    /* Of those that are due none but the first is its list's head: for the rest their slot's head
     * is as good, which they are not, either. */
    unsigned slot = timer->slot; /* wider first: the sanitizers' build sees a change of sign else */
    if (unlink_from(&wheel->slots[slot], timer)) {
        wheel->occupied[slot / 64] &= ~(1ull << (slot % 64));
    }
}

bool pl_wheel_move_later(struct pl_wheel *wheel, struct peal_timer_node *timer, uint64_t due_ms)
{
    due_ms = possible(wheel, due_ms);
    if (timer->slot < PL_WHEEL_SLOTS || due_ms < timer->due_ms) {
        return false;
    }
    timer->due_ms = due_ms & PL_WHEEL_DUE_MAX;
    return true;
}

/* The first occupied slot of a level at or after index, or -1. */
static int next_occupied(const struct pl_wheel *wheel, unsigned level, unsigned index)
{
    const uint64_t *occupied = &wheel->occupied[level * PL_WHEEL_SLOTS / 64];
    for (unsigned word = index / 64; word < PL_WHEEL_SLOTS / 64; word++) {
        uint64_t bits = occupied[word];
        if (word == index / 64) {
            bits &= ~0ull << (index % 64);
        }
        if (bits) {
            return (int)(word * 64 + (unsigned)__builtin_ctzll(bits));
        }
    }
    return -1;
}

uint64_t pl_wheel_next_ms(const struct pl_wheel *wheel)
{
    if (wheel->due) {
        return wheel->now_ms;
    }
    if (wheel->count == 0) {
        return UINT64_MAX;
    }
    for (unsigned level = 0; level < PL_WHEEL_LEVELS; level++) {
        unsigned shift = PL_WHEEL_BITS * level;
        uint64_t tick = wheel->now_ms >> shift;
        unsigned index = (unsigned)tick & SLOT_MASK;
        /* The slot of now itself is empty: it was cascaded when time entered it. */
        int found = index < SLOT_MASK ? next_occupied(wheel, level, index + 1) : -1;
        if (found >= 0) {
            return ((tick & ~(uint64_t)SLOT_MASK) + (unsigned)found) << shift;
        }
        if (level == PL_WHEEL_LEVELS - 1) { /* round the end of the last level */
            found = next_occupied(wheel, level, 0);
            return found < 0 ? UINT64_MAX : ((tick | SLOT_MASK) + 1 + (unsigned)found) << shift;
        }
    }
    return UINT64_MAX;
}

/* Takes a slot's list; the slot is empty then. */
static struct peal_timer_node *take_slot(struct pl_wheel *wheel, unsigned slot)
{
    struct peal_timer_node *first = wheel->slots[slot];
    wheel->slots[slot] = NULL;
    wheel->occupied[slot / 64] &= ~(1ull << (slot % 64));
    return first;
}

static void append(struct peal_timer_node **head, struct peal_timer_node *first)
{
    if (!*head) {
        *head = first;
        return;
    }
    struct peal_timer_node *last = first->prev;
    last->next = *head;
    first->prev = (*head)->prev;
    first->prev->next = first;
    (*head)->prev = last;
}

/* Time has entered the slots of this moment: hangs what they hold lower, highest level first, and
 * makes due what then hangs in level 0. */
static void enter(struct pl_wheel *wheel)
{
    unsigned now = (unsigned)wheel->now_ms & SLOT_MASK;
    for (unsigned level = PL_WHEEL_LEVELS; level-- > 1;) {
        unsigned shift = PL_WHEEL_BITS * level;
        if (wheel->now_ms & ((1ull << shift) - 1)) {
            continue; /* in the midst of a slot of this level */
        }
        unsigned index = (unsigned)(wheel->now_ms >> shift) & SLOT_MASK;
        struct peal_timer_node *left = take_slot(wheel, level * PL_WHEEL_SLOTS + index);
        while (left) {
            struct peal_timer_node *timer = left;
            unlink_from(&left, timer);
            hang(wheel, timer);
        }
    }
    if (wheel->slots[now]) {
        append(&wheel->due, take_slot(wheel, now));
    }
}

void pl_wheel_advance(struct pl_wheel *wheel, uint64_t now_ms)
{
    while (wheel->now_ms < now_ms) {
        uint64_t next_ms = wheel->count ? UINT64_MAX : now_ms;
        if (wheel->count) {
            struct peal_timer_node *due =
                wheel->due; /* next_ms must look past what is due already */
            wheel->due = NULL;
            next_ms = pl_wheel_next_ms(wheel);
            wheel->due = due;
        }
        if (next_ms > now_ms) {
            wheel->now_ms = now_ms;
            return;
        }
        wheel->now_ms = next_ms;
        enter(wheel);
    }
}

struct peal_timer_node *pl_wheel_take_due(struct pl_wheel *wheel)
{
    struct peal_timer_node *timer = wheel->due;
    if (timer) {
        pl_wheel_remove(wheel, timer);
    }
    return timer;
}

struct peal_timer_node *pl_wheel_take_any(struct pl_wheel *wheel)
{
    struct peal_timer_node *timer = pl_wheel_take_due(wheel);
    for (unsigned level = 0; level < PL_WHEEL_LEVELS && !timer; level++) {
        int found = next_occupied(wheel, level, 0);
        if (found >= 0) {
            timer = wheel->slots[level * PL_WHEEL_SLOTS + (unsigned)found];
            pl_wheel_remove(wheel, timer);
        }
    }
    return timer;
}
