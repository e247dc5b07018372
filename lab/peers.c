/* SPDX-License-Identifier: BSD-2-Clause */
/* The other side: clients and servers that know nothing of Peal, with all the manners a peer may
 * have: they send and read by halves, are silent, end their side early, reset, or hear everything
 * to the end.
 *
 * One that could not send a chunk whole resets, since the oracle takes a clean end for a whole
 * stream. */
#include "world.h"

#include <stdio.h>
#include <string.h>

enum { READ_MAX = 30000, PATIENCE_MS = 300, STEPS_MAX = 8, SESSIONS_MAX = 4 };

char peer_server_address[PEERS_MAX][64];

struct session {
    struct peal_sim_peer *peer;
    struct lab_stream *out;
    struct lab_reader in;
    unsigned writer;
    bool is_torn, is_shut, is_over;
};

static void send_chunk(struct session *session)
{
    uint8_t chunk[LAB_CHUNK_MAX];
    static const size_t limits[] = {30, 30, 2000, LAB_CHUNK_MAX - LAB_CHUNK_HEAD};
    size_t size = LAB_CHUNK_HEAD + (size_t)peal_sim_below(limits[peal_sim_below(4)]);
    if (session->is_torn || session->is_shut) {
        return;
    }
    lab_chunk(session->out, session->writer, size, chunk);
    /* Counted before: the other side may read it, and come to its end, before this goes on. */
    lab_sent(session->out, session->writer, size);
    session->is_torn = peal_sim_send(session->peer, chunk, size, PATIENCE_MS) != (ssize_t)size;
    /* If that was a reset, the call has taken its error away, and an end that is read would be
     * none: read(2) says 0 once the error was told. */
    session->is_over = session->is_torn;
}

/* False: there is no more to come. */
static bool read_some(struct session *session)
{
    static uint8_t rooms[PEERS_MAX][READ_MAX];
    uint8_t *room = rooms[session->writer - WRITER_PEER];
    size_t most = peal_sim_chance(30) ? (size_t)peal_sim_below(100) + 1 : READ_MAX;
    ssize_t size = peal_sim_recv(session->peer, room, most, PATIENCE_MS);
    if (size > 0) {
        lab_read(&session->in, room, (size_t)size);
    } else if (size == 0) {
        lab_read_end(&session->in);
    }
    session->is_over = size <= 0;
    return size > 0;
}

static void end_session(struct session *session)
{
    unsigned way = (unsigned)peal_sim_below(4);
    if (way == 1) {
        for (unsigned reads = 0; reads < 200 && !session->is_over && read_some(session); reads++) {
        }
    } else if (way == 2 && !session->is_torn) {
        peal_sim_shutdown(session->peer);
        for (unsigned reads = 0; reads < 200 && !session->is_over && read_some(session); reads++) {
        }
    }
    if (session->is_torn || way == 3) {
        peal_sim_reset(session->peer);
    } else {
        peal_sim_close(session->peer);
    }
}

static void act(struct session *session)
{
    switch (peal_sim_below(6)) {
    case 0:
    case 1:
        send_chunk(session);
        break;
    case 2:
    case 3:
        if (!session->is_over) {
            read_some(session);
        }
        break;
    case 4:
        peal_sim_sleep_ms(peal_sim_below(200));
        break;
    default:
        if (!session->is_torn && peal_sim_chance(30)) {
            peal_sim_shutdown(session->peer);
            session->is_shut = true;
        }
        break;
    }
}

static void play(struct peal_sim_peer *peer, unsigned number, bool is_unix)
{
    struct session session = {.peer = peer, .writer = WRITER_PEER + number};
    session.out = lab_new_stream(!is_unix);
    session.in.is_tcp = !is_unix;
    for (uint64_t left = peal_sim_below(STEPS_MAX); left > 0; left--) {
        peal_sim_begin_step("peer");
        act(&session);
        peal_sim_end_step();
    }
    end_session(&session);
}

void peer_client(void *user)
{
    unsigned number = (unsigned)(uintptr_t)user;
    for (uint64_t left = 1 + peal_sim_below(SESSIONS_MAX); left > 0 && !world.is_ending; left--) {
        peal_sim_begin_step("peer's connection");
        const struct world_server *server =
            world.servers_count ? &world.servers[peal_sim_below(world.servers_count)] : NULL;
        if (server && server->address[0]) {
            struct peal_sim_peer *peer = peal_sim_connect(server->address, PATIENCE_MS, NULL);
            if (peer) {
                play(peer, number, server->is_unix);
            }
        }
        peal_sim_end_step();
        peal_sim_sleep_ms(peal_sim_below(100));
    }
}

void peer_server(void *user)
{
    unsigned number = (unsigned)(uintptr_t)user;
    bool is_unix = peal_sim_chance(25);
    char address[64];
    snprintf(address, sizeof address, is_unix ? "unix:/lab/peer-%u" : "127.0.0.1:900%u", number);
    struct peal_sim_peer *listener = peal_sim_listen(address, 1 + (int)peal_sim_below(4));
    memcpy(peer_server_address[number], address, sizeof address);
    for (uint64_t left = 1 + peal_sim_below(SESSIONS_MAX); left > 0 && !world.is_ending; left--) {
        peal_sim_begin_step("peer accepts");
        struct peal_sim_peer *peer = peal_sim_accept(listener, PATIENCE_MS);
        if (peer) {
            play(peer, number, is_unix);
        }
        peal_sim_end_step();
    }
    peal_sim_close(listener);
}
