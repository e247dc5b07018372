/* SPDX-License-Identifier: BSD-2-Clause */
/* A whole server in one call.
 *
 *     static const struct peal_conn_ops ops = {.on_data = echo};
 *     int main(void) { return peal_serve(":2007", &ops) < 0; }
 */
#ifndef PEAL_SERVE_H
#define PEAL_SERVE_H

#include <peal/server.h>

PEAL_BEGIN

/* Serves on the address with a loop on the calling thread, until SIGINT or SIGTERM; then drains
 * within ten seconds and returns 0, or a negative error if it could not start. Errors are also
 * logged (peal/log.h) with a sentence. A second signal cuts the drain short. */
PEAL_API int peal_serve(const char *address, const struct peal_conn_ops *ops);

PEAL_END
#endif
