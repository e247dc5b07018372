/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, tasks would be lost or run out of turn, a quit would be missed, one callback could
 * starve the rest, or a loop would end and leave something behind (hazards 20, 33). */
#include "loop/loop.h"
#include "support/baseline.h"
#include "support/faults.h"

#include <peal.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* What happened, a letter each. */
static char history[256];

static void note(char letter)
{
    size_t length = strlen(history);
    assert_true(length < sizeof history - 1);
    history[length] = letter;
    history[length + 1] = '\0';
}

/* A letter as a callback's argument. */
static void *letter(char which)
{
    return (void *)(uintptr_t)(unsigned char)which;
}

static void note_letter(void *user)
{
    note((char)(uintptr_t)user);
}

static struct peal_loop *loop_new(void)
{
    struct peal_loop *loop;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    history[0] = '\0';
    return loop;
}

static struct peal_loop_stats stats_of(const struct peal_loop *loop)
{
    struct peal_loop_stats stats;
    peal_loop_get_stats(loop, &stats);
    return stats;
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- making one */

static void names_and_engines(void **state)
{
    struct peal_loop *loop = NULL;
    (void)state;
    assert_int_equal(
        peal_loop_new(
            &(struct peal_loop_options){.name = "a name of 20 letters", .engine = "epoll"}, &loop),
        0);
    assert_string_equal(peal_loop_name(loop), "a name of 20 le");
    assert_string_equal(peal_loop_engine(loop), "epoll");
    peal_loop_free(loop);
    uint64_t before_ns = clock_ns();
    loop = loop_new();
    assert_true(peal_loop_now_ns(loop) >= before_ns && peal_loop_now_ns(loop) <= clock_ns());
    assert_string_equal(peal_loop_name(loop), "loop");
    assert_null(peal_loop_free(loop));
    assert_null(peal_loop_free(NULL));
    assert_null(peal_loop_unref(NULL));
}

static void an_unknown_engine_is_refused(void **state)
{
    struct peal_loop *untouched = (struct peal_loop *)(void *)history, *loop = untouched;
    (void)state;
    assert_int_equal(peal_loop_new(&(struct peal_loop_options){.engine = "bogus"}, &loop), -EINVAL);
    setenv("PEAL_ENGINE", "bogus", 1);
    assert_int_equal(peal_loop_new(NULL, &loop), -EINVAL);
    assert_ptr_equal(loop, untouched);
    assert_int_equal(peal_loop_new(&(struct peal_loop_options){.engine = "epoll"}, &loop), 0);
    peal_loop_free(loop);
    setenv("PEAL_ENGINE", "epoll", 1);
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    assert_string_equal(peal_loop_engine(loop), "epoll");
    peal_loop_free(loop);
    setenv("PEAL_ENGINE", "", 1); /* as if it were not set */
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    peal_loop_free(loop);
    unsetenv("PEAL_ENGINE");
}

static void every_failure_of_making_is_clean(void **state)
{
    struct peal_loop *loop = NULL;
    unsigned failures = 0;
    (void)state;
    for (unsigned for_ever = 0; for_ever < 2; for_ever++) {
        for (unsigned nth = 1;; nth++) {
            struct baseline before = baseline_take();
            faults_start((struct faults){.nth = nth, .for_ever = for_ever, .error = EMFILE});
            int result = peal_loop_new(NULL, &loop);
            if (faults_stop() == 0) {
                assert_int_equal(result, 0);
                peal_loop_free(loop);
                break;
            }
            assert_true(result == -ENOMEM || result == -EMFILE);
            baseline_check(&before);
            failures++;
        }
    }
    assert_true(failures >= 2 * 7); /* loop, scratch, ring, engine; epoll, eventfd, its adding */
}

/* ---- the turn */

static void on_ready(struct peal_watch *watch, uint32_t events, void *user)
{
    uint64_t value;
    assert_int_equal(events, PEAL_READABLE);
    assert_int_equal(read(peal_watch_fd(watch), &value, sizeof value), sizeof value);
    note_letter(user);
}

static void on_timer(struct peal_timer *timer, void *user)
{
    (void)timer;
    note_letter(user);
}

struct noting_job {
    struct pl_job job; /* the first member */
    char letter;
};

static void run_noting_job(struct pl_job *job)
{
    note(((struct noting_job *)(void *)job)->letter);
}

static void the_phases_come_in_their_order(void **state)
{
    struct peal_loop *loop = loop_new();
    struct peal_watch *watch;
    struct peal_timer timer;
    struct noting_job flush = {.job.run = run_noting_job, .letter = 'f'};
    struct noting_job reap = {.job.run = run_noting_job, .letter = 'r'};
    int fd = eventfd(1, EFD_CLOEXEC);
    (void)state;
    pl_job_init(&flush.job);
    pl_job_init(&reap.job);
    pl_loop_reap_later(loop, &reap.job);
    pl_loop_flush_later(loop, &flush.job);
    assert_int_equal(peal_loop_defer(loop, note_letter, letter('d')), 0);
    peal_timer_init(&timer, loop, on_timer, letter('m'));
    peal_timer_start(&timer, 0, 0);
    assert_int_equal(peal_loop_post(loop, note_letter, letter('t')), 0);
    assert_int_equal(peal_watch_open(loop, fd, PEAL_READABLE, on_ready, letter('e'), &watch), 0);
    usleep(5000); /* so that the timer is due */
    assert_int_equal(peal_loop_turn(loop, -1), 1);
    assert_string_equal(history, "etmdfr");
    peal_watch_close(watch);
    close(fd);
    peal_loop_free(loop);
}

struct chain {
    struct peal_loop *loop;
    unsigned left;
};

static void post_again(void *user)
{
    struct chain *chain = user;
    note('t');
    if (chain->left-- > 0) {
        assert_int_equal(peal_loop_post(chain->loop, post_again, chain), 0);
        assert_int_equal(peal_loop_defer(chain->loop, note_letter, letter('d')), 0);
    }
}

static void defer_again(void *user)
{
    struct chain *chain = user;
    note('d');
    if (chain->left-- > 0) {
        assert_int_equal(peal_loop_defer(chain->loop, defer_again, chain), 0);
    }
}

static void a_phase_takes_what_was_there_when_it_began(void **state)
{
    struct chain chain = {.loop = loop_new(), .left = 2};
    (void)state;
    assert_int_equal(peal_loop_post(chain.loop, post_again, &chain), 0);
    assert_int_equal(peal_loop_turn(chain.loop, -1), 1);
    assert_string_equal(history, "td"); /* the deferred in the same turn, the posted in the next */
    assert_int_equal(peal_loop_turn(chain.loop, -1), 1);
    assert_int_equal(peal_loop_turn(chain.loop, -1), 1);
    assert_string_equal(history, "tdtdt");
    history[0] = '\0';
    chain.left = 2;
    assert_int_equal(peal_loop_defer(chain.loop, defer_again, &chain), 0);
    assert_int_equal(peal_loop_turn(chain.loop, -1), 1);
    assert_string_equal(history, "d");
    assert_int_equal(peal_loop_turn(chain.loop, -1), 1);
    assert_int_equal(peal_loop_turn(chain.loop, -1), 1);
    assert_string_equal(history, "ddd");
    peal_loop_free(chain.loop);
}

struct endless {
    struct peal_loop *loop;
    struct pl_job flush;
    unsigned posts, defers, flushes, events, timers;
};

static void post_for_ever(void *user)
{
    struct endless *endless = user;
    endless->posts++;
    assert_int_equal(peal_loop_post(endless->loop, post_for_ever, endless), 0);
}

static void defer_for_ever(void *user)
{
    struct endless *endless = user;
    endless->defers++;
    assert_int_equal(peal_loop_defer(endless->loop, defer_for_ever, endless), 0);
}

static void flush_for_ever(struct pl_job *job)
{
    struct endless *endless = pl_container(job, struct endless, flush);
    endless->flushes++;
    pl_loop_flush_later(endless->loop, job);
}

static void count_event(struct peal_watch *watch, uint32_t events, void *user)
{
    (void)watch;
    (void)events;
    ((struct endless *)user)->events++;
}

static void count_timer(struct peal_timer *timer, void *user)
{
    ((struct endless *)user)->timers++;
    peal_timer_start(timer, 0, 0);
}

static void what_goes_on_for_ever_starves_nothing(void **state)
{
    struct endless endless = {.loop = loop_new(), .flush.run = flush_for_ever};
    struct peal_watch *watch;
    struct peal_timer timer;
    int fd = eventfd(1, EFD_CLOEXEC);
    unsigned turns = 0;
    (void)state;
    pl_job_init(&endless.flush);
    pl_loop_flush_later(endless.loop, &endless.flush);
    post_for_ever(&endless);
    defer_for_ever(&endless);
    peal_timer_init(&timer, endless.loop, count_timer, &endless);
    peal_timer_start(&timer, 0, 0);
    assert_int_equal(
        peal_watch_open(endless.loop, fd, PEAL_READABLE, count_event, &endless, &watch), 0);
    while (endless.timers < 3) {
        assert_int_equal(peal_loop_turn(endless.loop, -1), 1);
        turns++;
    }
    assert_int_equal(endless.events, turns);
    assert_int_equal(endless.posts, turns + 1); /* and the first calls, made by hand */
    assert_int_equal(endless.defers, turns + 1);
    assert_int_equal(endless.flushes, turns);
    peal_watch_close(watch);
    close(fd);
    pl_job_cancel(&endless.flush);
    peal_loop_free(endless.loop);
}

static void a_turn_waits_no_longer_than_it_may(void **state)
{
    struct peal_loop *loop = loop_new();
    (void)state;
    assert_int_equal(peal_loop_turn(loop, 0), 1);
    unsigned turns = 3; /* with those below */
    uint64_t took_ns = 0;
    while (took_ns < 20 * 1000000u && turns < 10) { /* the end of another ring may interrupt it */
        uint64_t began_ns = clock_ns();
        assert_int_equal(peal_loop_turn(loop, 20), 1);
        took_ns = clock_ns() - began_ns;
        turns++;
    }
    assert_true(took_ns >= 20 * 1000000u); /* nothing came: not shorter either */
    assert_true(stats_of(loop).wait_ns >= 20 * 1000000u);
    peal_loop_quit(loop);
    assert_int_equal(peal_loop_turn(loop, -1), 0); /* does not wait */
    assert_int_equal(peal_loop_turn(loop, -1), 0);
    assert_int_equal(stats_of(loop).turns, turns);
    peal_loop_free(loop);
}

/* ---- quit, run, end */

static void a_quit_before_run_is_not_lost(void **state)
{
    struct peal_loop *loop = loop_new();
    (void)state;
    assert_int_equal(peal_loop_post(loop, note_letter, letter('a')), 0);
    peal_loop_quit(loop);
    peal_loop_quit(loop);
    assert_int_equal(peal_loop_post(loop, note_letter, letter('b')), 0);
    assert_int_equal(peal_loop_run(loop), 0);
    assert_string_equal(history, "ab");
    assert_int_equal(peal_loop_run(loop), PEAL_ERR_LOOP_ENDED);
    assert_int_equal(peal_loop_turn(loop, 0), PEAL_ERR_LOOP_ENDED);
    assert_int_equal(peal_loop_post(loop, note_letter, letter('c')), PEAL_ERR_LOOP_ENDED);
    assert_int_equal(peal_loop_post_or_drop(loop, note_letter, note_letter, letter('c')),
                     PEAL_ERR_LOOP_ENDED);
    assert_int_equal(peal_loop_defer(loop, note_letter, letter('c')), PEAL_ERR_LOOP_ENDED);
    assert_int_equal(peal_loop_run_in(loop, note_letter, letter('c')), PEAL_ERR_LOOP_ENDED);
    peal_loop_quit(loop);
    assert_string_equal(history, "ab");
    peal_loop_ref(loop);
    peal_loop_free(loop);
    assert_int_equal(peal_loop_post(loop, note_letter, letter('c')), PEAL_ERR_LOOP_ENDED);
    assert_string_equal(peal_loop_name(loop), "loop"); /* a reference keeps the memory */
    peal_loop_unref(loop);
}

static void bad_arguments_are_refused(void **state)
{
    struct peal_loop *loop = loop_new();
    (void)state;
    assert_int_equal(peal_loop_post(loop, NULL, NULL), -EINVAL);
    assert_int_equal(peal_loop_post_or_drop(loop, NULL, note_letter, NULL), -EINVAL);
    assert_int_equal(peal_loop_defer(loop, NULL, NULL), -EINVAL);
    assert_int_equal(peal_loop_run_in(loop, NULL, NULL), -EINVAL);
    faults_start((struct faults){.kind = 'a', .nth = 1, .for_ever = true, .error = ENOMEM});
    assert_int_equal(peal_loop_post(loop, note_letter, letter('c')), -ENOMEM);
    assert_int_equal(peal_loop_defer(loop, note_letter, letter('c')), -ENOMEM);
    faults_stop();
    assert_int_equal(peal_loop_turn(loop, 0), 1);
    assert_string_equal(history, "");
    peal_loop_free(loop);
}

static struct peal_loop *dropping;

static void on_drop(void *user)
{
    note_letter(user);
    assert_ptr_equal(peal_loop_current(), dropping);
    assert_true(peal_loop_is_mine(dropping));
    /* nothing can be asked of it any more */
    assert_int_equal(peal_loop_post_or_drop(dropping, note_letter, note_letter, letter('x')),
                     PEAL_ERR_LOOP_ENDED);
    assert_int_equal(peal_loop_defer(dropping, note_letter, letter('x')), PEAL_ERR_LOOP_ENDED);
}

static void what_is_left_at_the_end_is_dropped_once(void **state)
{
    struct peal_loop *loop = dropping = loop_new();
    (void)state;
    assert_int_equal(peal_loop_post_or_drop(loop, note_letter, on_drop, letter('1')), 0);
    assert_int_equal(peal_loop_post(loop, note_letter, letter('2')), 0);
    assert_int_equal(peal_loop_post_or_drop(loop, note_letter, on_drop, letter('3')), 0);
    assert_int_equal(peal_loop_defer(loop, note_letter, letter('4')), 0);
    peal_loop_ref(loop);
    assert_null(peal_loop_free(loop));
    assert_string_equal(history, "13");
    assert_int_equal(stats_of(loop).tasks_dropped, 4);
    assert_int_equal(stats_of(loop).tasks, 0);
    peal_loop_unref(loop);
}

static void note_run_in(void *user)
{
    struct peal_loop *loop = user;
    assert_ptr_equal(peal_loop_current(), loop);
    assert_int_equal(peal_loop_run_in(loop, note_letter, letter('i')),
                     0); /* now, on its own thread */
    note('o');
}

static void *run_in_from_outside(void *arg)
{
    struct peal_loop *loop = arg;
    assert_false(peal_loop_is_mine(loop));
    assert_null(peal_loop_current());
    assert_int_equal(peal_loop_run_in(loop, note_run_in, loop), 0);
    return NULL;
}

static void run_in_calls_or_posts(void **state)
{
    struct peal_loop *loop = loop_new();
    pthread_t thread;
    (void)state;
    assert_null(peal_loop_current());
    assert_int_equal(pthread_create(&thread, NULL, run_in_from_outside, loop), 0);
    pthread_join(thread, NULL);
    assert_string_equal(history, "");
    assert_int_equal(peal_loop_turn(loop, -1), 1);
    assert_string_equal(history, "io");
    assert_int_equal(peal_loop_run_in(loop, note_letter, letter('n')), 0);
    assert_string_equal(history, "ion");
    peal_loop_free(loop);
}

static void turn_inner(void *user)
{
    struct peal_loop *inner = user;
    struct peal_loop *outer = peal_loop_current();
    assert_int_equal(peal_loop_post(inner, note_letter, letter('i')), 0);
    assert_int_equal(peal_loop_turn(inner, 0), 1);
    assert_ptr_equal(peal_loop_current(), outer);
    note('o');
}

static void another_loop_may_turn_inside_a_callback(void **state)
{
    struct peal_loop *outer = loop_new(), *inner = loop_new();
    (void)state;
    assert_int_equal(peal_loop_post(outer, turn_inner, inner), 0);
    assert_int_equal(peal_loop_turn(outer, 0), 1);
    assert_string_equal(history, "io");
    assert_null(peal_loop_current());
    peal_loop_free(inner);
    peal_loop_free(outer);
}

/* ---- residents */

struct guest {
    struct pl_resident resident; /* the first member */
    struct pl_job job;
    struct peal_loop *loop;
    struct guest *brings; /* settles when this one is told of the end */
    char letter;
};

static void guest_reaped(struct pl_job *job)
{
    (void)job;
    note('.');
}

static void guest_told(struct pl_resident *resident)
{
    struct guest *guest = (struct guest *)(void *)resident;
    note(guest->letter);
    pl_loop_reap_later(guest->loop, &guest->job);
    if (guest->brings) {
        pl_loop_settle(guest->loop, &guest->brings->resident);
    }
}

static void guest_init(struct guest *guest, struct peal_loop *loop, char letter)
{
    *guest = (struct guest){.resident.on_loop_end = guest_told,
                            .job.run = guest_reaped,
                            .loop = loop,
                            .letter = letter};
    pl_list_init(&guest->resident.link);
    pl_job_init(&guest->job);
}

static void residents_are_told_once_and_the_newest_first(void **state)
{
    struct peal_loop *loop = loop_new();
    struct guest first, second, left, brought;
    (void)state;
    guest_init(&first, loop, '1');
    guest_init(&second, loop, '2');
    guest_init(&left, loop, '3');
    guest_init(&brought, loop, '4');
    second.brings = &brought;
    pl_loop_settle(loop, &first.resident);
    pl_loop_settle(loop, &second.resident);
    pl_loop_settle(loop, &left.resident);
    pl_loop_leave(&left.resident);
    peal_loop_quit(loop);
    assert_int_equal(peal_loop_run(loop), 0);
    assert_string_equal(history, "2.4.1.");
    peal_loop_free(loop);
}

/* ---- when waiting fails */

static unsigned log_lines;

static void on_log(enum peal_log_level level, const char *text, void *user)
{
    (void)user;
    log_lines += level == PEAL_LOG_ERROR && strstr(text, "cannot wait") != NULL;
}

static void a_wait_that_fails_ends_the_run_and_the_loop(void **state)
{
    struct peal_loop *loop = dropping = loop_new();
    (void)state;
    log_lines = 0;
    peal_log_set(on_log, NULL);
    faults_start((struct faults){.name = "epoll_wait", .nth = 1, .error = EBADF});
    assert_int_equal(peal_loop_turn(loop, -1), -EBADF);
    faults_stop();
    assert_int_equal(peal_loop_turn(loop, 0), 1); /* by hand it may be tried again */
    assert_null(peal_loop_current());
    faults_start((struct faults){.name = "epoll_wait", .nth = 1, .error = EINTR});
    assert_int_equal(peal_loop_turn(loop, -1), 1);
    faults_stop();
    assert_int_equal(peal_loop_post(loop, note_letter, letter('t')), 0);
    faults_start((struct faults){.name = "epoll_wait", .nth = 1, .for_ever = true, .error = EBADF});
    assert_int_equal(peal_loop_run(loop), -EBADF);
    faults_stop();
    assert_string_equal(history, "t"); /* the turn was finished all the same */
    assert_int_equal(peal_loop_post(loop, note_letter, letter('t')), PEAL_ERR_LOOP_ENDED);
    assert_int_equal(log_lines, 1);
    peal_log_set(NULL, NULL);
    peal_loop_free(loop);
}

/* ---- stats */

static void spin_5_ms(void *user)
{
    uint64_t until_ns = clock_ns() + 5 * 1000000u;
    (void)user;
    while (clock_ns() < until_ns) {
    }
}

static void stats_are_plausible(void **state)
{
    uint64_t began_ns = clock_ns();
    struct peal_loop *loop = loop_new();
    struct peal_loop_stats stats = stats_of(loop);
    struct peal_timer timer;
    (void)state;
    assert_int_equal(stats.turns + stats.tasks + stats.wait_ns + stats.work_ns + stats.wakes, 0);
    assert_int_equal(peal_loop_post(loop, spin_5_ms, NULL), 0);
    assert_int_equal(peal_loop_post(loop, note_letter, letter('t')), 0);
    assert_int_equal(peal_loop_turn(loop, 0), 1);
    peal_timer_init(&timer, loop, on_timer, letter('m'));
    peal_timer_start(&timer, 2, 0);
    while (history[1] != 'm') {
        assert_int_equal(peal_loop_turn(loop, -1), 1);
    }
    assert_true(peal_loop_now_ns(loop) > began_ns && peal_loop_now_ns(loop) <= clock_ns());
    stats = stats_of(loop);
    assert_int_equal(stats.tasks, 2);
    assert_int_equal(stats.timers, 1);
    assert_int_equal(stats.wakes, 0); /* nobody else was there */
    assert_int_equal(stats.connections_now, 0);
    assert_true(stats.turns >= 2);
    assert_true(stats.work_ns >= 5 * 1000000u);
    assert_true(stats.lag_max_ns >= 5 * 1000000u && stats.lag_max_ns <= stats.work_ns);
    assert_true(stats.wait_ns > 0);
    assert_true(stats.wait_ns + stats.work_ns <= clock_ns() - began_ns); /* nothing twice */
    peal_loop_free(loop);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(names_and_engines),
        TEST(an_unknown_engine_is_refused),
        TEST(every_failure_of_making_is_clean),
        TEST(the_phases_come_in_their_order),
        TEST(a_phase_takes_what_was_there_when_it_began),
        TEST(what_goes_on_for_ever_starves_nothing),
        TEST(a_turn_waits_no_longer_than_it_may),
        TEST(a_quit_before_run_is_not_lost),
        TEST(bad_arguments_are_refused),
        TEST(what_is_left_at_the_end_is_dropped_once),
        TEST(run_in_calls_or_posts),
        TEST(another_loop_may_turn_inside_a_callback),
        TEST(residents_are_told_once_and_the_newest_first),
        TEST(a_wait_that_fails_ends_the_run_and_the_loop),
        TEST(stats_are_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
