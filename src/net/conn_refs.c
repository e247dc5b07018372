/* SPDX-License-Identifier: BSD-2-Clause */
/* References, and the report of who still holds one.
 *
 * The count is an atomic. The loop holds one reference from open to reap; a connection that is
 * still referenced when reap gives that up goes on the list of held connections, and off it with
 * the last unref, on whichever thread. So the list holds just the connections that somebody keeps
 * after their close, costs nothing for others, and is the leak report.
 *
 * While tracking is on, each reference also gets a site: file, line and time. An unref cannot know
 * which reference it gives back, so it takes the newest site of its own file, else the oldest of
 * all: exact where each file gives back what it takes.
 *
 * Invariants:
 *  1. HELD is set by the loop's thread before it gives up its own reference, so whoever drops the
 *     last one sees it.
 *  2. The list and all sites are under one mutex, which is taken for closed connections and tracked
 *     references only.
 *  3. Internal references (pl_conn_hold) have no site: they are under way, and come back by
 *     themselves.
 *  4. While the fd is open the loop has its reference, so an unref that finds no other is one too
 *     many: the program is stopped there, and not where the freed memory is used. */
#include <peal/refs.h>

#include "base/assert.h"
#include "net/conn.h"

#include <errno.h>
#include <string.h>

struct pl_ref_site {
    struct pl_ref_site *next; /* in its bucket, newest first */
    const struct peal_conn *conn;
    const char *file; /* of __FILE__: static */
    int line;
    uint64_t taken_ns;
};

static struct sys_mutex held_mutex = SYS_MUTEX_INIT;
static struct pl_list held = {&held, &held};

/* Sites are in a table of their own: most programs have none. */
enum { BUCKETS = 1024 };
static struct pl_ref_site *buckets[BUCKETS];
static _Atomic size_t site_count;

static struct pl_ref_site **bucket_of(const struct peal_conn *conn)
{
    return &buckets[((uintptr_t)conn >> 4) % BUCKETS];
}

/* -1: not asked the environment yet. */
static _Atomic int tracking = -1;

bool peal_refs_tracked(void)
{
    int on = atomic_load_explicit(&tracking, memory_order_relaxed);
    if (on < 0) {
        const char *value = sys_getenv("PEAL_TRACK_REFS");
        on = value && value[0] && strcmp(value, "0") != 0;
        atomic_store_explicit(&tracking, on, memory_order_relaxed);
    }
    return on;
}

void peal_refs_track(bool on)
{
    atomic_store_explicit(&tracking, on, memory_order_relaxed);
}

static void site_add(struct peal_conn *conn, const char *file, int line)
{
    struct pl_ref_site *site = sys_malloc(sizeof *site);
    if (!site) {
        return; /* the report then counts this reference without its place */
    }
    *site = (struct pl_ref_site){
        .conn = conn, .file = file, .line = line, .taken_ns = sys_monotonic_ns()};
    atomic_fetch_add_explicit(&site_count, 1, memory_order_relaxed);
    sys_mutex_lock(&held_mutex);
    struct pl_ref_site **bucket = bucket_of(conn);
    site->next = *bucket;
    *bucket = site;
    sys_mutex_unlock(&held_mutex);
}

/* The newest site of the file, or with NULL of any, else the oldest. The caller holds the mutex. */
static struct pl_ref_site *site_take(const struct peal_conn *conn, const char *file)
{
    struct pl_ref_site **found = NULL;
    for (struct pl_ref_site **at = bucket_of(conn); *at; at = &(*at)->next) {
        if ((*at)->conn == conn) {
            found = at;
            if (!file || strcmp((*at)->file, file) == 0) {
                break;
            }
        }
    }
    if (!found) {
        return NULL;
    }
    struct pl_ref_site *site = *found;
    *found = site->next;
    atomic_fetch_sub_explicit(&site_count, 1, memory_order_relaxed);
    return site;
}

/* Whoever took a site did so before it gave its reference back, so the last one sees the count. */
static void drop_sites(const struct peal_conn *conn)
{
    struct pl_ref_site *site = NULL;
    if (atomic_load_explicit(&site_count, memory_order_relaxed) == 0) {
        return;
    }
    do {
        sys_mutex_lock(&held_mutex);
        site = site_take(conn, NULL);
        sys_mutex_unlock(&held_mutex);
        sys_free(site);
    } while (site);
}

static void free_conn(struct peal_conn *conn)
{
    if (pl_conn_has(conn, PL_CONN_HELD)) {
        sys_mutex_lock(&held_mutex);
        pl_list_remove(&conn->held_link);
        sys_mutex_unlock(&held_mutex);
    }
    drop_sites(conn);
    struct peal_loop *loop = conn->io.loop;
    pl_limits_unref(conn->limits);
    pl_conn_forget_peer(conn);
    sys_free(conn);
    peal_loop_unref(loop);
}

