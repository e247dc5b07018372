/* SPDX-License-Identifier: BSD-2-Clause */
/* Timers: once, periodic, moved, and cancelled by another one of the same batch.
 *
 * A timer is a field of the program's own structure, so nothing here allocates or can fail. */
#include <peal.h>

#include <stdio.h>

struct bells {
    struct peal_loop *loop;
    struct peal_timer quarter, hour, alarm;
    int quarters;
};

static void on_quarter(struct peal_timer *timer, void *user)
{
    struct bells *bells = user;
    bells->quarters++;
    printf("quarter %d\n", bells->quarters);
    if (bells->quarters == 2) {
        peal_timer_start(&bells->alarm, 20, 0); /* armed for much later: this moves it */
    }
    if (bells->quarters == 4) {
        peal_timer_cancel(timer); /* a periodic timer may cancel itself */
    }
}

static void on_alarm(struct peal_timer *timer, void *user)
{
    (void)timer;
    (void)user;
    printf("alarm\n");
}

static void on_hour(struct peal_timer *timer, void *user)
{
    struct bells *bells = user;
    (void)timer;
    printf("hour after %d quarters\n", bells->quarters);
    peal_loop_quit(bells->loop);
}

int main(void)
{
    struct bells bells = {0};
    if (peal_loop_new(NULL, &bells.loop) < 0) {
        return 1;
    }
    peal_timer_init(&bells.quarter, bells.loop, on_quarter, &bells);
    peal_timer_init(&bells.hour, bells.loop, on_hour, &bells);
    peal_timer_init(&bells.alarm, bells.loop, on_alarm, &bells);

    peal_timer_start(&bells.quarter, 50, 50); /* in 50 ms, then every 50 ms, without drift */
    peal_timer_start(&bells.hour, 230, 0);    /* once */
    peal_timer_start(&bells.alarm, 60 * 60 * 1000, 0);
    peal_loop_run(bells.loop);

    peal_timer_deinit(&bells.quarter);
    peal_timer_deinit(&bells.hour);
    peal_timer_deinit(&bells.alarm);
    peal_loop_free(bells.loop);
    return 0;
}
