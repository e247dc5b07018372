/* SPDX-License-Identifier: BSD-2-Clause */
/* The close record: what on_close is told about a connection that has ended, and why it did. */
#ifndef PEAL_CLOSE_H
#define PEAL_CLOSE_H

#include <peal/base.h>

PEAL_BEGIN

/* Why a connection ended: X(NAME, "text", sentence). */
#define PEAL_CAUSES(X)                                                                             \
    X(NONE, "none", "it has not ended")                                                            \
    X(PEER_CLOSED, "peer closed", "the peer ended its stream, and ours was ended after it")        \
    X(PEER_RESET, "peer reset", "the peer reset the connection")                                   \
    X(LOCAL_CLOSE, "local close",                                                                  \
      "peal_conn_close, or peal_conn_shutdown followed by the peer's end")                         \
    X(LOCAL_ABORT, "local abort", "peal_conn_abort")                                               \
    X(IDLE_TIMEOUT, "idle timeout", "no byte moved in either direction for idle_ms")               \
    X(FLUSH_TIMEOUT, "flush timeout",                                                              \
      "output was pending and the peer took none of it for flush_ms")                              \
    X(HALF_CLOSE_TIMEOUT, "half-close timeout",                                                    \
      "one side had ended and no byte moved for half_close_ms")                                    \
    X(LINGER_TIMEOUT, "linger timeout",                                                            \
      "all was sent, but the peer did not end its side within linger_ms")                          \
    X(LINGER_LIMIT, "linger limit",                                                                \
      "all was sent, but the peer went on sending past linger_bytes_max")                          \
    X(OUTPUT_CAP, "output cap", "a send would have taken pending output over output_bytes_max")    \
    X(INPUT_CAP, "input cap", "unconsumed input grew over input_bytes_max")                        \
    X(PROTOCOL, "protocol error", "a codec met a message that is too large or malformed")          \
    X(SERVER_STOP, "server stop", "the server was stopped")                                        \
    X(LOOP_ENDED, "loop ended", "the loop that the connection lived on ended")                     \
    X(IO_ERROR, "i/o error", "a system call on the socket or on a file being sent failed")         \
    X(NO_MEMORY, "out of memory", "an allocation that the connection needed failed")

enum peal_cause {
#define PEAL_CAUSE_ENUM(name, text, sentence) PEAL_CAUSE_##name,
    PEAL_CAUSES(PEAL_CAUSE_ENUM)
#undef PEAL_CAUSE_ENUM
        PEAL_CAUSE_COUNT
};

enum peal_conn_state {
    PEAL_CONN_CONNECTING, /* has a socket; on_open has not been called */
    PEAL_CONN_OPEN,
    PEAL_CONN_CLOSING,   /* flushing output; input is discarded */
    PEAL_CONN_LINGERING, /* FIN sent; reading and discarding until the peer's */
    PEAL_CONN_CLOSED,
    PEAL_CONN_STATE_COUNT
};

struct peal_close_record {
    enum peal_cause cause;
    enum peal_conn_state state; /* in which it ended */
    int error;                  /* a negative errno, where one was the cause; else 0 */
    bool clean;                 /* both sides ended their streams: FIN each way */
    uint64_t bytes_received;    /* read from the socket, discarded ones included */
    uint64_t bytes_accepted;    /* accepted from the program by send and its kin; == bytes_taken +
                                   bytes_unsent */
    uint64_t bytes_taken;       /* taken by the kernel */
    uint64_t bytes_unsent;      /* accepted and never taken by the kernel: lost */
    uint64_t bytes_unacked; /* of those taken: not yet acknowledged by the peer (SIOCOUTQ); for a
                               unix socket, unread */
    uint64_t
        bytes_discarded;  /* of those received: not shown to the program, because it had closed */
    uint64_t lifetime_ns; /* from on_open to on_close */
};

PEAL_API const char *peal_cause_text(enum peal_cause cause); /* "peer reset"; any thread */
PEAL_API const char *peal_conn_state_text(enum peal_conn_state state); /* "OPEN"; any thread */

/* The record as one line without newline, cut to size. Returns text. Any thread. */
#define PEAL_CLOSE_TEXT_MAX 320
PEAL_API const char *peal_close_record_format(const struct peal_close_record *record, char *text,
                                              size_t size);

PEAL_END
#endif
