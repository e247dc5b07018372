/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulated system, from within: what its parts (sched.c, file.c, epoll.c, socket.c, fault.c,
 * heap.c) know of each other, and what a runner of simulated programs uses. world.c tells the
 * model. Everything here is used by the thread that holds the baton only. */
#ifndef PL_SIM_SIM_H
#define PL_SIM_SIM_H

#include "sys/sim/choice.h"
#include "sys/sys.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <signal.h>
#include <stdint.h>

#define PL_SIM_NEVER UINT64_MAX

enum { PL_SIM_FDS_MAX = 4096, PL_SIM_THREADS_MAX = 64, PL_SIM_ENGINE_NAME_MAX = 16 };

/* ---- faults: each kind is listed, with its words, in faults.def */
enum pl_sim_fault {
#define PL_SIM_FAULT(name, where, words) PL_SIM_##name,
#include "sys/sim/faults.def"
#undef PL_SIM_FAULT
    PL_SIM_FAULTS
};

/* Marks in the choice stream (choice.h): switches of threads, each kind of fault, and whether there
 * are any. */
enum { PL_SIM_MARK_SWITCH = 1, PL_SIM_MARK_SWARM, PL_SIM_MARK_FAULT };
_Static_assert(PL_SIM_MARK_FAULT + PL_SIM_FAULTS <= PL_CHOICE_MARKS, "each kind has a mark");

struct pl_sim_file;
struct pl_sim_socket;
struct pl_sim_thread;
struct pl_sim_node;
struct pl_sim_host;
struct pl_sim_delivery;
struct pl_sim_block;

/* How threads take turns. */
enum pl_sim_schedule { PL_SIM_RANDOM, PL_SIM_PRIORITIES, PL_SIM_EVERY };

/* The world: one a process. What is zero is the everyday: no faults, no switching but where a
 * thread waits. */
struct pl_sim {
    struct pl_choice choice;
    bool is_traced; /* each call is told on stderr */
    uint64_t steps, steps_max;
    uint64_t idle_steps; /* since something was moved: many are a spin */
    uint64_t random_state;
    void (*on_fail)(const char *text); /* does not return; NULL: stderr and abort */

    /* time */
    uint64_t now_ns, began_ns;

    /* faults */
    uint32_t shares[PL_SIM_FAULTS]; /* of 65536 */
    uint64_t injected[PL_SIM_FAULTS];
    void (*on_fault)(enum pl_sim_fault kind);
    bool is_strict; /* a call on an fd that is not open ends the run */
    bool is_calm;   /* nothing fails any more */
    sys_fault_fn hook;
    void *hook_user;

    /* threads: sched.c */
    enum pl_sim_schedule schedule;
    uint32_t switch_share;
    unsigned preemptions_left; /* EVERY: threads that may still be interrupted ... */
    bool is_exploring;         /* ... once the scenario has said so */
    struct pl_sim_thread *threads[PL_SIM_THREADS_MAX]; /* those of the run */
    unsigned threads_count;
    uint64_t threads_started;

    /* files: file.c */
    struct pl_sim_file *fds[PL_SIM_FDS_MAX];
    unsigned fds_open, fds_max; /* the limit of numbers */
    struct pl_sim_node *nodes;  /* names in the file system */
    uint64_t inodes;
    sigset_t signals; /* raised, and not yet read */

    /* the network: socket.c */
    struct pl_sim_socket *sockets; /* all, those without an fd too */
    struct pl_sim_delivery *deliveries;
    uint64_t deliveries_made, sockets_made;
    struct pl_sim_host *hosts;
    uint16_t next_port;
    size_t buffer_min, buffer_max; /* socket buffers are drawn from here; 0: the usual size */

    /* memory: heap.c */
    uint64_t allocations, allocated_bytes, blocks_made;
    struct pl_sim_block *freed_first, *freed_last;
    size_t freed_bytes;

    char first_words[512];               /* the first line that the library wrote to stderr */
    char engine[PL_SIM_ENGINE_NAME_MAX]; /* what PEAL_ENGINE says; "": it is not set */
    unsigned cpus;
};
extern struct pl_sim pl_sim;

/* ---- the world as a whole: world.c */

/* Everything as at the start of a process; the calling thread is its first. The choice stream must
 * have been set up before. */
void pl_sim_begin(void);
/* Draws which faults this run knows and how often, how threads take turns, how large buffers are.
 */
void pl_sim_draw_swarm(void);
/* Checks that nothing is left, which is a failure of the run, and takes the rest down. */
void pl_sim_end(void);
/* The run has failed: says why, does not return. */
_Noreturn void pl_sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pl_sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define TRACE(...)                                                                                 \
    do {                                                                                           \
        if (__builtin_expect(pl_sim.is_traced, 0)) {                                               \
            pl_sim_trace(__VA_ARGS__);                                                             \
        }                                                                                          \
    } while (0)

/* ---- faults: fault.c */

