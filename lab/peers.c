/* SPDX-License-Identifier: BSD-2-Clause */
/* The other side: clients and servers that know nothing of Peal, with all the manners a peer may
 * have: they send and read by halves, are silent, end their side early, reset, or hear everything
 * to the end.
 *
 * One that could not send a chunk whole resets, since the oracle takes a clean end for a whole
 * stream. */
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { READ_MAX = 30000, PATIENCE_MS = 300, STEPS_MAX = 8, SESSIONS_MAX = 4 };

char peer_server_address[PEERS_MAX][64];

struct lab_peer lab_peer_of(struct peal_sim_peer *peer, unsigned number, bool is_unix)
{
    struct lab_peer own = {.peer = peer, .writer = WRITER_PEER + number};
    own.out = lab_new_stream(!is_unix);
    own.in.is_tcp = !is_unix;
    return own;
}

bool lab_peer_connect(const struct world_server *server, unsigned number, struct lab_peer *ret_peer)
{
    struct peal_sim_peer *peer =
        server->address[0] ? peal_sim_connect(server->address, PATIENCE_MS, NULL) : NULL;
    if (!peer) {
        return false;
    }
    *ret_peer = lab_peer_of(peer, number, server->is_unix);
    return true;
}

void lab_peer_send(struct lab_peer *peer, size_t size)
{
    uint8_t chunk[LAB_CHUNK_MAX];
    if (peer->is_torn || peer->is_shut) {
        return;
    }
    lab_chunk(peer->out, peer->writer, size, chunk);
    /* Counted before: the other side may read it, and come to its end, before this goes on. */
    lab_sent(peer->out, peer->writer, size);
    peer->is_torn = peal_sim_send(peer->peer, chunk, size, PATIENCE_MS) != (ssize_t)size;
    /* If that was a reset, the call has taken its error away, and an end that is read would be none:
     * read(2) says 0 once the error was told. */
    peer->is_over |= peer->is_torn;
}

bool lab_peer_read(struct lab_peer *peer, size_t most)
{
    uint8_t room[READ_MAX];
    ssize_t size = peer->is_over ? -EPIPE : peal_sim_recv(peer->peer, room, most, PATIENCE_MS);
    if (size > 0) {
        lab_read(&peer->in, room, (size_t)size);
    } else if (size == 0) {
        lab_read_end(&peer->in);
        peer->saw_end = true;
    }
    peer->is_over |= size <= 0 && size != -EAGAIN;
    return size > 0;
}

void lab_peer_read_all(struct lab_peer *peer)
{
    for (unsigned reads = 0; reads < 1000000 && lab_peer_read(peer, READ_MAX); reads++) {
    }
}

void lab_peer_shutdown(struct lab_peer *peer)
{
    if (!peer->is_torn) {
        peal_sim_shutdown(peer->peer);
        peer->is_shut = true;
    }
}

void lab_peer_end(struct lab_peer *peer, bool reset)
{
    if (peer->is_torn || reset) {
        peal_sim_reset(peer->peer);
    } else {
        peal_sim_close(peer->peer);
    }
}

/* ---- a random session */

static void send_chunk(struct lab_peer *peer)
{
    static const size_t limits[] = {30, 30, 2000, LAB_CHUNK_MAX - LAB_CHUNK_HEAD};
    lab_peer_send(peer, LAB_CHUNK_HEAD + (size_t)peal_sim_below(limits[peal_sim_below(4)]));
}

static void read_some(struct lab_peer *peer)
{
    lab_peer_read(peer, peal_sim_chance(30) ? (size_t)peal_sim_below(100) + 1 : READ_MAX);
}

static void end_session(struct lab_peer *peer)
{
    unsigned way = (unsigned)peal_sim_below(4);
    if (way == 2) {
        lab_peer_shutdown(peer);
    }
    if (way == 1 || way == 2) {
        lab_peer_read_all(peer);
    }
    lab_peer_end(peer, way == 3);
}

static void act(struct lab_peer *peer)
{
    switch (peal_sim_below(6)) {
    case 0:
    case 1:
        send_chunk(peer);
        break;
    case 2:
    case 3:
        read_some(peer);
        break;
    case 4:
        peal_sim_sleep_ms(peal_sim_below(200));
        break;
    default:
        if (peal_sim_chance(30)) {
            lab_peer_shutdown(peer);
        }
        break;
    }
}

static void play(struct lab_peer *peer)
{
    for (uint64_t left = peal_sim_below(STEPS_MAX); left > 0; left--) {
        peal_sim_begin_step("peer");
        act(peer);
        peal_sim_end_step();
    }
    end_session(peer);
}

void peer_client(void *user)
{
    unsigned number = (unsigned)(uintptr_t)user;
    for (uint64_t left = 1 + peal_sim_below(SESSIONS_MAX); left > 0 && !world.is_ending; left--) {
        peal_sim_begin_step("peer's connection");
        const struct world_server *server =
            world.servers_count ? &world.servers[peal_sim_below(world.servers_count)] : NULL;
        struct lab_peer peer;
        if (server && lab_peer_connect(server, number, &peer)) {
            play(&peer);
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
            struct lab_peer own = lab_peer_of(peer, number, is_unix);
            play(&own);
        }
        peal_sim_end_step();
    }
    peal_sim_close(listener);
}
