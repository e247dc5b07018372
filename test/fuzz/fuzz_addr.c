/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses of users and peers would be misread, or read beyond their end: whatever text the parser
 * takes, its own text for it means the same. */
#include "fuzz.h"

#include <peal/addr.h>

static void check_whole(const struct peal_addr *addr)
{
    char text[PEAL_ADDR_TEXT_MAX], again_text[PEAL_ADDR_TEXT_MAX];
    struct peal_addr again, copy;
    const char *why = "";
    int length = peal_addr_format(addr, text, sizeof text);
    FUZZ_CHECK(length > 0 && (size_t)length == strlen(text) && (size_t)length < sizeof text);
    FUZZ_CHECK(peal_addr_parse(text, &again, &why) == 0);
    FUZZ_CHECK(peal_addr_equal(addr, &again));
    FUZZ_CHECK(peal_addr_hash(addr, 1) == peal_addr_hash(&again, 1));
    FUZZ_CHECK(peal_addr_is_same_host(addr, &again));
    FUZZ_CHECK(peal_addr_format(&again, again_text, sizeof again_text) == length);
    FUZZ_CHECK(strcmp(text, again_text) == 0);
    socklen_t size;
    const struct sockaddr *socket = peal_addr_sockaddr(addr, &size);
    if (socket && !peal_addr_is_dual_stack(addr)) {
        FUZZ_CHECK(peal_addr_from_sockaddr(socket, size, &copy) == 0);
        FUZZ_CHECK(peal_addr_equal(addr, &copy));
    }
    /* Less room than the text needs is never written beyond. */
    char small[4] = {'x', 'x', 'x', 'x'};
    (void)peal_addr_format(addr, small, 3);
    FUZZ_CHECK(small[3] == 'x');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[512], host[PEAL_HOST_MAX];
    if (size >= sizeof text || memchr(data, 0, size)) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    struct peal_addr addr;
    uint16_t port;
    const char *why = NULL;
    if (peal_addr_parse(text, &addr, &why) == 0) {
        check_whole(&addr);
    } else {
        FUZZ_CHECK(why && why[0]);
    }
    why = NULL;
    if (peal_endpoint_split(text, host, sizeof host, &port, &why) == 0) {
        FUZZ_CHECK(strlen(host) < sizeof host && strlen(host) <= size);
    } else {
        FUZZ_CHECK(why && why[0]);
    }
    return 0;
}
