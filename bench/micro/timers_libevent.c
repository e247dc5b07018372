/* SPDX-License-Identifier: BSD-2-Clause */
/* libevent's timers: a heap. A moved one has event_add called again. Its common timeouts, queues of
 * timers of one length, are what its manual recommends where many timers are alike: they are used
 * for moved timers in a second run, under a title of its own. */
#include "micro.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#define TIMERS_TARGET(ns) ((ns)*0)
static const char *timers_of = "libevent";
static size_t timers_fired;

static struct event_base *base;
static struct event *timers;
static struct event *turn;
static const struct timeval *common; /* of a minute, in the second run */
static void (*inside)(void);
static bool use_common;

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    (void)user;
    timers_fired++;
}

static void on_turn(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    (void)user;
    inside();
}

static void check(const char *what, bool good)
{
    if (!good) {
        micro_die(what);
    }
}

static void timers_open(size_t count)
{
    static const struct timeval minute = {60, 0};
    struct event_config *config = event_config_new();
    check("event_config_new", config != NULL);
    check("flag", event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0);
    base = event_base_new_with_config(config);
    check("event_base_new", base != NULL);
    event_config_free(config);
    common = use_common ? event_base_init_common_timeout(base, &minute) : NULL;
    turn = event_new(base, -1, 0, on_turn, NULL);
    check("event_new", turn != NULL);
    timers = micro_alloc(count, sizeof(*timers));
    for (size_t i = 0; i < count; i++) {
        check("evtimer_assign", evtimer_assign(&timers[i], base, on_timer, NULL) == 0);
    }
}

static void timers_close(void)
{
    event_free(turn);
    event_base_free(base);
    free(timers);
}

static void timers_start(size_t i, uint32_t ms)
{
    struct timeval delay;
    delay.tv_sec = ms / 1000;
    delay.tv_usec = (suseconds_t)(ms % 1000) * 1000;
    check("evtimer_add", evtimer_add(&timers[i], &delay) == 0);
}

static void timers_move(size_t i, uint32_t ms)
{
    if (common == NULL) {
        timers_start(i, ms);
        return;
    }
    check("evtimer_add", evtimer_add(&timers[i], common) == 0);
}

static void timers_cancel(size_t i)
{
    check("evtimer_del", evtimer_del(&timers[i]) == 0);
}

static void timers_inside(void (*fn)(void))
{
    inside = fn;
    event_active(turn, EV_TIMEOUT, 0);
    check("event_base_loop", event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
}

#include "timers.h"

static void run_common(void)
{
    use_common = true;
    timers_of = "libevent, common timeouts";
    for (size_t i = 0; i < timers_sizes(); i++) {
        timers_count = timers_counts[i];
        timers_open(timers_count);
        timers_inside(timers_arm_all);
        timers_inside(timers_move_all);
        timers_emit("moved", timers_numbers[i], timers_batches(timers_move_some), 0);
        timers_close();
    }
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    timers_run();
    run_common();
    return 0;
}
