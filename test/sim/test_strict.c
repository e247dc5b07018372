/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: a run would pass in which the program wrote to memory that it had freed, used a
 * closed fd, left something behind, or stood still; and the lab would find nothing.
 *
 * Each case does one such thing, and the run has to end with the sentence that says so. */
#include "apart.h"
#include "sys/sim/sim.h"
#include "sys/sys.h"
#ifdef PL_HAS_URING
#include "sys/sys_uring.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#define FAILS(fn, sentence) assert_string_equal(run_apart(fn), sentence)

static void nothing(void)
{
}

static void what_is_right_passes(void **state)
{
    (void)state;
    FAILS(nothing, "");
}

/* ---- memory. An address sanitizer knows better, and the simulated heap leaves it to that. */
#ifndef __SANITIZE_ADDRESS__
static void write_after_free(void)
{
    char *volatile memory = sys_malloc(40);
    sys_free(memory);
    memory[7] = 'x';
}

static void write_beyond(void)
{
    char *volatile memory = sys_calloc(2, 20);
    memory[40] = 'x';
    sys_free(memory);
}

static void free_twice(void)
{
    void *volatile memory = sys_malloc(40);
    sys_free(memory);
    sys_free(memory);
}

static void free_a_stranger(void)
{
    static char strange[256];
    void *volatile memory = strange + 128;
    sys_free(memory);
}

/* So much that what was freed first has to go, and is looked at, before the run's end. */
static void write_after_free_of_much(void)
{
    char *volatile memory = sys_malloc(64);
    sys_free(memory);
    memory[0] = 'x';
    for (int i = 0; i < 70; i++) {
        sys_free(sys_malloc(1 << 20));
    }
    sys_abort(); /* never comes to this */
}

/* A large block, such as a loop is, not in its first lines. */
static void write_after_free_far_in(void)
{
    char *volatile memory = sys_malloc(20000);
    sys_free(memory);
    memory[19999] = 'x';
}

static void memory_misused(void **state)
{
    (void)state;
    FAILS(write_after_free, "byte 7 of a block of 40 was written after the block was freed");
    FAILS(write_after_free_far_in,
          "byte 19999 of a block of 20000 was written after the block was freed");
    FAILS(write_after_free_of_much,
          "byte 0 of a block of 64 was written after the block was freed");
    FAILS(write_beyond, "something was written beyond the end of a block of 40 bytes");
    FAILS(free_twice, "a block of memory is freed twice");
    FAILS(free_a_stranger, "what is freed was never allocated");
}
#endif

static void leak(void)
{
    void *volatile kept = sys_malloc(40);
    kept = sys_malloc(2);
    (void)kept;
}

/* Right, and no more than that. */
static void grow(void)
{
    uint64_t allocations, bytes;
    char *memory = sys_realloc(NULL, 3);
    memcpy(memory, "abc", 3);
    memory = sys_realloc(memory, 100);
    assert_memory_equal(memory, "abc", 3);
    memory = sys_realloc(memory, 2);
    assert_memory_equal(memory, "ab", 2);
    sys_ledger(&allocations, &bytes);
    assert_int_equal(allocations, 1);
    assert_int_equal(bytes, 2);
    assert_null(sys_calloc(SIZE_MAX / 2, 3));
    sys_free(memory);
    sys_free(NULL);
}

static void memory_left(void **state)
{
    (void)state;
    FAILS(leak, "2 allocations of 42 bytes in all were not freed");
    FAILS(grow, "");
}

/* ---- fds */

static void use_closed(void)
{
    int fd = sys_eventfd();
    sys_close(fd);
    sys_close(fd);
}

static void use_none(void)
{
    (void)sys_set_nonblocking(-1);
}

static void use_too_high(void)
{
    (void)sys_set_nonblocking(PL_SIM_FDS_MAX);
}

static void leave_file(void)
{
    sys_close(sys_epoll_create());
    (void)sys_eventfd();
    (void)sys_open("/notes", O_CREAT | O_RDWR, 0600);
    sys_close(3);
}

static void leave_epoll(void)
{
    (void)sys_epoll_create();
}

