/* SPDX-License-Identifier: BSD-2-Clause */
/* What would break: the simulated kernel would behave otherwise than Linux does, and whatever is
 * proved under it would be proved of another system.
 *
 * A script makes calls of the seam (src/sys/sys.h) and nothing else of the library, and each call
 * writes a line: what was called, and the number, the error by name, the events by name or the data
 * that came of it. The lines are compared with expected/NAME.txt, which were written by a real
 * Linux (--update). The same sources are linked with the real seam and with a simulated one.
 *
 *  1. A script is run for each family it names. Families that give the same text stand under one
 *     heading, so that a file also tells in what tcp4, tcp6 and unix differ.
 *  2. What kernels are free to choose is not written: fd numbers, ports, sizes of buffers, times.
 *  3. What is delivered by the loopback device is awaited before it is looked at, with a bound; an
 *     event that never comes is a line in the text, and so a failure.
 *  4. Everything that a script opened is closed after it, and no fd may be left.
 *
 * Rejected: asking for events with poll (the library does not), and cmocka's assertions in the
 * scripts (the expectation would be what we believe, not what Linux does).
 *
 * Usage: conform EXPECTED_DIR [--list | --update | --run NAME]...; writes TAP. */
#include "conform.h"

#include "record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct script *const tables[] = {
    state_scripts, ending_scripts, setup_scripts, polling_scripts, misuse_scripts,
#ifdef CONFORM_RING
    ring_scripts,
#endif
};
static const char *const family_names[FAMILIES] = {"tcp4", "tcp6", "unix"};

static bool has_tcp6;

static char *run_family(const struct script *script, enum family family)
{
    record_begin();
    script->run(family);
    return record_end();
}

static bool can_bind_tcp6(void)
{
    struct name name = fresh_name(TCP6);
    int fd = sys_socket(AF_INET6, SOCK_STREAM, 0);
    bool can = fd >= 0 && sys_bind(fd, (struct sockaddr *)&name.address, name.size) == 0;
    if (fd >= 0) {
        sys_close(fd);
    }
    return can;
}

/* Takes tcp6 out of an expectation, for a machine without it. */
static void leave_out_tcp6(char *text)
{
    static const char alone[] = "== tcp6\n", word[] = " tcp6";
    char *section = strstr(text, alone);
    if (section) {
        char *next = strstr(section + 1, "\n== ");
        next = next ? next + 1 : section + strlen(section);
        memmove(section, next, strlen(next) + 1);
    }
    for (char *at = strstr(text, word); at; at = strstr(at, word)) {
        memmove(at, at + sizeof word - 1, strlen(at + sizeof word - 1) + 1);
    }
}

/* The whole text of a script, to be freed: a heading for each group of families that agree. */
static char *run_script(const struct script *script)
{
    if (script->families == ONCE) {
        return run_family(script, TCP4);
    }
    char *texts[FAMILIES] = {NULL};
    size_t size = 1;
    for (int family = 0; family < FAMILIES; family++) {
        if (script->families & 1 << family && (family != TCP6 || has_tcp6)) {
            texts[family] = run_family(script, (enum family)family);
            size += strlen(texts[family]) + 32;
        }
    }
    char *all = calloc(1, size);
    for (int family = 0; all && family < FAMILIES; family++) {
        if (!texts[family]) {
            continue;
        }
        strcat(all, "==");
        for (int other = family; other < FAMILIES; other++) {
            if (texts[other] && strcmp(texts[other], texts[family]) == 0) {
                strcat(strcat(all, " "), family_names[other]);
                if (other != family) {
                    free(texts[other]);
                    texts[other] = NULL;
                }
            }
        }
        strcat(strcat(all, "\n"), texts[family]);
        free(texts[family]);
        texts[family] = NULL;
    }
    return all;
}

static void expected_path(char *path, size_t size, const char *folder, const char *name)
{
    snprintf(path, size, "%s/%s.txt", folder, name);
}

static char *read_expected(const char *path)
{
    enum { MOST = 65536 };
    char *text = calloc(1, MOST);
    FILE *file = fopen(path, "r");
    if (file && text) {
        size_t size = fread(text, 1, MOST - 1, file);
        text[size] = '\0';
    }
    if (file) {
        fclose(file);
    }
    return text;
}

static void write_expected(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) {
        perror(path);
        exit(2);
    }
}

/* Unified, by diff(1), as comments of TAP. */
static void show_difference(const char *path, const char *seen)
{
    char command[1200];
    char seen_path[] = "/tmp/conform-seen-XXXXXX";
    int fd = mkstemp(seen_path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        return;
    }
    fputs(seen, file);
    fclose(file);
    snprintf(command, sizeof command,
             "diff -u --label expected --label seen '%s' '%s' 2>&1 | sed 's/^/# /'", path,
             seen_path);
    fflush(stdout);
    if (system(command) < 0) {
        printf("# diff cannot be run; seen:\n%s", seen);
    }
    remove(seen_path);
}

static bool check_script(const struct script *script, const char *folder, bool update, int number)
{
    char path[1024];
    expected_path(path, sizeof path, folder, script->name);
    char *seen = run_script(script);
    if (!seen) {
        exit(2);
    }
    if (update && (strstr(seen, "never: ") || strstr(seen, "an fd was "))) {
        printf("# %s awaits what never comes, or loses an fd: not written\n", script->name);
    } else if (update) {
        write_expected(path, seen);
    }
    char *expected = read_expected(path);
    if (expected && !has_tcp6) {
        leave_out_tcp6(expected);
    }
    bool same = expected && *seen && strcmp(seen, expected) == 0;
    printf("%sok %d - %s\n", same ? "" : "not ", number, script->name);
    if (!same) {
        show_difference(path, seen);
    }
    free(expected);
    free(seen);
    return same;
}

int main(int argc, char **argv)
{
    bool list = false, update = false, all_same = true;
    const char *only = NULL;
    for (int i = 2; i < argc; i++) {
        list |= strcmp(argv[i], "--list") == 0;
        update |= strcmp(argv[i], "--update") == 0;
        if (strcmp(argv[i], "--run") == 0 && i + 1 < argc) {
            only = argv[++i];
        }
    }
    if (argc < 2) {
        fprintf(stderr, "usage: conform EXPECTED_DIR [--list | --update | --run NAME]\n");
        return 2;
    }
#ifdef CONFORM_SIMULATED
    if (update) {
        fprintf(stderr, "expectations are written by the real kernel only\n");
        return 2;
    }
#endif
    has_tcp6 = can_bind_tcp6();
    if (!has_tcp6 && !list) {
        printf("# tcp6 is skipped: ::1 cannot be bound to here\n");
    }
    if (!has_tcp6 && update) {
        return 2;
    }
#ifdef CONFORM_RING
    size_t count = sizeof tables / sizeof *tables;
    if (!ring_can_open()) {
        printf("# io_uring is skipped: no ring can be opened here\n");
        count--;
    }
#else
    size_t count = sizeof tables / sizeof *tables;
#endif
    int number = 0;
    for (size_t t = 0; t < count; t++) {
        for (const struct script *script = tables[t]; script->name; script++) {
            if (only && strcmp(only, script->name) != 0) {
                continue;
            }
            number++;
            if (list) {
                printf("%s\n", script->name);
            } else {
                all_same &= check_script(script, argv[1], update, number);
            }
        }
    }
    if (!list) {
        printf("1..%d\n", number);
    }
    return all_same && number > 0 ? 0 : 1;
}
