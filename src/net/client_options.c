/* SPDX-License-Identifier: BSD-2-Clause */
/* A client's options, and the length of its pauses.
 *
 * "to" is an address if peal_addr_parse takes it, else a name with a port; a client has either, or
 * a list of addresses, never two of these. What cannot be connected to (port 0, a listening socket
 * that was handed over, a unix socket without a name) is refused here, where the program can see
 * its mistake, and not at the first attempt. Addresses such as 0.0.0.0 and :: are let through: the
 * kernel takes them for this machine, and programs connect to what a server says it is bound to.
 *
 * An address whose scope names no interface is -ENODEV, as peal_addr_parse has it, and not taken
 * for a name to be resolved.
 *
 * Pauses grow by doubling, and each is drawn from the upper half of its range. Drawing from the
 * whole range ("full jitter") spreads clients better, but lets the first retry come at once, which
 * is what a pause is there to prevent. */
#include "net/client.h"

#include "base/log.h"
#include "net/conn.h"

#include <peal/resolver.h>

#include <errno.h>

enum {
    CONNECT_MS_DEFAULT = 30000,
    STAGGER_MS_DEFAULT = 250, /* RFC 8305, section 5 */
    RETRY_MIN_MS_DEFAULT = 500,
    RETRY_MAX_MS_DEFAULT = 30000
};

bool pl_client_can_reach(const struct peal_addr *addr)
{
    switch (peal_addr_kind(addr)) {
    case PEAL_ADDR_IPV4:
    case PEAL_ADDR_IPV6:
        return peal_addr_port(addr) != 0;
    case PEAL_ADDR_UNIX:
        return addr->size > offsetof(struct sockaddr_un, sun_path);
    default:
        return false;
    }
}

static int check_addrs(const struct pl_client_setup *setup)
{
    for (size_t i = 0; i < setup->addr_count; i++) {
        if (!pl_client_can_reach(&setup->addrs[i])) {
            return -EINVAL;
        }
    }
    return 0;
}

/* *ret_why: a sentence for the log, of which the caller gets the number. */
static int read_name(const char *to, struct pl_client_setup *setup, const char **ret_why)
{
    if (peal_endpoint_split(to, setup->host, sizeof setup->host, &setup->port, ret_why) < 0) {
        return -EINVAL;
    }
    *ret_why = setup->host[0] == '\0' ? "there is no name before the port" : "port 0 is nobody's";
    return setup->host[0] != '\0' && setup->port != 0 ? 0 : -EINVAL;
}

static int read_to(const char *to, struct pl_client_setup *setup)
{
    const char *why = NULL;
    int result = peal_addr_parse(to, &setup->parsed, &why);
    if (result == 0) {
        setup->addrs = &setup->parsed;
        setup->addr_count = 1;
        result = check_addrs(setup);
        why = "nobody can be listening there";
    } else if (result != -ENODEV) {
        result = read_name(to, setup, &why);
    }
    if (result < 0) {
        pl_log(PEAL_LOG_WARNING, "a client cannot connect to \"%s\": %s", to, why);
    }
    return result;
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value == 0 ? fallback : value;
}

static int fill_defaults(const struct peal_client_options *given, struct peal_client_options *full)
{
    full->connect_ms = or_default(given->connect_ms, CONNECT_MS_DEFAULT);
    full->stagger_ms = or_default(given->stagger_ms, STAGGER_MS_DEFAULT);
    full->retry_min_ms = or_default(given->retry_min_ms, RETRY_MIN_MS_DEFAULT);
    full->retry_max_ms = or_default(given->retry_max_ms, RETRY_MAX_MS_DEFAULT);
    if (full->retry_min_ms <= full->retry_max_ms) {
        return 0;
    }
    if (given->retry_min_ms == 0) { /* the default gives way to what was asked for */
        full->retry_min_ms = full->retry_max_ms;
    } else if (given->retry_max_ms == 0) {
        full->retry_max_ms = full->retry_min_ms;
    } else {
        return -EINVAL;
    }
    return 0;
}

int pl_client_set_up(const struct peal_client_options *options, struct pl_client_setup *setup)
{
    if (!options || !options->ops || !options->to == !options->addrs ||
        !options->addrs != (options->addr_count == 0) ||
        (options->resolver && !options->resolver->resolve) ||
        pl_limits_check(&options->limits) < 0) {
        return -EINVAL;
    }
    *setup = (struct pl_client_setup){.options = *options};
    setup->options.to = NULL;
    setup->options.addrs = NULL;
    int result = fill_defaults(options, &setup->options);
    if (result < 0) {
        return result;
    }
    if (options->to) {
        return read_to(options->to, setup);
    }
    setup->addrs = options->addrs;
    setup->addr_count = options->addr_count;
    return check_addrs(setup);
}

uint32_t pl_client_pause_ms(uint32_t retry_min_ms, uint32_t retry_max_ms, unsigned failures,
                            uint64_t chance)
{
    uint64_t whole_ms = retry_min_ms;
    for (unsigned i = 1; i < failures && whole_ms < retry_max_ms; i++) {
        whole_ms *= 2;
    }
    whole_ms = whole_ms < retry_max_ms ? whole_ms : retry_max_ms;
    uint64_t half_ms = whole_ms / 2;
    return (uint32_t)(whole_ms - chance % (half_ms + 1));
}
