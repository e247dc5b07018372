/* SPDX-License-Identifier: BSD-2-Clause */
/* A chat room of lines. Whoever connects says a name, which is one line, and then each line goes to
 * all members, with the name in front. The room tells its members who comes and who leaves, and how
 * many there are.
 *
 * A room belongs to a loop and lives on its thread; all calls are made there. */
#ifndef CHAT_H
#define CHAT_H

#include <peal.h>

struct chat {
    struct peal_loop *loop;
    struct peal_server *server;
    struct member *members; /* with a name; those who leave too, until that was told */
    struct member *leaving; /* whose connections have closed in the turn under way */
    size_t members_count;
};

/* Opens a room. Returns 0 or a negative error, with a sentence in *ret_why. */
int chat_start(struct chat *chat, struct peal_loop *loop, const char *address,
               const char **ret_why);
/* Sends everybody home, within a second, and then quits the loop. */
void chat_stop(struct chat *chat);
/* What is left, after the loop has ended; also after a start that failed. */
void chat_deinit(struct chat *chat);

size_t chat_members(const struct chat *chat);

#endif
