/* SPDX-License-Identifier: BSD-2-Clause */
/* curl-multi: downloads all URLs that it is given, many at once, on one loop and in one thread.
 *
 *     curl-multi --parallel 20 --save pages http://127.0.0.1:8000/a http://127.0.0.1:8000/b
 *     curl-multi --file urls
 *
 * One line for each, as it ends: the status (--- when there was none), the bytes of the body, the
 * URL and, when libcurl gave up, why. The exit code is 0 when all were answered with less than 400.
 * libcurl is at home on the loop by peal_curl.c; this file is a program that uses it.
 *
 * A slot is a transfer's memory and its easy handle, used again for the next URL, so that memory
 * goes with --parallel and not with the number of URLs. SIGINT and SIGTERM cancel what is under
 * way. */
#include "args.h"
#include "peal_curl.h"

#include <peal.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    struct peal_curl_transfer transfer;
    const char *url;
    FILE *body; /* with --save */
};

static uint64_t parallel = 100;
static uint32_t timeout_ms = 60000;
static const char *list_path, *save_path;

static struct peal_loop *loop;
static struct peal_curl *curl;
static char **urls;
static size_t url_count, begun, ended, failed;

static size_t discard(char *data, size_t size, size_t count, void *user)
{
    (void)data;
    (void)user;
    return size * count;
}

static FILE *open_body(size_t number)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%zu", save_path, number);
    return fopen(path, "wb");
}

static void print_end(const struct slot *slot, const char *why)
{
    long status = 0;
    curl_off_t bytes = 0;

    curl_easy_getinfo(slot->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(slot->transfer.easy, CURLINFO_SIZE_DOWNLOAD_T, &bytes);
    if (status == 0) {
        printf("--- ");
    } else {
        printf("%ld ", status);
    }
    printf("%" CURL_FORMAT_CURL_OFF_T " %s%s%s\n", bytes, slot->url, why ? ": " : "",
           why ? why : "");
    failed += why || status >= 400;
    ended++;
}

static void begin(struct slot *slot);

static void on_done(struct peal_curl_transfer *transfer, CURLcode result)
{
    struct slot *slot = transfer->user;
    const char *why = result == CURLE_OK ? NULL : curl_easy_strerror(result);

    if (slot->body && fclose(slot->body) != 0 && !why) {
        why = strerror(errno);
    }
    slot->body = NULL;
    print_end(slot, why);
    begin(slot);
}

/* The next URL, if there is one. */
static void begin(struct slot *slot)
{
    CURL *easy = slot->transfer.easy;

    while (begun < url_count) {
        slot->url = urls[begun++];
        curl_easy_reset(easy);
        curl_easy_setopt(easy, CURLOPT_URL, slot->url);
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
        if (!save_path) {
            curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, discard);
        } else if ((slot->body = open_body(begun))) {
            curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot->body);
        } else {
            print_end(slot, strerror(errno));
            continue;
        }
        int result = peal_curl_start(curl, &slot->transfer);
        if (result == 0) {
            return;
        }
        print_end(slot, peal_strerror(result));
        if (slot->body) {
            fclose(slot->body);
            slot->body = NULL;
        }
    }
    if (ended == url_count) {
        peal_loop_quit(loop);
    }
}

static void on_signal(struct peal_signal *signal, int number, void *user)
{
    (void)signal;
    (void)number;
    (void)user;
    peal_loop_quit(loop);
}

/* ---- what to download */

static int add_url(const char *url)
{
    char **more = realloc(urls, (url_count + 1) * sizeof(*urls));

    if (!more) {
        return -ENOMEM;
    }
    urls = more;
    urls[url_count] = strdup(url);
    if (!urls[url_count]) {
        return -ENOMEM;
    }
    url_count++;
    return 0;
}

static int read_list(void)
{
    FILE *file = strcmp(list_path, "-") == 0 ? stdin : fopen(list_path, "r");
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    int result = 0;

    if (!file) {
        return -errno;
    }
    while (result == 0 && (length = getline(&line, &size, file)) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0') {
            result = add_url(line);
        }
    }
    free(line);
    if (file != stdin) {
        fclose(file);
    }
    return result;
}

static int take_urls(const struct arg_command *command, const struct arg_texts *operands)
{
    int result = 0;

    for (size_t i = 0; i < operands->count && result == 0; i++) {
        result = add_url(operands->items[i]);
    }
    if (result == 0 && list_path && (result = read_list()) < 0) {
        return args_mistake(command, "%s: %s", list_path, peal_strerror(result));
    }
    if (result == 0 && url_count == 0) {
        return args_mistake(command, "no URL is given");
    }
    return result < 0 ? 1 : -1;
}

/* ---- the run of it */

static int download(void)
{
    size_t slot_count = parallel < url_count ? (size_t)parallel : url_count;
    struct slot *slots = calloc(slot_count, sizeof(*slots));
    struct peal_signal *on_int = NULL, *on_term = NULL;
    int result = slots ? peal_curl_new(loop, &curl) : -ENOMEM;

    if (result == 0) {
        result = peal_signal_open(loop, SIGINT, on_signal, NULL, &on_int);
    }
    if (result == 0) {
        result = peal_signal_open(loop, SIGTERM, on_signal, NULL, &on_term);
    }
    for (size_t i = 0; result == 0 && i < slot_count; i++) {
        slots[i].transfer = (struct peal_curl_transfer){
            .easy = curl_easy_init(), .done = on_done, .user = &slots[i]};
        if (!slots[i].transfer.easy) {
            result = -ENOMEM;
            break;
        }
        begin(&slots[i]);
    }
    if (result == 0) {
        result = peal_loop_run(loop);
    }
    curl = peal_curl_free(curl);
    for (size_t i = 0; slots && i < slot_count; i++) {
        curl_easy_cleanup(slots[i].transfer.easy);
        if (slots[i].body) {
            fclose(slots[i].body);
        }
    }
    free(slots);
    peal_signal_close(on_int);
    peal_signal_close(on_term);
    return result;
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"parallel", "N", "downloads at once (100)", ARG_COUNT, .into = &parallel, .min = 1,
         .max = 10000},
        {"file", "FILE", "URLs, one a line (- for standard input)", ARG_TEXT, .into = &list_path},
        {"save", "FOLDER", "keep the bodies there, as 1, 2, 3 …", ARG_TEXT, .into = &save_path},
        {"timeout", "SECONDS", "for one download (60)", ARG_TIME, .into = &timeout_ms, .min = 1},
        {0},
    };
    static const struct arg_command command = {
        .name = "curl-multi",
        .synopsis = "[OPTION]… [URL]…",
        .about = "Downloads all URLs, many at once, with libcurl on Peal's loop.",
        .args = args,
    };
    struct arg_texts operands = {0};
    int exit_code = args_parse(&command, argc, argv, &operands);

    if (exit_code < 0) {
        exit_code = take_urls(&command, &operands);
    }
    if (exit_code >= 0) {
        return exit_code;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int result = peal_loop_new(NULL, &loop);
    if (result == 0) {
        result = download();
        loop = peal_loop_free(loop);
    }
    curl_global_cleanup();
    if (result < 0) {
        fprintf(stderr, "curl-multi: %s\n", peal_strerror(result));
    } else if (ended < url_count) {
        fprintf(stderr, "curl-multi: cancelled with %zu of %zu ended\n", ended, url_count);
    }
    for (size_t i = 0; i < url_count; i++) {
        free(urls[i]);
    }
    free(urls);
    return result < 0 || failed > 0 || ended < url_count ? 1 : 0;
}
