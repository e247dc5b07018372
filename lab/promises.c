/* SPDX-License-Identifier: BSD-2-Clause */
/* The oracle's second half: what limits, pauses and drains promise.
 *
 * Model. Of each connection the oracle notes the least and the most that every limit of it ever was,
 * when the program last saw or did anything with it, and when the other end last read. What a limit
 * forbids must not be; what it demands must have come by the most that it was, a quarter of it for
 * the precision of the looks, and SLACK_MS for a loop that was busy; and must not have come before
 * the least that it was.
 *
 * All is judged when on_close comes: every connection closes, and a time-out that was forgotten
 * leaves it open until the peer or a stop ends it, which is later than it should have been. So the
 * oracle asks nobody in between, and changes nothing of the run. What came early is judged by the
 * clock of the loop's turn, as the library does: real time may have passed since.
 *
 * Not judged, since the oracle cannot know when bytes moved: connections whose server broadcasts,
 * and sends between two ends that are both Peal's (one that lingers discards what the other's
 * kernel has delivered, and no program sees it). */
#include "oracle.h"

#include "loop/loop.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* The defaults that docs/reference promises. */
enum {
    FLUSH_MS = 60000,
    HALF_CLOSE_MS = 60000,
    LINGER_MS = 10000,
    HIGH_BYTES = 1024 * 1024,
    CAP_BYTES = 256 * 1024 * 1024
};
enum { SLACK_MS = 1500, EARLY_MS = 5 };

static bool both_ends_are_peals;

void lab_promises_begin(void)
{
    both_ends_are_peals = false;
}

void lab_both_ends_are_peals(void)
{
    both_ends_are_peals = true;
}

/* ---- what is noted */

static void widen_ms(uint32_t value, uint32_t standard, bool is_first, uint32_t *least,
                     uint32_t *most)
{
    value = value ? value : standard;
    *least = is_first || value < *least ? value : *least;
    *most = is_first || value > *most ? value : *most;
}

void lab_limits(struct lab_conn *lab, const struct peal_conn_limits *limits)
{
    struct lab_bounds *bounds = &lab->bounds;
    bool first = !lab->has_bounds;
    size_t high = limits->output_high_bytes ? limits->output_high_bytes : HIGH_BYTES;
    size_t cap = limits->output_bytes_max ? limits->output_bytes_max : CAP_BYTES;
    widen_ms(limits->idle_ms, PEAL_NEVER, first, &bounds->idle_least_ms, &bounds->idle_most_ms);
    widen_ms(limits->flush_ms, FLUSH_MS, first, &bounds->flush_least_ms, &bounds->flush_most_ms);
    widen_ms(limits->half_close_ms, HALF_CLOSE_MS, first, &bounds->half_close_least_ms,
             &bounds->half_close_most_ms);
    widen_ms(limits->linger_ms, LINGER_MS, first, &bounds->linger_least_ms,
             &bounds->linger_most_ms);
    bounds->high_least = first || high < bounds->high_least ? high : bounds->high_least;
    bounds->cap_most = first || cap > bounds->cap_most ? cap : bounds->cap_most;
    lab->has_bounds = true;
    lab_promises_moved(lab);
}

void lab_promises_moved(struct lab_conn *lab)
{
    lab->moved_ms = peal_sim_now_ms();
}

void lab_ends(struct lab_conn *lab, enum lab_end end)
{
    uint64_t now_ms = peal_sim_now_ms();
    lab->moved_ms = now_ms;
    if (end == LAB_CLOSE && lab->closed_ms == 0) {
        lab->closed_ms = now_ms;
    } else if (end == LAB_ABORT && lab->aborted_ms == 0) {
        lab->aborted_ms = now_ms;
    }
    lab->was_shut |= end == LAB_SHUTDOWN;
}

/* ---- how many connections there may be */

static uint64_t *count_of(struct lab_conn *lab, const struct peal_conn *conn)
{
    struct peal_addr peer;
    peal_conn_peer(conn, &peer);
    int family = peal_addr_family(&peer);
    return family == AF_INET    ? &lab->server->open_v4
           : family == AF_INET6 ? &lab->server->open_v6
                                : NULL;
}

void lab_promises_opened(struct lab_conn *lab, const struct peal_conn *conn)
{
    const struct lab_server *server = lab->server;
    lab->opened_ms = lab->shown_ms = pl_loop_now_ms(lab->loop);
    lab->moved_ms = peal_sim_now_ms();
    if (!server) {
        return;
    }
    if (server->conns_max > 0 && server->opened - server->closed > server->conns_max) {
        peal_sim_fail("%" PRIu64 " connections are open, where conns_max is %zu",
                      server->opened - server->closed, server->conns_max);
    }
    uint64_t *count = count_of(lab, conn);
    if (count && ++*count > server->conns_per_addr_max && server->conns_per_addr_max > 0) {
        peal_sim_fail("%" PRIu64 " connections of one address, where %zu may be", *count,
                      server->conns_per_addr_max);
    }
}

void lab_promises_gone(struct lab_conn *lab, const struct peal_conn *conn)
{
    uint64_t *count = count_of(lab, conn);
    if (count) {
        --*count;
    }
}

/* ---- output */

void lab_promises_drained(struct lab_conn *lab)
{
    bool broadcasts = lab->server && lab->server->broadcasts > 0;
    if (!lab->wants_drain && lab->has_bounds && !broadcasts &&
        lab->out->accepted <= lab->bounds.high_least) {
        peal_sim_fail("on_drain, which nobody has asked for, after %" PRIu64
                      " bytes; the high mark is at %zu",
                      lab->out->accepted, lab->bounds.high_least);
    }
    lab->wants_drain = false;
}

