/* SPDX-License-Identifier: BSD-2-Clause */
/* hub: publish and subscribe.
 *
 *     sub T CRLF              from now on tell me of T; its last value comes first, if there is one
 *     unsub T CRLF            no longer
 *     pub T CRLF BODY CRLF    tell all that have subscribed to T; this is also how they are told
 *
 * Model. Topics are in one table, under a mutex, and stay for ever (so their number has a bound):
 * whoever has a pointer to one may keep it. What a connection has subscribed to is its own, on its
 * own loop. A publication is one blob; each loop sends it by reference to those of its connections
 * that want it.
 *
 *  1. All hear a topic's publications in one order: the last value changes and the loops are told
 *     under the mutex, so publications stand in that order in the queue of each loop.
 *  2. A new subscriber hears the last value, then all that follow, none twice: its sub is a task in
 *     that same queue, posted under the mutex together with the last value as it is then. Before it
 *     are the publications that the value includes, behind it those that it does not.
 *  3. Nobody waits for a subscriber that does not read: at --output-cap it is cut off.
 *  4. Nobody publishes faster than the loops pass on: while many publications are on their way, a
 *     publisher is not read until its own has reached all.
 *  5. All that a peer can make grow is bounded: a name, a body, its subscriptions, the topics.
 *
 * What is not one of the three, or too large, ends the connection. The topic utc_time is the hub's
 * own, published each second. */
#include "serve.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <peal/blob.h>
#include <peal/timer.h>

enum {
    BUCKETS = 4096,
    NAME_MAX_BYTES = 255,
    BODY_MAX_BYTES = 65536,
    SUBSCRIPTIONS_MAX = 1024,
    UNDER_WAY_MAX = 1024
};

struct topic {
    struct topic *next;     /* in its bucket */
    struct peal_blob *last; /* as it was published; NULL: not yet */
    char name[];
};

/* What a connection has subscribed to. */
struct subscriber {
    size_t count, room;
    struct topic **topics;
};

/* On its way to all loops. */
struct publication {
    struct topic *topic;
    struct peal_blob *blob;
    uint64_t paused_id; /* who waits for it; 0: nobody */
};

/* A sub or an unsub on its way through the queue of the connection's loop. */
struct wish {
    uint64_t conn_id;
    struct topic *topic;
    struct peal_blob *last;
    bool is_sub;
};

static struct topic *buckets[BUCKETS];
static atomic_uint under_way; /* publications that have not reached all yet */
static uint64_t topics_count, topics_max = 100000;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of all topics and their order */
static uint64_t output_cap = 4 << 20;
static struct peal_timer clock_timer;

/* ---- topics: under the mutex */

/* NULL: there are as many as there may be, or no memory. */
static struct topic *topic_of(const char *name, size_t size)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (unsigned char)name[i]) * 16777619u;
    }
    struct topic **at = &buckets[hash % BUCKETS];
    for (; *at != NULL; at = &(*at)->next) {
        if (strlen((*at)->name) == size && memcmp((*at)->name, name, size) == 0) {
            return *at;
        }
    }
    struct topic *topic = topics_count < topics_max ? calloc(1, sizeof *topic + size + 1) : NULL;
    if (topic != NULL) {
        memcpy(topic->name, name, size);
        topics_count++;
        *at = topic;
    }
    return topic;
}

static void forget_topics(void)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (buckets[i] != NULL) {
            struct topic *topic = buckets[i];
            buckets[i] = topic->next;
            peal_blob_unref(topic->last);
            free(topic);
        }
    }
}

/* ---- subscriptions: on the connection's loop */

static size_t place_of(const struct subscriber *subscriber, const struct topic *topic)
{
    size_t i = 0;
    while (i < subscriber->count && subscriber->topics[i] != topic) {
        i++;
    }
    return i;
}

static bool subscribe(struct subscriber *subscriber, struct topic *topic)
{
    if (subscriber->count == subscriber->room) {
        size_t room = subscriber->room > 0 ? subscriber->room * 2 : 8;
        struct topic **more =
            room <= SUBSCRIPTIONS_MAX ? realloc(subscriber->topics, room * sizeof *more) : NULL;
        if (more == NULL) {
            return false;
        }
        subscriber->topics = more;
        subscriber->room = room;
    }
    subscriber->topics[subscriber->count++] = topic;
    return true;
}

