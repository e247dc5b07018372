/* SPDX-License-Identifier: BSD-2-Clause */
/* Peal's connections with the default limits and an on_data, on both engines, each in a process of
 * its own. */
#include "micro.h"

#include <peal.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDLE_TARGET(bytes) (bytes)
static const char *idle_of;
static uint64_t idle_accepted;

static const char *engine;
static struct peal_loop *loop;

static void check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, peal_strerror(result));
        exit(1);
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
    idle_accepted++;
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)conn;
    (void)user;
    peal_buf_clear(input);
}

static uint16_t idle_open(void)
{
    static const struct peal_conn_ops ops = {.on_open = on_open, .on_data = on_data};
    struct peal_loop_options loop_options = {.engine = engine};
    struct peal_server_options options = {.ops = &ops, .backlog = 4096};
    struct peal_server *server;
    struct peal_addr address;
    check("peal_loop_new", peal_loop_new(&loop_options, &loop));
    if (strcmp(peal_loop_engine(loop), engine) != 0) {
        exit(0); /* the system has no io_uring, which the library has logged */
    }
    check("peal_server_new", peal_server_new(loop, &options, &server));
    check("peal_server_listen", peal_server_listen(server, "127.0.0.1:0", NULL));
    check("peal_server_address", peal_server_address(server, 0, &address));
    return peal_addr_port(&address);
}

static void idle_turn(void)
{
    check("peal_loop_turn", peal_loop_turn(loop, 10));
}

#include "idle.h"

static void run_with(const char *name, const char *title)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        engine = name;
        idle_of = title;
        idle_run();
        exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) {
        fprintf(stderr, "%s: not measured\n", title);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    run_with("epoll", "Peal epoll");
    run_with("io_uring", "Peal io_uring");
    return 0;
}
