/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios for the test of the command line: one for each way in which a run ends. */
#include <peal.h>
#include <peal/sim.h>

#include <signal.h>
#include <stdlib.h>

static void passes(void)
{
    (void)peal_sim_below(10);
}

static void draws(void)
{
    peal_sim_note("a note");
    while (peal_sim_below(8) > 0) {
        uint64_t number = peal_sim_below(200);
        if (number >= 120) {
            peal_sim_fail("%llu is too much", (unsigned long long)number);
        }
    }
}

static void look(void *user)
{
    struct peal_sim_peer *peer = peal_sim_connect("127.0.0.1:7", 1000, NULL);
    PEAL_SIM_CHECK(peer);
    peal_sim_sleep_ms(10);
    PEAL_SIM_CHECK(user == NULL);
}

/* The check that fails is not on the loop's thread. */
static void elsewhere(void)
{
    static const struct peal_conn_ops ops = {NULL};
    const struct peal_server_options options = {.ops = &ops};
    struct peal_loop *loop;
    struct peal_server *server;
    peal_sim_calm();
    if (peal_loop_new(&(struct peal_loop_options){.name = "bell"}, &loop) == 0 &&
        peal_server_new(loop, &options, &server) == 0 &&
        peal_server_listen(server, "127.0.0.1:7", NULL) == 0) {
        peal_sim_thread_start("looker", look, loop);
        (void)peal_loop_run(loop);
    }
}

static void crashes(void)
{
    abort();
}

static void leaves(void)
{
    exit(3);
}

static void vanishes(void)
{
    raise(SIGKILL);
}

static void leaks(void)
{
    struct peal_loop *loop;
    peal_sim_calm();
    PEAL_SIM_CHECK(peal_loop_new(NULL, &loop) == 0);
}

static void waits(void *user)
{
    (void)user;
    peal_sim_sleep_ms(UINT64_MAX);
}

static void hangs(void)
{
    peal_sim_thread_join(peal_sim_thread_start("sleeper", waits, NULL));
}

int main(int argc, char **argv)
{
    static const struct peal_sim_scenario all[] = {
        {"passes", "nothing happens", passes},
        {"draws", "fails when a number is large", draws},
        {"elsewhere", "fails on a thread without a loop", elsewhere},
        {"crashes", "aborts", crashes},
        {"leaves", "ends its process", leaves},
        {"vanishes", "is killed", vanishes},
        {"leaks", "forgets a loop", leaks},
        {"hangs", "waits for ever", hangs},
    };
    return peal_sim_main(argc, argv, all, sizeof all / sizeof *all);
}
