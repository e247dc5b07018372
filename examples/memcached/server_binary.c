/* SPDX-License-Identifier: BSD-2-Clause */
/* memcached's binary protocol: a header of 24 bytes, then extras, key and value, for requests and
 * for responses. Integers are big-endian.
 *
 *     0 magic 0x80, of a response 0x81    1 opcode           2 key size (16 bits)
 *     4 extras size    5 data type 0      6 status (16)      8 size of all after the header (32)
 *    12 opaque (32, comes back as it is)                    16 cas (64)
 *
 * Most opcodes have a quiet twin, which says nothing when there is nothing to say: a get that found
 * nothing, a set that was done. A client sends many of those and then a noop, whose response tells
 * that all before it are answered. get with a quiet twin answers with the value, the others with
 * errors only.
 *
 * A request is looked at when its header, extras and key are there; a value then goes into its item
 * as it comes, as in the text protocol. Nothing here waits for what is larger than a key: the body
 * of a request that is refused is skipped.
 *
 * Invariants:
 *  1. Each request consumes as many bytes as its header says, whatever becomes of it; so the next
 *     header is where the client means it to be.
 *  2. A header that cannot be one (another magic, parts that are larger than the whole) is answered
 *     once, if it can be, and ends the connection: nobody knows where the next one begins. */
#include "server_session.h"

#include <endian.h>
#include <string.h>

enum { HEADER_BYTES = 24, MAGIC_REQUEST = 0x80, MAGIC_RESPONSE = 0x81 };

enum opcode {
    OP_GET,
    OP_SET,
    OP_ADD,
    OP_REPLACE,
    OP_DELETE,
    OP_INCREMENT,
    OP_DECREMENT,
    OP_QUIT,
    OP_FLUSH,
    OP_GETQ,
    OP_NOOP,
    OP_VERSION,
    OP_GETK,
    OP_GETKQ,
    OP_APPEND,
    OP_PREPEND,
    OP_STAT,
    OP_SETQ,
    OP_ADDQ,
    OP_REPLACEQ,
    OP_DELETEQ,
    OP_INCREMENTQ,
    OP_DECREMENTQ,
    OP_QUITQ,
    OP_FLUSHQ,
    OP_APPENDQ,
    OP_PREPENDQ,
    OP_VERBOSITY,
    OP_TOUCH,
    OP_GAT,
    OP_GATQ,
    OP_GATK = 0x23,
    OP_GATKQ = 0x24
};

enum status {
    STATUS_OK = 0,
    STATUS_NOT_FOUND = 1,
    STATUS_EXISTS = 2,
    STATUS_TOO_LARGE = 3,
    STATUS_INVALID = 4,
    STATUS_NOT_STORED = 5,
    STATUS_NOT_NUMBER = 6,
    STATUS_UNKNOWN = 0x81,
    STATUS_NO_MEMORY = 0x82
};

struct header { /* as on the wire; everything lies where it is aligned */
    uint8_t magic, opcode;
    uint16_t key_size;
    uint8_t extras_size, data_type;
    uint16_t status;
    uint32_t body_size;
    uint32_t opaque;
    uint64_t cas;
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "the header has no holes");

/* What a request brings with it beside its header and a value. */
struct body {
    const unsigned char *extras;
    struct store_key key;
    size_t value_size;
};

/* ---- responses */

static struct header response(const struct session *session, enum status status, uint64_t cas,
                              size_t extras_size, size_t key_size, size_t value_size)
{
    return (struct header){
        .magic = MAGIC_RESPONSE,
        .opcode = session->request.opcode,
        .key_size = htobe16((uint16_t)key_size),
        .extras_size = (uint8_t)extras_size,
        .status = htobe16((uint16_t)status),
        .body_size = htobe32((uint32_t)(extras_size + key_size + value_size)),
        .opaque = session->request.opaque,
        .cas = htobe64(cas),
    };
}

static void respond(struct session *session, enum status status, uint64_t cas, const void *value,
                    size_t size)
{
    unsigned char message[HEADER_BYTES + 64];
    struct header header = response(session, status, cas, 0, 0, size);

    memcpy(message, &header, HEADER_BYTES);
    memcpy(message + HEADER_BYTES, value, size);
    session_send(session, message, HEADER_BYTES + size);
}

static void respond_ok(struct session *session, uint64_t cas)
{
    if (!session->quiet) {
        respond(session, STATUS_OK, cas, "", 0);
    }
}

