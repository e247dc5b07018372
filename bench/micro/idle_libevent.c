/* SPDX-License-Identifier: BSD-2-Clause */
/* libevent: a bufferevent a connection, enabled for reading. */
#include "micro.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#define IDLE_TARGET(bytes) ((bytes)*0)
static const char idle_of[] = "libevent";
static uint64_t idle_accepted;

static struct event_base *base;

#include "idle.h"

static void check(const char *what, bool good)
{
    if (!good) {
        micro_die(what);
    }
}

static void on_read(struct bufferevent *stream, void *user)
{
    (void)stream;
    (void)user;
}

static void on_event(struct bufferevent *stream, short what, void *user)
{
    (void)what;
    (void)user;
    bufferevent_free(stream);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
                      int size, void *user)
{
    struct bufferevent *stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    (void)listener;
    (void)peer;
    (void)size;
    (void)user;
    check("bufferevent_socket_new", stream != NULL);
    bufferevent_setcb(stream, on_read, NULL, on_event, NULL);
    check("bufferevent_enable", bufferevent_enable(stream, EV_READ) == 0);
    idle_accepted++;
}

static uint16_t idle_open(void)
{
    int fd = bench_listen(0, false, BENCH_ECHO);
    struct event_config *config = event_config_new();
    check("event_config_new", config != NULL);
    check("flag", event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0);
    base = event_base_new_with_config(config);
    check("event_base_new", base != NULL);
    event_config_free(config);
    check("evconnlistener_new",
          evconnlistener_new(base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE, 0, fd) != NULL);
    return bench_port(fd);
}

static void idle_turn(void)
{
    static const struct timeval limit = {0, 10000};
    check("event_base_loopexit", event_base_loopexit(base, &limit) == 0);
    check("event_base_loop", event_base_loop(base, 0) >= 0);
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    idle_run();
    return 0;
}
