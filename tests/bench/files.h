/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The small files of the fixtures: their names, and contents that can be told from the name alone.
 * All paths are relative to the working directory. Thread safety: one thread.
 */
#include "bench.h"

#define FILES_DIRS     150u /* at every scale; 100 files in each at the full one */
#define FILES_TOP_DIRS 15u
#define FILES_CHANGED_DIRS                                                                         \
    5u /* top directories that differ between the branches of FIXTURE_GIT                          \
        */
#define FILES_PATH_SIZE 64u
#define FILES_MAX_SIZE  8192u

/* `dir`/d07/e3/f042 of file `index`; its directory without the last part. */
void files_path(char path_out[FILES_PATH_SIZE], const char *dir, guint index, guint percent);
guint files_count(guint percent);
/* Fills at most FILES_MAX_SIZE bytes of text, returns how many. `variant` changes the contents and
 * not the length. Each 50th file has a line with FILES_NEEDLE. */
gsize files_content(char *buffer, guint index, guint variant);
#define FILES_NEEDLE "a needle in the hay"
guint files_needles(guint percent);

/* Makes the directories and files below `dir`, or writes the first `dirs` top directories' anew. */
gboolean files_make(const char *dir, guint percent, guint variant, guint dirs, char *buffer,
                    GError **error);
/* Gives all files below `dir` one time of last change, long ago. */
gboolean files_age(const char *dir, GError **error);
gboolean files_write(const char *path, const char *content, gsize size, GError **error);
/* Reads each 37th of the files of the first `dirs` top directories and compares. */
gboolean files_check(const char *dir, guint dirs, guint percent, guint variant, GError **error);
/* Counts what is below `dir` that is no directory. */
gboolean files_expect(const char *dir, guint count, GError **error);
/* Whether a job on FIXTURE_TREE has seen (job->seen) as many bytes as there are. */
gboolean files_check_seen(Job *job, GError **error);
