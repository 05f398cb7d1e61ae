/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One file, one system call after the other: what a single call costs.
 */
#include "workloads.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE  (16u << 20)
#define BUSY_BYTES (8u << 10) /* some twenty microseconds of work */

static gboolean open_file(Job *job, int flags, GError **error)
{
    job->fd = open("file", flags | O_CLOEXEC, 0644);
    if (job->fd < 0)
        return bench_fail_errno(error, "open");
    return TRUE;
}

/* Its blocks are there, so that a write over them allocates nothing. */
static gboolean prepare_filled(Job *job, GError **error)
{
    if (!open_file(job, O_WRONLY | O_CREAT | O_TRUNC, error))
        return FALSE;
    memset(job->buffer, 'a', JOB_BUFFER_SIZE);
    for (gsize done = 0; done < FILE_SIZE; done += JOB_BUFFER_SIZE) {
        if (write(job->fd, job->buffer, JOB_BUFFER_SIZE) != JOB_BUFFER_SIZE)
            return bench_fail_errno(error, "write");
    }
    close(job->fd);
    return TRUE;
}

static gboolean prepare_write(Job *job, GError **error)
{
    return prepare_filled(job, error) && open_file(job, O_WRONLY, error);
}

static gboolean prepare_read_write(Job *job, GError **error)
{
    return prepare_filled(job, error) && open_file(job, O_RDWR, error);
}

static gboolean prepare_append(Job *job, GError **error)
{
    return open_file(job, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, error);
}

/* Round and round in the file; each write begins with its number. */
static gboolean work_write(Job *job, GError **error)
{
    gsize size = job->workload->size;
    guint count = job_count(job);
    off_t at = 0;

    memset(job->buffer, 'b', size);
    for (guint i = 0; i < count; i++) {
        if (size >= sizeof i)
            memcpy(job->buffer, &i, sizeof i);
        if (pwrite(job->fd, job->buffer, size, at) != (ssize_t)size)
            return bench_fail_errno(error, "write %u", i);
        at += (off_t)size;
        if (at + (off_t)size > (off_t)FILE_SIZE)
            at = 0;
    }
    return TRUE;
}

static gboolean open_below(const Job *job, int *fd_out, GError **error)
{
    g_autofree char *path = g_build_filename(job->below, "file", NULL);

    *fd_out = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd_out < 0)
        return bench_fail_errno(error, "%s", path);
    return TRUE;
}

/* The last write of the lap: the right bytes at its place on the disk, and the size unchanged. */
static gboolean check_write(Job *job, GError **error)
{
    gsize size = job->workload->size;
    guint lap = FILE_SIZE / (guint)size;
    guint last = job_count(job) - 1;
    guint number = last;
    struct stat st;
    gboolean right;
    int fd;

    if (!open_below(job, &fd, error))
        return FALSE;
    right = pread(fd, job->buffer, size, (off_t)(last % lap) * (off_t)size) == (ssize_t)size;
    if (size >= sizeof number)
        memcpy(&number, job->buffer, sizeof number);
    right = right && number == last && ((char *)job->buffer)[size - 1] == 'b' &&
            fstat(fd, &st) == 0 && st.st_size == FILE_SIZE;
    close(fd);
    return right || bench_fail(error, "the last write is not on the disk");
}

static gboolean work_append(Job *job, GError **error)
{
    gsize size = job->workload->size;
    guint count = job_count(job);

    memset(job->buffer, 'c', size);
    for (guint i = 0; i < count; i++) {
        if (write(job->fd, job->buffer, size) != (ssize_t)size)
            return bench_fail_errno(error, "append %u", i);
    }
    return TRUE;
}

/* As programs do that format what they log, or compress what they store. */
static gboolean work_append_busily(Job *job, GError **error)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize size = job->workload->size;
    guint count = job_count(job);

    memset(job->buffer, 'c', BUSY_BYTES);
    for (guint i = 0; i < count; i++) {
        g_checksum_update(checksum, job->buffer, BUSY_BYTES);
        if (write(job->fd, job->buffer, size) != (ssize_t)size)
            return bench_fail_errno(error, "append %u", i);
    }
    return TRUE;
}

static gboolean check_append(Job *job, GError **error)
{
    off_t wanted = (off_t)job_count(job) * (off_t)job->workload->size;
    struct stat st;
    gboolean right;
    char last;
    int fd;

    if (!open_below(job, &fd, error))
        return FALSE;
    right = fstat(fd, &st) == 0 && st.st_size == wanted && pread(fd, &last, 1, wanted - 1) == 1 &&
            last == 'c';
    close(fd);
    return right || bench_fail(error, "the appended bytes are not on the disk");
}

