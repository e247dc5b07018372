/* SPDX-License-Identifier: BSD-2-Clause */
/* What the small servers share: options, listening, signals, counters, and an orderly end. */
#ifndef PEAL_TOOLS_SERVE_H
#define PEAL_TOOLS_SERVE_H

#include <peal/server.h>

struct service {
    const char *name;
    const char *about;   /* for --help */
    const char *notes;   /* for --help; may be NULL */
    const char *address; /* to listen on by default */
    const struct peal_conn_ops *ops;
    struct peal_conn_limits limits; /* but idle_ms, which --idle sets */
    int (*start)(void);             /* before listening; 0 or a negative errno; may be NULL */
    void (*end)(void);              /* after all has closed; may be NULL */
};

/* Runs the service until a signal ends it. Returns the exit code. */
int serve(const struct service *service, int argc, char **argv);

#endif
