/* SPDX-License-Identifier: BSD-2-Clause */
/* redis-command: sends commands to a Redis server and prints its replies, as redis-cli does.
 *
 *     redis-command SET greeting hello
 *     redis-command --connect unix:/run/redis.sock --file commands
 *     redis-command --messages 3 SUBSCRIBE news
 *
 * The operands are one command; a file has one on each line, in words with spaces between them. All
 * are sent at once, and the replies come in their order. When the last has come, the program ends;
 * after SUBSCRIBE and PSUBSCRIBE, when --messages have come, or a signal. The exit code is 0 when
 * each command was answered, and with no error.
 *
 * hiredis is at home on the loop by peal_hiredis.c; this file is a program that uses it. */
#include "args.h"
#include "peal_hiredis.h"

#include <peal.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *address = "127.0.0.1:6379", *list_path;
static uint64_t messages_max; /* 0: until a signal comes */

static struct peal_loop *loop;
static redisAsyncContext *redis; /* NULL when hiredis has freed it */
static uint64_t asked, answered, errors, messages;
static bool is_subscribed, is_broken;

static void print_reply(const redisReply *reply, int depth)
{
    printf("%*s", depth * 2, "");
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        printf("%lld\n", reply->integer);
        break;
    case REDIS_REPLY_NIL:
        puts("(nil)");
        break;
    case REDIS_REPLY_ARRAY:
        printf("(%zu)\n", reply->elements);
        for (size_t i = 0; i < reply->elements; i++) {
            print_reply(reply->element[i], depth + 1);
        }
        break;
    default: /* a status, an error, a string */
        fwrite(reply->str, 1, (size_t)reply->len, stdout);
        putchar('\n');
    }
}

static bool is_message(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && reply->element[0]->str &&
           (strcmp(reply->element[0]->str, "message") == 0 ||
            strcmp(reply->element[0]->str, "pmessage") == 0);
}

static void on_reply(redisAsyncContext *context, void *reply_of, void *user)
{
    const redisReply *reply = reply_of;

    (void)user;
    if (!reply) {
        return; /* the connection has ended; on_disconnect tells why */
    }
    print_reply(reply, 0);
    fflush(stdout);
    errors += reply->type == REDIS_REPLY_ERROR;
    if (is_message(reply)) {
        messages++;
    } else {
        answered++;
    }
    if (is_subscribed ? messages_max > 0 && messages == messages_max : answered == asked) {
        redisAsyncDisconnect(context);
    }
}

static void on_over(const redisAsyncContext *context, int status)
{
    if (status != REDIS_OK) {
        fprintf(stderr, "redis-command: %s: %s\n", address, context->errstr);
        is_broken = true;
    }
    redis = NULL;
    peal_loop_quit(loop);
}

static void on_connect(const redisAsyncContext *context, int status)
{
    if (status != REDIS_OK) {
        on_over(context, status);
    }
}

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    (void)signal;
    (void)number;
    (void)user;
    if (redis && is_subscribed) {
        redisAsyncDisconnect(redis);
    } else {
        peal_loop_quit(loop);
    }
}

/* ---- commands */

static int send_words(int count, const char **words)
{
    if (strcasecmp(words[0], "subscribe") == 0 || strcasecmp(words[0], "psubscribe") == 0) {
        is_subscribed = true;
    }
    asked++;
    return redisAsyncCommandArgv(redis, on_reply, NULL, count, words, NULL) == REDIS_OK ? 0
                                                                                        : -EPIPE;
}

static int send_line(char *line)
{
    const char *words[64];
    int count = 0;

    for (char *word = strtok(line, " \r\n"); word; word = strtok(NULL, " \r\n")) {
        if (count == 64) {
            return -E2BIG;
        }
        words[count++] = word;
    }
    return count > 0 ? send_words(count, words) : 0;
}

static int send_file(void)
{
    FILE *file = strcmp(list_path, "-") == 0 ? stdin : fopen(list_path, "r");
    char *line = NULL;
    size_t size = 0;
    int result = file ? 0 : -errno;

    while (result == 0 && getline(&line, &size, file) > 0) {
        result = send_line(line);
    }
    free(line);
    if (file && file != stdin) {
        fclose(file);
    }
    return result;
}

/* ---- the run of it */

static int connect_to(void)
{
    const char *colon = strrchr(address, ':');
    char host[256];

    if (strncmp(address, "unix:", 5) == 0) {
        redis = redisAsyncConnectUnix(address + 5);
    } else if (!colon || colon - address >= (ptrdiff_t)sizeof(host)) {
        return -EINVAL;
    } else {
        snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
        redis = redisAsyncConnect(host, atoi(colon + 1));
    }
    if (!redis) {
        return -ENOMEM;
    }
    if (redis->err) {
        return redis->err == REDIS_ERR_IO && errno > 0 ? -errno : PEAL_ERR_RESOLVE;
    }
    redisAsyncSetConnectCallback(redis, on_connect);
    redisAsyncSetDisconnectCallback(redis, on_over);
    return peal_hiredis_attach(loop, redis);
}

static int converse(struct arg_texts *operands)
{
    struct peal_signal *on_int = NULL, *on_term = NULL;
    int result = connect_to();

    if (result == 0 && operands->count > 0) {
        result = send_words((int)operands->count, operands->items);
    }
    if (result == 0 && list_path) {
        result = send_file();
    }
    if (result == 0) {
        result = peal_signal_open(loop, SIGINT, on_signal, NULL, &on_int);
    }
    if (result == 0) {
        result = peal_signal_open(loop, SIGTERM, on_signal, NULL, &on_term);
    }
    if (result == 0 && asked > 0) {
        result = peal_loop_run(loop);
    }
    if (redis) {
        redisAsyncFree(redis);
    }
    peal_signal_close(on_int);
    peal_signal_close(on_term);
    return result;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"connect", "ADDRESS", "HOST:PORT or unix:PATH (127.0.0.1:6379)", ARG_TEXT,
         .into = &address},
        {"file", "FILE", "commands, one a line (- for standard input)", ARG_TEXT,
         .into = &list_path},
        {"messages", "N", "of a subscription, then end (until a signal comes)", ARG_COUNT,
         .into = &messages_max},
        {0},
    };
    static const struct arg_command command = {
        .name = "redis-command",
        .synopsis = "[OPTION]… [COMMAND [WORD]…]",
        .about = "Sends commands to a Redis server, with hiredis on Peal's loop.",
        .args = args,
    };
    struct arg_texts operands = {0};
    int exit_code = args_parse(&command, argc, argv, &operands);

    if (exit_code >= 0) {
        return exit_code;
    }
    if (operands.count == 0 && !list_path) {
        return args_mistake(&command, "no command is given");
    }
    int result = peal_loop_new(NULL, &loop);
    if (result == 0) {
        result = converse(&operands);
        loop = peal_loop_free(loop);
    }
    if (result < 0) {
        fprintf(stderr, "redis-command: %s: %s\n", address, peal_strerror(result));
    }
    return result < 0 || is_broken || errors > 0 || answered < asked ? 1 : 0;
}
