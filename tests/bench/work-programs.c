/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole programs, as people run them.
 */
#include "files.h"
#include "fixture.h"
#include "sources.h"
#include "workloads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COPIED_DIRS 8u /* top directories: 8,000 files */

static char *output_of(const Job *job)
{
    return g_build_filename(job->scratch, "output", NULL);
}

static gboolean expect_lines(const Job *job, guint count, GError **error)
{
    g_autofree char *path = output_of(job);
    g_autofree char *text = NULL;
    guint lines = 0;

    if (!g_file_get_contents(path, &text, NULL, error))
        return FALSE;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    return lines == count || bench_fail(error, "%u lines of output, not %u", lines, count);
}

static gboolean work_find(Job *job, GError **error)
{
    g_autofree char *output = output_of(job);

    return bench_run(output, error, "find", "tree", "-type", "f");
}

static gboolean check_find(Job *job, GError **error)
{
    return expect_lines(job, files_count(job->percent), error);
}

static gboolean work_grep(Job *job, GError **error)
{
    g_autofree char *output = output_of(job);

    return bench_run(output, error, "grep", "-r", FILES_NEEDLE, "tree");
}

static gboolean check_grep(Job *job, GError **error)
{
    return expect_lines(job, files_needles(job->percent), error);
}

static gboolean make_dir(const char *path, GError **error)
{
    return mkdir(path, 0755) == 0 || bench_fail_errno(error, "%s", path);
}

static gboolean prepare_dir(Job *job, GError **error)
{
    (void)job;
    return make_dir("new", error);
}

static gboolean work_tar(Job *job, GError **error)
{
    g_autofree char *archive = g_build_filename(job->scratch, "tree.tar", NULL);

    return bench_run(NULL, error, "tar", "-xf", archive, "-C", "new");
}

static gboolean expect_files(const Job *job, const char *dir, guint dirs, GError **error)
{
    guint count = files_count(job->percent) / FILES_TOP_DIRS * dirs;
    g_autofree char *below = g_build_filename(job->below, dir, NULL);

    return files_expect(dir, count, error) && files_expect(below, count, error) &&
           files_check(dir, dirs, job->percent, 0, error);
}

static gboolean check_tar(Job *job, GError **error)
{
    return expect_files(job, "new/tree", FILES_TOP_DIRS, error);
}

static gboolean work_copy(Job *job, GError **error)
{
    (void)job;
    return bench_run(NULL, error, "cp", "-a", "tree/d00", "tree/d01", "tree/d02", "tree/d03",
                     "tree/d04", "tree/d05", "tree/d06", "tree/d07", "new");
}

static gboolean check_copy(Job *job, GError **error)
{
    return expect_files(job, "new", COPIED_DIRS, error);
}

static gboolean prepare_copy(Job *job, GError **error)
{
    return prepare_dir(job, error) && work_copy(job, error);
}

static gboolean work_remove(Job *job, GError **error)
{
    (void)job;
    return bench_run(NULL, error, "rm", "-rf", "new");
}

/* fuse-overlayfs leaves a whiteout. */
static gboolean check_removed(Job *job, GError **error)
{
    g_autofree char *below = g_build_filename(job->below, "new", NULL);

    if (g_file_test("new", G_FILE_TEST_EXISTS) || g_file_test(below, G_FILE_TEST_IS_DIR))
        return bench_fail(error, "%s is still there", below);
    return TRUE;
}

static gboolean work_git_status(Job *job, GError **error)
{
    g_autofree char *output = output_of(job);

    return bench_run(output, error, "git", "-C", "repo", "status", "--porcelain");
}

static gboolean check_git_status(Job *job, GError **error)
{
    return expect_lines(job, 0, error);
}

static gboolean work_git_checkout(Job *job, GError **error)
{
    (void)job;
    return bench_run(NULL, error, "git", "-C", "repo", "checkout", "-q", "other");
}

static gboolean check_git_checkout(Job *job, GError **error)
{
    g_autofree char *below = g_build_filename(job->below, "repo", NULL);

    return files_check("repo", FILES_CHANGED_DIRS, job->percent, 1, error) &&
           bench_run(NULL, error, "git", "-C", below, "diff", "--quiet", "other") &&
           work_git_status(job, error) && expect_lines(job, 0, error);
}

/* With files older than the index, as the next run is to find them. */
static gboolean clean_git_checkout(Job *job, GError **error)
{
    (void)job;
    return bench_run(NULL, error, "git", "-C", "repo", "checkout", "-q", "main") &&
           files_age("repo", error) &&
           bench_run(NULL, error, "git", "-C", "repo", "update-index", "-q", "--refresh");
}

