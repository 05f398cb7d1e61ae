/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pages.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void pages_fill(char *buffer, guint64 first, guint count, guint64 stamp)
{
    for (guint i = 0; i < count; i++) {
        char *page = buffer + (gsize)i * PAGES_SIZE;
        guint64 index = first + i;

        memset(page, 'p', PAGES_SIZE);
        memcpy(page, &index, sizeof index);
        memcpy(page + PAGES_SIZE - sizeof stamp, &stamp, sizeof stamp);
    }
}

gboolean pages_is(const char *page, guint64 index)
{
    return memcmp(page, &index, sizeof index) == 0;
}

guint64 pages_stamp(const char *page)
{
    guint64 stamp;

    memcpy(&stamp, page + PAGES_SIZE - sizeof stamp, sizeof stamp);
    return stamp;
}

gboolean pages_make(const char *path, gsize size, GError **error)
{
    guint count = JOB_BUFFER_SIZE / PAGES_SIZE;
    g_autofree char *buffer = g_malloc(JOB_BUFFER_SIZE);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    gboolean done = fd >= 0;

    for (gsize at = 0; done && at < size; at += JOB_BUFFER_SIZE) {
        pages_fill(buffer, at / PAGES_SIZE, count, 0);
        done = write(fd, buffer, JOB_BUFFER_SIZE) == JOB_BUFFER_SIZE;
    }
    if (!done)
        bench_fail_errno(error, "%s", path);
    if (fd >= 0)
        close(fd);
    return done;
}