static void fulfil(struct peal_conn *conn, const struct wish *wish)
{
    struct subscriber *subscriber = peal_conn_user(conn);
    if (subscriber == NULL) {
        return; /* it had no memory, and is ending */
    }
    size_t place = place_of(subscriber, wish->topic);
    if (!wish->is_sub) {
        if (place < subscriber->count) {
            subscriber->topics[place] = subscriber->topics[--subscriber->count];
        }
    } else if (place == subscriber->count) {
        if (!subscribe(subscriber, wish->topic)) {
            peal_conn_abort(conn);
        } else if (wish->last != NULL) {
            peal_conn_send_ref(conn, wish->last);
        }
    }
}

static void drop_wish(void *user)
{
    struct wish *wish = user;
    peal_blob_unref(wish->last);
    free(wish);
}

static void on_wish(void *user)
{
    struct wish *wish = user;
    struct peal_conn *conn;
    if (peal_conn_find(wish->conn_id, &conn) == 0) {
        fulfil(conn, wish);
        peal_conn_unref(conn);
    }
    drop_wish(wish);
}

/* False: no memory, or too many topics. */
static bool post_wish(struct peal_conn *conn, const char *name, size_t size, bool is_sub)
{
    struct wish *wish = malloc(sizeof *wish);
    if (wish == NULL) {
        return false;
    }
    pthread_mutex_lock(&mutex);
    struct topic *topic = topic_of(name, size);
    *wish = (struct wish){peal_conn_id(conn), topic,
                          topic != NULL && topic->last != NULL ? peal_blob_ref(topic->last) : NULL,
                          is_sub};
    bool posted = topic != NULL &&
                  peal_loop_post_or_drop(peal_conn_loop(conn), on_wish, drop_wish, wish) == 0;
    pthread_mutex_unlock(&mutex);
    if (!posted) {
        drop_wish(wish);
    }
    return posted;
}

/* ---- publications */

static void tell(struct peal_conn *conn, void *user)
{
    const struct publication *publication = user;
    const struct subscriber *subscriber = peal_conn_user(conn);
    if (subscriber != NULL && place_of(subscriber, publication->topic) < subscriber->count) {
        peal_conn_send_ref(conn, publication->blob);
    }
}

static void all_are_told(void *user)
{
    struct publication *publication = user;
    atomic_fetch_sub(&under_way, 1);
    if (publication->paused_id != 0) {
        peal_conn_resume_reading_id(publication->paused_id);
    }
    peal_blob_unref(publication->blob);
    free(publication);
}

/* Who has to wait for it. Of what is published while it waits nobody makes it wait again. */
static uint64_t pause_if_many(struct peal_conn *conn)
{
    if (atomic_fetch_add(&under_way, 1) < UNDER_WAY_MAX || conn == NULL ||
        peal_conn_is_paused(conn)) {
        return 0;
    }
    peal_conn_pause_reading(conn);
    return peal_conn_id(conn);
}

/* False: no memory, or too many topics. The text is all of it: pub T CRLF BODY CRLF. The connection
 * is its publisher; NULL: the hub itself. */
static bool publish(struct peal_server *server, struct peal_conn *conn, const char *name,
                    size_t name_size, const void *text, size_t size)
{
    struct publication *publication = calloc(1, sizeof *publication);
    if (publication == NULL || peal_blob_copy(text, size, &publication->blob) < 0) {
        free(publication);
        return false;
    }
    pthread_mutex_lock(&mutex);
    struct topic *topic = publication->topic = topic_of(name, name_size);
    struct peal_blob *blob = peal_blob_ref(publication->blob);
    publication->paused_id = pause_if_many(conn);
    bool done = topic != NULL && peal_server_for_each(server, tell, all_are_told, publication) == 0;
    if (done) { /* publication may be gone already */
        peal_blob_unref(topic->last);
        topic->last = peal_blob_ref(blob);
    }
    pthread_mutex_unlock(&mutex);
    if (!done) {
        all_are_told(publication);
    }
    peal_blob_unref(blob);
    return done;
}