static gboolean work_build(Job *job, GError **error)
{
    (void)job;
    return bench_run(NULL, error, "make", "-s", "-C", "sources", "-j2");
}

static gboolean check_build(Job *job, GError **error)
{
    g_autofree char *expected = sources_output(job_count(job));
    g_autofree char *output = output_of(job);
    g_autofree char *found = NULL;

    return bench_run(output, error, "sources/program") &&
           g_file_get_contents(output, &found, NULL, error) &&
           (strcmp(found, expected) == 0 || bench_fail(error, "the program says %s", found));
}

static gboolean clean_build(Job *job, GError **error)
{
    (void)job;
    return bench_run(NULL, error, "make", "-s", "-C", "sources", "clean");
}

static guint lookup_id(guint index)
{
    return 1 + index * 7919u % DATABASE_ROWS;
}

static gboolean prepare_lookups(Job *job, GError **error)
{
    g_autofree char *path = g_build_filename(job->scratch, "lookups.sql", NULL);
    guint count = job_count(job);
    GString *text = g_string_new(NULL);
    gboolean done;

    for (guint i = 0; i < count; i++)
        g_string_append_printf(text, "SELECT value FROM items WHERE id = %u;\n", lookup_id(i));
    done = files_write(path, text->str, text->len, error);
    g_string_free(text, TRUE);
    return done;
}

static gboolean work_lookups(Job *job, GError **error)
{
    g_autofree char *command = g_strdup_printf(".read %s/lookups.sql", job->scratch);
    g_autofree char *output = output_of(job);

    return bench_run(output, error, "sqlite3", "lookups.db", command);
}

static gboolean check_lookups(Job *job, GError **error)
{
    g_autofree char *path = output_of(job);
    g_autofree char *text = NULL;
    char *at;

    if (!expect_lines(job, job_count(job), error) || !g_file_get_contents(path, &text, NULL, error))
        return FALSE;
    at = text;
    for (guint i = 0; i < job_count(job); i++, at++) {
        if (strtoul(at, &at, 10) != (gulong)lookup_id(i) * 7)
            return bench_fail(error, "look-up %u found the wrong row", i);
    }
    return TRUE;
}

const Workload workloads_programs[] = {
    {"find-cold", "find, names only, cold in the mount", FIXTURE_TREE, 0, 15000, 0, NULL, work_find,
     check_find, NULL},
    {"find-warm", "find, names only, warm", FIXTURE_TREE, WORK_WARM, 15000, 0, NULL, work_find,
     check_find, NULL},
    {"grep-cold", "grep -r, cold in the mount", FIXTURE_TREE, 0, 15000, 0, NULL, work_grep,
     check_grep, NULL},
    {"grep-warm", "grep -r, warm", FIXTURE_TREE, WORK_WARM, 15000, 0, NULL, work_grep, check_grep,
     NULL},
    {"tar-x", "tar -x", FIXTURE_TREE, WORK_CHANGES, 15000, 0, prepare_dir, work_tar, check_tar,
     work_remove},
    {"cp-a", "cp -a", FIXTURE_TREE, WORK_CHANGES, 8000, 0, prepare_dir, work_copy, check_copy,
     work_remove},
    {"rm-rf", "rm -rf", FIXTURE_TREE, WORK_CHANGES, 8000, 0, prepare_copy, work_remove,
     check_removed, NULL},
    {"git-status-cold", "git status, cold in the mount", FIXTURE_GIT, 0, 15000, 0, NULL,
     work_git_status, check_git_status, NULL},
    {"git-status-warm", "git status, warm", FIXTURE_GIT, WORK_WARM, 15000, 0, NULL, work_git_status,
     check_git_status, NULL},
    {"git-checkout", "git checkout between branches", FIXTURE_GIT, WORK_CHANGES, 5000, 0,
     work_git_status, work_git_checkout, check_git_checkout, clean_git_checkout},
    {"build", "make -j2 of a C program", FIXTURE_SOURCES, WORK_CHANGES, SOURCES_UNITS, 0, NULL,
     work_build, check_build, clean_build},
    {"sqlite", "look-ups in an SQLite database, warm", FIXTURE_DATABASE, WORK_WARM, 20000, 0,
     prepare_lookups, work_lookups, check_lookups, NULL},
    {.name = NULL},
};
