/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: io_uring would answer otherwise under simulation: how multishot operations go
 * on and end, what a cancellation meets, what is told of an edge, what happens without room.
 *
 * A script has one ring, small, with eight buffers of 64 bytes unless it says otherwise. An
 * operation is named by what the script calls it. ENTER submits, waits until there are as many
 * completions as the script knows must come, enters once more to see what comes too much, and
 * writes the completions by the order in which their operations were made: between operations the
 * order is the kernel's choice. "more" is F_MORE, "last" its absence. */
#include "conform.h"

#include "record.h"

#include "sys/sys_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPERATIONS_MAX = 32, COMPLETIONS_MAX = 64, BUFFERS = 8, BUFFER_BYTES = 64, ENTRIES = 16 };
#define PATIENCE_NS 10000000000

static struct sys_uring ring;
static struct {
    const char *name;
    uint8_t opcode;
} operations[OPERATIONS_MAX];
static uint64_t operations_count;
static char buffers[BUFFERS][BUFFER_BYTES];

/* ---- the notation */

static void provide(unsigned id)
{
    sys_uring_provide(&ring, buffers[id], BUFFER_BYTES, (uint16_t)id, BUFFERS - 1);
}

static void begin_with(unsigned sq_entries, unsigned cq_entries, unsigned provided)
{
    operations_count = 0;
    if (sys_uring_open(&ring, sq_entries, cq_entries) < 0 ||
        sys_uring_register_buffers(&ring, BUFFERS) < 0) {
        note("no ring");
        abort();
    }
    for (unsigned id = 0; id < provided; id++) {
        provide(id);
    }
}

static void begin(void)
{
    begin_with(ENTRIES, ENTRIES * 2, BUFFERS);
}

bool ring_can_open(void)
{
    struct sys_uring tried;
    bool can = sys_uring_open(&tried, 1, 2) == 0 && sys_uring_register_buffers(&tried, 1) == 0;
    sys_uring_close(&tried);
    return can;
}

static struct io_uring_sqe *operation(const char *name, uint8_t opcode, int fd)
{
    struct io_uring_sqe *sqe = sys_uring_sqe(&ring);
    if (!sqe || operations_count == OPERATIONS_MAX) {
        abort();
    }
    operations[operations_count].name = name;
    operations[operations_count++].opcode = opcode;
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->user_data = operations_count;
    return sqe;
}

static void recv_on(const char *name, int fd)
{
    struct io_uring_sqe *sqe = operation(name, IORING_OP_RECV, fd);
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
}

static void accept_on(const char *name, int fd)
{
    struct io_uring_sqe *sqe = operation(name, IORING_OP_ACCEPT, fd);
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
}

static void poll_on(const char *name, int fd, unsigned events, bool multishot)
{
    struct io_uring_sqe *sqe = operation(name, IORING_OP_POLL_ADD, fd);
    sqe->poll32_events = events;
    sqe->len = multishot ? IORING_POLL_ADD_MULTI : 0;
}

static struct io_uring_sqe *send_on(const char *name, int fd, const void *data, size_t size)
{
    struct io_uring_sqe *sqe = operation(name, IORING_OP_SEND, fd);
    sqe->addr = (uint64_t)(uintptr_t)data;
    sqe->len = (uint32_t)size;
    sqe->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL;
    return sqe;
}

static uint64_t number_of(const char *name)
{
    uint64_t number = operations_count;
    while (number > 0 && strcmp(operations[number - 1].name, name) != 0) {
        number--;
    }
    return number;
}

static void cancel(const char *name, const char *target)
{
    struct io_uring_sqe *sqe = operation(name, IORING_OP_ASYNC_CANCEL, -1);
    sqe->addr = target ? number_of(target) : UINT32_MAX;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

static void say(const struct io_uring_cqe *cqe)
{
    char names[64], what[BUFFER_BYTES + 32];
    uint8_t opcode = operations[cqe->user_data - 1].opcode;
    if (cqe->res < 0) {
        snprintf(what, sizeof what, "%s", error_name(-cqe->res));
    } else if (opcode == IORING_OP_POLL_ADD) {
        snprintf(what, sizeof what, "%s", event_names((uint32_t)cqe->res, names, sizeof names));
    } else if (opcode == IORING_OP_ACCEPT) {
        snprintf(what, sizeof what, "an fd");
        keep(cqe->res);
    } else if (cqe->flags & IORING_CQE_F_BUFFER) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        snprintf(what, sizeof what, "%d \"%.*s\"", cqe->res, cqe->res, buffers[id]);
        provide(id);
    } else {
        snprintf(what, sizeof what, "%d", cqe->res);
    }
    note("  %s: %s, %s", operations[cqe->user_data - 1].name, what,
         cqe->flags & IORING_CQE_F_MORE ? "more" : "last");
}

