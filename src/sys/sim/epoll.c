/* SPDX-License-Identifier: BSD-2-Clause */
/* epoll(7), level triggered: interests in files, and a wait for any of them.
 *
 * Model. An interest joins an epoll to a file under an fd's number, as in the kernel: it lives
 * until it is deleted or the file's last name is gone, so with a dup it outlives its own fd. A wait
 * looks at each interest anew and takes those whose file has an event that was asked for, or ERR or
 * HUP, which always count. It begins after the one at which the last wait stopped, so that a batch
 * smaller than what is ready goes round. What was taken may be out of date when it is used: another
 * event of the batch may have closed the fd. That is the kernel's way, and the point.
 *
 * Edge triggering, one-shots and exclusive wake-ups are not simulated: asking for them ends the
 * run. Epolls can watch each other; a circle of them is not looked for. */
#include "sys/sim/sim.h"

#include <errno.h>
#include <stdlib.h>

struct interest {
    struct pl_sim_watcher watcher; /* first: told of changes */
    struct interest *next;         /* of the epoll, in the order of adding */
    struct epoll_file *epoll;
    int fd;
    struct epoll_event event;
};

struct epoll_file {
    struct pl_sim_file file;
    struct interest *interests;
    unsigned count, at; /* at: where the next wait begins */
};

static uint32_t ready_events(const struct interest *interest)
{
    uint32_t wanted = interest->event.events | EPOLLERR | EPOLLHUP;
    return interest->watcher.file->poll(interest->watcher.file) & wanted;
}

static uint32_t poll_epoll(struct pl_sim_file *file)
{
    for (struct interest *i = ((struct epoll_file *)file)->interests; i; i = i->next) {
        if (ready_events(i)) {
            return EPOLLIN;
        }
    }
    return 0;
}

static void remove_interest(struct interest *interest)
{
    struct interest **at = &interest->epoll->interests;
    while (*at != interest) {
        at = &(*at)->next;
    }
    *at = interest->next;
    interest->epoll->count--;
    pl_sim_unwatch(&interest->watcher);
    free(interest);
}

static void changed(struct pl_sim_watcher *watcher)
{
    pl_sim_changed(&((struct interest *)watcher)->epoll->file);
}

void pl_sim_forget_watchers(struct pl_sim_file *file)
{
    for (struct pl_sim_watcher *watcher = file->watchers, *next; watcher; watcher = next) {
        next = watcher->next;
        if (watcher->changed == changed) {
            remove_interest((struct interest *)watcher);
        }
    }
}

static void close_epoll(struct pl_sim_file *file)
{
    struct epoll_file *epoll = (struct epoll_file *)file;
    pl_sim_forget_watchers(file);
    while (epoll->interests) {
        remove_interest(epoll->interests);
    }
    free(epoll);
}

int sys_epoll_create(void)
{
    int injected = pl_sim_hook('s', "epoll_create1");
    int result = injected ? -injected : pl_sim_may_open();
    if (result == 0) {
        struct epoll_file *epoll = pl_sim_take(sizeof *epoll);
        epoll->file =
            (struct pl_sim_file){.kind = PL_SIM_EPOLL, .poll = poll_epoll, .unnamed = close_epoll};
        result = pl_sim_new_fd(&epoll->file);
    }
    TRACE("epoll_create() = %d", result);
    return result;
}

static struct interest *find(struct epoll_file *epoll, int fd, const struct pl_sim_file *file)
{
    for (struct interest *interest = epoll->interests; interest; interest = interest->next) {
        if (interest->fd == fd && interest->watcher.file == file) {
            return interest;
        }
    }
    return NULL;
}

static int add(struct epoll_file *epoll, int fd, struct pl_sim_file *file,
               const struct epoll_event *event)
{
    if (pl_sim_strikes(PL_SIM_WATCH_REFUSED)) {
        return pl_choice_below(&pl_sim.choice, 2) ? -ENOSPC : -ENOMEM;
    }
    struct interest *interest = pl_sim_take(sizeof *interest);
    interest->epoll = epoll;
    interest->fd = fd;
    interest->event = *event;
    interest->watcher.changed = changed;
    struct interest **end = &epoll->interests;
    while (*end) {
        end = &(*end)->next;
    }
    *end = interest;
    epoll->count++;
    pl_sim_watch(file, &interest->watcher);
    pl_sim_changed(&epoll->file);
    return 0;
}

