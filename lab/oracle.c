/* SPDX-License-Identifier: BSD-2-Clause */
/* The oracle of the lab.
 *
 * Model. What is sent is made of chunks: a head (the stream's number, the writer, the writer's
 * sequence number, the length) and a body that follows from them. So whoever receives knows what
 * must come next, whichever threads have sent, and that it came from this end and no other: bytes
 * lost, doubled, reordered, torn or of another connection are found at once (G5).
 *
 * Checked as it happens:
 *   G1  callbacks run on the thread of the connection's loop
 *   G2  no callback runs inside a call that the program makes; on_close is last, exactly once
 *   G4  an id answers -ESTALE from on_close on
 *   G5  of what was accepted, the record's two parts are the whole; no send is accepted by halves
 *       and at the end of the run, when both ends of a stream are known:
 *   G5  whoever saw a clean end of a TCP stream has got all that was accepted by the other
 *   G6  every connection that opened has closed, with a cause, in a state that can end
 *   G7  a server's report adds up, and came after its last connection
 * That memory, fds and threads are back at their baseline, and that nothing waits for ever or
 * spins, the simulated system checks itself. */
#include "oracle.h"

#include "loop/loop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lab_stream *streams;
static struct lab_conn *conns;
static uint32_t streams_count;
static unsigned conns_open;
static _Thread_local unsigned depth;

void lab_begin(void)
{
    streams = NULL;
    conns = NULL;
    streams_count = 0;
    conns_open = 0;
    lab_promises_begin();
}

void lab_enter(void)
{
    depth++;
}

void lab_leave(void)
{
    depth--;
}

void lab_check_top_level(const char *callback)
{
    if (depth > 0) {
        peal_sim_fail("G2: %s runs inside a call of the program", callback);
    }
}

static void *take(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) {
        abort();
    }
    return memory;
}

/* ---- streams */

struct lab_stream *lab_new_stream(bool is_tcp)
{
    struct lab_stream *stream = take(sizeof *stream);
    stream->number = ++streams_count;
    stream->is_tcp = is_tcp;
    stream->next = streams;
    streams = stream;
    return stream;
}

static struct lab_stream *find_stream(uint32_t number)
{
    struct lab_stream *stream = streams;
    while (stream && stream->number != number) {
        stream = stream->next;
    }
    return stream;
}

static uint8_t body_byte(uint32_t stream, uint32_t writer, uint32_t sequence, uint32_t at)
{
    return (uint8_t)((stream * 197 + writer * 31 + sequence * 7 + at) ^ (at >> 8));
}

void lab_chunk(const struct lab_stream *stream, unsigned writer, size_t size, uint8_t *ret_bytes)
{
    uint32_t sequence = stream->sequence[writer], body = (uint32_t)(size - LAB_CHUNK_HEAD);
    uint16_t short_writer = (uint16_t)writer, short_body = (uint16_t)body;
    memcpy(ret_bytes, &stream->number, 4);
    memcpy(ret_bytes + 4, &short_writer, 2);
    memcpy(ret_bytes + 6, &short_body, 2);
    memcpy(ret_bytes + 8, &sequence, 4);
    for (uint32_t i = 0; i < body; i++) {
        ret_bytes[LAB_CHUNK_HEAD + i] = body_byte(stream->number, writer, sequence, i);
    }
}

void lab_sent(struct lab_stream *stream, unsigned writer, size_t size)
{
    stream->sequence[writer]++;
    stream->accepted += size;
}

void lab_broadcast_chunk(uint32_t sequence, size_t size, uint8_t *ret_bytes)
{
    struct lab_stream all = {.number = LAB_BROADCAST, .sequence = {sequence}};
    lab_chunk(&all, 0, size, ret_bytes);
}

/* A reader's stream is known from the first chunk that is its own; broadcast chunks before it are
 * checked, and counted when it is. */
static void read_broadcast_head(struct lab_reader *reader)
{
    if (reader->sequence < reader->broadcasts_due) {
        peal_sim_fail("G5: broadcast %" PRIu32 " came where at least %" PRIu32 " was due",
                      reader->sequence, reader->broadcasts_due);
    }
    reader->broadcasts_due = reader->sequence + 1;
}

