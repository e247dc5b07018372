/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: bytes released while someone still sends them, released twice, or never. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <peal/blob.h>

#include "sys/sys.h"

static unsigned allocations;

static int fail_allocation(char kind, const char *name, void *user)
{
    (void)name;
    (void)user;
    return kind == 'a' ? ENOMEM : 0;
}

static int count_allocation(char kind, const char *name, void *user)
{
    (void)name;
    (void)user;
    allocations += kind == 'a';
    return 0;
}

static int setup(void **state)
{
    static uint64_t baseline[2];
    sys_ledger(&baseline[0], &baseline[1]);
    *state = baseline;
    return 0;
}

static int teardown(void **state)
{
    const uint64_t *baseline = *state;
    uint64_t live, bytes;
    sys_ledger(&live, &bytes);
    assert_int_equal(live, baseline[0]);
    assert_int_equal(bytes, baseline[1]);
    return 0;
}

struct released {
    unsigned count;
    void *data;
    size_t size;
};

static void on_release(void *data, size_t size, void *user)
{
    struct released *released = user;
    released->count++;
    released->data = data;
    released->size = size;
}

static void test_copy(void **state)
{
    (void)state;
    char bytes[] = "some bytes";
    struct peal_blob *blob;
    allocations = 0;
    sys_set_fault_hook(count_allocation, NULL);
    assert_int_equal(peal_blob_copy(bytes, sizeof bytes, &blob), 0);
    sys_set_fault_hook(NULL, NULL);
    assert_int_equal(allocations, 1);
    bytes[0] = 'X';
    assert_int_equal(peal_blob_size(blob), sizeof bytes);
    assert_string_equal(peal_blob_data(blob), "some bytes");
    assert_ptr_equal(peal_blob_ref(blob), blob);
    assert_null(peal_blob_unref(blob));
    assert_string_equal(peal_blob_data(blob), "some bytes");
    assert_null(peal_blob_unref(blob));
    assert_null(peal_blob_unref(NULL));
}

static void test_copy_of_nothing(void **state)
{
    (void)state;
    struct peal_blob *blob;
    assert_int_equal(peal_blob_copy(NULL, 0, &blob), 0);
    assert_int_equal(peal_blob_size(blob), 0);
    peal_blob_unref(blob);
}

static void test_wrap(void **state)
{
    (void)state;
    char bytes[] = "some bytes";
    struct released released = {0};
    struct peal_blob *blob;
    assert_int_equal(peal_blob_wrap(bytes, 4, on_release, &released, &blob), 0);
    assert_ptr_equal(peal_blob_data(blob), bytes);
    assert_int_equal(peal_blob_size(blob), 4);
    peal_blob_ref(blob);
    peal_blob_unref(blob);
    assert_int_equal(released.count, 0);
    peal_blob_unref(blob);
    assert_int_equal(released.count, 1);
    assert_ptr_equal(released.data, bytes);
    assert_int_equal(released.size, 4);
    assert_int_equal(peal_blob_wrap(bytes, 4, NULL, NULL, &blob), 0);
    peal_blob_unref(blob);
}

static void test_no_memory(void **state)
{
    (void)state;
    char bytes[] = "some bytes";
    struct released released = {0};
    struct peal_blob *blob = (struct peal_blob *)bytes;
    sys_set_fault_hook(fail_allocation, NULL);
    assert_int_equal(peal_blob_copy(bytes, 4, &blob), -ENOMEM);
    assert_int_equal(peal_blob_wrap(bytes, 4, on_release, &released, &blob), -ENOMEM);
    sys_set_fault_hook(NULL, NULL);
    assert_int_equal(peal_blob_copy(bytes, SIZE_MAX, &blob), -ENOMEM);
    assert_int_equal(peal_blob_copy(bytes, (size_t)PTRDIFF_MAX, &blob), -ENOMEM);
    assert_ptr_equal(blob, bytes);
    assert_int_equal(released.count, 0);
}

#define ROUNDS 20000

static void *use(void *arg)
{
    struct peal_blob *blob = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        peal_blob_ref(blob);
        peal_blob_unref(blob);
    }
    return peal_blob_unref(blob);
}

static void test_threads(void **state)
{
    (void)state;
    char bytes[] = "some bytes";
    struct released released = {0};
    struct peal_blob *blob;
    pthread_t threads[4];
    assert_int_equal(peal_blob_wrap(bytes, 4, on_release, &released, &blob), 0);
    for (unsigned i = 0; i < 4; i++) {
        peal_blob_ref(blob);
        assert_int_equal(pthread_create(&threads[i], NULL, use, blob), 0);
    }
    peal_blob_unref(blob);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(released.count, 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_copy),      TEST(test_copy_of_nothing), TEST(test_wrap),
        TEST(test_no_memory), TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