static void respond_error(struct session *session, enum status status)
{
    static const struct {
        enum status status;
        const char *text;
    } texts[] = {
        {STATUS_NOT_FOUND, "Not found"},
        {STATUS_EXISTS, "Data exists for key."},
        {STATUS_TOO_LARGE, "Too large."},
        {STATUS_INVALID, "Invalid arguments"},
        {STATUS_NOT_STORED, "Not stored."},
        {STATUS_NOT_NUMBER, "Non-numeric server-side value for incr or decr"},
        {STATUS_UNKNOWN, "Unknown command"},
        {STATUS_NO_MEMORY, "Out of memory"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status) {
            respond(session, status, 0, texts[i].text, strlen(texts[i].text));
        }
    }
}

static enum status status_of(enum store_result result)
{
    static const enum status statuses[] = {
        [STORE_OK] = STATUS_OK,
        [STORE_NOT_STORED] = STATUS_NOT_STORED,
        [STORE_EXISTS] = STATUS_EXISTS,
        [STORE_NOT_FOUND] = STATUS_NOT_FOUND,
        [STORE_NOT_NUMBER] = STATUS_NOT_NUMBER,
        [STORE_TOO_LARGE] = STATUS_TOO_LARGE,
        [STORE_NO_MEMORY] = STATUS_NO_MEMORY,
    };
    return statuses[result];
}

static uint32_t u32_at(const unsigned char *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return be32toh(value);
}

static uint64_t u64_at(const unsigned char *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return be64toh(value);
}

/* A time of expiry on the wire has 32 bits without a sign. */
static uint64_t expiry_at(const struct session *session, const unsigned char *bytes)
{
    return session_expiry(session, (int64_t)u32_at(bytes));
}

/* ---- getting and touching: `which` of the table says how */

enum { GET_WITH_KEY = 1, GET_TOUCHES = 2, GET_WITHOUT_VALUE = 4 };

static void answer_get(struct session *session, struct item *item, int which)
{
    size_t key_size = which & GET_WITH_KEY ? item->key_size : 0;
    size_t value_size = which & GET_WITHOUT_VALUE ? 0 : item->value_size;
    unsigned char head[HEADER_BYTES + sizeof(uint32_t)];
    uint32_t flags = htobe32(item->flags);
    struct header header =
        response(session, STATUS_OK, item->cas, sizeof(flags), key_size, value_size);

    memcpy(head, &header, HEADER_BYTES);
    memcpy(head + HEADER_BYTES, &flags, sizeof(flags));
    session_send_item(session, head, sizeof(head), item, item_value(item) - key_size,
                      key_size + value_size);
}

static void command_get(struct session *session, const struct body *body, int which)
{
    struct item *item =
        which & GET_TOUCHES
            ? store_touch(session->store, body->key, expiry_at(session, body->extras),
                          !(which & GET_WITHOUT_VALUE), session->now)
            : store_get(session->store, body->key, session->now);
    if (item != NULL) {
        answer_get(session, item, which);
        item_unref(item);
    } else if (!session->quiet) {
        if (which & GET_WITH_KEY) {
            struct header header = response(session, STATUS_NOT_FOUND, 0, 0, body->key.size, 0);
            session_send(session, &header, sizeof(header));
            session_send(session, body->key.data, body->key.size);
        } else {
            respond_error(session, STATUS_NOT_FOUND);
        }
    }
}

/* ---- storing */

static void command_store(struct session *session, const struct body *body, int which)
{
    bool has_extras = which != STORE_APPEND && which != STORE_PREPEND;
    uint32_t flags = has_extras ? u32_at(body->extras) : 0;
    uint64_t expires_ms = has_extras ? expiry_at(session, body->extras + 4) : 0;
    bool too_large = body->value_size > store_value_max(session->store);

    session->mode = (enum store_mode)which;
    session->cas = session->request.cas;
    struct item *item =
        too_large ? NULL : item_new(session->store, body->key, body->value_size, flags, expires_ms);
    if (item == NULL) { /* and what is there must not be taken for what could not be stored */
        respond_error(session, too_large ? STATUS_TOO_LARGE : STATUS_NO_MEMORY);
        store_delete(session->store, body->key, 0, session->now);
        session_skip(session, body->value_size);
        return;
    }
    session_receive(session, item, body->value_size);
}

static void store_value(struct session *session)
{
    struct item *item = session->item;
    uint64_t cas;

    memcpy(item_value(item) + item->value_size, "\r\n", 2);
    enum store_result result =
        store_put(session->store, item, session->mode, session->cas, session->now, &cas);
    if (result == STORE_OK) {
        respond_ok(session, cas);
    } else if (result == STORE_NOT_STORED && session->mode == STORE_ADD) {
        respond_error(session, STATUS_EXISTS);
    } else if (result == STORE_NOT_STORED && session->mode == STORE_REPLACE) {
        respond_error(session, STATUS_NOT_FOUND);
    } else {
        respond_error(session, status_of(result));
    }
    session->item = item_unref(item);
    session->stage = STAGE_COMMAND;
}

