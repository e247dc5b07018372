/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: a program that listens where it was not told to, because a text was taken for
 * another address, or cannot read back the address that it printed. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <peal/addr.h>

static uint64_t random_state = 20261123;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t below(size_t limit)
{
    return (size_t)(next_random() >> 11) % limit;
}

static struct peal_addr parsed(const char *text)
{
    struct peal_addr addr;
    const char *why = "";
    int error = peal_addr_parse(text, &addr, &why);
    if (error != 0) {
        fail_msg("%s: %s", text, why);
    }
    return addr;
}

static void assert_text(const struct peal_addr *addr, const char *expected)
{
    char text[PEAL_ADDR_TEXT_MAX];
    int length = peal_addr_format(addr, text, sizeof text);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
}

/* Format, parse, compare. */
static void assert_round_trip(const struct peal_addr *addr)
{
    char text[PEAL_ADDR_TEXT_MAX];
    assert_true(peal_addr_format(addr, text, sizeof text) > 0);
    struct peal_addr again = parsed(text);
    assert_true(peal_addr_equal(addr, &again));
    assert_true(peal_addr_hash(addr, 5) == peal_addr_hash(&again, 5));
    socklen_t size, again_size;
    const struct sockaddr *socket = peal_addr_sockaddr(addr, &size);
    const struct sockaddr *again_socket = peal_addr_sockaddr(&again, &again_size);
    assert_int_equal(size, again_size);
    if (size > 0) {
        assert_memory_equal(socket, again_socket, size);
    }
}

/* ---- text that is an address */

#define LONG_107                                                                                   \
    "/456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123"  \
    "4567890123456789"

static void test_good_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical;
        enum peal_addr_kind kind;
        uint16_t port;
    } rows[] = {
        {"127.0.0.1:80", "127.0.0.1:80", PEAL_ADDR_IPV4, 80},
        {"0.0.0.0:0", "0.0.0.0:0", PEAL_ADDR_IPV4, 0},
        {"255.255.255.255:65535", "255.255.255.255:65535", PEAL_ADDR_IPV4, 65535},
        {"*:80", "0.0.0.0:80", PEAL_ADDR_IPV4, 80},
        {":80", ":80", PEAL_ADDR_IPV6, 80},
        {":0", ":0", PEAL_ADDR_IPV6, 0},
        {"[::]:80", "[::]:80", PEAL_ADDR_IPV6, 80},
        {"[::1]:80", "[::1]:80", PEAL_ADDR_IPV6, 80},
        {"[1::]:80", "[1::]:80", PEAL_ADDR_IPV6, 80},
        {"[2001:DB8::0001]:443", "[2001:db8::1]:443", PEAL_ADDR_IPV6, 443},
        {"[1:2:3:4:5:6:7:8]:1", "[1:2:3:4:5:6:7:8]:1", PEAL_ADDR_IPV6, 1},
        {"[1:2:3:4:5:6:1.2.3.4]:1", "[1:2:3:4:5:6:102:304]:1", PEAL_ADDR_IPV6, 1},
        {"[::1.2.3.4]:1", "[::102:304]:1", PEAL_ADDR_IPV6, 1},
        {"[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]:1", PEAL_ADDR_IPV6, 1},
        {"[::ffff:102:304]:1", "[::ffff:1.2.3.4]:1", PEAL_ADDR_IPV6, 1},
        {"[64:ff9b::1.2.3.4]:1", "[64:ff9b::102:304]:1", PEAL_ADDR_IPV6, 1},
        {"[1:2:3:4:5:6:7::]:1", "[1:2:3:4:5:6:7:0]:1", PEAL_ADDR_IPV6, 1},
        {"[::2:3:4:5:6:7:8]:1", "[0:2:3:4:5:6:7:8]:1", PEAL_ADDR_IPV6, 1},
        /* RFC 5952 4.2.3: the longest run, the first of equals */
        {"[2001:0:0:1:0:0:0:1]:1", "[2001:0:0:1::1]:1", PEAL_ADDR_IPV6, 1},
        {"[2001:db8:0:0:1:0:0:1]:1", "[2001:db8::1:0:0:1]:1", PEAL_ADDR_IPV6, 1},
        {"[0:0:1:0:0:0:0:0]:1", "[0:0:1::]:1", PEAL_ADDR_IPV6, 1},
        {"[fe80::1]:1", "[fe80::1]:1", PEAL_ADDR_IPV6, 1},
        {"[fe80::1%lo]:80", "[fe80::1%lo]:80", PEAL_ADDR_IPV6, 80},
        {"[ff02::1%lo]:80", "[ff02::1%lo]:80", PEAL_ADDR_IPV6, 80},
        {"[fe80::1%4000000000]:80", "[fe80::1%4000000000]:80", PEAL_ADDR_IPV6, 80},
        {"unix:/run/x.sock", "unix:/run/x.sock", PEAL_ADDR_UNIX, 0},
        {"unix:x", "unix:x", PEAL_ADDR_UNIX, 0},
        {"unix:a:b [c]%d", "unix:a:b [c]%d", PEAL_ADDR_UNIX, 0},
        {"unix:@name", "unix:@name", PEAL_ADDR_UNIX, 0},
        {"unix:@@", "unix:@@", PEAL_ADDR_UNIX, 0},
        {"unix:\\x40name", "unix:\\x40name", PEAL_ADDR_UNIX, 0},
        {"unix:\\x2Fa\\x5cb", "unix:/a\\x5cb", PEAL_ADDR_UNIX, 0},
        {"unix:@a\\x00b", "unix:@a\\x00b", PEAL_ADDR_UNIX, 0},
        {"unix:" LONG_107, "unix:" LONG_107, PEAL_ADDR_UNIX, 0},
        {"unix:@" LONG_107, "unix:@" LONG_107, PEAL_ADDR_UNIX, 0},
        {"fd:0", "fd:0", PEAL_ADDR_FD, 0},
        {"fd:2147483647", "fd:2147483647", PEAL_ADDR_FD, 0},
    };
    assert_int_equal(strlen(LONG_107), 107);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct peal_addr addr = parsed(rows[i].text);
        assert_text(&addr, rows[i].canonical);
        assert_int_equal(peal_addr_kind(&addr), rows[i].kind);
        assert_int_equal(peal_addr_port(&addr), rows[i].port);
        assert_round_trip(&addr);
    }
}