static gboolean work_read(Job *job, GError **error)
{
    gsize size = job->workload->size;
    guint count = job_count(job);
    off_t at = 0;

    for (guint i = 0; i < count; i++) {
        if (pread(job->fd, job->buffer, size, at) != (ssize_t)size)
            return bench_fail_errno(error, "read %u", i);
        job->seen += ((const char *)job->buffer)[size - 1] == 'a';
        at = (at + (off_t)size) % (off_t)FILE_SIZE;
    }
    return TRUE;
}

static gboolean check_read(Job *job, GError **error)
{
    if (job->seen != job_count(job))
        return bench_fail(error, "what was read was not what is there");
    return TRUE;
}

static gboolean work_truncate(Job *job, GError **error)
{
    guint count = job_count(job);

    for (guint i = 0; i < count; i++) {
        if (ftruncate(job->fd, 4096 + (off_t)(i % 2)) != 0)
            return bench_fail_errno(error, "ftruncate %u", i);
    }
    return TRUE;
}

static gboolean check_truncate(Job *job, GError **error)
{
    off_t wanted = 4096 + (off_t)((job_count(job) - 1) % 2);
    g_autofree char *path = g_build_filename(job->below, "file", NULL);
    struct stat st;

    if (stat(path, &st) != 0 || st.st_size != wanted)
        return bench_fail(error, "the size on the disk is wrong");
    return TRUE;
}

static gboolean work_chmod(Job *job, GError **error)
{
    guint count = job_count(job);

    for (guint i = 0; i < count; i++) {
        if (chmod("file", i % 2 == 0 ? 0600 : 0640) != 0)
            return bench_fail_errno(error, "chmod %u", i);
    }
    return TRUE;
}

static gboolean check_chmod(Job *job, GError **error)
{
    mode_t wanted = (job_count(job) - 1) % 2 == 0 ? 0600 : 0640;
    g_autofree char *path = g_build_filename(job->below, "file", NULL);
    struct stat st;

    if (stat(path, &st) != 0 || (st.st_mode & 07777) != wanted)
        return bench_fail(error, "the mode on the disk is wrong");
    return TRUE;
}

static gboolean clean(Job *job, GError **error)
{
    (void)job;
    return unlink("file") == 0 || bench_fail_errno(error, "unlink");
}

#define WRITES (WORK_CHANGES | WORK_DATA)

const Workload workloads_io[] = {
    {"write-1", "write(2) of 1 byte", FIXTURE_EMPTY, WRITES, 50000, 1, prepare_write, work_write,
     check_write, clean},
    {"write-4k", "write(2) of 4 KiB", FIXTURE_EMPTY, WRITES, 50000, 4096, prepare_write, work_write,
     check_write, clean},
    {"write-4k-rdwr", "write(2) of 4 KiB, handle open for reading and writing", FIXTURE_EMPTY,
     WRITES, 50000, 4096, prepare_read_write, work_write, check_write, clean},
    {"write-128k", "write(2) of 128 KiB", FIXTURE_EMPTY, WRITES, 10000, 128 << 10, prepare_write,
     work_write, check_write, clean},
    {"write-1m", "write(2) of 1 MiB", FIXTURE_EMPTY, WRITES, 1500, 1 << 20, prepare_write,
     work_write, check_write, clean},
    {"append-64", "append of 64 bytes", FIXTURE_EMPTY, WRITES, 50000, 64, prepare_append,
     work_append, check_append, clean},
    {"append-busy", "append of 64 bytes, work of its own before each", FIXTURE_EMPTY, WRITES, 30000,
     64, prepare_append, work_append_busily, check_append, clean},
    {"read-4k-rdwr", "read(2) of 4 KiB, handle open for reading and writing, warm", FIXTURE_EMPTY,
     WRITES | WORK_WARM, 200000, 4096, prepare_read_write, work_read, check_read, clean},
    {"chmod", "chmod(2) of one file", FIXTURE_EMPTY, WORK_CHANGES, 30000, 0, prepare_filled,
     work_chmod, check_chmod, clean},
    {"ftruncate", "ftruncate(2) of one file", FIXTURE_EMPTY, WORK_CHANGES, 30000, 0, prepare_write,
     work_truncate, check_truncate, clean},
    {.name = NULL},
};