/* ---- the others */

static void command_delete(struct session *session, const struct body *body, int unused)
{
    (void)unused;
    enum store_result result =
        store_delete(session->store, body->key, session->request.cas, session->now);
    if (result == STORE_OK) {
        respond_ok(session, 0);
    } else {
        respond_error(session, status_of(result));
    }
}

static void command_arith(struct session *session, const struct body *body, int decrement)
{
    struct store_change change = {
        .by = u64_at(body->extras),
        .decrement = decrement != 0,
        .cas = session->request.cas,
        .create = u32_at(body->extras + 16) != UINT32_MAX,
        .initial = u64_at(body->extras + 8),
        .expires_ms = expiry_at(session, body->extras + 16),
    };
    uint64_t value, cas;
    enum store_result result =
        store_arith(session->store, body->key, &change, session->now, &value, &cas);

    if (result != STORE_OK) {
        respond_error(session, status_of(result));
    } else if (!session->quiet) {
        value = htobe64(value);
        respond(session, STATUS_OK, cas, &value, sizeof(value));
    }
}

static void command_flush(struct session *session, const struct body *body, int unused)
{
    (void)unused;
    session_flush(session, session->request.extras_size != 0 ? (int64_t)u32_at(body->extras) : 0);
    respond_ok(session, 0);
}

static void command_version(struct session *session, const struct body *body, int unused)
{
    (void)body;
    (void)unused;
    respond(session, STATUS_OK, 0, MEMCACHED_VERSION, strlen(MEMCACHED_VERSION));
}

static void command_nothing(struct session *session, const struct body *body, int unused)
{
    (void)body;
    (void)unused;
    respond_ok(session, 0);
}

static void command_quit(struct session *session, const struct body *body, int unused)
{
    (void)body;
    (void)unused;
    respond_ok(session, 0);
    session_close(session);
}

static void tell(struct session *session, const char *name, const char *value)
{
    struct header header = response(session, STATUS_OK, 0, 0, strlen(name), strlen(value));

    session_send(session, &header, sizeof(header));
    session_send(session, name, strlen(name));
    session_send(session, value, strlen(value));
}

static void command_stat(struct session *session, const struct body *body, int unused)
{
    static const char reset[] = "reset";

    (void)unused;
    if (body->key.size == sizeof(reset) - 1 && memcmp(body->key.data, reset, body->key.size) == 0) {
        store_reset_stats(session->store);
    } else if (!session_tell_stats(session, body->key.data, body->key.size, tell)) {
        respond_error(session, STATUS_NOT_FOUND);
        return;
    }
    respond(session, STATUS_OK, 0, "", 0); /* without a name: the last */
}

/* ---- requests */

enum { KEY_NEVER, KEY_ALWAYS, KEY_MAYBE };

struct command {
    void (*run)(struct session *session, const struct body *body, int which);
    int which;
    uint8_t extras_size;
    uint8_t key;
    bool quiet, has_value, extras_may_lack;
};

