/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two files about addresses share. */
#ifndef PL_ADDR_H
#define PL_ADDR_H

#include <peal/addr.h>

/* The bytes of a unix socket's name: a path without its NUL, or an abstract name without the NUL
 * before it. */
#define PL_UNIX_NAME_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

#define PL_UNIX_NAME_AT (offsetof(struct sockaddr_un, sun_path))

/* Each makes the address of its kind. The name is copied; its size is at most PL_UNIX_NAME_MAX. */
void pl_addr_set_ipv4(struct peal_addr *addr, const unsigned char bytes[4], uint16_t port);
void pl_addr_set_ipv6(struct peal_addr *addr, const unsigned char bytes[16], uint32_t scope,
                      uint16_t port);
void pl_addr_set_path(struct peal_addr *addr, const void *name, size_t size);
void pl_addr_set_abstract(struct peal_addr *addr, const void *name, size_t size);

/* fe80::/10, and multicast that does not leave the interface or the link (RFC 4291 2.5.6 and 2.7):
 * the addresses that mean nothing without an interface. */
static inline bool pl_ipv6_has_scope(const unsigned char bytes[16])
{
    return (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) ||
           (bytes[0] == 0xff && ((bytes[1] & 0x0f) == 1 || (bytes[1] & 0x0f) == 2));
}

#endif
