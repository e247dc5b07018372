/* SPDX-License-Identifier: BSD-2-Clause */
/* The chat room on the real system: chat [ADDRESS]. Try it with two of `nc 127.0.0.1 2017`. */
#include "chat.h"

#include <signal.h>
#include <stdio.h>

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    (void)signal;
    (void)number;
    chat_stop(user);
}

static int serve(struct peal_loop *loop, struct chat *chat, const char *address)
{
    struct peal_signal *interrupt = NULL, *terminate = NULL;
    const char *why = "no signals";
    int result = peal_signal_open(loop, SIGINT, on_signal, chat, &interrupt);
    result = result < 0 ? result : peal_signal_open(loop, SIGTERM, on_signal, chat, &terminate);
    result = result < 0 ? result : chat_start(chat, loop, address, &why);
    if (result < 0) {
        fprintf(stderr, "chat: %s: %s\n", address, why);
    } else {
        result = peal_loop_run(loop);
    }
    peal_signal_close(terminate);
    peal_signal_close(interrupt);
    return result;
}

int main(int argc, char **argv)
{
    struct peal_loop *loop;
    struct chat chat = {0};
    if (peal_loop_new(NULL, &loop) < 0) {
        return 1;
    }
    int result = serve(loop, &chat, argc > 1 ? argv[1] : "127.0.0.1:2017");
    peal_loop_free(loop);
    chat_deinit(&chat);
    return result < 0;
}
