/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a host could have more connections than its share, be refused for ever, or be
 * counted as somebody else. */
#include "net/addr_count.h"

#include "support/baseline.h"
#include "support/faults.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

union any {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

static union any v4(uint32_t address, uint16_t port)
{
    union any peer = {.v4 = {.sin_family = AF_INET, .sin_port = port}};
    peer.v4.sin_addr.s_addr = htonl(address);
    return peer;
}

static union any v6(const char *text)
{
    union any peer = {.v6 = {.sin6_family = AF_INET6}};
    assert_int_equal(inet_pton(AF_INET6, text, &peer.v6.sin6_addr), 1);
    return peer;
}

static void counts_hosts_not_ports(void **state)
{
    struct pl_addr_count counts;
    (void)state;
    pl_addr_count_init(&counts);
    union any a = v4(0x7f000001, 1), b = v4(0x7f000001, 2), c = v4(0x7f000002, 1);
    assert_int_equal(pl_addr_count_take(&counts, &a.any, 2), 0);
    assert_int_equal(pl_addr_count_take(&counts, &b.any, 2), 0);
    assert_int_equal(pl_addr_count_take(&counts, &a.any, 2), -EDQUOT);
    assert_int_equal(pl_addr_count_take(&counts, &c.any, 2), 0);
    pl_addr_count_give_back(&counts, &b.any);
    assert_int_equal(pl_addr_count_take(&counts, &a.any, 2), 0);
    pl_addr_count_give_back(&counts, &a.any);
    pl_addr_count_give_back(&counts, &a.any);
    pl_addr_count_give_back(&counts, &c.any);
    pl_addr_count_deinit(&counts);
}

static void mapped_is_the_same_host_and_unix_is_none(void **state)
{
    struct pl_addr_count counts;
    (void)state;
    pl_addr_count_init(&counts);
    union any plain = v4(0x0a000001, 0), mapped = v6("::ffff:10.0.0.1"), other = v6("::1");
    union any local = {.local = {.sun_family = AF_UNIX}};
    assert_int_equal(pl_addr_count_take(&counts, &plain.any, 1), 0);
    assert_int_equal(pl_addr_count_take(&counts, &mapped.any, 1), -EDQUOT);
    assert_int_equal(pl_addr_count_take(&counts, &other.any, 1), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pl_addr_count_take(&counts, &local.any, 1), 0);
        pl_addr_count_give_back(&counts, &local.any);
    }
    pl_addr_count_give_back(&counts, &mapped.any);
    pl_addr_count_give_back(&counts, &other.any);
    pl_addr_count_deinit(&counts);
}

static void grows_and_empties(void **state)
{
    enum { HOSTS = 5000 };
    struct pl_addr_count counts;
    (void)state;
    pl_addr_count_init(&counts);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < HOSTS; i++) {
            union any peer = v4(0x0a000000 + i, 7);
            assert_int_equal(pl_addr_count_take(&counts, &peer.any, 1), 0);
        }
        for (uint32_t i = 0; i < HOSTS; i++) {
            union any peer = v4(0x0a000000 + i, 9);
            assert_int_equal(pl_addr_count_take(&counts, &peer.any, 1), -EDQUOT);
        }
        for (uint32_t i = HOSTS; i-- > 0;) {
            union any peer = v4(0x0a000000 + i, 8);
            pl_addr_count_give_back(&counts, &peer.any);
        }
        assert_int_equal(counts.node_count, 0);
    }
    pl_addr_count_deinit(&counts);
}

static void without_memory_it_says_so(void **state)
{
    struct pl_addr_count counts;
    union any peer = v4(1, 1);
    (void)state;
    pl_addr_count_init(&counts);
    for (unsigned n = 1; n <= 2; n++) { /* the table, then the node */
        faults_start((struct faults){.kind = 'a', .nth = n, .error = ENOMEM});
        assert_int_equal(pl_addr_count_take(&counts, &peer.any, 1), -ENOMEM);
        assert_int_equal(faults_stop(), 1);
        assert_int_equal(counts.node_count, 0);
    }
    for (uint32_t i = 0; i < 64; i++) {
        union any one = v4(i, 1);
        assert_int_equal(pl_addr_count_take(&counts, &one.any, 1), 0);
    }
    union any more = v4(64, 1);
    faults_start((struct faults){.kind = 'a', .nth = 1, .error = ENOMEM}); /* cannot grow: fuller */
    assert_int_equal(pl_addr_count_take(&counts, &more.any, 1), 0);
    assert_int_equal(faults_stop(), 1);
    for (uint32_t i = 0; i <= 64; i++) {
        union any one = v4(i, 1);
        pl_addr_count_give_back(&counts, &one.any);
    }
    pl_addr_count_deinit(&counts);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(counts_hosts_not_ports),
        TEST(mapped_is_the_same_host_and_unix_is_none),
        TEST(grows_and_empties),
        TEST(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
