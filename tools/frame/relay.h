/* SPDX-License-Identifier: BSD-2-Clause */
/* A relay: two connections joined, so that what comes in on the one goes out on the other, ends
 * included. The front is a connection that was accepted; the back is made by the relay, on the same
 * loop.
 *
 * The front's callbacks are the program's. It calls the functions of the same names here from
 * them, from relay_begin on:
 *
 *     static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user) {
 *         relay_on_data(user, input);
 *     }
 */
#ifndef PEAL_TOOLS_RELAY_H
#define PEAL_TOOLS_RELAY_H

#include <peal/client.h>

struct relay;

struct relay_ops {
    /* The back is open. What is sent to the front here comes before the back's bytes. May be NULL.
     */
    void (*on_up)(struct relay *relay);
    /* The back could not be connected: relay_try another place, or end the front. NULL: the front
     * is aborted, as if nobody had listened there. */
    void (*on_fail)(struct relay *relay, const struct peal_connect_failure *failure);
};

struct relay {
    struct peal_conn *front, *back; /* NULL: not there yet, or closed */
    struct peal_client *client;     /* while it connects */
    const struct relay_ops *ops;
    uint32_t connect_ms;
    struct peal_buf early;        /* came before the back was there */
    bool front_waits, back_waits; /* is not read until the other's output has gone down */
    void *mine;                   /* the program's, as the next */
    unsigned tries;               /* calls of relay_try that succeeded */
};

/* A relay for the front, which is not read until the back is open. What the front has sent already
 * is taken from input (NULL: nothing). Then relay_try says where to. NULL: no memory. The loop's
 * thread, as everything here. */
struct relay *relay_begin(struct peal_conn *front, struct peal_buf *input,
                          const struct relay_ops *ops, uint32_t connect_ms);

/* Connects to an address in text, or a name with a port. 0, or a negative errno: then on_fail is
 * not called. */
int relay_try(struct relay *relay, const char *to);

/* From the front's callbacks. After relay_on_close the relay has been freed, or will be. */
void relay_on_data(struct relay *relay, struct peal_buf *input);
void relay_on_eof(struct relay *relay);
void relay_on_drain(struct relay *relay);
void relay_on_close(struct relay *relay, const struct peal_close_record *record);

#endif
