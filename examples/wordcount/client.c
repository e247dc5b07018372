/* SPDX-License-Identifier: BSD-2-Clause */
/* wordcount-client: counts the words of files, and sends the counts to one wordcount server, or to
 * several, among which a word's hash chooses. The wire is told in server.c.
 *
 * Model. Files are read one after the other, on the loop. Counts gather in a table; when its words
 * take --memory, or nothing is left to read, they are sent and the table is emptied. What is sent
 * is therefore partial: servers add it up.
 *
 *  1. Reading pauses while any server has not taken what it was sent, so that the table and the
 *     output have a bound each.
 *  2. All or nothing: our end of stream, by which our words begin to count, is sent when everything
 *     was read and sent. If a file cannot be read, a connection ends before that, or a signal
 *     comes, all connections are reset, and no server counts a word of ours.
 *  3. A word is what stands between white space: bytes, in whatever encoding. One of more than
 *     WORD_MAX_BYTES counts as several. */
#include "dial.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <peal/error.h>

#include "input.h"
#include "words.h"

enum { SEND_BYTES = 64 * 1024 };

static struct arg_texts files;
static uint64_t memory_bytes = 16 << 20;
static struct words words;
static uint64_t words_read;
static char open_word[WORD_MAX_BYTES]; /* the last of what was read may not have ended */
static size_t open_size;
static size_t file_index;
static int file_fd = -1;
static bool has_sent_all, has_failed;

static struct receiver {
    struct peal_conn *conn; /* NULL: not open */
    struct peal_buf lines;  /* to be sent next */
    bool is_behind;
} receivers[ARG_TEXTS_MAX];
static uint64_t receivers_count, receivers_open;

static void close_file(void)
{
    input_close();
    if (file_fd > STDIN_FILENO) {
        close(file_fd);
    }
    file_fd = -1;
}

static void give_up(void)
{
    if (has_failed) {
        return;
    }
    has_failed = true;
    close_file();
    for (uint64_t i = 0; i < receivers_count; i++) {
        if (receivers[i].conn != NULL) {
            peal_conn_abort(receivers[i].conn);
        }
    }
}

static void give_up_for(const char *what, int error)
{
    fprintf(stderr, "wordcount-client: %s: %s: none of the words count\n", what,
            peal_strerror(error));
    give_up();
}

/* ---- sending */

static void send_lines(struct receiver *receiver)
{
    ssize_t n = has_failed ? 0
                           : peal_conn_send(receiver->conn, peal_buf_data(&receiver->lines),
                                            peal_buf_size(&receiver->lines));
    if (n < 0) {
        give_up_for("sending", (int)n);
    }
    peal_buf_clear(&receiver->lines);
}

static void send_word(const struct word *word, void *user)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    (void)user;
    for (size_t i = 0; i < word->size; i++) {
        hash = (hash ^ (unsigned char)word->text[i]) * 1099511628211u;
    }
    struct receiver *receiver = &receivers[hash % receivers_count];
    if (peal_buf_append(&receiver->lines, word->text, word->size) < 0 ||
        peal_buf_printf(&receiver->lines, "\t%" PRIu64 "\r\n", word->count) < 0) {
        give_up_for("sending", -ENOMEM);
    } else if (peal_buf_size(&receiver->lines) > SEND_BYTES) {
        send_lines(receiver);
    }
}

static void send_words(void)
{
    words_each(&words, send_word, NULL);
    words_clear(&words);
    for (uint64_t i = 0; i < receivers_count && !has_failed; i++) {
        send_lines(&receivers[i]);
        receivers[i].is_behind = peal_conn_output_bytes(receivers[i].conn) > SEND_BYTES;
        if (receivers[i].is_behind) {
            input_pause();
            peal_conn_want_drain(receivers[i].conn);
        }
    }
}

static void on_drain(struct peal_conn *conn, void *user)
{
    bool is_any_behind = false;
    (void)conn;
    receivers[((struct dialled *)user)->index].is_behind = false;
    for (uint64_t i = 0; i < receivers_count; i++) {
        is_any_behind = is_any_behind || receivers[i].is_behind;
    }
    if (!is_any_behind) {
        input_resume();
    }
}

