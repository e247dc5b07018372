/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses as values: made from the kernel's, compared, and written as text. Reading text is
 * addr_parse.c.
 *
 * An address has one form only, so that equal addresses are equal in every field that means
 * something. The functions pl_addr_set_ are the only ones that make one, and they make it from
 * zeroed memory.
 *
 * Invariants:
 *  1. size is just what bind(2) wants for the kind: for a path with its NUL, for an abstract name
 *     without, for a unix socket without a name just the family; 0 for fd:3 and none.
 *  2. A path is terminated inside sun_path. The kernel would take one of 108 bytes without a NUL,
 *     which most other programs cannot connect to; it is refused.
 *  3. No flow label, and a scope only where the kernel looks at it: link-local. Otherwise an
 *     address would have a second text, or none.
 *  4. parse(format(x)) == x, but for a socket without a name, to which nobody can connect. Hence
 *     \xHH in unix names, a scope by number if its interface has gone or has an odd name, and
 *     unix:\x40name for the path "@name".
 *
 * Equality and hash work on a key, a canonical string of bytes made by one function, so that they
 * cannot disagree. For limits per address there is a second key, of the host: there an IPv4
 * address that reached a dual-stack socket is the host that it is.
 *
 * The hash is FNV-1a with a seed and a final mix. It is not cryptographic: who must fear chosen
 * addresses passes a random seed.
 *
 * Rejected: inet_ntop, which is libc's and writes ::1.2.3.4 for what RFC 5952 wants in hexadecimal;
 * folding IPv4 in IPv6 on the way in, since the program would then see another address than
 * getsockname. */
#include "base/addr.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "base/assert.h"
#include "sys/sys.h"

/* Between the machine's order and the network's; htons is a function of libc when not optimised. */
static uint16_t swap_port(uint16_t port)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap16(port);
#else
    return port;
#endif
}

static const unsigned char *ipv4_bytes(const struct peal_addr *addr)
{
    return (const unsigned char *)&addr->socket.ipv4.sin_addr;
}

static const unsigned char *ipv6_bytes(const struct peal_addr *addr)
{
    return (const unsigned char *)&addr->socket.ipv6.sin6_addr;
}

/* The IPv4 address mapped into IPv6 (RFC 4291 2.5.5.2), or NULL. */
static const unsigned char *mapped_ipv4(const unsigned char bytes[16])
{
    static const unsigned char prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(bytes, prefix, sizeof prefix) == 0 ? bytes + sizeof prefix : NULL;
}

/* ---- making */

void pl_addr_set_ipv4(struct peal_addr *addr, const unsigned char bytes[4], uint16_t port)
{
    memset(addr, 0, sizeof *addr);
    addr->kind = PEAL_ADDR_IPV4;
    addr->size = sizeof addr->socket.ipv4;
    addr->socket.ipv4.sin_family = AF_INET;
    addr->socket.ipv4.sin_port = swap_port(port);
    memcpy(&addr->socket.ipv4.sin_addr, bytes, 4);
}

void pl_addr_set_ipv6(struct peal_addr *addr, const unsigned char bytes[16], uint32_t scope,
                      uint16_t port)
{
    memset(addr, 0, sizeof *addr);
    addr->kind = PEAL_ADDR_IPV6;
    addr->size = sizeof addr->socket.ipv6;
    addr->socket.ipv6.sin6_family = AF_INET6;
    addr->socket.ipv6.sin6_port = swap_port(port);
    addr->socket.ipv6.sin6_scope_id = pl_ipv6_has_scope(bytes) ? scope : 0;
    memcpy(&addr->socket.ipv6.sin6_addr, bytes, 16);
}

void pl_addr_set_path(struct peal_addr *addr, const void *name, size_t size)
{
    pl_assert(size <= PL_UNIX_NAME_MAX);
    memset(addr, 0, sizeof *addr);
    addr->kind = PEAL_ADDR_UNIX;
    addr->size = (socklen_t)(PL_UNIX_NAME_AT + (size ? size + 1 : 0));
    addr->socket.local.sun_family = AF_UNIX;
    memcpy(addr->socket.local.sun_path, name, size);
}

void pl_addr_set_abstract(struct peal_addr *addr, const void *name, size_t size)
{
    pl_assert(size <= PL_UNIX_NAME_MAX);
    memset(addr, 0, sizeof *addr);
    addr->kind = PEAL_ADDR_UNIX;
    addr->size = (socklen_t)(PL_UNIX_NAME_AT + 1 + size);
    addr->socket.local.sun_family = AF_UNIX;
    memcpy(addr->socket.local.sun_path + 1, name, size);
}

