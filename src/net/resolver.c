/* SPDX-License-Identifier: BSD-2-Clause */
/* getaddrinfo(3) off the loop.
 *
 * getaddrinfo blocks for as long as the slowest name server pleases and cannot be interrupted, so
 * it is called by worker threads that the whole process shares. A request is queued, a worker takes
 * it, looks the name up, and posts the request itself back to its loop as a task. There are at most
 * PL_RESOLVER_THREADS_MAX workers; one is started for each request while there are fewer, and a
 * worker that finds the queue empty ends. Nothing is kept warm: a thread costs some 20 microseconds
 * and a lookup a thousand times that, and a library that leaves no thread behind when it is idle
 * needs no call that shuts it down.
 *
 * A request is in one of four places, and whoever takes it out of one owns it:
 *
 *     queue ──worker──► lookup ──post──► the loop's tasks ──loop──► fn, and freed
 *       └─ cancel: freed at once     └─ the loop has ended: freed by the worker
 *
 * Invariants:
 *  1. The pool's mutex guards the queue and the count of workers, and nothing else. No lookup and
 *     no post is made under it; starting a thread is, so that a request can never be left queued
 *     by two starts that fail at the same time.
 *  2. While the queue is not empty there is at least one worker.
 *  3. cancelled is read and written on the loop's thread alone: a worker neither sees a
 *     cancellation nor hurries for it. A lookup that nobody waits for any more ends in on_task, or,
 *     after the loop, in the worker.
 *  4. A request holds a reference to its loop, and the worker one of its own while it posts: once
 *     posted, the request may be freed before the post has returned.
 *  5. Numeric hosts never reach a thread; their answer is posted all the same, so that fn is never
 *     called from inside start.
 *
 * Rejected: AI_ADDRCONFIG. It hides ::1 and 127.0.0.1 on a machine that has no other address of the
 * family, and the race of the connector deals with unreachable families anyway. Rejected too:
 * getaddrinfo_a(3), which tells of its end by a signal or by a thread for each answer. */
#include "net/resolver.h"

#include "base/assert.h"
#include "base/list.h"
#include "loop/loop.h"

#include <peal/error.h>

#include <errno.h>
#include <netdb.h>
#include <string.h>

struct pl_resolve {
    struct pl_task task;
    struct pl_list link; /* in the queue; else on no list */
    struct peal_loop *loop;
    pl_resolved_fn fn;
    void *user;
    struct peal_addr *addrs;
    size_t count;
    int error;
    int gai; /* the EAI_ code, when error is PEAL_ERR_RESOLVE; 0: the list was empty */
    bool cancelled;
    uint16_t port;
    char host[PEAL_HOST_MAX];
};

static struct {
    struct sys_mutex mutex;
    struct pl_list queue;
    unsigned threads;
} workers = {SYS_MUTEX_INIT, {&workers.queue, &workers.queue}, 0};

const struct pl_resolver_ops *pl_resolver = &pl_resolver_threads;

static void request_free(struct pl_resolve *request)
{
    peal_loop_unref(request->loop);
    sys_free(request->addrs);
    sys_free(request);
}

/* ---- on the loop's thread */

static void on_task(struct pl_task *task, bool dropped)
{
    struct pl_resolve *request = pl_container(task, struct pl_resolve, task);
    if (!dropped && !request->cancelled) {
        const struct pl_resolved resolved = {
            .error = request->error,
            .why = request->error == 0                  ? ""
                   : request->error != PEAL_ERR_RESOLVE ? peal_strerror(request->error)
                   : request->gai == 0                  ? "the name has no address"
                                                        : sys_gai_strerror(request->gai),
            .addrs = request->addrs,
            .count = request->count,
        };
        request->fn(&resolved, request->user);
    }
    request_free(request);
}

/* ---- in a worker */

static bool has_addr(const struct pl_resolve *request, const struct peal_addr *addr)
{
    for (size_t i = 0; i < request->count; i++) {
        if (peal_addr_equal(&request->addrs[i], addr)) {
            return true;
        }
    }
    return false;
}

/* Takes over what can be connected to, once each: /etc/hosts may name an address twice. */
static void take_addrs(struct pl_resolve *request, const struct addrinfo *list)
{
    size_t count = 0;
    for (const struct addrinfo *info = list; info; info = info->ai_next) {
        count++;
    }
    request->addrs = sys_calloc(count, sizeof *request->addrs);
    if (!request->addrs) {
        request->error = -ENOMEM;
        return;
    }
    for (const struct addrinfo *info = list; info; info = info->ai_next) {
        struct peal_addr addr;
        if (peal_addr_from_sockaddr(info->ai_addr, info->ai_addrlen, &addr) == 0 &&
            peal_addr_set_port(&addr, request->port) == 0 && !has_addr(request, &addr)) {
            request->addrs[request->count++] = addr;
        }
    }
    if (request->count == 0) {
        request->error = PEAL_ERR_RESOLVE;
    }
}

