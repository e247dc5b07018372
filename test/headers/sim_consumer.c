/* SPDX-License-Identifier: BSD-2-Clause */
/* A program outside of the tree that runs its server in the simulated system: if this does not
 * compile, link or pass, libpeal-sim is not usable as installed. */
#include <peal.h>
#include <peal/sim.h>

#include <string.h>

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
}

static void client(void *user)
{
    char bytes[5];
    struct peal_sim_peer *peer = peal_sim_connect("127.0.0.1:7", 1000, NULL);
    if (peer && peal_sim_send(peer, "x", 1, 1000) == 1 &&
        peal_sim_recv(peer, bytes, 1, 1000) == 1) {
        PEAL_SIM_CHECK(bytes[0] == 'x');
    }
    if (peer) {
        peal_sim_close(peer);
    }
    peal_sim_calm();
    peal_loop_quit(user);
}

static void echo(void)
{
    static const struct peal_conn_ops ops = {.on_data = on_data};
    const struct peal_server_options options = {.ops = &ops};
    struct peal_loop *loop;
    struct peal_server *server;
    if (peal_loop_new(NULL, &loop) < 0) {
        return;
    }
    if (peal_server_new(loop, &options, &server) == 0) {
        if (peal_server_listen(server, "127.0.0.1:7", NULL) == 0) {
            struct peal_sim_thread *thread = peal_sim_thread_start("client", client, loop);
            (void)peal_loop_run(loop);
            peal_sim_thread_join(thread);
        }
        peal_server_unref(server);
    }
    peal_loop_free(loop);
}

int main(int argc, char **argv)
{
    static const struct peal_sim_scenario all[] = {{"echo", "one byte comes back", echo}};
    return peal_sim_main(argc, argv, all, 1);
}
