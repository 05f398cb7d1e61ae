/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"
#include "warden.h"
#include "workers.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

/* From this size on the pages of the file are handed to the kernel without a copy in between. */
#define SPLICE_FROM_BYTES   65536
#define SMALLEST_PAGE_BYTES 4096 /* of any architecture; larger ones are multiples */
/* A copy of so much takes about as long as calling another thread to read meanwhile. */
#define LONG_COPY_BYTES (1024 * 1024)

/* One buffer a thread, as large as the largest read that it has met. */
typedef struct ReadBuffer {
    size_t size;
    char *bytes;
} ReadBuffer;

static void read_buffer_free(gpointer data)
{
    ReadBuffer *buffer = data;

    g_free(buffer->bytes);
    g_free(buffer);
}

static GPrivate read_buffer = G_PRIVATE_INIT(read_buffer_free);

static char *this_threads_buffer(size_t size)
{
    ReadBuffer *buffer = g_private_get(&read_buffer);

    if (!buffer) {
        buffer = g_new0(ReadBuffer, 1);
        g_private_set(&read_buffer, buffer);
    }
    if (buffer->size < size) {
        g_free(buffer->bytes);
        buffer->bytes = g_malloc(size);
        buffer->size = size;
    }
    return buffer->bytes;
}

/* Up to size bytes, fewer only at the end of the file: a short answer would tell the kernel that
 * the file ends there. `done` have been read already. */
