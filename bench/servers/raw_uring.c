/* SPDX-License-Identifier: BSD-2-Clause */
/* The other yardstick: what a good programmer writes by hand with io_uring(7), through liburing,
 * for speed alone.
 *
 * SINGLE_ISSUER and DEFER_TASKRUN; one multishot accept into the ring's own table of files (direct
 * descriptors, so no connection has a number in the process); one multishot recv a connection, into
 * buffers that the kernel picks from a ring; sends straight out of those buffers, gathered in the
 * submission queue and handed over with the wait, in the one system call of a turn.
 *
 * Where the kernel can (6.12), a large buffer is filled by many receives one behind the other
 * (IOU_PBUF_RING_INC), so that small messages of many connections lie next to each other in the
 * cache and never use up the ring; otherwise each receive takes a buffer of 16 KiB. A buffer goes
 * back to the kernel when it is full and all that lay in it has been sent.
 *
 * 1. What a connection has to send is a queue of parts, in order. All of them, up to CHAIN_MAX, are
 *    submitted as one chain of linked sends, the next chain when that is done. MSG_WAITALL makes
 *    the kernel finish short ones, so a part is sent whole or the connection is broken.
 * 2. A connection is closed when its recv has ended and no send of it is under way: only then can
 *    no completion name its slot any more.
 * 3. A recv that ended without an end (no buffer left, or the completion queue was full) is begun
 *    again at the end of the turn in which buffers came back.
 * frames sends each answer as a part of its own. LOOPS are threads with a ring and a SO_REUSEPORT
 * listener each. */
#include "bench.h"

#include <liburing.h>
#include <stddef.h>
#include <sys/mman.h>

#define SUBMISSIONS     4096
#define COMPLETIONS     32768
#define SLOTS_MAX       32768
#define CHAIN_MAX       64
#define NO_BUFFER       UINT32_MAX
#define LARGE_COUNT     32U
#define LARGE_BYTES     262144U
#define SMALL_COUNT     4096U
#define SMALL_BYTES     16384U
#define RING_INCREMENTS 2          /* IOU_PBUF_RING_INC, which liburing 2.3 does not name */
#define CQE_BUFFER_MORE (1U << 4U) /* IORING_CQE_F_BUF_MORE */

enum op { OP_ACCEPT, OP_RECV, OP_SEND, OP_OTHER };

struct part {
    struct part *next;
    const unsigned char *data;
    size_t size;
    uint32_t buffer;      /* it keeps from the kernel, or NO_BUFFER */
    unsigned char *owned; /* freed when it is sent */
};

struct buffer {
    unsigned used;  /* bytes filled */
    unsigned parts; /* that lie in it */
    bool full;      /* the kernel is done with it */
};

struct conn {
    bool open;
    bool receiving;
    bool starved; /* in the list of those whose recv is to be begun again */
    bool ended;   /* by the peer */
    bool broken;  /* or by us: send nothing more */
    bool hung_up; /* shutdown was submitted */
    unsigned sending;
    unsigned part_size; /* frames, source: the beginning of what is not yet whole */
    unsigned char *part;
    struct part *first;
    struct part **last;
    uint64_t left; /* source: pieces to be sent */
};

/* One loop. */
struct server {
    struct io_uring ring;
    int listener;
    struct conn *conns; /* by slot */
    unsigned slots;
    struct io_uring_buf_ring *give;
    struct buffer *buffers;
    unsigned char *memory;
    unsigned buffers_count;
    unsigned buffer_bytes;
    int given; /* in this turn, not yet told the kernel */
    struct part *spare;
    unsigned *starved;
    unsigned starved_count;
};

static enum bench_mode mode;

static void *need(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        bench_die("memory", ENOMEM);
    }
    return memory;
}

static struct io_uring_sqe *new_sqe(struct server *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
    if (sqe == NULL) {
        io_uring_submit(&s->ring);
        sqe = io_uring_get_sqe(&s->ring);
    }
    if (sqe == NULL) {
        bench_die("io_uring_get_sqe", ENOSPC);
    }
    return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum op op, unsigned slot)
{
    sqe->user_data = (uint64_t)slot << 8U | op;
}

/* ---- buffers */
static void give_back(struct server *s, uint32_t id)
{
    s->buffers[id] = (struct buffer){0};
    io_uring_buf_ring_add(s->give, s->memory + (size_t)id * s->buffer_bytes, s->buffer_bytes,
                          (unsigned short)id, (int)s->buffers_count - 1, s->given++);
}

