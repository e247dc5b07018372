/* SPDX-License-Identifier: BSD-2-Clause */
/* sudoku: puzzles in, solutions out, solved by threads of their own.
 *
 *     [id:] and 81 digits, CR LF    a puzzle, 0 where there is no digit
 *     [id:] and 81 digits, CR LF    its solution; or NoSolution, or ServerTooBusy
 *
 * Model. A loop takes a line apart and puts a job into one queue for all workers. A worker solves
 * it and posts the job back to the loop that it came from, where the answer is sent if the
 * connection is still there: it is looked up by its id, nobody holds a pointer to it.
 *
 *  1. The queue has a bound (--queue). What finds it full is answered ServerTooBusy at once:
 *     waiting in a queue that is long is an answer that comes too late.
 *  2. Answers with an id are sent as they come. Those without one are sent in the order of their
 *     questions: a connection has a list of them, and the first that is not done holds back the
 *     rest.
 *  3. A connection that has many questions open is not read until there are fewer, so what it can
 *     make wait is bounded.
 *  4. A peer that has ended its side, or sent what is no question, gets the answers to all that it
 *     had asked before the end.
 *  5. On SIGTERM what was asked is still answered, new questions are told ServerTooBusy, and when
 *     nothing is open the server stops; at the latest when --drain has passed.
 *  6. Workers run on no loop, and take no signals. They end when all loops have. */
#include "serve.h"
#include "solver.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <peal/timer.h>

#include "histogram.h"

enum {
    ID_MAX_BYTES = 64,
    LINE_MAX_BYTES = ID_MAX_BYTES + 1 + SUDOKU_CELLS,
    OPEN_MAX = 1024,
    WORKERS_MAX = 64
};

struct job {
    struct job *next;         /* in the workers' queue */
    struct job *next_in_turn; /* in the session's list of those without an id */
    struct peal_loop *loop;   /* with a reference */
    uint64_t conn_id, came_ns;
    bool is_in_turn, is_done;
    char id[ID_MAX_BYTES + 1]; /* "" without */
    char puzzle[SUDOKU_CELLS];
    char answer[SUDOKU_CELLS + 1];
};

struct session {
    struct job *first_in_turn, **last_in_turn;
    unsigned open;  /* questions without an answer */
    bool has_ended; /* the peer has sent its last, or what is no question */
};

/* ---- the queue and its workers */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job *first, **last;
    uint64_t size, size_max;
    bool is_ending;
    uint64_t workers;
    pthread_t threads[WORKERS_MAX];
} queue = {.mutex = PTHREAD_MUTEX_INITIALIZER,
           .changed = PTHREAD_COND_INITIALIZER,
           .last = &queue.first,
           .size_max = 1000,
           .workers = 2};

static struct {
    atomic_uint_fast64_t open, solved, unsolved, too_busy, gone;
    pthread_mutex_t mutex; /* of latency */
    struct histogram latency;
} counts = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool is_stopping;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void free_job(struct job *job)
{
    peal_loop_unref(job->loop);
    free(job);
}

static void deliver(void *user);

static void drop(void *user)
{
    struct job *job = user;
    atomic_fetch_sub(&counts.open, 1);
    atomic_fetch_add(&counts.gone, 1);
    free_job(job);
}

/* False: it is full. */
static bool queue_put(struct job *job)
{
    pthread_mutex_lock(&queue.mutex);
    bool has_room = queue.size < queue.size_max;
    if (has_room) {
        job->next = NULL;
        *queue.last = job;
        queue.last = &job->next;
        queue.size++;
        pthread_cond_signal(&queue.changed);
    }
    pthread_mutex_unlock(&queue.mutex);
    return has_room;
}

/* NULL: the end. */
static struct job *queue_take(void)
{
    pthread_mutex_lock(&queue.mutex);
    while (queue.first == NULL && !queue.is_ending) {
        pthread_cond_wait(&queue.changed, &queue.mutex);
    }
    struct job *job = queue.first;
    if (job != NULL) {
        queue.first = job->next;
        queue.last = queue.first != NULL ? queue.last : &queue.first;
        queue.size--;
    }
    pthread_mutex_unlock(&queue.mutex);
    return job;
}

