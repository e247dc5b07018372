/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses read from text.
 *
 * The text is taken apart by its outermost marks first ("unix:", "fd:", brackets, the colon before
 * the port), then each part is read by a function that must use up all of it. No part is ever
 * skipped, guessed or defaulted, so there is no text that becomes 0.0.0.0 unless it says so.
 *
 * Invariants:
 *  1. A read_ function takes a range, returns true only if the range as a whole is what it reads,
 *     and writes its output only then.
 *  2. Whatever fails sets a sentence: what is wrong, and what would be right. The sentences are
 *     literals, so they can be kept; they do not quote the text, which the caller has.
 *  3. Decimal numbers have no leading zero: some programs read those as octal, and an address that
 *     two programs read differently is a hole in someone's filter. For the same reason 127.1 and
 *     0x7f000001, which inet_aton takes, are refused, in addresses and in the hosts that go to the
 *     resolver.
 *
 * Rejected: inet_pton, which is libc's and cannot say what is wrong; names in addresses, since a
 * parser must not wait for the network. */
#include "base/addr.h"

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>

#include "sys/sys.h"

#define WHY_BRACKETS "there is more than one colon; an IPv6 address must be in brackets: [::1]:80"
#define WHY_PORT     "the port must be a decimal number from 0 to 65535 without leading zeros"
#define WHY_NO_PORT  "the port is missing: it follows a colon, as in 127.0.0.1:80 or [::1]:80"
#define WHY_IPV4                                                                                   \
    "an IPv4 address is four decimal numbers from 0 to 255 without leading zeros: 127.0.0.1:80"
#define WHY_IPV6                                                                                   \
    "this is not an IPv6 address: up to eight groups of one to four hexadecimal digits, and at "   \
    "most one ::, as in [2001:db8::1]:80"
#define WHY_SCOPE "the scope after % must be the name or the number of an interface"

struct range {
    const char *begin, *end;
};

static size_t range_size(struct range range)
{
    return (size_t)(range.end - range.begin);
}

static struct range range_of(const char *text)
{
    return (struct range){text, text + strlen(text)};
}