static void test_meaning(void **state)
{
    (void)state;
    socklen_t size;
    struct peal_addr addr = parsed("1.2.3.4:258");
    const struct sockaddr_in *ipv4 = (const void *)peal_addr_sockaddr(&addr, &size);
    assert_int_equal(size, sizeof *ipv4);
    assert_int_equal(peal_addr_family(&addr), AF_INET);
    assert_int_equal(ipv4->sin_family, AF_INET);
    assert_true(ipv4->sin_port == htons(258));
    assert_true(ipv4->sin_addr.s_addr == htonl(0x01020304));
    assert_false(peal_addr_is_dual_stack(&addr));

    addr = parsed("[fe80::2%lo]:443");
    const struct sockaddr_in6 *ipv6 = (const void *)peal_addr_sockaddr(&addr, &size);
    assert_int_equal(size, sizeof *ipv6);
    assert_int_equal(ipv6->sin6_scope_id, if_nametoindex("lo"));
    assert_int_equal(ipv6->sin6_addr.s6_addr[0], 0xfe);
    assert_int_equal(ipv6->sin6_addr.s6_addr[15], 2);

    addr = parsed(":443");
    assert_true(peal_addr_is_dual_stack(&addr));
    assert_true(peal_addr_is_any(&addr));
    assert_int_equal(peal_addr_family(&addr), AF_INET6);
    struct peal_addr only_ipv6 = parsed("[::]:443");
    assert_false(peal_addr_is_dual_stack(&only_ipv6));
    assert_false(peal_addr_equal(&addr, &only_ipv6));

    addr = parsed("unix:/a");
    const struct sockaddr_un *local = (const void *)peal_addr_sockaddr(&addr, &size);
    assert_int_equal(size, offsetof(struct sockaddr_un, sun_path) + 3);
    assert_string_equal(local->sun_path, "/a");
    assert_string_equal(peal_addr_path(&addr), "/a");
    assert_int_equal(peal_addr_set_port(&addr, 1), -EINVAL);

    addr = parsed("unix:@ab");
    local = (const void *)peal_addr_sockaddr(&addr, &size);
    assert_int_equal(size, offsetof(struct sockaddr_un, sun_path) + 3);
    assert_memory_equal(local->sun_path, "\0ab", 3);
    assert_null(peal_addr_path(&addr));

    addr = parsed("fd:3");
    assert_int_equal(peal_addr_fd(&addr), 3);
    assert_int_equal(peal_addr_family(&addr), AF_UNSPEC);
    assert_null(peal_addr_sockaddr(&addr, &size));
    assert_int_equal(size, 0);
    addr = parsed("*:1");
    assert_int_equal(peal_addr_fd(&addr), -1);
    assert_int_equal(peal_addr_set_port(&addr, 65534), 0);
    assert_text(&addr, "0.0.0.0:65534");
    addr = parsed("[::1]:1");
    assert_int_equal(peal_addr_set_port(&addr, 2), 0);
    assert_text(&addr, "[::1]:2");
}