static int from_unix(const struct sockaddr *socket, size_t size, struct peal_addr *ret_addr)
{
    struct sockaddr_un local;
    if (size > sizeof local) {
        return -EINVAL;
    }
    memcpy(&local, socket, size);
    size_t name_size = size - PL_UNIX_NAME_AT;
    if (name_size <= 1 && (name_size == 0 || local.sun_path[0] == '\0')) {
        pl_addr_set_path(ret_addr, "", 0);
        return 0;
    }
    if (local.sun_path[0] == '\0') {
        pl_addr_set_abstract(ret_addr, local.sun_path + 1, name_size - 1);
        return 0;
    }
    size_t length = strnlen(local.sun_path, name_size);
    if (length > PL_UNIX_NAME_MAX) {
        return -EINVAL;
    }
    pl_addr_set_path(ret_addr, local.sun_path, length);
    return 0;
}

int peal_addr_from_sockaddr(const struct sockaddr *socket, socklen_t size,
                            struct peal_addr *ret_addr)
{
    /* Copied out before it is looked at: the caller's bytes may be of another type, or unaligned.
     */
    sa_family_t family;
    if (!socket || size < offsetof(struct sockaddr, sa_family) + sizeof family) {
        return -EINVAL;
    }
    memcpy(&family, (const char *)socket + offsetof(struct sockaddr, sa_family), sizeof family);
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    switch (family) {
    case AF_INET:
        if (size < sizeof ipv4) {
            return -EINVAL;
        }
        memcpy(&ipv4, socket, sizeof ipv4);
        pl_addr_set_ipv4(ret_addr, (const unsigned char *)&ipv4.sin_addr, swap_port(ipv4.sin_port));
        return 0;
    case AF_INET6:
        if (size < sizeof ipv6) {
            return -EINVAL;
        }
        memcpy(&ipv6, socket, sizeof ipv6);
        pl_addr_set_ipv6(ret_addr, (const unsigned char *)&ipv6.sin6_addr, ipv6.sin6_scope_id,
                         swap_port(ipv6.sin6_port));
        return 0;
    case AF_UNIX:
        return from_unix(socket, size, ret_addr);
    default:
        return -EAFNOSUPPORT;
    }
}

/* ---- looking */

const struct sockaddr *peal_addr_sockaddr(const struct peal_addr *addr, socklen_t *ret_size)
{
    *ret_size = addr->size;
    return addr->size ? &addr->socket.any : NULL;
}

enum peal_addr_kind peal_addr_kind(const struct peal_addr *addr)
{
    return addr->kind;
}

int peal_addr_family(const struct peal_addr *addr)
{
    return addr->size ? addr->socket.any.sa_family : AF_UNSPEC;
}

int peal_addr_fd(const struct peal_addr *addr)
{
    return addr->kind == PEAL_ADDR_FD ? addr->fd : -1;
}

bool peal_addr_is_dual_stack(const struct peal_addr *addr)
{
    return addr->dual_stack;
}

uint16_t peal_addr_port(const struct peal_addr *addr)
{
    switch (addr->kind) {
    case PEAL_ADDR_IPV4:
        return swap_port(addr->socket.ipv4.sin_port);
    case PEAL_ADDR_IPV6:
        return swap_port(addr->socket.ipv6.sin6_port);
    default:
        return 0;
    }
}

int peal_addr_set_port(struct peal_addr *addr, uint16_t port)
{
    switch (addr->kind) {
    case PEAL_ADDR_IPV4:
        addr->socket.ipv4.sin_port = swap_port(port);
        return 0;
    case PEAL_ADDR_IPV6:
        addr->socket.ipv6.sin6_port = swap_port(port);
        return 0;
    default:
        return -EINVAL;
    }
}

const char *peal_addr_path(const struct peal_addr *addr)
{
    bool has = addr->kind == PEAL_ADDR_UNIX && addr->socket.local.sun_path[0] != '\0';
    return has ? addr->socket.local.sun_path : NULL;
}

bool peal_addr_is_loopback(const struct peal_addr *addr)
{
    static const unsigned char ipv6_loopback[16] = {[15] = 1};
    const unsigned char *ipv4 = NULL;
    switch (addr->kind) {
    case PEAL_ADDR_IPV4:
        ipv4 = ipv4_bytes(addr);
        break;
    case PEAL_ADDR_IPV6:
        if (memcmp(ipv6_bytes(addr), ipv6_loopback, 16) == 0) {
            return true;
        }
        ipv4 = mapped_ipv4(ipv6_bytes(addr));
        break;
    default:
        return addr->kind == PEAL_ADDR_UNIX;
    }
    return ipv4 && ipv4[0] == 127;
}

