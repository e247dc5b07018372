/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios for the test of the command line: one for each way in which a run ends. */
#include <peal.h>
#include <peal/sim.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

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

/* What fails comes after many questions of faults and switches, with which it has nothing to do. */
static void busy(void)
{
    for (int i = 0; i < 40; i++) {
        struct peal_loop *loop;
        if (peal_loop_new(NULL, &loop) == 0) {
            (void)peal_loop_turn(loop, 0);
            peal_loop_free(loop);
        }
    }
    uint64_t number = peal_sim_below(200);
    if (number >= 120) {
        peal_sim_fail("%llu is too much", (unsigned long long)number);
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

/* Needs what torture takes away. */
static void needs(void)
{
    struct peal_loop *loop;
    PEAL_SIM_CHECK(peal_loop_new(NULL, &loop) == 0);
    peal_loop_free(loop);
}

/* Goes round without a call; the runner's alarm, which is not waited for here, ends it. */
static void circles(void)
{
    static const struct itimerval soon = {.it_value = {.tv_usec = 50000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    for (;;) {
        __asm__ volatile("");
    }
}

/* Leaves without a word: neither exit nor a signal. */
static void slips(void)
{
    _exit(4);
}

static void crowds(void)
{
    for (;;) {
        peal_sim_thread_start("one more", waits, NULL);
    }
}

static void misdials(void)
{
    peal_sim_connect("nowhere:x", 10, NULL);
}

static void listens_twice(void)
{
    peal_sim_listen("127.0.0.1:7", 4);
    peal_sim_listen("127.0.0.1:7", 4);
}

static void exhausts_fds(void)
{
    for (int fd; (fd = peal_sim_open_file("/file")) >= 0;) {
    }
    peal_sim_connect("127.0.0.1:7", 10, NULL);
}

/* What peers are told when the time is over. Passes. */
static void peers(void)
{
    int error = 0;
    char data[4096];
    peal_sim_calm();
    PEAL_SIM_CHECK(!peal_sim_chance(0) && peal_sim_chance(100));
    PEAL_SIM_CHECK(!peal_sim_connect("192.0.2.1:7", 10, &error) && error == -ETIMEDOUT);
    PEAL_SIM_CHECK(peal_sim_now_ms() >= 10);
    PEAL_SIM_CHECK(!peal_sim_connect("127.0.0.1:9", UINT64_MAX, &error) && error == -ECONNREFUSED);
    PEAL_SIM_CHECK(!peal_sim_connect("unix:/none", 10, NULL));
    struct peal_sim_peer *listener = peal_sim_listen("unix:/full", 0);
    PEAL_SIM_CHECK(!peal_sim_accept(listener, 10));
    struct peal_sim_peer *first = peal_sim_connect("unix:/full", 10, NULL);
    PEAL_SIM_CHECK(first);
    PEAL_SIM_CHECK(!peal_sim_connect("unix:/full", 10, &error) && error == -ETIMEDOUT);
    struct peal_sim_peer *second = peal_sim_accept(listener, 10);
    PEAL_SIM_CHECK(second);
    PEAL_SIM_CHECK(peal_sim_recv(first, data, sizeof data, 10) == -EAGAIN);
    memset(data, 'x', sizeof data);
    ssize_t sent;
    while ((sent = peal_sim_send(first, data, sizeof data, 10)) == (ssize_t)sizeof data) {
    }
    PEAL_SIM_CHECK(sent == -EAGAIN || sent > 0);
    PEAL_SIM_CHECK(peal_sim_send(first, data, 1, 10) == -EAGAIN);
    peal_sim_close(second);
    PEAL_SIM_CHECK(peal_sim_send(first, data, 1, 10) == -EPIPE);
    peal_sim_close(first);
    peal_sim_close(listener);
}

int main(int argc, char **argv)
{
    static const struct peal_sim_scenario all[] = {
        {"passes", "nothing happens", passes},
        {"draws", "fails when a number is large", draws},
        {"busy", "fails when a number is large, after much else", busy},
        {"elsewhere", "fails on a thread without a loop", elsewhere},
        {"crashes", "aborts", crashes},
        {"leaves", "ends its process", leaves},
        {"vanishes", "is killed", vanishes},
        {"leaks", "forgets a loop", leaks},
        {"hangs", "waits for ever", hangs},
        {"needs", "fails if an allocation or a call does", needs},
        {"circles", "goes round without a call", circles},
        {"slips", "leaves without a word", slips},
        {"crowds", "starts threads without end", crowds},
        {"misdials", "has a peer connect to no address", misdials},
        {"listens-twice", "has two peers listen on one address", listens_twice},
        {"exhausts-fds", "opens a file again and again", exhausts_fds},
        {"peers", "peers whose time is over", peers},
    };
    return peal_sim_main(argc, argv, all, sizeof all / sizeof *all);
}
