/* SPDX-License-Identifier: BSD-2-Clause */
/* Stopping the program, as the last resort.
 *
 * The library neither prints nor exits, with two exceptions: an invariant of its own is broken, or
 * the program called from a thread it must not call from. In both, going on would corrupt
 * connections that are still good, so a sentence goes to standard error and the process aborts
 * (leaving a core file for the debugger). The text is made on the stack: the heap may be what is
 * broken. */
#include "base/assert.h"
#include "sys/sys.h"

#include <string.h>

void (*pl_broken_hook)(void);

static void say(const char *text)
{
    sys_write_stderr(text, strlen(text));
}

void pl_broken(const char *condition, const char *file, int line)
{
    static _Thread_local int depth;
    char text[512];
    sys_format(text, sizeof text,
               "peal: broken invariant: %s (%s:%d). This is a bug in Peal; please report it.\n",
               condition, file, line);
    say(text);
    if (depth++ == 0 && pl_broken_hook) {
        pl_broken_hook();
    }
    sys_abort();
}

void pl_misuse(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    sys_vformat(text, sizeof text, format, args);
    va_end(args);
    say("peal: ");
    say(text);
    say("\n");
    sys_abort();
}
