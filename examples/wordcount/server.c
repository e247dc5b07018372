/* SPDX-License-Identifier: BSD-2-Clause */
/* wordcount: adds up what counting clients send, and ends when the last of them has finished.
 *
 *     word TAB count CR LF    so often; a word may come again, and by several senders
 *
 * Model. A sender's counts are its own, in a table of its connection, until its end of stream. Then
 * they are added to those of all, under a mutex, and its connection is closed: to the sender our
 * end of stream says that its words were counted. When --senders of them have finished, the server
 * stops, and writes the words with their counts, the most frequent first.
 *
 *  1. A sender counts wholly or not at all. One that broke off, or sent a line that is none, is
 *     reset and has added nothing: it can be started again.
 *  2. Nobody is counted after the last: who comes too late is reset.
 *  3. A result of fewer senders (a signal came first) is written, said to be that, and the exit
 *     code is 1.
 *
 * The table of words is as large as what was sent: this is a program for senders that one knows. */
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

static uint64_t senders = 1;
static const char *output_path;
static const struct serving *the_serving;

static struct {
    pthread_mutex_t mutex;
    struct words words;
    uint64_t finished;
    bool is_short; /* for want of memory */
} total = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- a sender */

static void on_open(struct peal_conn *conn, void *user)
{
    struct words *words = calloc(1, sizeof *words);
    (void)user;
    if (words == NULL) {
        peal_conn_abort(conn);
    }
    peal_conn_set_user(conn, words);
}

/* False: it is none. */
static bool parse_count(const char *text, size_t size, uint64_t *ret_count)
{
    char digits[COUNT_MAX_BYTES + 1], *end;
    if (size == 0 || size > COUNT_MAX_BYTES || text[0] < '0' || text[0] > '9') {
        return false;
    }
    memcpy(digits, text, size);
    digits[size] = '\0';
    errno = 0;
    *ret_count = strtoull(digits, &end, 10);
    return errno == 0 && end == digits + size;
}

/* NULL, or what is wrong with it. */
static const char *take_line(struct words *words, const char *line, size_t size)
{
    const char *tab = memchr(line, '\t', size);
    uint64_t count;
    if (tab == NULL || tab == line || tab - line > WORD_MAX_BYTES ||
        !parse_count(tab + 1, size - (size_t)(tab + 1 - line), &count)) {
        return "sent a line that is not a word, a tab and a count";
    }
    return words_add(words, line, (size_t)(tab - line), count) < 0 ? "sent more than fits in memory"
                                                                   : NULL;
}

static void refuse(struct peal_conn *conn, const char *what)
{
    struct peal_addr address;
    char text[PEAL_ADDR_TEXT_MAX];
    peal_conn_peer(conn, &address);
    peal_addr_format(&address, text, sizeof text);
    fprintf(stderr, "wordcount: %s %s: none of its words count\n", text, what);
    peal_conn_abort(conn);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    const char *wrong = NULL;
    ssize_t size;
    while (wrong == NULL && (size = peal_buf_find_crlf(input)) >= 0) {
        wrong = take_line(user, peal_buf_data(input), (size_t)size);
        peal_buf_consume(input, (size_t)size + 2);
    }
    if (wrong == NULL && peal_buf_size(input) > LINE_MAX_BYTES + 1) {
        wrong = "sent a line that does not end";
    }
    if (wrong != NULL) {
        refuse(conn, wrong);
    }
}

static void add_to_total(const struct word *word, void *user)
{
    (void)user;
    if (words_add(&total.words, word->text, word->size, word->count) < 0) {
        total.is_short = true;
    }
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    if (peal_buf_size(input) > 0) {
        refuse(conn, "ended in the middle of a line");
        return;
    }
    pthread_mutex_lock(&total.mutex);
    uint64_t number = total.finished < senders ? ++total.finished : senders + 1;
    if (number <= senders) {
        words_each(user, add_to_total, NULL);
    }
    pthread_mutex_unlock(&total.mutex);
    if (number > senders) {
        refuse(conn, "came when all had finished");
        return;
    }
    peal_conn_close(conn);
    if (number == senders) {
        peal_server_stop(the_serving->server, the_serving->drain_ms);
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    (void)conn;
    (void)record;
    if (user != NULL) {
        words_clear(user);
        free(user);
    }
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_close = on_close};

/* ---- the result */

struct result {
    size_t count;
    const struct word **all;
};

static void append(const struct word *word, void *user)
{
    struct result *result = user;
    result->all[result->count++] = word;
}

static int by_count(const void *a, const void *b)
{
    const struct word *one = *(const struct word *const *)a;
    const struct word *other = *(const struct word *const *)b;
    return one->count != other->count ? (one->count < other->count ? 1 : -1)
                                      : word_compare(one, other);
}

static int print_words(FILE *file)
{
    struct result result = {.all = malloc((total.words.count + 1) * sizeof(struct word *))};
    if (result.all == NULL) {
        return ENOMEM;
    }
    words_each(&total.words, append, &result);
    qsort(result.all, result.count, sizeof result.all[0], by_count);
    for (size_t i = 0; i < result.count; i++) {
        fwrite(result.all[i]->text, 1, result.all[i]->size, file);
        fprintf(file, "\t%" PRIu64 "\n", result.all[i]->count);
    }
    free(result.all);
    return fflush(file) != 0 || ferror(file) ? errno : 0;
}

/* Returns the exit code. */
static int write_result(void)
{
    FILE *file = output_path != NULL ? fopen(output_path, "we") : stdout;
    int error = file != NULL ? print_words(file) : errno;
    if (file != NULL && file != stdout && fclose(file) != 0 && error == 0) {
        error = errno;
    }
    words_clear(&total.words);
    if (error != 0) {
        fprintf(stderr, "wordcount: %s: %s\n",
                output_path != NULL ? output_path : "standard output", strerror(error));
    }
    if (total.finished < senders) {
        fprintf(stderr, "wordcount: %" PRIu64 " of %" PRIu64 " senders have finished\n",
                total.finished, senders);
    }
    if (total.is_short) {
        fprintf(stderr, "wordcount: words are missing, for want of memory\n");
    }
    return error != 0 || total.finished < senders || total.is_short ? 1 : 0;
}

/* ---- the program */

static int start(const struct serving *serving)
{
    the_serving = serving;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"senders", "N", "end when N clients have sent all of theirs (1)", ARG_COUNT,
         .into = &senders, .min = 1},
        {"output", "FILE", "where the result goes (standard output)", ARG_TEXT,
         .into = &output_path},
        {0},
    };
    static const struct service service = {
        .name = "wordcount",
        .about = "Adds up the words that wordcount-clients have counted.",
        .address = "127.0.0.1:2007",
        .ops = &ops,
        .args = args,
        .start = start,
    };
    int exit_code = serve(&service, argc, argv);
    return exit_code == 0 && the_serving != NULL ? write_result() : exit_code;
}
