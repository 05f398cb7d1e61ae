/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRS_IN_TOP  (FILES_DIRS / FILES_TOP_DIRS)
#define NEEDLE_EVERY 50u
#define CHECK_EVERY  37u
#define LINE_SIZE    64u

static guint files_in_dir(guint percent)
{
    return MAX(1, percent);
}

guint files_count(guint percent)
{
    return FILES_DIRS * files_in_dir(percent);
}

void files_path(char path_out[FILES_PATH_SIZE], const char *dir, guint index, guint percent)
{
    guint leaf = index / files_in_dir(percent);

    snprintf(path_out, FILES_PATH_SIZE, "%s/d%02u/e%u/f%03u", dir, leaf / DIRS_IN_TOP,
             leaf % DIRS_IN_TOP, index % files_in_dir(percent));
}

gsize files_content(char *buffer, guint index, guint variant)
{
    guint lines = 1 + index * 7919u % (FILES_MAX_SIZE / LINE_SIZE / 2);
    guint32 random = index * 2654435761u + variant;

    for (guint line = 0; line < lines; line++) {
        char *at = buffer + line * LINE_SIZE;

        for (guint i = 0; i < LINE_SIZE - 1; i++) {
            random = random * 1664525u + 1013904223u;
            at[i] = (char)('a' + (random >> 24) % 26);
        }
        at[LINE_SIZE - 1] = '\n';
    }
    if (index % NEEDLE_EVERY == 0)
        memcpy(buffer, FILES_NEEDLE, strlen(FILES_NEEDLE));
    return (gsize)lines * LINE_SIZE;
}

guint files_needles(guint percent)
{
    return (files_count(percent) + NEEDLE_EVERY - 1) / NEEDLE_EVERY;
}

gboolean files_write(const char *path, const char *content, gsize size, GError **error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    gboolean done = fd >= 0 && write(fd, content, size) == (ssize_t)size;

    if (!done)
        bench_fail_errno(error, "%s", path);
    if (fd >= 0)
        close(fd);
    return done;
}

gboolean files_make(const char *dir, guint percent, guint variant, guint dirs, char *buffer,
                    GError **error)
{
    guint count = dirs * DIRS_IN_TOP * files_in_dir(percent);
    char path[FILES_PATH_SIZE];

    for (guint i = 0; i < count; i++) {
        files_path(path, dir, i, percent);
        if (i % files_in_dir(percent) == 0) {
            g_autofree char *parent = g_path_get_dirname(path);

            if (g_mkdir_with_parents(parent, 0755) != 0)
                return bench_fail_errno(error, "%s", parent);
        }
        if (!files_write(path, buffer, files_content(buffer, i, variant), error))
            return FALSE;
    }
    return TRUE;
}

gboolean files_age(const char *dir, GError **error)
{
    return bench_run(NULL, error, "find", dir, "-type", "f", "-not", "-path", "*/.git/*", "-exec",
                     "touch", "-d", "@1700000000", "{}", "+");
}

gboolean files_check(const char *dir, guint dirs, guint percent, guint variant, GError **error)
{
    guint count = dirs * DIRS_IN_TOP * files_in_dir(percent);
    char expected[FILES_MAX_SIZE];
    char path[FILES_PATH_SIZE];

    for (guint i = 0; i < count; i += CHECK_EVERY) {
        gsize size = files_content(expected, i, variant);
        g_autofree char *found = NULL;
        gsize found_size;

        files_path(path, dir, i, percent);
        if (!g_file_get_contents(path, &found, &found_size, error))
            return FALSE;
        if (found_size != size || memcmp(found, expected, size) != 0)
            return bench_fail(error, "%s has the wrong contents", path);
    }
    return TRUE;
}

static guint counted;

/* fuse-overlayfs keeps files of its own in the directories that it makes (.wh.*). */
static int count_file(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    if (type != FTW_D && !g_str_has_prefix(path + where->base, ".wh."))
        counted++;
    return 0;
}

gboolean files_expect(const char *dir, guint count, GError **error)
{
    counted = 0;
    if (nftw(dir, count_file, 16, FTW_PHYS) != 0)
        return bench_fail_errno(error, "%s", dir);
    if (counted != count)
        return bench_fail(error, "%s has %u files, not %u", dir, counted, count);
    return TRUE;
}

gboolean files_check_seen(Job *job, GError **error)
{
    guint64 wanted = 0;

    for (guint i = 0; i < files_count(job->percent); i++)
        wanted += files_content(job->buffer, i, 0);
    if (job->seen != wanted)
        return bench_fail(error, "%" G_GUINT64_FORMAT " bytes seen, not %" G_GUINT64_FORMAT,
                          job->seen, wanted);
    return files_check("tree", FILES_TOP_DIRS, job->percent, 0, error);
}
