/* SPDX-License-Identifier: BSD-2-Clause */
/* Feeds a fuzz target every file of a folder, as one case of TAP: what once crashed must not crash
 * again, and an empty folder is a failure. */
#include "fuzz.h"

#include <dirent.h>
#include <stdbool.h>

enum { FILE_MAX = 1 << 20 };

static int feed(const char *path)
{
    static uint8_t room[FILE_MAX];
    FILE *file = fopen(path, "rb");
    if (!file) {
        return -1;
    }
    size_t size = fread(room, 1, sizeof room, file);
    fclose(file);
    uint8_t *exact = malloc(size + 1); /* so that a sanitizer sees a read behind the end */
    if (!exact) {
        return -1;
    }
    memcpy(exact, room, size);
    uint8_t *input = realloc(exact, size > 0 ? size : 1);
    LLVMFuzzerTestOneInput(input ? input : exact, size);
    free(input ? input : exact);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned number = 0, failed = 0;
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: %s FOLDER, which has to be there\n", argv[0]);
        return 2;
    }
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char path[4096];
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        fprintf(stderr, "%s\n", entry->d_name); /* the last is the one that crashed */
        failed += feed(path) < 0;
        number++;
    }
    closedir(folder);
    bool is_good = failed == 0 && number > 0;
    printf("%s 1 - %u kept inputs\n1..1\n", is_good ? "ok" : "not ok", number);
    return is_good ? 0 : 1;
}