bool peal_addr_is_any(const struct peal_addr *addr)
{
    static const unsigned char zero[16];
    switch (addr->kind) {
    case PEAL_ADDR_IPV4:
        return memcmp(ipv4_bytes(addr), zero, 4) == 0;
    case PEAL_ADDR_IPV6:
        return memcmp(ipv6_bytes(addr), zero, 16) == 0;
    default:
        return false;
    }
}

/* ---- comparing */

struct key {
    size_t size;
    unsigned char bytes[160];
};

static void key_add(struct key *key, const void *data, size_t size)
{
    pl_assert(key->size + size <= sizeof key->bytes);
    memcpy(key->bytes + key->size, data, size);
    key->size += size;
}

static void make_key(const struct peal_addr *addr, struct key *ret_key)
{
    ret_key->size = 0;
    key_add(ret_key, &addr->kind, sizeof addr->kind);
    switch (addr->kind) {
    case PEAL_ADDR_NONE:
        break;
    case PEAL_ADDR_IPV4:
        key_add(ret_key, ipv4_bytes(addr), 4);
        key_add(ret_key, &addr->socket.ipv4.sin_port, sizeof addr->socket.ipv4.sin_port);
        break;
    case PEAL_ADDR_IPV6:
        key_add(ret_key, ipv6_bytes(addr), 16);
        key_add(ret_key, &addr->socket.ipv6.sin6_port, sizeof addr->socket.ipv6.sin6_port);
        key_add(ret_key, &addr->socket.ipv6.sin6_scope_id, sizeof addr->socket.ipv6.sin6_scope_id);
        key_add(ret_key, &addr->dual_stack, sizeof addr->dual_stack);
        break;
    case PEAL_ADDR_UNIX:
        key_add(ret_key, addr->socket.local.sun_path, addr->size - PL_UNIX_NAME_AT);
        break;
    case PEAL_ADDR_FD:
        key_add(ret_key, &addr->fd, sizeof addr->fd);
        break;
    }
}

static void make_host_key(const struct peal_addr *addr, struct key *ret_key)
{
    const unsigned char *ipv4 = NULL;
    enum peal_addr_kind kind = addr->kind;
    if (kind == PEAL_ADDR_IPV4) {
        ipv4 = ipv4_bytes(addr);
    } else if (kind == PEAL_ADDR_IPV6) {
        ipv4 = mapped_ipv4(ipv6_bytes(addr));
        kind = ipv4 ? PEAL_ADDR_IPV4 : PEAL_ADDR_IPV6;
    }
    ret_key->size = 0;
    key_add(ret_key, &kind, sizeof kind);
    if (ipv4) {
        key_add(ret_key, ipv4, 4);
    } else if (kind == PEAL_ADDR_IPV6) {
        key_add(ret_key, ipv6_bytes(addr), 16);
        key_add(ret_key, &addr->socket.ipv6.sin6_scope_id, sizeof addr->socket.ipv6.sin6_scope_id);
    }
}