static void *work(void *unused)
{
    struct job *job;
    while ((job = queue_take()) != NULL) {
        bool is_solved = sudoku_solve(job->puzzle, job->answer);
        atomic_fetch_add(is_solved ? &counts.solved : &counts.unsolved, 1);
        if (!is_solved) {
            strcpy(job->answer, "NoSolution");
        }
        if (peal_loop_post_or_drop(job->loop, deliver, drop, job) < 0) {
            drop(job); /* the loop has ended, or there is no memory */
        }
    }
    return unused;
}

/* ---- answers, on the connection's loop */

static void send_answer(struct peal_conn *conn, const struct job *job)
{
    char line[LINE_MAX_BYTES + 3];
    int size =
        snprintf(line, sizeof line, "%s%s%s\r\n", job->id, job->is_in_turn ? "" : ":", job->answer);
    peal_conn_send(conn, line, (size_t)size);
    pthread_mutex_lock(&counts.mutex);
    histogram_add(&counts.latency, now_ns() - job->came_ns);
    pthread_mutex_unlock(&counts.mutex);
}

static void answered(struct peal_conn *conn, struct session *session, struct job *job)
{
    send_answer(conn, job);
    free_job(job);
    session->open--;
    if (session->open <= OPEN_MAX / 2 && peal_conn_is_paused(conn)) {
        peal_conn_resume_reading(conn);
    }
    if (session->has_ended && session->open == 0) {
        peal_conn_close(conn);
    }
}

static void done(struct peal_conn *conn, struct session *session, struct job *job)
{
    job->is_done = true;
    if (!job->is_in_turn) {
        answered(conn, session, job);
        return;
    }
    while ((job = session->first_in_turn) != NULL && job->is_done) {
        session->first_in_turn = job->next_in_turn;
        if (session->first_in_turn == NULL) {
            session->last_in_turn = &session->first_in_turn;
        }
        answered(conn, session, job);
    }
}

static void deliver(void *user)
{
    struct job *job = user;
    struct peal_conn *conn;
    if (peal_conn_find(job->conn_id, &conn) < 0) {
        drop(job);
        return;
    }
    atomic_fetch_sub(&counts.open, 1);
    done(conn, peal_conn_user(conn), job);
    peal_conn_unref(conn);
}

/* ---- questions */

static bool is_puzzle(const char *text)
{
    for (int i = 0; i < SUDOKU_CELLS; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
    }
    return true;
}

/* The line is [id:] and 81 digits: false if not, or without memory. */
static bool ask(struct peal_conn *conn, struct session *session, const char *line, size_t size)
{
    const char *colon = memchr(line, ':', size);
    size_t id_size = colon != NULL ? (size_t)(colon - line) : 0;
    const char *puzzle = colon != NULL ? colon + 1 : line;
    if (id_size > ID_MAX_BYTES || line + size - puzzle != SUDOKU_CELLS || !is_puzzle(puzzle)) {
        return false;
    }
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        return false;
    }
    memcpy(job->id, line, id_size);
    memcpy(job->puzzle, puzzle, SUDOKU_CELLS);
    job->conn_id = peal_conn_id(conn);
    job->loop = peal_loop_ref(peal_conn_loop(conn));
    job->came_ns = now_ns();
    job->is_in_turn = colon == NULL;
    if (job->is_in_turn) {
        *session->last_in_turn = job;
        session->last_in_turn = &job->next_in_turn;
    }
    if (++session->open > OPEN_MAX && !peal_conn_is_paused(conn)) {
        peal_conn_pause_reading(conn);
    }
    atomic_fetch_add(&counts.open, 1);
    if (atomic_load(&is_stopping) || !queue_put(job)) {
        atomic_fetch_sub(&counts.open, 1);
        atomic_fetch_add(&counts.too_busy, 1);
        strcpy(job->answer, "ServerTooBusy");
        done(conn, session, job);
    }
    return true;
}

