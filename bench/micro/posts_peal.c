/* SPDX-License-Identifier: BSD-2-Clause */
/* Peal's posts, on both engines, which wake a sleeping loop each in their way. */
#include "posts.h"

#include <peal.h>

#define POSTS_TARGET(ns) (ns)
static const char *posts_of;

static struct peal_loop *loop;
static const char *engine;
static bool done;

static void check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, peal_strerror(result));
        exit(1);
    }
}

static void posts_open(void)
{
    struct peal_loop_options options = {.engine = engine};
    check("peal_loop_new", peal_loop_new(&options, &loop));
    if (strcmp(peal_loop_engine(loop), engine) != 0) {
        exit(0); /* the system has no io_uring, which the library has logged */
    }
}

static void posts_close(void)
{
    peal_loop_free(loop);
}

static void task(void *user)
{
    (void)user;
    done = posts_ran();
}

static void posts_one(void)
{
    check("peal_loop_post", peal_loop_post(loop, task, NULL));
}

static void posts_serve(void)
{
    done = false;
    while (!done) {
        check("peal_loop_turn", peal_loop_turn(loop, -1));
    }
}

#include "posts_run.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    engine = "epoll";
    posts_of = "Peal epoll";
    posts_run();
    engine = "io_uring";
    posts_of = "Peal io_uring";
    posts_run();
    return 0;
}