/* Whether this kind strikes now. Draws only if the run knows it. */
bool pl_sim_strikes(enum pl_sim_fault kind);
/* What the hook of sys_set_fault_hook wants a call of this name to fail with, or 0. */
int pl_sim_hook(char kind, const char *name);
/* Calls of this thread that are not of the program under test: only the world's faults strike. */
extern _Thread_local bool pl_sim_is_exempt;
const char *pl_sim_fault_words(enum pl_sim_fault kind);
const char *pl_sim_fault_name(enum pl_sim_fault kind);

/* ---- threads and time: sched.c */

/* A place at which another thread may go on. Every call of the seam that can be seen by another
 * thread has one. */
void pl_sim_point(void);
/* The same between two calls: no step is counted, and time stands still. */
void pl_sim_small_point(void);
/* Something was moved: bytes, a connection, the clock. Steps without end and without this fail. */
void pl_sim_progress(void);
/* Waits until somebody wakes the object, or the moment has come: false. */
bool pl_sim_wait(const void *object, uint64_t until_ns);
void pl_sim_wake(const void *object);     /* all that wait for it */
void pl_sim_wake_one(const void *object); /* any one */
uint64_t pl_sim_after(uint64_t ns);       /* now + ns, without overflow */
uint64_t pl_sim_thread_number(void);      /* the caller's, from 1 */
const char *pl_sim_thread_name(void);
/* For the end of a run that has failed: calls fn on every other thread of it, where that stands.
 * Only the thread that has the baton may, and none goes on after it. */
void pl_sim_on_each_thread(void (*fn)(void));
void pl_sim_forked(void); /* in a child process, before it begins a run */
/* Called by world.c. */
void pl_sim_threads_begin(void);
void pl_sim_threads_end(void);

/* ---- files: file.c */

enum pl_sim_kind {
    PL_SIM_SOCKET,
    PL_SIM_EPOLL,
    PL_SIM_EVENTFD,
    PL_SIM_SIGNALFD,
    PL_SIM_REGULAR,
    PL_SIM_RING
};

/* Somebody who is told whenever what may be read or written of a file has changed. */
struct pl_sim_watcher {
    struct pl_sim_watcher *next; /* of the file */
    struct pl_sim_file *file;
    void (*changed)(struct pl_sim_watcher *watcher);
};

struct pl_sim_file {
    enum pl_sim_kind kind;
    unsigned names; /* fds that name it, and calls that are under way */
    struct pl_sim_watcher *watchers;
    uint32_t inputs;                            /* counted: something came to be read */
    uint32_t shortages;                         /* counted: a write found too little room */
    uint32_t (*poll)(struct pl_sim_file *file); /* EPOLL bits; NULL: cannot be polled */
    void (*unnamed)(struct pl_sim_file *file);  /* the last fd is gone: frees it, at some time */
};

int pl_sim_may_open(void); /* 0, -EMFILE or -ENFILE: to be asked before a new fd */
int pl_sim_new_fd(struct pl_sim_file *file);
struct pl_sim_file *pl_sim_file_of(int fd); /* NULL: EBADF, which fails a strict run */
void pl_sim_changed(struct pl_sim_file *file);
void pl_sim_has_input(struct pl_sim_file *file); /* changed, and there is more to read */
void pl_sim_watch(struct pl_sim_file *file, struct pl_sim_watcher *watcher);
void pl_sim_unwatch(struct pl_sim_watcher *watcher);
void pl_sim_forget_watchers(struct pl_sim_file *file); /* of a file that goes away */
void pl_sim_hold(struct pl_sim_file *file);            /* during a call that waits */
void pl_sim_release(struct pl_sim_file *file);
void pl_sim_files_end(void);

struct pl_sim_node {
    struct pl_sim_node *next;
    char path[128];
    uint64_t inode;
    struct pl_sim_socket *socket; /* bound here; NULL: a file, or the socket is gone */
    bool is_socket, is_unlinked;
    unsigned users; /* fds of a file */
    uint8_t *data;
    size_t size;
};
struct pl_sim_node *pl_sim_find_node(const char *path);
struct pl_sim_node *pl_sim_new_node(const char *path);
/* Of a regular file: bytes from offset, or -EIO. */
ssize_t pl_sim_file_bytes(struct pl_sim_file *file, off_t offset, size_t size,
                          const uint8_t **ret_data);

void pl_sim_raise(int number); /* a signal to the process */

/* ---- sockets and the network: socket.c, tcp.c, unix.c, names.c */
void pl_sim_network_end(void);
uint64_t pl_sim_network_next_ns(void); /* when something arrives, or PL_SIM_NEVER */
void pl_sim_network_run(void);         /* lets arrive what is due */
/* A name that getaddrinfo finds: numeric address, and how long finding it takes. */
void pl_sim_add_host(const char *name, const char *address, uint64_t delay_ns);
void pl_sim_hosts_end(void);

/* ---- memory: heap.c */
void pl_sim_heap_end(void);

/* For the simulated system's own memory, which never fails. */
void *pl_sim_take(size_t size); /* zeroed */

#endif
