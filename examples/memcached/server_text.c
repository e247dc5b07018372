/* SPDX-License-Identifier: BSD-2-Clause */
/* memcached's text protocol: lines, and behind those that store, a value of the length they name.
 *
 *     set KEY FLAGS EXPIRY BYTES [noreply]     also add, replace, append, prepend
 *     cas KEY FLAGS EXPIRY BYTES UNIQUE [noreply]
 *     get KEY...      gets KEY...      gat EXPIRY KEY...      gats EXPIRY KEY...
 *     incr KEY N [noreply]      decr KEY N [noreply]      touch KEY EXPIRY [noreply]
 *     delete KEY [0] [noreply]      flush_all [DELAY] [noreply]
 *     stats [settings|reset]      cache_memlimit MEGABYTES [noreply]
 *     version      verbosity N [noreply]      quit
 *
 * A line ends with LF; a CR in front of it is no part of it. Words are separated by blanks. Replies
 * are those of the original, word for word, because clients compare them.
 *
 * The commands that get may name any number of keys, so they are not collected to a line: each key
 * is answered as it is seen. All others are short, and a line without an end after LINE_MAX bytes
 * is none: it is told so and the connection ends, as nobody knows where the next command begins.
 *
 * Invariants:
 *  1. A command whose line says how many bytes follow consumes so many, whether it could be done or
 *     not, once that number was read: a value is never taken for commands because its item was too
 *     large. Only a line of which nothing can be made leaves what follows to be read as commands;
 *     the original does the same.
 *  2. noreply keeps back whatever the command came to, errors too: its sender does not read, and
 *     would take it for the answer to the next command. Only what is no command is told so.
 *  3. A value is written into its item as it comes, with the CR and LF that must end it. */
#include "server_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LINE_MAX_BYTES = 2048, WORDS_MAX = 8, REPLY_MAX = 128, MEMLIMIT_MIN_MB = 8 };

struct word {
    const char *text;
    size_t size;
};

struct line {
    struct word words[WORDS_MAX];
    size_t count;
};

static void say(struct session *session, const char *text)
{
    session_send(session, text, strlen(text));
}

static void reply(struct session *session, const char *text)
{
    if (!session->quiet) {
        say(session, text);
    }
}

static bool is_word(struct word word, const char *text)
{
    return word.size == strlen(text) && memcmp(word.text, text, word.size) == 0;
}

static bool parse_unsigned(struct word word, uint64_t *ret_number)
{
    uint64_t number = 0;

    for (size_t i = 0; i < word.size; i++) {
        if (word.text[i] < '0' || word.text[i] > '9' ||
            __builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(word.text[i] - '0'), &number)) {
            return false;
        }
    }
    *ret_number = number;
    return word.size > 0;
}

static bool parse_signed(struct word word, int64_t *ret_number)
{
    bool negative = word.size > 0 && word.text[0] == '-';
    struct word digits = {word.text + negative, word.size - negative};
    uint64_t number;

    if (!parse_unsigned(digits, &number) || number > INT64_MAX) {
        return false;
    }
    *ret_number = negative ? -(int64_t)number : (int64_t)number;
    return true;
}

/* ---- storing */

static const char *const result_texts[] = {
    [STORE_OK] = "STORED\r\n",
    [STORE_NOT_STORED] = "NOT_STORED\r\n",
    [STORE_EXISTS] = "EXISTS\r\n",
    [STORE_NOT_FOUND] = "NOT_FOUND\r\n",
    [STORE_NOT_NUMBER] = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
    [STORE_TOO_LARGE] = "SERVER_ERROR object too large for cache\r\n",
    [STORE_NO_MEMORY] = "SERVER_ERROR out of memory storing object\r\n",
};

static void store_value(struct session *session)
{
    struct item *item = session->item;
    uint64_t cas;

    if (memcmp(item_value(item) + item->value_size, "\r\n", 2) != 0) {
        reply(session, "CLIENT_ERROR bad data chunk\r\n");
    } else {
        reply(session, result_texts[store_put(session->store, item, session->mode, session->cas,
                                              session->now, &cas)]);
    }
    session->item = item_unref(item);
    session->stage = STAGE_COMMAND;
}

