/* SPDX-License-Identifier: BSD-2-Clause */
/* The probe's handler: a letter for each call. That all calls come from inside the engine's wait,
 * and none from inside a call down, is checked with each of them. */
#include "support/io_probe.h"

#include "support/raw.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct peal_loop *inside_call; /* a call down is under way */

static void tell(struct probe *probe, char what)
{
    size_t length = strlen(probe->history);
    assert_null(inside_call);
    assert_ptr_equal(peal_loop_current(), probe->io.loop);
    assert_true(length < sizeof probe->history - 1);
    probe->history[length] = what;
    probe->history[length + 1] = '\0';
    if (probe->also) {
        probe->also(probe, what);
    }
}

static void on_recv(struct pl_io *io, const void *data, ssize_t n)
{
    struct probe *probe = (struct probe *)(void *)io;
    if (n <= 0) {
        probe->error = (int)n;
        tell(probe, n == 0 ? 'f' : 'e');
        return;
    }
    if (probe->recv_pattern) {
        static char expected[PL_SCRATCH_BYTES];
        raw_pattern(expected, (size_t)n, probe->recv_all);
        probe->recv_wrong = probe->recv_wrong || memcmp(expected, data, (size_t)n) != 0;
    }
    probe->recv_last = (size_t)n;
    probe->recv_all += (size_t)n;
    tell(probe, 'r');
}

static void on_sent(struct pl_io *io, ssize_t n)
{
    struct probe *probe = (struct probe *)(void *)io;
    probe->error = (int)n;
    probe->sent_all += n > 0 ? (uint64_t)n : 0;
    tell(probe, 's');
}

static void on_accept(struct pl_io *io, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
    struct probe *probe = (struct probe *)(void *)io;
    assert_true(fd < 0 ? peer_size == 0 : peer != NULL);
    if (fd < 0) {
        probe->error = fd;
        tell(probe, 'x');
        return;
    }
    assert_true(probe->accepted_count < sizeof probe->accepted / sizeof probe->accepted[0]);
    probe->accepted[probe->accepted_count++] = fd;
    tell(probe, 'a');
}

static void on_connect(struct pl_io *io, int error)
{
    struct probe *probe = (struct probe *)(void *)io;
    probe->error = error;
    tell(probe, error ? 'y' : 'c');
}

static void on_detached(struct pl_io *io)
{
    struct probe *probe = (struct probe *)(void *)io;
    assert_null(inside_call);
    assert_false(probe->detached);
    probe->detached = true;
}

static const struct pl_io_handler handler = {
    .on_recv = on_recv, .on_sent = on_sent, .on_connect = on_connect, .on_detached = on_detached};
static const struct pl_io_handler accept_handler = {.on_accept = on_accept,
                                                    .on_detached = on_detached};

void probe_init(struct probe *probe, struct peal_loop *loop, int fd)
{
    memset(probe, 0, sizeof *probe);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    probe->io = (struct pl_io){.fd = fd, .handler = &handler, .loop = loop};
}

void probe_attach(struct probe *probe, struct peal_loop *loop, int fd, uint8_t flags)
{
    probe_init(probe, loop, fd);
    if (flags & PL_IO_ACCEPT) {
        probe->io.handler = &accept_handler;
    }
    probe->io.flags = flags;
    assert_int_equal(loop->ops->attach(loop->engine, &probe->io), 0);
}

void probe_detach(struct probe *probe)
{
    struct peal_loop *loop = probe->io.loop;
    assert_true(loop->ops->detach(loop->engine, &probe->io));
}

void probe_end(struct probe *probe)
{
    struct peal_loop *loop = inside_call = probe->io.loop;
    bool is_idle = loop->ops->detach(loop->engine, &probe->io);
    inside_call = NULL;
    assert_false(probe->detached);
    while (!is_idle && !probe->detached) {
        assert_int_equal(peal_loop_turn(loop, 10), 1);
    }
}

void probe_recv_start(struct probe *probe)
{
    struct peal_loop *loop = inside_call = probe->io.loop;
    assert_int_equal(loop->ops->recv_start(loop->engine, &probe->io), 0);
    inside_call = NULL;
}

void probe_recv_stop(struct probe *probe)
{
    struct peal_loop *loop = inside_call = probe->io.loop;
    assert_int_equal(loop->ops->recv_stop(loop->engine, &probe->io), 0);
    inside_call = NULL;
}

ssize_t probe_send(struct probe *probe, const void *data, size_t size)
{
    struct peal_loop *loop = inside_call = probe->io.loop;
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    ssize_t n = loop->ops->send(loop->engine, &probe->io, &piece, 1, PL_SEND_NOW);
    inside_call = NULL;
    return n;
}

void probe_until(struct probe *probe, size_t length)
{
    while (strlen(probe->history) < length) { /* a hang is ended by the test's time limit */
        assert_int_equal(peal_loop_turn(probe->io.loop, 10), 1);
    }
    assert_int_equal(peal_loop_turn(probe->io.loop, 10), 1);
}

uint64_t probe_events_of_turns(struct peal_loop *loop, unsigned turns)
{
    struct peal_loop_stats before, after;
    peal_loop_get_stats(loop, &before);
    for (unsigned i = 0; i < turns; i++) {
        assert_int_equal(peal_loop_turn(loop, 2), 1);
    }
    peal_loop_get_stats(loop, &after);
    return after.events - before.events;
}