static void look_up(struct pl_resolve *request)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int gai = sys_getaddrinfo(request->host, NULL, &hints, &list);
    if (gai != 0) {
        request->error = gai == EAI_MEMORY ? -ENOMEM : PEAL_ERR_RESOLVE;
        request->gai = gai;
        return;
    }
    take_addrs(request, list);
    sys_freeaddrinfo(list);
}

static void deliver(struct pl_resolve *request)
{
    struct peal_loop *loop = peal_loop_ref(request->loop);
    if (!pl_loop_post_task(loop, &request->task)) {
        request_free(request);
    }
    peal_loop_unref(loop);
}

static void *work(void *arg)
{
    (void)arg;
    sys_mutex_lock(&workers.mutex);
    while (!pl_list_is_empty(&workers.queue)) {
        struct pl_resolve *request = pl_container(workers.queue.next, struct pl_resolve, link);
        pl_list_remove(&request->link);
        sys_mutex_unlock(&workers.mutex);
        look_up(request);
        deliver(request);
        sys_mutex_lock(&workers.mutex);
    }
    workers.threads--;
    sys_mutex_unlock(&workers.mutex);
    return NULL;
}

/* ---- requests */

/* Queues a request, and sees to it that somebody comes for it. 0, or the error of the one thread
 * there would have been. */
static int enqueue(struct pl_resolve *request)
{
    int result = 0;
    sys_mutex_lock(&workers.mutex);
    pl_list_append(&workers.queue, &request->link);
    if (workers.threads < PL_RESOLVER_THREADS_MAX) {
        result = sys_thread_start_detached("peal-resolver", work, NULL);
        workers.threads += result == 0 ? 1 : 0;
        if (workers.threads > 0) {
            result = 0; /* another will come to it */
        } else {
            pl_list_remove(&request->link);
        }
    }
    sys_mutex_unlock(&workers.mutex);
    return result;
}

/* The address that a numeric host is. */
static bool parse_numeric(const char *host, uint16_t port, struct peal_addr *ret_addr)
{
    char text[PEAL_HOST_MAX + sizeof "[]:65535"];
    if (host[0] == '\0' || strcmp(host, "*") == 0) {
        return false; /* what listens everywhere is no host */
    }
    if (strchr(host, ':')) {
        sys_format(text, sizeof text, "[%s]:%u", host, (unsigned)port);
    } else {
        sys_format(text, sizeof text, "%s:%u", host, (unsigned)port);
    }
    return peal_addr_parse(text, ret_addr, NULL) == 0 &&
           peal_addr_kind(ret_addr) != PEAL_ADDR_UNIX && peal_addr_kind(ret_addr) != PEAL_ADDR_FD;
}

/* 0, -ENOMEM or -ESRCH: the host is a name. */
static int answer_numeric(struct pl_resolve *request)
{
    struct peal_addr addr;
    if (!parse_numeric(request->host, request->port, &addr)) {
        return -ESRCH;
    }
    request->addrs = sys_malloc(sizeof addr);
    if (!request->addrs) {
        return -ENOMEM;
    }
    request->addrs[0] = addr;
    request->count = 1;
    return pl_loop_post_task(request->loop, &request->task) ? 0 : PEAL_ERR_LOOP_ENDED;
}

static int threads_start(struct peal_loop *loop, const char *host, uint16_t port, pl_resolved_fn fn,
                         void *user, struct pl_resolve **ret_request)
{
    size_t size = strlen(host) + 1;
    if (size > PEAL_HOST_MAX) {
        return -EINVAL;
    }
    struct pl_resolve *request = sys_calloc(1, sizeof *request);
    if (!request) {
        return -ENOMEM;
    }
    request->task.fn = on_task;
    pl_list_init(&request->link);
    request->loop = peal_loop_ref(loop);
    request->fn = fn;
    request->user = user;
    request->port = port;
    memcpy(request->host, host, size);
    int result = answer_numeric(request);
    if (result == -ESRCH) {
        result = enqueue(request);
    }
    if (result < 0) {
        request_free(request);
        return result;
    }
    *ret_request = request;
    return 0;
}

static void threads_cancel(struct pl_resolve *request)
{
    pl_assert(!request->cancelled);
    request->cancelled = true;
    sys_mutex_lock(&workers.mutex);
    bool queued = !pl_list_is_empty(&request->link);
    if (queued) {
        pl_list_remove(&request->link);
    }
    sys_mutex_unlock(&workers.mutex);
    if (queued) {
        request_free(request);
    }
}

const struct pl_resolver_ops pl_resolver_threads = {
    .name = "threads",
    .start = threads_start,
    .cancel = threads_cancel,
};

unsigned pl_resolver_thread_count(void)
{
    sys_mutex_lock(&workers.mutex);
    unsigned count = workers.threads;
    sys_mutex_unlock(&workers.mutex);
    return count;
}