/* What is in the queue now, without entering. */
static void look(void)
{
    struct io_uring_cqe cqes[COMPLETIONS_MAX];
    uint32_t head = sys_uring_cq_head(&ring), tail = sys_uring_cq_tail(&ring);
    uint32_t count = tail - head;
    for (uint32_t i = 0; i < count && i < COMPLETIONS_MAX; i++) {
        memcpy(&cqes[i], sys_uring_cqe(&ring, head + i), sizeof cqes[i]);
    }
    sys_uring_cq_advance(&ring, tail);
    for (uint64_t number = 1; number <= operations_count; number++) {
        for (uint32_t i = 0; i < count; i++) {
            if (cqes[i].user_data == number) {
                say(&cqes[i]);
            }
        }
    }
}

static void enter(unsigned expected)
{
    int result = sys_uring_enter(&ring, expected, expected ? PATIENCE_NS : 0);
    if (result == 0) {
        result = sys_uring_enter(&ring, 0, 0);
    }
    note(result < 0 ? "enter = %s" : "enter", error_name(-result));
    if (sys_uring_overflowed(&ring)) {
        note("  the queue has overflowed");
    }
    look();
}

static void end(void)
{
    sys_uring_close(&ring);
}

/* ---- the scripts */

static void ring_begins(enum family family)
{
    (void)family;
    begin();
    operation("first", IORING_OP_NOP, -1);
    operation("second", IORING_OP_NOP, -1);
    look();
    CALL("submit", sys_uring_submit(&ring));
    look();
    enter(0);
    CALL("wait for one, 1 ms", sys_uring_enter(&ring, 1, 1000000));
    look();
    end();
}

static void ring_bad(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    int e = keep(sys_eventfd());
    begin();
    operation("unknown", 255, a);
    poll_on("poll of no fd", -1, POLLIN, false);
    recv_on("recv of no fd", 900);
    recv_on("recv of an eventfd", e);
    accept_on("accept of a connection", a);
    accept_on("accept of an eventfd", e);
    enter(6);
    end();
}

static void ring_recv(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    recv_on("recv", b);
    enter(0);
    SEND(a, "hello");
    enter(1);
    SEND(a, "there");
    enter(1);
    SHUT(a, WR);
    enter(1);
    end();
}

/* More than a buffer, and the end of stream, wait for the operation. */
static void ring_recv_ready(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    SEND(a, "0123456789012345678901234567890123456789012345678901234567890123abcdefgh");
    SHUT(a, WR);
    await(b, EPOLLRDHUP);
    recv_on("recv", b);
    enter(3);
    end();
}

static void ring_recv_reset(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    recv_on("recv", b);
    enter(0);
    set_linger_zero(a);
    FD_CLOSE(a);
    enter(1);
    SO_ERROR_OF(b);
    end();
}

static void ring_no_buffers(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin_with(ENTRIES, ENTRIES, 0);
    recv_on("recv", b);
    enter(1);
    provide(0);
    SEND(a, "0123456789012345678901234567890123456789012345678901234567890123abcdefgh");
    await(b, EPOLLIN);
    recv_on("again", b);
    enter(2);
    RECV(b, 100);
    end();
}

/* The last buffer goes; whether the operation looks for another one at once is the question. */
static void ring_last_buffer(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin_with(ENTRIES, ENTRIES, 1);
    recv_on("recv", b);
    enter(0);
    SEND(a, "hello");
    enter(1);
    end();
}

static void ring_accept(enum family family)
{
    struct name name;
    int listener = open_listener(family, 8, &name), one = open_socket(family);
    int two = open_socket(family);
    begin();
    accept_on("accept", listener);
    enter(0);
    sys_connect(one, (struct sockaddr *)&name.address, name.size);
    enter(1);
    sys_connect(two, (struct sockaddr *)&name.address, name.size);
    enter(1);
    cancel("cancel", "accept");
    enter(1);
    end();
}

static void ring_poll_once(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    poll_on("out", b, POLLOUT, false);
    poll_on("in", b, POLLIN, false);
    enter(1);
    SEND(a, "x");
    enter(1);
    poll_on("in again", b, POLLIN, false);
    poll_on("both", b, POLLIN | POLLOUT, false);
    enter(2);
    poll_on("nothing asked", b, 0, false);
    enter(0);
    SHUT(a, WR);
    enter(1);
    end();
}

/* Each arrival is an edge, also when nobody reads. */
static void ring_poll_input(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    poll_on("poll", b, POLLIN, true);
    enter(0);
    SEND(a, "x");
    enter(1);
    enter(0);
    SEND(a, "y");
    enter(1);
    RECV(b, 1);
    enter(0);
    RECV(b, 1);
    enter(0);
    SEND(a, "z");
    enter(1);
    cancel("cancel", "poll");
    enter(1);
    end();
}