static void let_go(struct server *s, uint32_t id)
{
    if (id != NO_BUFFER && --s->buffers[id].parts == 0 && s->buffers[id].full) {
        give_back(s, id);
    }
}

static bool register_buffers(struct server *s, unsigned count, unsigned bytes, unsigned flags)
{
    struct io_uring_buf_reg reg = {.ring_entries = count, .bgid = 0};
    size_t size = count * sizeof(struct io_uring_buf);
    s->give = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    reg.ring_addr = (uint64_t)(uintptr_t)s->give;
    reg.pad = (uint16_t)flags;
    if (s->give == MAP_FAILED || io_uring_register_buf_ring(&s->ring, &reg, 0) < 0) {
        return false;
    }
    s->buffers_count = count;
    s->buffer_bytes = bytes;
    s->buffers = need(count * sizeof(struct buffer));
    s->memory = mmap(NULL, (size_t)count * bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->memory == MAP_FAILED) {
        bench_die("mmap", errno);
    }
    io_uring_buf_ring_init(s->give);
    for (uint32_t id = 0; id < count; id++) {
        give_back(s, id);
    }
    return true;
}

/* ---- sending */
static void queue(struct server *s, struct conn *c, const unsigned char *data, size_t size,
                  uint32_t buffer)
{
    struct part *part = s->spare;
    if (part != NULL) {
        s->spare = part->next;
    } else {
        part = need(sizeof(*part));
    }
    *part = (struct part){.data = data, .size = size, .buffer = buffer};
    if (buffer != NO_BUFFER) {
        s->buffers[buffer].parts++;
    }
    *(c->first == NULL ? &c->first : c->last) = part;
    c->last = &part->next;
}

static void unqueue(struct server *s, struct conn *c)
{
    struct part *part = c->first;
    c->first = part->next;
    let_go(s, part->buffer);
    free(part->owned);
    part->next = s->spare;
    s->spare = part;
}

/* Submits what is queued as one chain; a chain must not be cut by a submission. */
static void send_queue(struct server *s, unsigned slot)
{
    struct conn *c = &s->conns[slot];
    struct io_uring_sqe *sqe = NULL;
    if (c->sending > 0 || c->broken) {
        return;
    }
    if (io_uring_sq_space_left(&s->ring) < CHAIN_MAX) {
        io_uring_submit(&s->ring);
    }
    for (struct part *part = c->first; part != NULL && c->sending < CHAIN_MAX; part = part->next) {
        sqe = new_sqe(s);
        io_uring_prep_send(sqe, (int)slot, part->data, part->size, MSG_WAITALL | MSG_NOSIGNAL);
        sqe->flags = IOSQE_FIXED_FILE | IOSQE_IO_LINK;
        tag(sqe, OP_SEND, slot);
        c->sending++;
    }
    if (sqe != NULL) {
        sqe->flags = IOSQE_FIXED_FILE;
    }
}

/* ---- receiving */
static void receive(struct server *s, unsigned slot)
{
    struct io_uring_sqe *sqe = new_sqe(s);
    io_uring_prep_recv_multishot(sqe, (int)slot, NULL, 0, 0);
    sqe->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    tag(sqe, OP_RECV, slot);
    s->conns[slot].receiving = true;
}

static void hang_up(struct server *s, unsigned slot)
{
    struct io_uring_sqe *sqe = new_sqe(s);
    io_uring_prep_shutdown(sqe, (int)slot, SHUT_RDWR);
    sqe->flags = IOSQE_FIXED_FILE;
    tag(sqe, OP_OTHER, slot);
    s->conns[slot].hung_up = true;
}

/* What is to be done with a connection after something has happened to it. */
static void settle(struct server *s, unsigned slot)
{
    struct conn *c = &s->conns[slot];
    if (!c->broken) {
        send_queue(s, slot);
    }
    while (c->broken && c->sending == 0 && c->first != NULL) {
        unqueue(s, c);
    }
    if (c->receiving) {
        if (c->broken && !c->hung_up) {
            hang_up(s, slot);
        }
    } else if (!c->ended && !c->broken) {
        if (!c->starved) {
            c->starved = true;
            s->starved[s->starved_count++] = slot;
        }
    } else if (c->sending == 0 && !c->starved) {
        struct io_uring_sqe *sqe = new_sqe(s);
        io_uring_prep_close_direct(sqe, slot);
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
        tag(sqe, OP_OTHER, slot);
        free(c->part);
        *c = (struct conn){0};
    }
}

