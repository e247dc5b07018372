/* SPDX-License-Identifier: BSD-2-Clause */
/* An address that a socket can be bound or connected to, and its text.
 *
 *     127.0.0.1:80        IPv4
 *     [::1]:80            IPv6, in brackets; [::]:80 is every IPv6 address of this machine
 *     [fe80::1%eth0]:80   with a scope: the interface's name or number
 *     :80                 every address of this machine, IPv6 and IPv4 by one socket (dual stack)
 *     *:80                every IPv4 address of this machine
 *     unix:/run/x.sock    a unix socket in the file system
 *     unix:@name          a unix socket in the abstract namespace
 *     fd:3                a socket that listens already and was handed to the process
 *
 * Parsing is strict: no names, no octal or short IPv4 forms, no spaces, nothing after the end. What
 * is malformed never becomes an address by accident. Names are resolved by clients
 * (peal/client.h); peal_endpoint_split takes their text apart.
 *
 *     struct peal_addr addr;
 *     const char *why;
 *     if (peal_addr_parse(argv[1], &addr, &why) < 0) {
 *         fprintf(stderr, "%s: %s\n", argv[1], why);
 *     }
 *
 * A plain value: copy it freely; it owns nothing. Zeroed storage is an address of kind
 * PEAL_ADDR_NONE. All calls: any thread.
 */
#ifndef PEAL_ADDR_H
#define PEAL_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <peal/base.h>

PEAL_BEGIN

enum peal_addr_kind {
    PEAL_ADDR_NONE,
    PEAL_ADDR_IPV4,
    PEAL_ADDR_IPV6,
    PEAL_ADDR_UNIX,
    PEAL_ADDR_FD
};

/* To be read through the functions below. */
struct peal_addr {
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
        struct sockaddr_un local;
    } socket;
    socklen_t size; /* of what is used of socket */
    int fd;         /* of kind PEAL_ADDR_FD */
    enum peal_addr_kind kind;
    bool dual_stack; /* of kind PEAL_ADDR_IPV6: takes IPv4 as well */
};

/* Enough for the text of every address, with its NUL. */
#define PEAL_ADDR_TEXT_MAX 448
/* Enough for every host that peal_endpoint_split gives, with its NUL. */
#define PEAL_HOST_MAX 256

/* Reads the text of an address. Errors: -EINVAL (malformed) or -ENODEV (there is no interface of
 * the scope's name), with a sentence in static storage that says what is wrong and what would be
 * right; ret_why may be NULL, and is the one output written on failure. */
PEAL_API PEAL_MUST_USE int peal_addr_parse(const char *text, struct peal_addr *ret_addr,
                                           const char **ret_why);

/* Writes the text, IPv6 as RFC 5952 has it. Returns its length. peal_addr_parse gives the same
 * address again, except for a unix socket without a name ("unix:") and for kind PEAL_ADDR_NONE
 * ("none"). Bytes of a unix name that cannot be shown are written \xHH, which parse takes. Error:
 * -ENOSPC. */
PEAL_API int peal_addr_format(const struct peal_addr *addr, char *text, size_t size);

/* Takes over the address of a socket. Flow labels are dropped, and so are scopes of what is not
 * link-local. Errors: -EAFNOSUPPORT, -EINVAL (the size does not fit the family, or a path is not
 * terminated). */
PEAL_API PEAL_MUST_USE int peal_addr_from_sockaddr(const struct sockaddr *socket, socklen_t size,
                                                   struct peal_addr *ret_addr);

/* For bind(2) and connect(2); inside addr. NULL, and size 0, for kinds that have none. */
PEAL_API const struct sockaddr *peal_addr_sockaddr(const struct peal_addr *addr,
                                                   socklen_t *ret_size);

PEAL_API enum peal_addr_kind peal_addr_kind(const struct peal_addr *addr);
PEAL_API int peal_addr_family(const struct peal_addr *addr); /* AF_UNSPEC for fd:3 and none */
PEAL_API int peal_addr_fd(const struct peal_addr *addr);     /* -1 unless it is fd:3 */
PEAL_API bool peal_addr_is_dual_stack(const struct peal_addr *addr);

/* The port; 0 for what has none. Setting it on what has none: -EINVAL. */
PEAL_API uint16_t peal_addr_port(const struct peal_addr *addr);
PEAL_API int peal_addr_set_port(struct peal_addr *addr, uint16_t port);

/* The path of a unix socket in the file system, inside addr; NULL for everything else. */
PEAL_API const char *peal_addr_path(const struct peal_addr *addr);

/* 127.0.0.0/8, ::1, the same mapped into IPv6, and all unix sockets. */
PEAL_API bool peal_addr_is_loopback(const struct peal_addr *addr);
/* 0.0.0.0 or ::, whatever the port. */
PEAL_API bool peal_addr_is_any(const struct peal_addr *addr);

PEAL_API bool peal_addr_equal(const struct peal_addr *a, const struct peal_addr *b);
PEAL_API uint64_t peal_addr_hash(const struct peal_addr *addr, uint64_t seed);

/* The same host, whatever the port; an IPv4 address is the same host when mapped into IPv6, and all
 * unix sockets are one host. For limits per address. */
PEAL_API bool peal_addr_is_same_host(const struct peal_addr *a, const struct peal_addr *b);
PEAL_API uint64_t peal_addr_host_hash(const struct peal_addr *addr, uint64_t seed);

/* Takes "example.org:80", "127.0.0.1:80" or "[::1]:80" apart: the host (without brackets) and the
 * port. What looks like an IPv4 address must be a whole one, so that the resolver never reads it as
 * something else. Errors: -EINVAL with a sentence, as above; -ENOSPC, the host is too long for
 * host_size (PEAL_HOST_MAX is always enough). host and ret_port are then untouched. */
PEAL_API PEAL_MUST_USE int peal_endpoint_split(const char *text, char *ret_host, size_t host_size,
                                               uint16_t *ret_port, const char **ret_why);

PEAL_END
#endif
