/* SPDX-License-Identifier: BSD-2-Clause */
/* Every atomic operation of the library as a place where another thread may go on.
 *
 * Threads of a simulated run take turns, and change places at calls of the system: two atomic
 * operations with no call between them are never torn apart, and a protocol that is wrong there
 * (a wake-up that is lost, a last reference dropped twice) looks right. peal-sim-atomics is the lab
 * with a library that was compiled for the thread sanitizer, which makes a call of each atomic
 * operation; but instead of the sanitizer the functions here are linked. They do what was asked
 * for, and offer the baton before it.
 *
 * What is seen is every interleaving of sequentially consistent steps. Orders that only a weaker
 * memory model allows, and plain data that two threads use at once, are for the real sanitizer
 * (scripts/test-long.sh tsan). The names and forms of the functions are those of LLVM's
 * compiler-rt, tsan_interface.h and tsan_interface_atomic.h. */
#include "sys/sim/sim.h"

#include <stdbool.h>
#include <stdint.h>

/* Declared here, as no header of ours does. */
#define PLAIN(name)                                                                                \
    void name(const void *at);                                                                     \
    void name(const void *at)                                                                      \
    {                                                                                              \
        (void)at;                                                                                  \
    }
PLAIN(__tsan_read1)
PLAIN(__tsan_read2)
PLAIN(__tsan_read4)
PLAIN(__tsan_read8)
PLAIN(__tsan_read16)
PLAIN(__tsan_write1)
PLAIN(__tsan_write2)
PLAIN(__tsan_write4)
PLAIN(__tsan_write8)
PLAIN(__tsan_write16)
PLAIN(__tsan_unaligned_read2)
PLAIN(__tsan_unaligned_read4)
PLAIN(__tsan_unaligned_read8)
PLAIN(__tsan_unaligned_read16)
PLAIN(__tsan_unaligned_write2)
PLAIN(__tsan_unaligned_write4)
PLAIN(__tsan_unaligned_write8)
PLAIN(__tsan_unaligned_write16)
PLAIN(__tsan_func_entry)

void __tsan_init(void);
void __tsan_init(void)
{
}
void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}
void __tsan_read_range(const void *at, uintptr_t size);
void __tsan_read_range(const void *at, uintptr_t size)
{
    (void)at;
    (void)size;
}
void __tsan_write_range(const void *at, uintptr_t size);
void __tsan_write_range(const void *at, uintptr_t size)
{
    (void)at;
    (void)size;
}
void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    (void)order;
    pl_sim_small_point();
}

#define MODIFYING(bits, type, name, operation)                                                     \
    type __tsan_atomic##bits##_##name(volatile type *at, type value, int order);                   \
    type __tsan_atomic##bits##_##name(volatile type *at, type value, int order)                    \
    {                                                                                              \
        (void)order;                                                                               \
        pl_sim_small_point();                                                                      \
        return operation(at, value, __ATOMIC_SEQ_CST);                                             \
    }

#define COMPARING(bits, type, name)                                                                \
    int __tsan_atomic##bits##_##name(volatile type *at, type *expected, type value, int order,     \
                                     int failure_order);                                           \
    int __tsan_atomic##bits##_##name(volatile type *at, type *expected, type value, int order,     \
                                     int failure_order)                                            \
    {                                                                                              \
        (void)order;                                                                               \
        (void)failure_order;                                                                       \
        pl_sim_small_point();                                                                      \
        return __atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST,           \
                                           __ATOMIC_SEQ_CST);                                      \
    }

/* clang's way of comparing: it returns what was there. */
#define COMPARING_VALUES(bits, type)                                                               \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected, type value,  \
                                                    int order, int failure_order);                 \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected, type value,  \
                                                    int order, int failure_order)                  \
    {                                                                                              \
        (void)order;                                                                               \
        (void)failure_order;                                                                       \
        pl_sim_small_point();                                                                      \
        __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST,                 \
                                    __ATOMIC_SEQ_CST);                                             \
        return expected;                                                                           \
    }

#define OF_SIZE(bits, type)                                                                        \
    type __tsan_atomic##bits##_load(const volatile type *at, int order);                           \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                            \
    {                                                                                              \
        (void)order;                                                                               \
        pl_sim_small_point();                                                                      \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                              \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order);                    \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                     \
    {                                                                                              \
        (void)order;                                                                               \
        pl_sim_small_point();                                                                      \
        __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                             \
    }                                                                                              \
    COMPARING_VALUES(bits, type)                                                                   \
    MODIFYING(bits, type, exchange, __atomic_exchange_n)                                           \
    MODIFYING(bits, type, fetch_add, __atomic_fetch_add)                                           \
    MODIFYING(bits, type, fetch_sub, __atomic_fetch_sub)                                           \
    MODIFYING(bits, type, fetch_and, __atomic_fetch_and)                                           \
    MODIFYING(bits, type, fetch_or, __atomic_fetch_or)                                             \
    MODIFYING(bits, type, fetch_xor, __atomic_fetch_xor)                                           \
    COMPARING(bits, type, compare_exchange_strong)                                                 \
    COMPARING(bits, type, compare_exchange_weak)

OF_SIZE(8, uint8_t)
OF_SIZE(16, uint16_t)
OF_SIZE(32, uint32_t)
OF_SIZE(64, uint64_t)