static void watch_edges(void)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    (void)sys_epoll_ctl(sys_epoll_create(), EPOLL_CTL_ADD, sys_eventfd(), &event);
}

static void write_to_the_gone(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/here"};
    const struct sockaddr *address = (const struct sockaddr *)&name;
    int listener = sys_socket(AF_UNIX, SOCK_STREAM, 0);
    int connector = sys_socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(sys_bind(listener, address, sizeof name), 0);
    assert_int_equal(sys_listen(listener, 1), 0);
    assert_int_equal(sys_connect(connector, address, sizeof name), 0);
    sys_close(sys_accept(listener, NULL, NULL));
    assert_int_equal(sys_send(connector, "x", 1, MSG_NOSIGNAL), -EPIPE);
    (void)sys_send(connector, "x", 1, 0);
}

static void fds_misused(void **state)
{
    (void)state;
    FAILS(use_closed, "fd 3 is used, and is not open");
    FAILS(use_none, "fd -1 is used, and is not open");
    FAILS(use_too_high, "fd 4096 is used, and is not open");
    FAILS(leave_file, "1 fds were not closed, first fd 4, of kind file");
    FAILS(leave_epoll, "1 fds were not closed, first fd 3, of kind epoll");
    FAILS(watch_edges, "epoll: edges, one-shots and exclusive wake-ups are not simulated");
    FAILS(write_to_the_gone, "a write without MSG_NOSIGNAL to a connection that is gone: SIGPIPE");
}

/* ---- threads */

static struct sys_mutex mutex;
static struct sys_cond cond;

static void *wait_for_ever(void *arg)
{
    (void)arg;
    sys_mutex_lock(&mutex);
    sys_cond_wait(&cond, &mutex);
    return NULL;
}

static void *return_at_once(void *arg)
{
    return arg;
}

static void start(void *(*fn)(void *arg), struct sys_thread *ret_thread)
{
    sys_mutex_init(&mutex);
    sys_cond_init(&cond);
    assert_int_equal(sys_thread_start(ret_thread, "worker", fn, NULL), 0);
}

static void wait_for_who_waits(void)
{
    struct sys_thread thread;
    start(wait_for_ever, &thread);
    sys_thread_join(&thread);
}

static void leave_a_thread(void)
{
    struct sys_thread thread;
    start(wait_for_ever, &thread);
}

static void forget_to_join(void)
{
    struct sys_thread thread;
    start(return_at_once, &thread);
}

static void destroy_what_is_waited_for(void)
{
    struct sys_thread thread;
    start(wait_for_ever, &thread);
    for (int i = 0; i < 2000; i++) { /* until it waits */
        sys_thread_yield();
    }
    sys_cond_deinit(&cond);
}

static void lock_twice(void)
{
    sys_mutex_lock(&mutex);
    sys_mutex_lock(&mutex);
}

static void unlock_free(void)
{
    sys_mutex_unlock(&mutex);
}

static void destroy_locked(void)
{
    sys_mutex_lock(&mutex);
    sys_mutex_deinit(&mutex);
}

static void threads_misused(void **state)
{
    (void)state;
    FAILS(wait_for_who_waits, "every thread waits for ever: first (1), worker (2)");
    FAILS(leave_a_thread, "the program has ended, and its thread worker (2) has not");
    FAILS(forget_to_join, "the program has ended, and its thread worker (2) has not been joined");
    FAILS(destroy_what_is_waited_for,
          "a condition variable is destroyed while worker waits for it");
    FAILS(lock_twice, "first locks a mutex that it has");
    FAILS(unlock_free, "first unlocks a mutex that it has not");
    FAILS(destroy_locked, "a mutex is destroyed while first has it");
}

/* Right: a wait whose time is over, and one that all are woken from. */
static void wait_a_while(void)
{
    struct sys_thread thread;
    uint64_t before_ns = sys_monotonic_ns(), realtime_ns = sys_realtime_ns();
    start(wait_for_ever, &thread);
    sys_mutex_lock(&mutex);
    assert_false(sys_cond_wait_for(&cond, &mutex, 5000));
    assert_false(sys_cond_wait_for(&cond, &mutex, 0));
    assert_int_equal(sys_monotonic_ns() - before_ns, 5000);
    assert_int_equal(sys_realtime_ns() - realtime_ns, 5000);
    sys_cond_broadcast(&cond);
    sys_mutex_unlock(&mutex);
    (void)sys_thread_id();
    sys_cond_deinit(&cond);
}

