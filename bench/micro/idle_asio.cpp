/* SPDX-License-Identifier: BSD-2-Clause */
/* Asio: a session with a buffer of 1 KiB, as in the echo server of its examples, which
 * async_read_some keeps alive. The buffer cannot be left out: a read is armed with it. */
#include "micro.h"

#include <asio.hpp>
#include <chrono>
#include <memory>

#define IDLE_TARGET(bytes) ((bytes)*0)

namespace
{

using asio::ip::tcp;

const char idle_of[] = "Asio";
uint64_t idle_accepted;

asio::io_context context(1);
tcp::acceptor acceptor(context);

} // namespace

#include "idle.h"

namespace
{

class session : public std::enable_shared_from_this<session>
{
  public:
    explicit session(tcp::socket socket) : socket_(std::move(socket))
    {
    }

    void start()
    {
        socket_.async_read_some(asio::buffer(data_),
                                [self = shared_from_this()](std::error_code, size_t) {});
    }

  private:
    tcp::socket socket_;
    char data_[1024];
};

void accept_next()
{
    acceptor.async_accept([](std::error_code error, tcp::socket socket) {
        if (error) {
            bench_die("accept", error.value());
        }
        std::make_shared<session>(std::move(socket))->start();
        idle_accepted++;
        accept_next();
    });
}

} // namespace

static uint16_t idle_open(void)
{
    int fd = bench_listen(0, false, BENCH_ECHO);
    acceptor.assign(tcp::v4(), fd);
    accept_next();
    return bench_port(fd);
}

static void idle_turn(void)
{
    context.restart();
    context.run_for(std::chrono::milliseconds(10));
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    idle_run();
    return 0;
}