static int fail(const char *why, const char **ret_why)
{
    *ret_why = why;
    return -EINVAL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* -1 for what is none. */
static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* ---- parts */

static bool read_decimal(struct range text, uint32_t max, uint32_t *ret_value)
{
    size_t size = range_size(text);
    if (size == 0 || size > 10 || (size > 1 && *text.begin == '0')) {
        return false;
    }
    uint64_t value = 0;
    for (const char *at = text.begin; at < text.end; at++) {
        if (!is_digit(*at)) {
            return false;
        }
        value = value * 10 + (uint64_t)(*at - '0');
    }
    if (value > max) {
        return false;
    }
    *ret_value = (uint32_t)value;
    return true;
}

static bool read_port(struct range text, uint16_t *ret_port)
{
    uint32_t port;
    if (!read_decimal(text, UINT16_MAX, &port)) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

/* The part up to the mark, which text then begins after; without the mark all of it, and text is
 * then empty. */
static struct range cut(struct range *text, char mark, bool *ret_marked)
{
    const char *at = memchr(text->begin, mark, range_size(*text));
    struct range part = {text->begin, at ? at : text->end};
    text->begin = at ? at + 1 : text->end;
    *ret_marked = at != NULL;
    return part;
}

static bool read_ipv4(struct range text, unsigned char ret_bytes[4])
{
    unsigned char bytes[4];
    for (unsigned i = 0; i < 4; i++) {
        uint32_t value;
        bool marked;
        if (!read_decimal(cut(&text, '.', &marked), 255, &value) || marked != (i < 3)) {
            return false;
        }
        bytes[i] = (unsigned char)value;
    }
    memcpy(ret_bytes, bytes, 4);
    return true;
}

static bool read_group(struct range text, unsigned char ret_bytes[2])
{
    size_t size = range_size(text);
    if (size == 0 || size > 4) {
        return false;
    }
    unsigned value = 0;
    for (const char *at = text.begin; at < text.end; at++) {
        int digit = hex_value(*at);
        if (digit < 0) {
            return false;
        }
        value = value << 4 | (unsigned)digit;
    }
    ret_bytes[0] = (unsigned char)(value >> 8);
    ret_bytes[1] = (unsigned char)value;
    return true;
}

/* RFC 4291 2.2. The bytes are gathered from the left; gap is where "::" stood among them, and what
 * came after it is moved to the end. */
static bool read_ipv6(struct range text, unsigned char ret_bytes[16])
{
    unsigned char bytes[16];
    size_t count = 0;
    size_t gap = SIZE_MAX;
    if (range_size(text) >= 2 && text.begin[0] == ':' && text.begin[1] == ':') {
        gap = 0;
        text.begin += 2;
    }
    while (text.begin < text.end) {
        bool marked;
        struct range part = cut(&text, ':', &marked);
        if (memchr(part.begin, '.', range_size(part))) {
            if (marked || count > 12 || !read_ipv4(part, bytes + count)) {
                return false;
            }
            count += 4;
            break;
        }
        if (count > 14 || !read_group(part, bytes + count)) {
            return false;
        }
        count += 2;
        if (marked && text.begin == text.end) {
            return false; /* a single colon at the end */
        }
        if (marked && *text.begin == ':') {
            if (gap != SIZE_MAX) {
                return false;
            }
            gap = count;
            text.begin++;
        }
    }
    if (gap == SIZE_MAX ? count != 16 : count > 14) {
        return false;
    }
    if (gap != SIZE_MAX) {
        size_t behind = count - gap;
        memmove(bytes + 16 - behind, bytes + gap, behind);
        memset(bytes + gap, 0, 16 - count);
    }
    memcpy(ret_bytes, bytes, 16);
    return true;
}

/* ---- kinds of address */

/* What stands in brackets, taken apart but for the meaning of the scope. */
struct bracketed {
    unsigned char bytes[16];
    struct range inside;
    struct range scope; /* empty: none */
    uint16_t port;
};

static int read_bracketed(struct range text, struct bracketed *ret, const char **ret_why)
{
    bool marked;
    text.begin++;
    ret->inside = cut(&text, ']', &marked);
    if (!marked) {
        return fail("the closing bracket is missing: [::1]:80", ret_why);
    }
    struct range scope = ret->inside;
    struct range number = cut(&scope, '%', &marked);
    ret->scope = scope;
    if (!read_ipv6(number, ret->bytes)) {
        return fail(WHY_IPV6, ret_why);
    }
    if (marked && (range_size(scope) == 0 || range_size(scope) >= IF_NAMESIZE)) {
        return fail(WHY_SCOPE ", of 1 to 15 bytes: [fe80::1%eth0]:80", ret_why);
    }
    if (marked && !pl_ipv6_has_scope(ret->bytes)) {
        return fail(
            "only a link-local address (fe80::/10, ff01::/16, ff02::/16) has a scope; leave "
            "out the % and what follows it",
            ret_why);
    }
    if (text.begin == text.end) {
        return fail(WHY_NO_PORT, ret_why);
    }
    if (*text.begin != ':') {
        return fail("after the closing bracket comes a colon and the port: [::1]:80", ret_why);
    }
    text.begin++;
    return read_port(text, &ret->port) ? 0 : fail(WHY_PORT, ret_why);
}

static int parse_ipv6(struct range text, struct peal_addr *ret_addr, const char **ret_why)
{
    struct bracketed parts;
    int error = read_bracketed(text, &parts, ret_why);
    if (error < 0) {
        return error;
    }
    uint32_t scope = 0;
    if (range_size(parts.scope) > 0) {
        char name[IF_NAMESIZE] = {0};
        memcpy(name, parts.scope.begin, range_size(parts.scope));
        bool is_number = true;
        for (const char *at = name; *at; at++) {
            is_number = is_number && is_digit(*at);
        }
        if (is_number && (!read_decimal(parts.scope, UINT32_MAX, &scope) || scope == 0)) {
            return fail(WHY_SCOPE ", from 1 and without leading zeros: [fe80::1%2]:80", ret_why);
        }
        if (!is_number) {
            scope = sys_if_nametoindex(name);
        }
        if (scope == 0) {
            *ret_why = WHY_SCOPE ", and this machine has none of that name";
            return -ENODEV;
        }
    }
    pl_addr_set_ipv6(ret_addr, parts.bytes, scope, parts.port);
    return 0;
}

/* Takes \xHH for the byte HH. */
static int read_unix_name(struct range text, char ret_name[PL_UNIX_NAME_MAX], size_t *ret_size,
                          const char **ret_why)
{
    size_t size = 0;
    for (const char *at = text.begin; at < text.end;) {
        if (size == PL_UNIX_NAME_MAX) {
            return fail("the name of a unix socket has at most 107 bytes", ret_why);
        }
        if (*at != '\\') {
            ret_name[size++] = *at++;
            continue;
        }
        int high = text.end - at >= 4 && at[1] == 'x' ? hex_value(at[2]) : -1;
        int low = high >= 0 ? hex_value(at[3]) : -1;
        if (low < 0) {
            return fail("a backslash in the name of a unix socket begins \\xHH, a byte in "
                        "hexadecimal; the backslash itself is \\x5c",
                        ret_why);
        }
        ret_name[size++] = (char)(high << 4 | low);
        at += 4;
    }
    *ret_size = size;
    return 0;
}

static int parse_unix(struct range text, struct peal_addr *ret_addr, const char **ret_why)
{
    char name[PL_UNIX_NAME_MAX];
    size_t size;
    bool is_abstract = text.begin < text.end && *text.begin == '@';
    text.begin += is_abstract ? 1 : 0;
    int error = read_unix_name(text, name, &size, ret_why);
    if (error < 0) {
        return error;
    }
    if (size == 0) {
        return fail("the name is missing: unix:/run/x.sock, or unix:@name for an abstract one",
                    ret_why);
    }
    if (is_abstract) {
        pl_addr_set_abstract(ret_addr, name, size);
        return 0;
    }
    if (memchr(name, '\0', size)) {
        return fail("a path cannot have a zero byte in it; an abstract name can: unix:@name",
                    ret_why);
    }
    pl_addr_set_path(ret_addr, name, size);
    return 0;
}

static int parse_fd(struct range text, struct peal_addr *ret_addr, const char **ret_why)
{
    uint32_t fd;
    if (!read_decimal(text, INT_MAX, &fd)) {
        return fail("fd: is followed by the number of a listening socket, in decimal: fd:3",
                    ret_why);
    }
    memset(ret_addr, 0, sizeof *ret_addr);
    ret_addr->kind = PEAL_ADDR_FD;
    ret_addr->fd = (int)fd;
    return 0;
}

/* ":80", "*:80" and "127.0.0.1:80". */
static int parse_ipv4_or_any(struct range text, struct peal_addr *ret_addr, const char **ret_why)
{
    static const unsigned char zero[16];
    bool marked;
    struct range host = cut(&text, ':', &marked);
    if (!marked) {
        return fail(WHY_NO_PORT, ret_why);
    }
    if (memchr(text.begin, ':', range_size(text))) {
        return fail(WHY_BRACKETS, ret_why);
    }
    bool numeric = true;
    for (const char *at = host.begin; at < host.end; at++) {
        numeric = numeric && (is_digit(*at) || *at == '.');
    }
    bool is_star = range_size(host) == 1 && *host.begin == '*';
    if (!numeric && !is_star) {
        return fail("this is neither an address nor one of the forms 127.0.0.1:80, [::1]:80, :80, "
                    "*:80, unix:PATH, unix:@NAME, fd:NUMBER; names are not resolved here",
                    ret_why);
    }
    unsigned char bytes[4] = {0};
    if (range_size(host) > 0 && !is_star && !read_ipv4(host, bytes)) {
        return fail(WHY_IPV4, ret_why);
    }
    uint16_t port;
    if (!read_port(text, &port)) {
        return fail(WHY_PORT, ret_why);
    }
    if (range_size(host) > 0) {
        pl_addr_set_ipv4(ret_addr, bytes, port);
    } else {
        pl_addr_set_ipv6(ret_addr, zero, 0, port);
        ret_addr->dual_stack = true;
    }
    return 0;
}

static int parse(struct range text, struct peal_addr *ret_addr, const char **ret_why)
{
    if (range_size(text) == 0) {
        return fail("the address is missing: for example 127.0.0.1:80", ret_why);
    }
    if (strncmp(text.begin, "unix:", 5) == 0) {
        return parse_unix((struct range){text.begin + 5, text.end}, ret_addr, ret_why);
    }
    if (strncmp(text.begin, "fd:", 3) == 0) {
        return parse_fd((struct range){text.begin + 3, text.end}, ret_addr, ret_why);
    }
    if (*text.begin == '[') {
        return parse_ipv6(text, ret_addr, ret_why);
    }
    return parse_ipv4_or_any(text, ret_addr, ret_why);
}

int peal_addr_parse(const char *text, struct peal_addr *ret_addr, const char **ret_why)
{
    struct peal_addr addr;
    const char *why;
    int error = parse(range_of(text ? text : ""), &addr, &why);
    if (error < 0) {
        if (ret_why) {
            *ret_why = why;
        }
        return error;
    }
    *ret_addr = addr;
    return 0;
}

/* ---- endpoints */

/* RFC 1123 2.1, with the underscore that is in use: labels of 1 to 63 letters, digits and hyphens,
 * no hyphen first or last. A dot at the end is a way to say that the name is whole. */
static bool is_name(struct range host)
{
    if (range_size(host) > 1 && host.end[-1] == '.') {
        host.end--;
    }
    bool marked = true;
    while (marked) {
        struct range label = cut(&host, '.', &marked);
        size_t size = range_size(label);
        if (size == 0 || size > 63 || label.begin[0] == '-' || label.end[-1] == '-') {
            return false;
        }
        for (const char *at = label.begin; at < label.end; at++) {
            bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
            if (!letter && !is_digit(*at) && *at != '-' && *at != '_') {
                return false;
            }
        }
    }
    return true;
}

/* Whether a resolver might read it as an IPv4 address: its last label is a number, decimal or 0x.
 */
static bool ends_in_number(struct range host)
{
    if (range_size(host) > 1 && host.end[-1] == '.') {
        host.end--;
    }
    struct range label = host;
    while (label.begin < label.end && memchr(label.begin, '.', range_size(label))) {
        label.begin++;
    }
    bool is_hex = range_size(label) >= 2 && label.begin[0] == '0' &&
                  (label.begin[1] == 'x' || label.begin[1] == 'X');
    for (const char *at = label.begin + (is_hex ? 2 : 0); at < label.end; at++) {
        if (is_hex ? hex_value(*at) < 0 : !is_digit(*at)) {
            return false;
        }
    }
    return true;
}

static int split(struct range text, struct range *ret_host, uint16_t *ret_port,
                 const char **ret_why)
{
    if (text.begin < text.end && *text.begin == '[') {
        struct bracketed parts;
        int error = read_bracketed(text, &parts, ret_why);
        if (error == 0) {
            *ret_host = parts.inside;
            *ret_port = parts.port;
        }
        return error;
    }
    bool marked;
    struct range host = cut(&text, ':', &marked);
    if (memchr(text.begin, ':', range_size(text))) {
        return fail(WHY_BRACKETS, ret_why);
    }
    if (range_size(host) == 0) {
        return fail("the host is missing: example.org:80", ret_why);
    }
    if (!marked) {
        return fail("the port is missing: it follows a colon, as in example.org:80", ret_why);
    }
    if (range_size(host) > 253 + (host.end[-1] == '.')) {
        return fail("the name of a host has at most 253 bytes", ret_why);
    }
    if (!is_name(host)) {
        return fail("the name of a host is letters, digits, hyphens and dots: example.org:80",
                    ret_why);
    }
    unsigned char bytes[4];
    if (ends_in_number(host) && !read_ipv4(host, bytes)) {
        return fail(WHY_IPV4, ret_why);
    }
    if (!read_port(text, ret_port)) {
        return fail(WHY_PORT, ret_why);
    }
    *ret_host = host;
    return 0;
}

int peal_endpoint_split(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port,
                        const char **ret_why)
{
    struct range host = {NULL, NULL};
    uint16_t port = 0;
    const char *why;
    int error = split(range_of(text ? text : ""), &host, &port, &why);
    if (error == 0 && range_size(host) >= host_size) {
        why = "the host is longer than the place it is to be written to";
        error = -ENOSPC;
    }
    if (error < 0) {
        if (ret_why) {
            *ret_why = why;
        }
        return error;
    }
    memcpy(ret_host, host.begin, range_size(host));
    ret_host[range_size(host)] = '\0';
    *ret_port = port;
    return 0;
}
