/* SPDX-License-Identifier: BSD-2-Clause */
/* The five small services of the early internet: echo (RFC 862), discard (RFC 863), chargen
 * (RFC 864), daytime (RFC 867) and time (RFC 868, but see below).
 *
 * They are the library's smallest honest programs, so each is written as one would write it for
 * oneself. None keeps anything per connection:
 *
 *  - echo is its on_data. A peer that sends and does not read stops being read, because
 *    pause_reading_at_high is set: the server's memory for it is bounded by the high mark and not
 *    by its greed.
 *  - discard has no on_data at all: input that nobody wants is discarded by the library.
 *  - chargen sends by reference a blob that holds whole cycles of its rotating lines, so where a
 *    connection is in its cycle is never anybody's business. One blob is queued when pending output
 *    is at the low mark; the peer's reading is the clock.
 *  - daytime and time send and close; close is graceful, so what was sent arrives.
 *
 * time counts from 1970 in a signed number of 32 bits, as programs do that learnt it from other
 * network libraries; RFC 868 counts from 1900, which --help says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <peal/blob.h>

#include "commands.h"
#include "serve.h"

/* ---- echo */

static void echo_data(struct peal_conn *conn, struct peal_buf *input, void *user)
{
    (void)user;
    peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
    peal_buf_clear(input);
}

int echo_main(int argc, char **argv)
{
    static const struct peal_conn_ops ops = {.on_data = echo_data};
    static const struct service service = {
        .name = "echo",
        .about = "Sends back what it gets (RFC 862). When the peer has ended its side, the rest is "
                 "sent, and then\nthe connection closed.",
        .address = "127.0.0.1:2007",
        .ops = &ops,
        .limits = {.pause_reading_at_high = true},
    };
    return serve(&service, argc, argv);
}

/* ---- discard */

int discard_main(int argc, char **argv)
{
    static const struct peal_conn_ops ops = {0};
    static const struct service service = {
        .name = "discard",
        .about = "Reads what it gets and throws it away (RFC 863).",
        .address = "127.0.0.1:2009",
        .ops = &ops,
    };
    return serve(&service, argc, argv);
}

/* ---- chargen */

enum {
    PRINTABLE_FIRST = ' ',
    PRINTABLE_COUNT = 95,
    LINE_CHARS = 72,
    LINE_BYTES = LINE_CHARS + 2,                /* with CR LF */
    CYCLE_BYTES = PRINTABLE_COUNT * LINE_BYTES, /* after so many lines it begins anew */
    CYCLES_PER_BLOB = 18                        /* 126,540 bytes */
};

static struct peal_blob *chargen_blob;

static int chargen_start(const struct serving *serving)
{
    char *text = malloc((size_t)CYCLE_BYTES * CYCLES_PER_BLOB);
    char *at = text;

    (void)serving;
    if (text == NULL) {
        return -ENOMEM;
    }
    for (int line = 0; line < PRINTABLE_COUNT * CYCLES_PER_BLOB; line++) {
        for (int column = 0; column < LINE_CHARS; column++) {
            *at++ = (char)(PRINTABLE_FIRST + (line + column) % PRINTABLE_COUNT);
        }
        *at++ = '\r';
        *at++ = '\n';
    }
    int error = peal_blob_copy(text, (size_t)CYCLE_BYTES * CYCLES_PER_BLOB, &chargen_blob);
    free(text);
    return error;
}

static void chargen_end(void)
{
    chargen_blob = peal_blob_unref(chargen_blob);
}

static void chargen_more(struct peal_conn *conn, void *user)
{
    (void)user;
    if (peal_conn_send_ref(conn, chargen_blob) > 0) {
        peal_conn_want_drain(conn);
    }
}

int chargen_main(int argc, char **argv)
{
    static const struct peal_conn_ops ops = {.on_open = chargen_more, .on_drain = chargen_more};
    static const struct service service = {
        .name = "chargen",
        .about = "Sends rotating lines of 72 characters for as long as they are read (RFC 864).",
        .address = "127.0.0.1:2019",
        .ops = &ops,
        .limits = {.output_high_bytes = 256 * 1024, .output_low_bytes = 64 * 1024},
        .start = chargen_start,
        .end = chargen_end,
    };
    return serve(&service, argc, argv);
}

/* ---- daytime */

static void daytime_open(struct peal_conn *conn, void *user)
{
    char text[96];
    time_t now = time(NULL);
    struct tm parts;

    (void)user;
    gmtime_r(&now, &parts);
    size_t size = strftime(text, sizeof(text), "%A, %B %d, %Y %H:%M:%S-UTC\r\n", &parts);
    peal_conn_send(conn, text, size);
    peal_conn_close(conn);
}

int daytime_main(int argc, char **argv)
{
    static const struct peal_conn_ops ops = {.on_open = daytime_open};
    static const struct service service = {
        .name = "daytime",
        .about = "Sends the date and time (UTC) as one line, and closes (RFC 867).",
        .address = "127.0.0.1:2013",
        .ops = &ops,
    };
    return serve(&service, argc, argv);
}

/* ---- time */

static void time_open(struct peal_conn *conn, void *user)
{
    uint32_t now = (uint32_t)time(NULL);
    const unsigned char bytes[4] = {(unsigned char)(now >> 24), (unsigned char)(now >> 16),
                                    (unsigned char)(now >> 8), (unsigned char)now};

    (void)user;
    peal_conn_send(conn, bytes, sizeof(bytes));
    peal_conn_close(conn);
}

int time_main(int argc, char **argv)
{
    static const struct peal_conn_ops ops = {.on_open = time_open};
    static const struct service service = {
        .name = "time",
        .about = "Sends the time as four bytes, big-endian: seconds since 1970 (UTC). Then closes.",
        .notes = "RFC 868 has the same four bytes count from 1900: add 2208988800.",
        .address = "127.0.0.1:2037",
        .ops = &ops,
    };
    return serve(&service, argc, argv);
}