static void waits_end(void **state)
{
    (void)state;
    /* The worker wakes with the mutex, and ends with it: that is for the end of the run to say. */
    FAILS(wait_a_while, "the program has ended, and its thread worker (2) has not been joined");
}

/* ---- going round in circles */

static void spin(void)
{
    for (;;) {
        sys_thread_yield();
    }
}

static void go_on_for_ever(void)
{
    int fd = sys_eventfd();
    uint64_t one = 1;
    pl_sim.steps_max = 500;
    for (;;) {
        sys_write(fd, &one, sizeof one);
        sys_read(fd, &one, sizeof one);
    }
}

static void no_end(void **state)
{
    (void)state;
    FAILS(spin, "20000 calls have moved nothing: something spins");
    FAILS(go_on_for_ever, "no end after 500 steps: something goes round in circles");
}

/* ---- the library's own last words */

static void abort_with_words(void)
{
    static const char first[] = "peal: broken invariant: a < b\nand more of it\n",
                      second[] = "no\n";
    sys_write_stderr(first, strlen(first));
    sys_write_stderr(second, strlen(second));
    sys_abort();
}

static void abort_in_parts(void)
{
    sys_write_stderr("peal: ", 6);
    sys_write_stderr("broken", 6);
    sys_abort();
}

static void last_words(void **state)
{
    (void)state;
    FAILS(abort_with_words, "the library aborted: peal: broken invariant: a < b");
    FAILS(abort_in_parts, "the library aborted: peal: broken");
}

#ifdef PL_HAS_URING
/* ---- the ring. What its user asks for that is not simulated has to be taught first. */

static void ask(void (*fill)(struct io_uring_sqe *sqe))
{
    struct sys_uring ring;
    assert_int_equal(sys_uring_open(&ring, 4, 8), 0);
    fill(sys_uring_sqe(&ring));
    (void)sys_uring_submit(&ring);
    sys_uring_close(&ring);
}

static void fill_read(struct io_uring_sqe *sqe)
{
    sqe->opcode = IORING_OP_READ;
}

static void fill_linked(struct io_uring_sqe *sqe)
{
    sqe->opcode = IORING_OP_NOP;
    sqe->flags = IOSQE_IO_LINK;
}

static void fill_waiting_send(struct io_uring_sqe *sqe)
{
    sqe->opcode = IORING_OP_SEND;
}

static void ask_read(void)
{
    ask(fill_read);
}

static void ask_linked(void)
{
    ask(fill_linked);
}

static void ask_waiting_send(void)
{
    ask(fill_waiting_send);
}

static void leave_ring(void)
{
    struct sys_uring ring;
    assert_int_equal(sys_uring_open(&ring, 4, 8), 0);
}

static void rings_misused(void **state)
{
    (void)state;
    char sentence[96];
    snprintf(sentence, sizeof sentence, "io_uring: operation %d with flags 0 is not simulated",
             IORING_OP_READ);
    FAILS(ask_read, sentence);
    snprintf(sentence, sizeof sentence, "io_uring: operation %d with flags 0x4 is not simulated",
             IORING_OP_NOP);
    FAILS(ask_linked, sentence);
    snprintf(sentence, sizeof sentence, "io_uring: operation %d with flags 0 is not simulated",
             IORING_OP_SEND);
    FAILS(ask_waiting_send, sentence);
    FAILS(leave_ring, "1 fds were not closed, first fd 3, of kind ring");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_right_passes),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(memory_misused),
#endif
        cmocka_unit_test(memory_left),
        cmocka_unit_test(fds_misused),
        cmocka_unit_test(threads_misused),
        cmocka_unit_test(waits_end),
        cmocka_unit_test(no_end),
        cmocka_unit_test(last_words),
#ifdef PL_HAS_URING
        cmocka_unit_test(rings_misused),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
