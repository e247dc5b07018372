/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection: opens once, closes once, says why, and loses nothing that it accepted.
 *
 * A connection belongs to one loop for life, and all its callbacks run on that loop's thread, in
 * this order:
 *
 *     on_open, then any number of on_data, on_drain and at most one on_eof, then on_close - each at
 * top level, never from inside a call that the program makes (G1, G2).
 *
 * The pointer is valid without further ado from on_open until on_close returns, on the loop's
 * thread. To keep it longer, or to use it from another thread, take a reference (peal_conn_ref), or
 * keep its id (peal_conn_id), which can be used at any time and answers -ESTALE once the connection
 * has closed. A reference keeps memory, never the socket: the fd is closed right after on_close,
 * whoever holds what (G3, G4).
 *
 *     static void on_data(struct peal_conn *conn, struct peal_buf *input, void *user) {
 *         peal_conn_send(conn, peal_buf_data(input), peal_buf_size(input));
 *         peal_buf_clear(input);
 *     }
 *
 * Sending: bytes are accepted whole or not at all. What callbacks send is gathered and written
 * once, when the callback has returned (a piece of 8 KiB or more at once, with what had gathered,
 * so that it is not copied); what the kernel does not take then waits in a queue. Accepted bytes
 * reach the peer in order, without a gap; after a graceful close to a live peer, all of them do;
 * the close record counts what was not delivered (G5).
 */
#ifndef PEAL_CONN_H
#define PEAL_CONN_H

#include <peal/addr.h>
#include <peal/blob.h>
#include <peal/buf.h>
#include <peal/close.h>
#include <peal/codec.h>

#include <sys/uio.h>

PEAL_BEGIN

struct peal_conn;
struct peal_loop;

/* What the program wants to hear. Every member may be NULL. The structure is read during the
 * connection's life and is usually static. user is what the server's or client's options say until
 * peal_conn_set_user. */
struct peal_conn_ops {
    /* The connection is open. First of all callbacks. */
    void (*on_open)(struct peal_conn *conn, void *user);

    /* Bytes came. input holds them after what earlier calls left; consume what you use
     * (peal_buf_consume, peal_buf_take_…, peal_buf_clear); the rest is kept and shown again
     * together with what comes next. Do not keep pointers into it. NULL: input is discarded. */
    void (*on_data)(struct peal_conn *conn, struct peal_buf *input, void *user);

    /* The peer has ended its side (FIN); all its data was shown before. input holds what was left
     * unconsumed. NULL: the connection flushes what was accepted, ends its own side and closes.
     * Set: that is up to the program, which may go on sending, and calls peal_conn_close when it is
     * done. */
    void (*on_eof)(struct peal_conn *conn, struct peal_buf *input, void *user);

    /* Pending output has fallen to the low mark, after it was above the high mark or
     * peal_conn_want_drain was called. */
    void (*on_drain)(struct peal_conn *conn, void *user);

    /* The connection has ended: last of all callbacks, exactly once for each on_open. Its socket is
     * closed when this returns. */
    void (*on_close)(struct peal_conn *conn, const struct peal_close_record *record, void *user);
};

/* Limits of one connection. Zero means the default, PEAL_NEVER and PEAL_UNLIMITED none. Times are
 * milliseconds and are noticed with the precision of a quarter of their length or better. */
struct peal_conn_limits {
    uint32_t idle_ms;       /* no byte in either direction: ends gracefully; default: never */
    uint32_t flush_ms;      /* output pending and no progress at the peer; default 60,000 */
    uint32_t half_close_ms; /* one side ended and no byte moves; default 60,000 */
    uint32_t linger_ms; /* all is acknowledged, the peer does not end its side; default 10,000 */
    size_t linger_bytes_max;  /* input discarded after close; default 64 MiB */
    size_t output_high_bytes; /* high water mark; default 1 MiB */
    size_t output_low_bytes;  /* low water mark; default a quarter of the high one */
    size_t output_bytes_max;  /* hard cap on pending output; default 256 MiB */
    size_t input_bytes_max;   /* hard cap on input left unconsumed; default 16 MiB */
    bool output_cap_refuses; /* at the cap, send says -ENOBUFS and the connection lives; default: it
                                is aborted */
    bool pause_reading_at_high; /* reading stops while output is above the high mark, until it is at
                                   the low one */
};

