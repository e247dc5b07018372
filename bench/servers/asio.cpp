/* SPDX-License-Identifier: BSD-2-Clause */
/* Standalone Asio, in the shape of its own examples: a session that shared_from_this keeps alive,
 * async_read_some into a buffer of the session, and async_write, one at a time on a socket.
 *
 * echo is the asynchronous echo server of the examples: read some, write all of it, read again.
 * frames and broadcast follow the chat server: messages to be sent wait in a queue, and each gets
 * an async_write of its own. source writes the piece again and again, the next when the last is
 * gone. While more than 1 MiB waits in the queue of a session, it is not read.
 *
 * The context is told by its concurrency hint of 1 that one thread runs it, which spares it locks.
 * The buffer has 64 KiB, allocated and not filled, so an idle session holds little of it. Nagle is
 * off by the listener, which the acceptor is given (assign); accepted sockets are made nonblocking
 * by Asio. LOOPS are threads with a context and a SO_REUSEPORT listener each. */
#include "bench.h"

#include <asio.hpp>
#include <deque>
#include <memory>
#include <set>
#include <string>

using asio::ip::tcp;

namespace
{

constexpr size_t queued_max = 1 << 20;
bench_mode mode;

class session : public std::enable_shared_from_this<session>
{
  public:
    explicit session(tcp::socket socket)
        : socket_(std::move(socket)), data_(new unsigned char[BENCH_READ_BYTES])
    {
    }

    void start()
    {
        if (mode == BENCH_BROADCAST) {
            sessions.insert(shared_from_this());
        }
        if (mode == BENCH_SOURCE) {
            read_count();
        } else {
            read_some();
        }
    }

  private:
    void read_some()
    {
        socket_.async_read_some(
            asio::buffer(data_.get() + kept_, BENCH_READ_BYTES - kept_),
            [this, self = shared_from_this()](std::error_code error, size_t size) {
                if (!error) {
                    take(size);
                } else if (error == asio::error::eof && mode == BENCH_SINK) {
                    write_last();
                } else {
                    ending_ = true;
                    sessions.erase(self);
                }
            });
    }

    void take(size_t size)
    {
        switch (mode) {
        case BENCH_ECHO:
            write_echo(size);
            return;
        case BENCH_FRAMES:
            if (!take_frames(kept_ + size)) {
                return;
            }
            break;
        case BENCH_BROADCAST:
            for (size_t i = 0; i < size; i++) {
                for (auto &each : sessions) {
                    each->send_block();
                }
            }
            break;
        default:
            break;
        }
        if (queued_ > queued_max) {
            paused_ = true;
        } else {
            read_some();
        }
    }

    void write_echo(size_t size)
    {
        asio::async_write(socket_, asio::buffer(data_.get(), size),
                          [this, self = shared_from_this()](std::error_code error, size_t) {
                              if (!error) {
                                  read_some();
                              }
                          });
    }

    void write_last()
    {
        asio::async_write(socket_, asio::buffer(bench_piece, 1),
                          [self = shared_from_this()](std::error_code, size_t) {});
    }

    bool take_frames(size_t size)
    {
        const unsigned char *data = data_.get();
        while (size >= 4 && size - 4 >= bench_u32be(data)) {
            size_t whole = bench_u32be(data) + 4;
            bool idle = frames_.empty();
            frames_.emplace_back(reinterpret_cast<const char *>(data), whole);
            queued_ += whole;
            if (idle) {
                write_frame();
            }
            data += whole;
            size -= whole;
        }
        if (size >= 4 && bench_u32be(data) > BENCH_FRAME_MAX) {
            return false;
        }
        memmove(data_.get(), data, size);
        kept_ = size;
        return true;
    }

    void write_frame()
    {
        asio::async_write(socket_, asio::buffer(frames_.front()),
                          [this, self = shared_from_this()](std::error_code error, size_t size) {
                              if (error) {
                                  return;
                              }
                              queued_ -= size;
                              frames_.pop_front();
                              if (!frames_.empty()) {
                                  write_frame();
                              }
                              go_on();
                          });
    }

    /* The block is always the same, so its queue is a number. */
    void send_block()
    {
        queued_ += BENCH_BLOCK_BYTES;
        if (queued_ == BENCH_BLOCK_BYTES) {
            write_block();
        }
    }

    void write_block()
    {
        asio::async_write(socket_, asio::buffer(bench_piece, BENCH_BLOCK_BYTES),
                          [this, self = shared_from_this()](std::error_code error, size_t size) {
                              if (error) {
                                  return;
                              }
                              queued_ -= size;
                              if (queued_ > 0 && !ending_) {
                                  write_block();
                              }
                              go_on();
                          });
    }

    void go_on()
    {
        if (paused_ && queued_ <= queued_max / 4) {
            paused_ = false;
            read_some();
        }
    }

    void read_count()
    {
        asio::async_read(socket_, asio::buffer(data_.get(), 8),
                         [this, self = shared_from_this()](std::error_code error, size_t) {
                             if (!error) {
                                 left_ = bench_u64be(data_.get());
                                 write_piece();
                             }
                         });
    }

    void write_piece()
    {
        if (left_-- == 0) {
            return;
        }
        asio::async_write(socket_, asio::buffer(bench_piece),
                          [this, self = shared_from_this()](std::error_code error, size_t) {
                              if (!error) {
                                  write_piece();
                              }
                          });
    }

    static std::set<std::shared_ptr<session>> sessions; /* broadcast */

    tcp::socket socket_;
    std::unique_ptr<unsigned char[]> data_;
    size_t kept_ = 0;   /* frames: the beginning of one, at the front of data_ */
    size_t queued_ = 0; /* bytes waiting to be sent, or being sent */
    bool paused_ = false;
    bool ending_ = false;
    uint64_t left_ = 0;
    std::deque<std::string> frames_;
};

std::set<std::shared_ptr<session>> session::sessions;

void accept_next(tcp::acceptor &acceptor)
{
    acceptor.async_accept([&acceptor](std::error_code error, tcp::socket socket) {
        if (error) {
            bench_die("accept", error.value());
        }
        std::make_shared<session>(std::move(socket))->start();
        accept_next(acceptor);
    });
}

void *serve(void *user)
{
    asio::io_context context(1);
    tcp::acceptor acceptor(context);
    acceptor.assign(tcp::v4(), *static_cast<int *>(user));
    accept_next(acceptor);
    context.run();
    return nullptr;
}

} // namespace

int main(int argc, char **argv)
{
    bench_args args;
    std::string version = "asio " + std::to_string(ASIO_VERSION / 100000) + "." +
                          std::to_string(ASIO_VERSION / 100 % 1000) + "." +
                          std::to_string(ASIO_VERSION % 100);
    bench_begin(argc, argv, version.c_str(), &args);
    mode = args.mode;
    if (mode == BENCH_BROADCAST && args.loops > 1) {
        bench_cannot("asio broadcasts on one loop only.");
    }
    bench_run(&args, serve);
    return 0;
}