/* ---- text that is none */

static const struct {
    const char *text, *why; /* a part of the sentence */
} bad_texts[] = {
    {NULL, "missing"},
    {"", "missing"},
    {"80", "port is missing"},
    {"127.0.0.1", "port is missing"},
    {"localhost", "port is missing"},
    {"localhost:80", "names are not resolved"},
    {" 127.0.0.1:80", "neither an address"},
    {"127.0.0.1 :80", "neither an address"},
    {"127.0.0.1:80 ", "the port must be"},
    {"127.0.0.1:80\n", "the port must be"},
    {"127.0.0.1: 80", "the port must be"},
    {"127.0.0.1:", "the port must be"},
    {":", "the port must be"},
    {"*:", "the port must be"},
    {"*", "port is missing"},
    {"**:80", "neither an address"},
    {"127.0.0.1:+80", "the port must be"},
    {"127.0.0.1:-1", "the port must be"},
    {"127.0.0.1:080", "the port must be"},
    {"127.0.0.1:00", "the port must be"},
    {"127.0.0.1:0x50", "the port must be"},
    {"127.0.0.1:65536", "the port must be"},
    {"127.0.0.1:4294967376", "the port must be"},
    {"127.0.0.1:18446744073709551696", "the port must be"},
    {"127.0.0.1:http", "the port must be"},
    {"127.0.0.1:80:90", "brackets"},
    {"127.1:80", "four decimal numbers"},
    {"1:80", "four decimal numbers"},
    {"2130706433:80", "four decimal numbers"},
    {"0x7f.0.0.1:80", "neither an address"},
    {"127.0.0.01:80", "four decimal numbers"},
    {"0177.0.0.1:80", "four decimal numbers"},
    {"127.0.0.256:80", "four decimal numbers"},
    {"127.0.0:80", "four decimal numbers"},
    {"127.0.0.:80", "four decimal numbers"},
    {".0.0.1:80", "four decimal numbers"},
    {"1.2.3.4.5:80", "four decimal numbers"},
    {"1.2.3.4.:80", "four decimal numbers"},
    {"...:80", "four decimal numbers"},
    {"::1:80", "brackets"},
    {"::", "brackets"},
    {"fe80::1:80", "brackets"},
    {"[::1]", "port is missing"},
    {"[::1]80", "after the closing bracket"},
    {"[::1]:", "the port must be"},
    {"[::1]:80x", "the port must be"},
    {"[::1]:80:80", "the port must be"},
    {"[::1:80", "closing bracket"},
    {"[", "closing bracket"},
    {"[]:80", "not an IPv6"},
    {"[:]:80", "not an IPv6"},
    {"[:::]:80", "not an IPv6"},
    {"[:1]:80", "not an IPv6"},
    {"[1:]:80", "not an IPv6"},
    {"[1:::2]:80", "not an IPv6"},
    {"[1::2::3]:80", "not an IPv6"},
    {"[::1::]:80", "not an IPv6"},
    {"[12345::]:80", "not an IPv6"},
    {"[g::]:80", "not an IPv6"},
    {"[1:2:3:4:5:6:7]:80", "not an IPv6"},
    {"[1:2:3:4:5:6:7:8:9]:80", "not an IPv6"},
    {"[1:2:3:4:5:6:7:8::]:80", "not an IPv6"},
    {"[::1:2:3:4:5:6:7:8]:80", "not an IPv6"},
    {"[1:2:3:4:5:6:7:1.2.3.4]:80", "not an IPv6"},
    {"[1:2:3:4:5:1.2.3.4]:80", "not an IPv6"},
    {"[::1.2.3.4:5]:80", "not an IPv6"},
    {"[::1.2.3]:80", "not an IPv6"},
    {"[::01.2.3.4]:80", "not an IPv6"},
    {"[1.2.3.4]:80", "not an IPv6"},
    {"[ ::1]:80", "not an IPv6"},
    {"[localhost]:80", "not an IPv6"},
    {"[fe80::1%]:80", "scope after %"},
    {"[fe80::1%0]:80", "scope after %"},
    {"[fe80::1%01]:80", "scope after %"},
    {"[fe80::1%4294967296]:80", "scope after %"},
    {"[fe80::1%99999999999999]:80", "scope after %"},
    {"[fe80::1%0123456789abcdef]:80", "scope after %"},
    {"[::1%lo]:80", "only a link-local"},
    {"[ff05::1%lo]:80", "only a link-local"},
    {"unix", "port is missing"},
    {"unix:", "name is missing"},
    {"unix:@", "name is missing"},
    {"unix:" LONG_107 "8", "at most 107"},
    {"unix:@" LONG_107 "8", "at most 107"},
    {"unix:a\\b", "backslash"},
    {"unix:a\\x4", "backslash"},
    {"unix:a\\x4g", "backslash"},
    {"unix:a\\xg4", "backslash"},
    {"unix:a\\", "backslash"},
    {"unix:a\\x00b", "zero byte"},
    {"unix:\\x00name", "zero byte"},
    {"UNIX:/a", "neither an address"},
    {"fd:", "fd: is followed"},
    {"fd:-1", "fd: is followed"},
    {"fd:03", "fd: is followed"},
    {"fd:3 ", "fd: is followed"},
    {"fd:2147483648", "fd: is followed"},
    {"fd:3:4", "fd: is followed"},
};

