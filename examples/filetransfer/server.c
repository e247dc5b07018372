/* SPDX-License-Identifier: BSD-2-Clause */
/* filetransfer: sends a file to whoever connects, and closes.
 *
 * peal_conn_send_file queues a name for the bytes (an fd, a place, a size) and not the bytes: the
 * kernel takes them from the file when the peer has room, by sendfile(2). So a thousand slow
 * readers of a file of any size cost a thousand fds and no memory. The file is opened once, and its
 * size is looked up for each connection. If it is cut short while it is being sent, the connection
 * ends with cause IO_ERROR and a reset, so that the peer does not take a part for the whole. */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *path;
static int file_fd = -1;

static int open_file(const struct serving *serving)
{
    struct stat status;
    (void)serving;
    file_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file_fd < 0 || fstat(file_fd, &status) < 0 || !S_ISREG(status.st_mode)) {
        int error = file_fd < 0 ? -errno : -EISDIR;
        fprintf(stderr, "filetransfer: %s: %s\n", path,
                file_fd < 0 ? strerror(errno) : "it is not a regular file");
        return error;
    }
    return 0;
}

static void close_file(void)
{
    if (file_fd >= 0) {
        close(file_fd);
    }
}

static void on_open(struct peal_conn *conn, void *user)
{
    struct stat status;
    (void)user;
    if (fstat(file_fd, &status) < 0 ||
        (status.st_size > 0 && peal_conn_send_file(conn, file_fd, 0, (size_t)status.st_size) < 0)) {
        peal_conn_abort(conn);
        return;
    }
    peal_conn_close(conn);
}

static const struct peal_conn_ops ops = {.on_open = on_open};

static int check(const struct arg_command *command)
{
    return path != NULL ? -1 : args_mistake(command, "--file FILE is missing: what shall be sent?");
}

int main(int argc, char **argv)
{
    static const struct arg args[] = {
        {"file", "FILE", "what to send", ARG_TEXT, .into = &path},
        {0},
    };
    static const struct service service = {
        .name = "filetransfer",
        .about = "Sends a file to whoever connects, and closes.",
        .address = "127.0.0.1:2021",
        .ops = &ops,
        .args = args,
        .check = check,
        .start = open_file,
        .end = close_file,
    };
    return serve(&service, argc, argv);
}
