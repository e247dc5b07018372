/* SPDX-License-Identifier: BSD-2-Clause */
/* Running a program that uses Peal in a simulated system: every decision that is not the program's
 * (which thread goes on, how many bytes a read gives, what fails, when bytes arrive) is drawn from
 * a seed, so that a failure can be found by trying seeds, and repeated, shrunk and kept.
 *
 * Link libpeal-sim (pkg-config peal-sim) instead of libpeal. The program's code stays as it is; it
 * is called by a scenario, which also plays its peers:
 *
 *     extern struct chat *chat_start(const char *address); // the program under test
 *     extern void chat_stop(struct chat *chat);
 *     static void scenario(void)
 *     {
 *         struct chat *chat = chat_start("127.0.0.1:7000");
 *         struct peal_sim_peer *peer = peal_sim_connect("127.0.0.1:7000", 1000, NULL);
 *         if (peer) {
 *             PEAL_SIM_CHECK(peal_sim_send(peer, "hello", 5, 1000) == 5);
 *             peal_sim_close(peer);
 *         }
 *         peal_sim_calm();
 *         chat_stop(chat);
 *     }
 *     int main(int argc, char **argv)
 *     {
 *         static const struct peal_sim_scenario all[] = {{"chat", "two leave", scenario}};
 *         return peal_sim_main(argc, argv, all, 1);
 *     }
 *
 * Rules. The program may call Peal, and compute; it must not call the real system for what is
 * simulated (sockets, threads, mutexes, clocks, sleeping): the simulated threads take turns, and
 * one that waits for something real waits for ever. Each run is a process of its own; memory that
 * the program takes by malloc is not watched, but what Peal holds for it is.
 * docs/guide/simulation.md tells more.
 *
 * A run has failed when: a check failed, the program crashed or did not end, a thread, an fd or
 * memory of Peal was left, memory was written after it was freed, a closed fd was used, every
 * thread waited for ever, or calls went on without moving anything. */
#ifndef PEAL_SIM_H
#define PEAL_SIM_H

#include <peal/base.h>

PEAL_BEGIN

/* One thing to be run many times. run is called on the first thread of a new simulated system, and
 * must leave that as it was: everything freed, closed and joined. */
struct peal_sim_scenario {
    const char *name;  /* a word */
    const char *about; /* a sentence */
    void (*run)(void);
};

/* The command line: run, torture, exhaust, replay, shrink, list (each tells of itself with --help).
 * Returns what main is to return: 0, 1 when a run failed, 2 when the command line is wrong. */
PEAL_API int peal_sim_main(int argc, char **argv, const struct peal_sim_scenario *scenarios,
                           size_t count);

/* ---- within a run, on any of its threads */

/* A number below limit, drawn from the seed. 0 is what shrinking strives for: let it be the
 * simplest.
 */
PEAL_API uint64_t peal_sim_below(uint64_t limit);
PEAL_API bool peal_sim_chance(unsigned percent); /* 100 or more: always */
/* What is drawn between the two belongs together: shrinking first tries to leave it out whole. They
 * nest; the label, a static text, is told in a replay. */
PEAL_API void peal_sim_begin_step(const char *label);
PEAL_API void peal_sim_end_step(void);

/* The run has failed. */
PEAL_API void peal_sim_fail(const char *format, ...) PEAL_PRINTF(1, 2) __attribute__((noreturn));
#define PEAL_SIM_CHECK(condition)                                                                  \
    ((condition) ? (void)0 : peal_sim_fail("%s:%d: not so: %s", __FILE__, __LINE__, #condition))
/* A line of the replay's report. Costs next to nothing in other runs. */
PEAL_API void peal_sim_note(const char *format, ...) PEAL_PRINTF(1, 2);

/* No more faults, from here to the end: the system is to come to rest. */
PEAL_API void peal_sim_calm(void);

/* From here on (true) to there (false), exhaust tries every order of the threads; elsewhere they
 * run as they are. Other commands take no notice. */
PEAL_API void peal_sim_explore(bool on);

/* Simulated time; sleeping lets the others go on. */
PEAL_API uint64_t peal_sim_now_ms(void);
PEAL_API void peal_sim_sleep_ms(uint64_t ms);
/* A place at which another thread may go on, as at every call of Peal. */
PEAL_API void peal_sim_yield(void);

/* Threads of the program, or of the scenario. Every one is to be joined. A start never fails. */
struct peal_sim_thread;
PEAL_API struct peal_sim_thread *peal_sim_thread_start(const char *name, void (*fn)(void *user),
                                                       void *user);
PEAL_API void peal_sim_thread_join(struct peal_sim_thread *thread);

/* A signal to the process, for peal_signal. */
PEAL_API void peal_sim_raise(int number);
/* A name that resolves to a numeric address, after a while; several for one name may be added. */
PEAL_API void peal_sim_add_host(const char *name, const char *address, uint64_t delay_ms);
/* How many fds the process may have open; 1024 at first. */
PEAL_API void peal_sim_limit_fds(unsigned count);
/* Makes a file, or adds to it; peal_sim_open_file gives an fd of it for peal_conn_send_file, to be
 * closed with peal_sim_close_file. */
PEAL_API void peal_sim_write_file(const char *path, const void *data, size_t size);
PEAL_API int peal_sim_open_file(const char *path);
PEAL_API void peal_sim_close_file(int fd);

/* ---- peers: clients and servers of the simulated network that are not the program's, played by
 * the scenario with calls that wait. Only the network's faults touch them. Errors are negative
 * errnos; -EAGAIN: the time that the call was given is over. Every peer is to be closed, by close
 * or reset. */
struct peal_sim_peer;

/* address: numeric, as in peal/addr.h ("127.0.0.1:7", "[::1]:7", "unix:/run/x"). NULL and
 * *ret_error (which may be NULL) when it did not work out. */
PEAL_API struct peal_sim_peer *peal_sim_connect(const char *address, uint64_t timeout_ms,
                                                int *ret_error);
/* A peer that listens (if it cannot, the run has failed), and one that it has accepted; NULL: the
 * time was over. */
PEAL_API struct peal_sim_peer *peal_sim_listen(const char *address, int backlog);
PEAL_API struct peal_sim_peer *peal_sim_accept(struct peal_sim_peer *listener, uint64_t timeout_ms);
/* Sends all. Returns size, or less when the time was over, or an error when nothing was sent. */
PEAL_API ssize_t peal_sim_send(struct peal_sim_peer *peer, const void *data, size_t size,
                               uint64_t timeout_ms);
/* At least a byte, at most size; 0: end of stream. */
PEAL_API ssize_t peal_sim_recv(struct peal_sim_peer *peer, void *data, size_t size,
                               uint64_t timeout_ms);
PEAL_API void peal_sim_shutdown(struct peal_sim_peer *peer); /* ends its own side */
PEAL_API void peal_sim_close(struct peal_sim_peer *peer);
PEAL_API void peal_sim_reset(struct peal_sim_peer *peer); /* closes with a reset */
/* Gives the peer's fd to the program, as for peal_server_adopt; the peer is no more. */
PEAL_API int peal_sim_give_fd(struct peal_sim_peer *peer);

PEAL_END

#endif