static void read_head(struct lab_reader *reader)
{
    uint32_t number;
    uint16_t writer, body;
    memcpy(&number, reader->head, 4);
    memcpy(&writer, reader->head + 4, 2);
    memcpy(&body, reader->head + 6, 2);
    memcpy(&reader->sequence, reader->head + 8, 4);
    reader->number = number;
    reader->writer = writer;
    reader->body_left = body;
    reader->at = 0;
    reader->head_size = 0;
    if (number == LAB_BROADCAST) {
        read_broadcast_head(reader);
        return;
    }
    struct lab_stream *stream = find_stream(number);
    if (!stream || writer >= LAB_WRITERS || (reader->stream && reader->stream != stream)) {
        peal_sim_fail("G5: what came is no chunk of this stream (stream %" PRIu32
                      ", writer %u): bytes are lost, torn or another's",
                      number, writer);
    }
    reader->stream = stream;
    if (reader->sequence != stream->seen[writer]) {
        peal_sim_fail("G5: chunk %" PRIu32 " of writer %u came where %" PRIu32 " was due",
                      reader->sequence, writer, stream->seen[writer]);
    }
    stream->seen[writer]++;
}

void lab_read(struct lab_reader *reader, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    reader->received += size;
    while (size > 0) {
        if (reader->body_left == 0) {
            reader->head[reader->head_size++] = *bytes++;
            size--;
            if (reader->head_size == LAB_CHUNK_HEAD) {
                read_head(reader);
            }
            continue;
        }
        if (*bytes != body_byte(reader->number, reader->writer, reader->sequence, reader->at)) {
            peal_sim_fail("G5: a wrong byte at %" PRIu32 " of a chunk of stream %" PRIu32,
                          reader->at, reader->number);
        }
        bytes++;
        size--;
        reader->at++;
        reader->body_left--;
    }
    if (reader->stream) {
        reader->stream->received = reader->received;
        reader->stream->read_ms = peal_sim_now_ms();
    }
}

void lab_read_end(struct lab_reader *reader)
{
    if ((reader->head_size > 0 || reader->body_left > 0) && reader->is_tcp) {
        peal_sim_fail("G5: a clean end of stream in the midst of a chunk");
    }
    if (reader->stream) {
        reader->stream->saw_end = true;
    }
}

/* ---- connections */

static void check_callback(const struct lab_conn *lab, struct peal_conn *conn, const char *name)
{
    lab_check_top_level(name);
    if (lab->is_closed || lab->conn != conn) {
        peal_sim_fail("G2: %s after on_close", name);
    }
    if (!peal_loop_is_mine(peal_conn_loop(conn))) {
        peal_sim_fail("G1: %s on a thread that is not the loop's", name);
    }
}

struct lab_conn *lab_opened(struct peal_conn *conn, struct lab_server *server, bool is_tcp)
{
    struct lab_conn *lab = take(sizeof *lab);
    lab->conn = conn;
    lab->loop = peal_conn_loop(conn);
    lab->id = peal_conn_id(conn);
    lab->server = server;
    lab->out = lab_new_stream(is_tcp);
    lab->in.is_tcp = is_tcp;
    lab->next = conns;
    conns = lab;
    conns_open++;
    check_callback(lab, conn, "on_open");
    if (server) {
        PEAL_SIM_CHECK(!server->is_stopped);
        server->opened++;
    }
    lab_promises_opened(lab, conn);
    if (peal_conn_state(conn) != PEAL_CONN_OPEN && peal_conn_state(conn) != PEAL_CONN_CLOSING &&
        peal_conn_state(conn) != PEAL_CONN_CLOSED) {
        peal_sim_fail("on_open in state %s", peal_conn_state_text(peal_conn_state(conn)));
    }
    return lab;
}

void lab_data(struct lab_conn *lab, struct peal_conn *conn)
{
    check_callback(lab, conn, "on_data");
    PEAL_SIM_CHECK(!lab->saw_eof);
    PEAL_SIM_CHECK(peal_conn_state(conn) == PEAL_CONN_OPEN);
    lab->shown_while_paused |= lab->pauses > 0;
    lab->shown_ms = pl_loop_now_ms(lab->loop);
    lab_promises_shown(lab);
}

