/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many files, a few system calls each.
 */
#include "files.h"
#include "workloads.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRS         10u
#define CONTENT_SIZE 100u

/* many/3/name-000123, spread over DIRS directories. */
static void path_of(char path_out[FILES_PATH_SIZE], const char *name, guint index)
{
    snprintf(path_out, FILES_PATH_SIZE, "many/%u/%s-%06u", index % DIRS, name, index);
}

typedef gboolean (*EachName)(const char *path);

static gboolean for_each(const Job *job, const char *name, EachName each, GError **error)
{
    guint count = job_count(job);
    char path[FILES_PATH_SIZE];

    for (guint i = 0; i < count; i++) {
        path_of(path, name, i);
        if (!each(path))
            return bench_fail_errno(error, "%s", path);
    }
    return TRUE;
}

static gboolean create_one(const char *path)
{
    char content[CONTENT_SIZE];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    gboolean done;

    if (fd < 0)
        return FALSE;
    memset(content, 'n', sizeof content);
    done = write(fd, content, sizeof content) == sizeof content;
    return close(fd) == 0 && done;
}

static gboolean mkdir_one(const char *path)
{
    return mkdir(path, 0755) == 0;
}

static gboolean unlink_one(const char *path)
{
    return unlink(path) == 0;
}

static gboolean rmdir_one(const char *path)
{
    return rmdir(path) == 0;
}

static gboolean prepare_dirs(Job *job, GError **error)
{
    char path[FILES_PATH_SIZE];

    (void)job;
    if (mkdir("many", 0755) != 0)
        return bench_fail_errno(error, "many");
    for (guint i = 0; i < DIRS; i++) {
        snprintf(path, sizeof path, "many/%u", i);
        if (mkdir(path, 0755) != 0)
            return bench_fail_errno(error, "%s", path);
    }
    return TRUE;
}

static gboolean prepare_files(Job *job, GError **error)
{
    return prepare_dirs(job, error) && for_each(job, "file", create_one, error);
}

static gboolean prepare_subdirs(Job *job, GError **error)
{
    return prepare_dirs(job, error) && for_each(job, "dir", mkdir_one, error);
}

static gboolean work_create(Job *job, GError **error)
{
    return for_each(job, "file", create_one, error);
}

static gboolean work_unlink(Job *job, GError **error)
{
    return for_each(job, "file", unlink_one, error);
}

static gboolean work_mkdir(Job *job, GError **error)
{
    return for_each(job, "dir", mkdir_one, error);
}

static gboolean work_rmdir(Job *job, GError **error)
{
    return for_each(job, "dir", rmdir_one, error);
}

static gboolean work_rename(Job *job, GError **error)
{
    guint count = job_count(job);
    char from[FILES_PATH_SIZE];
    char to[FILES_PATH_SIZE];

    for (guint i = 0; i < count; i++) {
        path_of(from, "file", i);
        path_of(to, "renamed", i);
        if (rename(from, to) != 0)
            return bench_fail_errno(error, "%s", from);
    }
    return TRUE;
}

/* Both as mounted and on the disk. */
static gboolean expect(const Job *job, guint count, GError **error)
{
    g_autofree char *below = g_build_filename(job->below, "many", NULL);

    return files_expect("many", count, error) && files_expect(below, count, error);
}

static gboolean check_all(Job *job, GError **error)
{
    return expect(job, job_count(job), error);
}

static gboolean check_none(Job *job, GError **error)
{
    return expect(job, 0, error);
}

static gboolean is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == CONTENT_SIZE;
}

static gboolean check_renamed(Job *job, GError **error)
{
    return check_all(job, error) && for_each(job, "renamed", is_file, error);
}

static gboolean check_created(Job *job, GError **error)
{
    return check_all(job, error) && for_each(job, "file", is_file, error);
}

