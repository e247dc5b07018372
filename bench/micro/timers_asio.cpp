/* SPDX-License-Identifier: BSD-2-Clause */
/* Asio's steady_timer: a heap, and an operation of the memory pool for each wait. Cancelling and
 * moving complete the wait with an error; the callbacks that say so run in the same turn, and are
 * part of the cost, as no program can do without them. */
#include "micro.h"

#include <asio.hpp>
#include <chrono>
#include <memory>
#include <vector>

#define TIMERS_TARGET(ns) ((ns)*0)

namespace
{

const char timers_of[] = "Asio";
size_t timers_fired;
std::unique_ptr<asio::io_context> context;
std::vector<asio::steady_timer> timers;

void timers_open(size_t count)
{
    context = std::make_unique<asio::io_context>(1);
    timers.reserve(count);
    for (size_t i = 0; i < count; i++) {
        timers.emplace_back(*context);
    }
}

void timers_close()
{
    timers.clear();
    context.reset();
}

void timers_start(size_t i, uint32_t ms)
{
    timers[i].expires_after(std::chrono::milliseconds(ms));
    timers[i].async_wait([](std::error_code error) {
        if (!error) {
            timers_fired++;
        }
    });
}

void timers_move(size_t i, uint32_t ms)
{
    timers_start(i, ms);
}

void timers_cancel(size_t i)
{
    timers[i].cancel();
}

void timers_inside(void (*fn)(void))
{
    asio::post(*context, fn);
    context->restart();
    context->poll();
}

} // namespace

#include "timers.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    timers_run();
    return 0;
}
