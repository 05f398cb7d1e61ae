/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A large file, read and written from end to end and at random.
 */
#include "pages.h"
#include "workloads.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAMP 0x5eedu

static gboolean open_file(Job *job, const char *name, int flags, GError **error)
{
    job->fd = open(name, flags | O_CLOEXEC, 0644);
    return job->fd >= 0 || bench_fail_errno(error, "%s", name);
}

static gboolean prepare_new(Job *job, GError **error)
{
    pages_fill(job->buffer, 0, JOB_BUFFER_SIZE / PAGES_SIZE, STAMP);
    return open_file(job, "new", O_WRONLY | O_CREAT | O_EXCL, error);
}

static gboolean prepare_read(Job *job, GError **error)
{
    return open_file(job, "big", O_RDONLY, error);
}

static gboolean prepare_write(Job *job, GError **error)
{
    return open_file(job, "big", O_WRONLY, error);
}

static gboolean work_write(Job *job, GError **error)
{
    gsize size = job->workload->size;
    guint count = job_count(job);

    for (guint i = 0; i < count; i++) {
        guint64 page = (guint64)i * size / PAGES_SIZE;

        memcpy(job->buffer, &page, sizeof page);
        if (write(job->fd, job->buffer, size) != (ssize_t)size)
            return bench_fail_errno(error, "write %u", i);
    }
    return TRUE;
}

static gboolean work_read(Job *job, GError **error)
{
    gsize size = job->workload->size;
    guint count = job_count(job);

    for (guint i = 0; i < count; i++) {
        off_t at = (off_t)i * (off_t)size;

        if (pread(job->fd, job->buffer, size, at) != (ssize_t)size)
            return bench_fail_errno(error, "read %u", i);
        job->seen += pages_is(job->buffer, (guint64)at / PAGES_SIZE);
    }
    return TRUE;
}

/* The same pages in every run, so that what was read once is warm. */
static guint64 next_page(guint64 *random, guint64 pages)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 33) % pages;
}

static gboolean work_random_read(Job *job, GError **error)
{
    guint64 pages = job->big_size / PAGES_SIZE;
    guint count = job_count(job);
    guint64 random = 1;

    for (guint i = 0; i < count; i++) {
        guint64 page = next_page(&random, pages);

        if (pread(job->fd, job->buffer, PAGES_SIZE, (off_t)(page * PAGES_SIZE)) != PAGES_SIZE)
            return bench_fail_errno(error, "read %u", i);
        job->seen += pages_is(job->buffer, page);
    }
    return TRUE;
}

static gboolean work_random_write(Job *job, GError **error)
{
    guint64 pages = job->big_size / PAGES_SIZE;
    guint count = job_count(job);
    guint64 stamp = (guint64)getpid();
    guint64 random = 2;

    pages_fill(job->buffer, 0, 1, stamp);
    for (guint i = 0; i < count; i++) {
        guint64 page = next_page(&random, pages);

        memcpy(job->buffer, &page, sizeof page);
        if (pwrite(job->fd, job->buffer, PAGES_SIZE, (off_t)(page * PAGES_SIZE)) != PAGES_SIZE)
            return bench_fail_errno(error, "write %u", i);
    }
    job->seen = stamp;
    return TRUE;
}

static gboolean check_read(Job *job, GError **error)
{
    if (job->seen != job_count(job))
        return bench_fail(error, "what was read was not what is there");
    return TRUE;
}

static gboolean open_below(Job *job, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(job->below, name, NULL);

    return open_file(job, path, O_RDONLY, error);
}

static gboolean check_new(Job *job, GError **error)
{
    gsize size = job->workload->size;
    guint count = job_count(job);
    gboolean right = TRUE;
    struct stat st;

    if (!open_below(job, "new", error))
        return FALSE;
    for (guint i = 0; right && i < count; i++) {
        off_t at = (off_t)i * (off_t)size;

        right = pread(job->fd, job->buffer, size, at) == (ssize_t)size &&
                pages_is(job->buffer, (guint64)at / PAGES_SIZE) &&
                pages_stamp((char *)job->buffer + size - PAGES_SIZE) == STAMP;
    }
    right = right && fstat(job->fd, &st) == 0 && (guint64)st.st_size == (guint64)count * size;
    close(job->fd);
    return right || bench_fail(error, "what was written is not on the disk");
}

static gboolean check_random_write(Job *job, GError **error)
{
    guint64 pages = job->big_size / PAGES_SIZE;
    guint count = job_count(job);
    gboolean right = TRUE;
    guint64 random = 2;

    if (!open_below(job, "big", error))
        return FALSE;
    for (guint i = 0; right && i < count; i++) {
        guint64 page = next_page(&random, pages);

        right = pread(job->fd, job->buffer, PAGES_SIZE, (off_t)(page * PAGES_SIZE)) == PAGES_SIZE &&
                pages_is(job->buffer, page) && pages_stamp(job->buffer) == job->seen;
    }
    close(job->fd);
    return right || bench_fail(error, "what was written is not on the disk");
}

static gboolean clean_new(Job *job, GError **error)
{
    (void)job;
    return unlink("new") == 0 || bench_fail_errno(error, "new");
}

#define WRITES (WORK_CHANGES | WORK_DATA)

const Workload workloads_big[] = {
    {"seq-write-4k", "a large file written in blocks of 4 KiB", FIXTURE_EMPTY, WRITES, 0, 4096,
     prepare_new, work_write, check_new, clean_new},
    {"seq-write-128k", "a large file written in blocks of 128 KiB", FIXTURE_EMPTY, WRITES, 0,
     128 << 10, prepare_new, work_write, check_new, clean_new},
    {"seq-write-1m", "a large file written in blocks of 1 MiB", FIXTURE_EMPTY, WRITES, 0, 1 << 20,
     prepare_new, work_write, check_new, clean_new},
    {"seq-read-cold", "a large file read in blocks of 128 KiB, cold in the mount", FIXTURE_BIG,
     WORK_DATA, 0, 128 << 10, prepare_read, work_read, check_read, NULL},
    {"seq-read-warm", "a large file read in blocks of 128 KiB, warm", FIXTURE_BIG,
     WORK_DATA | WORK_WARM, 0, 128 << 10, prepare_read, work_read, check_read, NULL},
    {"random-read-cold", "random reads of 4 KiB, cold in the mount", FIXTURE_BIG, WORK_DATA, 65536,
     4096, prepare_read, work_random_read, check_read, NULL},
    {"random-read-warm", "random reads of 4 KiB, warm", FIXTURE_BIG, WORK_DATA | WORK_WARM, 65536,
     4096, prepare_read, work_random_read, check_read, NULL},
    {"random-write", "random writes of 4 KiB", FIXTURE_BIG, WRITES, 65536, 4096, prepare_write,
     work_random_write, check_random_write, NULL},
    {.name = NULL},
};