static void ring_poll_eventfd(enum family family)
{
    (void)family;
    uint64_t one = 1;
    int e = keep(sys_eventfd());
    begin();
    poll_on("poll", e, POLLIN, true);
    enter(0);
    CALL("write(e)", sys_write(e, &one, sizeof one));
    enter(1);
    CALL("write(e)", sys_write(e, &one, sizeof one));
    CALL("write(e)", sys_write(e, &one, sizeof one));
    CALL("has work", sys_uring_has_work(&ring));
    enter(1);
    CALL("has work", sys_uring_has_work(&ring));
    CALL("read(e)", sys_read(e, &one, sizeof one));
    enter(0);
    CALL("write(e)", sys_write(e, &one, sizeof one));
    enter(1);
    end();
}

/* What a stream that nobody reads hears. */
static void ring_poll_stream(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    poll_on("poll", b, POLLOUT, true);
    enter(1);
    SEND(a, "x");
    await(b, EPOLLIN);
    enter(0);
    SHUT(a, WR);
    enter(1);
    enter(0);
    end();
}

static void ring_poll_reset(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    poll_on("poll", b, 0, true);
    enter(0);
    set_linger_zero(a);
    FD_CLOSE(a);
    await(b, EPOLLHUP);
    enter(1);
    SO_ERROR_OF(b);
    enter(0);
    end();
}

static void ring_room(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    fill(a);
    poll_on("poll", a, POLLOUT, true);
    send_on("send", a, "x", 1);
    enter(1);
    while (drain(b) > 0) {
        await_sent(a);
    }
    await(a, EPOLLOUT);
    enter(1);
    end();
}

static void ring_send(enum family family)
{
    static char much[16 << 20];
    int a, b;
    open_pair(family, &a, &b);
    begin();
    send_on("send", a, "hello", 5);
    send_on("send untold", a, "there", 5)->flags = IOSQE_CQE_SKIP_SUCCESS;
    enter(1);
    if (family != UNIX) {
        await_sent(a);
    }
    RECV(b, 100);
    send_on("much", a, much, sizeof much)->flags = IOSQE_CQE_SKIP_SUCCESS;
    CALL("submit", sys_uring_submit(&ring));
    uint32_t head = sys_uring_cq_head(&ring);
    const struct io_uring_cqe *cqe = sys_uring_cqe(&ring, head);
    note("much: %s", sys_uring_cq_tail(&ring) - head != 1          ? "untold"
                     : cqe->res > 0 && cqe->res < (int)sizeof much ? "told, a part"
                                                                   : "told");
    sys_uring_cq_advance(&ring, sys_uring_cq_tail(&ring));
    while (sys_send(a, much, sizeof much, MSG_NOSIGNAL) > 0) {
    }
    send_on("full", a, "x", 1)->flags = IOSQE_CQE_SKIP_SUCCESS;
    enter(1);
    SHUT(a, WR);
    send_on("shut", a, "x", 1)->flags = IOSQE_CQE_SKIP_SUCCESS;
    enter(1);
    end();
}

static void ring_cancel(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    cancel("of nothing", NULL);
    enter(1);
    recv_on("recv", b);
    enter(0);
    cancel("cancel", "recv");
    enter(1);
    recv_on("recv with bytes", b);
    poll_on("poll with bytes", b, POLLIN, false);
    enter(0);
    SEND(a, "hello");
    await(b, EPOLLIN);
    cancel("cancel", "recv with bytes");
    cancel("cancel", "poll with bytes");
    enter(2);
    RECV(b, 100);
    recv_on("same turn", b);
    cancel("cancel", "same turn");
    enter(1);
    end();
}

static void ring_holds(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    recv_on("recv", b);
    enter(0);
    FD_CLOSE(b);
    EVENTS(a, 0);
    cancel("cancel", "recv");
    enter(1);
    EVENTS(a, EPOLLIN | EPOLLRDHUP);
    end();
}

static void ring_closes(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    recv_on("recv", b);
    poll_on("poll", b, POLLIN, true);
    enter(0);
    FD_CLOSE(b);
    EVENTS(a, 0);
    end();
    EVENTS(a, EPOLLIN | EPOLLRDHUP);
}

