/* SPDX-License-Identifier: BSD-2-Clause */
/* hiredis's asynchronous connections on a Peal loop.
 *
 * Take this pair of files into your program as it is. All else is hiredis's own interface: commands
 * are sent and callbacks come as with any other loop, on this one's thread.
 *
 *     redisAsyncContext *redis = redisAsyncConnect("127.0.0.1", 6379);
 *     if (redis && !redis->err && peal_hiredis_attach(loop, redis) == 0) {
 *         redisAsyncCommand(redis, on_reply, NULL, "GET %s", "key");
 *     }
 *
 * The context lives as hiredis has it: until redisAsyncFree, or until the disconnect callback has
 * returned, after redisAsyncDisconnect or a failure. One that is left when the loop has ended must
 * be freed before the loop is: then its callbacks run, without replies.
 *
 * A name given to redisAsyncConnect is looked up there and then, which blocks the loop: give it an
 * address. hiredis keeps no time here: a time-out is a peal_timer whose callback calls
 * redisAsyncFree. */
#ifndef PEAL_HIREDIS_H
#define PEAL_HIREDIS_H

#include <hiredis/async.h>
#include <peal/loop.h>

/* Right after connecting. The loop's thread, as all calls of hiredis from then on. Errors: -EBUSY
 * (a loop has it already), -ENOMEM, and those of peal_watch_open; the context is as before. */
int peal_hiredis_attach(struct peal_loop *loop, redisAsyncContext *redis);

#endif