static void test_bad_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_texts / sizeof bad_texts[0]; i++) {
        struct peal_addr addr, untouched;
        memset(&addr, 0x5a, sizeof addr);
        memset(&untouched, 0x5a, sizeof untouched);
        const char *why = NULL;
        assert_int_equal(peal_addr_parse(bad_texts[i].text, &addr, &why), -EINVAL);
        assert_non_null(why);
        if (!strstr(why, bad_texts[i].why)) {
            fail_msg("%s: %s", bad_texts[i].text, why);
        }
        assert_memory_equal(&addr, &untouched, sizeof addr);
        assert_int_equal(peal_addr_parse(bad_texts[i].text, &addr, NULL), -EINVAL);
    }
    struct peal_addr addr;
    const char *why = NULL;
    assert_int_equal(peal_addr_parse("[fe80::1%nosuchif0]:80", &addr, &why), -ENODEV);
    assert_non_null(strstr(why, "this machine has none"));
}

/* Every beginning of a good text, each in a block of just its size. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    static const char *const texts[] = {"127.0.0.1:8080", "[fe80::1%lo]:80", "[::ffff:1.2.3.4]:80",
                                        "unix:@a\\x00b",  "fd:123",          "*:80"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (size_t size = 0; size <= strlen(texts[i]); size++) {
            char *text = strndup(texts[i], size);
            struct peal_addr addr;
            const char *why = NULL;
            int error = peal_addr_parse(text, &addr, &why);
            if (error == 0) {
                assert_round_trip(&addr);
            } else {
                assert_non_null(why);
            }
            assert_int_equal(error == 0, why == NULL);
            free(text);
        }
    }
}

/* ---- the C library's parser as judge of ours */

static void random_ipv6_text(char *text, size_t size)
{
    static const char *const parts[] = {":",  "::", "0",    "1",       "abcd", "FFFF",
                                        "00", ":",  "beef", "1.2.3.4", ":",    "12345"};
    unsigned char bytes[16] = {0};
    if (below(2)) {
        for (unsigned i = 0; i < 16; i++) {
            bytes[i] = below(3) ? 0 : (unsigned char)next_random();
        }
        inet_ntop(AF_INET6, bytes, text, (socklen_t)size);
        for (size_t count = below(3); count > 0; count--) {
            text[below(strlen(text))] = ":.0f1"[below(5)];
        }
        return;
    }
    text[0] = '\0';
    for (size_t count = 1 + below(16); count > 0; count--) {
        const char *part = parts[below(sizeof parts / sizeof parts[0])];
        if (strlen(text) + strlen(part) < size) {
            strcat(text, part);
        }
    }
}

