/* SPDX-License-Identifier: BSD-2-Clause */
/* All of Peal. Each header also stands on its own. */
#ifndef PEAL_H
#define PEAL_H

#include <peal/addr.h>
#include <peal/base.h>
#include <peal/blob.h>
#include <peal/buf.h>
#include <peal/client.h>
#include <peal/close.h>
#include <peal/codec.h>
#include <peal/conn.h>
#include <peal/error.h>
#include <peal/log.h>
#include <peal/loop.h>
#include <peal/pool.h>
#include <peal/refs.h>
#include <peal/resolver.h>
#include <peal/serve.h>
#include <peal/server.h>
#include <peal/signal.h>
#include <peal/stats.h>
#include <peal/timer.h>
#include <peal/version.h>
#include <peal/watch.h>

#endif