static void command_store(struct session *session, const struct line *line, int mode)
{
    const struct word *words = line->words;
    struct store_key key = {words[1].text, words[1].size};
    uint64_t flags, size;
    int64_t seconds;

    session->mode = (enum store_mode)mode;
    session->cas = 0;
    if (key.size > KEY_MAX || !parse_unsigned(words[2], &flags) || flags > UINT32_MAX ||
        !parse_signed(words[3], &seconds) || !parse_unsigned(words[4], &size) ||
        size > INT32_MAX - 2 || (mode == STORE_CAS && !parse_unsigned(words[5], &session->cas))) {
        reply(session, "CLIENT_ERROR bad command line format\r\n");
        return;
    }
    struct item *item = size > store_value_max(session->store)
                            ? NULL
                            : item_new(session->store, key, size, (uint32_t)flags,
                                       session_expiry(session, seconds));
    if (item == NULL) { /* and what is there must not be taken for what could not be stored */
        reply(session, result_texts[size > store_value_max(session->store) ? STORE_TOO_LARGE
                                                                           : STORE_NO_MEMORY]);
        store_delete(session->store, key, 0, session->now);
        session_skip(session, size + 2);
        return;
    }
    session_receive(session, item, size + 2);
}

/* ---- getting */

static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        *at++ = digits[--count];
    }
    return at;
}

static void answer_key(struct session *session, struct store_key key)
{
    struct item *item =
        session->touches ? store_touch(session->store, key, session->expires_ms, true, session->now)
                         : store_get(session->store, key, session->now);
    if (item == NULL) {
        return;
    }
    char head[KEY_MAX + REPLY_MAX] = "VALUE ";
    char *at = head + 6;
    memcpy(at, item->bytes, item->key_size);
    at += item->key_size;
    *at++ = ' ';
    at = put_number(at, item->flags);
    *at++ = ' ';
    at = put_number(at, item->value_size);
    if (session->with_cas) {
        *at++ = ' ';
        at = put_number(at, item->cas);
    }
    *at++ = '\r';
    *at++ = '\n';
    session_send_item(session, head, (size_t)(at - head), item, item_value(item),
                      (size_t)item->value_size + 2);
    item_unref(item);
}

static void begin_keys(struct session *session, struct word verb)
{
    session->stage = STAGE_KEYS;
    session->touches = verb.text[1] == 'a';
    session->with_cas = verb.text[verb.size - 1] == 's';
    session->expires_ms = UINT64_MAX; /* not known yet */
    session->quiet = true;            /* until there was a word */
}

/* A word of a get, of which nothing may follow in the line but other words. */
static void take_key(struct session *session, struct word word)
{
    int64_t seconds;

    if (session->touches && session->expires_ms == UINT64_MAX) {
        if (parse_signed(word, &seconds)) {
            session->expires_ms = session_expiry(session, seconds);
            session->quiet = false;
        } else {
            say(session, "CLIENT_ERROR invalid exptime argument\r\n");
            session->stage = STAGE_SKIP_LINE;
        }
    } else if (word.size > KEY_MAX) {
        say(session, "CLIENT_ERROR bad command line format\r\n");
        session->stage = STAGE_SKIP_LINE;
    } else {
        session->quiet = false;
        answer_key(session, (struct store_key){word.text, word.size});
    }
}

static void skip_blanks(struct peal_buf *input)
{
    const char *text = peal_buf_data(input);
    size_t size = peal_buf_size(input), blanks = 0;

    while (blanks < size && text[blanks] == ' ') {
        blanks++;
    }
    peal_buf_consume(input, blanks);
}

static bool step_keys(struct session *session, struct peal_buf *input)
{
    skip_blanks(input);
    ssize_t end = peal_buf_find_any(input, " \n", 2);
    if (end < 0) {
        if (peal_buf_size(input) <= KEY_MAX + 1) { /* that one may be the CR */
            return false;
        }
        end = (ssize_t)peal_buf_size(input); /* too long, whatever comes */
    }
    const char *text = peal_buf_data(input);
    bool is_last = (size_t)end < peal_buf_size(input) && text[end] == '\n';
    struct word word = {text, (size_t)end};
    if (is_last && word.size > 0 && text[word.size - 1] == '\r') {
        word.size--;
    }
    if (word.size > 0) {
        take_key(session, word);
    }
    if (!is_last || session->stage == STAGE_SKIP_LINE) {
        peal_buf_consume(input, (size_t)end);
        return true;
    }
    peal_buf_consume(input, (size_t)end + 1);
    say(session, session->quiet ? "ERROR\r\n" : "END\r\n");
    session->stage = STAGE_COMMAND;
    return true;
}

/* ---- the other commands */

