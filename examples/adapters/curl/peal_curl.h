/* SPDX-License-Identifier: BSD-2-Clause */
/* libcurl's transfers on a Peal loop: many at once, on the loop's thread, without one of their own.
 *
 * Take this pair of files into your program as it is. An easy handle is made and set up as always;
 * instead of curl_easy_perform it is started here. All calls: the loop's thread.
 *
 *     static void done(struct peal_curl_transfer *transfer, CURLcode result) {
 *         puts(curl_easy_strerror(result));
 *         curl_easy_cleanup(transfer->easy);
 *     }
 *
 *     static struct peal_curl_transfer transfer = {.done = done};
 *     transfer.easy = curl_easy_init();
 *     curl_easy_setopt(transfer.easy, CURLOPT_URL, "http://example.org/");
 *     peal_curl_new(loop, &curl);
 *     peal_curl_start(curl, &transfer);
 *     ...
 *     curl = peal_curl_free(curl);     // before peal_loop_free
 */
#ifndef PEAL_CURL_H
#define PEAL_CURL_H

#include <curl/curl.h>
#include <peal/loop.h>

struct peal_curl;

/* One transfer, in the caller's storage, which must stay until done or peal_curl_cancel. */
struct peal_curl_transfer {
    CURL *easy; /* the caller's; libcurl's CURLOPT_PRIVATE of it is taken */

    /* It has ended, and the easy handle can be asked how, used again or cleaned up. Once for each
     * start, never from inside a call of this file. May call all of them, peal_curl_free too. */
    void (*done)(struct peal_curl_transfer *transfer, CURLcode result);
    void *user;

    struct peal_curl_transfer *next, *prev; /* private */
};

/* Errors: -ENOMEM. curl_global_init is the program's matter. */
int peal_curl_new(struct peal_loop *loop, struct peal_curl **ret_curl);

/* Cancels what is under way, and closes libcurl's connections. Also inside done, and after the loop
 * has ended; not inside libcurl's callbacks. NULL is allowed. Returns NULL. */
struct peal_curl *peal_curl_free(struct peal_curl *curl);

/* Errors: -EBUSY (the handle is started already; or this is one of libcurl's own callbacks, where
 * it takes no other; or a socket could not be watched, and the last transfer of those that were
 * under way has not been told yet), -EINVAL (what is no easy handle), -ENOMEM. */
int peal_curl_start(struct peal_curl *curl, struct peal_curl_transfer *transfer);

/* Ends a transfer that was started and is not done, without a call of done. Not inside libcurl's
 * callbacks: return its error from those. */
void peal_curl_cancel(struct peal_curl *curl, struct peal_curl_transfer *transfer);

/* For CURLMOPT_ options, such as CURLMOPT_MAX_HOST_CONNECTIONS; but for the socket and the timer
 * function, which are taken. */
CURLM *peal_curl_multi(struct peal_curl *curl);

#endif