static void ring_overflows(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin_with(4, 4, BUFFERS);
    recv_on("recv", b);
    enter(0);
    operation("1", IORING_OP_NOP, -1);
    operation("2", IORING_OP_NOP, -1);
    operation("3", IORING_OP_NOP, -1);
    operation("4", IORING_OP_NOP, -1);
    CALL("submit", sys_uring_submit(&ring));
    CALL("overflowed", sys_uring_overflowed(&ring));
    operation("5", IORING_OP_NOP, -1);
    operation("6", IORING_OP_NOP, -1);
    CALL("submit", sys_uring_submit(&ring));
    CALL("overflowed", sys_uring_overflowed(&ring));
    look();
    CALL("overflowed", sys_uring_overflowed(&ring));
    enter(0);
    for (int i = 0; i < 4; i++) {
        operation("filling", IORING_OP_NOP, -1);
    }
    CALL("submit", sys_uring_submit(&ring));
    SEND(a, "hello");
    await(b, EPOLLIN);
    CALL("enter", sys_uring_enter(&ring, 0, 0));
    CALL("overflowed", sys_uring_overflowed(&ring));
    look();
    enter(0);
    end();
}

/* On another thread than the one that opened it. */
static void *enter_elsewhere(void *arg)
{
    (void)arg;
    /* EEXIST, or EINVAL where the thread knows the ring by a number of its own. */
    note("  submit is refused: %d", sys_uring_submit(&ring) < 0);
    note("  enter is refused: %d", sys_uring_enter(&ring, 0, 0) < 0);
    CALL("  register", sys_uring_register_buffers(&ring, BUFFERS));
    return NULL;
}

static void ring_misused(enum family family)
{
    struct sys_uring other;
    struct sys_thread thread;
    (void)family;
    CALL("open(0, 0)", sys_uring_open(&other, 0, 0));
    CALL("open(4, 2)", sys_uring_open(&other, 4, 2));
    CALL("open(3, 5)", sys_uring_open(&other, 3, 5));
    note("  %u and %u", other.sq_mask + 1, other.cq_mask + 1);
    CALL("register(3)", sys_uring_register_buffers(&other, 3));
    CALL("register(65536)", sys_uring_register_buffers(&other, 65536));
    sys_uring_close(&other);
    sys_uring_close(&other);
    begin();
    CALL("register again", sys_uring_register_buffers(&ring, BUFFERS));
    note("from another thread");
    if (sys_thread_start(&thread, "stranger", enter_elsewhere, NULL) == 0) {
        sys_thread_join(&thread);
    }
    end();
}

static void ring_unregistered(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    operations_count = 0;
    CALL("open", sys_uring_open(&ring, ENTRIES, ENTRIES));
    recv_on("recv", b);
    SEND(a, "hello");
    await(b, EPOLLIN);
    enter(1);
    RECV(b, 10);
    end();
}

static void ring_poll_file(enum family family)
{
    (void)family;
    struct name name = fresh_name(UNIX);
    int f = keep(sys_open((const char *)&name.address + sizeof(sa_family_t),
                          O_RDWR | O_CREAT | O_EXCL, 0600));
    begin();
    poll_on("for input", f, POLLIN, false);
    poll_on("for room", f, POLLOUT, false);
    poll_on("for both", f, POLLIN | POLLOUT, false);
    enter(3);
    end();
}

static void ring_cancelled_twice(enum family family)
{
    int a, b;
    open_pair(family, &a, &b);
    begin();
    recv_on("recv", b);
    enter(0);
    cancel("cancel", "recv");
    cancel("cancel again", "recv");
    enter(1);
    cancel("and once more", "recv");
    enter(1);
    end();
}

const struct script ring_scripts[] = {
    {"ring_misused", ring_misused, ONCE},
    {"ring_unregistered", ring_unregistered, ON_ALL},
    {"ring_poll_file", ring_poll_file, ONCE},
    {"ring_cancelled_twice", ring_cancelled_twice, ON_ALL},
    {"ring_begins", ring_begins, ONCE},
    {"ring_bad", ring_bad, ON_ALL},
    {"ring_recv", ring_recv, ON_ALL},
    {"ring_recv_ready", ring_recv_ready, ON_ALL},
    {"ring_recv_reset", ring_recv_reset, ON_TCP},
    {"ring_no_buffers", ring_no_buffers, ON_ALL},
    {"ring_last_buffer", ring_last_buffer, ON_TCP},
    {"ring_accept", ring_accept, ON_ALL},
    {"ring_poll_once", ring_poll_once, ON_ALL},
    {"ring_poll_input", ring_poll_input, ON_ALL},
    {"ring_poll_eventfd", ring_poll_eventfd, ONCE},
    {"ring_poll_stream", ring_poll_stream, ON_ALL},
    {"ring_poll_reset", ring_poll_reset, ON_TCP},
    {"ring_room", ring_room, ON_ALL},
    {"ring_send", ring_send, ON_ALL},
    {"ring_cancel", ring_cancel, ON_ALL},
    {"ring_holds", ring_holds, ON_ALL},
    {"ring_closes", ring_closes, ON_ALL},
    {"ring_overflows", ring_overflows, ON_ALL},
    {NULL, NULL, 0},
};