void pl_conn_hold(struct peal_conn *conn)
{
    atomic_fetch_add_explicit(&conn->references, 1, memory_order_relaxed);
}

void pl_conn_release(struct peal_conn *conn)
{
    uint32_t before = atomic_fetch_sub_explicit(&conn->references, 1, memory_order_acq_rel);
    pl_assert(before > 0);
    if (before == 1) {
        free_conn(conn);
    }
}

void pl_conn_closed_refs(struct peal_conn *conn)
{
    if (atomic_load_explicit(&conn->references, memory_order_acquire) > 1) {
        sys_mutex_lock(&held_mutex);
        conn->flags |= PL_CONN_HELD;
        pl_list_append(&held, &conn->held_link);
        sys_mutex_unlock(&held_mutex);
    }
    pl_conn_release(conn);
}

struct peal_conn *peal_conn_ref_at(struct peal_conn *conn, const char *file, int line)
{
    pl_conn_hold(conn);
    if (__builtin_expect(peal_refs_tracked(), 0)) {
        site_add(conn, file, line);
    }
    return conn;
}

struct peal_conn *peal_conn_unref_at(struct peal_conn *conn, const char *file, int line)
{
    if (!conn) {
        return NULL;
    }
    if (atomic_load_explicit(&conn->references, memory_order_acquire) == 1 && conn->io.fd >= 0) {
        pl_misuse("%s:%d: peal_conn_unref would give back the reference that the loop itself has "
                  "to an open connection; each unref must follow a peal_conn_ref or "
                  "peal_conn_find of its own.",
                  file, line);
    }
    if (__builtin_expect(peal_refs_tracked(), 0)) {
        sys_mutex_lock(&held_mutex);
        struct pl_ref_site *site = site_take(conn, file);
        sys_mutex_unlock(&held_mutex);
        sys_free(site);
    }
    pl_conn_release(conn);
    return NULL;
}

int peal_conn_find_at(uint64_t id, const char *file, int line, struct peal_conn **ret_conn)
{
    struct peal_conn *conn = pl_handle_find(id);
    if (!conn) {
        return -ESTALE;
    }
    if (peal_refs_tracked()) {
        site_add(conn, file, line);
    }
    *ret_conn = conn;
    return 0;
}

/* ---- the report */

static unsigned long long age_ms(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? (now_ns - then_ns) / 1000000u : 0;
}

static void report_one(const struct peal_conn *conn, uint64_t now_ns,
                       void (*line)(const char *text, void *user), void *user)
{
    char text[256], peer[PEAL_ADDR_TEXT_MAX];
    struct peal_addr addr;
    uint32_t count = atomic_load_explicit(&conn->references, memory_order_relaxed);
    unsigned long long closed_ms = age_ms(now_ns, conn->opened_ns);
    peal_conn_peer(conn, &addr);
    int length = peal_addr_format(&addr, peer, sizeof peer);
    pl_assert(length >= 0);
    sys_format(text, sizeof text,
               "connection %016llx (peer %s, closed %llu.%03llu s ago: %s) is still held by %u "
               "reference%s",
               (unsigned long long)conn->id, peer, closed_ms / 1000, closed_ms % 1000,
               peal_cause_text((enum peal_cause)conn->cause), count, count == 1 ? "" : "s");
    line(text, user);
    for (const struct pl_ref_site *site = *bucket_of(conn); site; site = site->next) {
        if (site->conn != conn) {
            continue;
        }
        unsigned long long taken_ms = age_ms(now_ns, site->taken_ns);
        sys_format(text, sizeof text, "  taken at %s:%d, %llu.%03llu s ago", site->file, site->line,
                   taken_ms / 1000, taken_ms % 1000);
        line(text, user);
    }
}

size_t peal_refs_report(void (*line)(const char *text, void *user), void *user)
{
    size_t count = 0;
    uint64_t now_ns = sys_monotonic_ns();
    sys_mutex_lock(&held_mutex);
    pl_list_each (node, &held) {
        count++;
        if (line) {
            report_one(pl_container(node, struct peal_conn, held_link), now_ns, line, user);
        }
    }
    sys_mutex_unlock(&held_mutex);
    return count;
}

size_t pl_refs_held_by_server(uint32_t server_number)
{
    size_t count = 0;
    sys_mutex_lock(&held_mutex);
    pl_list_each (node, &held) {
        count +=
            pl_container(node, struct peal_conn, held_link)->limits->server_number == server_number;
    }
    sys_mutex_unlock(&held_mutex);
    return count;
}
