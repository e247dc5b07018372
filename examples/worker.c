/* SPDX-License-Identifier: BSD-2-Clause */
/* Work that takes long is done on a thread of its own, which replies by the connection's id.
 *
 *     build/examples/worker &
 *     printf '91\n1000003\n' | nc -N 127.0.0.1 2010
 *
 * The worker never holds a pointer to a connection: if the peer has gone by the time a reply is
 * ready, the id is stale and the reply is dropped. What one thread does to a connection arrives in
 * the order in which it did it; so the end of a connection goes through the same queue as its
 * requests, and comes after their replies. */
#include <peal.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 64 };

struct job {
    struct job *next;
    uint64_t conn_id;
    unsigned long long number; /* 0: the peer has sent its last */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct job *first, **last = &first;
static bool ending;

/* ---- the worker's thread */

static unsigned long long smallest_factor(unsigned long long number)
{
    for (unsigned long long factor = 2; factor <= number / factor; factor++) {
        if (number % factor == 0) {
            return factor;
        }
    }
    return number;
}

static void serve(const struct job *job)
{
    char reply[64];
    if (job->number == 0) {
        peal_conn_close_id(job->conn_id);
        return;
    }
    int size =
        snprintf(reply, sizeof reply, "%llu: %llu\n", job->number, smallest_factor(job->number));
    if (peal_conn_send_to_id(job->conn_id, reply, (size_t)size) < 0) {
        fprintf(stderr, "worker: nobody waits for the factor of %llu any more\n", job->number);
    }
}

static void *work(void *user)
{
    (void)user;
    pthread_mutex_lock(&mutex);
    while (!ending) {
        struct job *job = first;
        if (!job) {
            pthread_cond_wait(&changed, &mutex);
            continue;
        }
        first = job->next;
        last = first ? last : &first;
        pthread_mutex_unlock(&mutex);
        serve(job);
        free(job);
        pthread_mutex_lock(&mutex);
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}

/* ---- the loop's thread */

static void ask(struct peal_conn *conn, unsigned long long number)
{
    struct job *job = malloc(sizeof *job);
    if (!job) {
        peal_conn_abort(conn);
        return;
    }
    *job = (struct job){.conn_id = peal_conn_id(conn), .number = number};
    pthread_mutex_lock(&mutex);
    *last = job;
    last = &job->next;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    ssize_t end;
    (void)user;
    while ((end = peal_buf_find(input, '\n')) >= 0 && end < LINE_MAX_BYTES) {
        char line[LINE_MAX_BYTES];
        memcpy(line, peal_buf_data(input), (size_t)end);
        line[end] = '\0';
        peal_buf_consume(input, (size_t)end + 1);
        unsigned long long number = strtoull(line, NULL, 10);
        if (number < 2) {
            peal_conn_abort(conn);
            return;
        }
        ask(conn, number);
    }
    if (peal_buf_size(input) >= LINE_MAX_BYTES) {
        peal_conn_abort(conn); /* not a number of ours */
    }
}

/* Without this the connection would close at the peer's end, before the replies are ready. */
static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)input;
    (void)user;
    ask(conn, 0);
}

static const struct peal_conn_ops ops = {.on_data = on_data, .on_eof = on_eof};

/* A thread takes no signals: they are for the loop that waits for them. */
static int start(pthread_t *thread)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int result = pthread_create(thread, NULL, work, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    peal_log_set(peal_log_to_stderr, NULL);
    if (start(&thread) != 0) {
        return 1;
    }
    int result = peal_serve(argc > 1 ? argv[1] : "127.0.0.1:2010", &ops);

    pthread_mutex_lock(&mutex);
    ending = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
    while (first) {
        struct job *job = first;
        first = job->next;
        free(job);
    }
    return result < 0;
}
