/* SPDX-License-Identifier: BSD-2-Clause */
/* What of the client needs no loop: its options, checked and with their defaults, and the length of
 * its pauses. */
#ifndef PL_CLIENT_H
#define PL_CLIENT_H

#include <peal/client.h>

/* Options as the client uses them: a name, or addresses. */
struct pl_client_setup {
    struct peal_client_options options; /* defaults filled in; to and addrs are NULL */
    char host[PEAL_HOST_MAX];           /* empty: there are addresses */
    uint16_t port;
    size_t addr_count;
    const struct peal_addr *addrs; /* the program's, or parsed */
    struct peal_addr parsed;
};

/* Reads and checks the program's options (NULL is an error like others). -EINVAL or -ENODEV. setup
 * points into itself and into options: not to be copied, and not to outlive them. */
int pl_client_set_up(const struct peal_client_options *options, struct pl_client_setup *setup);

/* Whether connect(2) can be asked for this address at all. */
bool pl_client_can_reach(const struct peal_addr *addr);

/* The pause after the failure of that number (1: the first), or, with 0, after a connection closed:
 * retry_min_ms doubled each time up to retry_max_ms, and of that a random point of the upper half.
 * chance: 64 random bits. */
uint32_t pl_client_pause_ms(uint32_t retry_min_ms, uint32_t retry_max_ms, unsigned failures,
                            uint64_t chance);

#endif
