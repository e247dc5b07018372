/* SPDX-License-Identifier: BSD-2-Clause */
/* chat-client: lines that are typed are said in a chat, and what is said there is printed.
 *
 * At the end of the input our side is ended, and the program waits for the server's end, which
 * comes when all that was under way has arrived. Lines are read no faster than the server takes
 * them.
 *
 * With --messages N it measures instead: one of --conns connections says N messages, each when the
 * one before it has come back, and all count what they hear. */
#include "dial.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <peal/codec.h>
#include <peal/error.h>

#include "input.h"

static const struct peal_codec codec = {.prefix = PEAL_PREFIX_U32BE, .size_max = 64 * 1024};

/* ---- talking */

static struct peal_conn *talker; /* the one connection, while it is open */

static void say(const char *line, size_t size, void *user)
{
    (void)user;
    peal_conn_send_message(talker, &codec, line, size);
    if (peal_conn_output_bytes(talker) > 256 * 1024) {
        input_pause();
        peal_conn_want_drain(talker);
    }
}

static void say_no_more(int error, void *user)
{
    (void)user;
    if (error < 0) {
        fprintf(stderr, "chat-client: standard input: %s\n", peal_strerror(error));
    }
    peal_conn_shutdown(talker);
}

static const struct input_ops input_ops = {.on_line = say, .on_end = say_no_more};

static void talk_open(struct peal_conn *conn, void *user)
{
    (void)user;
    talker = conn;
    if (input_open(peal_conn_loop(conn), STDIN_FILENO, &input_ops, NULL) < 0) {
        fprintf(stderr, "chat-client: standard input cannot be read\n");
        peal_conn_abort(conn);
    }
}

static void talk_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const void *message;
    size_t size;
    (void)user;
    while (peal_conn_next_message(conn, &codec, input, &message, &size) > 0) {
        fwrite(message, 1, size, stdout);
        putchar('\n');
    }
    fflush(stdout);
}

static void talk_drain(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
    input_resume();
}

static void talk_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)record;
    (void)user;
    input_close();
}

static const struct peal_conn_ops talk_ops = {
    .on_open = talk_open, .on_data = talk_data, .on_drain = talk_drain, .on_close = talk_close};

/* ---- measuring */

static uint64_t messages, message_bytes = 100;
static char text[64 * 1024];
static atomic_uint_fast64_t open_now, heard_all;
static struct peal_loop *_Atomic speakers_loop; /* of connection 0 */
static struct peal_conn *speaker;               /* while it is open; its loop's, as the next two */
static uint64_t said, began_ns;
static uint64_t ended_ns;

static void speak(struct peal_conn *conn)
{
    said++;
    peal_conn_send_message(conn, &codec, text, message_bytes);
}

static void begin(void *user)
{
    (void)user;
    if (speaker != NULL) {
        began_ns = peal_loop_now_ns(peal_conn_loop(speaker));
        speak(speaker);
    }
}

static void load_open(struct peal_conn *conn, void *user)
{
    struct dialled *one = user;
    if (one->index == 0) {
        speaker = conn;
        atomic_store(&speakers_loop, peal_conn_loop(conn));
    }
    peal_conn_send_message(conn, &codec, "", 0);
}

/* mine is 1 + what was heard, once its own word has come back: then it is in the server's list. */
static void hear_message(struct peal_conn *conn, struct dialled *one, size_t size)
{
    uintptr_t heard = (uintptr_t)one->mine;
    if (size == 0) {
        if (heard == 0) {
            one->mine = (void *)(uintptr_t)1;
            if (atomic_fetch_add(&open_now, 1) + 1 == one->dialing->conns) {
                if (peal_loop_post(atomic_load(&speakers_loop), begin, NULL) < 0) {
                    dial_stop(one->dialing);
                }
            }
        }
        return;
    }
    one->mine = (void *)++heard;
    if (one->index == 0 && said < messages) {
        speak(conn);
    }
    if (heard == messages + 1 && atomic_fetch_add(&heard_all, 1) + 1 == one->dialing->conns) {
        ended_ns = peal_loop_now_ns(peal_conn_loop(conn));
        dial_stop(one->dialing);
    }
}

static void load_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const void *message;
    size_t size;
    while (peal_conn_next_message(conn, &codec, input, &message, &size) > 0) {
        hear_message(conn, user, size);
    }
}

static void load_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)record;
    if (((struct dialled *)user)->index == 0) {
        speaker = NULL;
    }
}

static const struct peal_conn_ops load_ops = {
    .on_open = load_open, .on_data = load_data, .on_close = load_close};

/* ---- both */

static struct peal_conn_ops ops;

static int check(const struct arg_command *command, const struct arg_texts *operands)
{
    (void)command;
    (void)operands;
    ops = messages > 0 ? load_ops : talk_ops;
    memset(text, 'x', sizeof text);
    return -1;
}

static int start(struct dialing *dialing)
{
    if (messages == 0 && dialing->conns > 1) {
        fprintf(stderr, "chat-client: more than one connection is for --messages\n");
        return -1;
    }
    return 0;
}

static int end(const struct dialing *dialing, bool all_well)
{
    (void)all_well;
    if (messages == 0) {
        return 0;
    }
    if (atomic_load(&heard_all) < dialing->conns) {
        fprintf(stderr, "chat-client: only %" PRIu64 " of %" PRIu64 " connections heard all\n",
                (uint64_t)atomic_load(&heard_all), dialing->conns);
        return 1;
    }
    double seconds = (double)(ended_ns - began_ns) / 1e9;
    uint64_t delivered = messages * dialing->conns;
    printf("%" PRIu64 " messages of %" PRIu64 " bytes to %" PRIu64
           " connections: %.3f s, %.0f deliveries/s\n",
           messages, message_bytes, dialing->conns, seconds,
           (double)delivered / (seconds > 0 ? seconds : 1e-9));
    return 0;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"messages", "N", "measure how fast so many reach all connections", ARG_COUNT,
         .into = &messages, .min = 1, .max = UINT32_MAX},
        {"size", "SIZE", "bytes of each of those (100)", ARG_SIZE, .into = &message_bytes, .min = 1,
         .max = sizeof text},
        {0},
    };
    static const struct dialler dialler = {
        .name = "chat-client",
        .about = "Says in a chat what is typed, and prints what is said there.",
        .address = "127.0.0.1:2008",
        .ops = &ops,
        .args = args,
        .many = true,
        .check = check,
        .start = start,
        .end = end,
    };
    return dial(&dialler, argc, argv);
}