/* The directories below many/'s own: mkdir makes them all, rmdir leaves none. */
static gboolean expect_subdirs(const Job *job, guint count, GError **error)
{
    guint links = 0;

    for (guint i = 0; i < DIRS; i++) {
        g_autofree char *path = g_strdup_printf("%s/many/%u", job->below, i);
        struct stat st;

        if (stat(path, &st) != 0)
            return bench_fail_errno(error, "%s", path);
        links += (guint)st.st_nlink - 2;
    }
    return links == count || bench_fail(error, "%u directories, not %u", links, count);
}

static gboolean check_subdirs(Job *job, GError **error)
{
    return expect_subdirs(job, job_count(job), error);
}

static gboolean check_no_subdirs(Job *job, GError **error)
{
    return expect_subdirs(job, 0, error);
}

static gboolean clean_many(Job *job, GError **error)
{
    (void)job;
    return bench_run(NULL, error, "rm", "-rf", "many");
}

static gboolean work_stat(Job *job, GError **error)
{
    guint count = files_count(job->percent);
    char path[FILES_PATH_SIZE];
    struct stat st;

    for (guint i = 0; i < count; i++) {
        files_path(path, "tree", i, job->percent);
        if (stat(path, &st) != 0)
            return bench_fail_errno(error, "%s", path);
        job->seen += (guint64)st.st_size;
    }
    return TRUE;
}

static gboolean work_read(Job *job, GError **error)
{
    guint count = files_count(job->percent);
    char path[FILES_PATH_SIZE];

    for (guint i = 0; i < count; i++) {
        ssize_t n;
        int fd;

        files_path(path, "tree", i, job->percent);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return bench_fail_errno(error, "%s", path);
        while ((n = read(fd, job->buffer, FILES_MAX_SIZE)) > 0)
            job->seen += (guint64)n;
        close(fd);
        if (n < 0)
            return bench_fail_errno(error, "%s", path);
    }
    return TRUE;
}

static gboolean work_open(Job *job, GError **error)
{
    guint count = job_count(job);
    char path[FILES_PATH_SIZE];

    files_path(path, "tree", 0, job->percent);
    for (guint i = 0; i < count; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
            return bench_fail_errno(error, "open %u", i);
        close(fd);
    }
    return TRUE;
}

const Workload workloads_names[] = {
    {"create", "create, write 100 bytes, close", FIXTURE_EMPTY, WORK_CHANGES, 10000, 0,
     prepare_dirs, work_create, check_created, clean_many},
    {"rename", "rename(2) in one directory", FIXTURE_EMPTY, WORK_CHANGES, 10000, 0, prepare_files,
     work_rename, check_renamed, clean_many},
    {"unlink", "unlink(2)", FIXTURE_EMPTY, WORK_CHANGES, 10000, 0, prepare_files, work_unlink,
     check_none, clean_many},
    {"mkdir", "mkdir(2)", FIXTURE_EMPTY, WORK_CHANGES, 10000, 0, prepare_dirs, work_mkdir,
     check_subdirs, clean_many},
    {"rmdir", "rmdir(2)", FIXTURE_EMPTY, WORK_CHANGES, 10000, 0, prepare_subdirs, work_rmdir,
     check_no_subdirs, clean_many},
    {"open-close", "open(2) and close(2) of one file", FIXTURE_TREE, 0, 50000, 0, NULL, work_open,
     NULL, NULL},
    {"stat-cold", "stat(2) of every file, cold in the mount", FIXTURE_TREE, 0, 15000, 0, NULL,
     work_stat, files_check_seen, NULL},
    {"stat-warm", "stat(2) of every file, warm", FIXTURE_TREE, WORK_WARM, 15000, 0, NULL, work_stat,
     files_check_seen, NULL},
    {"open-read-cold", "open, read, close of every file, cold in the mount", FIXTURE_TREE, 0, 15000,
     0, NULL, work_read, files_check_seen, NULL},
    {"open-read-warm", "open, read, close of every file, warm", FIXTURE_TREE, WORK_WARM, 15000, 0,
     NULL, work_read, files_check_seen, NULL},
    {.name = NULL},
};
