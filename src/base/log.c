/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines: from wherever the library has something to say to the program's one handler.
 *
 * A line that nobody wants costs one relaxed load: pl_log compares its level with the threshold,
 * which is PEAL_LOG_OFF as long as there is no handler. Only then is the text made, on the stack,
 * so that a machine out of memory can still say so.
 *
 * Invariants:
 *  1. threshold == (handler ? level : PEAL_LOG_OFF), changed with the other two under the mutex.
 *  2. handler and user are read as a pair under the mutex: two atomics could give the new handler
 *     the old one's user. Lines that are written are rare, so the lock is no cost.
 *  3. The handler is called without the mutex held: it may log, set another handler, or block.
 *
 * Hence what the header warns of: a thread that has copied the pair may call a handler just after
 * it was replaced. Waiting for such threads would deadlock a handler that replaces itself. */
#include "base/log.h"

#include "sys/sys.h"

#define LINE_MAX_BYTES 512

_Atomic int pl_log_threshold = PEAL_LOG_OFF;

static struct sys_mutex mutex = SYS_MUTEX_INIT;
static peal_log_fn current_handler;
static void *current_user;
static enum peal_log_level current_level = PEAL_LOG_WARNING;

static void update_threshold(void)
{
    enum peal_log_level level = current_handler ? current_level : PEAL_LOG_OFF;
    atomic_store_explicit(&pl_log_threshold, (int)level, memory_order_relaxed);
}

void peal_log_set(peal_log_fn handler, void *user)
{
    sys_mutex_lock(&mutex);
    current_handler = handler;
    current_user = user;
    update_threshold();
    sys_mutex_unlock(&mutex);
}

void peal_log_set_level(enum peal_log_level level)
{
    sys_mutex_lock(&mutex);
    current_level = level;
    update_threshold();
    sys_mutex_unlock(&mutex);
}

void pl_make_line(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            *text = '?';
        }
    }
}

void pl_log_write(enum peal_log_level level, const char *format, ...)
{
    sys_mutex_lock(&mutex);
    peal_log_fn handler = current_handler;
    void *user = current_user;
    sys_mutex_unlock(&mutex);
    if (!handler) {
        return;
    }
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int length = sys_vformat(text, sizeof text, format, args);
    va_end(args);
    if (length >= 0) {
        pl_make_line(text);
        handler(level, text, user);
    }
}

const char *peal_log_level_name(enum peal_log_level level)
{
    switch (level) {
    case PEAL_LOG_DEBUG:
        return "debug";
    case PEAL_LOG_INFO:
        return "info";
    case PEAL_LOG_WARNING:
        return "warning";
    case PEAL_LOG_ERROR:
        return "error";
    case PEAL_LOG_OFF:
        return "off";
    }
    return "?";
}

void peal_log_to_stderr(enum peal_log_level level, const char *text, void *user)
{
    (void)user;
    /* One write for the whole line, so that lines of several threads do not mix. */
    char line[LINE_MAX_BYTES + 32];
    int length = sys_format(line, sizeof line, "peal: %s: %s\n", peal_log_level_name(level), text);
    if (length < 0) {
        return;
    }
    size_t size = (size_t)length;
    if (size >= sizeof line) {
        size = sizeof line - 1;
        line[size - 1] = '\n';
    }
    sys_write_stderr(line, size);
}