/* ---- reading */

static void count_open_word(void)
{
    if (open_size > 0) {
        words_read++;
        if (words_add(&words, open_word, open_size, 1) < 0) {
            give_up_for("counting", -ENOMEM);
        }
    }
    open_size = 0;
}

static void on_text(const char *text, size_t size, void *user)
{
    (void)user;
    for (size_t i = 0; i < size && !has_failed; i++) {
        if (isspace((unsigned char)text[i])) {
            count_open_word();
            continue;
        }
        if (open_size == sizeof open_word) {
            count_open_word();
        }
        open_word[open_size++] = text[i];
    }
    if (words.bytes >= memory_bytes && !has_failed) {
        send_words();
    }
}

static void read_next(struct peal_loop *loop);

static void on_text_end(int error, void *user)
{
    if (error < 0) {
        give_up_for(files.items[file_index], error);
        return;
    }
    count_open_word();
    close_file();
    file_index++;
    read_next(user);
}

static void read_next(struct peal_loop *loop)
{
    static const struct input_ops input_ops = {.on_data = on_text, .on_end = on_text_end};
    if (has_failed) {
        return;
    }
    if (file_index == files.count) {
        send_words();
        has_sent_all = !has_failed;
        for (uint64_t i = 0; i < receivers_count && has_sent_all; i++) {
            peal_conn_shutdown(receivers[i].conn);
        }
        return;
    }
    const char *path = files.items[file_index];
    file_fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int error = file_fd < 0 ? -errno : input_open(loop, file_fd, &input_ops, loop);
    if (error < 0) {
        give_up_for(path, error);
    }
}

/* ---- the program */

static void on_open(struct peal_conn *conn, void *user)
{
    receivers[((struct dialled *)user)->index].conn = conn;
    if (has_failed) {
        peal_conn_abort(conn);
    } else if (++receivers_open == receivers_count) {
        read_next(peal_conn_loop(conn));
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    (void)input;
    fprintf(stderr, "wordcount-client: a server spoke, which it never does\n");
    peal_conn_abort(conn);
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)input;
    (void)user;
    if (has_sent_all) {
        peal_conn_close(conn); /* it has counted them */
    } else {
        fprintf(stderr, "wordcount-client: a server ended before all was sent\n");
        give_up();
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)record;
    receivers[((struct dialled *)user)->index].conn = NULL;
    if (!has_sent_all) {
        give_up();
    }
}

static const struct peal_conn_ops ops = {
    .on_open = on_open,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_close = on_close,
};

static int check(const struct arg_command *command, const struct arg_texts *operands)
{
    (void)command;
    files = *operands;
    if (files.count == 0) {
        files = (struct arg_texts){{"-"}, 1};
    }
    return -1;
}

static int start(struct dialing *dialing)
{
    receivers_count = dialing->conns;
    return 0;
}

static void stop(struct dialing *dialing)
{
    (void)dialing;
    if (!has_sent_all) {
        give_up();
    }
}

static int end(const struct dialing *dialing, bool all_well)
{
    for (uint64_t i = 0; i < receivers_count; i++) {
        peal_buf_deinit(&receivers[i].lines);
    }
    (void)dialing;
    words_clear(&words);
    close_file();
    if (!all_well || has_failed || !has_sent_all) {
        return 1;
    }
    fprintf(stderr, "%" PRIu64 " words counted\n", words_read);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"memory", "SIZE", "of words between two sendings (16M)", ARG_SIZE, .into = &memory_bytes,
         .min = 1, .max = 1 << 30},
        {0},
    };
    static const struct dialler dialler = {
        .name = "wordcount-client",
        .about = "Counts the words of files, and sends the counts to wordcount servers.",
        .notes = "Without a FILE, or where it is -, standard input is read.\n",
        .synopsis = "[FILE]…",
        .address = "127.0.0.1:2007",
        .ops = &ops,
        .limits = {.output_bytes_max = PEAL_UNLIMITED},
        .args = args,
        .several = true,
        .check = check,
        .start = start,
        .stop = stop,
        .end = end,
    };
    return dial(&dialler, argc, argv);
}