static void command_arith(struct session *session, const struct line *line, int decrement)
{
    struct store_change change = {.decrement = decrement != 0};
    char text[REPLY_MAX];
    uint64_t value, cas;

    if (line->words[1].size > KEY_MAX) {
        reply(session, "CLIENT_ERROR bad command line format\r\n");
        return;
    }
    if (!parse_unsigned(line->words[2], &change.by)) {
        reply(session, "CLIENT_ERROR invalid numeric delta argument\r\n");
        return;
    }
    struct store_key key = {line->words[1].text, line->words[1].size};
    enum store_result result =
        store_arith(session->store, key, &change, session->now, &value, &cas);
    if (result == STORE_OK) {
        snprintf(text, sizeof(text), "%" PRIu64 "\r\n", value);
    }
    reply(session, result == STORE_OK ? text : result_texts[result]);
}

static void command_delete(struct session *session, const struct line *line, int unused)
{
    struct store_key key = {line->words[1].text, line->words[1].size};

    (void)unused;
    if (key.size > KEY_MAX) {
        reply(session, "CLIENT_ERROR bad command line format\r\n");
    } else if (line->count > 3 + (size_t)session->quiet ||
               (line->count > 2 + (size_t)session->quiet && !is_word(line->words[2], "0"))) {
        reply(session, "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");
    } else {
        reply(session, store_delete(session->store, key, 0, session->now) == STORE_OK
                           ? "DELETED\r\n"
                           : "NOT_FOUND\r\n");
    }
}

static void command_touch(struct session *session, const struct line *line, int unused)
{
    struct store_key key = {line->words[1].text, line->words[1].size};
    int64_t seconds;

    (void)unused;
    if (key.size > KEY_MAX) {
        reply(session, "CLIENT_ERROR bad command line format\r\n");
    } else if (!parse_signed(line->words[2], &seconds)) {
        reply(session, "CLIENT_ERROR invalid exptime argument\r\n");
    } else {
        struct item *item =
            store_touch(session->store, key, session_expiry(session, seconds), false, session->now);
        reply(session, item != NULL ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
        item_unref(item);
    }
}

static void command_flush(struct session *session, const struct line *line, int unused)
{
    int64_t seconds = 0;

    (void)unused;
    if (line->count > 1 + (size_t)session->quiet && !parse_signed(line->words[1], &seconds)) {
        reply(session, "CLIENT_ERROR invalid exptime argument\r\n");
        return;
    }
    session_flush(session, seconds);
    reply(session, "OK\r\n");
}

static void tell(struct session *session, const char *name, const char *value)
{
    char text[REPLY_MAX * 2];
    int size = snprintf(text, sizeof(text), "STAT %s %s\r\n", name, value);
    session_send(session, text, (size_t)size);
}

static void command_stats(struct session *session, const struct line *line, int unused)
{
    (void)unused;
    if (line->count > 1 && is_word(line->words[1], "reset")) {
        store_reset_stats(session->store);
        say(session, "RESET\r\n");
        return;
    }
    struct word group = line->count > 1 ? line->words[1] : (struct word){"", 0};
    bool is_group = session_tell_stats(session, group.text, group.size, tell);
    say(session, is_group ? "END\r\n" : "ERROR\r\n");
}

static void command_version(struct session *session, const struct line *line, int unused)
{
    (void)line;
    (void)unused;
    say(session, "VERSION " MEMCACHED_VERSION "\r\n");
}

/* There is nothing to be verbose about: accepted, as clients ask it of all their servers. */
static void command_verbosity(struct session *session, const struct line *line, int unused)
{
    uint64_t level = 0;

    (void)unused;
    reply(session, session->quiet || parse_unsigned(line->words[1], &level)
                       ? "OK\r\n"
                       : "CLIENT_ERROR bad command line format\r\n");
}

/* No less than the original allows, nor than --memory may be beside --value-max. */
static void command_memlimit(struct session *session, const struct line *line, int unused)
{
    uint64_t megabytes = 0, min = (2 * value_max_bytes + (1 << 20) - 1) >> 20;
    char text[REPLY_MAX];

    (void)unused;
    min = min > MEMLIMIT_MIN_MB ? min : MEMLIMIT_MIN_MB;
    if (!parse_unsigned(line->words[1], &megabytes) || megabytes > SIZE_MAX >> 20) {
        reply(session, "ERROR\r\n");
    } else if (megabytes < min) {
        snprintf(text, sizeof(text),
                 "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than %" PRIu64 "m\r\n", min);
        reply(session, text);
    } else {
        store_set_memory(session->store, (size_t)megabytes << 20, session->now);
        reply(session, "OK\r\n");
    }
}

static void command_quit(struct session *session, const struct line *line, int unused)
{
    (void)line;
    (void)unused;
    session_close(session);
}

/* ---- lines */

struct command {
    const char *name;
    size_t words_min, words_max; /* with its name, and noreply */
    void (*run)(struct session *session, const struct line *line, int which);
    int which;
};

static const struct command commands[] = {
    {"set", 5, 6, command_store, STORE_SET},
    {"add", 5, 6, command_store, STORE_ADD},
    {"replace", 5, 6, command_store, STORE_REPLACE},
    {"append", 5, 6, command_store, STORE_APPEND},
    {"prepend", 5, 6, command_store, STORE_PREPEND},
    {"cas", 6, 7, command_store, STORE_CAS},
    {"incr", 3, 4, command_arith, 0},
    {"decr", 3, 4, command_arith, 1},
    {"delete", 2, 4, command_delete, 0},
    {"touch", 3, 4, command_touch, 0},
    {"flush_all", 1, 3, command_flush, 0},
    {"stats", 1, WORDS_MAX, command_stats, 0},
    {"cache_memlimit", 2, 3, command_memlimit, 0},
    {"version", 1, 1, command_version, 0},
    {"verbosity", 2, 3, command_verbosity, 0},
    {"quit", 1, 1, command_quit, 0},
};

static void run_line(struct session *session, const struct line *line)
{
    session->quiet = line->count > 1 && is_word(line->words[line->count - 1], "noreply");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]) && line->count > 0; i++) {
        if (is_word(line->words[0], commands[i].name)) {
            if (line->count >= commands[i].words_min && line->count <= commands[i].words_max) {
                commands[i].run(session, line, commands[i].which);
                return;
            }
            break;
        }
    }
    say(session, "ERROR\r\n");
}