void lab_promises_sent(const struct lab_conn *lab, const struct peal_conn *conn)
{
    if (lab->has_bounds && !lab->has_sent_file && peal_loop_is_mine(lab->loop) &&
        peal_conn_output_bytes(conn) > lab->bounds.cap_most) {
        peal_sim_fail("G9: %zu bytes are pending after a send, where the cap is %zu",
                      peal_conn_output_bytes(conn), lab->bounds.cap_most);
    }
}

/* ---- time */

static void check_early(const struct lab_conn *lab, const struct peal_close_record *record)
{
    uint64_t now_ms = pl_loop_now_ms(lab->loop) + EARLY_MS, since_ms = lab->opened_ms;
    uint32_t least_ms = 0;
    switch (record->cause) {
    case PEAL_CAUSE_IDLE_TIMEOUT:
        since_ms = lab->shown_ms;
        least_ms = lab->bounds.idle_least_ms;
        break;
    case PEAL_CAUSE_HALF_CLOSE_TIMEOUT:
        since_ms = lab->shown_ms;
        least_ms = lab->bounds.half_close_least_ms;
        break;
    case PEAL_CAUSE_FLUSH_TIMEOUT:
        least_ms = lab->bounds.flush_least_ms;
        break;
    case PEAL_CAUSE_LINGER_TIMEOUT:
        least_ms = lab->bounds.linger_least_ms;
        break;
    default:
        return;
    }
    if (least_ms == PEAL_NEVER || now_ms - since_ms < least_ms) {
        peal_sim_fail("%s after %" PRIu64 " ms, which may come after %" PRIu32 " ms",
                      peal_cause_text(record->cause), now_ms - EARLY_MS - since_ms, least_ms);
    }
}

static void check_limit(const char *name, uint32_t most_ms, uint64_t quiet_ms)
{
    if (most_ms != PEAL_NEVER && quiet_ms > most_ms + (uint64_t)most_ms / 4 + SLACK_MS) {
        peal_sim_fail("it was open and nothing happened for %" PRIu64
                      " ms, though its %s is %" PRIu32,
                      quiet_ms, name, most_ms);
    }
}

/* For how long nothing has happened; 0 if that is not known. */
static uint64_t quiet_ms_of(const struct lab_conn *lab)
{
    bool broadcasts = lab->server && lab->server->broadcasts > 0;
    if (broadcasts || (lab->out->accepted > 0 && both_ends_are_peals)) {
        return 0;
    }
    uint64_t read_ms = lab->out->read_ms;
    return peal_sim_now_ms() - (read_ms > lab->moved_ms ? read_ms : lab->moved_ms);
}

/* It is open, and something comes at last: not too late? */
void lab_promises_shown(struct lab_conn *lab)
{
    uint64_t quiet_ms = quiet_ms_of(lab);
    if (lab->has_bounds) {
        check_limit("idle_ms", lab->bounds.idle_most_ms, quiet_ms);
    }
    if (lab->has_bounds && lab->was_shut && lab->out->accepted == 0) {
        check_limit("half_close_ms", lab->bounds.half_close_most_ms, quiet_ms);
    }
    lab_promises_moved(lab);
}

static void check_late(const struct lab_conn *lab, const struct peal_close_record *record)
{
    const struct lab_bounds *bounds = &lab->bounds;
    uint64_t now_ms = peal_sim_now_ms(), quiet_ms = quiet_ms_of(lab);
    if (lab->aborted_ms && now_ms - lab->aborted_ms > SLACK_MS) {
        peal_sim_fail("it ended %" PRIu64 " ms after it was aborted", now_ms - lab->aborted_ms);
    }
    if (record->bytes_unsent > 0 && record->state != PEAL_CONN_LINGERING) {
        check_limit("flush_ms", bounds->flush_most_ms, quiet_ms);
    } else if (record->state == PEAL_CONN_OPEN && (lab->saw_eof || lab->was_shut)) {
        check_limit("half_close_ms", bounds->half_close_most_ms, quiet_ms);
    }
    if (record->state == PEAL_CONN_OPEN) {
        check_limit("idle_ms", bounds->idle_most_ms, quiet_ms);
    } else if (record->state == PEAL_CONN_LINGERING && lab->closed_ms) {
        check_limit("linger_ms", bounds->linger_most_ms, quiet_ms);
    }
}

static bool is_of_the_system(enum peal_cause cause)
{
    return cause == PEAL_CAUSE_PEER_RESET || cause == PEAL_CAUSE_IO_ERROR ||
           cause == PEAL_CAUSE_NO_MEMORY;
}

void lab_promises_closed(const struct lab_conn *lab, struct peal_conn *conn,
                         const struct peal_close_record *record)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (peal_conn_fd(conn) < 0 ||
        sys_getsockname(peal_conn_fd(conn), (struct sockaddr *)&name, &size) == -EBADF) {
        peal_sim_fail("G3: in on_close the socket is closed");
    }
    if (lab->shown_while_paused && !is_of_the_system(record->cause)) {
        peal_sim_fail("G8: on_data while paused, and the end was: %s",
                      peal_cause_text(record->cause));
    }
    if (lab->has_bounds) {
        if (!lab->has_sent_file && record->bytes_unsent > lab->bounds.cap_most) {
            peal_sim_fail("G9: %" PRIu64 " bytes were pending at the end, where the cap is %zu",
                          record->bytes_unsent, lab->bounds.cap_most);
        }
        check_early(lab, record);
        check_late(lab, record);
    }
}