/* ---- sending. Any thread with a reference. Each returns the number of bytes accepted (always all
 * of them), or:
 *   -EPIPE    the output side has been ended: by shutdown, close or abort, by the peer's reset, or
 *             the connection has closed
 *   -ENOBUFS  the bytes would take pending output over output_bytes_max. The connection is then
 *             aborted with cause OUTPUT_CAP, unless output_cap_refuses is set
 *   -ENOMEM   there was no memory to queue them; the connection lives and nothing was accepted.
 *             (Where the kernel had taken a part already, all is accepted, the connection ends with
 *             cause NO_MEMORY, and its record counts the rest as unsent.)
 *   -EINVAL   a size over SSIZE_MAX, or NULL with a size
 * Sending 0 bytes returns 0 (or -EPIPE). On the loop's thread bytes are copied once; from another
 * thread they are copied into a task for the loop. */
PEAL_API ssize_t peal_conn_send(struct peal_conn *conn, const void *data, size_t size);
PEAL_API ssize_t peal_conn_sendv(struct peal_conn *conn, const struct iovec *parts, int count);

/* Sends a blob by reference: nothing is copied, and the blob is released when the kernel has taken
 * it. */
PEAL_API ssize_t peal_conn_send_ref(struct peal_conn *conn, struct peal_blob *blob);

/* Sends size bytes of a file from offset, with sendfile(2) where it works. The fd is duplicated, so
 * the caller may close its own at once. Not counted against output_bytes_max, as it takes no
 * memory. A file that is cut short while it is being sent ends the connection with IO_ERROR and
 * -ENODATA. Also -EBADF, -EMFILE. The loop's thread. */
PEAL_API ssize_t peal_conn_send_file(struct peal_conn *conn, int fd, off_t offset, size_t size);

/* Sends one message with the codec's prefix in front of it. Also PEAL_ERR_OVERSIZE. Any thread with
 * a reference. */
PEAL_API ssize_t peal_conn_send_message(struct peal_conn *conn, const struct peal_codec *codec,
                                        const void *data, size_t size);

/* Takes the next whole message from input: 1 and the message, valid until input is next touched; 0
 * when there is none yet. A message that is too large or malformed aborts the connection with cause
 * PROTOCOL and returns the codec's error. The loop's thread. */
PEAL_API int peal_conn_next_message(struct peal_conn *conn, const struct peal_codec *codec,
                                    struct peal_buf *input, const void **ret_message,
                                    size_t *ret_size);

/* Writes what has been gathered now instead of when the callback returns: for one that will compute
 * for long. The loop's thread. */
PEAL_API void peal_conn_flush(struct peal_conn *conn);

/* ---- ending. Any thread with a reference; any number of times; no callback runs inside. */

/* Flush, then FIN: nothing can be sent after it, on_data goes on until the peer's end.
 * half_close_ms applies. When the peer has ended its side too, the connection closes. */
PEAL_API void peal_conn_shutdown(struct peal_conn *conn);

/* Graceful: flush what was accepted, FIN, read and discard until the peer's FIN (so that no reset
 * destroys the last bytes on their way), then closed. flush_ms and linger_ms bound it. */
PEAL_API void peal_conn_close(struct peal_conn *conn);

/* At once, with a reset, so that the peer can tell a cut stream from a whole one. (A unix socket
 * has no reset: its peer sees the end of the stream, or ECONNRESET if it had sent what was not
 * read.) Cuts short a close under way. */
PEAL_API void peal_conn_abort(struct peal_conn *conn);

