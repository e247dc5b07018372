/* SPDX-License-Identifier: BSD-2-Clause */
/* A caller: a client and all that it was told. The rig's loop turns it; see rig.h. Also places to
 * connect to that never answer. */
#ifndef TEST_CALLER_H
#define TEST_CALLER_H

#include "net/resolver.h"
#include "support/rig.h"

#include <peal.h>

struct caller {
    struct witness witness; /* first: the user of ops and of on_fail */
    struct peal_client *client;
    unsigned fails;
    struct peal_connect_failure failure; /* the last one; why is copied to text */
    char text[1024];
    uint32_t pauses_ms[32]; /* retry_ms of the first failures */
    void (*also_fail)(struct caller *caller, const struct peal_connect_failure *failure);
};

/* Makes the client (options->ops, user and on_fail are the caller's; ops may be set) and checks
 * that it was made. */
void caller_open(struct caller *caller, struct peal_loop *loop,
                 const struct peal_client_options *options);

/* The caller's options, filled in, for a client that the test makes by itself. */
struct peal_client_options caller_options(struct caller *caller,
                                          const struct peal_client_options *options);

/* A listener on 127.0.0.1 whose queue is full: connecting to it hangs until black_hole_close. */
struct black_hole {
    struct peal_addr address;
    int listener;
    int fillers[4];
};
void black_hole_open(struct black_hole *hole);
void black_hole_close(struct black_hole *hole);

/* An address of 127.0.0.1 on which nobody listens. */
struct peal_addr refusing_address(void);

/* A resolver that answers when the test says so. It serves one request at a time; set it as
 * pl_resolver. */
extern const struct pl_resolver_ops slow_resolver;
extern unsigned slow_resolver_started, slow_resolver_cancelled;
extern bool slow_resolver_waiting; /* a request is under way */
/* In the next turn, until when resolved must stay. */
void slow_resolver_answer(struct pl_resolved *resolved);

/* Group setup of tests that start threads: starts one and joins it. With the first thread a thread
 * sanitizer adds one of its own, which the baseline would take for a leak. */
int first_thread(void **state);

#endif
