/* SPDX-License-Identifier: BSD-2-Clause */
/* Asio: asio::post to a context that one thread runs; its hint of 1 leaves the queue's lock on. */
#include "posts.h"

#include <asio.hpp>
#include <memory>

#define POSTS_TARGET(ns) ((ns)*0)

namespace
{

const char posts_of[] = "Asio";
std::unique_ptr<asio::io_context> context;
std::unique_ptr<asio::executor_work_guard<asio::io_context::executor_type>> work;

void posts_open()
{
    context = std::make_unique<asio::io_context>(1);
    work = std::make_unique<asio::executor_work_guard<asio::io_context::executor_type>>(
        context->get_executor());
}

void posts_close()
{
    work.reset();
    context.reset();
}

void posts_one()
{
    asio::post(*context, [] {
        if (posts_ran()) {
            context->stop();
        }
    });
}

void posts_serve()
{
    context->run();
    context->restart();
}

} // namespace

#include "posts_run.h"

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    posts_run();
    return 0;
}
