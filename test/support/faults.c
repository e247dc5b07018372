/* SPDX-License-Identifier: BSD-2-Clause */
/* The hook and its counters. These are atomics, because a pool's threads come through here too; the
 * order written to them is that of the calls, which is all that "the n-th" means with threads. */
#include "support/faults.h"

#include "sys/sys.h"

#include <stdatomic.h>
#include <string.h>

static struct faults wanted;
static _Atomic unsigned seen, injected;

bool faults_is_wait(const char *name)
{
    return strcmp(name, "epoll_wait") == 0 || strcmp(name, "io_uring_enter") == 0;
}

static int hook(char kind, const char *name, void *user)
{
    (void)user;
    if ((wanted.kind && wanted.kind != kind) || (wanted.name && strcmp(wanted.name, name) != 0)) {
        return 0;
    }
    unsigned number = atomic_fetch_add(&seen, 1) + 1;
    if (wanted.nth == 0 || number < wanted.nth || (number > wanted.nth && !wanted.for_ever)) {
        return 0;
    }
    atomic_fetch_add(&injected, 1);
    return wanted.error;
}

void faults_start(struct faults faults)
{
    wanted = faults;
    atomic_store(&seen, 0);
    atomic_store(&injected, 0);
    sys_set_fault_hook(hook, NULL);
}

unsigned faults_seen(void)
{
    return atomic_load(&seen);
}

unsigned faults_stop(void)
{
    sys_set_fault_hook(NULL, NULL);
    return atomic_load(&injected);
}