static void test_ipv6_against_the_system(void **state)
{
    (void)state;
    unsigned good = 0;
    for (unsigned i = 0; i < 200000; i++) {
        char host[64], text[80];
        unsigned char expected[16], got[16];
        random_ipv6_text(host, sizeof host);
        snprintf(text, sizeof text, "[%s]:80", host);
        struct peal_addr addr;
        bool is_good = inet_pton(AF_INET6, host, expected) == 1;
        if ((peal_addr_parse(text, &addr, NULL) == 0) != is_good) {
            fail_msg("%s: the system says %d", text, is_good);
        }
        if (is_good) {
            good++;
            memcpy(got, &addr.socket.ipv6.sin6_addr, 16);
            assert_memory_equal(got, expected, 16);
            assert_round_trip(&addr);
        }
    }
    assert_true(good > 20000);
}

/* ---- addresses from the system */

static void test_from_sockaddr(void **state)
{
    (void)state;
    struct peal_addr addr, expected;
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(80)};
    memset(ipv4.sin_zero, 0xff, sizeof ipv4.sin_zero);
    inet_pton(AF_INET, "10.0.0.1", &ipv4.sin_addr);
    assert_int_equal(peal_addr_from_sockaddr((void *)&ipv4, sizeof ipv4, &addr), 0);
    expected = parsed("10.0.0.1:80");
    assert_memory_equal(&addr.socket.ipv4, &expected.socket.ipv4, sizeof ipv4);
    assert_true(peal_addr_equal(&addr, &expected));

    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    ipv6.sin6_flowinfo = 7;
    ipv6.sin6_scope_id = 3;
    inet_pton(AF_INET6, "2001:db8::1", &ipv6.sin6_addr);
    assert_int_equal(peal_addr_from_sockaddr((void *)&ipv6, sizeof ipv6, &addr), 0);
    assert_text(&addr, "[2001:db8::1]:80");
    assert_round_trip(&addr);
    inet_pton(AF_INET6, "fe80::1", &ipv6.sin6_addr);
    ipv6.sin6_scope_id = 0x7ffffffe; /* an interface that has gone */
    assert_int_equal(peal_addr_from_sockaddr((void *)&ipv6, sizeof ipv6, &addr), 0);
    assert_text(&addr, "[fe80::1%2147483646]:80");
    assert_round_trip(&addr);

    struct sockaddr other = {.sa_family = AF_NETLINK};
    assert_int_equal(peal_addr_from_sockaddr(&other, sizeof other, &addr), -EAFNOSUPPORT);
    assert_int_equal(peal_addr_from_sockaddr(NULL, 0, &addr), -EINVAL);
    assert_int_equal(peal_addr_from_sockaddr((void *)&ipv4, 1, &addr), -EINVAL);
    assert_int_equal(peal_addr_from_sockaddr((void *)&ipv4, sizeof ipv4 - 1, &addr), -EINVAL);
    assert_int_equal(peal_addr_from_sockaddr((void *)&ipv6, sizeof ipv6 - 1, &addr), -EINVAL);
    assert_text(&addr, "[fe80::1%2147483646]:80");
}

static void test_from_unix(void **state)
{
    (void)state;
    const socklen_t name_at = offsetof(struct sockaddr_un, sun_path);
    struct peal_addr addr;
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
    struct sockaddr *socket = (void *)&local;
    /* The kernel says the size with the NUL, without, or of the whole structure. */
    const socklen_t sizes[] = {name_at + 6, name_at + 7, sizeof local};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(peal_addr_from_sockaddr(socket, sizes[i], &addr), 0);
        assert_text(&addr, "unix:/run/x");
        assert_int_equal(addr.size, name_at + 7);
    }
    assert_int_equal(peal_addr_from_sockaddr(socket, name_at, &addr), 0);
    assert_text(&addr, "unix:");
    assert_int_equal(peal_addr_kind(&addr), PEAL_ADDR_UNIX);
    assert_null(peal_addr_path(&addr));
    memset(local.sun_path, 'x', sizeof local.sun_path);
    assert_int_equal(peal_addr_from_sockaddr(socket, sizeof local, &addr), -EINVAL);
    assert_int_equal(peal_addr_from_sockaddr(socket, sizeof local + 1, &addr), -EINVAL);
    for (unsigned i = 0; i < 5000; i++) { /* any bytes at all, as paths and as abstract names */
        size_t size = 2 + below(sizeof local.sun_path - 2);
        for (size_t at = 0; at < size; at++) {
            unsigned char byte = (unsigned char)next_random();
            local.sun_path[at] = (char)(below(2) ? "\\@\0 \n:"[byte % 6] : byte);
        }
        local.sun_path[0] = below(2) ? '\0' : local.sun_path[0];
        assert_int_equal(peal_addr_from_sockaddr(socket, name_at + (socklen_t)size, &addr), 0);
        assert_round_trip(&addr);
    }
}