/* Words of a line; one more than there may be of any command makes it a command of none. */
static void split(struct line *line, const char *text, size_t size)
{
    size_t at = 0;

    line->count = 0;
    while (line->count < WORDS_MAX) {
        while (at < size && text[at] == ' ') {
            at++;
        }
        if (at == size) {
            return;
        }
        size_t start = at;
        while (at < size && text[at] != ' ') {
            at++;
        }
        line->words[line->count++] = (struct word){text + start, at - start};
    }
}

static bool is_get(struct word verb)
{
    return is_word(verb, "get") || is_word(verb, "gets") || is_word(verb, "gat") ||
           is_word(verb, "gats");
}

static bool step_command(struct session *session, struct peal_buf *input)
{
    skip_blanks(input);
    const char *text = peal_buf_data(input);
    struct line line;
    ssize_t end = peal_buf_find_any(input, " \r\n", 3);

    if (end >= 3 && end <= 4 && is_get((struct word){text, (size_t)end})) {
        begin_keys(session, (struct word){text, (size_t)end});
        peal_buf_consume(input, (size_t)end);
        return true;
    }
    end = end < 0 ? -1 : peal_buf_find_from(input, (size_t)end, '\n');
    if (end < 0 || end > LINE_MAX_BYTES) {
        if (peal_buf_size(input) <= LINE_MAX_BYTES) {
            return false;
        }
        say(session, "CLIENT_ERROR line too long\r\n");
        session_close(session);
        return false;
    }
    split(&line, text, (size_t)(end > 0 && text[end - 1] == '\r' ? end - 1 : end));
    run_line(session, &line);
    peal_buf_consume(input, (size_t)end + 1);
    return true;
}

static bool step_skip_line(struct session *session, struct peal_buf *input)
{
    ssize_t end = peal_buf_find(input, '\n');

    if (end < 0) {
        peal_buf_clear(input);
        return false;
    }
    peal_buf_consume(input, (size_t)end + 1);
    session->stage = STAGE_COMMAND;
    return true;
}

bool text_step(struct session *session, struct peal_buf *input)
{
    switch (session->stage) {
    case STAGE_COMMAND:
        return step_command(session, input);
    case STAGE_KEYS:
        return step_keys(session, input);
    case STAGE_VALUE:
        if (!session_fill(session, input)) {
            return false;
        }
        store_value(session);
        return true;
    case STAGE_SKIP:
        return session_skipped(session, input);
    case STAGE_SKIP_LINE:
        return step_skip_line(session, input);
    }
    return false;
}
