/* SPDX-License-Identifier: BSD-2-Clause */
/* finger: a name and CR LF in, a line back, and the end (RFC 1288, without forwarding).
 *
 * The names are those of --users FILE: a line each, the name, blanks, and what there is to say.
 * They are read once, sorted, and only read from then on, so that all loops can look at them
 * without a lock. An empty name asks for the list of all. A line that is too long for a name, or
 * that does not come within --idle, ends the connection. */
#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512 };

struct person {
    char *name; /* and behind its zero byte what there is to say */
    const char *words;
};

static const char *users_path;
static struct person *people;
static size_t people_count;

/* ---- the names */

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct person *)a)->name, ((const struct person *)b)->name);
}

static int add(const char *line)
{
    size_t name_size = strcspn(line, " \t\r\n");
    if (name_size == 0 || line[0] == '#') {
        return 0;
    }
    struct person *more = realloc(people, (people_count + 1) * sizeof *people);
    if (more == NULL) {
        return -ENOMEM;
    }
    people = more;
    char *text = strdup(line);
    if (text == NULL) {
        return -ENOMEM;
    }
    char *words = text + name_size + strspn(text + name_size, " \t");
    words[strcspn(words, "\r\n")] = '\0';
    text[name_size] = '\0';
    people[people_count++] = (struct person){text, words};
    return 0;
}

static int read_users(const struct serving *serving)
{
    char line[LINE_MAX_BYTES];
    (void)serving;
    if (users_path == NULL) {
        return add("peal a set of bells, rung in turn");
    }
    FILE *file = fopen(users_path, "re");
    if (file == NULL) {
        fprintf(stderr, "finger: %s: %s\n", users_path, strerror(errno));
        return -errno;
    }
    int error = 0;
    while (error == 0 && fgets(line, sizeof line, file) != NULL) {
        error = add(line);
    }
    fclose(file);
    qsort(people, people_count, sizeof *people, compare);
    return error;
}

static void forget_users(void)
{
    for (size_t i = 0; i < people_count; i++) {
        free(people[i].name);
    }
    free(people);
}

/* ---- the connections */

static void answer(struct peal_conn *conn, char *name)
{
    const struct person key = {.name = name};
    char reply[LINE_MAX_BYTES * 2];
    int size;
    if (name[0] == '\0') {
        for (size_t i = 0; i < people_count; i++) {
            size = snprintf(reply, sizeof reply, "%s\r\n", people[i].name);
            peal_conn_send(conn, reply, (size_t)size);
        }
        return;
    }
    const struct person *found =
        people_count > 0 ? bsearch(&key, people, people_count, sizeof *people, compare) : NULL;
    size = snprintf(reply, sizeof reply, "%s\r\n", found != NULL ? found->words : "No such user");
    peal_conn_send(conn, reply, (size_t)size);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    char name[LINE_MAX_BYTES];
    ssize_t end = peal_buf_find(input, '\n');
    (void)user;
    if (end < 0 && peal_buf_size(input) < sizeof name) {
        return; /* the rest comes */
    }
    if (end < 0 || (size_t)end >= sizeof name) {
        peal_conn_abort(conn); /* nobody is called so */
        return;
    }
    memcpy(name, peal_buf_data(input), (size_t)end);
    name[end] = '\0';
    name[strcspn(name, "\r")] = '\0';
    peal_buf_clear(input);
    answer(conn, name + strspn(name, " \t"));
    peal_conn_close(conn);
}

static const struct peal_conn_ops ops = {.on_data = on_data};

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"users", "FILE", "a line each: name, blanks, and what there is to say", ARG_TEXT,
         .into = &users_path},
        {0},
    };
    static const struct service service = {
        .name = "finger",
        .about = "Answers a line with a user's name by a line about the user, and closes "
                 "(RFC 1288).",
        .address = "127.0.0.1:1079",
        .ops = &ops,
        .idle_ms = 60000,
        .args = args,
        .start = read_users,
        .end = forget_users,
    };
    return serve(&service, argc, argv);
}