void lab_eof(struct lab_conn *lab, struct peal_conn *conn)
{
    check_callback(lab, conn, "on_eof");
    PEAL_SIM_CHECK(!lab->saw_eof);
    PEAL_SIM_CHECK(lab->pauses == 0);
    lab->saw_eof = true;
    lab_promises_shown(lab);
}

void lab_drained(struct lab_conn *lab, struct peal_conn *conn)
{
    check_callback(lab, conn, "on_drain");
    lab_promises_drained(lab);
}

/* What another thread is sending at this moment may be in the record or not. */
static bool accepted_is_right(const struct lab_stream *stream,
                              const struct peal_close_record *record)
{
    return record->bytes_accepted >= stream->accepted - stream->in_flight &&
           (stream->is_broadcast || record->bytes_accepted <= stream->accepted);
}

static void check_record(const struct lab_conn *lab, const struct peal_close_record *record)
{
    char text[PEAL_CLOSE_TEXT_MAX];
    const char *wrong = NULL;
    if (record->cause == PEAL_CAUSE_NONE || record->cause >= PEAL_CAUSE_COUNT) {
        wrong = "G6: no cause";
    } else if (record->state < PEAL_CONN_OPEN || record->state > PEAL_CONN_LINGERING) {
        wrong = "G6: it ended in a state that has no end";
    } else if (record->bytes_accepted != record->bytes_taken + record->bytes_unsent) {
        wrong = "G5: accepted is not taken + unsent";
    } else if (!accepted_is_right(lab->out, record)) {
        wrong = "G5: accepted is not what send said";
    } else if (record->bytes_received < lab->shown) {
        wrong = "G5: less received than was shown";
    } else if (record->clean && record->bytes_unsent > 0) {
        wrong = "G5: clean, and bytes are unsent";
    } else if (record->error == -EINTR || record->error == -EAGAIN) {
        wrong = "G6: what says only to try again has ended it";
    }
    if (wrong) {
        peal_sim_fail("%s: send accepted %" PRIu64 ", %s", wrong, lab->out->accepted,
                      peal_close_record_format(record, text, sizeof text));
    }
}

void lab_closed(struct lab_conn *lab, struct peal_conn *conn,
                const struct peal_close_record *record)
{
    struct peal_conn *found = NULL;
    check_callback(lab, conn, "on_close");
    lab->out->is_broadcast = lab->server && lab->server->broadcasts > 0;
    check_record(lab, record);
    lab_promises_closed(lab, conn, record);
    if (LAB_CALL(peal_conn_find(lab->id, &found)) != -ESTALE) {
        peal_sim_fail("G4: the id of a connection that is closing still finds it");
    }
    if (LAB_CALL(peal_conn_send(conn, "x", 1)) != -EPIPE) {
        peal_sim_fail("G4: a send in on_close is not refused");
    }
    lab->out->record = *record;
    lab->out->has_record = true;
    lab->is_closed = true;
    lab->conn = NULL;
    conns_open--;
    if (lab->server) {
        PEAL_SIM_CHECK(!lab->server->is_stopped);
        lab->server->closed++;
        lab_promises_gone(lab, conn);
    }
}

unsigned lab_conns_open(void)
{
    return conns_open;
}

static ssize_t send_blob(struct peal_conn *conn, const void *data, size_t size)
{
    struct peal_blob *blob;
    ssize_t result = LAB_CALL(peal_blob_copy(data, size, &blob));
    if (result == 0) {
        result = LAB_CALL(peal_conn_send_ref(conn, blob));
        LAB_DO(peal_blob_unref(blob));
    }
    return result;
}

static ssize_t send_file(struct peal_conn *conn, unsigned writer, const void *data, size_t size)
{
    char path[64];
    static unsigned files;
    snprintf(path, sizeof path, "/lab/%u-%u", writer, files++);
    peal_sim_write_file(path, data, size);
    int fd = peal_sim_open_file(path);
    ssize_t result = LAB_CALL(peal_conn_send_file(conn, fd, 0, size));
    peal_sim_close_file(fd);
    return result;
}