static const struct command commands[] = {
    [OP_GET] = {command_get, 0, .key = KEY_ALWAYS},
    [OP_GETQ] = {command_get, 0, .key = KEY_ALWAYS, .quiet = true},
    [OP_GETK] = {command_get, GET_WITH_KEY, .key = KEY_ALWAYS},
    [OP_GETKQ] = {command_get, GET_WITH_KEY, .key = KEY_ALWAYS, .quiet = true},
    [OP_TOUCH] = {command_get, GET_TOUCHES | GET_WITHOUT_VALUE, 4, KEY_ALWAYS},
    [OP_GAT] = {command_get, GET_TOUCHES, 4, KEY_ALWAYS},
    [OP_GATQ] = {command_get, GET_TOUCHES, 4, KEY_ALWAYS, .quiet = true},
    [OP_GATK] = {command_get, GET_TOUCHES | GET_WITH_KEY, 4, KEY_ALWAYS},
    [OP_GATKQ] = {command_get, GET_TOUCHES | GET_WITH_KEY, 4, KEY_ALWAYS, .quiet = true},
    [OP_SET] = {command_store, STORE_SET, 8, KEY_ALWAYS, .has_value = true},
    [OP_SETQ] = {command_store, STORE_SET, 8, KEY_ALWAYS, .quiet = true, .has_value = true},
    [OP_ADD] = {command_store, STORE_ADD, 8, KEY_ALWAYS, .has_value = true},
    [OP_ADDQ] = {command_store, STORE_ADD, 8, KEY_ALWAYS, .quiet = true, .has_value = true},
    [OP_REPLACE] = {command_store, STORE_REPLACE, 8, KEY_ALWAYS, .has_value = true},
    [OP_REPLACEQ] = {command_store, STORE_REPLACE, 8, KEY_ALWAYS, .quiet = true, .has_value = true},
    [OP_APPEND] = {command_store, STORE_APPEND, 0, KEY_ALWAYS, .has_value = true},
    [OP_APPENDQ] = {command_store, STORE_APPEND, 0, KEY_ALWAYS, .quiet = true, .has_value = true},
    [OP_PREPEND] = {command_store, STORE_PREPEND, 0, KEY_ALWAYS, .has_value = true},
    [OP_PREPENDQ] = {command_store, STORE_PREPEND, 0, KEY_ALWAYS, .quiet = true, .has_value = true},
    [OP_DELETE] = {command_delete, 0, .key = KEY_ALWAYS},
    [OP_DELETEQ] = {command_delete, 0, .key = KEY_ALWAYS, .quiet = true},
    [OP_INCREMENT] = {command_arith, 0, 20, KEY_ALWAYS},
    [OP_INCREMENTQ] = {command_arith, 0, 20, KEY_ALWAYS, .quiet = true},
    [OP_DECREMENT] = {command_arith, 1, 20, KEY_ALWAYS},
    [OP_DECREMENTQ] = {command_arith, 1, 20, KEY_ALWAYS, .quiet = true},
    [OP_FLUSH] = {command_flush, 0, 4, .extras_may_lack = true},
    [OP_FLUSHQ] = {command_flush, 0, 4, .quiet = true, .extras_may_lack = true},
    [OP_NOOP] = {command_nothing, 0},
    [OP_VERBOSITY] = {command_nothing, 0, 4},
    [OP_VERSION] = {command_version, 0},
    [OP_STAT] = {command_stat, 0, .key = KEY_MAYBE},
    [OP_QUIT] = {command_quit, 0},
    [OP_QUITQ] = {command_quit, 0, .quiet = true},
};

static bool fits(const struct command *command, const struct body *body, size_t extras_size)
{
    bool extras_fit =
        extras_size == command->extras_size || (extras_size == 0 && command->extras_may_lack);
    bool key_fits = command->key == KEY_NEVER    ? body->key.size == 0
                    : command->key == KEY_ALWAYS ? body->key.size > 0
                                                 : true;
    return extras_fit && key_fits && body->key.size <= KEY_MAX &&
           (command->has_value || body->value_size == 0);
}

/* Refuses a request before its body is there, and skips that. */
static void refuse(struct session *session, struct peal_buf *input, enum status status)
{
    peal_buf_consume(input, HEADER_BYTES);
    respond_error(session, status);
    session_skip(session, session->request.body_size);
}

static bool step_command(struct session *session, struct peal_buf *input)
{
    struct header header;

    if (*(const unsigned char *)peal_buf_data(input) != MAGIC_REQUEST) {
        session_close(session);
        return false;
    }
    if (peal_buf_size(input) < HEADER_BYTES) {
        return false;
    }
    memcpy(&header, peal_buf_data(input), HEADER_BYTES);
    struct binary_request *request = &session->request;
    *request = (struct binary_request){
        header.opcode, header.extras_size, be16toh(header.key_size), be32toh(header.body_size),
        header.opaque, be64toh(header.cas)};
    size_t before_value = (size_t)request->extras_size + request->key_size;
    if (before_value > request->body_size) {
        respond_error(session, STATUS_INVALID);
        session_close(session);
        return false;
    }
    const struct command *command = request->opcode < sizeof(commands) / sizeof(commands[0])
                                        ? &commands[request->opcode]
                                        : NULL;
    if (command == NULL || command->run == NULL) {
        refuse(session, input, STATUS_UNKNOWN);
        return true;
    }
    const unsigned char *extras = (const unsigned char *)peal_buf_data(input) + HEADER_BYTES;
    struct body body = {.extras = extras,
                        .key = {extras + request->extras_size, request->key_size},
                        .value_size = request->body_size - before_value};
    if (!fits(command, &body, request->extras_size)) {
        refuse(session, input, STATUS_INVALID);
        return true;
    }
    if (peal_buf_size(input) < HEADER_BYTES + before_value) {
        return false;
    }
    session->quiet = command->quiet;
    command->run(session, &body, command->which);
    peal_buf_consume(input, HEADER_BYTES + before_value);
    return true;
}

bool binary_step(struct session *session, struct peal_buf *input)
{
    switch (session->stage) {
    case STAGE_COMMAND:
        return step_command(session, input);
    case STAGE_VALUE:
        if (!session_fill(session, input)) {
            return false;
        }
        store_value(session);
        return true;
    default:
        return session_skipped(session, input);
    }
}
