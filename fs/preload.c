/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "preload.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>

/* Most of a source tree is smaller, and copying so much takes less than a request. */
#define PRELOAD_MAX_BYTES (64 * 1024)

/* As relatime of mount(8) has it: so old an access time is set though the file did not change. */
#define RELATIME_S (24 * 60 * 60)

static gboolean is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Each mount has its own rule, and remounting changes it. */
static gboolean reading_sets_access_time(Fs *fs, int fd, const struct stat *st)
{
    struct statvfs mount;

    if (fs->options->no_atime && (fcntl(fd, F_GETFL) & O_NOATIME))
        return FALSE;
    if (fstatvfs(fd, &mount) != 0)
        return TRUE;
    if (mount.f_flag & (ST_NOATIME | ST_RDONLY))
        return FALSE;
    return !(mount.f_flag & ST_RELATIME) || !is_before(&st->st_mtim, &st->st_atim) ||
           !is_before(&st->st_ctim, &st->st_atim) || time(NULL) - st->st_atim.tv_sec >= RELATIME_S;
}

/* Nobody waits for a disk: what is not in memory is read when it is asked for. */
static gboolean read_whole(int fd, char *bytes, size_t size)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = size};

    return preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == (ssize_t)size;
}

static void store(Fs *fs, fuse_ino_t ino, const Handle *handle)
{
    struct fuse_bufvec pages = FUSE_BUFVEC_INIT(0);
    char bytes[PRELOAD_MAX_BYTES];
    struct stat st;
    int r;

    if (fstat(handle->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0 ||
        st.st_size > PRELOAD_MAX_BYTES || reading_sets_access_time(fs, handle->fd, &st) ||
        !read_whole(handle->fd, bytes, (size_t)st.st_size))
        return;
    pages.buf[0].mem = bytes;
    pages.buf[0].size = (size_t)st.st_size;
    /* a pipe in between costs more than it saves */
    r = fuse_lowlevel_notify_store(fs->se, ino, 0, &pages, FUSE_BUF_NO_SPLICE);
    if (r != 0)
        g_debug("cannot store the pages of a file: %s", g_strerror(-r));
}

void preload(Fs *fs, fuse_ino_t ino, const Handle *handle)
{
    IoModes *modes = node_io_modes(handle->node);

    if (!io_mode_begin_store(modes))
        return;
    store(fs, ino, handle);
    io_mode_end_store(modes);
}
