/* SPDX-License-Identifier: BSD-2-Clause */
/* The chat room in the simulated system. Visitors come, speak, listen and leave as the seed says;
 * when the last has left, nobody may be counted as a member, and the room still works for two more.
 *
 * The room's own code is the same as on the real system, and knows nothing of this. What is checked
 * is what its users could see, or a monitor. */
#include "chat.h"

#include <peal/sim.h>

#include <stdio.h>
#include <string.h>

#define ADDRESS "127.0.0.1:2017"
enum { VISITORS_MAX = 4, PATIENCE_MS = 1000, REST_MS = 20 * 60 * 1000 };

static struct peal_loop *loop;
static struct chat room;
static struct peal_sim_peer *visitors[VISITORS_MAX];

/* ---- what visitors do. Whatever it comes to: the network may fail, too. */

static struct peal_sim_peer *come(const char *name)
{
    struct peal_sim_peer *peer = peal_sim_connect(ADDRESS, PATIENCE_MS, NULL);
    if (peer) {
        (void)peal_sim_send(peer, name, strlen(name), PATIENCE_MS);
    }
    return peer;
}

static void leave(struct peal_sim_peer *peer)
{
    if (peal_sim_chance(20)) {
        peal_sim_reset(peer);
    } else {
        peal_sim_close(peer);
    }
}

static void act(void)
{
    char heard[256];
    static const char *const names[VISITORS_MAX] = {"ann\n", "bob\n", "cleo\n", "dan\n"};
    uint64_t who = peal_sim_below(VISITORS_MAX);
    if (!visitors[who]) {
        visitors[who] = come(names[who]);
        return;
    }
    switch (peal_sim_below(3)) {
    case 0:
        leave(visitors[who]);
        visitors[who] = NULL;
        break;
    case 1:
        (void)peal_sim_send(visitors[who], "hello\n", 6, PATIENCE_MS);
        break;
    default:
        (void)peal_sim_recv(visitors[who], heard, sizeof heard, PATIENCE_MS);
        break;
    }
}

/* Whether there is one more is drawn in the step, so that a step can be left out whole. */
static bool act_or_end(void)
{
    peal_sim_begin_step("act");
    bool goes_on = peal_sim_below(16) > 0;
    if (goes_on) {
        act();
        if (!peal_sim_chance(10)) {
            peal_sim_sleep_ms(1 + peal_sim_below(100));
        }
    }
    peal_sim_end_step();
    return goes_on;
}

/* ---- what must be so in the end */

static bool hears(struct peal_sim_peer *peer, const char *text)
{
    char heard[1024] = "";
    size_t size = 0;
    while (!strstr(heard, text)) {
        ssize_t more = peal_sim_recv(peer, heard + size, sizeof heard - 1 - size, PATIENCE_MS);
        if (more <= 0) {
            return false;
        }
        size += (size_t)more;
        heard[size] = '\0';
    }
    return true;
}

static void check_that_it_works(void)
{
    struct peal_sim_peer *eve = come("eve\n");
    PEAL_SIM_CHECK(eve && hears(eve, "* eve has come: 1 here\n"));
    struct peal_sim_peer *fay = come("fay\n");
    PEAL_SIM_CHECK(fay && hears(eve, "* fay has come: 2 here\n"));
    PEAL_SIM_CHECK(peal_sim_send(eve, "hello\n", 6, PATIENCE_MS) == 6);
    PEAL_SIM_CHECK(hears(fay, "eve: hello\n"));
    peal_sim_close(eve);
    peal_sim_close(fay);
}

static void check_that_it_is_empty(void *user)
{
    size_t members = chat_members(&room);
    (void)user;
    if (members > 0) {
        peal_sim_fail("everybody has left, and %zu are still members", members);
    }
}

static void stop(void *user)
{
    chat_stop(user);
}

/* The peers are played by a thread of their own; what concerns the room is posted to its loop. */
static void play(void *user)
{
    (void)user;
    while (act_or_end()) {
    }
    for (unsigned i = 0; i < VISITORS_MAX; i++) {
        if (visitors[i]) {
            peal_sim_close(visitors[i]);
            peal_sim_sleep_ms(100);
        }
    }
    /* From here on nothing fails. The longest limit of time is that of silence, ten minutes. */
    peal_sim_calm();
    peal_sim_sleep_ms(REST_MS);
    PEAL_SIM_CHECK(peal_loop_post(loop, check_that_it_is_empty, NULL) == 0);
    peal_sim_sleep_ms(PATIENCE_MS);
    check_that_it_works();
    PEAL_SIM_CHECK(peal_loop_post(loop, stop, &room) == 0);
}

static void visits(void)
{
    const char *why;
    if (peal_loop_new(NULL, &loop) < 0) {
        return; /* the seed has it that there is no memory, or no fd */
    }
    if (chat_start(&room, loop, ADDRESS, &why) == 0) {
        struct peal_sim_thread *peers = peal_sim_thread_start("peers", play, NULL);
        (void)peal_loop_run(loop);
        peal_sim_thread_join(peers);
    }
    peal_loop_free(loop);
    chat_deinit(&room);
}

int main(int argc, char **argv)
{
    static const struct peal_sim_scenario all[] = {
        {"visits", "visitors come and leave, until nobody is left", visits},
    };
    return peal_sim_main(argc, argv, all, sizeof all / sizeof *all);
}
