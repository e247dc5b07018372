/* SPDX-License-Identifier: BSD-2-Clause */
/* What servers share: options, listening, signals, counters, and an orderly end. The small ones of
 * `peal` are made with it, and the programs in examples/.
 *
 *     static const struct peal_conn_ops ops = {.on_data = on_data};
 *
 *     int main(int argc, char **argv)
 *     {
 *         static const struct service service = {
 *             .name = "echo", .about = "Sends back what it gets.", .address = "127.0.0.1:2007",
 *             .ops = &ops,
 *         };
 *         return serve(&service, argc, argv);
 *     }
 */
#ifndef PEAL_TOOLS_SERVE_H
#define PEAL_TOOLS_SERVE_H

#include <peal/loop.h>
#include <peal/pool.h>
#include <peal/server.h>

#include "args.h"

/* What runs: for those who need loops of their own choice, timers, or clients. */
struct serving {
    const struct service *service;
    struct peal_loop *loop; /* the home loop: listeners and signals; with one thread, all */
    struct peal_pool *pool; /* the loops that serve; NULL with one thread: the home loop does */
    struct peal_server *server;
    uint32_t drain_ms;     /* of --drain */
    struct serve_own *own; /* the frame's */
};

struct service {
    const char *name;
    const char *about;               /* for --help */
    const char *notes;               /* for --help; may be NULL */
    const char *address;             /* to listen on by default */
    const struct peal_conn_ops *ops; /* user is the struct serving, until peal_conn_set_user */
    struct peal_conn_limits limits;  /* but idle_ms, which --idle sets */
    uint32_t idle_ms;                /* of --idle, by default; 0: never */
    uint64_t conns_max;              /* of --max-conns, by default; 0: no limit */
    uint64_t threads;                /* of --threads, by default; 0: 1 */
    const struct arg *args; /* options of its own, which the help tells first; may be NULL */

    /* All may be NULL, and run on the main thread. */
    int (*check)(const struct arg_command *command); /* its own options: -1, or what args_mistake
                                                        returned */
    int (*start)(const struct serving *serving);     /* before listening; 0 or a negative errno */
    void (*print)(const struct serving *serving);    /* more lines for SIGUSR1 */
    bool (*stop)(const struct serving *serving);     /* the first SIGTERM or SIGINT has come; true:
                                                        it stops the server itself, when it has done
                                                        what it owes, within drain_ms */
    void (*end)(void);                               /* all loops have ended */
};

/* Runs the service until a signal ends it. Returns the exit code. */
int serve(const struct service *service, int argc, char **argv);

#endif
