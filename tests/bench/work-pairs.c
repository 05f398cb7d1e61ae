/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two clients at once, each with half of the work.
 */
#include "files.h"
#include "workloads.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONTENT_SIZE 100u

typedef struct Outcome {
    gboolean done;
    guint64 seen;
    char text[200];
} Outcome;

static void do_second(Job *job, JobStep half, int fd) G_GNUC_NORETURN;
static void do_second(Job *job, JobStep half, int fd)
{
    g_autoptr(GError) error = NULL;
    Outcome outcome = {0};

    job->second = TRUE;
    job->seen = 0;
    outcome.done = half(job, &error);
    outcome.seen = job->seen;
    if (!outcome.done)
        g_strlcpy(outcome.text, error->message, sizeof outcome.text);
    _exit(write(fd, &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
}

static gboolean do_both(Job *job, JobStep half, GError **error)
{
    Outcome outcome;
    gboolean done;
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return bench_fail_errno(error, "pipe");
    pid = fork();
    if (pid == 0)
        do_second(job, half, fds[1]);
    close(fds[1]);
    done = half(job, error);
    if (read(fds[0], &outcome, sizeof outcome) != sizeof outcome)
        outcome = (Outcome){.text = "the second client died"};
    close(fds[0]);
    waitpid(pid, NULL, 0);
    job->seen += outcome.seen;
    if (done && !outcome.done)
        return bench_fail(error, "%s", outcome.text);
    return done;
}

static const char *own_dir(const Job *job)
{
    return job->second ? "pair/second" : "pair/first";
}

static gboolean create_half(Job *job, GError **error)
{
    guint count = job_count(job) / 2;
    char content[CONTENT_SIZE];
    char path[FILES_PATH_SIZE];

    memset(content, 'n', sizeof content);
    for (guint i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%06u", own_dir(job), i);
        if (!files_write(path, content, sizeof content, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean work_create(Job *job, GError **error)
{
    return do_both(job, create_half, error);
}

static gboolean prepare_create(Job *job, GError **error)
{
    (void)job;
    if (mkdir("pair", 0755) != 0 || mkdir("pair/first", 0755) != 0 ||
        mkdir("pair/second", 0755) != 0)
        return bench_fail_errno(error, "pair");
    return TRUE;
}

static gboolean check_create(Job *job, GError **error)
{
    g_autofree char *below = g_build_filename(job->below, "pair", NULL);
    guint count = job_count(job) / 2 * 2;

    return files_expect("pair", count, error) && files_expect(below, count, error);
}

static gboolean clean_create(Job *job, GError **error)
{
    (void)job;
    return bench_run(NULL, error, "rm", "-rf", "pair");
}

static gboolean read_half(Job *job, GError **error)
{
    guint count = files_count(job->percent);
    char path[FILES_PATH_SIZE];

    for (guint i = job->second ? 1 : 0; i < count; i += 2) {
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

static gboolean work_read(Job *job, GError **error)
{
    return do_both(job, read_half, error);
}

const Workload workloads_pairs[] = {
    {"pair-create", "create, write 100 bytes, close, two clients at once", FIXTURE_EMPTY,
     WORK_CHANGES, 10000, 0, prepare_create, work_create, check_create, clean_create},
    {"pair-read-cold", "open, read, close of every file, two clients, cold", FIXTURE_TREE, 0, 15000,
     0, NULL, work_read, files_check_seen, NULL},
    {"pair-read-warm", "open, read, close of every file, two clients, warm", FIXTURE_TREE,
     WORK_WARM, 15000, 0, NULL, work_read, files_check_seen, NULL},
    {.name = NULL},
};
