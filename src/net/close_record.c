/* SPDX-License-Identifier: BSD-2-Clause */
/* The close record in words. The texts come from the one list of causes in peal/close.h. */
#include <peal/close.h>
#include <peal/error.h>

#include "sys/sys.h"

const char *peal_cause_text(enum peal_cause cause)
{
    static const char *const texts[] = {
#define PL_TEXT(name, text, sentence) text,
        PEAL_CAUSES(PL_TEXT)
#undef PL_TEXT
    };
    return (unsigned)cause < PEAL_CAUSE_COUNT ? texts[cause] : "?";
}

const char *peal_conn_state_text(enum peal_conn_state state)
{
    static const char *const texts[] = {"CONNECTING", "OPEN", "CLOSING", "LINGERING", "CLOSED"};
    return (unsigned)state < PEAL_CONN_STATE_COUNT ? texts[state] : "?";
}

const char *peal_close_record_format(const struct peal_close_record *record, char *text,
                                     size_t size)
{
    uint64_t ms = record->lifetime_ns / 1000000u;
    sys_format(
        text, size,
        "%s%s%s in %s%s: received %llu, accepted %llu, taken %llu, unsent %llu, unacked %llu, "
        "discarded %llu bytes; lived %llu.%03llu s",
        peal_cause_text(record->cause), record->error ? " " : "",
        record->error ? peal_error_name(record->error) : "", peal_conn_state_text(record->state),
        record->clean ? ", clean" : "", (unsigned long long)record->bytes_received,
        (unsigned long long)record->bytes_accepted, (unsigned long long)record->bytes_taken,
        (unsigned long long)record->bytes_unsent, (unsigned long long)record->bytes_unacked,
        (unsigned long long)record->bytes_discarded, (unsigned long long)(ms / 1000),
        (unsigned long long)(ms % 1000));
    return text;
}