static void publish_time(struct peal_timer *timer, void *user)
{
    static const char name[] = "utc_time";
    char moment[32], text[96];
    struct timeval now;
    struct tm parts;
    (void)timer;
    gettimeofday(&now, NULL);
    gmtime_r(&now.tv_sec, &parts);
    strftime(moment, sizeof moment, "%Y%m%d %H:%M:%S", &parts);
    int size =
        snprintf(text, sizeof text, "pub %s\r\n%s.%06ld\r\n", name, moment, (long)now.tv_usec);
    publish(user, NULL, name, sizeof name - 1, text, (size_t)size);
}

/* ---- commands */

/* The name behind a command's word: false if it is none. */
static bool name_in(const char *line, size_t size, const char *word, const char **ret_name,
                    size_t *ret_size)
{
    size_t word_size = strlen(word);
    if (size <= word_size || memcmp(line, word, word_size) != 0 ||
        size - word_size > NAME_MAX_BYTES || memchr(line + word_size, ' ', size - word_size) ||
        memchr(line + word_size, '\0', size - word_size)) {
        return false;
    }
    *ret_name = line + word_size;
    *ret_size = size - word_size;
    return true;
}

/* Takes one command: 1; 0: it is not whole yet; -1: it is none. */
static int take_command(struct peal_conn *conn, struct peal_buf *input)
{
    const char *text = peal_buf_data(input), *name;
    size_t size;
    ssize_t end = peal_buf_find_crlf(input);
    if (end < 0) {
        return peal_buf_size(input) > NAME_MAX_BYTES + sizeof "unsub " ? -1 : 0;
    }
    bool good;
    if (name_in(text, (size_t)end, "sub ", &name, &size)) {
        good = post_wish(conn, name, size, true);
    } else if (name_in(text, (size_t)end, "unsub ", &name, &size)) {
        good = post_wish(conn, name, size, false);
    } else if (name_in(text, (size_t)end, "pub ", &name, &size)) {
        size_t body = (size_t)end + 2;
        end = peal_buf_find_crlf_from(input, body);
        if (end < 0 || (size_t)end - body > BODY_MAX_BYTES) {
            return end >= 0 || peal_buf_size(input) - body > BODY_MAX_BYTES + 1 ? -1 : 0;
        }
        good = publish(peal_conn_server(conn), conn, name, size, text, (size_t)end + 2);
    } else {
        good = false;
    }
    peal_buf_consume(input, (size_t)end + 2);
    return good ? 1 : -1;
}

static void on_open(struct peal_conn *conn, void *user)
{
    (void)user;
    peal_conn_set_user(conn, calloc(1, sizeof(struct subscriber)));
    if (peal_conn_user(conn) == NULL) {
        peal_conn_abort(conn);
    }
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    int taken;
    (void)user;
    while ((taken = take_command(conn, input)) > 0) {
    }
    if (taken < 0) {
        peal_conn_abort(conn);
    }
}

static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct subscriber *subscriber = user;
    (void)conn;
    (void)record;
    if (subscriber != NULL) {
        free(subscriber->topics);
        free(subscriber);
    }
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static struct service service = {
    .name = "hub",
    .about = "Tells subscribers of topics what is published there.",
    .address = "127.0.0.1:3012",
    .ops = &ops,
    .end = forget_topics,
};

static int check(const struct arg_command *command)
{
    (void)command;
    service.limits.output_bytes_max = output_cap;
    return -1;
}

static int start(const struct serving *serving)
{
    peal_timer_init(&clock_timer, serving->loop, publish_time, serving->server);
    peal_timer_start(&clock_timer, 0, 1000);
    return 0;
}

static bool stop(const struct serving *serving)
{
    (void)serving;
    peal_timer_cancel(&clock_timer);
    return false;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"output-cap", "SIZE", "pending bytes at which one who does not read is cut off (4M)",
         ARG_SIZE, .into = &output_cap, .min = 1024},
        {"topics", "N", "topics at most (100000)", ARG_COUNT, .into = &topics_max, .min = 1},
        {0},
    };
    service.args = args;
    service.check = check;
    service.start = start;
    service.stop = stop;
    return serve(&service, argc, argv);
}
