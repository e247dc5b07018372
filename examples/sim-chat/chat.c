/* SPDX-License-Identifier: BSD-2-Clause */
/* The room. A member holds a reference to its connection, from on_open until the others were told
 * that it has left.
 *
 * Those are not told in on_close: more connections may close in the same turn of the loop, and the
 * number of who is still here would be too high. So on_close notes who leaves, and a task says it,
 * which runs after all that closed in that turn. CHAT_WITH_BUG has the mistake that is easily made
 * here. It is never seen as long as one member leaves at a time. */
#include "chat.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_SIZE_MAX = 20,
    LINE_SIZE_MAX = 400,
    IDLE_MS = 10 * 60 * 1000, /* a connection may be lost in silence: nobody would ever tell */
    STOP_MS = 1000
};

struct member {
    struct chat *chat;
    struct peal_conn *conn;
    struct member *next, *next_leaving;
    char name[NAME_SIZE_MAX + 1]; /* empty: has not said it yet, and is no member */
};

static void tell(struct member *member, const char *text)
{
    /* Who cannot be told everything is shown out. Whose connection has ended is refused, too: for
     * that one the abort does nothing, and on_close has come or will. */
    if (peal_conn_send(member->conn, text, strlen(text)) < 0) {
        peal_conn_abort(member->conn);
    }
}

static void tell_all(struct chat *chat, const char *format, ...) PEAL_PRINTF(2, 3);
static void tell_all(struct chat *chat, const char *format, ...)
{
    char text[LINE_SIZE_MAX + NAME_SIZE_MAX + 40];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (struct member *member = chat->members; member; member = member->next) {
        tell(member, text);
    }
}

static void free_member(struct member *member)
{
    peal_conn_unref(member->conn);
    free(member);
}

static void remove_member(struct chat *chat, const struct member *member)
{
    struct member **link = &chat->members;
    while (*link != member) {
        link = &(*link)->next;
    }
    *link = member->next;
    chat->members_count--;
}

/* ---- coming */

static void on_open(struct peal_conn *conn, void *user)
{
    struct member *member = calloc(1, sizeof *member);
    if (member) {
        member->chat = user;
        member->conn = peal_conn_ref(conn);
        tell(member, "* say your name\n");
    } else {
        peal_conn_abort(conn);
    }
    peal_conn_set_user(conn, member);
}

static bool is_name(const char *text)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)text[i])) {
            return false;
        }
    }
    return size > 0 && size <= NAME_SIZE_MAX;
}

static bool is_taken(const struct chat *chat, const char *name)
{
    for (const struct member *member = chat->members; member; member = member->next) {
        if (strcmp(member->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void join(struct member *member, const char *name)
{
    struct chat *chat = member->chat;
    if (!is_name(name) || is_taken(chat, name)) {
        tell(member, is_name(name) ? "* that name is taken\n" : "* a name is 1 to 20 letters\n");
        peal_conn_close(member->conn);
        return;
    }
    snprintf(member->name, sizeof member->name, "%.*s", (int)sizeof member->name - 1, name);
    member->next = chat->members;
    chat->members = member;
    chat->members_count++;
    tell_all(chat, "* %s has come: %zu here\n", name, chat->members_count);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct member *member = user;
    ssize_t size;
    while ((size = peal_buf_find(input, '\n')) >= 0 && size <= LINE_SIZE_MAX) {
        char line[LINE_SIZE_MAX + 1];
        memcpy(line, peal_buf_data(input), (size_t)size);
        line[size] = '\0';
        peal_buf_consume(input, (size_t)size + 1);
        if (member->name[0]) {
            tell_all(member->chat, "%s: %s\n", member->name, line);
        } else {
            join(member, line);
        }
    }
    if (size > LINE_SIZE_MAX || peal_buf_size(input) > LINE_SIZE_MAX) {
        peal_conn_abort(conn);
    }
}

/* ---- leaving */

static void say_goodbye(void *user)
{
    struct chat *chat = user;
    struct member *leaving = chat->leaving;
    chat->leaving = NULL;
    for (struct member *member = leaving; member; member = member->next_leaving) {
        remove_member(chat, member);
    }
    while (leaving) {
        struct member *member = leaving;
        leaving = member->next_leaving;
        tell_all(chat, "* %s has left: %zu here\n", member->name, chat->members_count);
        free_member(member);
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct member *member = user;
    (void)conn;
    (void)record;
    if (!member || !member->name[0]) {
        if (member) {
            free_member(member);
        }
        return;
    }
    struct chat *chat = member->chat;
#ifdef CHAT_WITH_BUG
    chat->leaving = member; /* and who stood there? */
#else
    member->next_leaving = chat->leaving;
    chat->leaving = member;
#endif
    if (peal_loop_post(chat->loop, say_goodbye, chat) < 0) {
        say_goodbye(
            chat); /* no memory for a task, or the loop ends: then the number may be wrong */
    }
}

/* ---- the room */

static void on_stopped(struct peal_server *server, const struct peal_drain_report *report,
                       void *user)
{
    struct chat *chat = user;
    (void)server;
    (void)report;
    peal_loop_quit(chat->loop);
}

int chat_start(struct chat *chat, struct peal_loop *loop, const char *address, const char **ret_why)
{
    static const struct peal_conn_ops ops = {
        .on_open = on_open, .on_data = on_data, .on_close = on_close};
    const struct peal_server_options options = {
        .ops = &ops,
        .user = chat,
        .name = "chat",
        .limits = {.idle_ms = IDLE_MS},
        .on_stopped = on_stopped,
    };
    *chat = (struct chat){.loop = loop};
    int result = peal_server_new(loop, &options, &chat->server);
    if (result < 0) {
        *ret_why = peal_strerror(result);
        return result;
    }
    return peal_server_listen(chat->server, address, ret_why);
}

void chat_stop(struct chat *chat)
{
    peal_server_stop(chat->server, STOP_MS);
}

void chat_deinit(struct chat *chat)
{
    while (chat->members) {
        struct member *member = chat->members;
        chat->members = member->next;
        free_member(member);
    }
    chat->server = peal_server_unref(chat->server);
}

size_t chat_members(const struct chat *chat)
{
    return chat->members_count;
}
