/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of hosts, of interfaces and of the environment, in the simulated system.
 *
 * A numeric address is read by the real getaddrinfo, which then asks nobody. A name is found if the
 * run has added it (pl_sim_add_host), "localhost" is always there; finding it takes the time that
 * was said, of the simulated clock, and gives all its addresses in the order of adding. The list is
 * made of real ones, a node for each address, so that the real freeaddrinfo frees it. */
#include "sys/sim/sim.h"

#include <errno.h>
#include <netdb.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

struct pl_sim_host {
    struct pl_sim_host *next;
    char name[64], address[64];
    uint64_t delay_ns;
};

void pl_sim_add_host(const char *name, const char *address, uint64_t delay_ns)
{
    struct pl_sim_host *host = pl_sim_take(sizeof *host);
    strncpy(host->name, name, sizeof host->name - 1);
    strncpy(host->address, address, sizeof host->address - 1);
    host->delay_ns = delay_ns;
    struct pl_sim_host **end = &pl_sim.hosts;
    while (*end) {
        end = &(*end)->next;
    }
    *end = host;
}

void pl_sim_hosts_end(void)
{
    while (pl_sim.hosts) {
        struct pl_sim_host *host = pl_sim.hosts;
        pl_sim.hosts = host->next;
        free(host);
    }
}

static int numeric(const char *host, const char *service, const struct addrinfo *hints,
                   struct addrinfo **ret_list)
{
    struct addrinfo numeric_hints = hints ? *hints : (struct addrinfo){0};
    numeric_hints.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    numeric_hints.ai_flags &= ~AI_ADDRCONFIG;
    return getaddrinfo(host, service, &numeric_hints, ret_list);
}

static void wait_out(uint64_t delay_ns)
{
    uint64_t until_ns = pl_sim_after(delay_ns);
    while (pl_sim.now_ns < until_ns) {
        pl_sim_wait(&pl_sim.hosts, until_ns);
    }
}

static int find_name(const char *name, const char *service, const struct addrinfo *hints,
                     struct addrinfo **ret_list)
{
    struct addrinfo *list = NULL, **end = &list;
    int result = EAI_NONAME;
    for (const struct pl_sim_host *host = pl_sim.hosts; host; host = host->next) {
        if (strcmp(host->name, name) != 0) {
            continue;
        }
        if (!list) {
            wait_out(host->delay_ns);
        }
        int found = numeric(host->address, service, hints, end);
        result = list ? 0 : found;
        while (*end) {
            end = &(*end)->ai_next;
        }
    }
    *ret_list = list;
    return result;
}

int sys_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                    struct addrinfo **ret_list)
{
    pl_sim_point();
    if (pl_sim_hook('s', "getaddrinfo")) {
        return EAI_AGAIN;
    }
    int result = numeric(host, service, hints, ret_list);
    if (result != EAI_NONAME || !host) {
        return result;
    }
    if (pl_sim_strikes(PL_SIM_NAME_FAILS)) {
        wait_out(pl_choice_below(&pl_sim.choice, 30000) * 1000000u);
        return pl_choice_below(&pl_sim.choice, 2) ? EAI_FAIL : EAI_AGAIN;
    }
    if (strcmp(host, "localhost") == 0) {
        result = numeric("127.0.0.1", service, hints, ret_list);
        return result == 0 ? 0 : numeric("::1", service, hints, ret_list);
    }
    result = find_name(host, service, hints, ret_list);
    TRACE("getaddrinfo(%s) = %d", host, result);
    return result;
}

void sys_freeaddrinfo(struct addrinfo *list)
{
    if (list) {
        freeaddrinfo(list);
    }
}

const char *sys_gai_strerror(int code)
{
    return gai_strerror(code);
}

unsigned sys_if_nametoindex(const char *name)
{
    return strcmp(name, "lo") == 0 ? 1 : 0;
}

int sys_if_indextoname(unsigned index, char *ret_name)
{
    if (index != 1) {
        return -ENXIO;
    }
    strcpy(ret_name, "lo");
    return 0;
}

const char *sys_getenv(const char *name)
{
    return strcmp(name, "PEAL_ENGINE") == 0 && pl_sim.engine[0] ? pl_sim.engine : NULL;
}
