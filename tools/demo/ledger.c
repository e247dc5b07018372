/* SPDX-License-Identifier: BSD-2-Clause */
/* The allocator's ledger: malloc and its kin, defined in the executable, so that all calls in the
 * process come here first, the library's included; then they go on to the C library's allocator.
 * The ledger is the sum of what is in use, to the byte as the allocator rounds it.
 *
 * Rules:
 *  1. Nothing is written in front of a block, so that a block can be freed by anybody: its size is
 *     asked from the allocator (malloc_usable_size) when it comes and when it goes.
 *  2. What the dynamic loader allocates is left out, both when it comes and when it goes. It does
 *     so for each thread, and the C library keeps the stacks of some threads that have ended, and
 *     with them those blocks: a cache, not a leak, and of no fixed size.
 *  3. Under AddressSanitizer and ThreadSanitizer malloc is theirs and is left alone; their runtime
 *     is asked instead.
 *  4. Where the functions below are not the ones that are called, the ledger says so instead of
 *     showing a zero that means nothing.
 *
 * mallinfo2 was rejected: it counts freed blocks that the allocator caches per thread as in use.
 */
#include "ledger.h"

#include <stdatomic.h>
#include <stdlib.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LEDGER_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LEDGER_SANITIZER
#endif

#ifdef LEDGER_SANITIZER

size_t __sanitizer_get_current_allocated_bytes(void); /* NOLINT: the runtime's name */

void ledger_start(void)
{
}

bool ledger_works(void)
{
    return true;
}

int64_t ledger_bytes(void)
{
    return (int64_t)__sanitizer_get_current_allocated_bytes();
}

int64_t ledger_slack_bytes(void)
{
    return 256 * 1024;
}

#elif defined(__GLIBC__)

#include <errno.h>
#include <link.h>
#include <malloc.h>

#define EXPORTED __attribute__((visibility("default"), noinline))

/* The C library's own, under the names that it keeps for just this. */
void *__libc_malloc(size_t size);                     /* NOLINT */
void *__libc_calloc(size_t count, size_t size);       /* NOLINT */
void *__libc_realloc(void *block, size_t size);       /* NOLINT */
void *__libc_memalign(size_t alignment, size_t size); /* NOLINT */
void __libc_free(void *block);                        /* NOLINT */

static bool counting; /* set once, while there is one thread */
static _Atomic int64_t in_use_bytes;
static uintptr_t loader_begin, loader_end;

static int find_loader(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    if (info->dlpi_addr != *(const uintptr_t *)user) {
        return 0;
    }
    loader_begin = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && end > loader_end) {
            loader_end = end;
        }
    }
    return 1;
}

static void *count_in(void *block, const void *caller)
{
    if (counting && block != NULL &&
        ((uintptr_t)caller < loader_begin || (uintptr_t)caller >= loader_end)) {
        atomic_fetch_add_explicit(&in_use_bytes, (int64_t)malloc_usable_size(block),
                                  memory_order_relaxed);
    }
    return block;
}

static void count_out(void *block, const void *caller)
{
    if (counting && block != NULL &&
        ((uintptr_t)caller < loader_begin || (uintptr_t)caller >= loader_end)) {
        atomic_fetch_sub_explicit(&in_use_bytes, (int64_t)malloc_usable_size(block),
                                  memory_order_relaxed);
    }
}

EXPORTED void *malloc(size_t size)
{
    return count_in(__libc_malloc(size), __builtin_return_address(0));
}

EXPORTED void *calloc(size_t count, size_t size)
{
    return count_in(__libc_calloc(count, size), __builtin_return_address(0));
}

EXPORTED void *realloc(void *block, size_t size)
{
    const void *caller = __builtin_return_address(0);

    if (block == NULL) {
        return count_in(__libc_malloc(size), caller);
    }
    int64_t before = (int64_t)malloc_usable_size(block);
    void *moved = __libc_realloc(block, size);
    if (moved == NULL && size != 0) {
        return NULL; /* the block is as it was */
    }
    if (counting) {
        atomic_fetch_sub_explicit(&in_use_bytes, before, memory_order_relaxed);
    }
    return count_in(moved, caller);
}

EXPORTED void free(void *block)
{
    count_out(block, __builtin_return_address(0));
    __libc_free(block);
}

EXPORTED void *memalign(size_t alignment, size_t size)
{
    return count_in(__libc_memalign(alignment, size), __builtin_return_address(0));
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
    return count_in(__libc_memalign(alignment, size), __builtin_return_address(0));
}

EXPORTED int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) {
        return EINVAL;
    }
    void *block = count_in(__libc_memalign(alignment, size), __builtin_return_address(0));
    if (block == NULL) {
        return ENOMEM;
    }
    *ret_block = block;
    return 0;
}

void ledger_start(void)
{
    uintptr_t loader = _r_debug.r_ldbase;

    if (loader != 0) { /* else the program is static, and there is no loader */
        dl_iterate_phdr(find_loader, &loader);
    }
    counting = true;
}

bool ledger_works(void)
{
    int64_t before = ledger_bytes();
    void *volatile block = malloc(1000);
    bool counted = block == NULL || ledger_bytes() >= before + 1000;

    free(block);
    return counted;
}

int64_t ledger_bytes(void)
{
    return atomic_load_explicit(&in_use_bytes, memory_order_relaxed);
}

int64_t ledger_slack_bytes(void)
{
    return 0;
}

#else

void ledger_start(void)
{
}

bool ledger_works(void)
{
    return false;
}

int64_t ledger_bytes(void)
{
    return 0;
}

int64_t ledger_slack_bytes(void)
{
    return 0;
}

#endif