/* ---- reading. Pauses count (to 65,535): as many resumes as pauses. A pause keeps on_data away,
 * but not the news that the peer has reset the connection: then what had arrived is shown, and
 * on_close follows (G6, G8). Pausing: the loop's thread. Resuming: any thread with a reference; so
 * whoever does elsewhere what the reading waits for ends the waiting, too. */
PEAL_API void peal_conn_pause_reading(struct peal_conn *conn);
PEAL_API void peal_conn_resume_reading(struct peal_conn *conn);
PEAL_API bool peal_conn_is_paused(const struct peal_conn *conn); /* any thread */

/* Asks for one on_drain when pending output is next at the low mark or below, even if it is so now.
 * The loop's thread. */
PEAL_API void peal_conn_want_drain(struct peal_conn *conn);

/* ---- references and ids. Any thread. The macros note file and line while tracking is on
 * (peal/refs.h). */
PEAL_API struct peal_conn *peal_conn_ref_at(struct peal_conn *conn, const char *file, int line);
PEAL_API struct peal_conn *peal_conn_unref_at(struct peal_conn *conn, const char *file, int line);
#define peal_conn_ref(conn) peal_conn_ref_at((conn), __FILE__, __LINE__) /* returns conn */
#define peal_conn_unref(conn)                                                                      \
    peal_conn_unref_at((conn), __FILE__, __LINE__) /* NULL is allowed. Returns NULL */

/* A number that names this connection and no other of the process, never 0: 32 bits of generation
 * over 32 bits of place. */
PEAL_API uint64_t peal_conn_id(const struct peal_conn *conn);

/* A reference to the connection with that id, or -ESTALE if it has closed or never was. */
PEAL_API PEAL_MUST_USE int peal_conn_find_at(uint64_t id, const char *file, int line,
                                             struct peal_conn **ret_conn);
#define peal_conn_find(id, ret_conn) peal_conn_find_at((id), __FILE__, __LINE__, (ret_conn))

/* By id: as the calls of the same name, or -ESTALE. */
PEAL_API ssize_t peal_conn_send_to_id(uint64_t id, const void *data, size_t size);
PEAL_API int peal_conn_shutdown_id(uint64_t id);
PEAL_API int peal_conn_close_id(uint64_t id);
PEAL_API int peal_conn_abort_id(uint64_t id);
PEAL_API int peal_conn_resume_reading_id(uint64_t id);

/* ---- what it is. Any thread with a reference, unless marked. */
PEAL_API enum peal_conn_state peal_conn_state(const struct peal_conn *conn);
PEAL_API struct peal_loop *peal_conn_loop(const struct peal_conn *conn);
PEAL_API void peal_conn_peer(const struct peal_conn *conn, struct peal_addr *ret_addr);
PEAL_API int peal_conn_local(const struct peal_conn *conn,
                             struct peal_addr *ret_addr);             /* loop's thread; -ENOTCONN */
PEAL_API void *peal_conn_user(const struct peal_conn *conn);          /* loop's thread */
PEAL_API void peal_conn_set_user(struct peal_conn *conn, void *user); /* loop's thread */
PEAL_API void peal_conn_set_ops(struct peal_conn *conn,
                                const struct peal_conn_ops *ops);     /* loop's thread */
PEAL_API size_t peal_conn_output_bytes(const struct peal_conn *conn); /* pending; loop's thread */
PEAL_API int
peal_conn_fd(const struct peal_conn *conn); /* loop's thread, for getsockopt; -1 once closed */

/* Other limits for this connection from now on. The structure is copied. -EINVAL (the low mark is
 * above the high one), -EPIPE (it has closed), -ENOMEM. The loop's thread. */
PEAL_API PEAL_MUST_USE int peal_conn_set_limits(struct peal_conn *conn,
                                                const struct peal_conn_limits *limits);

/* All moves of its state machine, as lines. The loop's thread, or once it has closed any
 * thread with a reference. */
PEAL_API void peal_conn_print_history(const struct peal_conn *conn,
                                      void (*line)(const char *text, void *user), void *user);

PEAL_END
#endif