static void test_format_without_room(void **state)
{
    (void)state;
    struct peal_addr addr = parsed("[2001:db8::1]:443");
    char expected[] = "[2001:db8::1]:443";
    for (size_t size = 0; size <= sizeof expected; size++) {
        char *text = malloc(size + 1);
        assert_non_null(text);
        text[size] = 'x';
        int length = peal_addr_format(&addr, text, size);
        assert_int_equal(length, size < sizeof expected ? -ENOSPC : (int)sizeof expected - 1);
        assert_int_equal(text[size], 'x');
        free(text);
    }
    struct peal_addr none = {0};
    assert_text(&none, "none");
    assert_int_equal(peal_addr_kind(&none), PEAL_ADDR_NONE);
    assert_int_equal(peal_addr_fd(&none), -1);
    assert_true(peal_addr_equal(&none, &(struct peal_addr){0}));
    assert_false(peal_addr_equal(&none, &addr));
    assert_false(peal_addr_is_loopback(&none) || peal_addr_is_any(&none));
}

/* ---- comparing and asking */

static void test_equal_and_same_host(void **state)
{
    (void)state;
    /* Addresses of one group number are of one host; no two are equal. */
    static const struct {
        const char *text;
        int host;
    } rows[] = {
        {"127.0.0.1:80", 1},
        {"127.0.0.1:81", 1},
        {"[::ffff:127.0.0.1]:80", 1},
        {"127.0.0.2:80", 2},
        {"[::1]:80", 3},
        {"[::1]:81", 3},
        {"[::]:80", 4},
        {":80", 4},
        {"*:80", 5},
        {"[fe80::1%1]:80", 6},
        {"[fe80::1%2]:80", 7},
        {"unix:/a", 8},
        {"unix:@/a", 8},
        {"unix:/ab", 8},
        {"fd:3", 9},
    };
    const size_t count = sizeof rows / sizeof rows[0];
    for (size_t i = 0; i < count; i++) {
        struct peal_addr a = parsed(rows[i].text);
        for (size_t j = 0; j < count; j++) {
            struct peal_addr b = parsed(rows[j].text);
            bool same_host = rows[i].host == rows[j].host;
            assert_int_equal(peal_addr_equal(&a, &b), i == j);
            assert_int_equal(peal_addr_hash(&a, 1) == peal_addr_hash(&b, 1), i == j);
            assert_int_equal(peal_addr_is_same_host(&a, &b), same_host);
            assert_int_equal(peal_addr_host_hash(&a, 1) == peal_addr_host_hash(&b, 1), same_host);
        }
        assert_true(peal_addr_hash(&a, 1) != peal_addr_hash(&a, 2));
    }
}

static void test_loopback_and_any(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool loopback, any;
    } rows[] = {
        {"127.0.0.1:80", true, false},
        {"127.255.0.9:80", true, false},
        {"128.0.0.1:80", false, false},
        {"0.0.0.0:80", false, true},
        {"[::1]:80", true, false},
        {"[::2]:80", false, false},
        {"[::]:80", false, true},
        {":80", false, true},
        {"[::ffff:127.0.0.1]:80", true, false},
        {"[::ffff:10.0.0.1]:80", false, false},
        {"unix:/a", true, false},
        {"unix:@a", true, false},
        {"fd:3", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct peal_addr addr = parsed(rows[i].text);
        assert_int_equal(peal_addr_is_loopback(&addr), rows[i].loopback);
        assert_int_equal(peal_addr_is_any(&addr), rows[i].any);
    }
}

/* ---- endpoints */

#define LABEL_63 "a23456789b123456789c123456789d123456789e123456789f123456789g123"
#define NAME_253                                                                                   \
    LABEL_63 "." LABEL_63 "." LABEL_63 "."                                                         \
             "b23456789b123456789c123456789d123456789e123456789f123456789g1"

