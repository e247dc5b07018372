/* SPDX-License-Identifier: BSD-2-Clause */
/* What clients share: options, connecting, signals, and an orderly end, as serve.h has it for
 * servers.
 *
 * All connections are begun at once, over the loops in turn. When the last has ended, the program
 * ends: `end` prints what came of it. A connection that could not be made, or that broke (anything
 * but an end by either side in which nothing was lost), is told on standard error and makes the
 * exit code 1. */
#ifndef PEAL_TOOLS_DIAL_H
#define PEAL_TOOLS_DIAL_H

#include <peal/client.h>
#include <peal/loop.h>
#include <peal/pool.h>

#include "args.h"

/* What runs. */
struct dialing {
    const struct dialler *dialler;
    struct peal_loop *loop; /* the main thread's: signals; with one thread, all */
    struct peal_pool *pool; /* the loops that connect; NULL with one thread: the main one does */
    uint64_t conns;
    struct dial_own *own; /* the frame's */
};

/* One connection: user of its callbacks. The frame needs it there, so a program that keeps
 * something for each connection hangs it on mine instead of calling peal_conn_set_user. */
struct dialled {
    struct dialing *dialing;
    uint64_t index; /* from 0 */
    const char *address;
    void *mine;
    struct peal_loop *loop;
    struct peal_client *client; /* the frame's, as the next */
    bool is_over;
};

struct dialler {
    const char *name; /* such as "chat-client" */
    const char *about;
    const char *notes;               /* may be NULL */
    const char *synopsis;            /* of operands, after the options; NULL: there are none */
    const char *address;             /* to connect to by default */
    const struct peal_conn_ops *ops; /* user is a struct dialled */
    struct peal_conn_limits limits;
    const struct arg *args; /* options of its own; may be NULL */
    bool many;              /* has --conns and --threads */
    bool several;           /* --connect may be repeated: a connection to each address; where
                               one cannot be made, the program stops */

    /* All may be NULL. On the main thread, but for ops. */
    int (*check)(const struct arg_command *command,
                 const struct arg_texts *operands); /* -1, or what args_mistake returned */
    int (*start)(struct dialing *dialing);          /* before connecting; 0 or a negative errno */
    void (*stop)(struct dialing *dialing);          /* the first SIGINT or SIGTERM; then each
                                                       connection is closed */
    int (*end)(const struct dialing *dialing, bool all_well); /* all loops have ended; returns the
                                                                 exit code */
};

/* Runs the client until its connections have ended. Returns the exit code. */
int dial(const struct dialler *dialler, int argc, char **argv);

/* Ends the program as the first SIGTERM does: what was sent arrives. Any thread. */
void dial_stop(struct dialing *dialing);

#endif
