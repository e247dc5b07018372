/* SPDX-License-Identifier: BSD-2-Clause */
/* Watches: the engine's io around an fd that belongs to somebody else.
 *
 * Closing detaches at once, so that the owner may close its fd right after, even inside the watch's
 * own callback or in that of another one whose event is in the same batch; the memory goes in reap,
 * when no event of the batch can name it (and, with an engine that has operations in flight, when
 * the last has come back). */
#include <peal/watch.h>

#include "base/assert.h"
#include "loop/loop.h"

#include <peal/error.h>

#include <errno.h>

struct peal_watch {
    struct pl_io io;
    struct pl_job job;
    struct pl_resident resident;
    peal_watch_fn fn;
    void *user;
    bool ended;     /* with its loop: it is only memory, until it is closed */
    bool detaching; /* the engine has something in flight */
    bool closed;
};

static void on_poll(struct pl_io *io, uint32_t events)
{
    struct peal_watch *watch = pl_container(io, struct peal_watch, io);
    watch->fn(watch, events, watch->user);
}

static void on_detached(struct pl_io *io)
{
    struct peal_watch *watch = pl_container(io, struct peal_watch, io);
    watch->detaching = false;
    if (watch->closed) {
        pl_loop_reap_later(io->loop, &watch->job);
    }
}

static const struct pl_io_handler watch_handler = {.on_poll = on_poll, .on_detached = on_detached};

static void reap(struct pl_job *job)
{
    struct peal_watch *watch = pl_container(job, struct peal_watch, job);
    struct peal_loop *loop = watch->io.loop;
    sys_free(watch);
    peal_loop_unref(loop);
}

static void on_loop_end(struct pl_resident *resident)
{
    struct peal_watch *watch = pl_container(resident, struct peal_watch, resident);
    watch->ended = true;
    if (!watch->io.loop->ops->detach(watch->io.loop->engine, &watch->io)) {
        watch->detaching = true;
    }
}

int peal_watch_open(struct peal_loop *loop, int fd, uint32_t events, peal_watch_fn fn, void *user,
                    struct peal_watch **ret_watch)
{
    pl_loop_check(loop, "peal_watch_open");
    if (fd < 0 || !fn || events & ~(uint32_t)(PEAL_READABLE | PEAL_WRITABLE)) {
        return -EINVAL;
    }
    if (atomic_load(&loop->life) != PL_LOOP_ALIVE) { /* it would be told of its end for ever */
        return PEAL_ERR_LOOP_ENDED;
    }
    struct peal_watch *watch = sys_calloc(1, sizeof *watch);
    if (!watch) {
        return -ENOMEM;
    }
    watch->io = (struct pl_io){.fd = fd,
                               .flags = PL_IO_POLL,
                               .poll_events = (uint8_t)events,
                               .handler = &watch_handler,
                               .loop = loop};
    watch->fn = fn;
    watch->user = user;
    watch->job.run = reap;
    watch->resident.on_loop_end = on_loop_end;
    pl_job_init(&watch->job);
    pl_list_init(&watch->resident.link);
    int result = loop->ops->attach(loop->engine, &watch->io);
    if (result < 0) {
        sys_free(watch);
        return result;
    }
    peal_loop_ref(loop);
    pl_loop_settle(loop, &watch->resident);
    *ret_watch = watch;
    return 0;
}

int peal_watch_set(struct peal_watch *watch, uint32_t events)
{
    struct peal_loop *loop = watch->io.loop;
    pl_loop_check(loop, "peal_watch_set");
    if (events & ~(uint32_t)(PEAL_READABLE | PEAL_WRITABLE)) {
        return -EINVAL;
    }
    if (watch->ended) {
        return PEAL_ERR_LOOP_ENDED;
    }
    return loop->ops->poll_set(loop->engine, &watch->io, (uint8_t)events);
}

struct peal_watch *peal_watch_close(struct peal_watch *watch)
{
    if (!watch) {
        return NULL;
    }
    struct peal_loop *loop = watch->io.loop;
    pl_loop_check(loop, "peal_watch_close");
    pl_loop_leave(&watch->resident);
    watch->closed = true;
    if (watch->ended && atomic_load(&loop->life) == PL_LOOP_ENDED) {
        reap(&watch->job);
    } else if (watch->ended ? !watch->detaching : loop->ops->detach(loop->engine, &watch->io)) {
        pl_loop_reap_later(loop, &watch->job);
    } else {
        pl_loop_reap_when_detached(loop, &watch->job);
    }
    return NULL;
}

int peal_watch_fd(const struct peal_watch *watch)
{
    return watch->io.fd;
}