static void test_good_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
    } rows[] = {
        {"example.org:80", "example.org", 80},
        {"example.org.:80", "example.org.", 80},
        {"localhost:0", "localhost", 0},
        {"a-b_c.D9:65535", "a-b_c.D9", 65535},
        {"3com.com:1", "3com.com", 1},
        {"1.2.3.4:5", "1.2.3.4", 5},
        {"0xyz:5", "0xyz", 5},
        {"[::1]:80", "::1", 80},
        {"[2001:DB8::1]:80", "2001:DB8::1", 80},
        {"[fe80::1%eth0]:80", "fe80::1%eth0", 80},
        {NAME_253 ":80", NAME_253, 80},
        {NAME_253 ".:80", NAME_253 ".", 80},
    };
    assert_int_equal(strlen(NAME_253), 253);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char host[PEAL_HOST_MAX];
        uint16_t port = 9;
        const char *why = "";
        if (peal_endpoint_split(rows[i].text, host, sizeof host, &port, &why) != 0) {
            fail_msg("%s: %s", rows[i].text, why);
        }
        assert_string_equal(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
        size_t size = strlen(rows[i].host);
        assert_int_equal(peal_endpoint_split(rows[i].text, host, size + 1, &port, NULL), 0);
        memset(host, 'x', sizeof host);
        assert_int_equal(peal_endpoint_split(rows[i].text, host, size, &port, &why), -ENOSPC);
        assert_int_equal(host[0], 'x');
    }
}

static void test_bad_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        {NULL, "host is missing"},
        {"", "host is missing"},
        {":80", "host is missing"},
        {"example.org", "port is missing"},
        {"example.org:", "the port must be"},
        {"example.org:http", "the port must be"},
        {"example.org:080", "the port must be"},
        {"example.org:65536", "the port must be"},
        {"example.org:80/", "the port must be"},
        {"http://example.org:80", "brackets"},
        {"::1:80", "brackets"},
        {"[::1]", "port is missing"},
        {"[::1]x:80", "after the closing bracket"},
        {"[example.org]:80", "not an IPv6"},
        {"[::1%lo]:80", "only a link-local"},
        {"exa mple.org:80", "letters, digits"},
        {"*:80", "letters, digits"},
        {"example..org:80", "letters, digits"},
        {".example.org:80", "letters, digits"},
        {"example.org..:80", "letters, digits"},
        {".:80", "letters, digits"},
        {"-a.org:80", "letters, digits"},
        {"a-.org:80", "letters, digits"},
        {"b\xc3\xbc"
         "cher.example:80",
         "letters, digits"},
        {"x" LABEL_63 ".org:80", "letters, digits"},
        {"x" NAME_253 ":80", "at most 253"},
        {"127.1:80", "four decimal numbers"},
        {"127.1.:80", "four decimal numbers"},
        {"1.2.3.4.:80", "four decimal numbers"},
        {"2130706433:80", "four decimal numbers"},
        {"0x7f000001:80", "four decimal numbers"},
        {"127.0.0.0x1:80", "four decimal numbers"},
        {"0177.0.0.1:80", "four decimal numbers"},
        {"1.2.3.256:80", "four decimal numbers"},
        {"example.0x:80", "four decimal numbers"},
        {"example.1:80", "four decimal numbers"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char host[PEAL_HOST_MAX] = "untouched";
        uint16_t port = 9;
        const char *why = NULL;
        assert_int_equal(peal_endpoint_split(rows[i].text, host, sizeof host, &port, &why),
                         -EINVAL);
        assert_non_null(why);
        if (!strstr(why, rows[i].why)) {
            fail_msg("%s: %s", rows[i].text, why);
        }
        assert_string_equal(host, "untouched");
        assert_int_equal(port, 9);
        assert_int_equal(peal_endpoint_split(rows[i].text, host, sizeof host, &port, NULL),
                         -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_texts),
        cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_ipv6_against_the_system),
        cmocka_unit_test(test_from_sockaddr),
        cmocka_unit_test(test_from_unix),
        cmocka_unit_test(test_format_without_room),
        cmocka_unit_test(test_equal_and_same_host),
        cmocka_unit_test(test_loopback_and_any),
        cmocka_unit_test(test_good_endpoints),
        cmocka_unit_test(test_bad_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
