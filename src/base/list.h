/* SPDX-License-Identifier: BSD-2-Clause */
/* An intrusive, circular, doubly linked list. The head is a node of its own; a node that is on no
 * list points to itself, so that taking it off twice is harmless. */
#ifndef PL_LIST_H
#define PL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct pl_list {
    struct pl_list *next, *prev;
};

/* The structure that contains the member. */
#define pl_container(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void pl_list_init(struct pl_list *node)
{
    node->next = node->prev = node;
}

static inline bool pl_list_is_empty(const struct pl_list *node)
{
    return node->next == node;
}

static inline void pl_list_append(struct pl_list *head, struct pl_list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void pl_list_remove(struct pl_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    pl_list_init(node);
}

/* Takes all of from to the end of to, leaving from empty. */
static inline void pl_list_splice(struct pl_list *to, struct pl_list *from)
{
    if (pl_list_is_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    pl_list_init(from);
}

#define pl_list_each(node, head)                                                                   \
    for (struct pl_list *node = (head)->next; node != (head); node = node->next)
#define pl_list_each_safe(node, head)                                                              \
    for (struct pl_list *node = (head)->next, *node##_next = node->next; node != (head);           \
         node = node##_next, node##_next = node->next)

#endif