static void end_questions(struct peal_conn *conn, struct session *session)
{
    session->has_ended = true;
    if (session->open == 0) {
        peal_conn_close(conn);
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct session *session = calloc(1, sizeof *session);
    (void)user;
    peal_conn_set_user(conn, session);
    if (session == NULL) {
        peal_conn_abort(conn);
        return;
    }
    session->last_in_turn = &session->first_in_turn;
}

static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    struct session *session = user;
    ssize_t end;
    if (session->has_ended) {
        peal_buf_clear(input);
        return;
    }
    while ((end = peal_buf_find_crlf(input)) >= 0) {
        if (!ask(conn, session, peal_buf_data(input), (size_t)end)) {
            break;
        }
        peal_buf_consume(input, (size_t)end + 2);
    }
    if (end >= 0 || peal_buf_size(input) > LINE_MAX_BYTES + 1) {
        peal_conn_send(conn, "Bad Request!\r\n", 14);
        end_questions(conn, session);
    }
}

static void on_eof(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)input;
    end_questions(conn, user);
}

/* Jobs that are with the workers find out by themselves; those that are done and wait for their
 * turn are nobody's but ours. */
static void on_close(struct peal_conn *conn, const struct peal_close_record *record, void *user)
{
    struct session *session = user;
    (void)conn;
    (void)record;
    for (struct job *job = session != NULL ? session->first_in_turn : NULL; job != NULL;) {
        struct job *next = job->next_in_turn;
        if (job->is_done) {
            free_job(job);
        }
        job = next;
    }
    free(session);
}

static const struct peal_conn_ops ops = {
    .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_close = on_close};

/* ---- the service */

static struct peal_timer patience; /* while it stops */
static uint64_t stop_by_ns;

static int start(const struct serving *serving)
{
    (void)serving;
    for (uint64_t i = 0; i < queue.workers; i++) {
        int error = pthread_create(&queue.threads[i], NULL, work, NULL);
        if (error != 0) {
            queue.workers = i;
            return -error;
        }
    }
    return 0;
}

static void print(const struct serving *serving)
{
    (void)serving;
    pthread_mutex_lock(&counts.mutex);
    printf("sudoku: solved %" PRIu64 ", no solution %" PRIu64 ", too busy %" PRIu64
           ", nobody waited %" PRIu64 "; us from question to answer: p50 %.0f, p90 %.0f, p99 %.0f, "
           "max %.0f\n",
           (uint64_t)atomic_load(&counts.solved), (uint64_t)atomic_load(&counts.unsolved),
           (uint64_t)atomic_load(&counts.too_busy), (uint64_t)atomic_load(&counts.gone),
           (double)histogram_at(&counts.latency, 0.5) / 1000,
           (double)histogram_at(&counts.latency, 0.9) / 1000,
           (double)histogram_at(&counts.latency, 0.99) / 1000, (double)counts.latency.max / 1000);
    pthread_mutex_unlock(&counts.mutex);
}

static void look_whether_all_is_answered(struct peal_timer *timer, void *user)
{
    struct peal_server *server = user;
    uint64_t now = now_ns();
    if (atomic_load(&counts.open) == 0 || now >= stop_by_ns) {
        peal_timer_cancel(timer);
        peal_server_stop(server, now < stop_by_ns ? (uint32_t)((stop_by_ns - now) / 1000000) : 0);
    }
}

static bool stop(const struct serving *serving)
{
    atomic_store(&is_stopping, true);
    peal_server_pause_accept(serving->server);
    stop_by_ns = now_ns() + (uint64_t)serving->drain_ms * 1000000;
    peal_timer_init(&patience, serving->loop, look_whether_all_is_answered, serving->server);
    peal_timer_start(&patience, 0, 10);
    return true;
}

static void end(void)
{
    pthread_mutex_lock(&queue.mutex);
    queue.is_ending = true;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.mutex);
    for (uint64_t i = 0; i < queue.workers; i++) {
        pthread_join(queue.threads[i], NULL);
    }
    print(NULL);
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"workers", "N", "threads that solve (2)", ARG_COUNT, .into = &queue.workers, .min = 1,
         .max = WORKERS_MAX},
        {"queue", "N", "questions that may wait for one (1000)", ARG_COUNT, .into = &queue.size_max,
         .min = 1},
        {0},
    };
    static const struct service service = {
        .name = "sudoku",
        .about = "Solves sudokus: [id:] and 81 digits on a line.",
        .address = "127.0.0.1:9981",
        .ops = &ops,
        .limits = {.pause_reading_at_high = true},
        .args = args,
        .start = start,
        .print = print,
        .stop = stop,
        .end = end,
    };
    return serve(&service, argc, argv);
}
