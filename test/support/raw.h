/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw peers: blocking sockets of plain libc, which share no code with the library and judge it from
 * outside. Every call is bounded by a receive time-out of ten seconds, which only guards against
 * hangs. All fail the test (cmocka) when something is not as expected. */
#ifndef TEST_RAW_H
#define TEST_RAW_H

#include <peal/addr.h>

#include <stddef.h>
#include <sys/types.h>

int raw_connect(const struct peal_addr *address); /* a connected socket */
int raw_connect_small(const struct peal_addr *address,
                      int receive_bytes); /* with SO_RCVBUF set before connecting */
int raw_listen(struct peal_addr *ret_address,
               int backlog); /* on 127.0.0.1, a port of the kernel's choice */
int raw_accept(int listener);
void raw_pair(int fds[2]); /* two ends of one TCP connection on loopback */

void raw_send(int fd, const void *data, size_t size); /* all of it */
size_t raw_recv(int fd, void *data, size_t size); /* what comes first, at least one byte; 0: FIN */
void raw_recv_exactly(int fd, void *data, size_t size);
void raw_expect(int fd, const char *text); /* exactly these bytes */
size_t raw_drain(int fd,
                 int *ret_error); /* reads and drops until FIN (0) or an error (positive errno) */
void raw_expect_fin(int fd);      /* FIN and no byte before it */
void raw_expect_reset(int fd);    /* ECONNRESET, after any bytes */
void raw_fin(int fd);             /* shutdown(SHUT_WR) */
void raw_reset(int fd);           /* closes with a reset */
void raw_close(int fd);

/* The bytes of a stream at offset are the same for all: what is checked is that none is missing,
 * doubled or out of order. */
void raw_pattern(void *data, size_t size, size_t offset);
/* Reads until FIN, checks each byte against the pattern from offset 0, returns the count. */
size_t raw_drain_pattern(int fd);

#endif
