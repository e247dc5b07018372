/* SPDX-License-Identifier: BSD-2-Clause */
/* hub-client: publishes, or prints what is published.
 *
 *     hub-client sub TOPIC...       prints TOPIC: BODY for each publication
 *     hub-client pub TOPIC BODY     publishes, and ends when the hub has taken it
 *     hub-client pub TOPIC -        the same with each line of standard input
 *
 * The end of our side comes behind what was published, and the program ends with the hub's end, so
 * an exit code of 0 says that the hub has read all. */
#include "dial.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <peal/error.h>

#include "input.h"

static struct arg_texts words;
static bool is_publisher;
static struct peal_conn *publisher; /* while it is open */

static void publish(const char *line, size_t size, void *user)
{
    struct peal_buf text;
    (void)user;
    peal_buf_init(&text);
    if (memchr(line, '\r', size) != NULL ||
        peal_buf_printf(&text, "pub %s\r\n%.*s\r\n", words.items[1], (int)size, line) < 0) {
        fprintf(stderr, "hub-client: a line could not be published\n");
    } else {
        peal_conn_send(publisher, peal_buf_data(&text), peal_buf_size(&text));
    }
    peal_buf_deinit(&text);
    if (peal_conn_output_bytes(publisher) > 256 * 1024) {
        input_pause();
        peal_conn_want_drain(publisher);
    }
}

static void publish_no_more(int error, void *user)
{
    (void)user;
    if (error < 0) {
        fprintf(stderr, "hub-client: standard input: %s\n", peal_strerror(error));
    }
    peal_conn_shutdown(publisher);
}

static const struct input_ops input_ops = {.on_line = publish, .on_end = publish_no_more};

static void on_open(struct peal_conn *conn, void *user)
{
    char line[512];
    (void)user;
    if (!is_publisher) {
        for (size_t i = 1; i < words.count; i++) {
            int size = snprintf(line, sizeof line, "sub %s\r\n", words.items[i]);
            peal_conn_send(conn, line, (size_t)size);
        }
        return;
    }
    publisher = conn;
    if (strcmp(words.items[2], "-") != 0) {
        publish(words.items[2], strlen(words.items[2]), NULL);
        peal_conn_shutdown(conn);
    } else if (input_open(peal_conn_loop(conn), STDIN_FILENO, &input_ops, NULL) < 0) {
        fprintf(stderr, "hub-client: standard input cannot be read\n");
        peal_conn_abort(conn);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)conn;
    (void)user;
    for (;;) {
        const char *text = peal_buf_data(input);
        ssize_t name_end = peal_buf_find_crlf(input);
        ssize_t end = name_end < 0 ? -1 : peal_buf_find_crlf_from(input, (size_t)name_end + 2);
        if (end < 0) {
            break;
        }
        if (name_end > 4) {
            printf("%.*s: %.*s\n", (int)name_end - 4, text + 4, (int)(end - name_end - 2),
                   text + name_end + 2);
        }
        peal_buf_consume(input, (size_t)end + 2);
    }
    fflush(stdout);
}

static void on_drain(struct peal_conn *conn, void *user)
{
    (void)conn;
    (void)user;
    input_resume();
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)record;
    (void)user;
    input_close();
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close};

static int check(const struct arg_command *command, const struct arg_texts *operands)
{
    words = *operands;
    is_publisher = words.count > 0 && strcmp(words.items[0], "pub") == 0;
    if (words.count == 0 || (!is_publisher && strcmp(words.items[0], "sub") != 0)) {
        return args_mistake(command, "say sub TOPIC..., or pub TOPIC BODY");
    }
    if (is_publisher ? words.count != 3 : words.count < 2) {
        return args_mistake(command, "%s",
                            is_publisher ? "pub wants a topic and a body (or -)"
                                         : "sub wants a topic");
    }
    for (size_t i = 1; i < (is_publisher ? 2 : words.count); i++) {
        if (words.items[i][0] == '\0' || strlen(words.items[i]) > 255 ||
            words.items[i][strcspn(words.items[i], " \r\n")] != '\0') {
            return args_mistake(command, "\"%s\" is no topic: 1 to 255 bytes without a blank",
                                words.items[i]);
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    static const struct dialler dialler = {
        .name = "hub-client",
        .about = "Publishes to a hub, or prints what is published there.",
        .synopsis = "sub TOPIC… | pub TOPIC BODY | pub TOPIC -",
        .address = "127.0.0.1:3012",
        .ops = &ops,
        .check = check,
    };
    return dial(&dialler, argc, argv);
}