static bool keys_equal(const struct key *a, const struct key *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static uint64_t hash_of(const struct key *key, uint64_t seed)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (size_t i = 0; i < key->size; i++) {
        hash = (hash ^ key->bytes[i]) * UINT64_C(0x100000001b3);
    }
    hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

bool peal_addr_equal(const struct peal_addr *a, const struct peal_addr *b)
{
    struct key key_a, key_b;
    make_key(a, &key_a);
    make_key(b, &key_b);
    return keys_equal(&key_a, &key_b);
}

uint64_t peal_addr_hash(const struct peal_addr *addr, uint64_t seed)
{
    struct key key;
    make_key(addr, &key);
    return hash_of(&key, seed);
}

bool peal_addr_is_same_host(const struct peal_addr *a, const struct peal_addr *b)
{
    struct key key_a, key_b;
    make_host_key(a, &key_a);
    make_host_key(b, &key_b);
    return keys_equal(&key_a, &key_b);
}

uint64_t peal_addr_host_hash(const struct peal_addr *addr, uint64_t seed)
{
    struct key key;
    make_host_key(addr, &key);
    return hash_of(&key, seed);
}

/* ---- writing. Every line is made in PEAL_ADDR_TEXT_MAX bytes, which fit by the asserted sum. */

_Static_assert(sizeof "unix:@" + 4 * PL_UNIX_NAME_MAX <= PEAL_ADDR_TEXT_MAX, "a unix name fits");

struct line {
    size_t length;
    char text[PEAL_ADDR_TEXT_MAX];
};

static __attribute__((format(printf, 2, 3))) void put(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length =
        sys_vformat(line->text + line->length, sizeof line->text - line->length, format, args);
    va_end(args);
    pl_assert(length >= 0 && (size_t)length < sizeof line->text - line->length);
    line->length += (size_t)length;
}

static void put_ipv4(struct line *line, const unsigned char bytes[4])
{
    put(line, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
}

/* RFC 5952 4.2: the longest run of two zero groups or more, the first of equals, becomes "::". */
static void find_gap(const unsigned groups[8], unsigned *ret_at, unsigned *ret_count)
{
    *ret_at = 8;
    *ret_count = 1;
    for (unsigned at = 0, count; at < 8; at += count + 1) {
        for (count = 0; at + count < 8 && groups[at + count] == 0; count++) {
        }
        if (count > *ret_count) {
            *ret_at = at;
            *ret_count = count;
        }
    }
}

static void put_ipv6(struct line *line, const unsigned char bytes[16])
{
    const unsigned char *ipv4 = mapped_ipv4(bytes);
    if (ipv4) { /* RFC 5952 5 */
        put(line, "::ffff:");
        put_ipv4(line, ipv4);
        return;
    }
    unsigned groups[8], gap_at, gap_count;
    for (unsigned i = 0; i < 8; i++) {
        groups[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
    }
    find_gap(groups, &gap_at, &gap_count);
    for (unsigned i = 0; i < 8;) {
        if (i == gap_at) {
            put(line, "::");
            i += gap_count;
            continue;
        }
        put(line, i > 0 && i != gap_at + gap_count ? ":%x" : "%x", groups[i]);
        i++;
    }
}

/* The interface's name if the parser would take it for the same interface, else its number. */
static void put_scope(struct line *line, unsigned scope)
{
    char name[IF_NAMESIZE];
    bool usable = sys_if_indextoname(scope, name) >= 0 && name[0] != '\0';
    bool is_number = true;
    for (const char *at = name; usable && *at; at++) {
        usable = *at > ' ' && *at < 0x7f && *at != ']';
        is_number = is_number && *at >= '0' && *at <= '9';
    }
    if (usable && !is_number) {
        put(line, "%%%s", name);
    } else {
        put(line, "%%%u", scope);
    }
}

static void put_unix(struct line *line, const struct peal_addr *addr)
{
    const char *name = addr->socket.local.sun_path;
    size_t size = addr->size - PL_UNIX_NAME_AT;
    put(line, "unix:");
    if (size == 0) {
        return;
    }
    bool is_path = name[0] != '\0';
    size_t begin = is_path ? 0 : 1;
    size_t end = is_path ? size - 1 : size;
    put(line, "%s", is_path ? "" : "@");
    for (size_t i = begin; i < end; i++) {
        unsigned char byte = (unsigned char)name[i];
        bool hide =
            byte < ' ' || byte == 0x7f || byte == '\\' || (is_path && i == 0 && byte == '@');
        put(line, hide ? "\\x%02x" : "%c", byte);
    }
}

int peal_addr_format(const struct peal_addr *addr, char *text, size_t size)
{
    struct line line = {.length = 0};
    switch (addr->kind) {
    case PEAL_ADDR_NONE:
        put(&line, "none");
        break;
    case PEAL_ADDR_IPV4:
        put_ipv4(&line, ipv4_bytes(addr));
        put(&line, ":%u", peal_addr_port(addr));
        break;
    case PEAL_ADDR_IPV6:
        if (!addr->dual_stack) {
            put(&line, "[");
            put_ipv6(&line, ipv6_bytes(addr));
            if (addr->socket.ipv6.sin6_scope_id != 0) {
                put_scope(&line, addr->socket.ipv6.sin6_scope_id);
            }
            put(&line, "]");
        }
        put(&line, ":%u", peal_addr_port(addr));
        break;
    case PEAL_ADDR_UNIX:
        put_unix(&line, addr);
        break;
    case PEAL_ADDR_FD:
        put(&line, "fd:%d", addr->fd);
        break;
    }
    if (line.length >= size) {
        return -ENOSPC;
    }
    memcpy(text, line.text, line.length + 1);
    return (int)line.length;
}