static void feed_starved(struct server *s)
{
    unsigned count = s->starved_count;
    s->starved_count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct conn *c = &s->conns[s->starved[i]];
        c->starved = false;
        if (c->broken || c->ended) {
            settle(s, s->starved[i]);
        } else {
            receive(s, s->starved[i]);
        }
    }
}

/* ---- the modes */

/* Queues the whole frames; keeps is who they keep: a buffer, or NO_BUFFER. Bytes used. */
static unsigned answer(struct server *s, struct conn *c, const unsigned char *data, unsigned size,
                       uint32_t keeps)
{
    unsigned done = 0;
    while (size - done >= 4 && size - done - 4 >= bench_u32be(data + done)) {
        unsigned whole = bench_u32be(data + done) + 4;
        queue(s, c, data + done, whole, keeps);
        done += whole;
    }
    if (size - done >= 4 && bench_u32be(data + done) > BENCH_FRAME_MAX) {
        c->broken = true;
    }
    return done;
}

/* With the beginning of a frame from before, both become one piece of memory, which the last answer
 * out of it frees. */
static void take_frames(struct server *s, struct conn *c, const unsigned char *data, unsigned size,
                        uint32_t id)
{
    unsigned char *joined = NULL;
    if (c->part_size > 0) {
        joined = need(c->part_size + size);
        memcpy(joined, c->part, c->part_size);
        memcpy(joined + c->part_size, data, size);
        free(c->part);
        c->part = NULL;
        data = joined;
        size += c->part_size;
    }
    unsigned done = answer(s, c, data, size, joined != NULL ? NO_BUFFER : id);
    c->part_size = size - done;
    if (joined != NULL && done == 0) {
        c->part = joined;
        return;
    }
    if (c->part_size > 0) {
        c->part = need(c->part_size);
        memcpy(c->part, data + done, c->part_size);
    }
    if (joined != NULL) {
        ((struct part *)((char *)c->last - offsetof(struct part, next)))->owned = joined;
    }
}

static void send_source(struct server *s, unsigned slot)
{
    struct conn *c = &s->conns[slot];
    if (c->left > 0) {
        c->left--;
        queue(s, c, bench_piece, BENCH_PIECE_BYTES, NO_BUFFER);
    } else {
        c->broken = true;
    }
}

static void take_count(struct server *s, unsigned slot, const unsigned char *data, unsigned size)
{
    struct conn *c = &s->conns[slot];
    c->part = c->part == NULL ? need(8) : c->part;
    size = size < 8 - c->part_size ? size : 8 - c->part_size;
    memcpy(c->part + c->part_size, data, size);
    c->part_size += size;
    if (c->part_size == 8 && size > 0) {
        c->left = bench_u64be(c->part);
        send_source(s, slot);
    }
}

static void broadcast(struct server *s, unsigned times)
{
    for (unsigned slot = 0; slot < s->slots; slot++) {
        struct conn *c = &s->conns[slot];
        if (c->open && !c->broken) {
            for (unsigned i = 0; i < times; i++) {
                queue(s, c, bench_piece, BENCH_BLOCK_BYTES, NO_BUFFER);
            }
            send_queue(s, slot);
        }
    }
}

static void take(struct server *s, unsigned slot, const unsigned char *data, unsigned size,
                 uint32_t id)
{
    switch (mode) {
    case BENCH_ECHO:
        queue(s, &s->conns[slot], data, size, id);
        break;
    case BENCH_FRAMES:
        take_frames(s, &s->conns[slot], data, size, id);
        break;
    case BENCH_SOURCE:
        take_count(s, slot, data, size);
        break;
    case BENCH_BROADCAST:
        broadcast(s, size);
        break;
    default:
        break;
    }
}

