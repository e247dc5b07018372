/* SPDX-License-Identifier: BSD-2-Clause */
/* libcurl's multi interface, driven by a loop.
 *
 * libcurl says what it waits for: on_socket, which sockets and for what, each of which becomes a
 * watch; on_timer, its next moment, which is the one timer. When either is due, drive tells
 * libcurl, which does what it can without blocking, and then hands out what has ended.
 *
 *  1. libcurl is never called from inside its own callbacks: on_timer arms the timer for a time-out
 *     of 0 too, and on_socket only notes. Only the loop calls drive, so it does not nest.
 *  2. libcurl says CURL_POLL_REMOVE before it closes a socket, and may open another of the same
 *     number at once. The watch is closed then and there, so no event of the old one, not even one
 *     that the loop has already fetched, can be taken for one of the new one.
 *  3. A watch is what libcurl keeps for its socket (curl_multi_assign); nothing is looked up.
 *  4. done is called when the handle has left the multi handle, so that it may be started again,
 *     cleaned up, or all of it freed; only the memory then waits for the end of drive.
 *  5. What cannot be watched would never end. Then libcurl gives the whole multi handle up
 *     (CURLM_ABORTED_BY_CALLBACK), and each transfer on it is told so.
 *
 * A hang-up or a fault alone is told to libcurl as an error, with readiness as readiness beside it:
 * it then reads what there is before it finds the end. */
#include "peal_curl.h"

#include <peal/timer.h>
#include <peal/watch.h>

#include <errno.h>
#include <stdlib.h>

struct peal_curl {
    struct peal_loop *loop;
    CURLM *multi;
    struct peal_timer timer;
    struct peal_curl_transfer transfers; /* a ring, of which this is the seam */
    bool driving, freed;
};

/* Leaves libcurl and the list. */
static void forget(struct peal_curl *curl, struct peal_curl_transfer *transfer)
{
    curl_multi_remove_handle(curl->multi, transfer->easy);
    transfer->next->prev = transfer->prev;
    transfer->prev->next = transfer->next;
    transfer->next = transfer->prev = NULL;
}

static bool is_empty(const struct peal_curl *curl)
{
    return curl->transfers.next == &curl->transfers;
}

static void end(struct peal_curl *curl, struct peal_curl_transfer *transfer, CURLcode result)
{
    forget(curl, transfer);
    transfer->done(transfer, result);
}

static void hand_out(struct peal_curl *curl)
{
    const CURLMsg *message;
    int left;

    while (!curl->freed && (message = curl_multi_info_read(curl->multi, &left))) {
        if (message->msg == CURLMSG_DONE) {
            CURLcode result = message->data.result; /* the message goes with its handle */
            struct peal_curl_transfer *transfer = NULL;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
            end(curl, transfer, result);
        }
    }
}

/* Those that there are now: libcurl takes new ones when the last of them has left. */
static void end_all(struct peal_curl *curl)
{
    size_t count = 0;

    for (const struct peal_curl_transfer *transfer = curl->transfers.next;
         transfer != &curl->transfers; transfer = transfer->next) {
        count++;
    }
    while (count-- > 0 && !curl->freed && !is_empty(curl)) {
        end(curl, curl->transfers.next, CURLE_ABORTED_BY_CALLBACK);
    }
}

static void drive(struct peal_curl *curl, curl_socket_t fd, int events)
{
    int running;

    curl->driving = true;
    CURLMcode code = curl_multi_socket_action(curl->multi, fd, events, &running);
    hand_out(curl);
    if (code != CURLM_OK && !curl->freed) {
        end_all(curl);
    }
    curl->driving = false;
    if (curl->freed) {
        free(curl);
    }
}

static void on_ready(struct peal_watch *watch, uint32_t events, void *user)
{
    drive(user, peal_watch_fd(watch),
          (events & PEAL_READABLE ? CURL_CSELECT_IN : 0) |
              (events & PEAL_WRITABLE ? CURL_CSELECT_OUT : 0) |
              (events & (PEAL_HANGUP | PEAL_FAULT) ? CURL_CSELECT_ERR : 0));
}

static void on_due(struct peal_timer *timer, void *user)
{
    (void)timer;
    drive(user, CURL_SOCKET_TIMEOUT, 0);
}

/* ---- called by libcurl */

static int on_timer(CURLM *multi, long timeout_ms, void *user)
{
    struct peal_curl *curl = user;

    (void)multi;
    if (timeout_ms < 0) {
        peal_timer_cancel(&curl->timer);
    } else {
        peal_timer_start(&curl->timer, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *of_socket)
{
    struct peal_curl *curl = user;
    struct peal_watch *watch = of_socket;
    uint32_t events =
        (what & CURL_POLL_IN ? PEAL_READABLE : 0U) | (what & CURL_POLL_OUT ? PEAL_WRITABLE : 0U);

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        peal_watch_close(watch);
        return 0;
    }
    if (watch) {
        return peal_watch_set(watch, events) < 0 ? -1 : 0;
    }
    if (peal_watch_open(curl->loop, fd, events, on_ready, curl, &watch) < 0) {
        return -1;
    }
    return curl_multi_assign(curl->multi, fd, watch) == CURLM_OK ? 0 : -1;
}

/* ---- called by the program */

int peal_curl_new(struct peal_loop *loop, struct peal_curl **ret_curl)
{
    struct peal_curl *curl = calloc(1, sizeof(*curl));

    if (!curl || !(curl->multi = curl_multi_init())) {
        free(curl);
        return -ENOMEM;
    }
    curl->loop = loop;
    curl->transfers.next = curl->transfers.prev = &curl->transfers;
    peal_timer_init(&curl->timer, loop, on_due, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETDATA, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERDATA, curl);
    *ret_curl = curl;
    return 0;
}

struct peal_curl *peal_curl_free(struct peal_curl *curl)
{
    if (!curl) {
        return NULL;
    }
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERFUNCTION, NULL);
    while (!is_empty(curl)) {
        forget(curl, curl->transfers.next);
    }
    curl_multi_cleanup(curl->multi); /* removes its sockets, and thereby our watches */
    peal_timer_deinit(&curl->timer);
    if (curl->driving) {
        curl->freed = true;
    } else {
        free(curl);
    }
    return NULL;
}

int peal_curl_start(struct peal_curl *curl, struct peal_curl_transfer *transfer)
{
    curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(transfer->easy, CURLOPT_NOSIGNAL, 1L); /* a thread of many sets no alarms */
    switch (curl_multi_add_handle(curl->multi, transfer->easy)) {
    case CURLM_OK:
        transfer->next = &curl->transfers;
        transfer->prev = curl->transfers.prev;
        transfer->next->prev = transfer->prev->next = transfer;
        return 0;
    case CURLM_OUT_OF_MEMORY:
        return -ENOMEM;
    case CURLM_ABORTED_BY_CALLBACK: /* and not all have been told */
    case CURLM_ADDED_ALREADY:
    case CURLM_RECURSIVE_API_CALL:
        return -EBUSY;
    default:
        return -EINVAL;
    }
}

void peal_curl_cancel(struct peal_curl *curl, struct peal_curl_transfer *transfer)
{
    forget(curl, transfer);
}

CURLM *peal_curl_multi(struct peal_curl *curl)
{
    return curl->multi;
}
