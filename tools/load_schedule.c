/* SPDX-License-Identifier: BSD-2-Clause */
/* The schedule of a load with a rate: an open loop.
 *
 * Without a rate each message waits for the echo of the one before. A server that stalls then also
 * stalls the load, so the stall is measured once for each connection instead of once for each
 * message that would have come meanwhile: coordinated omission. With a rate, messages are due by
 * the clock, and each is timed from when it was due, whenever it could be sent.
 *
 *     round 0                       round 1
 *     conn 0 │ conn 1 │ … │ conn C-1 │ conn 0 │ …       message k of all is due at began + k / rate
 *
 * In each round every connection of the run has its turn once, in the order of their numbers, so
 * the rate is spread evenly over connections, and over time as well. A worker walks the turns of
 * its own connections; no worker needs to know of another.
 *
 * Rules:
 *  1. The time of a message is computed from its round, never from the time of another message or
 *     from when the worker woke: being late does not move the schedule.
 *  2. A connection is on the schedule from when it has opened (churn: from when it may begin); what
 *     would have been due before was never asked for. Once it is gone, or has failed to open, what
 *     would have been its turn counts as due and not sent.
 *  3. What is due waits until its connection may send: at most depth messages are under way on one.
 *     Nothing is dropped to catch up. When time is up, what is left is counted and told.
 *  4. due = messages + not_sent + unanswered, always.
 *
 * Timers of the loop tick in milliseconds, which is coarser than what is measured; so the worker
 * sleeps by a timerfd. Setting it anew makes it unreadable, so it is never read. When the next
 * message is due already it fires at once, which lets the loop take in echoes between two walks.
 */
#include "load.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const uint64_t second_ns = 1000000000;

static uint64_t turn_ns(const struct load_worker *worker, unsigned place, uint64_t round)
{
    const struct load_options *options = worker->options;
    uint64_t k = worker->number + (uint64_t)place * worker->step + round * options->conns;

    return worker->began_ns + k / options->rate * second_ns +
           k % options->rate * second_ns / options->rate;
}

uint64_t load_schedule_due_ns(const struct load_conn *load, uint64_t message)
{
    const struct load_worker *worker = load->worker;

    return turn_ns(worker, (unsigned)(load - worker->conns), load->first_round + message);
}

static void come_due(struct load_conn *load, struct load_counts *counts, uint64_t due_ns,
                     uint64_t now_ns)
{
    if (load->place == LOAD_NOT_YET) {
        return;
    }
    counts->due++;
    if (load->place == LOAD_GONE) {
        counts->not_sent++;
        return;
    }
    load->due++;
    uint64_t sent = load->sent;
    load_go(load);
    if (load->sent > sent && load->sent == load->due && now_ns - due_ns > counts->late_ns) {
        counts->late_ns = now_ns - due_ns; /* nothing was in its way but the load itself */
    }
}

/* Everything up to now; returns when the next is due. */
static uint64_t walk(struct load_worker *worker)
{
    uint64_t now_ns = load_now_ns();
    uint64_t due_ns;

    while ((due_ns = turn_ns(worker, worker->schedule.place, worker->schedule.round)) <= now_ns) {
        come_due(&worker->conns[worker->schedule.place], &worker->counts, due_ns, now_ns);
        worker->schedule.place++;
        if (worker->schedule.place == worker->conn_count) {
            worker->schedule.place = 0;
            worker->schedule.round++;
        }
    }
    return due_ns;
}

static void sleep_until(struct load_worker *worker, uint64_t due_ns)
{
    const struct itimerspec at = {.it_value.tv_sec = (time_t)(due_ns / second_ns),
                                  .it_value.tv_nsec = (long)(due_ns % second_ns)};

    timerfd_settime(worker->schedule.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void on_due(struct peal_watch *watch, uint32_t events, void *user)
{
    struct load_worker *worker = user;

    (void)watch;
    (void)events;
    sleep_until(worker, walk(worker));
}

int load_schedule_open(struct load_worker *worker)
{
    if (worker->options->rate == 0) {
        return 0;
    }
    worker->schedule.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (worker->schedule.fd < 0) {
        return -errno;
    }
    sleep_until(worker, worker->began_ns);
    int error = peal_watch_open(worker->loop, worker->schedule.fd, PEAL_READABLE, on_due, worker,
                                &worker->schedule.watch);
    if (error < 0) {
        close(worker->schedule.fd);
    }
    return error;
}

void load_schedule_join(struct load_conn *load)
{
    struct load_worker *worker = load->worker;

    walk(worker); /* past what was due before */
    load->place = LOAD_ON_SCHEDULE;
    load->first_round =
        worker->schedule.round + (load - worker->conns < worker->schedule.place ? 1 : 0);
}

void load_schedule_leave(struct load_conn *load)
{
    struct load_worker *worker = load->worker;

    if (worker->options->rate == 0 || worker->stopping) {
        return;
    }
    worker->counts.not_sent += load->due - load->sent;
    worker->counts.unanswered += load->sent - load->echoed;
    load->due = load->sent = load->echoed = 0;
    load->place = LOAD_GONE;
}

uint64_t load_schedule_behind_ns(const struct load_worker *worker, uint64_t now_ns)
{
    uint64_t oldest_ns = now_ns;

    for (unsigned i = 0; worker->options->rate > 0 && i < worker->started; i++) {
        const struct load_conn *load = &worker->conns[i];
        if (load->due > load->echoed) {
            uint64_t due_ns = load_schedule_due_ns(load, load->echoed);
            oldest_ns = due_ns < oldest_ns ? due_ns : oldest_ns;
        }
    }
    return now_ns - oldest_ns;
}

void load_schedule_close(struct load_worker *worker)
{
    if (worker->schedule.watch == NULL) {
        return;
    }
    worker->schedule.watch = peal_watch_close(worker->schedule.watch);
    close(worker->schedule.fd);
    walk(worker);
    worker->counts.behind_ns = load_schedule_behind_ns(worker, load_now_ns());
    for (unsigned i = 0; i < worker->started; i++) {
        const struct load_conn *load = &worker->conns[i];
        worker->counts.not_sent += load->due - load->sent;
        worker->counts.unanswered += load->sent - load->echoed;
    }
}