/* ---- completions */
static void on_received(struct server *s, unsigned slot, const struct io_uring_cqe *cqe)
{
    struct conn *c = &s->conns[slot];
    c->receiving = (cqe->flags & IORING_CQE_F_MORE) != 0;
    if (cqe->res > 0) {
        uint32_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        struct buffer *buffer = &s->buffers[id];
        const unsigned char *data = s->memory + (size_t)id * s->buffer_bytes + buffer->used;
        buffer->used += (unsigned)cqe->res;
        buffer->full = (cqe->flags & CQE_BUFFER_MORE) == 0;
        buffer->parts++;
        if (!c->broken) {
            take(s, slot, data, (unsigned)cqe->res, id);
        }
        let_go(s, id);
    } else if (cqe->res == 0) {
        if (mode == BENCH_SINK && !c->ended) {
            queue(s, c, bench_piece, 1, NO_BUFFER);
        }
        c->ended = true;
    } else if (cqe->res != -ENOBUFS) {
        c->broken = true;
    }
    settle(s, slot);
}

static void on_sent(struct server *s, unsigned slot, int result)
{
    struct conn *c = &s->conns[slot];
    c->sending--;
    if (c->first->size != (size_t)result) {
        c->broken = true;
    }
    unqueue(s, c);
    if (mode == BENCH_SOURCE && !c->broken) {
        send_source(s, slot);
    }
    if (c->sending == 0) {
        settle(s, slot);
    }
}

static void accept_all(struct server *s)
{
    struct io_uring_sqe *sqe = new_sqe(s);
    io_uring_prep_multishot_accept_direct(sqe, s->listener, NULL, NULL, 0);
    tag(sqe, OP_ACCEPT, 0);
}

static void on_accepted(struct server *s, const struct io_uring_cqe *cqe)
{
    if (cqe->res < 0) {
        bench_die("accept", cqe->res);
    }
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
        accept_all(s);
    }
    s->conns[cqe->res].open = true;
    receive(s, (unsigned)cqe->res);
}

static void on_completion(struct server *s, const struct io_uring_cqe *cqe)
{
    unsigned slot = (unsigned)(cqe->user_data >> 8U);
    switch ((enum op)(cqe->user_data & 255U)) {
    case OP_ACCEPT:
        on_accepted(s, cqe);
        break;
    case OP_RECV:
        on_received(s, slot, cqe);
        break;
    case OP_SEND:
        on_sent(s, slot, cqe->res);
        break;
    default:
        break;
    }
}

static void open_ring(struct server *s)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETIONS,
    };
    struct rlimit files;
    int error = io_uring_queue_init_params(SUBMISSIONS, &s->ring, &params);
    if (error < 0) {
        fprintf(stderr, "io_uring: %s\n", strerror(-error));
        bench_cannot(
            "raw_uring needs io_uring with DEFER_TASKRUN (Linux 6.1), and leave to use it.");
    }
    (void)io_uring_register_ring_fd(&s->ring);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    s->slots = files.rlim_cur < SLOTS_MAX ? (unsigned)files.rlim_cur : SLOTS_MAX;
    error = io_uring_register_files_sparse(&s->ring, s->slots);
    if (error < 0) {
        bench_die("io_uring_register_files_sparse", error);
    }
    s->conns = need(s->slots * sizeof(struct conn));
    s->starved = need(s->slots * sizeof(unsigned));
    if (!register_buffers(s, LARGE_COUNT, LARGE_BYTES, RING_INCREMENTS) &&
        !register_buffers(s, SMALL_COUNT, SMALL_BYTES, 0)) {
        bench_die("io_uring_register_buf_ring", errno);
    }
}

static void *serve(void *user)
{
    struct server *s = need(sizeof(*s));
    s->listener = *(int *)user;
    open_ring(s);
    accept_all(s);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head;
        unsigned count = 0;
        if (s->given > 0) {
            io_uring_buf_ring_advance(s->give, s->given);
            s->given = 0;
            feed_starved(s);
        }
        int result = io_uring_submit_and_wait(&s->ring, 1);
        if (result < 0 && result != -EINTR && result != -EBUSY) {
            bench_die("io_uring_enter", result);
        }
        io_uring_for_each_cqe(&s->ring, head, cqe)
        {
            on_completion(s, cqe);
            count++;
        }
        io_uring_cq_advance(&s->ring, count);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    bench_begin(argc, argv, "raw_uring 1", &args);
    mode = args.mode;
    if (mode == BENCH_BROADCAST && args.loops > 1) {
        bench_cannot("raw_uring broadcasts on one loop only.");
    }
    bench_run(&args, serve);
    return 0;
}
