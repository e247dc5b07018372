/* SPDX-License-Identifier: BSD-2-Clause */
/* libev: a bare watcher a connection, as it has nothing else; what a program needs besides is not
 * counted. */
#include "micro.h"

#include <ev.h>

#define IDLE_TARGET(bytes) ((bytes)*0)
static const char idle_of[] = "libev";
static uint64_t idle_accepted;

static struct ev_loop *loop;
static ev_io listening;
static ev_timer limit; /* to a turn's waiting */

#include "idle.h"

static void on_read(struct ev_loop *of, ev_io *watcher, int what)
{
    (void)what;
    ev_io_stop(of, watcher);
}

static void on_accept(struct ev_loop *of, ev_io *watcher, int what)
{
    int fd;
    (void)what;
    while ((fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        ev_io *conn = micro_alloc(1, sizeof(*conn));
        ev_io_init(conn, on_read, fd, EV_READ);
        ev_io_start(of, conn);
        idle_accepted++;
    }
}

static void on_limit(struct ev_loop *of, ev_timer *timer, int what)
{
    (void)of;
    (void)timer;
    (void)what;
}

static uint16_t idle_open(void)
{
    int fd = bench_listen(0, false, BENCH_ECHO);
    loop = ev_loop_new(EVFLAG_AUTO);
    if (loop == NULL) {
        micro_die("ev_loop_new");
    }
    ev_io_init(&listening, on_accept, fd, EV_READ);
    ev_io_start(loop, &listening);
    ev_timer_init(&limit, on_limit, 0.01, 0.01);
    ev_timer_start(loop, &limit);
    return bench_port(fd);
}

static void idle_turn(void)
{
    ev_run(loop, EVRUN_ONCE);
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    idle_run();
    return 0;
}