static int control(int epoll_fd, int op, int fd, const struct epoll_event *event)
{
    struct pl_sim_file *file = pl_sim_file_of(fd);
    struct epoll_file *epoll = (struct epoll_file *)pl_sim_file_of(epoll_fd);
    if (!file || !epoll) {
        return -EBADF;
    }
    if (!file->poll) {
        return -EPERM;
    }
    if (epoll->file.kind != PL_SIM_EPOLL || file == &epoll->file) {
        return -EINVAL;
    }
    if (op != EPOLL_CTL_DEL &&
        (event->events & (EPOLLET | EPOLLONESHOT | (uint32_t)EPOLLEXCLUSIVE))) {
        pl_sim_fail("epoll: edges, one-shots and exclusive wake-ups are not simulated");
    }
    struct interest *known = find(epoll, fd, file);
    if (op == EPOLL_CTL_ADD) {
        return known ? -EEXIST : add(epoll, fd, file, event);
    }
    if (!known) {
        return -ENOENT;
    }
    if (op == EPOLL_CTL_DEL) {
        remove_interest(known);
    } else {
        known->event = *event;
        pl_sim_changed(&epoll->file);
    }
    return 0;
}

int sys_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    pl_sim_point();
    /* A real kernel has no reason to refuse a removal. */
    int injected = op == EPOLL_CTL_DEL ? 0 : pl_sim_hook('s', "epoll_ctl");
    int result = injected ? -injected : control(epoll_fd, op, fd, event);
    TRACE("epoll_ctl(%d, %s, %d, %#x) = %d", epoll_fd,
          op == EPOLL_CTL_ADD   ? "add"
          : op == EPOLL_CTL_MOD ? "mod"
                                : "del",
          fd, op == EPOLL_CTL_DEL ? 0 : event->events, result);
    return result;
}

static struct interest *nth(struct epoll_file *epoll, unsigned n)
{
    struct interest *interest = epoll->interests;
    while (n-- > 0) {
        interest = interest->next;
    }
    return interest;
}

static void shuffle(struct epoll_event *events, int count)
{
    for (int i = count - 1; i > 0; i--) {
        int other = i - (int)pl_choice_below(&pl_sim.choice, (uint64_t)i + 1);
        struct epoll_event event = events[i];
        events[i] = events[other];
        events[other] = event;
    }
}

static int collect(struct epoll_file *epoll, struct epoll_event *events, int events_max)
{
    int count = 0;
    unsigned looked_at = 0;
    struct interest *interest = epoll->count ? nth(epoll, epoll->at % epoll->count) : NULL;
    for (; looked_at < epoll->count && count < events_max; looked_at++) {
        uint32_t ready = ready_events(interest);
        if (ready) {
            events[count++] = (struct epoll_event){.events = ready, .data = interest->event.data};
        }
        interest = interest->next ? interest->next : epoll->interests;
    }
    if (looked_at < epoll->count) {
        epoll->at = (epoll->at + looked_at) % epoll->count;
    }
    if (count > 1 && pl_sim_strikes(PL_SIM_REORDERED)) {
        shuffle(events, count);
    }
    if (count > 1 && pl_sim_strikes(PL_SIM_FEW_EVENTS)) {
        count = 1 + (int)pl_choice_below(&pl_sim.choice, (uint64_t)count - 1);
    }
    return count;
}

static int wait_for(struct epoll_file *epoll, struct epoll_event *events, int events_max,
                    int64_t timeout_ns)
{
    uint64_t until_ns = timeout_ns < 0 ? PL_SIM_NEVER : pl_sim_after((uint64_t)timeout_ns);
    for (;;) {
        int count = collect(epoll, events, events_max);
        if (count > 0) {
            return count;
        }
        if (timeout_ns == 0 || (until_ns != PL_SIM_NEVER && until_ns <= pl_sim.now_ns)) {
            return 0;
        }
        if (pl_sim_strikes(PL_SIM_INTERRUPTED)) {
            return -EINTR;
        }
        pl_sim_wait(&epoll->file, until_ns);
    }
}

int sys_epoll_wait(int epoll_fd, struct epoll_event *events, int events_max, int64_t timeout_ns)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', "epoll_pwait2");
    struct epoll_file *epoll = (struct epoll_file *)pl_sim_file_of(epoll_fd);
    if (injected || !epoll) {
        return injected ? -injected : -EBADF;
    }
    if (epoll->file.kind != PL_SIM_EPOLL || events_max <= 0) {
        return -EINVAL;
    }
    pl_sim_hold(&epoll->file);
    int result = wait_for(epoll, events, events_max, timeout_ns);
    pl_sim_release(&epoll->file);
    TRACE("epoll_wait(%d) = %d", epoll_fd, result);
    for (int i = 0; i < result; i++) {
        TRACE("    %#x", events[i].events);
    }
    return result;
}