static ssize_t read_rest(int fd, char *bytes, size_t size, off_t off, size_t done)
{
    while (done < size) {
        ssize_t n = pread(fd, bytes + done, size - done, off + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return done > 0 ? (ssize_t)done : -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* What is in the page cache; 0 at the end of the file, and wrongly so anywhere on Linux 5.9
 * and 5.10 (readv(2)); -errno where reading may have to wait, or the filesystem cannot tell. */
static ssize_t read_cached(int fd, char *bytes, size_t size, off_t off)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    ssize_t n = preadv2(fd, &iov, 1, off, RWF_NOWAIT);

    return n >= 0 ? n : -errno;
}

/* The last page tells for all that a read-ahead below brings. It is asked for its first byte: when
 * the kernel fills its cache, the file may end in it, not before. */
static gboolean is_cached(int fd, off_t off, size_t size)
{
    off_t page = sysconf(_SC_PAGESIZE);
    off_t last = (off + ((off_t)size - 1)) / page * page;
    char byte;
    ssize_t n = read_cached(fd, &byte, 1, MAX(last, off));

    if (n == 0) /* the end lies before: nobody's pages, a direct read */
        n = read_cached(fd, &byte, 1, off);
    return n >= 0;
}

/* A page is there as a whole or not at all: what ends within one ends with the file. */
static gboolean is_end_of_file(off_t end)
{
    return end % SMALLEST_PAGE_BYTES != 0;
}

static void read_copying(fuse_req_t req, Fs *fs, int fd, size_t size, off_t off)
{
    char *bytes = this_threads_buffer(size);
    ssize_t n = read_cached(fd, bytes, size, off);

    if (n < 0)
        workers_will_block(fs->workers);
    if (n <= 0 || !is_end_of_file(off + n))
        n = read_rest(fd, bytes, size, off, (size_t)MAX(n, 0));
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else
        fuse_reply_buf(req, bytes, (size_t)n);
}

static void read_splicing(fuse_req_t req, Fs *fs, int fd, size_t size, off_t off)
{
    struct fuse_bufvec pages = FUSE_BUFVEC_INIT(size);

    if (!is_cached(fd, off, size))
        workers_will_block(fs->workers);
    pages.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY;
    pages.buf[0].fd = fd;
    pages.buf[0].pos = off;
    fuse_reply_data(req, &pages, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    Handle *handle = handle_of(fi->fh);
    int fd = handle_fd(fs->handles, handle);

    node_untell(handle->node); /* of the access time */
    if (fd < 0)
        fuse_reply_err(req, -fd);
    else if (size >= SPLICE_FROM_BYTES)
        read_splicing(req, fs, fd, size, off);
    else
        read_copying(req, fs, fd, size, off);
}

/* All of it, or what fitted before an error. */
static ssize_t write_as_much(const Change *change, int fd, const char *bytes, size_t size,
                             off_t off, int flags)
{
    size_t done = 0;

    guard_assert_admitted(change);
    while (done < size) {
        /* an iovec is not const, though writing only reads it */
        struct iovec iov = {.iov_base = (void *)(uintptr_t)(bytes + done), .iov_len = size - done};
        ssize_t n = pwritev2(fd, &iov, 1, off + (off_t)done, flags);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return done > 0 ? (ssize_t)done : -errno;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* All of it, or the error: where pages are written back the kernel does not look at how much was
 * written, so that part of a store would be lost without a word. */
static ssize_t write_back(const Change *change, int fd, const char *bytes, size_t size, off_t off)
{
    ssize_t done = write_as_much(change, fd, bytes, size, off, 0);
    ssize_t rest;

    if (done < 0 || (size_t)done == size)
        return done;
    rest = write_as_much(change, fd, bytes + done, size - (size_t)done, off + done, 0);
    if (rest < 0)
        return rest;
    return (size_t)(done + rest) == size ? (ssize_t)size : -EIO;
}

static void op_write(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, const char *bytes, size_t size,
                     off_t off, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    Handle *handle = handle_of(fi->fh);
    Caller caller = caller_of(req);
    Change change;
    ssize_t n;

    caller.from_page = fi->writepage;
    n = guard_begin_handle(fs->guard, &caller, handle, &change);
    if (n == 0) {
        gboolean append = (fi->flags & O_APPEND) && !fi->writepage;
        Creds creds = fi->writepage ? (Creds){0} : creds_spend_as(req, fs);

        n = fi->writepage
                ? write_back(&change, handle->fd, bytes, size, off)
                : write_as_much(&change, handle->fd, bytes, size, off, append ? RWF_APPEND : 0);
        creds_restore(&creds);
        if (n > 0 && !fi->writepage)
            creds_clear_suid(req, fs, handle->node, handle->fd);
        guard_end(fs->guard, &change, n);
    }
    /* The refused page still stands in the cache: readers shall see what the file holds. */
    if (n < 0 && fi->writepage)
        warden_drop_pages(fs->warden, handle->node, off, (off_t)size);
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else
        fuse_reply_write(req, (size_t)n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, int datasync,
                     struct fuse_file_info *fi)
{
    int fd = handle_fd(fs_of(req)->handles, handle_of(fi->fh));
    int r = fd;

    if (fd >= 0)
        r = (datasync ? fdatasync(fd) : fsync(fd)) == 0 ? 0 : -errno;
    fuse_reply_err(req, -r);
}

static int allocate(const Change *change, int fd, int mode, off_t offset, off_t length)
{
    guard_assert_admitted(change);
    return fallocate(fd, mode, offset, length) == 0 ? 0 : -errno;
}

/* What fails on a full disk may have emptied a part of the file before. The kernel looks for that
 * only where all went well. */
static void forget_half_done(Fs *fs, Node *node, int mode, off_t offset, off_t length)
{
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        warden_drop_pages(fs->warden, node, offset, length);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, int mode, off_t offset,
                         off_t length, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    Handle *handle = handle_of(fi->fh);
    Caller caller = caller_of(req);
    Change change;
    int r;

    r = guard_begin_handle(fs->guard, &caller, handle, &change);
    if (r == 0) {
        Creds creds = creds_spend_as(req, fs);

        r = allocate(&change, handle->fd, mode, offset, length);
        creds_restore(&creds);
        if (r == 0)
            creds_clear_suid(req, fs, handle->node, handle->fd);
        guard_end(fs->guard, &change, r);
        warden_forget_attributes(fs->warden, handle->node);
        if (r != 0)
            forget_half_done(fs, handle->node, mode, offset, length);
    }
    fuse_reply_err(req, -r);
}

static ssize_t copy_range(const Change *change, int from_fd, off_t from_off, int to_fd,
                          off_t to_off, size_t size, int flags)
{
    ssize_t n;

    guard_assert_admitted(change);
    n = copy_file_range(from_fd, &from_off, to_fd, &to_off, size, (unsigned)flags);
    return n >= 0 ? n : -errno;
}

/* Most copies are of a small file that was read just now. */
static void prepare_for_long_copy(Fs *fs, int fd, const struct stat *st, off_t off, size_t size)
{
    off_t length = MIN((off_t)MIN(size, (size_t)G_MAXSSIZE), st->st_size - off);

    if (!fs->copies_pages || length > LONG_COPY_BYTES ||
        (length > 0 && !is_cached(fd, off, (size_t)length)))
        workers_will_block(fs->workers);
}

/* The kernel remembers when a file was read last, and learns of no reading here. */
static void forget_access_time(Fs *fs, const Handle *handle, const struct timespec *before)
{
    struct stat now;

    if (fstat(handle->fd, &now) != 0 || now.st_atim.tv_sec != before->tv_sec ||
        now.st_atim.tv_nsec != before->tv_nsec)
        warden_forget_attributes(fs->warden, handle->node);
}

static ssize_t copy_between(fuse_req_t req, const Change *change, Handle *source, off_t from_off,
                            Handle *target, off_t to_off, size_t size, int flags)
{
    Fs *fs = fs_of(req);
    int from_fd = handle_fd(fs->handles, source);
    struct stat before = {0};
    Creds creds;
    ssize_t n;

    if (from_fd < 0)
        return from_fd;
    creds = creds_spend_as(req, fs);
    if (fstat(from_fd, &before) == 0)
        prepare_for_long_copy(fs, from_fd, &before, from_off, size);
    n = copy_range(change, from_fd, from_off, target->fd, to_off, size, flags);
    creds_restore(&creds);
    if (n > 0)
        creds_clear_suid(req, fs, target->node, target->fd);
    forget_access_time(fs, source, &before.st_atim);
    return n;
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t from G_GNUC_UNUSED, off_t from_off,
                               struct fuse_file_info *from_fi, fuse_ino_t to G_GNUC_UNUSED,
                               off_t to_off, struct fuse_file_info *to_fi, size_t size, int flags)
{
    Fs *fs = fs_of(req);
    Handle *target = handle_of(to_fi->fh);
    Caller caller = caller_of(req);
    Change change;
    ssize_t n;

    n = guard_begin_handle(fs->guard, &caller, target, &change);
    if (n == 0) {
        n = copy_between(req, &change, handle_of(from_fi->fh), from_off, target, to_off, size,
                         flags);
        guard_end(fs->guard, &change, n);
        if (n < 0) /* the kernel takes it that nothing has changed, not even the times */
            warden_forget_attributes(fs->warden, target->node);
    }
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else
        fuse_reply_write(req, (size_t)n);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    int fd = handle_fd(fs_of(req)->handles, handle_of(fi->fh));
    off_t found = fd >= 0 ? lseek(fd, off, whence) : fd;

    if (fd >= 0 && found < 0)
        found = -errno;
    if (found < 0)
        fuse_reply_err(req, (int)-found);
    else
        fuse_reply_lseek(req, found);
}

void ops_add_io(struct fuse_lowlevel_ops *ops)
{
    ops->read = op_read;
    ops->write = op_write;
    ops->fsync = op_fsync;
    ops->fallocate = op_fallocate;
    ops->copy_file_range = op_copy_file_range;
    ops->lseek = op_lseek;
}