static ssize_t send_way(struct lab_conn *lab, struct peal_conn *conn, unsigned writer,
                        const uint8_t *data, size_t size, enum lab_way way)
{
    struct iovec parts[] = {{(void *)(uintptr_t)data, size / 2},
                            {(void *)(uintptr_t)(data + size / 2), size - size / 2}};
    switch (way) {
    case LAB_SENDV:
        return LAB_CALL(peal_conn_sendv(conn, parts, 2));
    case LAB_SEND_REF:
        return send_blob(conn, data, size);
    case LAB_SEND_FILE:
        return send_file(conn, writer, data, size);
    case LAB_SEND_TO_ID:
        return LAB_CALL(peal_conn_send_to_id(lab->id, data, size));
    default:
        return LAB_CALL(peal_conn_send(conn, data, size));
    }
}

ssize_t lab_send(struct lab_conn *lab, struct peal_conn *conn, unsigned writer, size_t size,
                 enum lab_way way)
{
    static uint8_t room[LAB_WRITERS][LAB_CHUNK_MAX];
    struct lab_stream *stream = lab->out;
    size = size < LAB_CHUNK_HEAD ? LAB_CHUNK_HEAD : size > LAB_CHUNK_MAX ? LAB_CHUNK_MAX : size;
    lab_chunk(stream, writer, size, room[writer]);
    lab_sent(stream, writer, size);
    stream->in_flight += size;
    ssize_t result = send_way(lab, conn, writer, room[writer], size, way);
    stream->in_flight -= size;
    lab->has_sent_file |= way == LAB_SEND_FILE;
    lab_promises_moved(lab);
    if (conn && !lab->is_closed) {
        lab_promises_sent(lab, conn);
    }
    if (result < 0) {
        stream->sequence[writer]--;
        stream->accepted -= size;
    } else if ((size_t)result != size) {
        peal_sim_fail("G5: of %zu bytes %zd were accepted", size, result);
    }
    return result;
}

/* ---- servers */

void lab_stopped(struct lab_server *server, const struct peal_drain_report *report)
{
    lab_check_top_level("on_stopped");
    PEAL_SIM_CHECK(!server->is_stopped);
    server->is_stopped = true;
    server->report = *report;
    if (server->opened != server->closed) {
        peal_sim_fail("G7: on_stopped with %" PRIu64 " connections opened and %" PRIu64 " closed",
                      server->opened, server->closed);
    }
    uint64_t ended = report->closed_clean + report->closed_otherwise + report->cut_off;
    if (report->connections != ended) {
        char text[PEAL_DRAIN_TEXT_MAX];
        peal_sim_fail("G7: the report does not add up: %s",
                      peal_drain_report_format(report, text, sizeof text));
    }
}

/* ---- the end */

static void check_stream(const struct lab_stream *stream)
{
    uint64_t sent = stream->has_record ? stream->record.bytes_taken : stream->accepted;
    uint64_t accepted = stream->is_broadcast ? stream->record.bytes_accepted : stream->accepted;
    if (stream->has_record && stream->record.bytes_accepted != accepted) {
        peal_sim_fail("G5: send accepted %" PRIu64 " bytes of stream %" PRIu32
                      ", its record tells of %" PRIu64,
                      accepted, stream->number, stream->record.bytes_accepted);
    }
    if (stream->received > sent) {
        peal_sim_fail("G5: %" PRIu64 " bytes of stream %" PRIu32 " were received, %" PRIu64 " sent",
                      stream->received, stream->number, sent);
    }
    if (stream->saw_end && stream->is_tcp && stream->received != accepted) {
        char text[PEAL_CLOSE_TEXT_MAX] = "a peer's";
        if (stream->has_record) {
            peal_close_record_format(&stream->record, text, sizeof text);
        }
        peal_sim_fail("G5: a clean end of stream after %" PRIu64 " of %" PRIu64
                      " accepted bytes (%s)",
                      stream->received, accepted, text);
    }
}

void lab_end(void)
{
    for (const struct lab_conn *lab = conns; lab; lab = lab->next) {
        if (!lab->is_closed) {
            peal_sim_fail("G6: a connection was opened and never closed");
        }
    }
    for (const struct lab_stream *stream = streams; stream; stream = stream->next) {
        check_stream(stream);
    }
}
