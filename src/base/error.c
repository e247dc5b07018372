/* SPDX-License-Identifier: BSD-2-Clause */
/* Errors as text: Peal's own from the table of peal/error.h, the system's from the system.
 *
 * peal_strerror promises static storage on any thread, and the system promises neither: its text is
 * written where the caller says, in the language of the locale. So each errno has a place of its
 * own, which is filled when it is first asked for and never changed again; the pointer that was
 * returned stays good. A thread-local buffer was rejected: two texts in one printf would be the
 * same text.
 *
 * Invariants:
 *  1. texts[n] is written only under the mutex and only while empty.
 *  2. A number outside of the table gets a fixed sentence, never an index.
 *
 * The table of names is Linux's, of the generic architectures; two names of one number (EAGAIN and
 * EWOULDBLOCK, EDEADLK and EDEADLOCK, EOPNOTSUPP and ENOTSUP) appear by the first. The array is
 * indexed by errno, so an architecture that numbers them differently is served as well, as long as
 * they stay below ERRNO_MAX, which the compiler checks. */
#include <peal/error.h>

#include <errno.h>

#include "sys/sys.h"

#define ERRNO_MAX 134
#define TEXT_MAX  64

#define NAME(name) [name] = #name
static const char *const names[ERRNO_MAX] = {
    [0] = "0",
    NAME(EPERM),
    NAME(ENOENT),
    NAME(ESRCH),
    NAME(EINTR),
    NAME(EIO),
    NAME(ENXIO),
    NAME(E2BIG),
    NAME(ENOEXEC),
    NAME(EBADF),
    NAME(ECHILD),
    NAME(EAGAIN),
    NAME(ENOMEM),
    NAME(EACCES),
    NAME(EFAULT),
    NAME(ENOTBLK),
    NAME(EBUSY),
    NAME(EEXIST),
    NAME(EXDEV),
    NAME(ENODEV),
    NAME(ENOTDIR),
    NAME(EISDIR),
    NAME(EINVAL),
    NAME(ENFILE),
    NAME(EMFILE),
    NAME(ENOTTY),
    NAME(ETXTBSY),
    NAME(EFBIG),
    NAME(ENOSPC),
    NAME(ESPIPE),
    NAME(EROFS),
    NAME(EMLINK),
    NAME(EPIPE),
    NAME(EDOM),
    NAME(ERANGE),
    NAME(EDEADLK),
    NAME(ENAMETOOLONG),
    NAME(ENOLCK),
    NAME(ENOSYS),
    NAME(ENOTEMPTY),
    NAME(ELOOP),
    NAME(ENOMSG),
    NAME(EIDRM),
    NAME(ECHRNG),
    NAME(EL2NSYNC),
    NAME(EL3HLT),
    NAME(EL3RST),
    NAME(ELNRNG),
    NAME(EUNATCH),
    NAME(ENOCSI),
    NAME(EL2HLT),
    NAME(EBADE),
    NAME(EBADR),
    NAME(EXFULL),
    NAME(ENOANO),
    NAME(EBADRQC),
    NAME(EBADSLT),
    NAME(EBFONT),
    NAME(ENOSTR),
    NAME(ENODATA),
    NAME(ETIME),
    NAME(ENOSR),
    NAME(ENONET),
    NAME(ENOPKG),
    NAME(EREMOTE),
    NAME(ENOLINK),
    NAME(EADV),
    NAME(ESRMNT),
    NAME(ECOMM),
    NAME(EPROTO),
    NAME(EMULTIHOP),
    NAME(EDOTDOT),
    NAME(EBADMSG),
    NAME(EOVERFLOW),
    NAME(ENOTUNIQ),
    NAME(EBADFD),
    NAME(EREMCHG),
    NAME(ELIBACC),
    NAME(ELIBBAD),
    NAME(ELIBSCN),
    NAME(ELIBMAX),
    NAME(ELIBEXEC),
    NAME(EILSEQ),
    NAME(ERESTART),
    NAME(ESTRPIPE),
    NAME(EUSERS),
    NAME(ENOTSOCK),
    NAME(EDESTADDRREQ),
    NAME(EMSGSIZE),
    NAME(EPROTOTYPE),
    NAME(ENOPROTOOPT),
    NAME(EPROTONOSUPPORT),
    NAME(ESOCKTNOSUPPORT),
    NAME(EOPNOTSUPP),
    NAME(EPFNOSUPPORT),
    NAME(EAFNOSUPPORT),
    NAME(EADDRINUSE),
    NAME(EADDRNOTAVAIL),
    NAME(ENETDOWN),
    NAME(ENETUNREACH),
    NAME(ENETRESET),
    NAME(ECONNABORTED),
    NAME(ECONNRESET),
    NAME(ENOBUFS),
    NAME(EISCONN),
    NAME(ENOTCONN),
    NAME(ESHUTDOWN),
    NAME(ETOOMANYREFS),
    NAME(ETIMEDOUT),
    NAME(ECONNREFUSED),
    NAME(EHOSTDOWN),
    NAME(EHOSTUNREACH),
    NAME(EALREADY),
    NAME(EINPROGRESS),
    NAME(ESTALE),
    NAME(EUCLEAN),
    NAME(ENOTNAM),
    NAME(ENAVAIL),
    NAME(EISNAM),
    NAME(EREMOTEIO),
    NAME(EDQUOT),
    NAME(ENOMEDIUM),
    NAME(EMEDIUMTYPE),
    NAME(ECANCELED),
    NAME(ENOKEY),
    NAME(EKEYEXPIRED),
    NAME(EKEYREVOKED),
    NAME(EKEYREJECTED),
    NAME(EOWNERDEAD),
    NAME(ENOTRECOVERABLE),
    NAME(ERFKILL),
    NAME(EHWPOISON),
};
#undef NAME

static struct sys_mutex mutex = SYS_MUTEX_INIT;
static char texts[ERRNO_MAX][TEXT_MAX];

/* The number without its sign; ERRNO_MAX for whatever is not in the table. */
static unsigned errno_of(int error)
{
    unsigned number = error < 0 ? 0U - (unsigned)error : (unsigned)error;
    return number < ERRNO_MAX && names[number] ? number : ERRNO_MAX;
}

static const char *system_text(unsigned number)
{
    char *text = texts[number];
    sys_mutex_lock(&mutex);
    if (!text[0]) {
        sys_strerror((int)number, text, TEXT_MAX);
    }
    sys_mutex_unlock(&mutex);
    return text;
}

const char *peal_strerror(int error)
{
    switch (error) {
#define SENTENCE(name, value, sentence)                                                            \
    case PEAL_ERR_##name:                                                                          \
        return sentence;
        PEAL_ERRORS(SENTENCE)
#undef SENTENCE
    default:
        break;
    }
    unsigned number = errno_of(error);
    return number < ERRNO_MAX ? system_text(number) : "an error that has no name here";
}

const char *peal_error_name(int error)
{
    switch (error) {
#define NAME(name, value, sentence)                                                                \
    case PEAL_ERR_##name:                                                                          \
        return "PEAL_ERR_" #name;
        PEAL_ERRORS(NAME)
#undef NAME
    default:
        break;
    }
    unsigned number = errno_of(error);
    return number < ERRNO_MAX ? names[number] : "?";
}
