/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of fds, and the files that are neither sockets nor epolls: eventfds, signalfds, regular
 * files in a file system of names.
 *
 * Model. An fd is a number in a table, the lowest that is free is given out, from 3 (0, 1 and 2 are
 * the process's own). It names a file, which several numbers may name (dup); the file goes when its
 * last name does, and a call that waits holds it as if it were one more name. Each kind of file has
 * two functions: which events it has, and what to do when its last name goes.
 *
 * Whoever wants to know of a file's events puts a watcher on it and is told, on each change, that
 * there may be news; what is true he asks poll. So no list of ready files is kept, and none can be
 * wrong.
 *
 * Failure modes: every call can meet its faults (faults.def) before it does anything. Writing to an
 * eventfd that is full gives EAGAIN as the kernel does. */
#include "sys/sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

enum { FIRST_FD = 3, FDS_USUAL = 1024 };

/* ---- the table */

struct pl_sim_file *pl_sim_file_of(int fd)
{
    struct pl_sim_file *file = fd >= 0 && fd < PL_SIM_FDS_MAX ? pl_sim.fds[fd] : NULL;
    if (!file && pl_sim.is_strict) {
        pl_sim_fail("fd %d is used, and is not open", fd);
    }
    return file;
}

static unsigned fds_max(void)
{
    if (pl_sim_is_exempt) {
        return PL_SIM_FDS_MAX - 1; /* the limit is the program's */
    }
    return pl_sim.fds_max ? pl_sim.fds_max : FDS_USUAL;
}

static int lowest_free(void)
{
    int fd = FIRST_FD;
    while (pl_sim.fds[fd]) {
        fd++;
    }
    return fd;
}

int pl_sim_may_open(void)
{
    if (pl_sim_strikes(PL_SIM_TOO_MANY_FDS)) {
        return -EMFILE;
    }
    if (pl_sim_strikes(PL_SIM_TOO_MANY_FILES)) {
        return -ENFILE;
    }
    if (pl_sim_strikes(PL_SIM_KERNEL_NO_MEMORY)) {
        return -ENOMEM;
    }
    return (unsigned)lowest_free() >= fds_max() ? -EMFILE : 0;
}

int pl_sim_new_fd(struct pl_sim_file *file)
{
    int fd = lowest_free();
    file->names++;
    pl_sim.fds[fd] = file;
    pl_sim.fds_open++;
    return fd;
}

void pl_sim_hold(struct pl_sim_file *file)
{
    file->names++;
}

void pl_sim_release(struct pl_sim_file *file)
{
    if (--file->names == 0) {
        file->unnamed(file);
    }
}

int sys_close(int fd)
{
    pl_sim_point();
    struct pl_sim_file *file = pl_sim_file_of(fd);
    TRACE("close(%d)", fd);
    if (!file) {
        return -EBADF;
    }
    pl_sim.fds[fd] = NULL;
    pl_sim.fds_open--;
    pl_sim_release(file);
    return 0;
}

int sys_dup(int fd)
{
    int injected = pl_sim_hook('s', "dup");
    struct pl_sim_file *file = pl_sim_file_of(fd);
    int result = injected ? -injected : !file ? -EBADF : pl_sim_may_open();
    if (result == 0) {
        result = pl_sim_new_fd(file);
    }
    TRACE("dup(%d) = %d", fd, result);
    return result;
}

int sys_set_nonblocking(int fd)
{
    int injected = pl_sim_hook('s', "fcntl");
    return injected ? -injected : pl_sim_file_of(fd) ? 0 : -EBADF;
}

/* ---- watchers */

void pl_sim_watch(struct pl_sim_file *file, struct pl_sim_watcher *watcher)
{
    watcher->file = file;
    watcher->next = file->watchers;
    file->watchers = watcher;
}

void pl_sim_unwatch(struct pl_sim_watcher *watcher)
{
    struct pl_sim_watcher **at = &watcher->file->watchers;
    while (*at != watcher) {
        at = &(*at)->next;
    }
    *at = watcher->next;
    watcher->file = NULL;
}

void pl_sim_changed(struct pl_sim_file *file)
{
    pl_sim_progress();
    for (struct pl_sim_watcher *watcher = file->watchers, *next; watcher; watcher = next) {
        next = watcher->next;
        watcher->changed(watcher);
    }
    pl_sim_wake(file);
}

void pl_sim_has_input(struct pl_sim_file *file)
{
    file->inputs++;
    pl_sim_changed(file);
}

/* ---- eventfd */

struct event_file {
    struct pl_sim_file file;
    uint64_t value;
};

static uint32_t poll_event(struct pl_sim_file *file)
{
    uint64_t value = ((struct event_file *)file)->value;
    return (value > 0 ? (uint32_t)EPOLLIN : 0) | (value < UINT64_MAX - 1 ? (uint32_t)EPOLLOUT : 0);
}

static void free_file(struct pl_sim_file *file)
{
    pl_sim_forget_watchers(file);
    free(file);
}

int sys_eventfd(void)
{
    int injected = pl_sim_hook('s', "eventfd");
    int result = injected ? -injected : pl_sim_may_open();
    if (result == 0) {
        struct event_file *event = pl_sim_take(sizeof *event);
        event->file =
            (struct pl_sim_file){.kind = PL_SIM_EVENTFD, .poll = poll_event, .unnamed = free_file};
        result = pl_sim_new_fd(&event->file);
    }
    TRACE("eventfd() = %d", result);
    return result;
}

static ssize_t read_event(struct event_file *event, void *data, size_t size)
{
    if (size < sizeof event->value) {
        return -EINVAL;
    }
    if (event->value == 0) {
        return -EAGAIN;
    }
    memcpy(data, &event->value, sizeof event->value);
    event->value = 0;
    pl_sim_changed(&event->file);
    return sizeof event->value;
}

static ssize_t write_event(struct event_file *event, const void *data, size_t size)
{
    uint64_t more;
    if (size < sizeof more) {
        return -EINVAL;
    }
    memcpy(&more, data, sizeof more);
    if (more == UINT64_MAX) {
        return -EINVAL;
    }
    if (event->value > UINT64_MAX - 1 - more) {
        return -EAGAIN;
    }
    event->value += more;
    pl_sim_has_input(&event->file);
    return sizeof more;
}

/* ---- signalfd. Signals that were really raised, and are blocked, are seen beside the simulated.
 */

struct signal_file {
    struct pl_sim_file file;
    sigset_t mask;
};

static int first_pending(const sigset_t *mask)
{
    sigset_t raised;
    sigpending(&raised);
    for (int number = 1; number <= SIGRTMAX; number++) {
        if (sigismember(mask, number) == 1 &&
            (sigismember(&pl_sim.signals, number) == 1 || sigismember(&raised, number) == 1)) {
            return number;
        }
    }
    return 0;
}

static uint32_t poll_signals(struct pl_sim_file *file)
{
    return first_pending(&((struct signal_file *)file)->mask) ? EPOLLIN : 0;
}

int sys_signalfd(int fd, const sigset_t *mask)
{
    int injected = pl_sim_hook('s', "signalfd");
    struct pl_sim_file *file = fd < 0 ? NULL : pl_sim_file_of(fd);
    if (injected) {
        return -injected;
    }
    if (fd >= 0) {
        if (!file || file->kind != PL_SIM_SIGNALFD) {
            return file ? -EINVAL : -EBADF;
        }
        ((struct signal_file *)file)->mask = *mask;
        pl_sim_changed(file);
        return fd;
    }
    int result = pl_sim_may_open();
    if (result == 0) {
        struct signal_file *signals = pl_sim_take(sizeof *signals);
        signals->file = (struct pl_sim_file){
            .kind = PL_SIM_SIGNALFD, .poll = poll_signals, .unnamed = free_file};
        signals->mask = *mask;
        result = pl_sim_new_fd(&signals->file);
    }
    TRACE("signalfd() = %d", result);
    return result;
}

static ssize_t read_signal(struct signal_file *signals, void *data, size_t size)
{
    struct signalfd_siginfo info = {0};
    if (size < sizeof info) {
        return -EINVAL;
    }
    int number = first_pending(&signals->mask);
    if (number == 0) {
        return -EAGAIN;
    }
    if (sigismember(&pl_sim.signals, number) == 1) {
        sigdelset(&pl_sim.signals, number);
    } else {
        sigset_t only;
        const struct timespec at_once = {0};
        sigemptyset(&only);
        sigaddset(&only, number);
        sigtimedwait(&only, NULL, &at_once);
    }
    info.ssi_signo = (uint32_t)number;
    memcpy(data, &info, sizeof info);
    return sizeof info;
}

void pl_sim_raise(int number)
{
    TRACE("signal %d", number);
    sigaddset(&pl_sim.signals, number);
    for (int fd = FIRST_FD; fd < PL_SIM_FDS_MAX; fd++) {
        if (pl_sim.fds[fd] && pl_sim.fds[fd]->kind == PL_SIM_SIGNALFD) {
            pl_sim_has_input(pl_sim.fds[fd]);
        }
    }
}

/* ---- names and regular files */

struct regular_file {
    struct pl_sim_file file;
    struct pl_sim_node *node;
};

struct pl_sim_node *pl_sim_find_node(const char *path)
{
    for (struct pl_sim_node *node = pl_sim.nodes; node; node = node->next) {
        if (!node->is_unlinked && strcmp(node->path, path) == 0) {
            return node;
        }
    }
    return NULL;
}

struct pl_sim_node *pl_sim_new_node(const char *path)
{
    struct pl_sim_node *node = pl_sim_take(sizeof *node);
    strncpy(node->path, path, sizeof node->path - 1);
    node->inode = ++pl_sim.inodes;
    node->next = pl_sim.nodes;
    pl_sim.nodes = node;
    return node;
}

static void close_regular(struct pl_sim_file *file)
{
    ((struct regular_file *)file)->node->users--;
    free(file);
}

int sys_open(const char *path, int flags, mode_t mode)
{
    (void)mode;
    int injected = pl_sim_hook('s', "open");
    struct pl_sim_node *node = pl_sim_find_node(path);
    int result = injected ? -injected : 0;
    if (result == 0 && node && (flags & O_EXCL)) {
        result = -EEXIST;
    } else if (result == 0 && node && node->is_socket) {
        result = -ENXIO;
    } else if (result == 0 && !node && !(flags & O_CREAT)) {
        result = -ENOENT;
    }
    if (result == 0) {
        result = pl_sim_may_open();
    }
    if (result == 0) {
        struct regular_file *regular = pl_sim_take(sizeof *regular);
        regular->file = (struct pl_sim_file){.kind = PL_SIM_REGULAR, .unnamed = close_regular};
        regular->node = node ? node : pl_sim_new_node(path);
        regular->node->users++;
        result = pl_sim_new_fd(&regular->file);
    }
    TRACE("open(%s) = %d", path, result);
    return result;
}

ssize_t pl_sim_file_bytes(struct pl_sim_file *file, off_t offset, size_t size,
                          const uint8_t **ret_data)
{
    struct pl_sim_node *node = ((struct regular_file *)file)->node;
    if (pl_sim_strikes(PL_SIM_FILE_ERROR)) {
        return -EIO;
    }
    if (offset < 0 || (size_t)offset >= node->size) {
        return offset < 0 ? -EINVAL : 0;
    }
    size_t left = node->size - (size_t)offset;
    *ret_data = node->data + offset;
    return (ssize_t)(left < size ? left : size);
}

static ssize_t append(struct pl_sim_node *node, const void *data, size_t size)
{
    uint8_t *bytes = realloc(node->data, node->size + size + 1);
    if (!bytes) {
        abort();
    }
    memcpy(bytes + node->size, data, size);
    node->data = bytes;
    node->size += size;
    return (ssize_t)size;
}

static int node_status(const struct pl_sim_node *node, struct stat *ret_stat)
{
    *ret_stat = (struct stat){
        .st_ino = (ino_t)node->inode,
        .st_mode = (node->is_socket ? S_IFSOCK : S_IFREG) | 0600,
        .st_nlink = node->is_unlinked ? 0 : 1,
        .st_size = (off_t)node->size,
        .st_dev = 1,
    };
    return 0;
}

int sys_lstat(const char *path, struct stat *ret_stat)
{
    int injected = pl_sim_hook('s', "lstat");
    const struct pl_sim_node *node = pl_sim_find_node(path);
    return injected ? -injected : node ? node_status(node, ret_stat) : -ENOENT;
}

int sys_fstat(int fd, struct stat *ret_stat)
{
    int injected = pl_sim_hook('s', "fstat");
    struct pl_sim_file *file = pl_sim_file_of(fd);
    if (injected || !file) {
        return injected ? -injected : -EBADF;
    }
    if (file->kind == PL_SIM_REGULAR) {
        return node_status(((struct regular_file *)file)->node, ret_stat);
    }
    *ret_stat = (struct stat){.st_mode = file->kind == PL_SIM_SOCKET ? S_IFSOCK | 0777 : 0600};
    return 0;
}

int sys_unlink(const char *path)
{
    int injected = pl_sim_hook('s', "unlink");
    struct pl_sim_node *node = pl_sim_find_node(path);
    int result = injected ? -injected : node ? 0 : -ENOENT;
    if (result == 0) {
        node->is_unlinked = true;
    }
    TRACE("unlink(%s) = %d", path, result);
    return result;
}

/* ---- reading and writing what is no socket */

/* What read and write begin with: 0 and the file, or why it comes to nothing. */
static int begin_call(const char *name, int fd, struct pl_sim_file **ret_file)
{
    pl_sim_point();
    int injected = pl_sim_hook('s', name);
    struct pl_sim_file *file = pl_sim_file_of(fd);
    if (injected || !file) {
        return injected ? -injected : -EBADF;
    }
    *ret_file = file;
    return pl_sim_strikes(PL_SIM_INTERRUPTED) ? -EINTR : 0;
}

ssize_t sys_read(int fd, void *data, size_t size)
{
    struct pl_sim_file *file;
    int result = begin_call("read", fd, &file);
    if (result < 0) {
        return result;
    }
    switch (file->kind) {
    case PL_SIM_EVENTFD:
        return read_event((struct event_file *)file, data, size);
    case PL_SIM_SIGNALFD:
        return read_signal((struct signal_file *)file, data, size);
    case PL_SIM_SOCKET:
        return sys_recv(fd, data, size, 0);
    case PL_SIM_REGULAR: /* read in place with pread: there is no offset here */
    case PL_SIM_EPOLL:
    case PL_SIM_RING:
        break;
    }
    return -EINVAL;
}

ssize_t sys_write(int fd, const void *data, size_t size)
{
    struct pl_sim_file *file;
    int begun = begin_call("write", fd, &file);
    if (begun < 0) {
        return begun;
    }
    switch (file->kind) {
    case PL_SIM_EVENTFD: {
        ssize_t result = write_event((struct event_file *)file, data, size);
        pl_sim_point();
        return result;
    }
    case PL_SIM_REGULAR:
        return append(((struct regular_file *)file)->node, data, size);
    case PL_SIM_SOCKET:
        return sys_send(fd, data, size, 0);
    case PL_SIM_SIGNALFD:
    case PL_SIM_EPOLL:
    case PL_SIM_RING:
        break;
    }
    return -EINVAL;
}

ssize_t sys_pread(int fd, void *data, size_t size, off_t offset)
{
    int injected = pl_sim_hook('s', "pread");
    struct pl_sim_file *file = pl_sim_file_of(fd);
    if (injected || !file) {
        return injected ? -injected : -EBADF;
    }
    if (file->kind != PL_SIM_REGULAR) {
        return -ESPIPE;
    }
    if (size > 1 && pl_sim_strikes(PL_SIM_SHORT_RECV)) {
        size = 1 + (size_t)pl_choice_below(&pl_sim.choice, size - 1);
    }
    const uint8_t *bytes;
    ssize_t result = pl_sim_file_bytes(file, offset, size, &bytes);
    if (result > 0) {
        memcpy(data, bytes, (size_t)result);
    }
    return result;
}

void pl_sim_files_end(void)
{
    if (pl_sim.fds_open > 0) {
        static const char *const kinds[] = {"socket",   "epoll", "eventfd",
                                            "signalfd", "file",  "ring"};
        int fd = FIRST_FD;
        while (!pl_sim.fds[fd]) {
            fd++;
        }
        pl_sim_fail("%u fds were not closed, first fd %d, of kind %s", pl_sim.fds_open, fd,
                    kinds[pl_sim.fds[fd]->kind]);
    }
    while (pl_sim.nodes) {
        struct pl_sim_node *node = pl_sim.nodes;
        pl_sim.nodes = node->next;
        free(node->data);
        free(node);
    }
}
